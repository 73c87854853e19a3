"""`ActionRun` while it waits: reminders, escalation, the end of its time, and the time when it may begin."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle

from domain.approvals import OnTimeLimit, Reminders
from domain.runs import RunStatus
from domain.waiting import Patience
from tests.workflows.conftest import Bench

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


async def took(handle: WorkflowHandle[Any, RunStatus]) -> timedelta:
    """How long the workflow took, by its own times."""
    described = await handle.describe()
    assert described.close_time
    return described.close_time - described.start_time


def about(length: timedelta, expected: timedelta) -> bool:
    """Whether it is what is expected: runs are asked for a moment before their workflows start."""
    return abs(length - expected) < MINUTE


async def waited(bench: Bench, patience: Patience) -> tuple[RunStatus, WorkflowHandle[Any, RunStatus]]:
    """How a run that nobody decides about ends."""
    handle = await bench.start(waits_for_approval=True, approval_time_limit=patience.time_limit, patience=patience)
    return await handle.result(), handle


async def rang(handle: WorkflowHandle[Any, RunStatus]) -> list[datetime]:
    """When the timers of a workflow rang."""
    fired = EventType.EVENT_TYPE_TIMER_FIRED
    events = (await handle.fetch_history()).events
    return [event.event_time.ToDatetime(UTC) for event in events if event.event_type == fired]


async def test_who_says_nothing_is_reminded_for_days(bench: Bench) -> None:
    status, handle = await waited(bench, Patience(time_limit=10 * DAY, reminders=Reminders(every=2 * DAY, most=3)))
    assert status is RunStatus.DECLINED
    assert about(await took(handle), 10 * DAY)
    assert bench.row.happened == ["reminder 1", "reminder 2", "reminder 3"]
    assert [about(after - before, 2 * DAY) for before, after in pairwise(await rang(handle))] == [True, True, False]
    assert len(bench.row.told) == 4, "at first, and by each reminder"
    assert not bench.row.asked["invoke_backend"]


async def test_there_are_no_reminders_after_the_decision(bench: Bench) -> None:
    patience = Patience(reminders=Reminders(every=DAY, most=50))
    handle = await bench.start(waits_for_approval=True, patience=patience)
    while len(bench.row.happened) < 2:
        await bench.environment.sleep(timedelta(hours=1))
    await handle.signal("decide", {"by": "ada@example.com", "status": "DECLINE"})
    assert await handle.result() is RunStatus.DECLINED
    assert len(bench.row.happened) == 2


async def test_a_wake_does_not_move_what_is_to_come(bench: Bench) -> None:
    patience = Patience(time_limit=3 * DAY, reminders=Reminders(every=DAY, most=2))
    handle = await bench.start(waits_for_approval=True, approval_time_limit=3 * DAY, patience=patience)
    await bench.quiet(handle)
    for _ in range(3):
        await handle.signal("wake")
    assert await handle.result() is RunStatus.DECLINED
    assert about(await took(handle), 3 * DAY)
    assert bench.row.happened == ["reminder 1", "reminder 2"]


async def test_others_may_decide_after_some_time(bench: Bench) -> None:
    status, handle = await waited(bench, Patience(time_limit=5 * DAY, escalate_after=2 * DAY))
    assert status is RunStatus.DECLINED
    assert bench.row.happened == ["escalation"]
    assert about(await took(handle), 5 * DAY), "it ends nothing and extends nothing"
    assert len(bench.row.told) == 2


@pytest.mark.parametrize(
    ("on_time_limit", "ends", "days", "happens"),
    [
        (OnTimeLimit.DECLINE, RunStatus.DECLINED, 2, []),
        (OnTimeLimit.APPROVE, RunStatus.SUCCESS, 2, []),
        (OnTimeLimit.ESCALATE, RunStatus.DECLINED, 4, ["escalation"]),
    ],
)
async def test_what_becomes_of_a_run_that_nobody_decides_about_in_time(
    bench: Bench, on_time_limit: OnTimeLimit, ends: RunStatus, days: int, happens: list[str]
) -> None:
    approves = on_time_limit is OnTimeLimit.APPROVE
    bench.row.on_time_limit = RunStatus.IN_PROGRESS if approves else RunStatus.DECLINED
    status, handle = await waited(bench, Patience(time_limit=2 * DAY, on_time_limit=on_time_limit))
    assert status is ends
    assert about(await took(handle), days * DAY)
    assert bench.row.happened == happens
    assert bench.row.asked["invoke_backend"] == approves


async def test_those_it_was_escalated_to_at_the_time_limit_may_still_approve(bench: Bench) -> None:
    patience = Patience(time_limit=DAY, on_time_limit=OnTimeLimit.ESCALATE)
    handle = await bench.start(waits_for_approval=True, approval_time_limit=DAY, patience=patience)
    while not bench.row.happened:
        await bench.environment.sleep(timedelta(hours=1))
    await handle.signal("decide", {"by": "boss@example.com", "status": "APPROVE"})
    assert await handle.result() is RunStatus.SUCCESS


async def test_whoever_looks_late_reminds_once(bench: Bench) -> None:
    """A workflow that starts days late, because Temporal was down or had lost it."""
    patience = Patience(time_limit=7 * DAY, reminders=Reminders(every=DAY, most=9))
    bench.row.status = RunStatus.WAITING_FOR_APPROVAL
    since = await bench.environment.get_current_time() - timedelta(days=3, hours=12)
    handle = await bench.start(
        waits_for_approval=True, requested_at=since, approval_time_limit=7 * DAY, patience=patience
    )
    assert await handle.result() is RunStatus.DECLINED
    assert bench.row.happened == ["reminder 3", "reminder 4", "reminder 5", "reminder 6"]
    assert about(await took(handle), timedelta(days=3, hours=12))


async def test_somebody_new_is_told_when_the_workflow_is_woken(bench: Bench) -> None:
    handle = await bench.start(waits_for_approval=True)
    await bench.quiet(handle)
    bench.row.untold = True  # somebody has left the decision to another
    await handle.signal("wake")
    async with asyncio.timeout(10):
        while len(bench.row.told) < 2:
            await asyncio.sleep(0.02)
    await handle.signal("wake")
    await handle.signal("decide", {"by": "ada@example.com", "status": "DECLINE"})
    await handle.result()
    assert len(bench.row.told) == 2, "and only once"


async def held(bench: Bench, days: int = 90) -> tuple[WorkflowHandle[Any, RunStatus], datetime]:
    """An approved run whose time has not come, and when it comes."""
    bench.row.starts_at = starts_at = await bench.environment.get_current_time() + days * DAY
    handle = await bench.start(waits_for_approval=True, run_time_limit=DAY)
    await bench.quiet(handle)
    bench.row.status = RunStatus.IN_PROGRESS
    await handle.signal("wake", {"approval": {"by": "ada@example.com"}})
    async with asyncio.timeout(10):
        while not bench.row.asked["close_approval"]:
            await asyncio.sleep(0.02)
    return handle, starts_at


async def test_an_approved_run_waits_for_its_time_for_months(bench: Bench) -> None:
    bench.row.outcome = None
    handle, starts_at = await held(bench, days=200)
    assert await handle.result() is RunStatus.FAILURE, "its own time limit"
    described = await handle.describe()
    assert described.close_time
    assert about(described.close_time - starts_at, DAY), "which begins when the run does"
    assert bench.row.asked["invoke_backend"] == 1


async def test_a_time_that_has_passed_delays_nothing(bench: Bench) -> None:
    bench.row.starts_at = await bench.environment.get_current_time() - DAY
    handle = await bench.start(waits_for_approval=True)
    await handle.signal("decide", {"by": "ada@example.com", "status": "APPROVE"})
    assert await handle.result() is RunStatus.SUCCESS
    assert await took(handle) < MINUTE


async def test_a_workflow_that_is_started_anew_waits_for_the_same_time(bench: Bench) -> None:
    not_before = await bench.environment.get_current_time() + 30 * DAY
    handle = await bench.start(not_before=not_before)
    assert await handle.result() is RunStatus.SUCCESS
    assert about(await took(handle), 30 * DAY)


async def test_a_wake_that_means_nothing_does_not_begin_the_run(bench: Bench) -> None:
    handle, _ = await held(bench)
    await handle.signal("wake")
    async with asyncio.timeout(10):
        while not bench.row.asked["close_run"]:
            await asyncio.sleep(0.02)
    assert not bench.row.asked["invoke_backend"]
    assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
    assert await handle.result() is RunStatus.SUCCESS
    assert await took(handle) >= 90 * DAY - MINUTE


@pytest.mark.parametrize("how", ["report", "signal", "temporal"])
async def test_a_run_can_be_stopped_before_its_time(bench: Bench, how: str) -> None:
    handle, _ = await held(bench)
    if how == "report":
        bench.row.status = RunStatus.FAILURE
        await handle.signal("wake")
    elif how == "signal":
        await handle.signal("cancel", {"by": "ada@example.com"})
    else:
        await handle.cancel()
    assert await handle.result() is RunStatus.FAILURE
    assert not bench.row.asked["invoke_backend"]
    assert await took(handle) < DAY


async def test_a_run_that_would_send_something_else_waits_for_approval_again(bench: Bench) -> None:
    bench.row.changed = 2
    handle = await bench.start(waits_for_approval=True, approval_time_limit=DAY)
    for times in (1, 2, 3):
        await handle.signal("decide", {"by": "ada@example.com", "status": "APPROVE"})
        async with asyncio.timeout(10):
            while bench.row.asked["invoke_backend"] < times:
                await asyncio.sleep(0.02)
        async with asyncio.timeout(10):
            while times < 3 and len(bench.row.told) < times + 1:
                await asyncio.sleep(0.02)
    assert await handle.result() is RunStatus.SUCCESS
    assert bench.row.asked["invoke_backend"] == 3


async def test_the_time_limit_counts_anew_for_a_run_that_waits_again(bench: Bench) -> None:
    bench.row.changed = 1
    bench.row.starts_at = await bench.environment.get_current_time() + 30 * DAY
    handle = await bench.start(waits_for_approval=True, approval_time_limit=2 * DAY)
    await handle.signal("decide", {"by": "ada@example.com", "status": "APPROVE"})
    assert await handle.result() is RunStatus.DECLINED
    assert about(await took(handle), 32 * DAY)


async def test_a_run_whose_time_is_later_than_its_workflow_knew_begins_then(bench: Bench) -> None:
    bench.row.postponed = await bench.environment.get_current_time() + 30 * DAY
    handle = await bench.start(run_time_limit=DAY)
    assert await handle.result() is RunStatus.SUCCESS
    assert about(await took(handle), 30 * DAY), "its own time counts from then"
    assert bench.row.asked["invoke_backend"] == 2


async def test_a_run_that_is_approved_again_before_its_workflow_knows_goes_on(bench: Bench) -> None:
    bench.row.changed = 1
    handle = await bench.start(waits_for_approval=True)
    await handle.signal("decide", {"by": "ada@example.com", "status": "APPROVE"})
    async with asyncio.timeout(10):
        while not bench.row.asked["invoke_backend"]:
            await asyncio.sleep(0)
    bench.row.status = RunStatus.IN_PROGRESS  # and the signal that says so never comes
    assert await handle.result() is RunStatus.SUCCESS
