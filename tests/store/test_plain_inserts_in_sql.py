"""What is inserted without SQLAlchemy's help is what SQLAlchemy would have written."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue
from sqlalchemy import cast, insert
from sqlmodel import String, col, select

from store.catalog_tables import EntityRow
from store.columns import table
from store.database import Database, PlainInsert, execute, json_text, plainly

INSERT = insert(table(EntityRow))
COLUMNS = ("id", "blueprint", "identifier", "title", "created_at", "updated_at", "datasource", "document")
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
    text = json_text(value)
    assert plain_json(json.loads(text)) == plain_json(value)
    if not any(letter in text for letter in ".eE"):
        assert text == plain_json(value)


@pytest.mark.parametrize("value", [nested(300), {"half": "\ud800"}, {"\ud800": 1}])
def test_what_the_quick_way_refuses_is_written_all_the_same(value: JsonValue) -> None:
    assert json_text(value) == plain_json(value)


def row(number: int, at: datetime) -> dict[str, Any]:
    document = {"b": 1.0, "a": ["é\u2028\U0001f600", None, True, {"n": 2**70}], "number": number}
    return dict(
        zip(COLUMNS, (f"ent_{number}", "b", f"i{number}", "é'?$1", at, at.astimezone(UTC), "", document), strict=True)
    )


async def test_rows_are_as_sqlalchemy_writes_them(database: Database) -> None:
    rows = [row(0, AT), row(1, AT), row(2, AT + timedelta(days=90))]
    as_text = [cast(col(getattr(EntityRow, name)), String) for name in COLUMNS]
    found = []
    for plain in (True, False):
        async with database.write() as session:
            if plain:
                some = [tuple(each[name] for name in COLUMNS) for each in rows]
                await plainly(session, PlainInsert(table(EntityRow), *COLUMNS), some, in_place=True)
            else:
                await execute(session, INSERT, rows)
            found.append((await session.exec(select(*as_text).order_by(as_text[0]))).all())
            stored = (await session.exec(select(EntityRow).order_by(col(EntityRow.id)))).all()
            assert [each.model_dump() for each in stored] == rows
            for each in stored:
                await session.delete(each)

    assert found[0] == found[1]
    assert len(found[0]) == len(rows)
