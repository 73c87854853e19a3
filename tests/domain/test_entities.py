"""What a request makes of an entity."""

from datetime import UTC, datetime

import pytest

from domain.blueprints import parsed
from domain.documents import Document
from domain.entities import Author, Entity, Kind, created, parsed_request

AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
SERVICE = parsed(
    {
        "identifier": "service",
        "title": "Service",
        "schema": {"properties": {"tier": {"type": "number", "default": 3}}},
        "relations": {"uses": {"target": "service", "many": True}},
    }
)


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"identifier": "a", "title": "A", "icon": "Server", "team": ["x", "y", "x"]},
        {"identifier": "a", "properties": {"tier": 1, "more": [None]}, "relations": {"uses": ["b", "c", "b"]}},
    ],
)
def test_a_new_entity_is_as_if_it_were_read(sent: Document) -> None:
    made = created(Kind("service", SERVICE), parsed_request(sent), generated="e_1", author=Author("user_1", AT, "x"))

    assert made.model_fields_set == set(Entity.model_fields), "nothing of it is missing"
    assert Entity.model_validate_json(made.model_dump_json()) == made
    assert made.model_copy(update={"title": "B"}).title == "B"
    with pytest.raises(ValueError, match="frozen"):
        made.title = "B"  # type: ignore[misc]


def test_entities_that_nobody_names_have_names_of_their_own() -> None:
    author = Author("user_1", AT, "x")
    several = {created(Kind("service", SERVICE), parsed_request({}), author=author).identifier for _ in range(50)}

    assert len(several) == 50
