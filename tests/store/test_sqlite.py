"""Sessions on a SQLite file: one writer at a time, nobody waits in the event loop, nothing half-done when cancelled."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Integer, literal_column, text
from sqlalchemy.exc import IntegrityError, InvalidRequestError, OperationalError, PendingRollbackError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlmodel import select
from sqlmodel.sql.expression import SelectOfScalar

from store.database import execute, sessions
from store.sqlite import SqliteFile


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[SqliteFile]:
    made = sessions(f"sqlite:///{tmp_path / 'some.db'}")
    assert isinstance(made, SqliteFile)
    async with made.write() as session:
        await execute(session, text("CREATE TABLE counts (name TEXT PRIMARY KEY, n INTEGER)"), {})
        await execute(session, text("INSERT INTO counts VALUES ('a', 0)"), {})
    yield made
    await made.close()


async def count(source: SqliteFile) -> int:
    async with source.read() as session:
        return int((await execute(session, text("SELECT n FROM counts"), {})).scalar_one())


async def add(source: SqliteFile) -> None:
    async with source.write() as session:
        n = (await execute(session, text("SELECT n FROM counts"), {})).scalar_one()
        await asyncio.sleep(0)
        await execute(session, text("UPDATE counts SET n = :n"), {"n": n + 1})


async def test_writers_take_turns_and_readers_are_many(source: SqliteFile) -> None:
    await asyncio.gather(*(add(source) for _ in range(50)), *(count(source) for _ in range(100)))

    assert await count(source) == 50


async def test_more_sessions_than_connections_wait_for_each_other(source: SqliteFile) -> None:
    async def read() -> int:
        async with source.read() as session:
            first: int = (await session.exec(select(literal_column("1", Integer)))).one()
            await asyncio.sleep(0.01)
            return first

    async with asyncio.timeout(10):
        assert sum(await asyncio.gather(*(read() for _ in range(100)))) == 100


async def test_what_raises_is_rolled_back(source: SqliteFile) -> None:
    async def fail() -> None:
        async with source.write() as session:
            await execute(session, text("UPDATE counts SET n = 7"), {})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()

    assert await count(source) == 0
    await add(source)
    assert await count(source) == 1


async def test_waiting_for_another_process_does_not_hold_the_event_loop(source: SqliteFile, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "some.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writing = asyncio.create_task(add(source))
    began = time.monotonic()
    await asyncio.sleep(0.3)
    longest = time.monotonic() - began
    assert not writing.done()
    assert await count(source) == 0, "readers do not wait for writers"
    other.execute("COMMIT")
    other.close()
    await writing

    assert await count(source) == 1
    assert longest < 5, "the busy timeout is twice that"


@pytest.mark.parametrize("after", [0.0, 0.05])
async def test_a_writer_that_is_cancelled_leaves_nothing_behind(
    source: SqliteFile, tmp_path: Path, after: float
) -> None:
    other = sqlite3.connect(tmp_path / "some.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writing = asyncio.create_task(add(source))
    await asyncio.sleep(after)
    writing.cancel()
    await asyncio.sleep(0.05)
    other.execute("COMMIT")
    other.close()
    with pytest.raises(asyncio.CancelledError):
        await writing

    assert await count(source) == 0
    async with asyncio.timeout(5):
        await add(source)
    assert await count(source) == 1


async def test_queries_that_take_long_do_not_hold_the_event_loop(source: SqliteFile) -> None:
    endless: SelectOfScalar[int] = select(
        literal_column(
            "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3000000) SELECT max(i) FROM n)"
        )
    )

    async def ask() -> int:
        async with source.read() as session:
            return int((await session.exec(endless)).one())

    asking = asyncio.create_task(ask())
    ticks = 0
    while not asking.done():
        await asyncio.sleep(0.005)
        ticks += 1

    assert await asking == 3_000_000
    assert ticks > 3


async def test_what_the_driver_says_passes(source: SqliteFile) -> None:
    with pytest.raises(OperationalError):
        async with source.read() as session:
            await execute(session, text("SELECT nothing FROM nowhere"), {})


class Tables(DeclarativeBase):
    """Of this file only."""


class Count(Tables):
    """A row, to be flushed."""

    __tablename__ = "counts"
    name: Mapped[str] = mapped_column(primary_key=True)
    n: Mapped[int]


async def test_nothing_is_written_after_a_flush_has_failed(source: SqliteFile) -> None:
    async def go_on() -> None:
        async with source.write() as session:
            session.add(Count(name="a", n=1))
            with pytest.raises(IntegrityError):
                await session.flush()
            await execute(session, text("INSERT INTO counts VALUES ('b', 0)"), {})

    with pytest.raises(PendingRollbackError):
        await go_on()
    assert await count(source) == 0, "and there is one row"
    await add(source)
    assert await count(source) == 1


async def test_the_first_reader_does_not_hold_the_event_loop(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "some.db", isolation_level=None)
    other.execute("CREATE TABLE counts AS SELECT 0 AS n")
    other.execute("BEGIN EXCLUSIVE")
    made = sessions(f"sqlite:///{tmp_path / 'some.db'}")
    assert isinstance(made, SqliteFile)
    reading = asyncio.create_task(count(made))
    began = time.monotonic()
    await asyncio.sleep(0.3)
    longest = time.monotonic() - began
    assert not reading.done()
    other.execute("COMMIT")
    other.close()
    assert await reading == 0
    await made.close()

    assert longest < 5, "the busy timeout is twice that"


async def test_a_session_that_has_ended_reads_nothing(source: SqliteFile) -> None:
    async with source.read() as session:
        pass
    with pytest.raises(InvalidRequestError):
        await execute(session, text("SELECT n FROM counts"), {})


async def test_readers_see_what_was_committed_since_the_one_before_whatever_became_of_that(source: SqliteFile) -> None:
    for n in range(3):
        assert await count(source) == n
        with pytest.raises(OperationalError):
            async with source.read() as session:
                await execute(session, text("SELECT nothing FROM nowhere"), {})
        await add(source)


async def test_the_driver_stores_nulls_and_booleans_without_asking_them_how(source: SqliteFile) -> None:
    for kind in (type(None), bool):
        assert (kind, sqlite3.PrepareProtocol) in sqlite3.adapters
    async with source.read() as session:
        stored = text("SELECT typeof(:null), typeof(:yes), :yes, :no")
        found = (await execute(session, stored, {"null": None, "yes": True, "no": False})).one()
    assert tuple(found) == ("null", "integer", 1, 0)
