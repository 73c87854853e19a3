"""`interlock audit purge`: what is old goes, and what it prints."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import select
from typer.testing import CliRunner

from cli.main import app
from domain.changes import Change
from runtime.clock import now
from store import changes
from store.database import Database
from store.tables import ChangeRow


@pytest.fixture
def environment(sqlite_url: str) -> dict[str, str | None]:
    """What the command needs."""
    return {"INTERLOCK_DATABASE_URL": sqlite_url, "INTERLOCK_SECRET_KEY": "k" * 32}


def purge(environment: dict[str, str | None], older_than: str) -> Any:
    return CliRunner().invoke(app, ["audit", "purge", "--older-than", older_than], env=environment)


def test_records_older_than_that_are_deleted(sqlite_url: str, environment: dict[str, str | None]) -> None:
    async def recorded() -> None:
        async with Database(sqlite_url) as database, database.write() as session:
            for days in (100, 91, 89, 0):
                at = now() - timedelta(days=days)
                await changes.append(
                    session, Change.of("entity", None, {}, context={}, at=at, by=str(days), origin="API")
                )

    async def left() -> list[Any]:
        async with Database(sqlite_url) as database, database.read() as session:
            return [document["by"] for document in await session.exec(select(ChangeRow.document))]

    asyncio.run(recorded())
    done = purge(environment, "P90D")
    assert (done.exit_code, done.stdout) == (0, "2 deleted\n"), done.output
    assert asyncio.run(left()) == ["89", "0"]
    assert purge(environment, "P90D").stdout == "0 deleted\n"


@pytest.mark.parametrize("age", ["", "ninety days", "90", "90 days", "1:00:00", "P0D", "-P1D", "P40000D"])
def test_what_is_no_duration_deletes_nothing(environment: dict[str, str | None], age: str) -> None:
    said = purge(environment, age)
    assert said.exit_code == 1
    assert (
        said.stderr == f"interlock: --older-than {age} is no duration; write one in ISO 8601, such as P90D or PT12H.\n"
    )
