"""A condition on entities that has no rules, written out or left out: every entity meets it."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from domain.actions import Definition
from domain.candidates import Entity
from domain.errors import InvalidRequest
from domain.matching import matches
from domain.users import Caller
from tests.support.search_catalog import Graph

AT = datetime(2026, 1, 5, tzinfo=UTC)


def trigger(condition: Any) -> dict[str, Any]:
    """A trigger with this condition."""
    return {
        "type": "self-service",
        "operation": "DAY-2",
        "blueprintIdentifier": "b",
        "userInputs": {"properties": {}},
        "condition": condition,
    }


def definition(condition: Any) -> Definition:
    """An action with this condition."""
    return Definition.parse({"identifier": "a", "trigger": trigger(condition), "invocationMethod": {"type": "KAFKA"}})


@pytest.mark.parametrize("combinator", ["and", "or"])
@pytest.mark.parametrize("rules", [{"rules": []}, {}], ids=["an empty list", "no list"])
def test_every_entity_meets_it_and_it_stays_as_it_was_written(combinator: str, rules: dict[str, Any]) -> None:
    written = {"type": "SEARCH", "combinator": combinator, **rules}
    parsed = definition(written)
    assert parsed.condition is not None
    assert json.dumps(parsed.document["trigger"]) == json.dumps(trigger(written)), "nothing is added, nothing moves"
    nothing = parsed.condition.query()
    assert (nothing.combinator, nothing.rules) == (combinator, ())
    entity = Entity("cart", "b", AT, AT)
    nobody = Caller(organization="", client="")
    assert matches(nothing, entity, at=AT, caller=nobody, catalog=Graph(rows=[]))


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ({"type": "SEARCH", "combinator": "and", "rules": None}, "rules: must be an array"),
        ({"type": "SEARCH", "combinator": "and", "rule": []}, "rule: unknown key"),
        ({"type": "SEARCH"}, "combinator: is required"),
        ({"combinator": "and"}, "type: is required"),
        ({"type": "SEARCH", "combinator": "and", "rules": [{"combinator": "or"}]}, "rules[0].rules: is required"),
    ],
)
def test_only_the_list_itself_may_be_left_out(condition: Any, said: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        definition(condition)
    assert str(refusal.value) == f"trigger.condition.{said}"
