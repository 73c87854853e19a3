"""Whoever the index of conditions leaves out would not have run."""

from typing import Any

import jq  # type: ignore[import-not-found]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from domain.actions import Action
from domain.automations import judge
from domain.condition_index import ConditionIndex
from domain.documents import Document
from domain.events import event_of
from domain.jq import Evaluator, Failed, Nothing, Outcome, Value
from domain.jq_reading import followed
from tests.support.automations import ORGANIZATION, automation, entity, entity_change

VALUES: list[JsonValue] = [None, True, False, 0, 1, -3, 1.0, 2**53, "a", "1", "é", [], ["a"], {}, {"y": "a"}]
PATHS = [".diff.after.properties.x", ".diff.after.properties.y", ".diff.after.properties.x.y", ".diff.before.title"]
LITERALS = ["null", "true", "false", "0", "1", "-3", '"a"', '"1"', '"é"', '""']

values = st.sampled_from(VALUES)
comparisons = st.one_of(
    st.builds(lambda path, literal: f"{path} == {literal}", st.sampled_from(PATHS), st.sampled_from(LITERALS)),
    st.builds(lambda path, literal: f"{literal}=={path}", st.sampled_from(PATHS), st.sampled_from(LITERALS)),
)
expressions = st.one_of(
    comparisons,
    comparisons,
    st.sampled_from(PATHS),
    st.sampled_from(['.action == "CREATE"', ".diff.before == null", "1 == 1", "true == false", "true"]),
    st.sampled_from([".action != null", ".diff.after.properties.x != 1", ".diff.after.properties.x == .action"]),
    st.sampled_from([".diff.after.properties.x | not", "empty", "error", ".[", ".diff.after.properties.x == 1.0"]),
)
joined = st.builds(
    lambda left, word, right: f"{left} {word} ({right})", expressions, st.sampled_from(["and", "or"]), expressions
)
expressions = st.one_of(expressions, joined)
conditions = st.tuples(st.lists(expressions, max_size=3), st.sampled_from([None, "and", "or"]))


async def evaluate(programs: Any, document: Any, *, now: object = None) -> list[Outcome]:
    """Like the pool of processes: what is followed is not asked of jq."""
    return [
        known or _jq(program, document) for program, known in zip(programs, followed(programs, document), strict=True)
    ]


def _jq(program: str, document: JsonValue) -> Outcome:
    try:
        found = jq.compile(program).input_value(document).all()
    except ValueError as error:
        return Failed(str(error))
    return Value(found[0]) if found else Nothing()


async def fired(actions: list[Action], change: Document, event: Document, by: Evaluator) -> list[str]:
    return [judged.action.id for judged in await judge(actions, change, event, by) if judged.fires]


def indexed(actions: list[Action]) -> ConditionIndex[Action]:
    documents: list[Any] = [action.document["trigger"] for action in actions]
    return ConditionIndex(
        (action, trigger.get("condition")) for action, trigger in zip(actions, documents, strict=True)
    )


def made(several: list[tuple[list[str], str | None]]) -> list[Action]:
    return [
        automation(*texts, combinator=combinator, identifier=f"a{place}", action_id=f"action_{place}")
        for place, (texts, combinator) in enumerate(several)
    ]


@given(
    several=st.lists(conditions, max_size=8),
    properties=st.dictionaries(st.sampled_from("xy"), values),
    created=st.booleans(),
)
async def test_who_runs_is_the_same_with_the_index_and_without(
    several: list[tuple[list[str], str | None]], properties: dict[str, JsonValue], created: bool
) -> None:
    actions = made(several)
    change = entity_change(None if created else entity(title="a"), entity(properties=properties))
    event = event_of(change, organization=ORGANIZATION)
    possible = indexed(actions).possible(event)
    assert [one.id for one in possible] == [one.id for one in actions if one in possible], "in their order, once each"
    assert await fired(list(possible), change, event, evaluate) == await fired(actions, change, event, evaluate)


def possible(event: JsonValue, *several: tuple[list[str], str | None]) -> list[int]:
    """The places of those that may hold for an event with a property."""
    items = [(place, _condition(*one)) for place, one in enumerate(several)]
    return list(ConditionIndex(items).possible({"p": event, "action": "UPDATE"}))


def _condition(texts: list[str], combinator: str | None) -> JsonValue:
    more: dict[str, JsonValue] = {"combinator": combinator} if combinator else {}
    return {"type": "JQ", "expressions": list[JsonValue](texts), **more}


def test_of_many_values_one_is_asked() -> None:
    several = [([f".p.x == {number}"], None) for number in range(1000)]
    assert possible({"x": 7}, *several) == [7]
    assert possible({"x": "7"}, *several) == possible({}, *several) == possible({"x": True}, *several) == []
    assert possible({"x": 7.0}, *several) == list(range(1000)), "only jq knows how it compares fractions"
    assert possible("no object", *several) == list(range(1000))


def test_by_the_value_that_fewest_demand() -> None:
    several = [(['.action == "UPDATE"', f'"{number}" == .p.x'], "and") for number in range(1000)]
    assert possible({"x": "7"}, *several) == [7]


@pytest.mark.parametrize(
    ("texts", "combinator", "asked"),
    [
        ([], None, True),
        ([".p.x != 2"], None, True),
        ([".p.x > 2"], None, True),
        ([".p.x == .action"], None, True),
        ([".p.x == 1"], "or", True),
        ([".p.x == 2"], "or", False),
        ([".p.x == 2", ".p.x == 1"], "or", True),
        ([".p.x == 2", ".p.x == 3"], "or", False),
        ([".p.x == 2", ".p.x > 0"], "or", True),
        ([".p.x == 2", ".p.x > 0"], "and", False),
        ([".p.x > 0", ".p.x == 2"], None, False),
        ([".p.x"], None, False),
        ([".p.yes"], None, True),
        ([".p.none == null"], None, True),
        ([".p.x == true"], None, False),
        ([".p.yes == 1"], None, False),
        ([".p.x == 2 and .p.y > 0"], None, False),
        ([".p.x == 1 and .p.y > 0"], None, True),
        ([".p.x == 2 or .p.yes == false"], None, False),
        ([".p.x == 2 or .p.y > 0"], None, True),
    ],
)
def test_who_demands_nothing_of_the_event_is_always_asked(
    texts: list[str], combinator: str | None, asked: bool
) -> None:
    never = ([".p.x == 9"], None)
    assert possible({"x": 1, "yes": True}, never, (texts, combinator)) == ([1] if asked else [])


@pytest.mark.parametrize("condition", [None, 1, [], {}, {"expressions": None}, {"expressions": [1, None]}])
def test_conditions_that_cannot_be_read_are_always_asked(condition: JsonValue) -> None:
    assert list(ConditionIndex([("it", condition), ("other", None)]).possible({})) == ["it", "other"]
    known = ("known", _condition([".x == 1"], None))
    assert list(ConditionIndex([("it", condition), known]).possible({})) == ["it"]
