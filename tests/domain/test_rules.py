"""The rule grammar: what is read, and what is refused with which words."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from domain.comparisons import instant
from domain.errors import InvalidRequest
from domain.rule_values import (
    SPELLINGS,
    Comparison,
    Computed,
    Context,
    Hop,
    Listed,
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
from domain.rules import BLUEPRINT_SEARCH, CONDITION, DATASET, POLICY, SEARCH, Dialect, parsed

FROM, TO = "2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00+01:00"
START, END = instant(FROM), instant(TO)
assert START is not None
assert END is not None
MINE = {"context": "userTeams", "property": "$identifier"}
IDENTIFIER, AGE = Property("$identifier"), Property("age")


def query(*rules: JsonValue, **more: JsonValue) -> dict[str, JsonValue]:
    """A group of the rules, all of which hold."""
    return {"combinator": "and", "rules": list(rules), **more}


def rule(operator: str, value: Any = ..., subject: Any = "age", **more: Any) -> dict[str, JsonValue]:
    """A rule about a property."""
    written: dict[str, JsonValue] = {"property": subject, "operator": operator, **more}
    return written if value is ... else {**written, "value": value}


def path(*steps: JsonValue, **more: JsonValue) -> dict[str, JsonValue]:
    """A `matchAny` rule over these steps."""
    return {"property": {"path": list(steps), **more}, "operator": "matchAny", "value": "x"}


def nested(levels: int) -> dict[str, JsonValue]:
    """As many groups inside the outermost one."""
    made = query()
    for _ in range(levels):
        made = query(made)
    return made


def refusal(document: JsonValue, dialect: Dialect = SEARCH) -> str:
    """What is said about a document that is refused."""
    with pytest.raises(InvalidRequest) as error:
        parsed(document, dialect=dialect)
    return str(error.value)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (rule("=", None), Comparison(AGE, Operator.EQUALS)),
        (rule("=", 3.5), Comparison(AGE, Operator.EQUALS, 3.5)),
        (rule("!=", True), Comparison(AGE, Operator.EQUALS, True, negated=True)),
        (rule("=", ["a", None]), Comparison(AGE, Operator.EQUALS, Listed.of("a", None))),
        (rule("=", {"preset": "today"}), Comparison(AGE, Operator.BETWEEN, Preset.TODAY)),
        (rule("=", MINE), Comparison(AGE, Operator.EQUALS, Context("userTeams", "$identifier"))),
        (rule(">", 1), Comparison(AGE, Operator.ABOVE, 1)),
        (rule("<=", FROM), Comparison(AGE, Operator.AT_MOST, FROM)),
        (rule("between", {"from": FROM, "to": TO}), Comparison(AGE, Operator.BETWEEN, Period(START, END))),
        (rule("notBetween", {"preset": "last3Years"}), Comparison(AGE, Operator.BETWEEN, Preset.LAST_3_YEARS, True)),
        (rule("contains", ""), Comparison(AGE, Operator.CONTAINS, "")),
        (rule("beginsWith", "a"), Comparison(AGE, Operator.BEGINS_WITH, "a")),
        (rule("containsAny", []), Comparison(AGE, Operator.CONTAINS_ANY, Listed.of())),
        (rule("in", [1, "a"]), Comparison(AGE, Operator.IN, Listed.of(1, "a"))),
        (rule("notIn", MINE), Comparison(AGE, Operator.IN, Context("userTeams", "$identifier"), negated=True)),
        (rule("isEmpty", subject="$team"), Comparison(Property("$team"), Operator.IS_EMPTY)),
        (rule("isNotExpired"), Comparison(AGE, Operator.IS_EXPIRED, negated=True)),
        (rule("=", 1, MINE), Comparison(Context("userTeams", "$identifier"), Operator.EQUALS, 1)),
        (rule("=", "true", "$owned_by_team"), Comparison(Property("$owned_by_team"), Operator.EQUALS, True)),
        (
            {"propertySchema": {"type": "string"}, "operator": "contains", "value": "a"},
            Comparison(SchemaShape("string"), Operator.CONTAINS, "a"),
        ),
        (
            {"propertySchema": {"type": "array", "items": {"format": "user"}}, "operator": "!=", "value": "a"},
            Comparison(SchemaShape("array", items_format="user"), Operator.EQUALS, "a", negated=True),
        ),
        ({"operator": "relatedTo", "blueprint": "b", "value": "x"}, Related("b", frozenset({"x"}))),
        (
            {"operator": "relatedTo", "blueprint": "b", "value": ["x"], "direction": "upstream", "required": False},
            Related("b", frozenset({"x"}), "upstream", False),
        ),
        (path("a", {"relation": "b"}), PathMatch((Hop("a"), Hop("b")), frozenset({"x"}))),
        (
            path({"relation": "b", "maxHops": 15}, fromBlueprint="c"),
            PathMatch((Hop("b", 15),), frozenset({"x"}), "c"),
        ),
        (query(), Query("and", ())),
    ],
)
def test_a_rule_is_read(written: JsonValue, expected: Rule) -> None:
    assert parsed(query(written), dialect=SEARCH) == Query("and", (expected,))


@pytest.mark.parametrize(
    ("spelled", "positive"),
    [
        ("doesNotContain", Operator.CONTAINS),
        ("doesNotContains", Operator.CONTAINS),
        ("doesNotBeginWith", Operator.BEGINS_WITH),
        ("doesNotBeginsWith", Operator.BEGINS_WITH),
        ("doesNotEndWith", Operator.ENDS_WITH),
        ("doesNotEndsWith", Operator.ENDS_WITH),
    ],
)
def test_both_spellings_of_a_negation_are_read(spelled: str, positive: Operator) -> None:
    assert parsed(query(rule(spelled, "a")), dialect=SEARCH).rules == (Comparison(AGE, positive, "a", negated=True),)


@pytest.mark.parametrize(
    ("written", "dialect", "expected"),
    [
        (rule("=", {"jqQuery": ".form.a"}), DATASET, Comparison(AGE, Operator.EQUALS, Computed(".form.a"))),
        (rule("in", {"jqQuery": "[1]"}), DATASET, Comparison(AGE, Operator.IN, Computed("[1]"))),
        (
            {"operator": "relatedTo", "blueprint": "b", "value": {"jqQuery": "1"}},
            DATASET,
            Related("b", Computed("1")),
        ),
        (rule(">", "{{ .a }}"), POLICY, Comparison(AGE, Operator.ABOVE, Computed("{{ .a }}"))),
        (rule("=", "{{ .a }}"), SEARCH, Comparison(AGE, Operator.EQUALS, "{{ .a }}")),
        (
            {"relation": "r", "operator": "=", "value": "a"},
            BLUEPRINT_SEARCH,
            Comparison(RelationEnd("r"), Operator.EQUALS, "a"),
        ),
        (
            {"relation": "r", "targetProperty": "$title", "operator": "isEmpty"},
            BLUEPRINT_SEARCH,
            Comparison(RelationEnd("r", "$title"), Operator.IS_EMPTY),
        ),
        (
            {"scorecard": "s", "scorecardRule": "r", "operator": "in", "value": ["SUCCESS"]},
            BLUEPRINT_SEARCH,
            Comparison(ScorecardResult("s", "r"), Operator.IN, Listed.of("SUCCESS")),
        ),
    ],
)
def test_a_dialect_reads_what_only_it_has(written: JsonValue, dialect: Dialect, expected: Rule) -> None:
    assert parsed(query(written), dialect=dialect).rules == (expected,)


ONLY = "is only for the search of one blueprint's entities"
TEXT, PLAIN = "must be text that is not empty", "must be text, a number, a boolean or null"
MOMENT = "must be a date-time such as 2026-01-02T03:04:05Z"
HOPS = "must be an integer from 1 to 15"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("x", "rules[1]: must be an object"),
        ({}, "rules[1].operator: is required"),
        (rule("=", 1, extra=1), "rules[1].extra: unknown key"),
        (rule("="), "rules[1].value: is required"),
        ({"operator": "=", "value": 1}, "rules[1].property: is required"),
        (rule("isEmpty", None), "rules[1].value: isEmpty takes no value"),
        (rule("isNotExpired", 1), "rules[1].value: isNotExpired takes no value"),
        (rule("isExpired", subject=MINE), f"rules[1].property: {TEXT}"),
        (rule("=", 1, ""), f"rules[1].property: {TEXT}"),
        (rule("=", 1, 7), f"rules[1].property: {TEXT}"),
        (rule("=", 1, {"context": "me", "property": "a"}), "rules[1].property.context: must be one of user, userTeams"),
        (rule("=", 1, {"context": "user"}), "rules[1].property.property: is required"),
        (rule("=", {**MINE, "x": 1}), "rules[1].value.x: unknown key"),
        (rule("=", {"context": "user", "property": []}), f"rules[1].value.property: {TEXT}"),
        (rule("=", {"foo": 1}), "rules[1].value.foo: unknown key"),
        (rule("!=", {"preset": "today"}), f"rules[1].value: {PLAIN}"),
        (rule("=", {"jqQuery": "1"}), "rules[1].value.jqQuery: is only for the datasets of user inputs"),
        (rule("=", [1, [2]]), f"rules[1].value[1]: {PLAIN}"),
        (rule(">", "soon"), "rules[1].value: must be a number or a date-time such as 2026-01-02T03:04:05Z"),
        (rule(">", True), "rules[1].value: must be a number or a date-time such as 2026-01-02T03:04:05Z"),
        (rule("<", [1]), "rules[1].value: must be a number or a date-time such as 2026-01-02T03:04:05Z"),
        (rule("contains", None), "rules[1].value: must be text, a number or a boolean"),
        (rule("contains", ["a"]), f"rules[1].value: {PLAIN}"),
        (rule("doesNotBeginWith", 1), "rules[1].value: must be text"),
        (rule("endsWith", ["a"]), "rules[1].value: must be text"),
        (rule("containsAny", "a"), "rules[1].value: must be an array"),
        (rule("in", "a"), "rules[1].value: must be an array"),
        (rule("notIn", [{}]), f"rules[1].value[0]: {PLAIN}"),
        (rule("between", 1), 'rules[1].value: must be {"from": ..., "to": ...} or {"preset": ...}'),
        (rule("between", {"from": FROM}), "rules[1].value.to: is required"),
        (rule("between", {"from": "2026-01-01", "to": TO}), f"rules[1].value.from: {MOMENT}"),
        (rule("between", {"from": FROM, "to": "2026-02-30T00:00:00Z"}), f"rules[1].value.to: {MOMENT}"),
        (rule("between", {"preset": "today", "from": FROM}), "rules[1].value.from: unknown key"),
        ({"operator": "relatedTo", "value": "x"}, "rules[1].blueprint: is required"),
        ({"operator": "relatedTo", "blueprint": "", "value": "x"}, f"rules[1].blueprint: {TEXT}"),
        (
            {"operator": "relatedTo", "blueprint": "b", "value": 1},
            "rules[1].value: must be an identifier or an array of identifiers",
        ),
        ({"operator": "relatedTo", "blueprint": "b", "value": ["x", ""]}, f"rules[1].value[1]: {TEXT}"),
        (
            {"operator": "relatedTo", "blueprint": "b", "value": "x", "direction": "up"},
            "rules[1].direction: must be one of upstream, downstream",
        ),
        (
            {"operator": "relatedTo", "blueprint": "b", "value": "x", "required": "true"},
            "rules[1].required: must be true or false",
        ),
        (rule("relatedTo", "x", blueprint="b"), "rules[1].property: unknown key"),
        (rule("matchAny", "x"), "rules[1].property: must be an object"),
        (rule("=", "x", {"path": ["a"]}), "rules[1].operator: must be matchAny where the property is a path"),
        (path(), "rules[1].property.path: must name 1 to 20 relations"),
        (path(*["a"] * 21), "rules[1].property.path: must name 1 to 20 relations"),
        (path(1), "rules[1].property.path[0]: must be text or an object"),
        (path("a", ""), f"rules[1].property.path[1]: {TEXT}"),
        (path({"maxHops": 2}), "rules[1].property.path[0].relation: is required"),
        (path({"relation": "a", "maxHops": 16}), f"rules[1].property.path[0].maxHops: {HOPS}"),
        (path({"relation": "a", "maxHops": 0}), f"rules[1].property.path[0].maxHops: {HOPS}"),
        (path({"relation": "a", "maxHops": True}), f"rules[1].property.path[0].maxHops: {HOPS}"),
        (
            path({"relation": "a", "maxHops": 1}, "b", {"relation": "c", "maxHops": 2}),
            "rules[1].property.path[2].maxHops: may be there only once in a path",
        ),
        (path("a", toBlueprint="b"), "rules[1].property.toBlueprint: unknown key"),
        (path("a", fromBlueprint=None), f"rules[1].property.fromBlueprint: {TEXT}"),
        ({"propertySchema": "string", "operator": "=", "value": 1}, "rules[1].propertySchema: must be an object"),
        (
            {"propertySchema": {"type": "text"}, "operator": "=", "value": 1},
            "rules[1].propertySchema.type: must be one of string, number, boolean, object, array",
        ),
        (
            {"propertySchema": {"type": "string"}, "operator": "doesNotContain", "value": "a"},
            "rules[1].operator: doesNotContain of such a value cannot be used with propertySchema",
        ),
        (
            {"propertySchema": {"type": "string"}, "operator": "=", "value": {"preset": "today"}},
            "rules[1].operator: = of such a value cannot be used with propertySchema",
        ),
        ({"propertySchema": {"type": "string"}, "operator": "=", "value": ["a"]}, f"rules[1].value: {PLAIN}"),
        (rule("=", 1, propertySchema={"type": "string"}), "rules[1].property: unknown key"),
        ({"relation": "r", "operator": "=", "value": 1}, f"rules[1].relation: {ONLY}"),
        ({"scorecardRule": "r", "operator": "=", "value": 1}, f"rules[1].scorecard: {ONLY}"),
        ({"combinator": "and"}, "rules[1].rules: is required"),
        ({"combinator": "not", "rules": []}, "rules[1].combinator: must be one of and, or"),
        (query({"combinator": "or", "rules": {}}), "rules[1].rules[0].rules: must be an array"),
        ({"combinator": "or", "rules": [], "not": True}, "rules[1].not: unknown key"),
    ],
)  # fmt: skip
def test_a_fault_is_named_by_its_path(written: JsonValue, message: str) -> None:
    assert refusal(query(rule("=", 1), written)) == message


@pytest.mark.parametrize(
    ("written", "beginning"),
    [
        (rule("==", 1), "rules[0].operator: must be one of =, >, >=, <, <=, contains, "),
        (rule("between", {"preset": "nextWeek"}), "rules[0].value.preset: must be one of today, tomorrow, yesterday, "),
        (rule("=", 1, "$nope"), "rules[0].property: must be a property or one of $identifier, $title, "),
    ],
)
def test_a_word_that_is_not_known_is_answered_with_those_that_are(written: JsonValue, beginning: str) -> None:
    message = refusal(query(written))
    assert message.startswith(beginning)
    assert "…" not in message


@pytest.mark.parametrize(
    ("document", "dialect", "message"),
    [
        ([], SEARCH, "the query: must be an object"),
        ({"rules": []}, SEARCH, "combinator: is required"),
        (query(type="SEARCH"), SEARCH, "type: unknown key"),
        (query(), CONDITION, "type: is required"),
        (query(type="JQ"), CONDITION, "type: must be SEARCH"),
        (query(query(type="SEARCH"), type="SEARCH"), CONDITION, "rules[0].type: unknown key"),
        (query({"relation": "r", "operator": ">", "value": 1}), BLUEPRINT_SEARCH,
         "rules[0].operator: > of such a value cannot be used with relation"),
        (query({"relation": "r", "targetProperty": "x", "operator": "=", "value": 1}), BLUEPRINT_SEARCH,
         "rules[0].targetProperty: must be one of $identifier, $title"),
        (query({"scorecardRule": "r", "operator": "=", "value": 1}), BLUEPRINT_SEARCH,
         "rules[0].scorecard: is required"),
        (query(rule("=", {"jqQuery": 1})), DATASET, f"rules[0].value.jqQuery: {TEXT}"),
        (query(rule("=", {"jqQuery": "1", "x": 1})), DATASET, "rules[0].value.x: unknown key"),
    ],
)  # fmt: skip
def test_a_dialect_refuses_what_it_does_not_have(document: JsonValue, dialect: Dialect, message: str) -> None:
    assert refusal(document, dialect) == message


def test_a_condition_says_that_it_is_a_search() -> None:
    assert parsed(query(rule("=", 1), type="SEARCH"), dialect=CONDITION) == parsed(query(rule("=", 1)), dialect=SEARCH)


def test_groups_nest_ten_levels_and_no_deeper() -> None:
    assert parsed(nested(10), dialect=SEARCH)
    assert refusal(nested(11)) == ".".join(["rules[0]"] * 11) + ": groups nest deeper than 10 levels"
    assert "deeper" in refusal(nested(50_000)), "and hostile nesting costs nothing"


def test_rules_are_counted_over_all_groups() -> None:
    half = query(*[rule("=", 1)] * 499)
    assert parsed(query(half, half), dialect=SEARCH)
    assert refusal(query(half, half, half)) == "rules[1].rules: the query has more than 1000 rules"
    assert refusal(query(*[rule("=", 1)] * 100_000)) == "rules: the query has more than 1000 rules"


@pytest.mark.parametrize("written", [rule("in", ["x"] * 10_000), {**path("a"), "value": ["x"] * 10_000}])
def test_values_are_counted(written: dict[str, Any]) -> None:
    assert parsed(query(written), dialect=SEARCH)
    more = {**written, "value": [*written["value"], "x"]}
    assert refusal(query(more)) == "rules[0].value: must have at most 10000 values"


OPERATORS = [*SPELLINGS, "relatedTo", "matchAny"]
words = st.sampled_from(
    [
        *(
            "combinator",
            "and",
            "rules",
            "operator",
            "property",
            "value",
            "path",
            "maxHops",
            "relation",
            "type",
            "string",
        ),
        *("propertySchema", "context", "user", "$team", "jqQuery", "preset", "today", "from", "to", "blueprint", FROM),
        *OPERATORS,
    ]
)
documents: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


@given(documents, st.sampled_from(OPERATORS), st.sampled_from([SEARCH, DATASET, POLICY]))
def test_every_document_is_read_or_refused(document: JsonValue, operator: str, dialect: Dialect) -> None:
    for value in (document, query(document), query(rule(operator, document)), query(rule(operator, "x", document))):
        with contextlib.suppress(InvalidRequest):
            assert isinstance(parsed(value, dialect=dialect), Query)
