"""What is inserted without SQLAlchemy's help is what SQLAlchemy would have written."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue
from sqlalchemy import cast, insert, text
from sqlalchemy.exc import IntegrityError
from sqlmodel import String, col, select

from domain.errors import InvalidRequest, Unavailable
from store.catalog_tables import EntityRow
from store.columns import JsonText, table
from store.database import Database, execute, json_text
from store.plain_inserts import PlainInsert, insert_all
from store.tables import ChangeRow

INSERT = insert(table(EntityRow))
COLUMNS = ("id", "blueprint", "identifier", "title", "created_at", "updated_at", "datasource", "document")
INTO_CHANGES = PlainInsert(table(ChangeRow), "id", "at", "resource_type", "pending", "status", "document")
AT = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=timezone(timedelta(hours=2)))

numbers = st.integers(-(2**80), 2**80) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


def plain_json(value: JsonValue) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def nested(levels: int) -> JsonValue:
    value: JsonValue = 1.0
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


@given(value=values)
def test_documents_are_written_as_python_writes_them_but_for_the_spelling_of_numbers(value: JsonValue) -> None:
    said = json_text(value)
    assert plain_json(json.loads(said)) == plain_json(value)
    if not any(letter in said for letter in ".eE"):
        assert said == plain_json(value)


@pytest.mark.parametrize("value", [nested(300), {"half": "\ud800"}, {"\ud800": 1}])
def test_what_the_quick_way_refuses_is_written_all_the_same(value: JsonValue) -> None:
    assert json_text(value) == plain_json(value)


def row(number: int, at: datetime) -> dict[str, Any]:
    document = {"b": 1.0, "a": ["é\u2028\U0001f600", None, True, {"n": 2**70}], "number": number}
    return dict(
        zip(COLUMNS, (f"ent_{number}", "b", f"i{number}", "é'?$1", at, at.astimezone(UTC), "", document), strict=True)
    )


def changes(number: int) -> list[tuple[Any, ...]]:
    return [(f"event_{place}", AT, "x", False, "SUCCESS", {"place": place}) for place in range(number)]


@pytest.mark.parametrize("number", [3, 60])
async def test_rows_are_as_sqlalchemy_writes_them(database: Database, number: int) -> None:
    rows = sorted((row(place, AT + timedelta(days=place)) for place in range(number)), key=lambda one: str(one["id"]))
    as_text = [cast(col(getattr(EntityRow, name)), String) for name in COLUMNS]
    found = []
    for plain in (True, False):
        async with database.write() as session:
            if plain:
                some = [tuple(each[name] for name in COLUMNS) for each in rows]
                await insert_all(session, (PlainInsert(table(EntityRow), *COLUMNS), some))
            else:
                await execute(session, INSERT, rows)
            found.append((await session.exec(select(*as_text).order_by(as_text[0]))).all())
            stored = (await session.exec(select(EntityRow).order_by(col(EntityRow.id)))).all()
            assert [each.model_dump() for each in stored] == rows
            for each in stored:
                await session.delete(each)

    assert found[0] == found[1]
    assert len(found[0]) == len(rows)


@pytest.mark.parametrize("number", [1, 9, 19, 20, 60, 99, 100, 267])
async def test_however_many_are_all_written_and_in_order(database: Database, number: int) -> None:
    some = [tuple(row(place, AT)[name] for name in COLUMNS) for place in range(number)]
    async with database.write() as session:
        await insert_all(session, (PlainInsert(table(EntityRow), *COLUMNS), some), (INTO_CHANGES, changes(number)))
    async with database.read() as session:
        stored = (await session.exec(select(EntityRow))).all()
        logged = (await session.exec(select(ChangeRow).order_by(col(ChangeRow.sequence)))).all()
    assert {each.id: each.document for each in stored} == {one[0]: one[-1] for one in some}
    assert [each.id for each in logged] == [f"event_{place}" for place in range(number)]


@pytest.mark.parametrize("number", [1, 150])
async def test_one_that_is_there_already_fails_all_of_the_transaction(database: Database, number: int) -> None:
    plain = PlainInsert(table(EntityRow), *COLUMNS)
    some = [tuple(row(place, AT)[name] for name in COLUMNS) for place in range(number)]
    async with database.write() as session:
        await insert_all(session, (plain, some[-1:]))
    with pytest.raises(IntegrityError) as refused:
        async with database.write() as session:
            await insert_all(session, (INTO_CHANGES, changes(number)), (plain, some))
    assert "ent_" not in str(refused.value).partition("DETAIL")[0]  # what people wrote is not for logs
    async with database.read() as session:
        assert [one.id for one in await session.exec(select(EntityRow))] == [some[-1][0]]
        assert (await session.exec(select(ChangeRow))).all() == []


async def test_a_character_that_cannot_be_stored_is_refused_however_many_there_are(database: Database) -> None:
    if database.is_sqlite:
        pytest.skip("SQLite stores it")
    for number in (1, 60):
        with pytest.raises(InvalidRequest, match="character"):
            async with database.write() as session:
                await insert_all(session, (INTO_CHANGES, [("\x00", *one[1:]) for one in changes(number)]))


async def test_a_server_that_hangs_up_in_the_middle_is_an_outage_and_the_next_write_goes_well(
    database: Database,
) -> None:
    if database.is_sqlite:
        pytest.skip("SQLite is no server")

    async def interrupted() -> None:
        async with database.write() as session:
            own = (await execute(session, text("SELECT pg_backend_pid()"), {})).scalar_one()
            async with database.beside() as other:
                await execute(other, text("SELECT pg_terminate_backend(:own)"), {"own": own})
            await insert_all(session, (INTO_CHANGES, changes(60)))

    with pytest.raises(Unavailable):
        await interrupted()
    async with database.write() as session:
        await insert_all(session, (INTO_CHANGES, changes(60)))
    async with database.read() as session:
        assert len((await session.exec(select(ChangeRow))).all()) == 60


async def test_many_are_written_in_the_transaction_even_when_they_are_its_first_statement(database: Database) -> None:
    async def undone() -> None:
        async with database.write() as session:
            await insert_all(session, (INTO_CHANGES, changes(60)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await undone()
    async with database.read() as session:
        assert (await session.exec(select(ChangeRow))).all() == []


async def test_text_that_is_json_already_is_stored_as_it_is(database: Database) -> None:
    written = JsonText('{"a":[1.0,"é"]}')
    async with database.write() as session:
        for number in (1, 60):
            some = [(f"{number}{one[0]}", *one[1:-1], written) for one in changes(number)]
            await insert_all(session, (INTO_CHANGES, some))
        found = (await session.exec(select(cast(col(ChangeRow.document), String)))).all()
    assert found == [str(written)] * 61
