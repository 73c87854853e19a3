"""The database: sessions to read and to write in, the same on SQLite and PostgreSQL."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Self

from sqlalchemy import Connection, Executable, event, literal
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.errors import InvalidRequest, Unavailable
from store import sqlite

log = logging.getLogger(__name__)

_BUSY_MILLISECONDS = 10_000
_NO_SUCH_CHARACTER = "22021"


class Database:
    """One database. `read` and `write` give sessions; a write is one transaction, committed at its end.

    SQLite takes one writer at a time, so a write waits for the one before it instead of failing half-way.

    Raises (both):
        domain.errors.Unavailable: the database does not answer; all of it was done, or nothing.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite")
        self._engine = create_engine(url)
        self._writing = writing(self._engine)
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """The database itself; connections are made when they are needed."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        await self._engine.dispose()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session that only reads."""
        with _outages():
            async with AsyncSession(self._engine, expire_on_commit=False) as session:
                yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A session that is one transaction: committed at the end, rolled back when anything raises."""
        with _outages():
            async with AsyncExitStack() as stack:
                if self.is_sqlite:
                    await stack.enter_async_context(self._turn)
                session = await stack.enter_async_context(AsyncSession(self._writing, expire_on_commit=False))
                await stack.enter_async_context(session.begin())
                yield session

    async def check(self) -> None:
        """Ask the database something.

        Raises:
            domain.errors.Unavailable: it does not answer.
        """
        async with self.read() as session:
            await session.exec(select(literal(1)))


async def execute(session: AsyncSession, statement: Executable, parameters: Mapping[str, Any]) -> Any:
    """The result of a statement that was made beforehand, in the transaction of the session, without objects."""
    connection = await session.connection()
    return await connection.execute(statement, parameters)


class _outages:  # noqa: N801 - reads as a statement
    """Turns a database that does not answer into `Unavailable`; other errors pass."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, PoolTimeout | OSError) or (isinstance(error, DBAPIError) and _is_outage(error)):
            log.error("database unavailable", extra={"cause": type(getattr(error, "orig", None) or error).__name__})
            raise Unavailable(
                "the database does not answer; all of this was done or nothing, so look or ask again"
            ) from None
        if isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", "") == _NO_SUCH_CHARACTER:
            raise InvalidRequest("a text holds a character that cannot be stored, such as NUL") from None


def _is_outage(error: DBAPIError) -> bool:
    if isinstance(error, InterfaceError | OperationalError) or error.connection_invalidated:
        return True
    # A server that starts, stops or is full says so in a way the driver has no class of its own for.
    return str(getattr(error.orig, "sqlstate", "")).startswith(("08", "53", "57P"))


def writing(engine: AsyncEngine) -> AsyncEngine:
    """The same engine, for transactions that write."""
    return engine.execution_options(interlock_writes=True)


def create_engine(url: str) -> AsyncEngine:
    """An engine with our rules: on SQLite, one writer at a time, which waits for its turn at BEGIN."""
    common: dict[str, Any] = {
        "hide_parameters": True,  # they are people's inputs, and errors end up in logs
        "json_serializer": lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":")),
    }
    if not url.startswith("sqlite"):
        # Statements run as soon as a connection is there; a server that restarted is noticed before, not in them.
        return create_async_engine(
            url,
            pool_size=10,
            max_overflow=10,
            pool_timeout=5,
            pool_pre_ping=True,
            connect_args={"timeout": 5, "command_timeout": 30},
            **common,
        )
    engine = create_async_engine(
        url, pool_size=8, max_overflow=8, pool_timeout=30, async_creator=lambda: sqlite.connection(url), **common
    )

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={_BUSY_MILLISECONDS}", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        # A reader that becomes a writer half-way cannot wait for its turn, so writers say so at once. Readers need
        # no transaction: each statement sees what is committed, as on PostgreSQL.
        if connection.get_execution_options().get("interlock_writes"):
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
