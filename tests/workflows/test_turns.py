"""`ActionRun` while it waits for its turn: it looks when it is called, by itself after some time, and no later."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle

from domain.runs import RunStatus
from tests.workflows.conftest import Bench
from workflows import calls

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


async def took(handle: WorkflowHandle[Any, RunStatus]) -> timedelta:
    """How long the workflow took, by its own times."""
    described = await handle.describe()
    assert described.close_time
    return described.close_time - described.start_time


async def looked(bench: Bench, handle: WorkflowHandle[Any, RunStatus], times: int) -> None:
    """Wait until it has looked so often, and its task is done: this server would have it look again."""
    latest = bench.client.get_workflow_handle(handle.id)
    async with asyncio.timeout(20):
        while bench.row.asked["invoke_backend"] < times or await _in_a_task(latest):
            await asyncio.sleep(0.02)


async def _in_a_task(handle: WorkflowHandle[Any, Any]) -> bool:
    last = (await handle.fetch_history()).events[-1].event_type
    return last in (EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED, EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED)


async def test_it_looks_by_itself(bench: Bench) -> None:
    bench.row.lines = [MINUTE, 2 * MINUTE, 4 * MINUTE]
    handle = await bench.start()
    assert await handle.result() is RunStatus.SUCCESS
    assert timedelta(0) <= await took(handle) - 7 * MINUTE < MINUTE
    assert bench.row.asked["invoke_backend"] == 4
    assert not bench.row.asked["close_run"]


async def test_it_looks_when_it_is_called(bench: Bench) -> None:
    bench.row.lines = [DAY, DAY]
    handle = await bench.start()
    for times in (1, 2):
        await looked(bench, handle, times)
        await handle.signal("wake")
    assert await handle.result() is RunStatus.SUCCESS
    assert await took(handle) < MINUTE
    assert bench.row.asked["invoke_backend"] == 3


async def test_a_call_while_it_looks_is_not_lost(bench: Bench) -> None:
    bench.row.lines, bench.row.invoking = [DAY], True
    handle = await bench.start()
    await looked(bench, handle, 1)
    await handle.signal("wake")
    async with asyncio.timeout(20):
        while not bench.row.asked["close_run"]:
            await asyncio.sleep(0.02)
    bench.row.invoking = False
    assert await handle.result() is RunStatus.SUCCESS
    assert await took(handle) < MINUTE


async def test_its_time_counts_from_its_turn(bench: Bench) -> None:
    bench.row.outcome, bench.row.lines = None, [2 * DAY, DAY]
    handle = await bench.start(run_time_limit=DAY)
    assert await handle.result() is RunStatus.FAILURE
    assert timedelta(0) <= await took(handle) - 4 * DAY < MINUTE


@pytest.mark.parametrize("how", ["signal", "report", "temporal"])
async def test_it_can_be_stopped(bench: Bench, how: str) -> None:
    bench.row.lines = 10 * [DAY]
    handle = await bench.start()
    await looked(bench, handle, 1)
    if how == "signal":
        await handle.signal("cancel", {"by": "ada@example.com"})
    elif how == "temporal":
        await handle.cancel()
    else:
        bench.row.status = RunStatus.FAILURE
        await handle.signal("wake")
    assert await handle.result() is RunStatus.FAILURE
    assert await took(handle) < MINUTE


async def test_a_look_costs_few_events(bench: Bench) -> None:
    """So that whoever waits for months stays far from what a history may have: see `domain.budgets.look_again`."""
    bench.row.lines = 10 * [DAY]
    handle = await bench.start()
    await handle.result()
    assert len((await handle.fetch_history()).events) <= 11 * 11


async def test_however_often_it_looks_its_history_stays_short(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporal terminates a workflow whose history is too long, and a backend may be dead for weeks."""
    monkeypatch.setattr(calls, "LONG_HISTORY", 60)
    bench.row.outcome, bench.row.lines = None, 30 * [MINUTE]
    first = await bench.start(waits_for_approval=True, approval_time_limit=DAY, run_time_limit=DAY)
    await first.signal("decide", {"by": "ada@example.com", "status": "APPROVE"})
    assert await first.result() is RunStatus.FAILURE
    assert bench.row.asked["invoke_backend"] == 31
    handle = bench.client.get_workflow_handle(first.id)
    assert await took(handle) > DAY  # its time limit counts from its turn
    history = await handle.fetch_history()
    begun = history.events[0].workflow_execution_started_event_attributes
    assert begun.first_execution_run_id != begun.original_execution_run_id
    assert len(history.events) < 120
    ids = {event.activity_task_scheduled_event_attributes.activity_id for event in history.events} - {""}
    assert not any(map(str.isdigit, ids))  # attempts are counted by the ids, which must not begin anew


async def test_it_can_be_stopped_in_a_later_history(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "LONG_HISTORY", 20)
    bench.row.lines = 100 * [DAY]
    first = await bench.start()
    for times in range(1, 8):
        await looked(bench, first, times)
        await first.signal("wake")
    await looked(bench, first, 8)
    handle = bench.client.get_workflow_handle(first.id)
    await handle.signal("cancel", {"by": "ada@example.com"})
    assert await first.result() is RunStatus.FAILURE
    # Heard again where a workflow task had to be done again, as on a busy machine; the row takes it once.
    assert set(map(repr, bench.row.words)) == {repr(("cancel", {"by": "ada@example.com"}))}
