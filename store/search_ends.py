"""Rules about what is no property - a text or a moment of the entity's row, the end of a relation - as conditions.

Each gives None where SQL cannot say exactly what `domain/matching.py` says: mostly where a text may be an instant.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from domain.comparisons import Key, key
from domain.indexed_values import micros
from domain.matching import Operands
from domain.rule_values import Comparison, Context, Operator, RelationEnd
from domain.times import EPOCH
from store.catalog_tables import EntityRelationRow, EntityRow
from store.columns import table
from store.search_columns import Condition, among, any_of, begins, contains, ends, relation_kind
from store.search_values import ENTITIES, chosen

_ARROWS: Final = table(EntityRelationRow).c
_TARGETS: Final = table(EntityRow).alias("targets")
_NULL: Final[Key] = ("null", None)
_MILLISECOND: Final = 1_000
"""In microseconds."""
_FIRST, _LAST = micros(datetime(1000, 1, 1, tzinfo=UTC)), micros(datetime(9998, 1, 1, tzinfo=UTC))
"""Nothing was written before the one or will be after the other."""
_MOST_MOMENTS: Final = 20


def text(column: sa.ColumnElement[Any], rule: Comparison, by: Operands, *, nullable: bool = False) -> Condition | None:
    """Whether the text in the column is what the rule asks for, its negation aside."""
    null: Condition = column.is_(None) if nullable else sa.false()

    def known(condition: Condition) -> Condition:
        return sa.and_(column.is_not(None), condition) if nullable else condition

    match rule.operator:
        case Operator.IS_EMPTY:
            return null
        case Operator.CONTAINS_ANY:
            return sa.false()
        case Operator.IN:
            keys = by.listed(rule)
            if (texts := _texts(keys)) is None:
                return None
            return sa.or_(known(among(column, texts)), null if _NULL in keys else sa.false())
        case Operator.BETWEEN:
            return sa.false() if by.period(rule.value) is None else None
    wanted = by.plain(rule.value)
    match rule.operator, key(wanted), wanted:
        case Operator.EQUALS, ("null", _), _:
            return sa.false() if isinstance(rule.value, Context) else null
        case Operator.EQUALS, ("text", _), _:
            return known(column == wanted)
        case Operator.CONTAINS, _, str():
            return known(contains(column, wanted))
        case Operator.BEGINS_WITH, _, str():
            return known(begins(column, wanted))
        case Operator.ENDS_WITH, _, str():
            return known(ends(column, wanted))
        case (
            (Operator.EQUALS | Operator.ABOVE | Operator.AT_LEAST | Operator.BELOW | Operator.AT_MOST),
            (
                "instant",
                _,
            ),
            _,
        ):
            return None
    return sa.false()


def moment(column: sa.ColumnElement[Any], rule: Comparison, by: Operands) -> Condition | None:
    """Whether the moment in the column, told in milliseconds, is what the rule asks for, its negation aside."""
    match rule.operator:
        case Operator.CONTAINS | Operator.BEGINS_WITH | Operator.ENDS_WITH:
            return None if isinstance(by.plain(rule.value), str) else sa.false()
        case Operator.IS_EMPTY | Operator.CONTAINS_ANY:
            return sa.false()
        case Operator.IN:
            moments = [one[1] for one in by.listed(rule) if one is not None and one[0] == "instant"]
            if len(moments) > _MOST_MOMENTS:
                return None
            return any_of([_at(column, Operator.EQUALS, one) for one in moments if isinstance(one, datetime)])
        case Operator.BETWEEN:
            if (period := by.period(rule.value)) is None:
                return sa.false()
            start = _at(column, Operator.AT_LEAST, period.start)
            return sa.and_(start, _at(column, Operator.AT_MOST, period.end))
    match key(by.plain(rule.value)):
        case ("instant", datetime() as at):
            return _at(column, rule.operator, at)
    return sa.false()


def relation(subject: RelationEnd, rule: Comparison, by: Operands) -> Condition | None:
    """Whether what is at the end of the relation is what the rule asks for, its negation aside."""
    end = _ARROWS.target if subject.target_property == "$identifier" else _TARGETS.c.title
    kind = relation_kind(ENTITIES.document, sa.literal(subject.relation, sa.String))
    is_one = sa.func.coalesce(kind.in_(("text", "string")), sa.false())
    are_many = sa.func.coalesce(kind == "array", sa.false())
    null = sa.not_(sa.or_(is_one, are_many))

    def some(*conditions: Condition) -> Condition:
        found = sa.select(_ARROWS.source_id).where(_ARROWS.relation == subject.relation, *conditions)
        if subject.target_property == "$title":
            leads = _TARGETS.c.blueprint == _ARROWS.target_blueprint, _TARGETS.c.identifier == _ARROWS.target
            found = found.join(_TARGETS, sa.and_(*leads))
        return chosen(found)

    match rule.operator:
        case Operator.IS_EMPTY:
            return null
        case Operator.IN | Operator.CONTAINS_ANY:
            keys = by.listed(rule)
            if (texts := _texts(keys)) is None:
                return None
            found = some(among(end, texts))
            if rule.operator is Operator.CONTAINS_ANY:
                return sa.and_(are_many, found)
            return sa.or_(found, null) if _NULL in keys else found
    wanted = by.plain(rule.value)
    match rule.operator, key(wanted), wanted:
        case Operator.EQUALS, ("null", _), _:
            return sa.false() if isinstance(rule.value, Context) else null
        case Operator.EQUALS, ("text", _), _:
            return sa.and_(is_one, some(end == wanted))
        case Operator.EQUALS, ("array", ()), _:
            return sa.and_(are_many, sa.not_(some()))
        case Operator.CONTAINS, ("text", _), str():
            return sa.or_(sa.and_(is_one, some(contains(end, wanted))), sa.and_(are_many, some(end == wanted)))
        case Operator.BEGINS_WITH, _, str():
            return sa.and_(is_one, some(begins(end, wanted)))
        case Operator.ENDS_WITH, _, str():
            return sa.and_(is_one, some(ends(end, wanted)))
        case ((Operator.EQUALS | Operator.CONTAINS), ("instant" | "array", _), _):
            return None
    return sa.false()


def _texts(keys: Iterable[Key | None]) -> list[str] | None:
    """The texts among them; None if one is an instant, which other texts may be equal to."""
    listed = [one for one in keys if one is not None]
    if any(kind == "instant" for kind, _ in listed):
        return None
    return [value for kind, value in listed if kind == "text" and isinstance(value, str)]


def _at(column: sa.ColumnElement[Any], operator: Operator, at: datetime) -> Condition:
    """How the column, cut off to milliseconds, compares: it may know more than it tells."""
    wanted = min(max(micros(at), _FIRST), _LAST)
    low, fits = wanted - wanted % _MILLISECOND, wanted % _MILLISECOND == 0
    this, following = _moment(low), _moment(low + _MILLISECOND)
    match operator:
        case Operator.EQUALS:
            return sa.and_(column >= this, column < following) if fits else sa.false()
        case Operator.AT_LEAST:
            return column >= (this if fits else following)
        case Operator.ABOVE:
            return column >= following
        case Operator.BELOW:
            return column < (this if fits else following)
    return column < following


def _moment(microseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=microseconds)
