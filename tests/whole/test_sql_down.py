"""SQL is gone for a while: every request says so, nothing is half-done, and nobody has to be started again."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.outages import MortalPostgres
from tests.support.outcome import ANSWERED, Observer, observing
from tests.support.processes import Parts

pytestmark = [pytest.mark.whole, pytest.mark.timeout(180)]


@pytest.fixture
def postgres() -> Iterator[MortalPostgres]:
    """A PostgreSQL of this test alone."""
    server = MortalPostgres()
    yield server
    server.end()


def is_clear(answer: httpx.Response) -> bool:
    """Whether the answer says that something is unavailable, in the shape of every error."""
    body = answer.json()
    return (
        answer.status_code == 503
        and set(body) == {"ok", "error", "message"}
        and body["ok"] is False
        and body["error"] == "service_unavailable"
        and "database" in body["message"]
    )


async def ask(observer: Observer, until: asyncio.Event) -> list[str]:
    """Start runs and read until told to stop; what was neither done nor clearly refused."""
    strange = []
    while not until.is_set():
        created = await observer.call("POST", "/v1/actions/answered/runs", json={"properties": {"gate": ""}})
        if created.status_code == 202:
            observer.promised[created.json()["run"]["id"]] = ANSWERED
        elif not is_clear(created):
            strange.append(f"POST {created.status_code} {created.text}")
        read = await observer.call("GET", "/v1/actions/runs")
        if read.status_code != 200 and not is_clear(read):
            strange.append(f"GET {read.status_code} {read.text}")
        await asyncio.sleep(0.02)
    return strange


@pytest.mark.parametrize("end", ["kill", "stop"])
async def test_without_sql_every_answer_is_a_503_and_with_it_all_goes_on(
    end: str, postgres: MortalPostgres, tmp_path: Path
) -> None:
    async with Parts(tmp_path, postgres.url) as stack, observing(stack) as observer:
        waiting, reported = await observer.run("approved"), await observer.run("reported")
        await observer.delivered(reported)
        observer.gates.close("call")
        await observer.run(gate="call")
        await observer.gates.entered("call", 1)

        await (postgres.kill() if end == "kill" else postgres.stop())
        for method, path, body in (
            ("POST", "/v1/actions/answered/runs", {"properties": {}}),
            ("PATCH", f"/v1/actions/runs/{waiting}/approval", {"status": "APPROVE"}),
            ("PATCH", f"/v1/actions/runs/{reported}", {"status": "SUCCESS"}),
            ("POST", f"/v1/actions/runs/{reported}/logs", {"message": "done", "terminationStatus": "SUCCESS"}),
            ("GET", f"/v1/actions/runs/{waiting}", None),
        ):
            answer = await observer.call(method, path, json=body)
            assert is_clear(answer), f"{method} {path}: {answer.status_code} {answer.text}"
        observer.gates.open("call")  # its answer cannot be recorded now, and must not be lost
        await observer.gates.answered("call", 1)

        await postgres.start()
        before = await observer.statuses()
        assert (before[waiting], before[reported]) == ("WAITING_FOR_APPROVAL", "IN_PROGRESS")
        await observer.approve(waiting)
        await observer.report(reported)
        await observer.run()
        await observer.all_is_well()
        assert all(process.is_running for process in stack.processes.values())


async def test_requests_that_meet_the_outage_and_the_return_of_sql_are_done_or_refused(
    postgres: MortalPostgres, tmp_path: Path
) -> None:
    async with Parts(tmp_path, postgres.url) as stack, observing(stack) as observer:
        over = asyncio.Event()
        asking = [asyncio.create_task(ask(observer, over)) for _ in range(3)]
        for end in (postgres.kill, postgres.stop, postgres.kill):
            known = len(observer.promised)
            while len(observer.promised) < known + 3:
                await asyncio.sleep(0.01)
            await end()
            await asyncio.sleep(0.5)
            await postgres.start()
        over.set()
        strange = {what for one in asking for what in await one}
        dead = {process.name for process in stack.processes.values() if not process.is_running}
        assert (strange, dead) == (set(), set())
        await observer.ended()
        # An answer can be lost together with the connection in which its run was committed: that one is extra.
        extra = set(await observer.statuses()) - set(observer.promised)
        assert len(extra) <= 9, extra
        observer.promised |= dict.fromkeys(extra, ANSWERED)
        await observer.all_is_well()
