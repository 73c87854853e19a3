"""Replays of more changes than one transaction takes: in portions, which survive whoever makes them."""

import asyncio

import pytest
from sqlmodel import delete
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.errors import Unavailable
from store import actions, replays
from store.automation_tables import FiringRow, PendingChangeRow
from store.database import Database
from tests.store.conftest import AT
from tests.store.test_replays_in_sql import REASON, automation, of_entity, pending, replayed, written


async def go_on(database: Database) -> bool:
    return await database.transact(replays.go_on)


async def answered(database: Database) -> list[str]:
    """The changes that are pending, which are pending no more; in their order."""
    ids = [row.change_id for row in await pending(database)]
    async with database.write() as session:
        await session.exec(delete(PendingChangeRow))
    return ids


@pytest.mark.parametrize("again", [False, True])
async def test_a_large_replay_is_made_in_portions_and_goes_on_where_it_was(
    database: Database, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    monkeypatch.setattr(replays, "PORTION", 2)
    monkeypatch.setattr(replays, "_COUNTED", 2)
    action = automation()
    several = [of_entity(number, subject=f"entity_{number}") for number in range(7)]
    await written(database, *several, of_entity(1, context={"blueprint": "team"}), action)
    async with database.write() as session:
        for change, outcome, run_id in (
            (several[1], "stopped", None),
            (several[4], "stopped", None),
            (several[5], "run", "r_1"),
        ):
            session.add(
                FiringRow(change_id=change.id, action_id=action.id, outcome=outcome, run_id=run_id, subject="s", at=AT)
            )
    wanted = [one.id for one in several if again or one is not several[5]]
    replay = await replayed(database, action, again=again)
    assert replay.changes == len(wanted)
    asked: list[str] = []
    assert not await go_on(database), "as many as a portion are pending"
    assert len(await pending(database)) == 2
    asked += await answered(database)

    async def killed(session: AsyncSession) -> None:
        assert await replays.go_on(session)
        raise ConnectionAbortedError

    with pytest.raises((ConnectionAbortedError, Unavailable)):
        await database.transact(killed)
    assert await pending(database) == []
    while await go_on(database):
        rows = await pending(database)
        assert {row.replay for row in rows} <= {replay.id if again else ""}
        asked += await answered(database)
    assert asked == wanted
    async with database.read() as session:
        assert not await replays.under_way(session)


async def test_two_at_once_make_each_portion_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replays, "PORTION", 2)
    action = automation()
    several = [of_entity(number) for number in range(9)]
    await written(database, *several, action)
    await replayed(database, action, again=True)
    asked = await answered(database)
    while any(await asyncio.gather(go_on(database), go_on(database))):
        asked += await answered(database)
    assert sorted(asked) == sorted(one.id for one in several)


async def test_the_rest_of_a_replay_goes_with_its_automation(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replays, "PORTION", 2)
    action = automation()
    await written(database, *(of_entity(number) for number in range(5)), action)
    await replayed(database, action)
    async with database.write() as session:
        assert await actions.pause(session, action.id, REASON)
    await answered(database)
    assert await go_on(database)
    assert await pending(database) == []
    async with database.read() as session:
        assert not await replays.under_way(session)
