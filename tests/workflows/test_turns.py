"""`ActionRun` while it waits for its turn: it looks when it is called, by itself after some time, and no later."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowHandle

from domain.runs import RunStatus
from tests.workflows.conftest import Bench

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


async def took(handle: WorkflowHandle[Any, RunStatus]) -> timedelta:
    """How long the workflow took, by its own times."""
    described = await handle.describe()
    assert described.close_time
    return described.close_time - described.start_time


async def looked(bench: Bench, times: int) -> None:
    """Wait until it has looked so often."""
    async with asyncio.timeout(20):
        while bench.row.asked["invoke_backend"] < times:
            await asyncio.sleep(0.02)


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
        await looked(bench, times)
        await handle.signal("wake")
    assert await handle.result() is RunStatus.SUCCESS
    assert await took(handle) < MINUTE


async def test_a_call_while_it_looks_is_not_lost(bench: Bench) -> None:
    bench.row.lines, bench.row.invoking = [DAY], True
    handle = await bench.start()
    await looked(bench, 1)
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
    await looked(bench, 1)
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
