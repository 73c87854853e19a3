"""What is worked out once for a form, and that nothing of it depends on what is filled in."""

from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import JsonValue

from domain.documents import Document
from domain.form_parts import ABSENT, Part, Settled, default_of, parts_of, settled
from domain.form_plans import plan_of
from domain.form_values import asks_about_entity, user_of
from domain.inputs import UserInputs
from domain.users import Caller, User

AT = datetime(2026, 1, 5, 10, tzinfo=UTC)
KIM = User(id="usr_17", email="kim@example.org", first_name="Kim", teams=("payments",), created_at=AT, updated_at=AT)


def jq(program: str) -> Document:
    return {"jqQuery": program}


def written() -> Document:
    """A form in which everything is computed that may be."""
    rule: Document = {"property": "tier", "operator": "=", "value": jq("rule")}
    dataset: Document = {"combinator": "and", "rules": [{"combinator": "or", "rules": [rule]}, dict(rule)]}
    items: Document = {"type": "string", "enum": jq("items"), "default": [1]}
    return {
        "properties": {
            "plain": {"type": "string", "minLength": 1, "x-unknown": [1]},
            "text": {"type": "string", "default": jq("default"), "enum": jq("enum"), "visible": jq("visible")},
            "name": {"type": "string", "pattern": jq("pattern"), "enum": ["a", "b"]},
            "free": {"type": "string", "pattern": jq("pattern"), "disabled": jq("disabled")},
            "list": {"type": "array", "items": items, "minItems": jq("minItems"), "maxItems": jq("maxItems")},
            "sums": {"type": "array", "items": {"type": "number", "default": jq("inner")}},
            "where": {"type": "string", "format": "entity", "blueprint": "cluster", "dataset": dataset},
        },
        "required": jq("required"),
        "titles": {"head": {"title": "Head", "visible": jq("visible")}, "other": {"title": "Other"}},
        "steps": [
            {"title": "One", "order": ["plain"]},
            {"title": "Two", "order": ["text"], "visible": jq("visible")},
        ],
    }


VALUES: list[dict[str, Settled]] = [
    {
        "default": "a", "enum": ["a"], "visible": False, "pattern": "^a$", "disabled": True, "items": ["x"],
        "minItems": 1, "maxItems": 2, "inner": [1], "required": ["plain"], "rule": "gold",
    },
    {
        "default": ABSENT, "enum": [], "visible": True, "pattern": ["b", "c"], "disabled": False, "items": [],
        "minItems": ABSENT, "maxItems": ABSENT, "inner": ABSENT, "required": [], "rule": jq("rule"),
    },
]  # fmt: skip


def computed(form: UserInputs) -> list[Part]:
    defaults = [default_of(name, each) for name, each in form.properties.items()]
    return [*(part for part in defaults if part), *parts_of(form)]


@pytest.mark.parametrize("values", VALUES)
def test_a_settled_form_is_what_its_document_says(values: dict[str, Settled]) -> None:
    document = written()
    form = UserInputs.stored(document)
    parts = computed(form)
    assert {part.program for part in parts} == set(values)

    found = settled(form, [(part, values[part.program]) for part in parts])

    assert found == UserInputs.stored(deepcopy(found.document))
    assert {name: each.document for name, each in found.properties.items()} == found.document["properties"]
    assert [step.document for step in found.steps or ()] == found.document["steps"]
    assert {key: title.document for key, title in (found.titles or {}).items()} == found.document["titles"]


def test_settling_changes_nothing_of_the_form_itself() -> None:
    document = written()
    form = UserInputs.stored(document)
    before = UserInputs.stored(written())
    for values in VALUES:
        settled(form, [(part, values[part.program]) for part in computed(form)])
    assert document == written()
    assert form == before
    assert form.document is document


def test_settled_parts_are_in_their_places() -> None:
    form = UserInputs.stored(written())
    first, second = (
        settled(form, [(part, values[part.program]) for part in computed(form)]).document for values in VALUES
    )

    def at(document: Document, *path: str | int) -> JsonValue:
        here: Any = document
        for step in path:
            here = here[step]
        return here  # type: ignore[no-any-return]

    assert at(first, "properties", "name") == {"type": "string", "pattern": "^a$", "enum": ["a", "b"]}
    assert at(second, "properties", "name") == {"type": "string", "enum": ["b"]}
    assert at(second, "properties", "free") == {"type": "string", "enum": ["b", "c"], "disabled": False}
    assert at(second, "properties", "text") == {"type": "string", "enum": [], "visible": True}
    assert at(first, "properties", "where", "dataset", "rules", 0, "rules", 0, "value") == "gold"
    assert at(second, "properties", "where", "dataset", "rules", 1, "value") == jq("rule")
    assert (at(first, "required"), at(second, "required")) == (["plain"], [])
    assert (at(first, "steps", 1, "visible"), at(first, "titles", "head", "visible")) == (False, False)
    assert at(second, "properties", "list") == {
        "type": "array", "items": {"type": "string", "enum": [], "default": [1]},
    }  # fmt: skip


def test_what_nothing_is_computed_of_is_shared() -> None:
    form = UserInputs.stored(written())
    found = settled(form, [(part, VALUES[0][part.program]) for part in computed(form)])
    assert found.properties["plain"] is form.properties["plain"]
    assert found.properties["text"] is not form.properties["text"]


def test_a_plan_is_made_once_for_each_form() -> None:
    form, equal = UserInputs.stored(written()), UserInputs.stored(written())
    plan = plan_of(form)
    assert plan_of(form) is plan
    assert plan_of(equal) is not plan
    assert set(plan.defaults) == {"text", "sums"}
    assert set(plan.entities) == {"where"}
    assert list(plan.order) == list(form.properties)
    assert plan.misplaced == []


def test_fields_of_the_person_need_no_entity() -> None:
    known: Document = {"properties": {"level": 3}, "relations": {"manager": "ann"}, "title": "Somebody", "team": []}
    alone, whole = user_of(Caller("org", "id", KIM), None), user_of(Caller("org", "id", KIM), known)
    of_the_entity = {name for name in alone if asks_about_entity([f".user.{name}"])}
    assert of_the_entity == {"properties", "relations"}
    assert {name: alone[name] for name in alone.keys() - of_the_entity} == {
        name: whole[name] for name in whole.keys() - of_the_entity
    }


@pytest.mark.parametrize(
    "program",
    [
        ".user", ".user.properties.level", ".user | .properties", '.["user"].properties', '.user["properties"]',
        ".user.email + .user.properties.level", ".user.emails", ".user.team_", ".user .email", ". as {user: $u} | $u",
        ".user.email | . as $x | {user: 1}", 'getpath(["user", "properties"])', ".user.name1",
    ],
)  # fmt: skip
def test_whatever_else_names_the_person_may_need_the_entity(program: str) -> None:
    assert asks_about_entity([".form.a", program])


@pytest.mark.parametrize("program", [".form.a", ".user.email", ".user.team[0]", '.user.teams | map(.name)|join("-")'])
def test_other_programs_need_no_entity(program: str) -> None:
    assert not asks_about_entity([program])
