"""Bring a database to the newest schema."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from store.database import execute, sessions

_LOCK = 0x696E746572  # any number, the same in every process that migrates


def upgrade(url: str) -> None:
    """Apply every migration the database does not have yet. Several processes may ask at once."""
    asyncio.run(_with_connection(url, lambda config: command.upgrade(config, "head")))


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

    def compare(config: Config) -> None:
        found.extend(compare_metadata(MigrationContext.configure(config.attributes["connection"]), SQLModel.metadata))

    asyncio.run(_with_connection(url, compare))
    return found


async def _with_connection(url: str, work: Callable[[Config], Any]) -> None:
    source = sessions(url)
    try:
        async with source.write() as session:
            if url.startswith("postgresql"):
                await execute(session, text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            await session.run_sync(lambda sync: work(_config(sync.connection())))
    finally:
        await source.close()


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
