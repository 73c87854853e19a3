"""Many entities at once in SQL: each is as it would be alone, whatever is in it and whatever is beside it."""

import json
from typing import Any

import pytest
from pydantic import JsonValue
from sqlmodel import col, select

from domain.blueprints import Blueprint, BlueprintId
from domain.documents import Document
from domain.entities import Author, EntityRequest, parsed_request
from domain.errors import BlueprintSchemaMismatch, InterlockError
from domain.times import iso
from store import blueprints, catalog
from store.catalog_tables import EntityRelationRow, EntityRow, EntityValueRow
from store.database import Database
from store.entities import Writer
from store.entity_batches import PutOptions
from store.tables import ChangeRow
from tests.store.conftest import AT, never

WRITER = Writer(Author("user_1", AT, "tests"), "API")
DOCUMENT: Document = {
    "identifier": "service",
    "title": "Service",
    "schema": {"properties": {"n": {"type": "number"}, "url": {"type": "string", "format": "url"}}},
    "relations": {"uses": {"target": "service", "many": True}, "of": {"target": "service"}},
}
DEEP: JsonValue = json.loads("[" * 90 + "]" * 90)
ANYTHING: Document = {
    "huge": 2**1000,
    "long": -(2**63) - 1,
    "tiny": 5e-324,
    "large": 1.7976931348623157e308,
    "third": 0.1 + 0.2,
    "minus": -0.0,
    "whole": 1.0,
    "truth": True,
    "null": None,
    "text": 'é \U0001f980 \u2028 "\\',
    "moment": "2026-01-02T03:04:05.678901+02:00",
    "far": "9999-12-31T23:59:59.999999Z",
    "mixed": [1, 1.0, True, "1", None, [1], {"a": 1}, "2026-01-02T03:04:05Z"],
    "object": {"z": {"y": [None]}, "a": 1},
    "deep": DEEP,
}


@pytest.fixture
async def blueprint(database: Database) -> Blueprint:
    made = Blueprint(BlueprintId("service"), DOCUMENT, AT, "user_1", AT, "user_1")
    async with database.write() as session:
        await blueprints.create(session, made, origin="API")
    return made


async def put_all(database: Database, blueprint: Blueprint, sent: list[Any], **how: Any) -> list[Any]:
    """What each of the documents led to."""
    requests: list[EntityRequest] = [parsed_request(one) for one in sent]
    return await database.transact(
        lambda session: catalog.put_all(
            session, blueprint, requests, PutOptions(upsert=True, **how), generated=[f"e{n}" for n in range(len(sent))],
            writer=WRITER, complete=never,
        )
    )  # fmt: skip


async def rows(database: Database, row: Any, *order: Any) -> list[Any]:
    async with database.read() as session:
        return list((await session.exec(select(row).order_by(*order))).all())


async def changes(database: Database) -> list[dict[str, Any]]:
    """The documents of all changes of entities, in order."""
    found = await rows(database, ChangeRow, col(ChangeRow.sequence))
    return [dict(row.document) for row in found if row.resource_type == "entity"]


def kinds(value: JsonValue) -> set[type]:
    """The types of everything in a document."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    keys = {type(key) for key in value} if isinstance(value, dict) else set()
    return {type(value)} | keys | {kind for one in inner for kind in kinds(one)}


@pytest.mark.parametrize("number", [0, 1, 2, 50])
async def test_each_of_many_is_written_with_its_rows_and_its_change(
    database: Database, blueprint: Blueprint, number: int
) -> None:
    sent = [{"identifier": f"x{n}", "team": ["a"], "properties": {"n": n}} for n in range(number)]
    done = await put_all(database, blueprint, sent)
    assert [(put.entity.identifier, put.is_new) for put in done] == [(f"x{n}", True) for n in range(number)]
    found = await rows(database, EntityRow, col(EntityRow.identifier))
    assert {row.identifier: row.document["properties"] for row in found} == {f"x{n}": {"n": n} for n in range(number)}
    told = await changes(database)
    assert [one["context"]["entity"] for one in told] == [f"x{n}" for n in range(number)]
    assert [one["subject"] for one in told] == [
        {row.identifier: row.id for row in found}[f"x{n}"] for n in range(number)
    ]
    assert len({row.id for row in found} | {str(one["id"]) for one in told}) == 2 * number
    values = await rows(database, EntityValueRow, col(EntityValueRow.name), col(EntityValueRow.number))
    assert [row.number for row in values if row.name == "n"] == list(range(number))


async def test_whatever_is_in_them_is_kept_exactly_by_the_row_and_the_change(
    database: Database, blueprint: Blueprint
) -> None:
    sent = [{"identifier": "plain", "properties": {"n": 1}}, {"identifier": "any", "properties": ANYTHING}]
    await put_all(database, blueprint, [*sent, {"identifier": "last", "properties": {"n": 2.5}}])
    [found] = [row for row in await rows(database, EntityRow, col(EntityRow.identifier)) if row.identifier == "any"]
    [change] = [one for one in await changes(database) if one["subject"] == found.id]
    both: list[dict[str, Any]] = [found.document, change["after"]]
    for kept in both:
        assert json.dumps(kept["properties"]) == json.dumps(ANYTHING)
        assert list(kept) == list(found.document)[: len(kept)]
    assert (change["before"], change["action"], change["status"]) == (None, "CREATE", "SUCCESS")
    of_it = [row for row in await rows(database, EntityValueRow, col(EntityValueRow.name)) if row.entity_id == found.id]
    values = {(row.name, row.place): (row.head[:9], row.number, row.kind, row.moment) for row in of_it}
    assert values["tiny", 0] == ("", 5e-324, "number", None)
    assert values["large", 0] == ("", 1.7976931348623157e308, "number", None)
    assert values["third", 0] == ("", 0.30000000000000004, "number", None)
    assert values["huge", 0] == ("", float(2**1000), "number", None)
    assert values["truth", 0] == ("", 1.0, "boolean", None)
    assert values["moment", 0] == ("", 1767315845678901.0, "instant", 1767315845678901)
    assert values["far", 0][2:] == ("instant", 253402300799999999)
    assert values["object", 0] == ("", 0.0, "object", None)
    assert {row.kind for row in of_it if row.name == "mixed"} == {
        "array", "number", "boolean", "text", "null", "instant",
    }  # fmt: skip


async def test_the_refused_leave_nothing_and_the_others_are_as_they_would_be_alone(
    database: Database, blueprint: Blueprint
) -> None:
    sent: list[Any] = [
        {"identifier": "a", "properties": {"n": 1}},
        {"identifier": "b", "properties": {"n": "not a number"}},
        {"identifier": "c", "relations": {"uses": ["a", "c"], "of": "a"}},
        {"identifier": "d", "relations": {"of": "nobody"}},
        {"identifier": "e", "properties": {"url": "https://example.com:99999/"}},
        {"identifier": "a", "properties": {"n": 2}},
        {},
    ]
    done = await put_all(database, blueprint, sent)
    assert [not isinstance(one, InterlockError) and one.is_new for one in done] == [
        True, False, True, False, False, False, True,
    ]  # fmt: skip
    assert isinstance(done[4], BlueprintSchemaMismatch)
    told = [(one["action"], one["context"]["entity"]) for one in await changes(database)]
    assert told == [("CREATE", "a"), ("CREATE", "c"), ("UPDATE", "a"), ("CREATE", "e6")]
    update = (await changes(database))[2]
    assert (update["before"]["properties"], update["after"]["properties"]) == ({"n": 1}, {"n": 2})
    related = await rows(database, EntityRelationRow, col(EntityRelationRow.relation), col(EntityRelationRow.target))
    assert [(row.relation, row.target) for row in related] == [("of", "a"), ("uses", "a"), ("uses", "c")]


async def test_what_is_recorded_is_of_the_types_of_json_which_are_quick_to_write(
    database: Database, blueprint: Blueprint
) -> None:
    [_, put, _] = await put_all(
        database, blueprint, [{"identifier": "a"}, {"identifier": "b", "relations": {"uses": ["a"], "of": "a"}}, {}]
    )
    document = put.entity.document()
    assert document["title"] == "b"
    assert document["createdAt"] == iso(AT)
    assert document["relations"] == {"uses": ["a"], "of": "a"}
    assert kinds(put.entity.document()) <= {dict, list, str, int, float, bool, type(None)}
