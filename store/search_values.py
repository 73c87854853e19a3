"""Rules about properties as conditions on `entity_values`: exactly what `domain/matching.py` says of values."""

import operator
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Final, TypeAlias

import sqlalchemy as sa
from pydantic import JsonValue
from sqlalchemy.sql import operators

from domain.comparisons import Key, instant, key
from domain.indexed_values import HEAD, TEAM, digest, micros, rest
from domain.matching import Operands
from domain.rule_values import Comparison, Context, Operator
from store.catalog_tables import EntityRow, EntityValueRow
from store.columns import table
from store.search_columns import Condition, among, among_ids, among_moments, begins, contains, ends, unindexed

ENTITIES: Final = table(EntityRow).c
_ID: Final = unindexed(ENTITIES.id)
_VALUES: Final = table(EntityValueRow).c
_TEXT: Final = sa.func.coalesce(_VALUES.whole, _VALUES.head)
_SELF: Final[Condition] = _VALUES.place == 0
_ELEMENT: Final[Condition] = _VALUES.place > 0
_IS_TEXT: Final[Condition] = sa.and_(_SELF, _VALUES.kind.in_(("text", "instant")))
_BY_HEAD: Final[Condition] = _VALUES.number == 0.0
_BY_NUMBER: Final[Condition] = _VALUES.head == ""
"""Where the entries are that have no head; without this the number is of no use to find them."""
_SEPARATE: Final = 30
"""Up to how many conditions stay as they are."""
_TOGETHER: Final = 100
"""How many statements are united; SQLite takes 500."""
_NULL: Final[Key] = ("null", None)


Choice: TypeAlias = tuple[sa.Select[Any], ...]
"""Statements that each select ids of entities."""


def chosen(*ids: sa.Select[Any]) -> Condition:
    """Whether the entity's id is one of those that the statements select, each one column of them."""
    return _ID.in_(ids[0] if len(ids) == 1 else sa.union_all(*ids))


def choices(condition: Any) -> list[Choice]:
    """Everything that is known to select the ids of all that fulfils the condition, and of others perhaps."""
    match condition:
        case sa.BinaryExpression(operator=operators.in_op):
            return [one] if (one := _selects(condition)) else []
        case sa.BooleanClauseList(operator=operator.and_, clauses=parts):
            return [choice for part in parts for choice in choices(part)]
        case sa.BooleanClauseList(operator=operator.or_, clauses=parts):
            each = [choices(part) for part in parts]
            return [tuple(select for one in each for select in one[0])] if all(each) else []
        case sa.Grouping(element=element):
            return choices(element)
    return []


def told_apart(condition: Any) -> tuple[list[Choice], list[Condition]]:
    """Choices that the condition demands of an entity's id, all of them, and what it demands besides."""
    match condition:
        case sa.BinaryExpression(operator=operators.in_op) if one := _selects(condition):
            return [one], []
        case sa.BooleanClauseList(operator=operator.and_, clauses=parts):
            each = [told_apart(part) for part in parts]
            return [one for found, _ in each for one in found], [one for _, others in each for one in others]
        case sa.Grouping(element=element):
            return told_apart(element)
    return [], [condition]


def united_ids(choice: Choice, *, of: Collection[str] | None = None) -> sa.Select[Any] | sa.CompoundSelect[Any]:
    """The ids that the choice selects, of all or of these."""
    if of is not None:
        choice = tuple(select.where(among_ids(next(iter(select.selected_columns)), of)) for select in choice)
    return sa.union_all(*choice) if len(choice) > 1 else choice[0]


def united(conditions: Sequence[Condition], combinator: str) -> list[Condition]:
    """As few conditions that say the same: many choices are looked up together, instead of each for every entity."""
    if len(conditions) <= _SEPARATE:
        return list(conditions)
    wanted = operators.in_op if combinator == "or" else operators.not_in_op
    selects: list[sa.Select[Any]] = []
    others: list[Condition] = []
    for condition in conditions:
        match condition:
            case sa.BinaryExpression(operator=found) if found is wanted and (one := _selects(condition)):
                selects += one
            case _:
                others.append(condition)
    for start in range(0, len(selects), _TOGETHER):
        together = chosen(*selects[start : start + _TOGETHER])
        others.append(together if combinator == "or" else sa.not_(together))
    return others


def _selects(condition: Any) -> Choice:
    match condition:
        case sa.BinaryExpression(left=left, right=sa.ScalarSelect(element=selected)) if left is _ID:
            selects = selected.selects if isinstance(selected, sa.CompoundSelect) else (selected,)
            return tuple(one for one in selects if isinstance(one, sa.Select))
    return ()


@dataclass(frozen=True)
class Named:
    """One of these properties, whichever fits; usually there is only one."""

    names: Sequence[str]

    @cached_property
    def _is_named(self) -> Condition:
        return among(_VALUES.name, self.names)

    def some(self, *conditions: Condition) -> Condition:
        """Whether one of them has such an entry."""
        return chosen(self._entries(*conditions))

    def any(self, alternatives: Sequence[Condition], *conditions: Condition) -> Condition:
        """The same with one of the alternatives: each is looked up by itself, which an index helps with."""
        if not alternatives:
            return sa.false()
        return chosen(*(self._entries(one, *conditions) for one in alternatives))

    def _entries(self, *conditions: Condition) -> sa.Select[Any]:
        return sa.select(_VALUES.entity_id).where(self._is_named, *conditions)

    def is_null(self) -> Condition:
        """Whether one of them is null."""
        if len(self.names) == 1:
            return sa.not_(self.some())
        counted = self._entries().group_by(_VALUES.entity_id)
        return sa.not_(chosen(counted.having(sa.func.count(_VALUES.name.distinct()) == len(self.names))))

    def tested(self, rule: Comparison, by: Operands) -> Condition:
        """Whether one of them is what the rule asks for, its negation aside."""
        match rule.operator:
            case Operator.IS_EMPTY:
                return self.is_null()
            case Operator.IN | Operator.CONTAINS_ANY:
                return self._listed(rule, by)
            case Operator.BETWEEN:
                period = by.period(rule.value)
                return self.some(_SELF, *between(period.start, period.end)) if period else sa.false()
        wanted = by.plain(rule.value)
        match rule.operator, wanted:
            case Operator.EQUALS, None:
                return sa.false() if isinstance(rule.value, Context) else self.is_null()
            case Operator.EQUALS, list():
                return self.any(_arrays(key(wanted)))
            case Operator.EQUALS, _:
                return self.any(one_of([key(wanted)]), _SELF)
            case Operator.CONTAINS, str():
                element = sa.and_(_ELEMENT, *one_of([key(wanted)]))
                return self.any([sa.and_(_IS_TEXT, contains(_TEXT, wanted)), element])
            case Operator.CONTAINS, _:
                return self.any(one_of([key(wanted)]), _ELEMENT) if wanted is not None else sa.false()
            case Operator.BEGINS_WITH, str():
                return self.some(_IS_TEXT, begins(_TEXT, wanted))
            case Operator.ENDS_WITH, str():
                return self.some(_IS_TEXT, ends(_TEXT, wanted))
            case (Operator.ABOVE | Operator.AT_LEAST | Operator.BELOW | Operator.AT_MOST) as comparison, _:
                ordered = _ordered(comparison, wanted)
                return self.some(_SELF, *ordered) if ordered else sa.false()
        return sa.false()

    def _listed(self, rule: Comparison, by: Operands) -> Condition:
        keys = by.listed(rule)
        if rule.operator is Operator.CONTAINS_ANY:
            return self.any(one_of(keys), _ELEMENT)
        # Arrays are asked for their elements: listed values are none, so what an array as a whole is never fits.
        found = self.any(one_of(keys))
        return sa.or_(found, self.is_null()) if _NULL in keys else found


def owned_by(teams: Collection[str]) -> Condition:
    """Whether one of the entity's own teams is one of these, letter by letter."""
    if not teams:
        return sa.false()
    instants = {team: micros(at) for team in teams if (at := instant(team)) is not None}
    alternatives = _texts([team for team in teams if team not in instants])
    if instants:
        alternatives.append(sa.and_(_is("instant"), _numbers(instants.values()), among(_VALUES.whole, instants)))
    return Named((TEAM,)).any(alternatives, _ELEMENT)


def expired(names: Sequence[str], at: datetime) -> Condition:
    """Whether one of the properties is an instant that is not after this one."""
    ordered = _ordered_moment(Operator.AT_MOST, at)
    return Named(names).some(_SELF, *ordered)


def between(start: datetime, end: datetime) -> tuple[Condition, ...]:
    """Of entries: instants from one to the other, both included."""
    return *_ordered_moment(Operator.AT_LEAST, start), *_ordered_moment(Operator.AT_MOST, end)


def one_of(keys: Iterable[Key | None]) -> list[Condition]:
    """Of entries: those that are equal to something with one of these keys; each kind is an alternative."""
    by_kind: dict[str, list[Any]] = {}
    for one in keys:
        if one is not None:
            by_kind.setdefault(one[0], []).append(one[1])
    found: list[Condition] = []
    for kind, values in by_kind.items():
        match kind:
            case "text":
                found += _texts(values)
            case "instant":
                moments = {micros(at) for at in values}
                found.append(sa.and_(_is(kind), _numbers(moments), among_moments(_VALUES.moment, moments)))
            case "number" | "boolean":
                found.append(sa.and_(_is(kind), _numbers(values)))
            case "array":
                digests = among(_VALUES.head, {digest(elements) for elements in values})
                found.append(sa.and_(_is(kind), _BY_HEAD, digests))
            case "null":
                found.append(sa.and_(_is(kind), _numbers([0])))
    return found


def _arrays(wanted: Key | None) -> list[Condition]:
    """Of entries: those that say of an array that it has this key; the alternatives for its first element."""
    match wanted:
        case ("array", ()):
            return [sa.and_(_SELF, each) for each in one_of([wanted])]
        case ("array", tuple() as keys):
            following = _VALUES.rest == rest(keys[1:])
            return [sa.and_(each, following) for each in one_of(keys[:1])]
    return []


def _is(kind: str) -> Condition:
    return _VALUES.kind == kind


def _texts(values: list[str]) -> list[Condition]:
    found: list[Condition] = []
    if short := [value for value in values if len(value) <= HEAD]:
        found.append(sa.and_(_is("text"), _BY_HEAD, _VALUES.whole.is_(None), among(_VALUES.head, short)))
    if long := [value for value in values if len(value) > HEAD]:
        heads = among(_VALUES.head, {value[:HEAD] for value in long})
        found.append(sa.and_(_is("text"), _BY_HEAD, heads, _VALUES.whole.is_not(None), among(_VALUES.whole, long)))
    return found


def _numbers(values: Iterable[float | bool]) -> Condition:
    # Parameters of their own: SQLite reads the fractions of JSON less exactly than it stores them.
    return sa.and_(_BY_NUMBER, _VALUES.number.in_(sorted({float(value) for value in values})))


_COMPARED: Final[dict[Operator, Any]] = {
    Operator.ABOVE: (sa.Column.__gt__, sa.Column.__ge__),
    Operator.AT_LEAST: (sa.Column.__ge__, sa.Column.__ge__),
    Operator.BELOW: (sa.Column.__lt__, sa.Column.__le__),
    Operator.AT_MOST: (sa.Column.__le__, sa.Column.__le__),
}
"""How each compares, and how after rounding."""


def _ordered(comparison: Operator, wanted: JsonValue) -> tuple[Condition, ...]:
    match key(wanted):
        case ("number", float() as number):
            return _is("number"), _BY_NUMBER, _COMPARED[comparison][0](_VALUES.number, number)
        case ("instant", datetime() as at):
            return _ordered_moment(comparison, at)
    return ()


def _ordered_moment(comparison: Operator, at: datetime) -> tuple[Condition, ...]:
    exactly, roughly = _COMPARED[comparison]
    moment = micros(at)
    return (
        _is("instant"),
        _BY_NUMBER,
        roughly(_VALUES.number, float(moment)),  # for the index
        exactly(_VALUES.moment, sa.literal(moment, sa.BigInteger)),
    )
