"""What a query finds: every operator by example, and the laws that hold for all of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from domain.candidates import Entity, Reference
from domain.matching import Tests, looking_at, matches
from domain.rules import BLUEPRINT_SEARCH, DATASET, POLICY, SEARCH, Dialect, parsed
from domain.users import Caller, User

AT = datetime(2026, 3, 15, 12, tzinfo=UTC)
USER = User(id="user_1", email="ada@x.io", teams=("sre", "web"), created_at=AT, updated_at=AT)
ADA, MACHINE = Caller("org", "user_1", user=USER), Caller("org", "client", machine=True)


@dataclass(frozen=True)
class Graph:
    """A catalog of arrows: from, relation, to; a relation whose name ends in `!` is required."""

    arrows: Sequence[tuple[str, str, str]] = ()
    users: Mapping[str, JsonValue] = field(default_factory=dict)
    """The properties of the caller's own entity."""

    def _along(self, of: Reference, relation: str | None, required: bool | None, *, back: bool) -> Iterable[Reference]:
        for start, name, end in self.arrows:
            here, there = (end, start) if back else (start, end)
            if here == "/".join(of) and relation in (None, name.rstrip("!")) and required in (None, name.endswith("!")):
                yield Reference(*there.split("/"))

    def targets(
        self, of: Reference, *, relation: str | None = None, required: bool | None = None
    ) -> Iterable[Reference]:
        return self._along(of, relation, required, back=False)

    def sources(
        self, of: Reference, *, relation: str | None = None, required: bool | None = None
    ) -> Iterable[Reference]:
        return self._along(of, relation, required, back=True)

    def titles(self, of: Reference, relation: str) -> Mapping[str, str | None]:
        return {found.identifier: found.identifier.title() for found in self.targets(of, relation=relation)}

    def user(self, caller: Caller) -> Entity | None:
        return entity(self.users, identifier=caller.user.email) if caller.user else None

    def teams(self, caller: Caller) -> Sequence[Entity]:
        return [entity({"size": len(name)}, identifier=name) for name in caller.user.teams] if caller.user else []


def entity(properties: Mapping[str, JsonValue] | None = None, **more: Any) -> Entity:
    """An entity with these properties."""
    made = Entity("cart", "service", datetime(2026, 3, 14, 1, tzinfo=UTC), AT, properties=properties or {})
    return replace(made, **more)


def found(
    document: JsonValue, candidate: Entity, *, by: Caller = ADA, among: Graph | None = None, dialect: Dialect = SEARCH
) -> bool:
    """Whether a group of this one rule, or this group, finds the entity."""
    query = parsed({"combinator": "and", "rules": [document]}, dialect=dialect)
    return matches(query, candidate, at=AT, caller=by, catalog=among or Graph())


def rule(operator: str, value: Any = ..., subject: Any = "p", **more: Any) -> dict[str, JsonValue]:
    """A rule about the property `p`."""
    written: dict[str, JsonValue] = {"property": subject, "operator": operator, **more}
    return written if value is ... else {**written, "value": value}


def group(combinator: str, *rules: JsonValue) -> dict[str, JsonValue]:
    """A group of the rules."""
    return {"combinator": combinator, "rules": list(rules)}


NEGATIVES = {
    "=": "!=",
    "contains": "doesNotContain",
    "beginsWith": "doesNotBeginWith",
    "endsWith": "doesNotEndWith",
    "in": "notIn",
    "between": "notBetween",
    "isEmpty": "isNotEmpty",
    "isExpired": "isNotExpired",
}
NOW, LATER, EARLIER = "2026-03-15T12:00:00Z", "2026-03-15T12:00:00.001Z", "2026-03-15T11:59:59.999999999Z"


@pytest.mark.parametrize(
    ("value", "operator", "operand", "expected"),
    [
        ("a", "=", "a", True),
        ("a", "=", "A", False),
        (1, "=", 1.0, True),
        (1, "=", True, False),
        (0, "=", False, False),
        (1, "=", "1", False),
        (None, "=", None, True),
        ("", "=", None, False),
        (None, "=", "", False),
        (NOW, "=", "2026-03-15T13:00:00.000+01:00", True),
        (NOW, "=", "2026-03-15 12:00:00Z", False),
        ("2026-02-30T00:00:00Z", "=", "2026-02-30T00:00:00Z", True),
        ([1, "a"], "=", [1.0, "a"], True),
        ([1, "a"], "=", ["a", 1], False),
        ([1], "=", 1, False),
        ([[1]], "=", [1], False),
        ({"a": 1}, "=", "a", False),
        (2, ">", 1, True),
        (1, ">", 1, False),
        (1, ">=", 1, True),
        (0.5, "<", 1, True),
        (1, "<", 1, False),
        (1, "<=", 1, True),
        (2, "<=", 1, False),
        (2**1024 - 1, ">", 1, True),
        (1 - 2**1024, "<", 1, True),
        (True, "<=", 1, False),
        ("2", ">", 1, False),
        (None, "<", 1, False),
        (LATER, ">", NOW, True),
        (EARLIER, ">=", NOW, False),
        (EARLIER, "<", NOW, True),
        (NOW, "<=", "2026-03-15T14:00:00+02:00", True),
        (NOW, ">", 1, False),
        ("abc", "contains", "b", True),
        ("abc", "contains", "B", False),
        ("a%c", "contains", "_", False),
        ("abc", "contains", "", True),
        ("12", "contains", 1, False),
        (12, "contains", 1, False),
        (["a", "bc"], "contains", "b", False),
        (["a", 1], "contains", 1.0, True),
        ([True], "contains", 1, False),
        ([NOW], "contains", "2026-03-15T13:00:00+01:00", True),
        ({"a": "b"}, "contains", "a", False),
        (None, "contains", "", False),
        ("abc", "beginsWith", "ab", True),
        ("abc", "beginsWith", "b", False),
        (["ab"], "beginsWith", "a", False),
        ("abc", "endsWith", "bc", True),
        ("abc", "endsWith", "b", False),
        (None, "endsWith", "", False),
        ("a", "in", ["b", "a"], True),
        ("a", "in", ["A"], False),
        ("a", "in", [], False),
        (1, "in", [True, "1"], False),
        (None, "in", [None], True),
        (None, "in", ["a"], False),
        (["x", "a"], "in", ["a", "b"], True),
        (["x"], "in", ["a", "b"], False),
        ([], "in", [None], False),
        ([["a"]], "in", ["a", None], False),
        ({"a": 1}, "in", ["a", None], False),
        (NOW, "between", {"from": NOW, "to": NOW}, True),
        (LATER, "between", {"from": NOW, "to": NOW}, False),
        (NOW, "between", {"from": LATER, "to": EARLIER}, False),
        (5, "between", {"from": EARLIER, "to": LATER}, False),
        (None, "between", {"preset": "last3Years"}, False),
        (None, "isEmpty", ..., True),
        ("", "isEmpty", ..., False),
        ([], "isEmpty", ..., False),
        (0, "isEmpty", ..., False),
        (NOW, "isExpired", ..., True),
        (LATER, "isExpired", ..., False),
        (None, "isExpired", ..., False),
        ("soon", "isExpired", ..., False),
    ],
)
def test_an_operator_and_its_negation(value: JsonValue, operator: str, operand: JsonValue, expected: bool) -> None:
    candidate = entity({"p": value}, schemas={"p": {"type": "string", "format": "timer"}})
    assert found(rule(operator, operand), candidate) is expected
    if operator in NEGATIVES:
        assert found(rule(NEGATIVES[operator], operand), candidate) is not expected


@pytest.mark.parametrize(
    ("value", "operand", "expected"),
    [
        (["a", "b"], ["c", "b"], True),
        (["a"], ["b"], False),
        ("a", ["a"], False),
        ([], [None], False),
        ([1], [True], False),
    ],
)
def test_contains_any_asks_whether_arrays_overlap(value: JsonValue, operand: JsonValue, expected: bool) -> None:
    assert found(rule("containsAny", operand), entity({"p": value})) is expected


def test_a_property_that_is_missing_is_null() -> None:
    assert found(rule("isEmpty"), entity())
    assert found(rule("=", None), entity())
    assert found(rule("!=", "a"), entity())
    assert found(rule("notIn", ["a"]), entity())


def test_only_timers_expire() -> None:
    assert found(rule("isExpired"), entity({"p": NOW}, schemas={"p": {"type": "string", "format": "timer"}}))
    assert not found(rule("isExpired"), entity({"p": NOW}, schemas={"p": {"type": "string", "format": "date-time"}}))
    assert not found(rule("isExpired"), entity({"p": NOW}))


@pytest.mark.parametrize(
    ("preset", "first", "last"),
    [
        ("today", "2026-03-15T00:00:00Z", "2026-03-15T23:59:59.999999Z"),
        ("tomorrow", "2026-03-16T00:00:00Z", "2026-03-16T23:59:59.999999Z"),
        ("yesterday", "2026-03-14T00:00:00Z", "2026-03-14T23:59:59.999999Z"),
        ("lastDay", "2026-03-14T12:00:00Z", NOW),
        ("lastWeek", "2026-03-08T12:00:00Z", NOW),
        ("last2Weeks", "2026-03-01T12:00:00Z", NOW),
        ("lastMonth", "2026-02-13T12:00:00Z", NOW),
        ("last3Months", "2025-12-15T12:00:00Z", NOW),
        ("last6Months", "2025-09-16T12:00:00Z", NOW),
        ("last12Months", "2025-03-15T12:00:00Z", NOW),
        ("last2Years", "2024-03-15T12:00:00Z", NOW),
        ("last3Years", "2023-03-16T12:00:00Z", NOW),
    ],
)
@pytest.mark.parametrize("operator", ["between", "="])
def test_a_preset_has_a_first_and_a_last_moment(preset: str, first: str, last: str, operator: str) -> None:
    period = {"from": first, "to": last}
    for moment in (first, last):
        assert found(rule(operator, {"preset": preset}), entity({"p": moment}))
    grain = timedelta(microseconds=1)
    before = (datetime.fromisoformat(first) - grain).isoformat()
    after = (datetime.fromisoformat(last) + grain).isoformat()
    for moment in (before, after):
        assert not found(rule(operator, {"preset": preset}), entity({"p": moment}))
        assert found(rule("notBetween", period), entity({"p": moment}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("$identifier", "cart"),
        ("$title", "Cart"),
        ("$icon", None),
        ("$blueprint", "service"),
        ("$team", ["sre"]),
        ("$datasource", "ocean"),
        ("$createdAt", "2026-03-14T01:00:00.000Z"),
        ("$updatedAt", NOW),
        ("$createdBy", "ada"),
        ("$updatedBy", None),
        ("$owned_by_team", True),
        ("$owned_by_team", "true"),
    ],
)
def test_what_every_entity_has(name: str, value: JsonValue) -> None:
    candidate = entity(
        {"identifier": "other", name: "other"}, title="Cart", team=("sre",), datasource="ocean", created_by="ada"
    )
    assert found(rule("=", value, name), candidate)
    assert not found(rule("=", "other", name), candidate)


def test_an_entity_without_teams_has_an_empty_team_and_is_nobodys() -> None:
    assert found(rule("isEmpty", subject="$team"), entity())
    assert found(rule("=", "false", "$owned_by_team"), entity())
    assert found(rule("=", False, "$owned_by_team"), entity(team=("sre",)), by=MACHINE)


@pytest.mark.parametrize("word", ["My Teams", "myTeamsDynamicFilter"])
def test_my_teams_are_the_callers(word: str) -> None:
    mine, other = entity(team=("db", "web")), entity(team=("db",))
    listed = rule("in", [word, "ops"], "$team")
    assert found(listed, mine)
    assert found(listed, entity(team=("ops",)))
    assert not found(listed, other)
    assert not found(listed, mine, by=MACHINE)
    assert not found(rule("in", [word]), entity({"p": "web"})), "only of $team"


# Contextual operands.

ME: dict[str, JsonValue] = {"context": "user", "property": "$identifier"}
TEAMS: dict[str, JsonValue] = {"context": "userTeams", "property": "$identifier"}


@pytest.mark.parametrize(
    ("written", "properties", "expected"),
    [
        (rule("=", ME), {"p": "ada@x.io"}, True),
        (rule("=", ME), {"p": "eve@x.io"}, False),
        (rule("=", TEAMS), {"p": ["sre", "web"]}, True),
        (rule("in", TEAMS), {"p": "web"}, True),
        (rule("in", TEAMS), {"p": "ops"}, False),
        (rule("in", ME), {"p": "ada@x.io"}, True),
        (rule("containsAny", TEAMS), {"p": ["ops", "sre"]}, True),
        (rule("containsAny", TEAMS), {"p": ["ops"]}, False),
        (rule("contains", ME), {"p": ["ada@x.io"]}, True),
        (rule("contains", ME), {"p": "mailto:ada@x.io"}, True),
        (rule("beginsWith", ME), {"p": "ada@x.io/1"}, True),
        (rule("endsWith", ME), {"p": "to ada@x.io"}, True),
        (rule(">", {"context": "user", "property": "level"}), {"p": 4}, True),
        (rule(">", {"context": "user", "property": "level"}), {"p": 3}, False),
        (rule("between", {"context": "user", "property": "shift"}), {"p": NOW}, True),
        (rule("between", {"context": "user", "property": "level"}), {"p": NOW}, False),
        (rule("=", {"context": "user", "property": "nested"}), {"p": [[1]]}, False),
        (rule("=", 3, {"context": "user", "property": "level"}), {}, True),
        (rule("contains", 3, {"context": "userTeams", "property": "size"}), {}, True),
        (rule("isEmpty", subject={"context": "user", "property": "gone"}), {}, True),
    ],
)
def test_a_contextual_operand_is_the_callers(written: JsonValue, properties: Any, expected: bool) -> None:
    among = Graph(users={"level": 3, "nested": [[1]], "shift": {"from": EARLIER, "to": LATER}})
    assert found(written, entity(properties), among=among) is expected


@pytest.mark.parametrize("operator", ["=", "in", "containsAny", "contains", ">=", "beginsWith", "between"])
@pytest.mark.parametrize("value", [None, [None], ["a"], "a", 1, NOW])
@pytest.mark.parametrize("caller", [ADA, MACHINE])
def test_a_contextual_value_that_is_null_equals_nothing(operator: str, value: JsonValue, caller: Caller) -> None:
    nobody = {"context": "user", "property": "manager"}
    assert not found(rule(operator, nobody), entity({"p": value}), by=caller)
    if operator in NEGATIVES:
        assert found(rule(NEGATIVES[operator], nobody), entity({"p": value}), by=caller)


def test_null_is_in_no_contextual_list() -> None:
    assert not found(rule("in", {"context": "userTeams", "property": "lead"}), entity())


def test_a_value_that_is_not_computed_finds_nothing() -> None:
    for operator in ("=", "!=", "in", "notIn"):
        assert not found(rule(operator, {"jqQuery": ".x"}), entity(), dialect=DATASET)
        assert not found(rule(operator, "{{ .x }}"), entity(), dialect=POLICY)
    assert not found(related("app", {"jqQuery": "1"}), named("service/cart"), among=CHAIN, dialect=DATASET)


# Schemas, relations, scorecards.


@pytest.mark.parametrize(
    ("shape", "operator", "value", "expected"),
    [
        ({"type": "string"}, "=", "x", True),
        ({"type": "string", "format": "user"}, "=", "x", False),
        ({"type": "string", "format": "user"}, "!=", "x", True),
        ({"type": "string", "format": "user"}, "=", "ada", True),
        ({"type": "string"}, "!=", "x", False),
        ({"type": "string"}, "!=", "elsewhere", True),
        ({"type": "string"}, "contains", "ad", True),
        ({"type": "number"}, "=", "x", False),
        ({"type": "array", "items": {"type": "string"}}, "contains", "eve", True),
        ({"type": "array", "items": {"format": "user"}}, "contains", "eve", True),
        ({"type": "array", "items": {"format": "team"}}, "contains", "eve", False),
        ({"type": "string"}, "=", None, True),
    ],
)
def test_a_schema_stands_for_every_property_that_fits(
    shape: JsonValue, operator: str, value: JsonValue, expected: bool
) -> None:
    schemas: dict[str, Any] = {
        "a": {"type": "string"},
        "b": {"type": "string", "format": "user"},
        "c": {"type": "array", "items": {"type": "string", "format": "user"}},
        "missing": {"type": "string"},
    }
    candidate = entity({"a": "x", "b": "ada", "c": ["eve"], "unknown": "elsewhere"}, schemas=schemas)
    assert found({"propertySchema": shape, "operator": operator, "value": value}, candidate) is expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"relation": "domain", "operator": "=", "value": "shop"}, True),
        ({"relation": "domain", "targetProperty": "$title", "operator": "=", "value": "Shop"}, True),
        ({"relation": "domain", "targetProperty": "$title", "operator": "=", "value": "shop"}, False),
        ({"relation": "uses", "operator": "contains", "value": "db"}, True),
        ({"relation": "uses", "targetProperty": "$title", "operator": "containsAny", "value": ["Db"]}, True),
        ({"relation": "uses", "operator": "in", "value": ["queue"]}, False),
        ({"relation": "nothing", "operator": "isEmpty"}, True),
        ({"relation": "nothing", "targetProperty": "$title", "operator": "isEmpty"}, True),
        ({"relation": "domain", "operator": "isEmpty"}, False),
        ({"scorecard": "ready", "operator": "=", "value": "Gold"}, True),
        ({"scorecard": "ready", "scorecardRule": "r2", "operator": "=", "value": "FAILURE"}, True),
        ({"scorecard": "ready", "scorecardRule": "r2", "operator": "!=", "value": "FAILURE"}, False),
        ({"scorecard": "ready", "scorecardRule": "r3", "operator": "isEmpty"}, True),
        ({"scorecard": "none", "operator": "isEmpty"}, True),
    ],
)
def test_relations_and_scorecards_of_one_blueprint(written: JsonValue, expected: bool) -> None:
    results: list[JsonValue] = [{"identifier": "r1", "status": "SUCCESS"}, {"identifier": "r2", "status": "FAILURE"}]
    candidate = entity(
        relations={"domain": "shop", "uses": ["db", "cache"]},
        scorecards={"ready": {"level": "Gold", "rules": results}},
    )
    among = Graph([("service/cart", "domain", "domain/shop"), ("service/cart", "uses", "db/db")])
    assert found(written, candidate, among=among, dialect=BLUEPRINT_SEARCH) is expected


# Chains of relations: app -> service -> db, and what is around them.


CHAIN = Graph(
    [
        ("app/web", "service!", "service/cart"),
        ("service/cart", "db", "db/main"),
        ("db/main", "host!", "host/h1"),
        ("folder/a", "parent", "folder/b"),
        ("folder/b", "parent", "folder/c"),
        ("folder/c", "parent", "folder/a"),
        ("app/web", "folder", "folder/a"),
    ]
)


def named(name: str) -> Entity:
    """The entity of this blueprint and identifier."""
    blueprint, identifier = name.split("/")
    return entity(blueprint=blueprint, identifier=identifier)


def related(blueprint: str, value: JsonValue, **more: JsonValue) -> dict[str, JsonValue]:
    """A rule about relations of any depth."""
    return {"operator": "relatedTo", "blueprint": blueprint, "value": value, **more}


@pytest.mark.parametrize(
    ("candidate", "written", "expected"),
    [
        ("host/h1", related("app", "web"), True),
        ("host/h1", related("app", "web", direction="upstream"), True),
        ("host/h1", related("app", "web", direction="downstream"), False),
        ("app/web", related("host", ["other", "h1"], direction="downstream"), True),
        ("app/web", related("host", "h1", direction="upstream"), False),
        ("app/web", related("host", "h1"), True),
        ("app/web", related("host", []), False),
        ("app/web", related("service", "h1"), False),
        ("app/web", related("app", "web"), False),
        ("folder/a", related("folder", "a"), True),
        ("folder/a", related("service", "cart"), False),
        ("service/cart", related("app", "web", required=True), True),
        ("service/cart", related("app", "web", required=False), False),
        ("db/main", related("app", "web", required=True), False),
        ("db/main", related("service", "cart", required=False), True),
        ("service/cart", related("team", TEAMS), False),
    ],
)
def test_related_to_follows_relations_to_any_depth(candidate: str, written: JsonValue, expected: bool) -> None:
    assert found(written, named(candidate), among=CHAIN) is expected


def test_related_to_what_the_caller_names() -> None:
    among = Graph([("service/cart", "owner", "_team/web")])
    assert found(related("_team", TEAMS), named("service/cart"), among=among)
    assert not found(related("_team", TEAMS), named("service/cart"), among=among, by=MACHINE)


def hops(value: JsonValue, *path: JsonValue, **more: JsonValue) -> dict[str, JsonValue]:
    """A rule about one path of relations."""
    return {"operator": "matchAny", "property": {"path": list(path), **more}, "value": value}


@pytest.mark.parametrize(
    ("candidate", "written", "expected"),
    [
        ("app/web", hops("main", "service", "db"), True),
        ("app/web", hops(["x", "main"], "service", "db"), True),
        ("app/web", hops("main", "service"), False),
        ("app/web", hops("cart", "service", "db"), False),
        ("app/web", hops("main", "db", "service"), False),
        ("db/main", hops("web", "service", "db", fromBlueprint="app"), True),
        ("db/main", hops("web", "db", "service", fromBlueprint="app"), False),
        ("db/main", hops("web", "service", "db", fromBlueprint="service"), False),
        ("db/main", hops("other", "service", "db", fromBlueprint="app"), False),
        ("folder/a", hops("c", "parent"), False),
        ("folder/a", hops("c", {"relation": "parent", "maxHops": 1}), False),
        ("folder/a", hops("c", {"relation": "parent", "maxHops": 2}), True),
        ("folder/a", hops("b", {"relation": "parent", "maxHops": 2}), True),
        ("folder/a", hops("a", {"relation": "parent", "maxHops": 2}), False),
        ("folder/a", hops("a", {"relation": "parent", "maxHops": 15}), True),
        ("app/web", hops("c", "folder", {"relation": "parent", "maxHops": 2}), True),
        ("folder/c", hops("web", "folder", {"relation": "parent", "maxHops": 2}, fromBlueprint="app"), True),
        ("folder/c", hops("web", "folder", "parent", fromBlueprint="app"), False),
    ],
)
def test_match_any_follows_exactly_its_path(candidate: str, written: JsonValue, expected: bool) -> None:
    assert found(written, named(candidate), among=CHAIN) is expected


# Laws.

scalars = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "a", "ab", "sre", NOW, LATER, EARLIER])
huge = st.integers() | st.floats(allow_nan=False) | st.just(10**400) | st.text(max_size=3)
values: st.SearchStrategy[JsonValue] = st.recursive(
    scalars | huge,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abp"), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(["p", "q", "gone", "$team", "$createdAt", "$title", "$owned_by_team"])
contexts = st.fixed_dictionaries({"context": st.sampled_from(["user", "userTeams"]), "property": names})
moments = st.sampled_from([NOW, LATER, EARLIER])
periods = st.fixed_dictionaries({"from": moments, "to": moments}) | st.just({"preset": "today"})
lists = st.lists(scalars, max_size=3)
operands: dict[str, st.SearchStrategy[Any]] = {
    "=": scalars | lists | contexts,
    ">": st.integers(-2, 2) | moments | contexts,
    ">=": st.integers(-2, 2) | moments | contexts,
    "<": st.integers(-2, 2) | moments | contexts,
    "<=": st.integers(-2, 2) | moments | contexts,
    "contains": scalars.filter(lambda value: value is not None) | contexts,
    "containsAny": lists | contexts,
    "beginsWith": st.sampled_from(["", "a"]) | contexts,
    "endsWith": st.sampled_from(["", "b"]) | contexts,
    "in": lists | contexts,
    "between": periods | contexts,
    "isEmpty": st.just(...),
    "isExpired": st.just(...),
}
positives = st.one_of(
    *(
        st.builds(rule, st.just(operator), operand, names if operator == "isExpired" else names | contexts)
        for operator, operand in operands.items()
    )
)
relational = st.builds(
    related, st.sampled_from(["folder", "service"]), st.sampled_from(["a", "cart", ["b"]]) | contexts
) | st.builds(hops, st.sampled_from(["a", ["c"]]) | contexts, st.sampled_from(["parent", "db"]))
schematic = st.builds(
    lambda kind, operator, value: {"propertySchema": {"type": kind}, "operator": operator, "value": value},
    st.sampled_from(["string", "array"]),
    st.sampled_from(["=", "!=", "contains"]),
    scalars.filter(lambda value: value is not None),
)
rules: st.SearchStrategy[Any] = st.recursive(
    positives | relational | schematic,
    lambda inner: st.builds(lambda way, parts: group(way, *parts), st.sampled_from(["and", "or"]), st.lists(inner)),
    max_leaves=5,
)
schema = st.sampled_from(
    [{"type": "string"}, {"type": "string", "format": "timer"}, {"type": "array", "items": {"type": "string"}}]
)
candidates = st.builds(
    lambda properties, relations, schemas, team: entity(
        properties, relations=relations, schemas=schemas, team=team, blueprint="folder", identifier="a"
    ),
    st.dictionaries(st.sampled_from("pq"), values),
    st.dictionaries(st.sampled_from("pq"), values),
    st.dictionaries(st.sampled_from("pq"), schema),
    st.sampled_from([(), ("sre",), ("ops", "web")]),
)
callers = st.sampled_from([ADA, MACHINE])
graphs = st.builds(lambda properties: replace(CHAIN, users=properties), st.dictionaries(st.sampled_from("pq"), values))


@given(positives, candidates, callers, graphs)
def test_a_negation_is_the_negation(written: dict[str, Any], candidate: Entity, by: Caller, among: Graph) -> None:
    if negative := NEGATIVES.get(written["operator"]):
        negated = {**written, "operator": negative}
        assert found(written, candidate, by=by, among=among) is not found(negated, candidate, by=by, among=among)


@given(st.lists(rules, min_size=1, max_size=3), candidates, callers, graphs)
def test_groups_are_all_and_any_of_their_rules(parts: list[Any], candidate: Entity, by: Caller, among: Graph) -> None:
    each = [found(part, candidate, by=by, among=among) for part in parts]
    assert found(group("and", *parts), candidate, by=by, among=among) is all(each)
    assert found(group("or", *parts), candidate, by=by, among=among) is any(each)
    assert found(group("or", group("and", *parts)), candidate, by=by, among=among) is all(each)


@pytest.mark.parametrize("combinator", ["and", "or"])
def test_a_group_without_rules_finds_everything(combinator: str) -> None:
    assert found(group(combinator), entity())


@given(st.sampled_from(["relation", "scorecard"]), positives, values, candidates, callers)
def test_a_rule_of_one_blueprint_never_fails_on_what_it_meets(
    kind: str, written: dict[str, Any], value: JsonValue, candidate: Entity, by: Caller
) -> None:
    if written["operator"] in ("=", "contains", "containsAny", "beginsWith", "endsWith", "in", "isEmpty"):
        about = {"operator": written["operator"], kind: "p"} | (
            {"value": written["value"]} if "value" in written else {}
        )
        met = replace(candidate, scorecards={"p": value}, relations={"p": value})
        assert found(about, met, by=by, dialect=BLUEPRINT_SEARCH) in (True, False)


@given(values, candidates, st.sampled_from(["=", "in", "contains"]))
def test_equality_finds_a_scalar_by_itself(value: JsonValue, candidate: Entity, operator: str) -> None:
    if isinstance(value, list | dict) or (operator == "contains" and value is None):
        return
    operand = [value] if operator == "in" else value
    held: JsonValue = [value] if operator == "contains" else value
    assert found(rule(operator, operand), replace(candidate, properties={"p": held}))


@pytest.mark.parametrize("operator", ["=", "!=", ">", "<=", "contains", "in", "between", "isEmpty"])
def test_what_rules_ask_for_can_be_found_out_once_for_many_entities(operator: str) -> None:
    wanted: Any = {"in": [1, "a", NOW], "between": {"from": EARLIER, "to": LATER}}.get(operator, NOW)
    rules: list[JsonValue] = [
        {"property": name, "operator": operator, "value": value} if operator != "isEmpty" else
        {"property": name, "operator": operator}
        for name in ("p", "q") for value in (wanted, wanted if operator in ("in", "between") else 1)
    ]  # fmt: skip
    queries = [parsed({"combinator": how, "rules": rules}, dialect=SEARCH) for how in ("and", "or")]
    values: list[JsonValue] = [None, True, 0, 1, 1.0, "a", "1", NOW, EARLIER, LATER, [1], [NOW, "a"], {"a": 1}]
    tests: Tests = {}
    for value in values:
        for other in values:
            entity = Entity("e", "b", AT, AT, properties={"p": value, "q": other})
            asked = looking_at(entity, at=AT, caller=ADA, catalog=Graph(), tests=tests)
            for query in queries:
                assert asked(query) is matches(query, entity, at=AT, caller=ADA, catalog=Graph()), (value, other)
    assert len(tests) <= len(rules) * len(queries)
