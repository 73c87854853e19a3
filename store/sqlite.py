"""SQLite behind one thread per connection, with one trip to the thread per statement.

The driver's own cursor goes to the thread four times for a SELECT (open, execute, fetch, close), and each trip costs
more than a small statement does. Ours does all of it at once: rows are fetched where the statement ran.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Self

import aiosqlite
from sqlalchemy import make_url

_CHUNK = 64


class _Cursor:
    """What SQLAlchemy needs of a cursor. It holds the rows, so there is nothing to close."""

    arraysize = 1
    description: Any = None
    rowcount = -1
    lastrowid: int | None = None

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self._rows: Sequence[Any] = ()

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, sql: str, parameters: Iterable[Any] = ()) -> Self:
        await self._connection.at_once(self, "execute", sql, parameters)
        return self

    async def executemany(self, sql: str, parameters: Iterable[Iterable[Any]]) -> Self:
        await self._connection.at_once(self, "executemany", sql, parameters)
        return self

    async def fetchall(self) -> Sequence[Any]:
        rows, self._rows = self._rows, ()
        return rows

    async def close(self) -> None:
        self._rows = ()

    def run(self, real: sqlite3.Connection, how: str, sql: str, parameters: Any) -> None:
        """Runs in the thread of the connection."""
        cursor = real.cursor()
        try:
            getattr(cursor, how)(sql, parameters)
            self._rows = cursor.fetchall() if cursor.description else ()
            self.description, self.rowcount, self.lastrowid = cursor.description, cursor.rowcount, cursor.lastrowid
        finally:
            cursor.close()


class Connection(aiosqlite.Connection):
    """A connection whose cursors need one trip, and that does not go to its thread to end nothing."""

    def cursor(self) -> _Cursor:  # type: ignore[override]
        """A cursor; opened when it is used."""
        return _Cursor(self)

    async def at_once(self, cursor: _Cursor, how: str, sql: str, parameters: Any) -> None:
        """Run a statement and fetch its rows."""
        await self._execute(cursor.run, self._conn, how, sql, parameters)  # type: ignore[no-untyped-call]

    async def rollback(self) -> None:
        """Roll back the transaction, if there is one."""
        if self._conn.in_transaction:
            await super().rollback()


def connection(url: str) -> Connection:
    """A connection to the file in the address, to be awaited. Transactions begin only where we say BEGIN."""
    file = make_url(url).database or ":memory:"
    made = Connection(lambda: sqlite3.connect(file, isolation_level=None, check_same_thread=False), _CHUNK)
    made._thread.daemon = True  # as the dialect has it: a forgotten connection does not keep the process
    return made
