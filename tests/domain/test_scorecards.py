"""Scorecards: what is accepted, what each refusal says, and what an entity comes out at."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import blueprints, entities
from domain.candidates import as_stored
from domain.documents import Document
from domain.entities import Author, Kind
from domain.errors import InvalidRequest
from domain.rule_values import Query
from domain.scorecard_blueprints import SCORECARD_BLUEPRINTS, named, of_result
from domain.scorecards import MAX_RULES, Scorecard, evaluated, parsed, parsed_all, revised

AT = datetime(2026, 1, 5, 10, tzinfo=UTC)
READINESS = """{
  "identifier": "readiness", "title": "Readiness",
  "filter": {"combinator": "and", "conditions": [{"property": "tier", "operator": ">=", "value": 1.0}]},
  "rules": [
    {"identifier": "owned", "title": "Has a team", "level": "Bronze", "description": "Somebody answers",
     "query": {"combinator": "and", "conditions": [{"property": "$team", "operator": "isNotEmpty"}]}},
    {"identifier": "described", "title": "Says what it is", "level": "Bronze",
     "query": {"combinator": "or", "conditions": [
        {"property": "readme", "operator": "isNotEmpty"},
        {"combinator": "and", "conditions": [{"operator": "isNotEmpty", "relation": "docs"}]}]}},
    {"identifier": "on-call", "title": "On call", "level": "Gold",
     "query": {"conditions": [{"value": "yes", "operator": "=", "property": "on_call"}], "combinator": "and"}}
  ]
}"""
KIND = blueprints.parsed(
    {
        "identifier": "service",
        "schema": {
            "properties": {
                "tier": {"type": "number"},
                "readme": {"type": "string"},
                "on_call": {"type": "string"},
                "ttl": {"type": "string", "format": "timer"},
                "tags": {"type": "array"},
            }
        },
        "relations": {"docs": {"target": "service", "many": True}},
        "calculationProperties": {"url": {"type": "string", "calculation": ".identifier"}},
    }
)


def scorecard(*rules: Any, **more: Any) -> Document:
    """A scorecard with a rule for each `(level, condition...)`."""
    return {
        "identifier": "s",
        "title": "S",
        "rules": [
            {
                "identifier": f"r{index}",
                "title": f"R{index}",
                "level": level,
                "query": {"combinator": "and", "conditions": list(conditions)},
            }
            for index, (level, *conditions) in enumerate(rules)
        ],
        **more,
    }


def has(name: str) -> Document:
    return {"property": name, "operator": "isNotEmpty"}


def kept(document: Document) -> Scorecard:
    definition = parsed(document, blueprint="service")
    return Scorecard("scorecard_1", "service", definition.identifier, document, AT, "kim", AT, "kim")


def entity(*, identifier: str = "cart", team: tuple[str, ...] = (), **properties: Any) -> entities.Entity:
    relations = {"docs": properties.pop("docs")} if "docs" in properties else {}
    return entities.Entity(
        identifier=entities.EntityId(identifier), title="Cart", blueprint="service", team=team, properties=properties,
        relations=relations, created_at=AT, created_by="kim", updated_at=AT, updated_by="kim",
    )  # fmt: skip


def outcome(document: Document, of: entities.Entity, at: datetime = AT) -> Any:
    return evaluated(kept(document), as_stored(of, schemas=KIND.schemas), at=at)


def refusal(document: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        parsed(document, blueprint="service")
    return str(caught.value)


def test_a_scorecard_is_echoed_as_it_was_written_with_what_the_server_adds() -> None:
    sent = json.loads(READINESS)
    echo = kept({**sent, "id": "old", "blueprint": "service", "createdAt": "old"}).echo()
    added = {"id": "scorecard_1", "blueprint": "service", "createdBy": "kim", "updatedBy": "kim"}
    times = dict.fromkeys(("createdAt", "updatedAt"), "2026-01-05T10:00:00.000Z")
    assert echo == {**sent, **added, **times}
    assert json.dumps(echo).startswith(json.dumps(sent)[:-1]), "in the same order, with the same numbers"


@pytest.mark.parametrize(
    ("of", "level", "failed"),
    [
        (entity(tier=1), "Basic", ["owned", "described", "on-call"]),
        (entity(tier=1, on_call="yes"), "Basic", ["owned", "described"]),
        (entity(tier=1, team=("a",), on_call="yes"), "Basic", ["described"]),
        (entity(tier=1, team=("a",), readme="x"), "Bronze", ["on-call"]),
        (entity(tier=1, team=("a",), docs=("other",)), "Bronze", ["on-call"]),
        (entity(tier=2, team=("a",), readme="x", on_call="yes"), "Gold", []),
    ],
)
def test_the_level_is_the_highest_whose_rules_and_those_below_all_pass(
    of: entities.Entity, level: str, failed: list[str]
) -> None:
    assert outcome(json.loads(READINESS), of) == {
        "level": level,
        "rules": [
            {"identifier": name, "status": "FAILURE" if name in failed else "SUCCESS", "level": of_level}
            for name, of_level in (("owned", "Bronze"), ("described", "Bronze"), ("on-call", "Gold"))
        ],
    }


@pytest.mark.parametrize("of", [entity(), entity(tier=0.5), entity(tier="2")])
def test_an_entity_that_does_not_pass_the_filter_has_no_result(of: entities.Entity) -> None:
    assert outcome(json.loads(READINESS), of) is None


def test_nobody_reaches_a_level_that_has_no_rules() -> None:
    assert outcome(scorecard(), entity())["level"] == "Basic"
    assert outcome(scorecard(("Silver", has("tier"))), entity(tier=1))["level"] == "Silver"
    levels = [{"title": "Red", "color": "red"}, {"title": "Green", "color": "green"}]
    assert outcome(scorecard(levels=levels), entity())["level"] == "Red"
    assert outcome(scorecard(("Green", has("tier")), levels=levels), entity(tier=1))["level"] == "Green"


@given(st.lists(st.tuples(st.sampled_from(["Bronze", "Silver", "Gold"]), st.booleans()), max_size=8))
def test_passing_one_rule_more_never_lowers_the_level(rules: list[tuple[str, bool]]) -> None:
    ladder = ["Basic", "Bronze", "Silver", "Gold"]

    def level(passed: list[bool]) -> int:
        document = scorecard(*((name, has(f"p{index}")) for index, (name, _) in enumerate(rules)))
        properties: Any = {f"p{index}": 1 for index, ok in enumerate(passed) if ok}
        return ladder.index(outcome(document, entity(**properties))["level"])

    passed = [ok for _, ok in rules]
    before = level(passed)
    for index, ok in enumerate(passed):
        if not ok:
            assert level([*passed[:index], True, *passed[index + 1 :]]) >= before
    reached = {name for name, _ in rules} & set(ladder[: before + 1])
    assert all(ok for name, ok in rules if name in reached)


@pytest.mark.parametrize(
    ("condition", "of", "other"),
    [
        ({"property": "tier", "operator": "=", "value": 1}, entity(tier=1.0), entity(tier=2)),
        ({"property": "tier", "operator": "!=", "value": 1}, entity(tier=2), entity(tier=1)),
        ({"property": "tier", "operator": "<", "value": 2}, entity(tier=1), entity(tier=2)),
        ({"property": "tier", "operator": "<=", "value": 2}, entity(tier=2), entity(tier=3)),
        ({"property": "tier", "operator": ">", "value": 2}, entity(tier=3), entity(tier=2)),
        ({"property": "tier", "operator": ">=", "value": 2}, entity(tier=2), entity()),
        ({"property": "readme", "operator": "contains", "value": "b"}, entity(readme="abc"), entity(readme="x")),
        ({"property": "readme", "operator": "doesNotContains", "value": "b"}, entity(readme="x"), entity(readme="abc")),
        ({"property": "readme", "operator": "beginsWith", "value": "a"}, entity(readme="abc"), entity(readme="bc")),
        (
            {"property": "readme", "operator": "doesNotEndsWith", "value": "a"},
            entity(readme="abc"),
            entity(readme="ba"),
        ),
        ({"property": "tags", "operator": "containsAny", "value": ["b"]}, entity(tags=["a", "b"]), entity(tags=["a"])),
        ({"property": "readme", "operator": "in", "value": ["a", "b"]}, entity(readme="b"), entity(readme="c")),
        ({"property": "readme", "operator": "notIn", "value": ["a", "b"]}, entity(readme="c"), entity(readme="a")),
        ({"property": "readme", "operator": "isEmpty"}, entity(), entity(readme="")),
        (
            {"property": "ttl", "operator": "isExpired"},
            entity(ttl="2026-01-05T09:59:59Z"),
            entity(ttl="2026-01-05T10:00:01Z"),
        ),
        (
            {"property": "ttl", "operator": "between", "value": {"preset": "today"}},
            entity(ttl="2026-01-05T23:00:00Z"),
            entity(ttl="2026-01-06T00:00:00Z"),
        ),
        ({"propertySchema": {"type": "number"}, "operator": "=", "value": 7}, entity(tier=7), entity(tier=8)),
        ({"property": "$identifier", "operator": "=", "value": "cart"}, entity(), entity(identifier="x")),
        ({"relation": "docs", "operator": "contains", "value": "a"}, entity(docs=("a", "b")), entity(docs=("b",))),
        ({"combinator": "or", "rules": [has("tier"), has("readme")]}, entity(readme="b"), entity()),
    ],
)
def test_conditions_mean_what_they_mean_in_a_search(
    condition: Document, of: entities.Entity, other: entities.Entity
) -> None:
    document = scorecard(("Gold", condition))
    assert outcome(document, of)["level"] == "Gold"
    assert outcome(document, other)["level"] == "Basic"


@pytest.mark.parametrize("combinator", ["and", "or"])
@pytest.mark.parametrize("conditions", [{"conditions": []}, {}], ids=["an empty list", "no list"])
def test_without_conditions_every_entity_passes_and_it_stays_as_it_was_written(
    combinator: str, conditions: Document
) -> None:
    nothing = {"combinator": combinator, **conditions}
    document = scorecard(("Gold", has("tier")), ("Silver",), filter=nothing)
    document["rules"][1]["query"] = nothing  # type: ignore[index,call-overload]
    sent = json.dumps(document)
    of = kept(document)
    assert json.dumps(of.echo()).startswith(sent[:-1]), "nothing is added, nothing moves"
    assert of.definition.applies_to == Query(combinator, ())  # type: ignore[arg-type]
    assert outcome(document, entity(tier=1))["level"] == "Gold"
    assert [rule["status"] for rule in outcome(document, entity())["rules"]] == ["FAILURE", "SUCCESS"]
    assert parsed_all([document], blueprint="service")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"combinator": "and", "conditions": None}, "conditions: must be an array"),
        ({"combinator": "and", "rules": []}, "rules: unknown key"),
        ({}, "combinator: is required"),
        ({"combinator": "and", "conditions": [{"combinator": "or"}]}, "conditions[0].conditions: is required"),
    ],
)
def test_only_the_list_of_conditions_itself_may_be_left_out(query: Document, said: str) -> None:
    assert refusal(scorecard(filter=query)) == f"filter.{said}"
    rule = {"identifier": "r", "title": "R", "level": "Gold", "query": query}
    assert refusal({**scorecard(), "rules": [rule]}) == f"rules[0].query.{said}"


def test_time_is_that_of_the_evaluation() -> None:
    document = scorecard(("Gold", {"property": "ttl", "operator": "isNotExpired"}))
    of = entity(ttl="2026-01-05T11:00:00Z")
    assert outcome(document, of)["level"] == "Gold"
    assert outcome(document, of, AT + timedelta(hours=2))["level"] == "Basic"


NESTED: Any = {"property": "x", "operator": "isEmpty"}
for _ in range(12):
    NESTED = {"combinator": "and", "conditions": [NESTED]}
TOO_DEEP: Any = "x"
for _ in range(200):
    TOO_DEEP = [TOO_DEEP]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "must be an object"),
        ({}, "identifier: is required"),
        (scorecard(identifier=".."), "identifier: "),
        (scorecard(identifier="a b"), "identifier: "),
        (scorecard(title=1), "title: must be a string"),
        (scorecard(unknown=1), "unknown: unknown key"),
        (scorecard(blueprint="other"), "blueprint: must be service"),
        (scorecard(rules={}), "rules: must be an array"),
        (scorecard(filter=[]), "filter: must be an object"),
        (scorecard(levels=[{"title": "A"}]), "levels[0].color: is required"),
        (scorecard(levels=[{"title": "A", "color": "mauve"}]), "levels[0].color: must be one of"),
        (scorecard(levels=[{"title": "A", "color": "red"}] * 2), "levels[1].title: 'A' is that of levels[0]"),
        (scorecard(("Platinum", has("x"))), "rules[0].level: must be a level above Basic"),
        (scorecard(("Basic", has("x"))), "rules[0].level: must be a level above Basic"),
        (scorecard(("A", has("x")), levels=[{"title": "A", "color": "red"}]), "rules[0].level"),
        (scorecard(*[("Gold", has("x"))] * (MAX_RULES + 1)), "rules: a scorecard has at most 500"),
        (scorecard(("Gold", "x")), "rules[0].query.conditions[0]: must be an object"),
        (scorecard(("Gold", has("x"), {"property": "x"})), "rules[0].query.conditions[1].operator: is required"),
        (scorecard(("Gold", {**has("x"), "operator": "~"})), "rules[0].query.conditions[0].operator: must be one of"),
        (
            scorecard(("Gold", {**has("x"), "value": 1})),
            "rules[0].query.conditions[0].value: isNotEmpty takes no value",
        ),
        (
            scorecard(("Gold", {"property": "x", "operator": ">", "value": "a"})),
            "conditions[0].value: must be a number",
        ),
        (scorecard(("Gold", has("$size"))), "rules[0].query.conditions[0].property: must be a property"),
        (scorecard(("Gold", NESTED)), "groups nest deeper than 10 levels"),
        (scorecard(("Gold", TOO_DEEP)), "the document nests deeper than 100 levels"),
        (
            scorecard(("Gold", {"combinator": "not", "conditions": []})),
            "rules[0].query.conditions[0].combinator: must be one of and, or",
        ),
        (
            scorecard(("Gold", {"combinator": "or", "conditions": [has("x"), 1]})),
            "rules[0].query.conditions[0].conditions[1]: must be an object",
        ),
        (
            scorecard(filter={"combinator": "and", "conditions": [{"property": "x", "operator": "like", "value": 1}]}),
            "filter.conditions[0].operator: must be one of",
        ),
    ],
)
def test_what_is_no_scorecard_is_refused_with_the_path(document: Any, said: str) -> None:
    assert said in refusal(document)


@pytest.mark.parametrize(
    ("condition", "key"),
    [
        ({"operator": "relatedTo", "blueprint": "b", "value": "x"}, "operator"),
        ({"property": {"path": ["docs"]}, "operator": "matchAny", "value": "x"}, "operator"),
        ({"property": {"context": "user", "property": "$identifier"}, "operator": "=", "value": "x"}, "property"),
        ({"property": "x", "operator": "=", "value": {"context": "user", "property": "$identifier"}}, "value"),
        ({"property": "$owned_by_team", "operator": "=", "value": True}, "property"),
        ({"property": "$team", "operator": "in", "value": ["a", "My Teams"]}, "value"),
        ({"relation": "docs", "targetProperty": "$title", "operator": "=", "value": "x"}, "targetProperty"),
        ({"scorecard": "other", "operator": "=", "value": "Gold"}, "scorecard"),
        ({"scorecard": "other", "scorecardRule": "r", "operator": "=", "value": "SUCCESS"}, "scorecardRule"),
    ],
)
def test_what_one_entity_alone_cannot_say_is_refused(condition: Document, key: str) -> None:
    assert f"rules[0].query.conditions[0].{key}: " in refusal(scorecard(("Gold", condition)))


def test_all_faults_are_named_at_once() -> None:
    document = scorecard(("Gold", has("$x")), ("Iron", has("x")))
    document["rules"][1]["identifier"] = "r0"  # type: ignore[index, call-overload]
    said = refusal(document)
    assert "rules[1].identifier: 'r0' is that of rules[0]" in said
    assert "rules[0].query.conditions[0].property" in said
    assert "rules[1].level" in said


def test_several_come_in_an_array_or_under_their_name() -> None:
    one, other = scorecard(), scorecard(identifier="t")
    several: list[Any] = [[one, other], {"scorecards": [one, other]}]
    for documents in several:
        assert [each.identifier for each in parsed_all(documents, blueprint="service")] == ["s", "t"]
    wrong: list[tuple[Any, str]] = [
        ([one, one], "[1].identifier: 's' is that of [0]"),
        ({"scorecards": [one, {}]}, "scorecards[1].identifier: is required; scorecards[1].title: is required; "),
        ([one, 1], "[1]: must be an object"),
        ([{**one, "a b": 1, "rules": [1]}], '[0].rules[0]: must be an object; [0]["a b"]: unknown key'),
        ([{**one, "blueprint": "x"}], "[0].blueprint: must be service, as in the path"),
        (
            [{**one, "levels": [{"title": "A", "color": "red"}] * 2}],
            "[0].levels[1].title: 'A' is that of [0].levels[0]",
        ),
        ([{**one, "filter": {"combinator": "and", "conditions": 1}}], "[0].filter.conditions: must be an array"),
        (1, "the body: must be an array"),
        ({"scorecard": []}, "scorecard: unknown key"),
        ({"scorecards": {}}, "scorecards: must be an array"),
    ]
    for documents, said in wrong:
        with pytest.raises(InvalidRequest) as caught:
            parsed_all(documents, blueprint="service")
        assert said in str(caught.value)


def test_a_scorecard_that_says_the_same_is_the_same_and_order_counts() -> None:
    before = kept(json.loads(READINESS))
    again = parsed({**json.loads(READINESS), "updatedAt": "then"}, blueprint="service")
    assert revised(before, again, at=AT, by="ada") is before
    turned = parsed(dict(reversed(json.loads(READINESS).items())), blueprint="service")
    after = revised(before, turned, at=AT + timedelta(1), by="ada")
    assert (after.id, after.updated_by, list(after.document)) == (before.id, "ada", list(turned.document))


@pytest.mark.parametrize(
    ("condition", "asks"),
    [
        (has("url"), True),
        (has("tier"), False),
        ({"combinator": "or", "conditions": [has("tier"), has("url")]}, True),
        ({"propertySchema": {"type": "string"}, "operator": "=", "value": "x"}, True),
        ({"relation": "docs", "operator": "isEmpty"}, False),
        (has("$team"), False),
    ],
)
def test_what_is_derived_is_asked_for_only_where_something_names_it(condition: Document, asks: bool) -> None:
    in_rule, in_filter = scorecard(("Gold", condition)), scorecard()
    in_filter["filter"] = {"combinator": "and", "conditions": [condition]}
    for document in (in_rule, in_filter):
        assert parsed(document, blueprint="service").asks_for_derived(KIND) is asks


def test_inherited_teams_are_derived() -> None:
    inheriting: Document = {
        "identifier": "b",
        "schema": {"properties": {}},
        "relations": {"of": {"target": "service"}},
        "ownership": {"type": "Inherited", "path": "of"},
    }
    definition = parsed(scorecard(("Gold", has("$team"))), blueprint="service")
    assert definition.asks_for_derived(blueprints.parsed(inheriting))


def test_the_blueprints_are_ones_and_each_comes_after_its_targets() -> None:
    known: set[str] = set()
    for document in SCORECARD_BLUEPRINTS:
        definition = blueprints.parsed(document)
        assert {relation.target for relation in definition.relations.values()} <= known
        known.add(definition.identifier)
    assert known == {"_scorecard", "_rule", "_rule_result"}


@given(st.data())
def test_different_parts_have_different_names_that_identifiers_can_be(data: st.DataObject) -> None:
    part = st.text("ab:", min_size=1, max_size=4)
    one, other = data.draw(st.tuples(part, part, part)), data.draw(st.tuples(part, part, part))
    assert (named(*one) == named(*other)) is (one == other)


def test_a_name_shows_its_parts_unless_it_would_be_too_long() -> None:
    assert named("service", "readiness", "owned", "arn:aws") == "service:readiness:owned:arn:aws"
    assert len(named("service", "readiness", "owned", "x" * 1000)) == 64


def test_what_people_added_to_a_result_stays_and_the_time_is_that_of_the_last_change() -> None:
    kind = Kind("_rule_result", blueprints.parsed(SCORECARD_BLUEPRINTS[-1]))
    card, of = kept(scorecard(("Gold", has("tier")))), entity(team=("a",))
    failed = outcome(card.document, of)
    first = of_result(kind, card, of, failed, "r0", None, Author("kim", AT, "port-ocean/x"))
    assert first.team == ("a",)
    assert first.datasource == "interlock"
    assert first.properties["resultLastChange"] == "2026-01-05T10:00:00.000Z"
    assert first.relations == {"rule": "service:s:r0"}
    extended = first.model_copy(update={"properties": {**first.properties, "sla": 3}})
    later = Author("ada", AT + timedelta(hours=1), "")
    assert of_result(kind, card, of, failed, "r0", extended, later) is extended
    renamed = of.model_copy(update={"title": "Basket"})
    retold = of_result(kind, card, renamed, failed, "r0", extended, later)
    assert retold.properties == {**extended.properties, "entityTitle": "Basket"}
    passed = outcome(card.document, entity(tier=1))
    changed = of_result(kind, card, of, passed, "r0", extended, later)
    assert changed.properties["result"] == "Passed"
    assert changed.properties["result_last_change"] == "2026-01-05T11:00:00.000Z"
    assert (changed.properties["sla"], changed.created_by, changed.updated_by) == (3, "kim", "ada")
