"""Writers on SQLite that are committed together: each undone by itself, done when committed, nobody forgotten."""

import asyncio
import math
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, Table, event, text
from sqlalchemy.exc import IntegrityError, InvalidRequestError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.errors import Unavailable
from store import sqlite_writing
from store.database import Database, Raced, execute
from store.plain_inserts import PlainInsert, insert_all
from store.sqlite import SqliteFile
from store.sqlite_writing import Turns

Work = Callable[[AsyncSession], Awaitable[None]]

pytestmark = pytest.mark.timeout(300)


class Base(DeclarativeBase):
    """Tables of this file alone."""


class Note(Base):
    """What a writer leaves."""

    __tablename__ = "notes"

    name: Mapped[str] = mapped_column(primary_key=True)


NOTES = Note.__table__
assert isinstance(NOTES, Table)
INTO_NOTES = PlainInsert(NOTES, "name")
SEVERAL = 1_200
"""So many rows that they are inserted in a thread."""
SCHEMA = (
    "CREATE TABLE notes (name TEXT PRIMARY KEY)",
    "CREATE TABLE large (body BLOB)",
    "CREATE TABLE parents (name TEXT PRIMARY KEY)",
    # Is looked at when it is committed, so that is what fails.
    "CREATE TABLE children (parent TEXT REFERENCES parents (name) DEFERRABLE INITIALLY DEFERRED)",
    "INSERT INTO notes VALUES ('taken')",
)


class Journal:
    """What happens, in order: who writes, and each COMMIT when it begins, which can be held."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.may_commit = threading.Event()
        self.may_commit.set()

    def __call__(self, statement: str) -> None:
        """What SQLite says that it does, in the thread that does it."""
        if statement == "COMMIT":
            self.lines.append("COMMIT")
            self.may_commit.wait(120)

    @property
    def groups(self) -> list[list[str]]:
        """Who was committed with whom."""
        found: list[list[str]] = [[]]
        for line in self.lines:
            if line == "COMMIT":
                found.append([])
            else:
                found[-1].append(line)
        return [group for group in found if group]


@pytest.fixture(autouse=True)
def _no_stopwatch(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, nobody has written for too long."""
    monkeypatch.setattr(sqlite_writing, "_LONGEST", math.inf)


@pytest.fixture
def journal() -> Iterator[Journal]:
    made = Journal()

    def listen(connection: sqlite3.Connection, _: object) -> None:
        connection.set_trace_callback(made)

    event.listen(Engine, "connect", listen)
    yield made
    event.remove(Engine, "connect", listen)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.db"


@pytest.fixture
async def source(path: Path, journal: Journal) -> AsyncIterator[SqliteFile]:
    made = SqliteFile(f"sqlite:///{path}")
    await prepare(made)
    journal.lines.clear()
    yield made
    journal.may_commit.set()
    await made.close()


@pytest.fixture
async def database(path: Path, journal: Journal) -> AsyncIterator[Database]:
    async with Database(f"sqlite:///{path}") as made:
        async with made.write() as session:
            for statement in SCHEMA:
                await execute(session, text(statement), {})
        journal.lines.clear()
        yield made
        journal.may_commit.set()


async def prepare(source: SqliteFile) -> None:
    async with source.write() as session:
        for statement in SCHEMA:
            await execute(session, text(statement), {})


async def note(session: AsyncSession, name: str) -> None:
    await execute(session, text("INSERT INTO notes VALUES (:name)"), {"name": name})


async def noted(source: SqliteFile | Database) -> set[str]:
    async with source.read() as session:
        return set((await execute(session, text("SELECT name FROM notes"), {})).scalars()) - {"taken"}


async def nothing(session: AsyncSession) -> None:
    await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(120):
        while not condition():
            await asyncio.sleep(0.001)


async def steps(number: int = 5) -> None:
    """Let everybody go on who can."""
    for _ in range(number):
        await asyncio.sleep(0)


class Queue:
    """Writers who wait, in order, for one who writes alone, until `go`."""

    def __init__(self, source: SqliteFile, journal: Journal) -> None:
        self._source, self._journal = source, journal
        self._opens = asyncio.Event()
        self._first = asyncio.create_task(self._hold())

    async def _hold(self) -> None:
        async with self._source.write():
            await self._opens.wait()

    async def add(self, name: str, work: Work = nothing, *, together: bool = True) -> "asyncio.Task[None]":
        """One who leaves a note of that name, then works."""

        async def write() -> None:
            async with self._source.write(together=together) as session:
                self._journal.lines.append(name)
                await note(session, name)
                await work(session)

        await steps(1)  # the one before waits already
        task = asyncio.create_task(write())
        await steps()
        return task

    async def go(self) -> None:
        """Let them write, and wait for nobody but the one before them."""
        self._opens.set()
        await self._first


@pytest.fixture
async def queue(source: SqliteFile, journal: Journal) -> Queue:
    made = Queue(source, journal)
    await steps()
    return made


async def told(*tasks: "asyncio.Task[None]") -> list[type[BaseException] | None]:
    """What became of each."""
    async with asyncio.timeout(120):
        said = await asyncio.gather(*tasks, return_exceptions=True)
    return [None if one is None else type(one) for one in said]


async def still_works(source: SqliteFile, *, called: str = "after") -> None:
    """Whoever comes next writes as if nothing had been, alone and with others."""
    async with asyncio.timeout(120):
        async with source.write(together=True) as session:
            await note(session, called)
        async with source.write() as session:
            await execute(session, text("DELETE FROM notes WHERE name = :name"), {"name": called})


async def test_those_who_wait_are_committed_at_once(source: SqliteFile, journal: Journal, queue: Queue) -> None:
    tasks = [await queue.add(name) for name in "abc"]
    await queue.go()

    assert await told(*tasks) == [None] * 3
    assert journal.lines == ["COMMIT", "a", "b", "c", "COMMIT"], "first come, first served"
    assert await noted(source) == {"a", "b", "c"}


async def test_nobody_is_done_and_nobody_sees_anything_before_it_is_committed(
    source: SqliteFile, journal: Journal, queue: Queue
) -> None:
    async def refuse(session: AsyncSession) -> None:
        raise LookupError

    tasks = [await queue.add("a"), await queue.add("b", refuse), await queue.add("c")]
    await queue.go()
    journal.may_commit.clear()
    await until(lambda: journal.lines.count("COMMIT") == 2)
    await steps(20)

    assert not any(task.done() for task in tasks), "what is refused may be so because of what is not committed"
    assert await noted(source) == set()
    journal.may_commit.set()
    assert await told(*tasks) == [None, LookupError, None]
    assert await noted(source) == {"a", "c"}


async def test_later_ones_see_what_is_written_before_them(source: SqliteFile, queue: Queue) -> None:
    seen = []

    async def look(session: AsyncSession) -> None:
        rows = await execute(session, text("SELECT name FROM notes ORDER BY name"), {})
        seen.append(list(rows.scalars()))

    tasks = [await queue.add(name, look) for name in "abc"]
    await queue.go()
    await told(*tasks)

    assert seen == [["a", "taken"], ["a", "b", "taken"], ["a", "b", "c", "taken"]]


async def test_one_without_together_is_alone(source: SqliteFile, journal: Journal, queue: Queue) -> None:
    tasks = [await queue.add(name, together=name.islower()) for name in "abCDefG"]
    await queue.go()

    assert await told(*tasks) == [None] * 7
    assert journal.groups == [["a", "b"], ["C"], ["D"], ["e", "f"], ["G"]]


async def test_many_are_committed_some_at_a_time(source: SqliteFile, journal: Journal, queue: Queue) -> None:
    tasks = [await queue.add(str(number)) for number in range(60)]
    await queue.go()

    assert await told(*tasks) == [None] * 60
    assert [len(group) for group in journal.groups] == [16, 16, 16, 12]
    assert journal.groups == [
        [str(number) for number in range(start, min(start + 16, 60))] for start in (0, 16, 32, 48)
    ]


async def test_the_first_does_not_wait_for_ever(
    journal: Journal, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writing, "_LONGEST", 0)
    tasks = [await queue.add(name) for name in "abc"]
    await queue.go()

    assert await told(*tasks) == [None] * 3
    assert journal.groups == [["a"], ["b"], ["c"]]


async def raises(session: AsyncSession) -> None:
    raise LookupError


async def inserts_one_too_many(session: AsyncSession) -> None:
    await insert_all(session, (INTO_NOTES, [("x",), ("y",), ("taken",)]))


async def inserts_one_too_many_in_a_thread(session: AsyncSession) -> None:
    rows = [(f"x{number}",) for number in range(SEVERAL)]
    await insert_all(session, (INTO_NOTES, [*rows, ("taken",), ("z",)]))


async def flushes(session: AsyncSession) -> None:
    session.add(Note(name="x"))
    await session.flush()
    session.add(Note(name="taken"))
    await session.flush()


async def leaves_it_to_the_end(session: AsyncSession) -> None:
    session.add_all([Note(name="x"), Note(name="taken")])


async def fails_within(session: AsyncSession) -> None:
    await note(session, "x")
    async with session.begin_nested():
        await note(session, "y")
        raise LookupError


async def is_cancelled(session: AsyncSession) -> None:
    await note(session, "x")
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_soon(task.cancel)
    await asyncio.Event().wait()


async def is_cancelled_while_a_thread_works(session: AsyncSession) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_soon(task.cancel)
    await insert_all(session, (INTO_NOTES, [(f"x{number}",) for number in range(SEVERAL)]))


async def is_cancelled_at_last(session: AsyncSession) -> None:
    """It ends as it should, and is cancelled with the next thing that it waits for."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


FAILURES: dict[Work, type[BaseException]] = {
    raises: LookupError,
    inserts_one_too_many: IntegrityError,
    inserts_one_too_many_in_a_thread: IntegrityError,
    flushes: IntegrityError,
    leaves_it_to_the_end: IntegrityError,
    fails_within: LookupError,
    is_cancelled: asyncio.CancelledError,
    is_cancelled_while_a_thread_works: asyncio.CancelledError,
}


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("failure", FAILURES, ids=lambda work: work.__name__)
async def test_one_that_fails_undoes_what_it_did_itself(
    source: SqliteFile, journal: Journal, queue: Queue, failure: Work, place: int
) -> None:
    tasks = [await queue.add(name, failure if number == place else nothing) for number, name in enumerate("abc")]
    await queue.go()

    assert await told(*tasks) == [FAILURES[failure] if number == place else None for number in range(3)]
    assert await noted(source) == set("abc") - {"abc"[place]}
    assert journal.lines.count("COMMIT") == 2, "that of the one before them, and theirs"
    await still_works(source)


@pytest.mark.parametrize("failing", ["ab", "bc", "ac", "abc"])
async def test_several_that_fail_undo_what_they_did(source: SqliteFile, queue: Queue, failing: str) -> None:
    tasks = [await queue.add(name, flushes if name in failing else nothing) for name in "abc"]
    await queue.go()

    assert await told(*tasks) == [IntegrityError if name in failing else None for name in "abc"]
    assert await noted(source) == set("abc") - set(failing)
    await still_works(source)


@pytest.mark.parametrize("place", range(3))
async def test_what_one_undoes_and_goes_on_is_undone_alone(source: SqliteFile, queue: Queue, place: int) -> None:
    async def go_on(session: AsyncSession) -> None:
        with suppress(LookupError):
            await fails_within(session)
        async with session.begin_nested():
            await note(session, "z")

    tasks = [await queue.add(name, go_on if number == place else nothing) for number, name in enumerate("abc")]
    await queue.go()

    assert await told(*tasks) == [None] * 3
    assert await noted(source) == {"a", "b", "c", "x", "z"}


@pytest.mark.parametrize("place", range(3))
async def test_one_that_is_cancelled_while_it_waits_for_its_turn_does_nothing(
    source: SqliteFile, journal: Journal, queue: Queue, place: int
) -> None:
    tasks = [await queue.add(name) for name in "abc"]
    tasks[place].cancel()
    await queue.go()

    assert await told(*tasks) == [asyncio.CancelledError if number == place else None for number in range(3)]
    assert journal.groups == [[name for number, name in enumerate("abc") if number != place]]
    await still_works(source)


@pytest.mark.parametrize("cancelled", ["a", "b", "c", "ab", "bc", "ac", "abc"])
async def test_one_that_is_cancelled_as_its_turn_comes_lets_the_next_have_it(
    source: SqliteFile, queue: Queue, monkeypatch: pytest.MonkeyPatch, cancelled: str
) -> None:
    tasks = {name: await queue.add(name) for name in "abc"}
    waiting = list(tasks)
    give = Turns.give

    def give_and_cancel(turns: Turns) -> None:
        give(turns)
        if waiting and (name := waiting.pop(0)) in cancelled:
            assert not tasks[name].done()
            tasks[name].cancel()

    monkeypatch.setattr(Turns, "give", give_and_cancel)
    await queue.go()

    assert await told(*tasks.values()) == [asyncio.CancelledError if name in cancelled else None for name in tasks]
    assert await noted(source) == set(tasks) - set(cancelled)
    await still_works(source)


@pytest.mark.parametrize("cancelled", ["a", "b", "c", "abc"])
async def test_one_that_is_cancelled_while_they_are_committed_takes_nobody_along(
    source: SqliteFile, journal: Journal, queue: Queue, cancelled: str
) -> None:
    tasks = {name: await queue.add(name) for name in "abc"}
    await queue.go()
    journal.may_commit.clear()
    await until(lambda: journal.lines.count("COMMIT") == 2)
    for name in cancelled:
        tasks[name].cancel()
        await steps()
        tasks[name].cancel()  # again and again, as people do
    await steps()
    assert not any(task.done() for name, task in tasks.items() if name not in cancelled)
    journal.may_commit.set()

    assert await told(*tasks.values()) == [asyncio.CancelledError if name in cancelled else None for name in tasks]
    assert await noted(source) == set(tasks), "it was theirs to commit already"
    await still_works(source)


async def test_one_that_is_cancelled_as_it_ends_is_committed_or_not_but_no_half_of_it(
    source: SqliteFile, queue: Queue
) -> None:
    tasks = [await queue.add("a"), await queue.add("b", is_cancelled_at_last), await queue.add("c")]
    await queue.go()

    assert await told(*tasks) == [None, asyncio.CancelledError, None]
    assert {"a", "c"} <= await noted(source)
    await still_works(source)


@pytest.mark.parametrize("place", range(3))
async def test_a_commit_that_fails_is_told_to_everybody_and_leaves_nothing(
    source: SqliteFile, queue: Queue, place: int
) -> None:
    async def spoil(session: AsyncSession) -> None:
        await execute(session, text("INSERT INTO children VALUES ('nobody')"), {})

    tasks = [await queue.add(name, spoil if number == place else nothing) for number, name in enumerate("abc")]
    tasks.append(await queue.add("refused", raises))
    tasks.append(await queue.add("alone", together=False))
    await queue.go()

    assert await told(*tasks) == [OperationalError] * 4 + [None], "what was refused saw what is not there"
    faults = {task.exception() for task in tasks[:4]}
    assert len(faults) == 4, "each has their own"
    assert await noted(source) == {"alone"}
    await still_works(source)


async def fills_the_disk(session: AsyncSession) -> None:
    pages = (await execute(session, text("PRAGMA page_count"), {})).scalar_one()
    await execute(session, text(f"PRAGMA max_page_count = {pages + 2}"), {})
    try:
        await execute(session, text("INSERT INTO large VALUES (zeroblob(1000000))"), {})
    finally:
        await execute(session, text("PRAGMA max_page_count = 1000000"), {})


async def fills_the_disk_and_goes_on(session: AsyncSession) -> None:
    with suppress(OperationalError):
        await fills_the_disk(session)


@pytest.mark.parametrize("full", [fills_the_disk, fills_the_disk_and_goes_on])
@pytest.mark.parametrize("place", range(3))
async def test_where_sqlite_undoes_all_of_it_nobody_is_told_otherwise(
    source: SqliteFile, queue: Queue, place: int, full: Work
) -> None:
    tasks = [await queue.add(name, full if number == place else nothing) for number, name in enumerate("abc")]
    await queue.go()

    assert await told(*tasks) == [OperationalError if number <= place else None for number in range(3)]
    assert await noted(source) == set("abc"[place + 1 :])
    await still_works(source)


FULL_DISK = """
import asyncio, resource, signal, sys
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from store.database import execute, sessions

async def main(url):
    source = sessions(url)
    async with source.write() as session:
        await execute(session, text("CREATE TABLE notes (name TEXT, body BLOB)"), {})
    opens = asyncio.Event()

    async def first():
        async with source.write():
            await opens.wait()

    async def write(name):
        async with source.write(together=True) as session:
            sql = "INSERT INTO notes VALUES (:name, zeroblob(100000))"
            await execute(session, text(sql), {"name": name})

    async def read():
        async with source.read() as session:
            return sorted((await execute(session, text("SELECT name FROM notes"), {})).scalars())

    async def all_of(*names):
        opens.clear()
        tasks = [asyncio.create_task(first())]
        for name in names:
            await asyncio.sleep(0)
            tasks.append(asyncio.create_task(write(name)))
        await asyncio.sleep(0)
        opens.set()
        return [type(one).__name__ for one in (await asyncio.gather(*tasks, return_exceptions=True))[1:]]

    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, usual[1]))
    print(await all_of("a", "b", "c"), await read())
    resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    print(await all_of("d", "e"), await read())
    await source.close()

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
asyncio.run(main(sys.argv[1]))
"""


def test_a_disk_that_is_full_when_they_are_committed_is_told_to_everybody(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", FULL_DISK, f"sqlite:///{tmp_path / 'small.db'}"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parents[2],
        check=False,
    )

    assert ran.stderr == ""
    assert ran.stdout.splitlines() == [
        "['OperationalError', 'OperationalError', 'OperationalError'] []",
        "['NoneType', 'NoneType'] ['d', 'e']",
    ]


async def test_those_who_wait_for_another_process_do_not_hold_the_event_loop(
    source: SqliteFile, journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(sqlite_writing, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(sqlite_writing, "_LONGEST", 1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    queue = Queue(source, journal)
    await steps()
    tasks = [await queue.add(name) for name in "abc"]
    going = asyncio.create_task(queue.go())
    await steps(100)

    assert not any(task.done() for task in tasks)
    assert await noted(source) == set(), "readers do not wait for writers"
    now[0] = 100.0  # that they waited does not mean that they write for too long
    other.execute("COMMIT")
    other.close()
    await going
    assert await told(*tasks) == [None] * 3
    assert journal.groups == [["a", "b", "c"]]


async def test_one_that_is_cancelled_while_another_process_writes_lets_the_next_have_its_turn(
    source: SqliteFile, journal: Journal, path: Path
) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    async def write(name: str) -> None:
        async with source.write(together=True) as session:
            await note(session, name)

    tasks = [asyncio.create_task(write(name)) for name in "ab"]
    await steps(20)
    tasks[0].cancel()
    await steps(20)
    other.execute("COMMIT")
    other.close()

    assert await told(*tasks) == [asyncio.CancelledError, None]
    assert await noted(source) == {"b"}


async def look_beside(source: SqliteFile | Database) -> set[str]:
    async with source.beside() as session:
        return set((await execute(session, text("SELECT name FROM notes"), {})).scalars()) - {"taken"}


async def transacted(
    database: Database, journal: Journal, names: str, work: Callable[[str, AsyncSession], Awaitable[None]]
) -> "list[asyncio.Task[None]]":
    """Those who leave a note of their name and work, when the one before them, who writes alone, is done."""

    async def write(name: str) -> None:
        async def noting(session: AsyncSession) -> None:
            journal.lines.append(name)
            await note(session, name)
            await work(name, session)

        await database.transact(noting, together=True)

    async with database.write():
        tasks = []
        for name in names:
            tasks.append(asyncio.create_task(write(name)))
            await steps()
    return tasks


async def test_one_that_looks_beside_does_it_again_alone_and_sees_what_is_committed(
    database: Database, journal: Journal
) -> None:
    seen: dict[str, set[str]] = {}

    async def work(name: str, session: AsyncSession) -> None:
        if name in "abd":
            seen[name] = await look_beside(database)

    tasks = await transacted(database, journal, "abcd", work)

    assert await told(*tasks) == [None] * 4
    assert journal.groups == [["a", "b", "c", "d"], ["b"], ["d"]], "the first of them has nobody before"
    assert seen == {"a": set(), "b": {"a", "c"}, "d": {"a", "b", "c"}}
    assert await noted(database) == set("abcd")


async def test_whoever_is_done_may_look_beside_and_so_may_their_tasks(database: Database, journal: Journal) -> None:
    left: list[asyncio.Task[set[str]]] = []
    goes_on, first_is_done = asyncio.Event(), asyncio.Event()

    async def later() -> set[str]:
        await first_is_done.wait()
        return await look_beside(database)

    async def work(name: str, session: AsyncSession) -> None:
        if name in "ab":
            left.append(asyncio.create_task(later()))
        if name == "c":
            first_is_done.set()
            await asyncio.wait(left)
            goes_on.set()

    tasks = await transacted(database, journal, "abc", work)

    assert await told(*tasks) == [None] * 3
    assert goes_on.is_set()
    assert [task.result() for task in left] == [set(), set()], "nothing was committed"
    assert await look_beside(database) == set("abc")


async def test_a_task_of_one_that_writes_with_others_does_not_look_beside_while_they_write(
    database: Database, journal: Journal
) -> None:
    said: list[object] = []

    async def work(name: str, session: AsyncSession) -> None:
        if name == "b":
            said.extend(await asyncio.gather(look_beside(database), return_exceptions=True))

    await told(*await transacted(database, journal, "ab", work))

    assert [type(one) for one in said] == [Raced, set], "and then alone"


@pytest.mark.parametrize("says", [None, LookupError])
async def test_one_that_does_not_mind_that_it_may_not_look_beside_is_done_again_all_the_same(
    database: Database, journal: Journal, says: type[Exception] | None
) -> None:
    seen = []

    async def work(name: str, session: AsyncSession) -> None:
        if name == "b":
            try:
                seen.append(await look_beside(database))
            except Unavailable:
                if says:
                    raise says from None

    assert await told(*await transacted(database, journal, "ab", work)) == [None, None]
    assert seen == [{"a"}]
    assert await noted(database) == {"a", "b"}


async def test_a_session_that_has_ended_writes_nothing_into_those_of_others(source: SqliteFile, queue: Queue) -> None:
    sessions = []

    async def keep(session: AsyncSession) -> None:
        sessions.append(session)

    async def use(session: AsyncSession) -> None:
        with pytest.raises(InvalidRequestError):
            await note(sessions[0], "x")

    tasks = [await queue.add("a", keep), await queue.add("b", use)]
    await queue.go()

    assert await told(*tasks) == [None, None]
    assert await noted(source) == {"a", "b"}


async def test_bells_ring_when_it_is_committed_and_only_then(database: Database, journal: Journal) -> None:
    ear = database.bell.ear()

    async def work(name: str, session: AsyncSession) -> None:
        if name == "b":
            session.info["rings"] = True
        if name == "c":
            session.info["rings"] = True
            raise LookupError

    tasks = await transacted(database, journal, "abc", work)
    journal.may_commit.clear()
    await until(lambda: journal.lines.count("COMMIT") == 2)
    assert not await ear.wait(0.01)
    journal.may_commit.set()
    await told(*tasks)
    assert await ear.wait(5)

    async def spoil(name: str, session: AsyncSession) -> None:
        session.info["rings"] = True
        await execute(session, text("INSERT INTO children VALUES ('nobody')"), {})

    assert await told(*await transacted(database, journal, "xyz", spoil)) == [Unavailable] * 3
    assert not await ear.wait(0.01)


async def test_what_cannot_be_committed_as_all_is_closed_is_not_told_as_if_it_were(
    journal: Journal, path: Path
) -> None:
    source = SqliteFile(f"sqlite:///{path}")
    await prepare(source)
    queue = Queue(source, journal)

    async def close(session: AsyncSession) -> None:
        await source.close()

    tasks = [await queue.add("a"), await queue.add("b", close)]
    await queue.go()

    assert await told(*tasks) == [OperationalError, RuntimeError]
    other = sqlite3.connect(path, timeout=0, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # nobody keeps it from writing
    assert other.execute("SELECT name FROM notes").fetchall() == [("taken",)]
    other.close()


async def test_it_closes_when_nobody_writes_any_more(journal: Journal, path: Path) -> None:
    source = SqliteFile(f"sqlite:///{path}")
    await prepare(source)
    queue = Queue(source, journal)
    tasks = [await queue.add(name) for name in "abc"]
    await queue.go()
    await told(*tasks)
    await source.close()

    assert not path.with_name("some.db-wal").exists(), "the last connection is closed"


steps_ = st.integers(0, 12)
people = st.lists(
    st.fixed_dictionaries(
        {
            "start": steps_,
            "together": st.sampled_from([True, True, True, False]),
            "name": st.sampled_from("pqrstuvwxyz"),
            "does": st.sampled_from(
                ["works"] * 4 + ["raises", "nests", "flushes", "in a thread", "looks beside", "spoils", "fills"]
            ),
            "pauses": steps_,
            "cancelled": st.none() | st.none() | st.integers(0, 40),
        }
    ),
    min_size=1,
    max_size=40,
)


class Programme:
    """Many writers, of whom each numbers what it writes: no number is missing, and each is told what became of it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.told: dict[int, str] = {}
        """What each was told: fine, refused, lost or cancelled."""

    async def run(self, several: list[dict[str, Any]]) -> None:
        tasks = [asyncio.create_task(self._one(number, one)) for number, one in enumerate(several)]
        killers = [
            asyncio.create_task(self._cancel(task, one["cancelled"]))
            for task, one in zip(tasks, several, strict=True)
            if one["cancelled"] is not None
        ]
        async with asyncio.timeout(120):
            await asyncio.gather(*tasks, *killers)

    async def _cancel(self, task: "asyncio.Task[None]", after: int) -> None:
        await steps(after)
        task.cancel()

    async def _one(self, number: int, one: dict[str, Any]) -> None:
        try:
            await steps(one["start"])
            await self._database.transact(lambda session: self._work(session, number, one), together=one["together"])
        except asyncio.CancelledError:
            self.told[number] = "cancelled"
        except (LookupError, IntegrityError):
            self.told[number] = "refused"
        except Unavailable:
            self.told[number] = "lost"
        else:
            self.told[number] = "fine"

    async def _work(self, session: AsyncSession, number: int, one: dict[str, Any]) -> None:
        n = (await execute(session, text("SELECT n FROM counter"), {})).scalar_one()
        await steps(one["pauses"])
        await execute(session, text("UPDATE counter SET n = :n"), {"n": n + 1})
        values = {"n": n, "number": number, "name": one["name"]}
        await execute(session, text("INSERT INTO first VALUES (:n, :number, :name)"), values)
        match one["does"]:
            case "raises":
                raise LookupError
            case "nests":
                with suppress(LookupError):
                    await fails_within(session)
                await execute(session, text("DELETE FROM notes WHERE name = 'x'"), {})
            case "flushes":
                session.add(Note(name=f"{one['name']}!"))
            case "in a thread":
                rows = [(f"{number} {place}",) for place in range(SEVERAL)]
                await insert_all(session, (INTO_NOTES, rows))
            case "looks beside":
                async with self._database.beside() as beside:
                    seen = (await execute(beside, text("SELECT n FROM counter"), {})).scalar_one()
                assert seen == n, "nobody writes meanwhile, and all before is committed"
            case "spoils":
                await execute(session, text("INSERT INTO children VALUES ('nobody')"), {})
            case "fills":
                await fills_the_disk(session)
        await steps(one["pauses"])
        await execute(session, text("INSERT INTO second VALUES (:number)"), values)


async def played(several: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with Database(f"sqlite:///{directory}/some.db") as database:
            async with database.write() as session:
                for statement in (
                    *SCHEMA,
                    "CREATE TABLE counter (n INTEGER)",
                    "INSERT INTO counter VALUES (0)",
                    "CREATE TABLE first (n INTEGER, number INTEGER UNIQUE, name TEXT UNIQUE)",
                    "CREATE TABLE second (number INTEGER UNIQUE)",
                ):
                    await execute(session, text(statement), {})
            programme = Programme(database)
            await programme.run(several)
            async with database.read() as session:
                rows = (await execute(session, text("SELECT n, number, name FROM first ORDER BY n"), {})).all()
                also = set((await execute(session, text("SELECT number FROM second"), {})).scalars())
                notes = set((await execute(session, text("SELECT name FROM notes"), {})).scalars()) - {"taken"}
                counted = (await execute(session, text("SELECT n FROM counter"), {})).scalar_one()
            there = {number for _, number, _ in rows}
            assert [n for n, _, _ in rows] == list(range(counted)), "each began where the one before ended"
            assert there == also, "all of it or nothing"
            for number, what in programme.told.items():
                assert (number in there) is (what == "fine") or what == "cancelled", (number, what)
                does, name = several[number]["does"], several[number]["name"]
                if what == "refused" and does != "raises":
                    assert name in {taken for _, _, taken in rows}, "by what is there"
                if what == "fine":
                    assert does not in ("raises", "spoils", "fills")
            assert notes == {
                said
                for number in there
                for said in {
                    "flushes": [f"{several[number]['name']}!"],
                    "in a thread": [f"{number} {place}" for place in range(SEVERAL)],
                }.get(several[number]["does"], [])
            }
            async with asyncio.timeout(120):
                await database.transact(lambda session: note(session, "after"), together=True)
                async with database.write() as session:
                    await note(session, "and alone")


@settings(max_examples=25, deadline=None)
@given(several=people)
def test_whatever_they_do_each_is_told_what_became_of_it(several: list[dict[str, Any]]) -> None:
    asyncio.run(played(several))
