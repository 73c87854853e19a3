"""SQLite with few trips to a thread: statements by key run where they are asked for, only what may take long goes away.

Handing a small statement to a thread and back costs several times what the statement does. So a session here is a
plain one behind the interface of an async one: what was made beforehand (`store.database.execute`), and what the
session does by key, runs in the event loop; other queries, waiting for another process that writes, and committing
(which waits for the disk) are for a thread.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from sqlalchemy import CursorResult, Engine, create_engine, event
from sqlalchemy.engine.cursor import FullyBufferedCursorFetchStrategy
from sqlmodel.ext.asyncio.session import AsyncSession

_BUSY_MILLISECONDS = 10_000
_CONNECTIONS = 16
_CONNECTIONS_BESIDE = 4
_Result = TypeVar("_Result")
_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "wal_autocheckpoint=4000",  # pages; an import touches the same ones again and again
    "cache_size=-8000",  # KiB
)


class SqliteFile:
    """A database file: sessions to read, any number, and to write, one at a time."""

    def __init__(self, url: str, **options: Any) -> None:
        self._engine = _engine(url, **options)
        self._threads = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="sqlite")
        self._turn = asyncio.Lock()
        # Never more than the pool has: it would wait for a connection, and the event loop with it.
        self._room = asyncio.Semaphore(_CONNECTIONS)
        self._room_beside = asyncio.Semaphore(_CONNECTIONS_BESIDE)

    async def close(self) -> None:
        """Close every connection."""
        await self._elsewhere(self._engine.dispose)
        self._threads.shutdown(wait=False)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session that only reads. Each of its statements sees what is committed, as on PostgreSQL."""
        async with self._room:
            session = _LocalSession(self._engine, self._elsewhere)
            try:
                yield session
            finally:
                session.sync_session.close()

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[AsyncSession]:
        """The same for whoever has another session open: it has room of its own."""
        async with self._room_beside:
            session = _LocalSession(self._engine, self._elsewhere)
            try:
                yield session
            finally:
                session.sync_session.close()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A session that is one transaction: committed at the end, rolled back when anything raises."""
        async with self._turn, self._room:
            session = _LocalSession(self._engine, self._elsewhere)
            try:
                if not session.begin_at_once():
                    await self._elsewhere(session.begin_in_turn)
                yield session
                await self._elsewhere(session.sync_session.commit)
            finally:
                session.sync_session.close()

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


class _LocalSession(AsyncSession):
    """What is asked by key runs in place; queries run in a thread, where their rows are read, too."""

    def __init__(self, engine: Engine, elsewhere: Callable[[Callable[[], Any]], Any]) -> None:
        super().__init__(expire_on_commit=False)
        self.sync_session.bind = engine
        self._elsewhere = elsewhere

    def begin_at_once(self) -> bool:
        """Begin to write, unless another process does so at the moment.

        A reader that becomes a writer half-way could not wait for its turn, so writers say at once what they are.
        Readers need no transaction, so nothing else begins one.
        """
        real: Any = self.sync_session.connection().connection.dbapi_connection
        try:
            real.execute("PRAGMA busy_timeout=0")
            real.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        finally:
            real.execute(f"PRAGMA busy_timeout={_BUSY_MILLISECONDS}")
        return True

    def begin_in_turn(self) -> None:
        """Begin to write when other processes let us."""
        self.sync_session.connection().exec_driver_sql("BEGIN IMMEDIATE")

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


def _engine(url: str, **options: Any) -> Engine:
    engine = create_engine(
        url,
        connect_args={"timeout": _BUSY_MILLISECONDS / 1000, "isolation_level": None, "check_same_thread": False},
        pool_size=_CONNECTIONS + _CONNECTIONS_BESIDE,
        max_overflow=0,
        pool_use_lifo=True,  # the few that are needed stay warm, the others need not be made
        **options,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: object) -> None:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    return engine
