"""INSERTs of many rows without SQLAlchemy's help, each the way its database takes them fastest.

SQLAlchemy asks of each row what it is made of, which takes longer than all the rest. PostgreSQL takes few rows as a
prepared statement, and many as a COPY: that spares it a statement for each. SQLite takes many in one statement; very
many run in a thread, without Python: other requests go on meanwhile.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import chain
from typing import Any, Final, TypeAlias

from asyncpg.exceptions import (  # type: ignore[import-untyped]
    IntegrityConstraintViolationError,
    InterfaceError,
    PostgresError,
)
from sqlalchemy import JSON, Connection, Table, exc
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine
from sqlmodel.ext.asyncio.session import AsyncSession

from store.columns import JsonText, Moment

Row: TypeAlias = tuple[Any, ...]
Conversion: TypeAlias = tuple[int, Callable[[Any], Any]]
"""The place of a value, and what the driver is given instead."""

_COPIED: Final = 20
"""From how many rows on PostgreSQL is sent a COPY, which takes one trip more."""
_ASIDE: Final = 1_000
"""From how many rows on SQLite works in a thread: the event loop would stand still for milliseconds. A bulk request has
fewer as a rule, and handing them over would take it a tenth as long as inserting them."""
_TOGETHER: Final = (400, 100, 50, 10)
"""How many rows SQLite takes in a statement. Few sizes: each is prepared once."""


class PlainInsert:
    """An INSERT that is told once what the columns are made of.

    Rows are tuples of values as the driver takes them, but for moments and documents.
    """

    def __init__(self, into: Table, *columns: str) -> None:
        self._columns = [into.columns[name] for name in columns]
        self._table, self._names = into.name, [column.name for column in self._columns]
        self._conversions: dict[str, list[Conversion]] = {}
        marks = ", ".join(f"${place}" for place in range(1, len(columns) + 1))
        self._numbered = self._spelled("INSERT", marks)
        # OR FAIL: what fails undoes the transaction, so that SQLite need not be ready to undo one statement.
        self._marked = {
            number: self._spelled("INSERT OR FAIL", *[", ".join("?" * len(columns))] * number)
            for number in (*_TOGETHER, 1)
        }

    def into(self, connection: Connection, rows: Sequence[Row]) -> Callable[[], object]:
        """What inserts the rows, which has nothing more to do in Python than it must; each has all the columns."""
        rows = self._converted(connection.dialect, rows)
        if connection.dialect.name == "sqlite":
            return partial(self._insert_together, connection, rows)
        if len(rows) < _COPIED:
            return partial(connection.exec_driver_sql, self._numbered, rows)
        return partial(self._copy, connection, rows)

    def _spelled(self, verb: str, *rows: str) -> str:
        return f"{verb} INTO {self._table} ({', '.join(self._names)}) VALUES {', '.join(f'({row})' for row in rows)}"

    def _insert_together(self, connection: Connection, rows: list[Row]) -> None:
        start = 0
        for number in _TOGETHER:
            while len(rows) - start >= number:
                some = tuple(chain.from_iterable(rows[start : start + number]))
                connection.exec_driver_sql(self._marked[number], some)
                start += number
        if start < len(rows):
            connection.exec_driver_sql(self._marked[1], rows[start:])

    def _copy(self, connection: Connection, rows: list[Row]) -> None:
        driver: Any = connection.connection.dbapi_connection
        if not driver.driver_connection.is_in_transaction():
            connection.exec_driver_sql("SELECT 1")  # SQLAlchemy begins with the first statement it knows of
        how = {"table_name": self._table, "columns": self._names, "records": rows}
        statement = f"COPY INTO {self._table} ({', '.join(self._names)})"
        try:
            driver.run_async(lambda connected: connected.copy_records_to_table(**how))
        except IntegrityConstraintViolationError as error:
            raise exc.IntegrityError(statement, None, error, hide_parameters=True) from error
        except InterfaceError as error:
            raise exc.InterfaceError(statement, None, error, hide_parameters=True) from error
        except PostgresError as error:
            raise exc.DBAPIError(statement, None, error, hide_parameters=True) from error

    def _converted(self, dialect: Dialect, rows: Sequence[Row]) -> list[Row]:
        """The rows as the driver takes them."""
        if dialect.name not in self._conversions:
            self._conversions[dialect.name] = [
                (place, convert)
                for place, column in enumerate(self._columns)
                if (convert := _conversion(column.type, dialect))
            ]
        conversions = self._conversions[dialect.name]
        if not conversions:
            return list(rows)
        columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
        for place, convert in conversions:
            columns[place] = [convert(value) for value in columns[place]]
        return list(zip(*columns, strict=True))


def _conversion(kind: TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    if not isinstance(kind, Moment | JSON) or not (convert := kind.dialect_impl(dialect).bind_processor(dialect)):
        return None
    if isinstance(kind, Moment):
        return lru_cache(maxsize=16)(convert)  # rows that are written together have the same moments
    return lambda value: str(value) if isinstance(value, JsonText) else convert(value)


async def insert_all(session: AsyncSession, *several: tuple[PlainInsert, Sequence[Row]]) -> None:
    """Insert rows of several tables, in this order, in the transaction of the session.

    Raises:
        sqlalchemy.exc.IntegrityError: a row is there already. The transaction has to be undone.
    """
    if total := sum(len(rows) for _, rows in several):
        # Only sessions of `store.sqlite` can do something aside; those of servers wait for it in any case.
        aside = getattr(session, "run_aside", None) if total >= _ASIDE else None
        if aside is None:
            await session.run_sync(_insert, several)
        else:
            connection = await session.run_sync(Session.connection)
            prepared = [statement.into(connection, rows) for statement, rows in several if rows]
            await aside(_run, prepared)


def _insert(session: Session, several: Sequence[tuple[PlainInsert, Sequence[Row]]]) -> None:
    connection = session.connection()
    for statement, rows in several:
        if rows:
            statement.into(connection, rows)()


def _run(_: Session, prepared: Sequence[Callable[[], object]]) -> None:
    for each in prepared:
        each()
