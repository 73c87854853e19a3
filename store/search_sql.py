"""A catalog query as SQL: exactly what `domain/matching.py` says, or where SQL cannot tell, all that it may say.

What the tables know - properties as they are written, relations, meta-properties - is compiled exactly. What is derived
(mirrors, calculations, aggregations, inherited teams, scorecards) is not in the tables: there a rule is `Open`, SQL
selects every entity for which it may hold, and whoever reads the rows asks the predicate. Groups join by `and` and `or`
only and a negation is part of its rule, so what may hold of the rules gives what may hold of the group.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import sqlalchemy as sa
from sqlalchemy.sql import visitors

from domain.blueprints import Definition
from domain.derived import Definitions, derived
from domain.errors import InvalidRequest
from domain.indexed_values import has_entries
from domain.matching import Operands, fits
from domain.rule_values import (
    Comparison,
    Computed,
    Context,
    Listed,
    Operator,
    PathMatch,
    Property,
    Query,
    Related,
    RelationEnd,
    Rule,
    SchemaShape,
    ScorecardResult,
)
from store import search_ends
from store.search_columns import Condition, all_of, among, any_of, unindexed
from store.search_ids import Equality, equality
from store.search_relations import Chains
from store.search_values import ENTITIES, Named, expired, owned_by, united

MAX_PARAMETERS: Final = 30_000
"""How many values a statement may have; PostgreSQL takes 32,767."""

_SHORT: Final = 20
"""How many values of one rule are few."""

_COLUMNS: Final[dict[str, sa.ColumnElement[Any]]] = {
    "$identifier": ENTITIES.identifier,
    "$title": ENTITIES.title,
    "$blueprint": unindexed(ENTITIES.blueprint),  # a search says itself where its blueprints are the way to look
    "$datasource": ENTITIES.datasource,
}
_MOMENTS: Final[dict[str, sa.ColumnElement[Any]]] = {
    "$createdAt": ENTITIES.created_at,
    "$updatedAt": ENTITIES.updated_at,
}
_IN_DOCUMENT: Final[dict[str, sa.ColumnElement[Any]]] = {
    "$icon": ENTITIES.document["icon"].as_string(),
    "$createdBy": ENTITIES.document["createdBy"].as_string(),
    "$updatedBy": ENTITIES.document["updatedBy"].as_string(),
}
_OF_TEAMS: Final = ("$team", "$owned_by_team")


@dataclass(frozen=True)
class Exact:
    """Holds where the condition does."""

    condition: Condition


@dataclass(frozen=True)
class Open:
    """Holds nowhere that the condition does not; where it does, the predicate has to be asked."""

    rule: Comparison | Query
    condition: Condition


@dataclass(frozen=True)
class Group:
    """Holds where all of its parts do, or any; at least one of them is open."""

    combinator: Literal["and", "or"]
    parts: tuple["Node", ...]

    @property
    def condition(self) -> Condition:
        """Holds wherever the group may."""
        return _JOINED[self.combinator]([part.condition for part in self.parts])


Node: TypeAlias = Exact | Open | Group

_JOINED: Final[dict[str, Callable[[Sequence[Condition]], Condition]]] = {"and": all_of, "or": any_of}


def exact_parts(node: Node) -> Iterator[Exact]:
    """The exact parts of what has open ones, in the order of the query."""
    match node:
        case Exact():
            yield node
        case Group(_, parts):
            for part in parts:
                yield from exact_parts(part)


def has_open(node: Node) -> bool:
    """Whether the predicate has to be asked."""
    return not isinstance(node, Exact)


def truth(node: Node, known: Mapping[int, bool], holds: Callable[[Rule], bool] | None = None) -> bool | None:
    """Whether the node holds, once that is known of its exact parts; None where the predicate is needed, and absent."""
    match node:
        case Exact():
            return known[id(node)]
        case Open(rule):
            return holds(rule) if holds else None
        case Group(combinator, parts):
            decisive = combinator == "or"
            open_parts = False
            for part in parts:
                found = truth(part, known, holds)
                if found is decisive:
                    return decisive
                open_parts |= found is None
            return None if open_parts else not decisive


@dataclass
class Compiler:
    """Compiles queries over entities of some blueprints."""

    definitions: Definitions
    candidates: Mapping[str, Definition]
    """The blueprints that what is found may be of."""
    by: Operands
    chains: Chains
    by_document: bool = False
    """Whether what the document of an entity tells is left to the predicate: of few entities that is known sooner."""
    _doubtful: Mapping[str, tuple[str, ...]] = field(init=False)
    _made: dict[int, tuple[Rule, Node]] = field(init=False, default_factory=dict)
    """What rules have become, by their ids."""

    def __post_init__(self) -> None:
        """Note of which blueprints each derived property is one."""
        where: dict[str, list[str]] = {}
        for blueprint, definition in self.candidates.items():
            for name in _derived(definition):
                where.setdefault(name, []).append(blueprint)
        self._doubtful = {name: tuple(blueprints) for name, blueprints in where.items()}

    def compiled(self, rule: Rule) -> Node:
        """What the rule is in SQL; the very same when it is asked for again."""
        if id(rule) not in self._made:
            self._made[id(rule)] = rule, self._compiled(rule)
        return self._made[id(rule)][1]

    def equality(self, rule: Rule) -> Equality | None:
        """What the rule selects if it only asks for the value of a property that the tables know."""
        match rule:
            case Comparison(Property(name), Operator.EQUALS, None | bool() | int() | float() | str() as value):
                is_known = _is_of_document(rule) and has_entries(name) and name not in self._doubtful
                return equality(name, value) if is_known and name not in _OF_TEAMS and not rule.negated else None
        return None

    def _compiled(self, rule: Rule) -> Node:
        match rule:
            case Query(combinator, rules):
                return self._group(combinator, [self.compiled(one) for one in rules])
            case Related():
                return Exact(self.chains.related(rule))
            case PathMatch():
                return Exact(self.chains.on_path(rule))
            case Comparison(value=Computed()):
                return Exact(sa.false())
        return self._comparison(rule)

    def _group(self, combinator: Literal["and", "or"], parts: Sequence[Node]) -> Node:
        exact = united([part.condition for part in parts if isinstance(part, Exact)], combinator)
        others = [part for part in parts if not isinstance(part, Exact)]
        # A group without rules holds everywhere, whichever it is.
        joined = Exact(_JOINED[combinator](exact) if exact else sa.true())
        if not others:
            return joined
        return Group(combinator, (joined, *others) if exact else tuple(others))

    def _comparison(self, rule: Comparison) -> Node:
        if self.by_document and _is_of_document(rule):
            return Open(rule, sa.true())
        found, doubtful = self._asked(rule)
        if found is None:
            return Open(rule, sa.true())
        condition = sa.not_(found) if rule.negated else found
        if doubtful:
            return Open(rule, sa.or_(among(ENTITIES.blueprint, doubtful), condition))
        return Exact(condition)

    def _asked(self, rule: Comparison) -> tuple[Condition | None, tuple[str, ...]]:
        """What holds without the negation, None if SQL cannot say; and of which blueprints it cannot."""
        match rule.subject:
            case Context() as context:
                return self._constant(self.by.tested(self.by.contextual(context), rule)), ()
            case SchemaShape() as shape:
                return self._shaped(shape, rule)
            case RelationEnd(name) as end:
                if not any(name in definition.relations for definition in self.candidates.values()):
                    return self._constant(self.by.tested(None, rule)), ()
                return search_ends.relation(end, rule, self.by), ()
            case ScorecardResult():
                return None, ()
            case Property(name) if rule.operator is Operator.IS_EXPIRED:
                return self._expired(name), self._doubtful.get(name, ())
            case Property(name):
                return self._property(name, rule), self._doubtful.get(name, ())

    def _property(self, name: str, rule: Comparison) -> Condition | None:
        if name == "$owned_by_team":
            return self._owned(rule)
        if name in _COLUMNS:
            return search_ends.text(_COLUMNS[name], rule, self.by)
        if name in _MOMENTS:
            return search_ends.moment(_MOMENTS[name], rule, self.by)
        if name in _IN_DOCUMENT:
            return search_ends.text(_IN_DOCUMENT[name], rule, self.by, nullable=True)
        return Named((name,)).tested(rule, self.by) if has_entries(name) else None

    def _owned(self, rule: Comparison) -> Condition:
        owned = owned_by(self.by.my_teams)
        return sa.or_(
            sa.and_(owned, self._constant(self.by.tested(True, rule))),
            sa.and_(sa.not_(owned), self._constant(self.by.tested(False, rule))),
        )

    def _expired(self, name: str) -> Condition:
        timers = [
            blueprint
            for blueprint in self.candidates
            if self.definitions.schemas(blueprint).get(name, {}).get("format") == "timer"
        ]
        if not timers:
            return sa.false()
        return sa.and_(among(ENTITIES.blueprint, timers), expired((name,), self.by.at))

    def _shaped(self, shape: SchemaShape, rule: Comparison) -> tuple[Condition, tuple[str, ...]]:
        fitting: dict[tuple[str, ...], list[str]] = {}
        doubtful: list[str] = []
        for blueprint in self.candidates:
            schemas = self.definitions.schemas(blueprint)
            names = tuple(name for name, schema in schemas.items() if fits(schema, shape))
            if any(blueprint in self._doubtful.get(name, ()) for name in names):
                doubtful.append(blueprint)
            elif names:
                fitting.setdefault(names, []).append(blueprint)
        stored = [
            sa.and_(among(ENTITIES.blueprint, blueprints), Named(names).tested(rule, self.by))
            for names, blueprints in fitting.items()
        ]
        return any_of(stored), tuple(doubtful)

    @staticmethod
    def _constant(truth: bool) -> Condition:
        return sa.true() if truth else sa.false()


def _is_of_document(rule: Comparison) -> bool:
    """Whether the rule is about properties or teams: the row of the entity itself has no column for them."""
    match rule.subject:
        case Property(name):
            return not any(name in columns for columns in (_COLUMNS, _MOMENTS, _IN_DOCUMENT))
        case SchemaShape():
            return True
    return False


def _derived(definition: Definition) -> Iterable[str]:
    """The properties of which the tables do not know the values."""
    yield from derived(definition)
    if definition.inherited_from is not None:
        yield from _OF_TEAMS


def is_short(rule: Rule) -> bool:
    """Whether the rule compares one property with a plain value, or few: a hundred of those make no large statement."""
    match rule:
        case Comparison(subject=Property(), value=None | bool() | int() | float() | str()):
            return True
        case Comparison(subject=Property(), value=Listed(values)):
            return len(values) <= _SHORT
    return False


def refuse_large(statement: sa.Select[Any]) -> None:
    """Refuse what the database would not take.

    Raises:
        InvalidRequest: the statement has too many values.
    """
    found = 0
    for element in visitors.iterate(statement):
        if isinstance(element, sa.BindParameter):
            found += len(element.value) if element.expanding and isinstance(element.value, Sequence) else 1
    if found > MAX_PARAMETERS:
        raise InvalidRequest(
            f"the query: asks for too much at once, {found} values where {MAX_PARAMETERS} are possible"
        )
