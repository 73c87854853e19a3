"""Claims in SQL: each run goes to one claimer, however many ask; and nothing else about the run changes."""

import asyncio
import dataclasses
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlmodel import col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.claims import AGENT, queue
from domain.errors import NotFound, RunTaken
from domain.identifiers import ActionId
from domain.runs import Ref, Run, RunStatus
from store import actions, claims, run_lists, runs
from store.claims import Claimed
from store.database import Database
from store.tables import ClaimRow, RunRow
from tests.store.conftest import make_action, make_run

QUEUE = queue("WEBHOOK", AGENT)
MINUTE = timedelta(minutes=1)


async def waiting(
    database: Database, number: int, at: datetime, *, action: str = "deploy", queue: str | None = QUEUE
) -> list[Run]:
    """Runs that wait in the queue, the oldest first."""
    definition = make_action(action)
    made = [
        make_run(action=Ref(identifier=action), created_at=at + timedelta(milliseconds=index))
        for index in range(number)
    ]
    async with database.write() as session:
        await actions.create(session, definition, origin="API")
        for run in made:
            await runs.create(session, run, action_id=definition.id, request=None)
            await wait(session, run, claims.awaited(queue=queue, look_up_at=None, at=at))
    return made


async def wait(session: AsyncSession, run: Run, waits: Mapping[str, Any]) -> None:
    await runs.change(session, run.id, lambda current: current, origin="API", waits=waits)


async def claim(database: Database, at: datetime, *, limit: int = 100, exclude: tuple[str, ...] = ()) -> list[Claimed]:
    return await database.transact(
        lambda session: claims.claim(session, QUEUE, at=at, until=at + MINUTE, limit=limit, exclude=exclude)
    )


async def row(database: Database, run: Run) -> RunRow:
    async with database.read() as session:
        found = await session.get(RunRow, run.id)
        assert found
        return found


async def test_the_oldest_come_first_and_are_the_claimers_until_their_time_is_over(
    database: Database, at: datetime
) -> None:
    made = await waiting(database, 5, at)
    assert [one.id for one in await claim(database, at, limit=3)] == [run.id for run in made[:3]]
    assert [one.id for one in await claim(database, at + MINUTE / 2)] == [run.id for run in made[3:]]
    assert await claim(database, at + MINUTE / 2) == []
    again = await claim(database, at + MINUTE)
    assert [one.id for one in again] == [run.id for run in made[:3]], "nobody has acknowledged them"


async def test_twenty_claimers_at_once_lose_and_double_nothing(database: Database, at: datetime) -> None:
    made = await waiting(database, 300, at)
    taken: list[str] = []

    async def take(run_id: str) -> None:
        if await database.transact(lambda session: claims.acknowledge(session, [run_id])):
            taken.append(run_id)

    async def claimer() -> None:
        while found := await claim(database, at, limit=7):
            for one in found:
                await take(one.id)

    await asyncio.gather(*(claimer() for _ in range(20)))
    assert sorted(taken) == sorted(run.id for run in made)


async def test_of_many_who_acknowledge_a_run_one_has_it(database: Database, at: datetime) -> None:
    [run] = await waiting(database, 1, at)
    await claim(database, at)
    counts = await asyncio.gather(
        *(database.transact(lambda session: claims.acknowledge(session, [run.id, "r_unknown"])) for _ in range(20))
    )
    assert sorted(counts) == [0] * 19 + [1]
    with pytest.raises(RunTaken, match=run.id):
        await database.transact(lambda session: claims.acknowledge_one(session, run.id))
    with pytest.raises(NotFound):
        await database.transact(lambda session: claims.acknowledge_one(session, "r_unknown"))
    assert await claim(database, at + 10 * MINUTE) == [], "it is never offered again"


async def test_what_nobody_has_claimed_cannot_be_acknowledged(database: Database, at: datetime) -> None:
    [run] = await waiting(database, 1, at)
    with pytest.raises(RunTaken):
        await database.transact(lambda session: claims.acknowledge_one(session, run.id))
    assert [one.id for one in await claim(database, at)] == [run.id]


async def test_an_acknowledgement_after_its_time_still_wins_if_nobody_else_has_it(
    database: Database, at: datetime
) -> None:
    [run] = await waiting(database, 1, at)
    await claim(database, at)
    assert len(await claim(database, at + 2 * MINUTE)) == 1
    assert await database.transact(lambda session: claims.acknowledge(session, [run.id])) == 1
    assert await database.transact(lambda session: claims.acknowledge(session, [run.id])) == 0


async def test_excluded_actions_and_other_queues_are_left(database: Database, at: datetime) -> None:
    [busy] = await waiting(database, 1, at, action="busy")
    [free] = await waiting(database, 1, at, action="free")
    async with database.read() as session:
        assert await claims.waiting(session, QUEUE, at=at, exclude=["busy"])
        assert not await claims.waiting(session, QUEUE, at=at, exclude=["busy", "free"])
        assert not await claims.waiting(session, queue("WEBHOOK", "another"), at=at)
    assert [one.id for one in await claim(database, at, exclude=("busy",))] == [free.id]
    assert [one.id for one in await claim(database, at)] == [busy.id]


async def test_runs_of_an_action_that_is_renamed_are_excluded_by_its_new_name(database: Database, at: datetime) -> None:
    before = make_action("busy")
    document = before.document | {"identifier": "idle"}
    after = dataclasses.replace(before, version=2, identifier=ActionId("idle"), document=document)
    run = make_run(action=Ref(identifier="busy"))
    async with database.write() as session:
        await actions.create(session, before, origin="API")
        await runs.create(session, run, action_id=before.id, request=None)
        await wait(session, run, claims.awaited(queue=QUEUE, look_up_at=None, at=at))
        await actions.replace(session, before, after, origin="API")
    assert await claim(database, at, exclude=("idle",)) == []
    assert [one.id for one in await claim(database, at, exclude=("busy",))] == [run.id]


async def test_who_comes_late_does_not_offer_again_what_somebody_has_taken(database: Database, at: datetime) -> None:
    [free, taken] = await waiting(database, 2, at)
    await claim(database, at)
    await database.transact(lambda session: claims.acknowledge(session, [taken.id]))
    for run in (free, taken):
        async with database.write() as session:
            await wait(session, run, claims.awaited(queue=QUEUE, look_up_at=None, at=at))
    assert await claim(database, at) == []
    assert [one.id for one in await claim(database, at + MINUTE)] == [free.id]


async def test_a_run_that_ends_while_it_is_claimed_was_taken_by_nobody(database: Database, at: datetime) -> None:
    made = await waiting(database, 10, at)

    async def end(run: Run) -> None:
        async with database.write() as session:
            await runs.change(session, run.id, lambda run: run.cancelled("no", at=at, by="x"), origin="API")

    async def take(run: Run) -> bool:
        return bool(await database.transact(lambda session: claims.acknowledge(session, [run.id])))

    await claim(database, at)
    ends = asyncio.gather(*(end(run) for run in made))
    again, taken, _ = await asyncio.gather(claim(database, at + MINUTE), take(made[0]), ends)
    assert {one.id for one in again} <= {run.id for run in made}
    assert (await row(database, made[0])).delivered is taken, "whoever took it was in time, or told that it is gone"
    assert not any([(await row(database, run)).delivered for run in made[1:]])
    assert await claim(database, at + 10 * MINUTE) == []


async def test_a_run_that_ends_leaves_the_queue(database: Database, at: datetime) -> None:
    [first, second] = await waiting(database, 2, at)
    async with database.write() as session:
        await runs.change(session, first.id, lambda run: run.cancelled("no", at=at, by="x"), origin="API")
    assert [one.id for one in await claim(database, at)] == [second.id]
    async with database.write() as session:
        await runs.change(session, second.id, lambda run: run.cancelled("no", at=at, by="x"), origin="API")
    with pytest.raises(RunTaken):
        await database.transact(lambda session: claims.acknowledge_one(session, second.id))
    assert not (await row(database, second)).delivered, "nobody has taken it"


async def test_claims_show_in_the_run_and_change_neither_its_document_nor_its_history(
    database: Database, at: datetime
) -> None:
    [run] = await waiting(database, 1, at)
    before = await row(database, run)
    await claim(database, at)
    async with database.read() as session:
        shown = await runs.get(session, run.id)
        [listed] = await run_lists.listed(session, run_lists.Filters())
    assert (shown.pending_execution, shown.claimed_until) == (True, at + MINUTE)
    assert listed == shown
    await database.transact(lambda session: claims.acknowledge(session, [run.id]))
    async with database.read() as session:
        assert await runs.get(session, run.id) == run
    after = await row(database, run)
    assert (after.document, after.revision) == (before.document, before.revision)


async def queued_by_the_release_before(database: Database, run: Run, until: datetime | None) -> None:
    """Have the run as processes of before the table `claims` leave it."""
    values = {"claim_queue": QUEUE, "claimed_until": until, "delivered": True}
    async with database.write() as session:
        await session.exec(update(RunRow).where(col(RunRow.id) == run.id).values(**values))


async def move(database: Database, at: datetime) -> int:
    return await database.transact(lambda session: claims.move(session, at=at, limit=10))


async def test_runs_that_wait_as_before_are_moved_unless_somebody_has_them(database: Database, at: datetime) -> None:
    [never, before, now, ended] = await waiting(database, 4, at, queue=None)
    async with database.write() as session:
        await runs.change(session, ended.id, lambda run: run.cancelled("no", at=at, by="x"), origin="API")
    for run, until in ((never, None), (before, at), (now, at + MINUTE), (ended, None)):
        await queued_by_the_release_before(database, run, until)
    ear = database.claims.ear()
    assert await move(database, at) == 3
    async with asyncio.timeout(5):
        await ear.wait(20)
    assert [one.id for one in await claim(database, at)] == [never.id, before.id]
    assert [await move(database, moment) for moment in (at, at + MINUTE, at + MINUTE)] == [0, 1, 0]
    assert await database.transact(lambda session: claims.acknowledge(session, [never.id])) == 1
    found = await claim(database, at + MINUTE)
    assert [one.id for one in found] == [before.id, now.id], "the one that was acknowledged is never offered again"


async def test_what_an_older_version_has_ended_is_not_handed_out(database: Database, at: datetime) -> None:
    [ended, free] = await waiting(database, 2, at)
    async with database.write() as session:
        await session.exec(update(RunRow).where(col(RunRow.id) == ended.id).values(status=RunStatus.FAILURE))
    assert [one.id for one in await claim(database, at)] == [free.id]
    async with database.read() as session:
        left = (await session.exec(select(ClaimRow.run_id))).all()
    assert left == [free.id]


async def test_released_runs_are_offered_at_once(database: Database, at: datetime) -> None:
    [run] = await waiting(database, 1, at)
    await claim(database, at)
    async with database.write() as session:
        await claims.release(session, [run.id], until=at + MINUTE)
    assert [one.id for one in await claim(database, at)] == [run.id]
    async with database.write() as session:
        await claims.release(session, [run.id], until=at + 2 * MINUTE)
    assert await claim(database, at) == [], "what another claimed meanwhile stays theirs"


async def test_who_waits_for_claims_hears_of_one(database: Database, at: datetime) -> None:
    ear = database.claims.ear()
    heard = asyncio.create_task(ear.wait(20))
    await waiting(database, 1, at)
    async with asyncio.timeout(5):
        await heard


async def test_runs_that_are_due_are_looked_up_by_one_at_a_time(database: Database, at: datetime) -> None:
    made = await waiting(database, 4, at, queue=None)
    async with database.write() as session:
        for index, run in enumerate(made):
            look_up_at = at + index * MINUTE if index else None
            await wait(session, run, claims.awaited(queue=None, look_up_at=look_up_at, at=at))

    async def due(moment: datetime) -> list[str]:
        async def work(session: AsyncSession) -> list[str]:
            found = await claims.due(session, at=moment, leased_until=moment + 5 * MINUTE, limit=10)
            return [one.run.id for one in found if one.invoked_at == at]

        return await database.transact(work)

    many = await asyncio.gather(*(due(at + 2 * MINUTE) for _ in range(5)))
    assert sorted(one for found in many for one in found) == sorted(run.id for run in made[1:3])
    assert await due(at + 3 * MINUTE) == [made[3].id]
    assert sorted(await due(at + 7 * MINUTE)) == sorted(run.id for run in made[1:3]), "whoever asked has died"
    async with database.write() as session:
        await runs.change(session, made[1].id, lambda run: run.cancelled("no", at=at, by="x"), origin="API")
        await claims.look_at(session, [made[1].id, made[2].id], at)
    assert await due(at) == [made[2].id], "nobody is asked about a run that has ended"
    async with database.read() as session:
        assert (await runs.get(session, made[2].id)).status is RunStatus.IN_PROGRESS
