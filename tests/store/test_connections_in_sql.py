"""Connections to PostgreSQL: one that was just used is not asked whether it lives, one that has ended is replaced."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from store import database as databases
from store.database import Database, execute, json_value
from tests.support.databases import PostgresServer

_PID = text("SELECT pg_backend_pid()")
_END = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = :pid")


async def pid(database: Database) -> int:
    async def work(session: AsyncSession) -> int:
        found: int = (await execute(session, _PID, {})).scalar_one()
        return found

    return await database.transact(work)


@pytest.mark.parametrize("asked", [True, False], ids=["idle", "just used"])
async def test_a_connection_that_has_ended_is_replaced(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    monkeypatch.setattr(databases, "_UNASKED_SECONDS", 0.0 if asked else 3600.0)
    async with Database(postgres.url) as database, Database(postgres.url) as another:
        before = await pid(database)
        assert await pid(database) == before, "the one that was used last is used again"
        async with another.read() as session:
            await execute(session, _END, {"pid": before})
        await asyncio.sleep(0.3)  # the server has closed it by then
        assert await pid(database) != before


_XACT = text("SELECT pg_current_xact_id()::text, pg_backend_pid()")


async def transactions(session: AsyncSession) -> set[tuple[str, int]]:
    """The transactions of two statements, and who works on them."""
    return {tuple((await execute(session, _XACT, {})).one()) for _ in range(2)}


async def test_reading_takes_no_transaction_and_writing_has_one_on_the_same_connection(
    postgres: PostgresServer,
) -> None:
    async with Database(postgres.url) as database:
        async with database.write() as session:
            wrote = await transactions(session)
        async with database.read() as session:
            read = await transactions(session)
        async with database.write() as session:
            wrote_again = await transactions(session)
    assert len(wrote) == len(wrote_again) == 1
    assert len(read) == 2, "a transaction for two statements"
    assert len({worker for _, worker in wrote | read | wrote_again}) == 1


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(VALUES, st.booleans())
def test_stored_values_are_read_as_they_were(value: object, ascii_only: bool) -> None:
    assert repr(json_value(json.dumps(value, ensure_ascii=ascii_only))) == repr(value)


@pytest.mark.parametrize(
    "stored", ["[" * 400 + "]" * 400, '{"half": "\\ud800"}', "123456789012345678901234567890", "-0"]
)
def test_what_the_fast_reader_cannot_read_is_read_all_the_same(stored: str) -> None:
    assert repr(json_value(stored)) == repr(json.loads(stored))
