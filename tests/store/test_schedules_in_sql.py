"""Schedules in SQL: what Temporal is told of which automation, and each time that comes exactly once."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlmodel import col, select

from domain.actions import Action
from domain.documents import Document
from store import actions, schedules
from store.audit import Filters, listed
from store.automation_tables import PendingChangeRow, ScheduleRow
from store.database import Database
from store.schedules import Wish
from tests.store.conftest import AT, make_action

CRON, ZONE = "0 8 * * 1-5", "Europe/Berlin"
LATER = AT + timedelta(hours=1)
MUCH_LATER = AT + timedelta(hours=2)
MORNING = AT + timedelta(hours=8)


def nightly(**more: Any) -> Action:
    """A published automation that the clock starts."""
    event: Document = {"type": "SCHEDULE", "cron": CRON, "timezone": ZONE}
    return make_action("nightly", **{"trigger": {"type": "automation", "event": event}, "publish": True, **more})


def changed(action: Action, *, at: datetime = LATER, **more: Any) -> Action:
    """The next version of it."""
    document = {**action.document, **more}
    identifier = type(action.identifier)(str(document["identifier"]))
    return replace(action, identifier=identifier, document=document, version=action.version + 1, updated_at=at)


def at_times(cron: str, timezone: str | None = None) -> Document:
    """A trigger by the clock."""
    event: Document = {"type": "SCHEDULE", "cron": cron, **({"timezone": timezone} if timezone else {})}
    return {"type": "automation", "event": event}


async def create(database: Database, action: Action) -> Action:
    async with database.write() as session:
        await actions.create(session, action, origin="API")
    return action


async def edit(database: Database, before: Action, *, at: datetime = LATER, **more: Any) -> Action:
    after = changed(before, at=at, **more)
    async with database.write() as session:
        await actions.replace(session, before, after, origin="API")
    return after


async def wishes(database: Database) -> Sequence[Wish]:
    """What Temporal has to be told."""
    async with database.read() as session:
        return await schedules.pending(session, limit=10)


async def told(database: Database) -> list[bool]:
    """Tell Temporal everything, in our imagination; whether each was still so afterwards."""
    known = await wishes(database)
    async with database.write() as session:
        return [await schedules.told(session, wish, at=LATER) for wish in known]


async def rows(database: Database) -> list[ScheduleRow]:
    async with database.read() as session:
        return list(await session.exec(select(ScheduleRow)))


async def fire(
    database: Database, action: Action, when: datetime = MORNING, *, cron: str = CRON, zone: str = ZONE
) -> bool:
    """One time of the schedule comes."""
    return await database.transact(
        lambda session: schedules.fire(
            session, action.id, cron=cron, timezone=zone, scheduled_at=when, at=when + timedelta(seconds=3)
        )
    )


async def fired(database: Database) -> list[Document]:
    """The changes that automations are asked about, newest first; each is noted for one automation."""
    async with database.read() as session:
        found = await listed(session, Filters(resources=("schedule",)))
        noted = list(await session.exec(select(PendingChangeRow).order_by(col(PendingChangeRow.id).desc())))
    assert [row.change_id for row in noted] == [change["id"] for change in found]
    assert all(row.action_id == row.subject != "" for row in noted)
    return found


async def test_a_published_automation_by_the_clock_is_told_once(database: Database) -> None:
    action = await create(database, nightly())
    (wish,) = await wishes(database)
    assert (wish.action_id, wish.identifier, wish.wanted) == (action.id, "nightly", True)
    assert (wish.cron, wish.timezone, wish.since) == (CRON, ZONE, AT)
    assert await told(database) == [True]
    assert await wishes(database) == []


async def test_without_a_time_zone_it_is_utc(database: Database) -> None:
    await create(database, nightly(trigger=at_times(CRON)))
    assert [wish.timezone for wish in await wishes(database)] == ["UTC"]


@pytest.mark.parametrize(
    "other",
    [
        {"publish": False},
        {"trigger": {"type": "automation", "event": {"type": "ENTITY_CREATED", "blueprintIdentifier": "service"}}},
        {"trigger": {"type": "self-service", "operation": "CREATE", "userInputs": {"properties": {}}}},
    ],
    ids=["unpublished", "by an event", "by people"],
)
async def test_nothing_else_has_a_schedule(database: Database, other: dict[str, Any]) -> None:
    await create(database, nightly(**other))
    assert await rows(database) == []


@pytest.mark.parametrize(
    ("edited", "since"),
    [
        ({"trigger": at_times("0 9 * * *", ZONE)}, LATER),
        ({"trigger": at_times(CRON)}, LATER),
        ({"identifier": "daily"}, AT),
    ],
    ids=["other times", "another zone", "another name"],
)
async def test_what_differs_is_told(database: Database, edited: dict[str, Any], since: datetime) -> None:
    action = await create(database, nightly())
    await told(database)
    await edit(database, action, **edited)
    (wish,) = await wishes(database)
    assert (wish.wanted, wish.since, wish.pending_since) == (True, since, LATER)


async def test_an_edit_that_leaves_the_times_alone_is_not_told(database: Database) -> None:
    action = await create(database, nightly())
    await told(database)
    await edit(database, action, title="Every night")
    assert await wishes(database) == []


async def test_the_schedule_goes_with_publication_and_comes_back(database: Database) -> None:
    action = await create(database, nightly())
    await told(database)
    action = await edit(database, action, publish=False)
    assert [wish.wanted for wish in await wishes(database)] == [False]
    assert await told(database) == [True]
    assert await rows(database) == []
    await edit(database, action, publish=True, at=MUCH_LATER)
    assert [(wish.wanted, wish.since) for wish in await wishes(database)] == [(True, MUCH_LATER)]


async def test_the_schedule_goes_with_the_automation(database: Database) -> None:
    action = await create(database, nightly())
    async with database.write() as session:
        await actions.remove(session, action, by="user_1", at=LATER, origin="API")
    assert [wish.wanted for wish in await wishes(database)] == [False]
    assert not await fire(database, action)
    assert await told(database) == [True]
    assert await rows(database) == []


async def test_a_paused_automation_has_no_schedule_until_it_is_resumed(database: Database) -> None:
    action = await create(database, nightly())
    async with database.write() as session:
        await actions.pause(session, action.id, {"reason": "a loop", "at": LATER.isoformat(), "runId": None})
    assert [wish.wanted for wish in await wishes(database)] == [False]
    edited = await edit(database, action, trigger=at_times("0 9 * * *", ZONE))
    assert [wish.wanted for wish in await wishes(database)] == [False]
    assert not await fire(database, action)
    async with database.write() as session:
        await actions.resume(session, action.id, by="user_1", at=MUCH_LATER, origin="API")
    assert [(wish.cron, wish.since) for wish in await wishes(database)] == [("0 9 * * *", MUCH_LATER)]
    assert await fire(database, edited, cron="0 9 * * *")


async def test_who_told_what_has_changed_meanwhile_tells_again(database: Database) -> None:
    action = await create(database, nightly())
    (slow,) = await wishes(database)
    await edit(database, action, trigger=at_times("0 9 * * *", ZONE))
    assert await told(database) == [True]  # somebody else was quick
    async with database.write() as session:
        assert not await schedules.told(session, slow, at=MUCH_LATER)
    (wish,) = await wishes(database)
    assert (wish.cron, wish.pending_since) == ("0 9 * * *", MUCH_LATER)


async def test_a_schedule_that_was_made_too_late_is_taken_back(database: Database) -> None:
    action = await create(database, nightly())
    (slow,) = await wishes(database)
    await edit(database, action, publish=False)
    assert await told(database) == [True]
    async with database.write() as session:
        assert not await schedules.told(session, slow, at=MUCH_LATER)
    assert [(wish.action_id, wish.wanted) for wish in await wishes(database)] == [(action.id, False)]
    assert await told(database) == [True]
    assert await rows(database) == []


async def test_a_time_that_comes_is_a_change_for_its_automation(database: Database) -> None:
    action = await create(database, nightly())
    assert await fire(database, action)
    (change,) = await fired(database)
    assert change["resourceType"] == "schedule"
    assert change["action"] == "FIRED"
    assert change["context"] == {"action": "nightly"}
    assert change["by"] == "interlock"
    assert change["before"] is None
    assert change["after"] == {
        "scheduledAt": MORNING.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "cron": CRON,
        "timezone": ZONE,
    }


async def test_a_time_comes_once_however_often_it_is_said(database: Database) -> None:
    action = await create(database, nightly())
    said = await asyncio.gather(*(fire(database, action) for _ in range(5)))
    assert sorted(said) == [False, False, False, False, True]
    assert len(await fired(database)) == 1
    assert await fire(database, action, MORNING + timedelta(days=1))
    assert len(await fired(database)) == 2


async def test_automations_with_the_same_times_are_each_asked(database: Database) -> None:
    one = await create(database, nightly())
    other = await create(database, make_action("daily", trigger=one.document["trigger"], publish=True))
    assert await fire(database, one)
    assert await fire(database, other)
    assert len(await fired(database)) == 2


async def test_no_time_counts_from_before_the_automation_was_published(database: Database) -> None:
    action = await create(database, nightly(publish=False))
    published = MORNING - timedelta(milliseconds=300)
    await edit(database, action, publish=True, at=published)
    assert not await fire(database, action, MORNING - timedelta(minutes=1))
    assert await fired(database) == []
    assert await fire(database, action, MORNING)


async def test_times_that_are_not_its_own_any_more_do_not_count_and_temporal_is_told_again(database: Database) -> None:
    action = await create(database, nightly())
    await edit(database, action, trigger=at_times("0 9 * * *", ZONE))
    await told(database)
    assert not await fire(database, action)
    assert await fired(database) == []
    assert [wish.cron for wish in await wishes(database)] == ["0 9 * * *"]


async def test_a_schedule_that_nobody_knows_is_deleted_after_its_first_time(database: Database) -> None:
    assert not await fire(database, nightly())
    assert await fired(database) == []
    assert [wish.wanted for wish in await wishes(database)] == [False]
    assert await told(database) == [True]
    assert await rows(database) == []


async def test_those_that_were_lost_are_told_again(database: Database) -> None:
    action = await create(database, nightly())
    await told(database)
    async with database.write() as session:
        await schedules.untold(session, [action.id, "unknown"], at=LATER)
    async with database.write() as session:
        await schedules.untold(session, [action.id], at=MUCH_LATER)
    assert [(wish.since, wish.pending_since) for wish in await wishes(database)] == [(AT, LATER)]


async def test_those_that_should_be_there_are_paged(database: Database) -> None:
    made = sorted(
        [(await create(database, make_action(name, trigger=at_times(CRON), publish=True))).id for name in "abc"]
    )
    await create(database, make_action("d", trigger=at_times(CRON), publish=False))
    async with database.read() as session:
        first = await schedules.wanted(session, after="", limit=2)
        rest = await schedules.wanted(session, after=first[-1].action_id, limit=2)
    assert [wish.action_id for wish in (*first, *rest)] == made


async def test_a_wish_rings(database: Database) -> None:
    heard = asyncio.create_task(database.bell.ear().wait(10))
    await create(database, nightly())
    await asyncio.wait_for(heard, 1)
