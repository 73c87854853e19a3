"""Bring a database to the newest schema.

Most databases have it when a process starts, and importing Alembic takes as long as a tenth of a start: so it is asked
only where there is something to do.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, inspect, text
from sqlalchemy.orm import Session

from store.database import execute, sessions

if TYPE_CHECKING:
    from alembic.config import Config

_LOCK: Final = 0x696E746572  # any number, the same in every process that migrates
_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_NOTED: Final = text("SELECT version_num FROM alembic_version")


class CannotMigrate(Exception):
    """The database has migrations that this version does not know."""


def upgrade(url: str) -> None:
    """Apply every migration the database does not have yet. Several processes may ask at once.

    Raises:
        CannotMigrate: a newer version has written it.
        sqlalchemy.exc.SQLAlchemyError, OSError: it does not answer, or is no database.
    """
    if asyncio.run(_is_newest(url)):
        return
    from alembic import command
    from alembic.util.exc import CommandError

    try:
        asyncio.run(_with_connection(url, lambda config: command.upgrade(config, "head")))
    except CommandError as unknown:
        raise CannotMigrate(str(unknown)) from unknown


def pending_differences(url: str) -> list[Any]:
    """What the migrations lack compared with the tables; empty when they agree."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from sqlmodel import SQLModel

    import store.catalog_tables
    import store.integration_tables
    import store.tables
    import store.turn_tables  # noqa: F401 - fills the metadata

    found: list[Any] = []

    def compare(config: "Config") -> None:
        found.extend(compare_metadata(MigrationContext.configure(config.attributes["connection"]), SQLModel.metadata))

    asyncio.run(_with_connection(url, compare))
    return found


async def _is_newest(url: str) -> bool:
    newest = max(file.stem.partition("_")[0] for file in (_MIGRATIONS / "versions").glob("[0-9]*.py"))

    def noted(session: Session) -> list[str]:
        connection = session.connection()
        known = inspect(connection).has_table("alembic_version")
        return list(connection.scalars(_NOTED)) if known else []

    source = sessions(url)
    try:
        async with source.read() as session:
            return await session.run_sync(noted) == [newest]
    finally:
        await source.close()


async def _with_connection(url: str, work: "Callable[[Config], Any]") -> None:
    source = sessions(url)
    try:
        async with source.write() as session:
            if url.startswith("postgresql"):
                await execute(session, text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            await session.run_sync(lambda sync: work(_config(sync.connection())))
    finally:
        await source.close()


def _config(connection: Connection) -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
