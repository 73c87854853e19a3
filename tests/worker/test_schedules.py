"""The relay of schedules on a real Temporal: it has what SQL says, whatever was lost, and each time comes once."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlmodel import update
from temporalio.client import (
    ScheduleActionStartWorkflow,
    ScheduleDescription,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

from backends import open_transport
from domain.cron import most_a_day
from domain.jq import Evaluator
from runtime.clock import now
from store import schedules
from store.automation_tables import ScheduleRow
from tests.support.processes import eventually
from tests.support.product import Product, running
from tests.support.sandbox import Sandbox
from worker.main import services, working
from worker.schedules import CATCH_UP, CATCH_UP_OFTEN, Schedules

NEVER = "0 0 29 2 *"
"""Often enough for a test."""


@pytest.fixture
async def product(server: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str) -> AsyncIterator[Product]:
    """The product without a worker, on a server that has schedules."""
    async with running(server, evaluate, sqlite_url, worker=False) as product:
        yield product


@pytest.fixture
def relay(product: Product) -> Schedules:
    """The relay, which works when it is asked to."""
    return Schedules(product.temporal, product.database, now, task_queue=product.settings.task_queue)


def by_clock(cron: str = NEVER, **more: Any) -> dict[str, Any]:
    """A trigger."""
    return {"type": "automation", "event": {"type": "SCHEDULE", "cron": cron, **more}}


async def automation(product: Product, cron: str = NEVER, **more: Any) -> str:
    """A new automation that the clock starts; its id."""
    await product.action("nightly", trigger=by_clock(cron, **more), publish=True)
    async with product.database.read() as session:
        return (await schedules.pending(session, limit=1))[0].action_id


async def edit(product: Product, **more: Any) -> None:
    """Replace the automation."""
    document = {
        "identifier": "nightly", "trigger": by_clock(), "publish": True, "invocationMethod": product.webhook(), **more,
    }  # fmt: skip
    answer = await product.api.put("/v1/actions/nightly", json=document)
    assert answer.status_code == 200, answer.text


async def found(product: Product, action_id: str) -> ScheduleDescription | None:
    """The schedule, if Temporal has it."""
    try:
        return await product.temporal.get_schedule_handle(f"schedule:{action_id}").describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return None


async def note(product: Product, action_id: str) -> str | None:
    """What is written beside the schedule."""
    known = await found(product, action_id)
    return known.schedule.state.note if known else None


async def listed(product: Product, notes: set[str | None]) -> None:
    """Wait until Temporal lists these: lists are written later."""

    async def same() -> bool | None:
        known = [one async for one in await product.temporal.list_schedules()]
        return {one.schedule.state.note for one in known if one.schedule} == notes or None

    await eventually("they are listed", same)


async def fired(product: Product) -> list[Any]:
    """The times that were recorded."""
    answer = await product.api.get("/v1/audit-log?resources=schedule")
    return [audit["diff"]["after"]["scheduledAt"] for audit in answer.json()["audits"]]


async def test_temporal_has_a_schedule_as_long_as_it_is_wanted(product: Product, relay: Schedules) -> None:
    action_id = await automation(product, "0 8 * * 1-5", timezone="Europe/Berlin")
    assert not await relay.relay_once()
    known = await found(product, action_id)
    assert known
    action, policy = known.schedule.action, known.schedule.policy
    assert isinstance(action, ScheduleActionStartWorkflow)
    assert (action.workflow, action.task_queue) == ("ScheduledRun", product.settings.task_queue)
    assert (policy.overlap, policy.catchup_window) == (ScheduleOverlapPolicy.ALLOW_ALL, CATCH_UP)
    assert known.schedule.spec.time_zone_name == "Europe/Berlin"
    times = [at.astimezone(ZoneInfo("Europe/Berlin")) for at in known.info.next_action_times]
    assert {(time.hour, time.minute) for time in times} == {(8, 0)}
    assert {time.weekday() for time in times} == set(range(5))

    await edit(product, trigger=by_clock("30 9 * * *"))
    await relay.relay_once()
    known = await found(product, action_id)
    assert known
    assert {(time.hour, time.minute) for time in known.info.next_action_times} == {(9, 30)}

    await edit(product, publish=False)
    await relay.relay_once()
    assert await found(product, action_id) is None
    await edit(product)
    await relay.relay_once()
    assert await note(product, action_id) == f"nightly: {NEVER} UTC"
    assert (await product.api.delete("/v1/actions/nightly")).status_code == 200
    await relay.relay_once()
    assert await found(product, action_id) is None
    await relay.relay_once()


async def test_what_was_told_is_not_told_again(product: Product, relay: Schedules) -> None:
    action_id = await automation(product)
    await relay.relay_once()
    before = await found(product, action_id)
    await relay.relay_once()
    after = await found(product, action_id)
    assert before
    assert after
    assert before.info.last_updated_at == after.info.last_updated_at


async def test_a_schedule_that_is_lost_or_differs_is_put_right(product: Product, relay: Schedules) -> None:
    action_id = await automation(product)
    await relay.relay_once()
    right = f"nightly: {NEVER} UTC"
    await listed(product, {right})
    await relay.sweep()
    assert not await pending(product)

    handle = product.temporal.get_schedule_handle(f"schedule:{action_id}")
    await handle.pause(note="an operator wants it")
    await listed(product, {"an operator wants it"})
    await relay.sweep()
    assert not await pending(product)
    await handle.unpause(note="no more")
    await listed(product, {"no more"})
    await relay.sweep()
    await relay.relay_once()
    assert await note(product, action_id) == right

    await handle.delete()
    await listed(product, set())
    await relay.sweep()
    await relay.relay_once()
    assert await note(product, action_id) == right


async def pending(product: Product) -> bool:
    """Whether Temporal has to be told anything."""
    async with product.database.read() as session:
        return bool(await schedules.pending(session, limit=1))


async def test_a_process_that_starts_has_schedules_on_its_own_task_queue(product: Product, relay: Schedules) -> None:
    action_id = await automation(product)
    await relay.relay_once()
    await listed(product, {f"nightly: {NEVER} UTC"})
    other = Schedules(product.temporal, product.database, now, task_queue="other")
    await other.sweep()
    known = await found(product, action_id)
    assert known
    assert isinstance(known.schedule.action, ScheduleActionStartWorkflow)
    assert known.schedule.action.task_queue == "other"


async def test_a_time_that_comes_is_recorded_once_by_the_worker_that_is_there(
    product: Product, relay: Schedules, evaluate: Evaluator
) -> None:
    action_id = await automation(product)
    await relay.relay_once()
    handle = product.temporal.get_schedule_handle(f"schedule:{action_id}")
    await handle.trigger()  # while nobody is there
    async with open_transport() as http:
        given = services(product.settings, product.database, evaluate, product.organization, http)
        async with working(product.settings, product.temporal, given, workflow_runner=Sandbox()):

            async def recorded() -> bool | None:
                return len(await fired(product)) == 1 or None

            await eventually("the time is recorded", recorded)

            await edit(product, publish=False)
            await handle.trigger()  # Temporal does not know yet
            workflows = product.temporal.list_workflows

            async def ended() -> bool | None:
                query = "WorkflowType = 'ScheduledRun' AND ExecutionStatus = 'Completed'"
                return len([one async for one in workflows(query)]) == 2 or None

            await eventually("both have ended", ended)
            assert len(await fired(product)) == 1


async def test_times_that_passed_before_temporal_was_told_are_made_up_for(
    product: Product, evaluate: Evaluator
) -> None:
    await automation(product, "* * * * *")
    late = Schedules(
        product.temporal, product.database, lambda: now() + timedelta(minutes=3), task_queue=product.settings.task_queue
    )
    await late.relay_once()
    async with open_transport() as http:
        given = services(product.settings, product.database, evaluate, product.organization, http)
        async with working(product.settings, product.temporal, given, workflow_runner=Sandbox()):

            async def recorded() -> bool | None:
                return len(await fired(product)) >= 3 or None

            await eventually("they are recorded", recorded)
            assert len(set(await fired(product))) == len(await fired(product))


async def test_times_that_passed_while_the_server_was_away_are_made_up_for_once_each(
    product: Product, relay: Schedules, server: WorkflowEnvironment, evaluate: Evaluator
) -> None:
    action_id = await automation(product)
    await relay.relay_once()
    handle = product.temporal.get_schedule_handle(f"schedule:{action_id}")

    def often(known: ScheduleUpdateInput) -> ScheduleUpdate:
        schedule = known.description.schedule
        schedule.spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(timedelta(seconds=1))])
        return ScheduleUpdate(schedule)

    async with open_transport() as http:
        given = services(product.settings, product.database, evaluate, product.organization, http)
        async with working(product.settings, product.temporal, given, workflow_runner=Sandbox()):
            await handle.update(often)  # what else is ours stays: cron has nothing that a test could wait for

            async def recorded() -> int | None:
                return len(await fired(product)) or None

            await eventually("the first time is recorded", recorded)
            process = process_of(server)
            process.suspend()
            try:
                await asyncio.sleep(4)
                back = now()
            finally:
                process.resume()

            async def made_up() -> list[datetime] | None:
                times = sorted(map(datetime.fromisoformat, await fired(product)))
                return times if times[-1] > back else None

            times = await eventually("the server is back", made_up, within=30)
    assert {after - before for before, after in itertools.pairwise(times)} == {timedelta(seconds=1)}
    assert times[-1] - times[0] > timedelta(seconds=4)


def process_of(server: WorkflowEnvironment) -> Any:
    """The process of the server, which is ours."""
    psutil = pytest.importorskip("psutil")
    port = server.client.service_client.config.target_host.rpartition(":")[2]
    [process] = [one for one in psutil.Process().children() if port in one.cmdline()]
    return process


@pytest.mark.parametrize(
    ("cron", "window"),
    [("0 8 * * *", CATCH_UP), ("*/2 * * * *", CATCH_UP), ("* * * * *", CATCH_UP_OFTEN)],
)
async def test_no_more_times_are_made_up_for_at_once_than_temporal_holds(
    product: Product, relay: Schedules, cron: str, window: timedelta
) -> None:
    known = await (await told(product, relay, cron)).describe()
    assert known.schedule.policy.overlap is ScheduleOverlapPolicy.ALLOW_ALL
    assert known.schedule.policy.catchup_window == window
    assert (window / timedelta(days=1)) * most_a_day(cron) < 1000


async def told(product: Product, relay: Schedules, cron: str) -> ScheduleHandle:
    """The schedule of a new automation."""
    action_id = await automation(product, cron)
    await relay.relay_once()
    return product.temporal.get_schedule_handle(f"schedule:{action_id}")


async def test_a_schedule_that_temporal_refuses_does_not_keep_others_waiting(
    product: Product, relay: Schedules, caplog: pytest.LogCaptureFixture
) -> None:
    action_id = await automation(product)
    async with product.database.write() as session:
        await session.exec(update(ScheduleRow).values(document={"cron": "99 * * * *", "timezone": "UTC"}))
    await product.action("daily", trigger=by_clock(), publish=True)
    await relay.relay_once()
    assert not await pending(product)
    assert "temporal refuses a schedule" in caplog.text
    assert await found(product, action_id) is None
    await listed(product, {f"daily: {NEVER} UTC"})


async def test_an_outage_of_temporal_leaves_schedules_to_be_told(
    product: Product, relay: Schedules, server: WorkflowEnvironment
) -> None:
    action_id = await automation(product)
    await server.shutdown()
    with pytest.raises((RPCError, RuntimeError)):
        await relay.relay_once()
    async with product.database.read() as session:
        assert [wish.action_id for wish in await schedules.pending(session, limit=2)] == [action_id]


async def test_the_relay_is_woken(product: Product, relay: Schedules) -> None:
    working = asyncio.create_task(relay.run())
    try:
        await asyncio.sleep(0.2)
        await product.action("nightly", trigger=by_clock(), publish=True)

        async def told() -> bool | None:
            return (await pending(product)) is False or None

        await eventually("temporal is told", told, within=3)
    finally:
        working.cancel()
