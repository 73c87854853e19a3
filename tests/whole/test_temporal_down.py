"""Temporal is gone for a while: what people and backends say meanwhile counts, and is acted on when it is back."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.support.outcome import Observer, observing
from tests.support.processes import Parts
from workflows.calls import SILENCE

pytestmark = [pytest.mark.whole, pytest.mark.timeout(180)]

CALL_SECONDS = 6
"""How long a call may take. After so much silence and `SILENCE` more, Temporal takes a worker for dead."""


async def accepted_quickly(observer: Observer, action: str = "answered") -> str:
    began = time.monotonic()
    run_id = await observer.run(action)
    assert time.monotonic() - began < 10
    return run_id


async def test_what_is_said_while_temporal_is_down_is_acted_on_when_it_is_back(tmp_path: Path) -> None:
    async with Parts(tmp_path) as stack, observing(stack) as observer:
        waiting, reported = await observer.run("approved"), await observer.run("reported")
        await observer.delivered(reported)
        await stack.kill("temporal")

        for _ in range(3):
            await accepted_quickly(observer)
        new = await accepted_quickly(observer, "approved")
        for run_id in (waiting, new):
            await observer.approve(run_id)
        await observer.report(reported)
        assert (await observer.statuses())[reported] == "SUCCESS"

        await stack.start("temporal")
        await observer.all_is_well()


async def test_the_api_starts_and_accepts_runs_without_temporal(tmp_path: Path) -> None:
    async with Parts(tmp_path) as stack, observing(stack) as observer:
        for name in ("temporal", "api", "worker"):
            await stack.kill(name)
        await stack.start("worker")
        await stack.start("api")
        for _ in range(3):
            await accepted_quickly(observer)
        readiness = (await observer.call("GET", "/readyz")).json()
        assert readiness["checks"]["temporal"] == "does not answer"

        await stack.start("temporal")
        await observer.all_is_well()
        assert stack.processes["worker"].is_running


async def test_an_outage_longer_than_a_heartbeat_repeats_no_call_of_a_living_worker(tmp_path: Path) -> None:
    async with Parts(tmp_path, webhook_timeout=f"{CALL_SECONDS}") as stack, observing(stack) as observer:
        observer.gates.close("answered meanwhile")
        await observer.run(gate="answered meanwhile")
        to_report = await observer.run("reported", gate="answered meanwhile")
        await observer.gates.entered("answered meanwhile", 2)

        await stack.kill("temporal")
        observer.gates.open("answered meanwhile")
        await asyncio.sleep(CALL_SECONDS + SILENCE.total_seconds() + 2)
        await stack.start("temporal")
        # It has not heard of the calls for too long, and asks a worker again after a second.
        await observer.report(to_report)
        await observer.all_is_well()
