"""SQLite with few trips to a thread: statements by key run where they are asked for, only what may take long goes away.

Handing a small statement to a thread and back costs several times what the statement does. So a session here is a
plain one behind the interface of an async one: what was made beforehand (`store.database.execute`), and what the
session does by key, runs in the event loop; other queries, waiting for another process that writes, and committing
(which waits for the disk) are for a thread.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, CursorResult, Engine, create_engine, event
from sqlalchemy.engine.cursor import FullyBufferedCursorFetchStrategy
from sqlmodel import Session
from sqlmodel.ext.asyncio.session import AsyncSession

from store.sqlite_writing import BUSY_MILLISECONDS, Part, Transaction, Turns, WithOthers, own

_CONNECTIONS = 16
_CONNECTIONS_BESIDE = 4
_Result = TypeVar("_Result")
_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "wal_autocheckpoint=10000",  # pages; an import touches the same ones again and again
    "cache_size=-8000",  # KiB
)
_TO_WRITE = (*_PRAGMAS, "temp_store=MEMORY")
"""In memory is kept what undoing a part of a transaction needs."""


# The driver asks every value but texts and numbers whether it knows how to be stored, which takes longer than to store
# it, unless somebody has said how. Rows have many columns that are NULL.
sqlite3.register_adapter(type(None), {}.get)  # type: ignore[arg-type]
sqlite3.register_adapter(bool, int)


class SqliteFile:
    """A database file: sessions to read, any number, and to write, one at a time."""

    def __init__(self, url: str, **options: Any) -> None:
        self._engine = _engine(url, _PRAGMAS, _CONNECTIONS + _CONNECTIONS_BESIDE, **options)
        self._to_write = _engine(url, _TO_WRITE, 1, **options)
        self._threads = ThreadPoolExecutor(_CONNECTIONS + 1, thread_name_prefix="sqlite")
        self._turns = Turns()
        self._transaction: Transaction | None = None
        self._at_rest: list[Connection] = []
        # Never more than the pool has: it would wait for a connection, and the event loop with it.
        self._room = asyncio.Semaphore(_CONNECTIONS)
        self._room_beside = asyncio.Semaphore(_CONNECTIONS_BESIDE)

    async def close(self) -> None:
        """Close every connection."""
        while self._at_rest:
            self._at_rest.pop().close()
        for engine in (self._engine, self._to_write):
            await self._elsewhere(engine.dispose)
        self._threads.shutdown(wait=False)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session that only reads. Each of its statements sees what is committed, as on PostgreSQL."""
        async with self._room, self._reading() as session:
            yield session

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[AsyncSession]:
        """The same for whoever has another session open: it has room of its own.

        Raises:
            store.sqlite_writing.WithOthers: see there.
        """
        own()
        async with self._room_beside, self._reading() as session:
            yield session

    @asynccontextmanager
    async def write(self, *, together: bool = False) -> AsyncIterator[AsyncSession]:
        """A session that is one transaction: committed at the end, rolled back when anything raises.

        With `together` it may be a part of a transaction, which others have written in before. It sees what they have
        written; it is rolled back by itself, and committed with them.
        """
        await self._turn(together)
        part: Part | None = None
        try:
            transaction = await self._begun(together)
            with transaction.part() as part:
                session = _LocalSession(part.connection, self._elsewhere, within=part.shared)
                try:
                    yield session
                    if part.is_given_up:
                        raise WithOthers
                    session.sync_session.commit()  # what it has yet to say; the rest is up to the transaction
                finally:
                    session.end()
        except BaseException as error:
            await self._leave()
            if part is not None and part.shared and isinstance(error, Exception):
                if part.is_given_up:
                    raise WithOthers from error
                await transaction.outcome()  # it may be a refusal because of what others have written
            raise
        await self._leave()
        await transaction.outcome()

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncSession]:
        # Who only reads has no transaction, so their connection need not be given back to be as it was.
        connection = self._at_rest.pop() if self._at_rest else await self._elsewhere(self._engine.connect)
        session = _LocalSession(connection, self._elsewhere)
        try:
            yield session
        finally:
            session.end()
            connection.rollback()  # what SQLAlchemy calls a transaction; SQLite knows of none
            self._at_rest.append(connection)

    async def _turn(self, together: bool) -> None:
        if (turn := self._turns.ask(together)) is not None:
            try:
                await turn
            except asyncio.CancelledError:
                if not turn.cancelled():  # it had come
                    await self._leave()
                raise

    async def _begun(self, together: bool) -> Transaction:
        """The transaction of those before, or a new one."""
        if self._transaction is None:
            self._transaction = Transaction(self._to_write, together=together)
            if not self._transaction.begin_at_once():
                await self._elsewhere(self._transaction.begin_in_turn)
        return self._transaction

    async def _leave(self) -> None:
        """Let the next one write: in the same transaction if they may, otherwise when it is committed."""
        transaction = self._transaction
        try:
            if transaction is not None and not (transaction.has_room and self._turns.next_is_together):
                self._transaction = None
                try:
                    await self._elsewhere(transaction.end)
                finally:
                    transaction.tell()
        finally:
            self._turns.give()

    async def _elsewhere(self, work: Callable[[], _Result]) -> _Result:
        # Whoever is cancelled waits until the thread has finished: a connection is used by one at a time.
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            while not future.done():
                try:
                    await asyncio.wait({future})
                except asyncio.CancelledError:
                    continue
            raise


class _Session(Session):
    """A plain session."""

    at_hand: Connection | None = None
    """What it works on, unless a part of what it does may be undone by itself: SQLAlchemy takes long to find out."""

    def connection(self, *arguments: Any, **options: Any) -> Connection:
        """What statements that need nothing of a session's are executed on."""
        nested = self.in_nested_transaction()
        if self.at_hand is not None and not nested and self.is_active:
            return self.at_hand
        connection = super().connection(*arguments, **options)  # it refuses where it is not active
        if not nested:
            self.at_hand = connection
        return connection


class _LocalSession(AsyncSession):
    """What is asked by key runs in place; queries run in a thread, where their rows are read, too."""

    sync_session: _Session

    def __init__(
        self, connection: Connection, elsewhere: Callable[[Callable[[], Any]], Any], *, within: bool = False
    ) -> None:
        # What is undone of one that is within another's transaction is only what it has done itself.
        joining = "create_savepoint" if within else "rollback_only"
        super().__init__(
            expire_on_commit=False, join_transaction_mode=joining, close_resets_only=False, sync_session_class=_Session
        )
        self.sync_session.bind = connection
        self.sync_session.at_hand = None if within else connection
        self._elsewhere = elsewhere

    def end(self) -> None:
        """It is of no use any more: the connection is somebody else's then."""
        self.sync_session.at_hand = None
        self.sync_session.close()

    async def exec(self, statement: Any, **options: Any) -> Any:
        """The result of a query, all of its rows read."""

        def read() -> Any:
            result = self.sync_session.exec(statement, **options)
            rows = getattr(result, "_real_result", None) or result
            if isinstance(rows, CursorResult) and rows.returns_rows and rows.cursor is not None:
                # SQLite looks for each row when it is fetched, so this is where the time goes.
                rows.cursor_strategy = FullyBufferedCursorFetchStrategy(rows.cursor)
            return result

        return await self._elsewhere(read)

    async def run_sync(self, fn: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """What the function makes of the plain session."""
        return fn(self.sync_session, *arguments, **options)

    async def run_aside(self, fn: Callable[..., Any], *arguments: Any) -> Any:
        """The same in a thread, for what takes long."""
        return await self._elsewhere(lambda: fn(self.sync_session, *arguments))


def _engine(url: str, pragmas: Iterable[str], connections: int, **options: Any) -> Engine:
    engine = create_engine(
        url,
        connect_args={"timeout": BUSY_MILLISECONDS / 1000, "isolation_level": None, "check_same_thread": False},
        pool_size=connections,
        max_overflow=0,
        pool_use_lifo=True,  # the few that are needed stay warm, the others need not be made
        **options,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: object) -> None:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    return engine
