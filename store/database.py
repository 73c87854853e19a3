"""The database: sessions to read and to write in, the same on SQLite and PostgreSQL."""

import json
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Self, TypeVar

from pydantic import JsonValue
from pydantic_core import PydanticSerializationError, from_json, to_json
from sqlalchemy import Executable, event, literal
from sqlalchemy.exc import DBAPIError, InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from domain.errors import InvalidRequest, Unavailable
from store.bell import Bell
from store.columns import JsonText
from store.sqlite import SqliteFile
from store.sqlite_writing import WithOthers

log = logging.getLogger(__name__)

ONLY_READS = "only_reads"
"""In the `info` of sessions that write nothing: what was read there may be remembered as long as they last."""

RINGS_CLAIMS = "rings_claims"
"""In the `info` of sessions that leave a run to be claimed."""

RINGS_TURNS = "rings_turns"
"""In the `info` of sessions that leave a run whose turn it is."""

_NO_SUCH_CHARACTER = "22021"
_TOO_LONG = "54000"
_CONFLICTS = ("40001", "40P01")
"""Serialization failures and deadlocks."""
_ATTEMPTS = 12
_UNASKED_SECONDS = 1.0
"""How long after its last use a connection counts as alive without being asked, unless it is known to have ended."""
_Result = TypeVar("_Result")


def json_text(value: JsonValue) -> str:
    """The value as columns of documents have it: no spaces, non-ASCII as it is."""
    if isinstance(value, JsonText):
        return str(value)
    try:
        return to_json(value).decode()  # writes what the other does, in a fifth of the time
    except PydanticSerializationError:  # it nests deeper than 250 levels, or has half a surrogate pair
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def json_value(text: str) -> Any:
    """The value that columns of documents have as this text."""
    try:
        return from_json(text)  # reads what the other does, in a third of the time
    except ValueError:  # it nests deeper than 200 levels, or has half a surrogate pair
        return json.loads(text)


_OPTIONS: dict[str, Any] = {
    "hide_parameters": True,  # they are people's inputs, and errors end up in logs
    "json_deserializer": json_value,
    "json_serializer": json_text,
}


class Raced(Unavailable):
    """Another transaction was in the way: all of this one was undone, and it has to be done again."""


class Database:
    """One database. `read` and `write` give sessions; a write is one transaction, committed at its end.

    SQLite takes one writer at a time, so a write waits for the one before it instead of failing half-way.

    Raises (both):
        domain.errors.Unavailable: the database does not answer; all of it was done, or nothing.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite")
        self.bell = Bell()
        """Rings when a change was committed that automations have to be asked about."""
        self.claims = Bell()
        """Rings when a run was committed that somebody has to claim."""
        self.turns = Bell()
        """Rings when something was committed that runs have waited for."""
        self._sessions = sessions(url)

    async def __aenter__(self) -> Self:
        """The database itself; connections are made when they are needed."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        await self._sessions.close()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session that only reads."""
        with _outages():
            async with self._sessions.read() as session:
                session.info[ONLY_READS] = True
                yield session

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[AsyncSession]:
        """A session that only reads, for whoever has another session open: they cannot all wait for each other.

        Raises:
            Raced: what they write in that other session is with what others write; it needs a transaction of its own.
        """
        with _outages():
            async with self._sessions.beside() as session:
                session.info[ONLY_READS] = True
                yield session

    @asynccontextmanager
    async def write(self, *, together: bool = False) -> AsyncIterator[AsyncSession]:
        """A session that is one transaction: committed at the end, rolled back when anything raises.

        With `together` it may be committed with what others write; it must be done soon then, since they wait for it.
        """
        with _outages():
            async with self._sessions.write(together=together) as session:
                yield session
            if session.info.get("rings"):
                self.bell.ring()
            if session.info.get(RINGS_CLAIMS):
                self.claims.ring()
            if session.info.get(RINGS_TURNS):
                self.turns.ring()

    async def transact(self, work: Callable[[AsyncSession], Awaitable[_Result]], *, together: bool = False) -> _Result:
        """What `work` makes of a transaction (see `write`); it is done again when another one was in its way.

        Raises:
            Raced: every time.
        """

        async def once(together: bool = False) -> _Result:
            async with self.write(together=together) as session:
                return await work(session)

        with suppress(Raced):
            return await once(together)
        again = AsyncRetrying(
            retry=retry_if_exception_type(Raced),
            wait=wait_random_exponential(multiplier=0.01, max=0.5),
            stop=stop_after_attempt(_ATTEMPTS),
            reraise=True,
        )
        return await again(once)

    async def check(self) -> None:
        """Ask the database something.

        Raises:
            domain.errors.Unavailable: it does not answer.
        """
        async with self.read() as session:
            await session.exec(select(literal(1)))


def sessions(url: str) -> "SqliteFile | _Server":
    """Where `Database` gets its sessions; what the driver raises passes."""
    return SqliteFile(url, **_OPTIONS) if url.startswith("sqlite") else _Server(url)


Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]]
"""Of one execution of a statement, or of several."""


async def execute(session: AsyncSession, statement: Executable, parameters: Parameters) -> Any:
    """The result of a statement that was made beforehand and asks by key, in the transaction of the session."""
    return await session.run_sync(_execute, statement, parameters)


def _execute(session: Session, statement: Executable, parameters: Parameters) -> Any:
    return session.connection().execute(statement, parameters)


class _Server:
    """A PostgreSQL server."""

    def __init__(self, url: str) -> None:
        self._engine = _engine(url, 20)
        self._beside = _engine(url, 5)
        self._to_read = _statement_by_statement(self._engine)
        self._to_read_beside = _statement_by_statement(self._beside)

    async def close(self) -> None:
        await self._engine.dispose()
        await self._beside.dispose()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        async with AsyncSession(self._to_read, expire_on_commit=False) as session:
            yield session

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[AsyncSession]:
        async with AsyncSession(self._to_read_beside, expire_on_commit=False) as session:
            yield session

    @asynccontextmanager
    async def write(self, *, together: bool = False) -> AsyncIterator[AsyncSession]:
        del together  # servers do that by themselves
        async with AsyncSession(self._engine, expire_on_commit=False) as session, session.begin():
            yield session


def _engine(url: str, connections: int) -> AsyncEngine:
    # Statements run as soon as a connection is there; a server that restarted is noticed before, not in them.
    engine = create_async_engine(
        url,
        pool_size=connections // 2,
        max_overflow=connections - connections // 2,
        pool_timeout=30,  # many at once wait for each other; a server that is down is noticed sooner
        pool_use_lifo=True,  # the few that are needed stay warm: statements are prepared once for each
        connect_args={"timeout": 5, "command_timeout": 30},
        **_OPTIONS,
    )
    event.listen(engine.sync_engine, "checkout", _still_there)
    event.listen(engine.sync_engine, "checkin", _used)
    return engine


def _statement_by_statement(engine: AsyncEngine) -> AsyncEngine:
    """The same connections without transactions: each statement sees what is committed in any case.

    Beginning one and undoing it are two trips to the server, as many as two more statements by key.
    """
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def _used(_: object, record: ConnectionPoolEntry) -> None:
    record.info["used"] = time.monotonic()


def _still_there(connection: Any, record: ConnectionPoolEntry, _: object) -> None:
    """Look whether the connection lives: asking the server takes three round trips, and one just used needs none."""
    gone = connection.driver_connection.is_closed()
    if not gone and time.monotonic() - record.info.get("used", math.inf) > _UNASKED_SECONDS:
        try:
            connection.ping()
        except Exception:
            gone = True
    if gone:
        raise InvalidatePoolError


class _outages:  # noqa: N801 - reads as a statement
    """Turns a database that does not answer into `Unavailable`; other errors pass."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, WithOthers) or (
            isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", "") in _CONFLICTS
        ):
            raise Raced("other writers were in the way every time; ask again") from None
        if isinstance(error, PoolTimeout | OSError) or (isinstance(error, DBAPIError) and _is_outage(error)):
            log.error("database unavailable", extra={"cause": type(getattr(error, "orig", None) or error).__name__})
            raise Unavailable(
                "the database does not answer; all of this was done or nothing, so look or ask again"
            ) from None
        if isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", "") == _NO_SUCH_CHARACTER:
            raise InvalidRequest("a text holds a character that cannot be stored, such as NUL") from None
        if isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", "") == _TOO_LONG:
            raise InvalidRequest("a name is too long to be stored") from None


def _is_outage(error: DBAPIError) -> bool:
    if isinstance(error, InterfaceError | OperationalError) or error.connection_invalidated:
        return True
    # A server that starts, stops or is full says so in a way the driver has no class of its own for.
    return str(getattr(error.orig, "sqlstate", "")).startswith(("08", "53", "57P"))
