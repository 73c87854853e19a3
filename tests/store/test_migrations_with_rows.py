"""Migrations of databases that are in use: up, down and up again, no row loses what both shapes can hold."""

import asyncio
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from store import migrate

_FIRST = "0012"
"""Those before it were only ever applied to databases of developers."""
_NOW = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)

_OF_ENTITIES: dict[str, Any] = {"properties": {}, "team": []}
"""What every document of an entity has."""

Contents = dict[str, list[dict[str, Any]]]
"""What is in each table: its rows."""


def revisions() -> list[str]:
    """Every migration from the first one on that has to keep what is there."""
    scripts = ScriptDirectory(str(Path(migrate.__file__).parent / "migrations"))
    return sorted(script.revision for script in scripts.walk_revisions() if script.revision >= _FIRST)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("revision", revisions())
def test_nothing_is_lost_that_both_shapes_can_hold(database_url: str, revision: str) -> None:
    def moved(config: Config) -> None:
        connection: Connection = config.attributes["connection"]
        command.downgrade(config, revision)
        command.downgrade(config, "-1")
        old = _tables(connection)
        _empty(connection, old)
        _fill(connection, old, seed=1)
        before = _contents(connection, old)
        assert all(len(rows) >= 2 for rows in before.values())

        command.upgrade(config, revision)
        new = _tables(connection)
        assert _shared(_contents(connection, new), before) == before
        _fill(connection, new, seed=2)
        filled = _contents(connection, new)
        command.downgrade(config, "-1")
        lowered = _contents(connection, _tables(connection))
        assert _shape(lowered) == _shape(before)
        assert lowered == _shared(filled, before), "also what was written in the newer shape"

        command.upgrade(config, revision)
        again = _tables(connection)
        assert _shared(_contents(connection, again), lowered) == lowered
        _fill(connection, again, seed=3)
        assert _shape(_contents(connection, again)) == _shape(filled)
        _empty(connection, again)
        command.upgrade(config, "head")

    # In one transaction: a test that fails leaves the database as it was.
    asyncio.run(migrate._with_connection(database_url, moved))


def _fill(connection: Connection, tables: list[sa.Table], *, seed: int) -> None:
    """Put two rows into every table: one with everything, one with nothing that may be missing."""
    for table in tables:
        if seed > 1 and any(isinstance(column.type, sa.Boolean) for key in _keys(table) for column in key):
            continue  # there is no third one
        for number, bare in ((10 * seed + 1, False), (10 * seed + 2, True)):
            row = {
                column.name: None if bare and column.nullable else _example(column, number) for column in table.columns
            }
            connection.execute(table.insert().values(row))


def _keys(table: sa.Table) -> Iterator[Iterable["sa.Column[Any]"]]:
    """Each set of columns that no two rows have the same values in."""
    yield table.primary_key.columns
    yield from (one.columns for one in table.constraints if isinstance(one, sa.UniqueConstraint))
    yield from (index.columns for index in table.indexes if index.unique)


def _example(column: "sa.Column[Any]", number: int) -> Any:
    """A value for the column; others for others."""
    match column.type:
        case sa.Boolean():
            return number % 2 == 0
        case sa.Integer():
            return number
        case sa.Float() | sa.Numeric():
            return number + 0.5
        case sa.DateTime(timezone=aware):
            at = _NOW + timedelta(seconds=number)
            return at if aware else at.replace(tzinfo=None)
        case sa.JSON():
            return {"ö": [number, None], "of": column.name, **_OF_ENTITIES}
        case sa.String():
            return f"{column.name} {number}"
    raise NotImplementedError(f"{column}: {column.type!r}")


def _contents(connection: Connection, tables: list[sa.Table]) -> Contents:
    """What is in all tables."""
    return {
        table.name: sorted((dict(row) for row in connection.execute(sa.select(table)).mappings()), key=repr)
        for table in tables
    }


def _shared(found: Contents, other: Contents) -> Contents:
    """What is found, as far as the other shape has tables and columns for it."""
    return {
        name: sorted(({column: row[column] for column in rows[0]} for row in found[name]), key=repr)
        for name, rows in other.items()
    }


def _shape(found: Contents) -> dict[str, set[str]]:
    """Which columns each table has, of those that have rows."""
    return {name: set(rows[0]) for name, rows in found.items() if rows}


def _empty(connection: Connection, tables: list[sa.Table]) -> None:
    """Delete all rows."""
    for table in tables:
        connection.execute(table.delete())


def _tables(connection: Connection) -> list[sa.Table]:
    """Those of the database, as it says itself."""
    found = sa.MetaData()
    found.reflect(connection)
    return [table for table in found.sorted_tables if table.name != "alembic_version"]
