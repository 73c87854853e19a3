"""Runs that wait to be claimed when the table `claims` comes, and when it goes again."""

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from alembic import command
from sqlalchemy import bindparam, text
from sqlmodel import select

from domain.claims import AGENT, queue
from domain.runs import Run, RunStatus
from store import actions, claims, migrate, runs
from store.columns import Moment
from store.database import Database, execute
from store.tables import ClaimRow
from tests.store.conftest import make_action, make_run

QUEUE = queue("WEBHOOK", AGENT)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def url(database_url: str) -> Iterator[str]:
    """A database that may be moved; it has the newest schema again afterwards."""
    yield database_url
    migrate.upgrade(database_url)


def moved(url: str, way: str, revision: str) -> None:
    asyncio.run(migrate._with_connection(url, lambda config: getattr(command, way)(config, revision)))


async def made(url: str, at: datetime, number: int) -> list[Run]:
    """Runs in progress, which nobody has to claim."""
    action, several = make_action(), [make_run(created_at=at + index * MINUTE) for index in range(number)]
    async with Database(url) as database, database.write() as session:
        await actions.create(session, action, origin="API")
        for run in several:
            await runs.create(session, run, action_id=action.id, request=None)
    return several


async def told(url: str, statement: str, *parameters: dict[str, Any]) -> None:
    async with Database(url) as database, database.write() as session:
        for one in parameters:
            await execute(session, text(statement).bindparams(bindparam("until", type_=Moment())), one)


async def asked(url: str, run: Run) -> tuple[Any, ...]:
    """What the columns of the release before say of the run."""
    async with Database(url) as database, database.read() as session:
        statement = text("SELECT claim_queue, claimed_until IS NOT NULL FROM runs WHERE id = :id")
        return tuple((await execute(session, statement, {"id": run.id})).one())


def test_what_waits_goes_on_waiting_after_the_upgrade_and_after_the_way_back(url: str, at: datetime) -> None:
    free, had, has, ended, other = asyncio.run(made(url, at, 5))
    moved(url, "downgrade", "0016")
    moments = {free.id: None, had.id: at - MINUTE, has.id: at + MINUTE, ended.id: None}
    queued = "UPDATE runs SET claim_queue = :of, claimed_until = :until, delivered = true WHERE id = :id"
    asyncio.run(told(url, queued, *({"id": id, "of": QUEUE, "until": until} for id, until in moments.items())))
    ends = "UPDATE runs SET status = :of, claimed_until = :until WHERE id = :id"
    asyncio.run(told(url, ends, {"id": ended.id, "of": "FAILURE", "until": None}))

    moved(url, "upgrade", "0017")
    migrate.upgrade(url)
    assert asyncio.run(asked(url, has)) == (QUEUE, True), "a process of the release before goes on"

    async def go_on() -> None:
        async with Database(url) as database:
            assert await database.transact(lambda session: claims.move(session, at=at, limit=9)) == 3
            found = await database.transact(
                lambda session: claims.claim(session, QUEUE, at=at, until=at + MINUTE, limit=9)
            )
            assert [one.id for one in found] == [free.id, had.id]
            assert await database.transact(lambda session: claims.move(session, at=at + MINUTE, limit=9)) == 1
            assert await database.transact(lambda session: claims.acknowledge(session, [had.id])) == 1
            async with database.read() as session:
                assert set((await session.exec(select(ClaimRow.run_id))).all()) == {free.id, has.id}
                assert (await runs.get(session, free.id)).claimed_until == at + MINUTE
                assert (await runs.get(session, other.id)).status is RunStatus.IN_PROGRESS

    asyncio.run(go_on())
    moved(url, "downgrade", "0016")
    assert asyncio.run(asked(url, free)) == (QUEUE, True)
    assert asyncio.run(asked(url, has)) == (QUEUE, False)
    for run in (had, ended, other):
        assert asyncio.run(asked(url, run)) == (None, False)
