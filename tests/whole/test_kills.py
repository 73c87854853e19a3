"""SIGKILL to one process after the other, with runs at every point of their lives; then everything ends correctly."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from cli.processes import create_user
from tests.support.outcome import observing
from tests.support.processes import Dev, Parts, Stack, eventually

pytestmark = [pytest.mark.whole, pytest.mark.timeout(180)]

VICTIMS = ["api", "worker", "temporal", "dev"]
WORKING = {"worker", "dev"}
"""Those that take the backend's call down with them."""


def stack_with(victim: str, directory: Path) -> Stack:
    """The product in the shape in which the victim is one process."""
    # After this, and ten seconds more, a worker that says nothing is given up. A call that nobody takes down must not
    # be given up: it is held back until the victim is there again, which on a busy machine takes as long.
    how = {"webhook_timeout": "10"} if victim in WORKING else {}
    return Dev(directory, **how) if victim == "dev" else Parts(directory, **how)


@pytest.mark.parametrize("victim", VICTIMS)
async def test_a_kill_just_after_the_202_loses_no_run(victim: str, tmp_path: Path) -> None:
    async with stack_with(victim, tmp_path) as stack, observing(stack) as observer:
        async with asyncio.TaskGroup() as group:
            # The kill comes with the first answer, so it hits the others on their way; all but one are sent again.
            for number in range(8):
                group.create_task(observer.run(key=str(number)))
            await eventually("a run was accepted", observer.first)
            await stack.kill(victim)
            if victim in WORKING:
                await observer.backend.abandoned()
            delivered = {call.headers["idempotency-key"] for call in observer.backend.calls}
            await stack.start(victim)
        assert len(observer.promised) == 8
        await observer.all_is_well(deaths=Counter(delivered if victim in WORKING else ()))


@pytest.mark.parametrize("victim", VICTIMS)
async def test_a_kill_while_runs_wait_are_called_and_are_settled_loses_none(victim: str, tmp_path: Path) -> None:
    async with stack_with(victim, tmp_path) as stack, observing(stack) as observer:
        waiting = [await observer.run("approved"), await observer.run("approved")]
        observer.gates.close("call")
        called, to_report = await observer.run(gate="call"), await observer.run("reported", gate="call")
        observer.gates.close("settle")
        settled = [await observer.run(gate="settle"), await observer.run(gate="settle")]
        await observer.gates.entered("call", 2)
        await observer.gates.entered("settle", 2)

        with observer.sql_locked():
            observer.gates.open("settle")
            await observer.gates.answered("settle", 2)
            await stack.kill(victim)
        await stack.start(victim)
        observer.gates.open("call")
        for run_id in waiting:
            await observer.approve(run_id)
        await observer.report(to_report)

        died_in_call = (called, to_report, *settled) if victim in WORKING else ()
        await observer.all_is_well(deaths=Counter(died_in_call))


async def test_the_signal_decide_works_while_the_api_is_dead(tmp_path: Path) -> None:
    async with Parts(tmp_path) as stack, observing(stack) as observer:
        await create_user(stack.settings, "ada@example.com", roles=["Admin"])
        run_id = await observer.run("approved")
        client = await stack.temporal()
        handle = client.get_workflow_handle(run_id)
        await eventually("its workflow was started", handle.describe)
        await stack.kill("api")

        await handle.signal("decide", {"by": "ada@example.com", "status": "APPROVE"})
        assert await asyncio.wait_for(handle.result(), 60) == "SUCCESS"
        assert not stack.processes["api"].is_running

        await stack.start("api")
        await observer.all_is_well()


async def test_interlock_dev_brings_its_temporal_back(tmp_path: Path) -> None:
    async with Dev(tmp_path) as stack, observing(stack) as observer:
        waiting = await observer.run("approved")
        observer.gates.close("call")
        await observer.run(gate="call")
        await observer.gates.entered("call", 1)

        server = stack.server()
        server.kill()
        await observer.approve(waiting)
        await observer.run()
        observer.gates.open("call")

        await observer.all_is_well()
        assert stack.server().pid != server.pid
