"""What a rendered upsert wants written, and what it cannot mean."""

import pytest

import backends
from backends.base import EntityWrite
from domain.documents import Document
from domain.errors import InvalidInvocation


def written(mapping: Document) -> EntityWrite | None:
    """What is to be written for a mapping whose templates are rendered."""
    method = backends.parse_rendered({"type": "UPSERT_ENTITY", "blueprintIdentifier": "service", "mapping": mapping})
    assert method.synchronous()
    return method.writes()


@pytest.mark.parametrize(
    "mapping",
    [
        {},
        {"identifier": "cart"},
        {"identifier": "cart", "title": None, "icon": None, "team": None},
        {"title": "Cart", "icon": "Microservice", "team": "web"},
        {"team": ["web", "sre"], "relations": {"a": "x", "b": ["x", "y"], "c": None, "d": []}},
        {"properties": {"n": 1.0, "text": "", "none": None, "deep": {"camelCase": [None, {"snake_case": True}]}}},
    ],
)
def test_only_what_the_mapping_names_is_written_and_as_it_is(mapping: Document) -> None:
    assert written(mapping) == EntityWrite("service", mapping)


def test_entities_are_written_as_their_identifiers() -> None:
    entity: Document = {"identifier": "pay", "title": "Payments", "blueprint": "domain", "properties": {}}
    mapping: Document = {
        "identifier": entity, "team": [entity, "web"], "relations": {"a": entity, "b": [entity, "x"]},
        "properties": {"kept": entity},
    }  # fmt: skip
    assert written(mapping) == EntityWrite(
        "service",
        {
            "identifier": "pay", "team": ["pay", "web"], "relations": {"a": "pay", "b": ["pay", "x"]},
            "properties": {"kept": entity},
        },
    )  # fmt: skip


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"identifier": ""}, "identifier: must not be empty once it is rendered"),
        ({"identifier": None}, "identifier: must be a string"),
        ({"identifier": {"identifier": None}}, "identifier: must be a string"),
        ({"identifier": 7}, "identifier: must be a string"),
        ({"title": 7}, "title: must be a string"),
        ({"team": {"name": "web"}}, "team: must be a string or an array"),
        ({"properties": None}, "properties: must be an object"),
        ({"relations": {"a": {"combinator": "and", "rules": []}}}, "relations.a: must be a string or an array"),
        ({"owner": "ada"}, "owner: is not a field of UPSERT_ENTITY"),
    ],
)
def test_what_no_entity_can_be_is_named(mapping: Document, message: str) -> None:
    with pytest.raises(InvalidInvocation) as refused:
        written(mapping)
    assert str(refused.value) == f"invocationMethod.mapping.{message}"


def test_other_methods_write_nothing() -> None:
    assert backends.parse_rendered({"type": "WEBHOOK", "url": "https://x.test"}).writes() is None
