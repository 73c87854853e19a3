"""Whether one entity is what a catalog query asks for.

This is the meaning of every rule; a store that searches by SQL has to find exactly the same. How values compare is in
`domain/comparisons.py`. Beyond that:

- A property that is missing is null, and so is `$team` of an entity without teams. `isEmpty` means null, nothing else.
- `contains`: a text holds a text, an array an element. `containsAny`: an array has an element that is listed.
  `in`: the value is listed; of an array, any element is. `=` compares whole arrays.
- `isExpired`: the schema says that the property is a timer, and its instant is not after now.
- With `propertySchema` one property that fits is enough; `!=` says that there is none.
- A contextual value that is null equals nothing, not even null: who has no manager does not own what has no owner.
  Where a list is asked for, one value is a list of it and null is in no list. Machines have no `user` and no
  `userTeams`.
- `My Teams` and `myTeamsDynamicFilter`, listed for `in` on `$team`, stand for the caller's teams.
- `$owned_by_team` is true if the caller and the entity share a team.
"""

import operator
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

from pydantic import JsonValue

from domain.candidates import Catalog, Entity, Reference
from domain.comparisons import Key, Scalar, compares, contains, equals, instant, key
from domain.documents import Document
from domain.rule_values import (
    Comparison,
    Computed,
    Context,
    Hop,
    Identifiers,
    Listed,
    Operand,
    Operator,
    PathMatch,
    Period,
    Preset,
    Property,
    Query,
    Related,
    RelationEnd,
    Rule,
    SchemaShape,
    ScorecardResult,
)
from domain.users import Caller

MY_TEAMS: Final = ("My Teams", "myTeamsDynamicFilter")
"""What stands for the caller's teams."""

_ORDERS: Final[dict[Operator, Callable[[Any, Any], bool]]] = {
    Operator.ABOVE: operator.gt,
    Operator.AT_LEAST: operator.ge,
    Operator.BELOW: operator.lt,
    Operator.AT_MOST: operator.le,
}


Test: TypeAlias = Callable[[JsonValue], bool]
"""Whether a value is what a rule asks for."""
Tests: TypeAlias = dict[int, tuple[Comparison, Test]]
"""What rules ask for, by their ids, before one caller at one moment."""
_Step: TypeAlias = Callable[[Reference], Iterable[Reference]]


def matches(query: Query, entity: Entity, *, at: datetime, caller: Caller, catalog: Catalog) -> bool:
    """Whether the query finds the entity.

    `at` is the moment that presets and timers see as now; `caller` is whom `user` and `userTeams` are about.
    """
    return looking_at(entity, at=at, caller=caller, catalog=catalog)(query)


def looking_at(
    entity: Entity, *, at: datetime, caller: Caller, catalog: Catalog, tests: Tests | None = None
) -> Callable[[Rule], bool]:
    """The same for several rules about one entity: tells of each whether it holds.

    `tests` is for who asks the same of many entities: what the rules ask for is then found out once.
    """
    return _Match(at, caller, catalog, entity, {} if tests is None else tests).holds


@dataclass(frozen=True, slots=True)
class Operands:
    """What the values of rules are, before one caller at one moment; nothing here knows an entity."""

    at: datetime
    caller: Caller
    catalog: Catalog

    def tested(self, found: JsonValue, rule: Comparison) -> bool:
        """Whether a value is what the rule asks for, its negation aside."""
        return self.test(rule)(found)

    def test(self, rule: Comparison) -> Test:
        """Tells of values whether they are what the rule asks for, its negation aside."""
        value = rule.value
        match rule.operator:
            case Operator.IS_EMPTY:
                return lambda found: found is None
            case Operator.EQUALS:
                wanted = self.plain(value)
                return _never if isinstance(value, Context) and wanted is None else equals(wanted)
            case Operator.CONTAINS:
                wanted = self.plain(value)
                return lambda found: wanted is not None and contains(found, wanted)
            case Operator.CONTAINS_ANY:
                keys = self.listed(rule)
                return lambda found: isinstance(found, list) and _is_any(found, keys)
            case Operator.IN:
                keys = self.listed(rule)
                return lambda found: _is_any(found if isinstance(found, list) else [found], keys)
            case Operator.BEGINS_WITH:
                wanted = self.plain(value)
                return lambda found: isinstance(found, str) and isinstance(wanted, str) and found.startswith(wanted)
            case Operator.ENDS_WITH:
                wanted = self.plain(value)
                return lambda found: isinstance(found, str) and isinstance(wanted, str) and found.endswith(wanted)
            case Operator.BETWEEN:
                period = self.period(value)
                if period is None:
                    return _never
                return lambda found: (moment := instant(found)) is not None and period.holds(moment)
        return compares(_ORDERS[rule.operator], self.plain(value)) if rule.operator in _ORDERS else _never

    def plain(self, value: Operand) -> JsonValue:
        """The value itself; null where it is none."""
        match value:
            case Context():
                return self.contextual(value)
            case Listed(values):
                return list(values)
            case None | bool() | int() | float() | str():
                return value
        return None

    def contextual(self, context: Context) -> JsonValue:
        """The property of the caller, or those of the caller's teams."""
        if context.whose == "userTeams":
            return [team.value(context.property) for team in self.catalog.teams(self.caller)]
        user = self.catalog.user(self.caller)
        return None if user is None else user.value(context.property)

    def listed(self, rule: Comparison) -> frozenset[Key | None]:
        """What the values that the rule lists are compared by."""
        match rule.value:
            case Listed(keys=keys):
                is_team = rule.operator is Operator.IN and rule.subject == Property("$team")
                if is_team and not keys.isdisjoint(map(key, MY_TEAMS)):
                    keys |= {key(team) for team in self.my_teams}
                return keys
            case Context() as context:
                return _keys(self.contextual(context))
        return frozenset()

    @property
    def my_teams(self) -> tuple[str, ...]:
        """The caller's teams."""
        return self.caller.user.teams if self.caller.user else ()

    def period(self, value: Operand) -> Period | None:
        """The period, or None where the value is none."""
        match value:
            case Period():
                return value
            case Preset():
                return value.at(self.at)
            case Context() as context:
                match self.contextual(context):
                    case {"from": start, "to": end}:
                        first, last = instant(start), instant(end)
                        return Period(first, last) if first and last else None
        return None

    def identifiers(self, wanted: Identifiers) -> frozenset[str]:
        """The entities that a rule about relations asks for."""
        match wanted:
            case Context():
                value = self.contextual(wanted)
                return frozenset(one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str))
            case Computed():
                return frozenset()
        return wanted


@dataclass(frozen=True, slots=True)
class _Match(Operands):
    """One entity before one caller, at one moment."""

    entity: Entity
    tests: Tests

    def holds(self, rule: Rule) -> bool:
        match rule:
            case Comparison():
                return not isinstance(rule.value, Computed) and self._compared(rule) is not rule.negated
            case Query(combinator, rules):
                met = map(self.holds, rules)
                return all(met) if combinator == "and" or not rules else any(met)
            case Related():
                return self._is_related(rule)
            case PathMatch():
                return self._is_on_path(rule)

    def _compared(self, rule: Comparison) -> bool:
        match rule.subject:
            case Property(name) if rule.operator is Operator.IS_EXPIRED:
                return self._is_expired(name)
            case Property("$owned_by_team"):
                return self._test(rule)(bool(set(self.my_teams) & set(self.entity.team)))
            case Property(name):
                return self._test(rule)(self.entity.value(name))
            case SchemaShape() as shape:
                test = self._test(rule)
                return any(
                    test(self.entity.properties.get(name))
                    for name, schema in self.entity.schemas.items()
                    if fits(schema, shape)
                )
            case Context() as context:
                return self._test(rule)(self.contextual(context))
            case RelationEnd(name, end):
                return self._test(rule)(self._ends(name, end))
            case ScorecardResult(name, part):
                return self._test(rule)(_result(self.entity.scorecards.get(name), part))

    def _test(self, rule: Comparison) -> Test:
        known = self.tests.get(id(rule))
        if known is None:
            known = self.tests[id(rule)] = rule, self.test(rule)
        return known[1]

    def _is_expired(self, name: str) -> bool:
        moment = instant(self.entity.value(name))
        is_timer = self.entity.schemas.get(name, {}).get("format") == "timer"
        return is_timer and moment is not None and moment <= self.at

    def _ends(self, relation: str, end: str) -> JsonValue:
        value = self.entity.relations.get(relation)
        if end == "$identifier":
            return value
        titles = self.catalog.titles(self._reference, relation)
        if isinstance(value, list):
            return [titles.get(one) for one in value if isinstance(one, str)]
        return titles.get(value) if isinstance(value, str) else None

    @property
    def _reference(self) -> Reference:
        return Reference(self.entity.blueprint, self.entity.identifier)

    def _is_related(self, rule: Related) -> bool:
        identifiers = self.identifiers(rule.identifiers)

        def follow(step: Callable[..., Iterable[Reference]]) -> bool:
            return any(
                found.blueprint == rule.blueprint and found.identifier in identifiers
                for found in _reached({self._reference}, lambda of: step(of, required=rule.required))
            )

        # What they depend on is found the other way round: they depend on the candidate.
        up = rule.direction != "downstream" and bool(identifiers) and follow(self.catalog.sources)
        return up or (rule.direction != "upstream" and bool(identifiers) and follow(self.catalog.targets))

    def _is_on_path(self, rule: PathMatch) -> bool:
        identifiers = self.identifiers(rule.identifiers)
        towards = rule.from_blueprint is not None
        step: Callable[..., Iterable[Reference]] = self.catalog.sources if towards else self.catalog.targets
        here = {self._reference}
        for hop in reversed(rule.path) if towards else rule.path:
            here = set(_reached(here, _along(step, hop), hop.most))
        return any(found.identifier in identifiers and rule.from_blueprint in (None, found.blueprint) for found in here)


def _along(step: Callable[..., Iterable[Reference]], hop: Hop) -> _Step:
    return lambda of: step(of, relation=hop.relation)


def _reached(start: set[Reference], step: _Step, most: int | None = None) -> Iterable[Reference]:
    """Everything that one step or more leads to, nearest first and each once; at most `most` steps."""
    seen: set[Reference] = set()
    edge = start
    while edge and most != 0:
        edge = {found for of in edge for found in step(of)} - seen
        seen |= edge
        yield from edge
        most = None if most is None else most - 1


def _never(_: JsonValue) -> bool:
    return False


def _is_any(found: Sequence[JsonValue], keys: Collection[Key | None]) -> bool:
    return any(key(one) in keys for one in found)


def _keys(value: JsonValue) -> frozenset[Key | None]:
    """What the elements of a contextual list are compared by."""
    listed: list[JsonValue] = value if isinstance(value, list) else [value]
    return frozenset(key(one) for one in listed if one is not None and isinstance(one, Scalar))


def fits(schema: Document, shape: SchemaShape) -> bool:
    """Whether a property of this schema is one that the shape stands for."""
    items = schema.get("items")
    said = items if isinstance(items, dict) else {}
    return schema.get("type") == shape.type and all(
        wanted in (None, found)
        for wanted, found in (
            (shape.format, schema.get("format")),
            (shape.items_type, said.get("type")),
            (shape.items_format, said.get("format")),
        )
    )


def _result(scorecard: JsonValue, part: str | None) -> JsonValue:
    match scorecard:
        case {"level": level} if part is None:
            return level
        case {"rules": [*results]}:
            return next(
                (one.get("status") for one in results if isinstance(one, dict) and one.get("identifier") == part), None
            )
    return None
