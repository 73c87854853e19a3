"""Backends are invoked within the workflow's task; what takes longer goes on, and is never begun a second time."""

import asyncio
import dataclasses
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment

import activities.invocation
from activities.invocation import InvocationActivity
from activities.services import Services
from domain.jq import Evaluator
from domain.runs import RunStatus
from store import runs
from store.database import Database
from tests.support.backend import Call
from tests.support.product import Product, running
from workflows.calls import INVOKE_TIME_LIMIT, Begun, Progress

Json = dict[str, Any]


@pytest.fixture
async def product(clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str) -> AsyncIterator[Product]:
    """The product as one process, the only one."""
    async with running(clock, evaluate, sqlite_url, worker="alone") as product:
        yield product


class Gate:
    """Holds what the backend answers."""

    def __init__(self, product: Product, answer: Response | None = None) -> None:
        self.arrived, self.opened = asyncio.Event(), asyncio.Event()
        self._answer = answer or JSONResponse({})
        product.backend.answer = self._held

    async def _held(self, call: Call) -> Response:
        self.arrived.set()
        await self.opened.wait()
        return self._answer


def alone(given: Services) -> InvocationActivity:
    """The worker of a process that has just started, and is the only one."""
    return InvocationActivity(given, alone=True)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks wait for a twentieth of a second."""
    monkeypatch.setattr(activities.invocation, "_AT_ONCE_SECONDS", 0.05)


async def begin(worker: InvocationActivity, run: Json) -> Progress:
    """What the task of the run's workflow gets."""
    return await ActivityEnvironment().run(worker.begin_invocation, run["id"], datetime.now(UTC))


async def go_on(worker: InvocationActivity, run: Json, begun: Begun | None, *, attempt: int = 1) -> Progress:
    """What Temporal's attempt of that number ends with."""
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, attempt=attempt)
    return await environment.run(worker.invoke_backend, run["id"], begun)


async def asked_for(product: Product, **interlock: Any) -> Json:
    more: Json = {"interlock": interlock} if interlock else {}
    await product.action(invocationMethod=product.webhook(), **more)
    return await product.start()


async def kinds(product: Product, run: Json) -> list[str]:
    answer = await product.api.get(f"/v1/actions/runs/{run['id']}/timeline")
    return [one["kind"] for one in answer.json()["timeline"] if one["kind"].startswith("ATTEMPT")]


async def test_a_backend_that_answers_is_invoked_within_the_task(product: Product) -> None:
    run = await asked_for(product)
    assert (await product.until(run["id"]))["status"] == "SUCCESS"
    handle = product.temporal.get_workflow_handle(run["id"])
    assert await handle.result() == "SUCCESS"
    history = await handle.fetch_history()
    assert not any(event.HasField("activity_task_scheduled_event_attributes") for event in history.events)
    assert (len(product.backend.calls), await kinds(product, run)) == (1, ["ATTEMPT"])


async def test_workflow_code_is_not_handed_to_threads(product: Product) -> None:
    before = set(threading.enumerate())
    run = await asked_for(product)
    assert await product.temporal.get_workflow_handle(run["id"]).result() == "SUCCESS"
    made = set(threading.enumerate()) - before
    assert not [thread for thread in made if thread.name.startswith("temporal_workflow_")]


async def test_a_backend_that_takes_longer_is_waited_for_by_an_activity(product: Product) -> None:
    gate = Gate(product)
    run = await asked_for(product)
    await gate.arrived.wait()
    handle = product.temporal.get_workflow_handle(run["id"])
    async with asyncio.timeout(20):
        while not (await handle.describe()).raw_description.pending_activities:
            await asyncio.sleep(0.05)
    gate.opened.set()
    assert (await product.until(run["id"]))["status"] == "SUCCESS"
    assert await handle.result() == "SUCCESS"
    assert (len(product.backend.calls), await kinds(product, run)) == (1, ["ATTEMPT"])


@pytest.mark.parametrize(("limit", "at_once"), [("110", True), ("111", False)])
async def test_a_backend_that_may_take_longer_than_a_task_is_not_invoked_in_it(
    clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str, limit: str, at_once: bool
) -> None:
    async with running(clock, evaluate, sqlite_url, worker="alone", webhook_timeout=limit) as product:
        run = await asked_for(product)
        assert (await product.until(run["id"]))["status"] == "SUCCESS"
        handle = product.temporal.get_workflow_handle(run["id"])
        assert await handle.result() == "SUCCESS"
        events = (await handle.fetch_history()).events
    assert at_once is not any(event.HasField("activity_task_scheduled_event_attributes") for event in events)


async def test_a_run_that_takes_longer_can_be_cancelled_meanwhile(product: Product) -> None:
    gate = Gate(product)
    run = await asked_for(product)
    await gate.arrived.wait()
    handle = product.temporal.get_workflow_handle(run["id"])
    await handle.signal("cancel", {"by": "ada@example.com", "reason": "wrong cluster"})
    async with asyncio.timeout(20):
        while (await product.get(run["id"]))["status"] != "FAILURE":
            await asyncio.sleep(0.05)
    assert not gate.opened.is_set()
    gate.opened.set()
    await handle.result()


@pytest.mark.usefixtures("impatient")
async def test_who_goes_on_joins_what_was_begun(idle: Product, given: Services) -> None:
    gate, worker = Gate(idle), alone(given)
    run = await asked_for(idle)
    progress = await begin(worker, run)
    assert (progress.status, progress.begun is None) == (RunStatus.IN_PROGRESS, False)
    going_on = asyncio.create_task(go_on(worker, run, progress.begun))
    await asyncio.sleep(0.1)
    gate.opened.set()
    ended = await going_on
    assert (ended.status, len(idle.backend.calls)) == (RunStatus.SUCCESS, 1)


@pytest.mark.usefixtures("impatient")
async def test_who_goes_on_late_finds_what_came_of_it(idle: Product, given: Services) -> None:
    gate, worker = Gate(idle), alone(given)
    run = await asked_for(idle)
    progress = await begin(worker, run)
    gate.opened.set()
    await worker.finish()
    ended = await go_on(worker, run, progress.begun)
    assert (ended.status, len(idle.backend.calls)) == (RunStatus.SUCCESS, 1)


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("takes_long", [True, False])
async def test_what_has_failed_is_tried_again_in_time_and_as_often_as_the_action_says(
    idle: Product, given: Services, monkeypatch: pytest.MonkeyPatch, same: bool, takes_long: bool
) -> None:
    worker, gate = alone(given), Gate(idle, JSONResponse({}, status_code=503))
    run = await asked_for(idle, backend={"retry": {"statuses": [503], "attempts": 2, "wait": "PT1M"}})
    if takes_long:
        monkeypatch.setattr(activities.invocation, "_AT_ONCE_SECONDS", 0.05)
        assert (await begin(worker, run)).begun
    gate.opened.set()
    if takes_long:
        await worker.finish()
    next_one = worker if same else alone(given)
    for _ in range(2):  # the task is done again, as Temporal has not heard of it
        begun = (await begin(next_one, run)).begun
        assert begun
        assert len(idle.backend.calls) == 1

    with pytest.raises(ApplicationError, match=r"^Failed to invoke the webhook with status code: 503") as first:
        await go_on(next_one, run, begun)
    assert first.value.next_retry_delay
    assert timedelta(seconds=50) < first.value.next_retry_delay <= timedelta(minutes=1)
    assert len(idle.backend.calls) == 1

    second = await go_on(next_one, run, begun, attempt=2)
    assert (second.status, len(idle.backend.calls)) == (RunStatus.FAILURE, 2), "two attempts in all"
    assert await kinds(idle, run) == ["ATTEMPT", "ATTEMPT"]


async def test_the_next_process_need_not_wait_for_one_that_died(idle: Product, given: Services) -> None:
    run = await asked_for(idle)
    died = Begun(by="a process that died", until=datetime.now(UTC) + INVOKE_TIME_LIMIT)
    ended = await go_on(alone(given), run, died, attempt=2)
    assert ended.status is RunStatus.SUCCESS
    assert await kinds(idle, run) == ["ATTEMPT_LOST", "ATTEMPT"]


async def test_a_worker_that_is_not_alone_begins_nothing_at_once(idle: Product, given: Services) -> None:
    run = await asked_for(idle)
    worker = InvocationActivity(given)
    begun = (await begin(worker, run)).begun
    assert begun
    assert not idle.backend.calls
    ended = await go_on(alone(given), run, begun)
    assert (ended.status, len(idle.backend.calls)) == (RunStatus.SUCCESS, 1)


@pytest.mark.usefixtures("impatient")
async def test_a_worker_that_is_not_alone_waits_for_what_another_has_begun(
    idle: Product, given: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activities.invocation, "_LOOK_SECONDS", 0.02)
    gate = Gate(idle)
    run = await asked_for(idle)
    begun = (await begin(alone(given), run)).begun
    assert begun
    attempts = [asyncio.create_task(go_on(InvocationActivity(given), run, begun, attempt=one)) for one in (1, 2)]
    await asyncio.sleep(0.2)
    assert not any(one.done() for one in attempts)
    gate.opened.set()
    for ended in await asyncio.gather(*attempts):
        assert ended.status is RunStatus.SUCCESS
    assert len(idle.backend.calls) == 1


async def test_a_worker_that_is_not_alone_sends_it_once_the_other_must_have_died(
    idle: Product, given: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activities.invocation, "_LOOK_SECONDS", 0.02)
    run = await asked_for(idle)
    died = Begun(by="a worker that died", until=datetime.now(UTC) + timedelta(seconds=0.3))
    ended = await go_on(InvocationActivity(given), run, died)
    assert datetime.now(UTC) >= died.until
    assert (ended.status, len(idle.backend.calls)) == (RunStatus.SUCCESS, 1)


@pytest.mark.usefixtures("impatient")
async def test_a_task_that_is_done_again_joins_the_first_or_finds_what_it_did(idle: Product, given: Services) -> None:
    gate, worker = Gate(idle), alone(given)
    run = await asked_for(idle)
    assert (await begin(worker, run)).begun
    assert (await begin(worker, run)).begun
    gate.opened.set()
    await worker.finish()
    assert (await begin(worker, run)).status is RunStatus.SUCCESS
    assert (await begin(alone(given), run)).status is RunStatus.SUCCESS
    assert len(idle.backend.calls) == 1


@pytest.mark.usefixtures("impatient")
async def test_only_so_many_are_under_way(idle: Product, given: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activities.invocation, "_MOST_UNDER_WAY", 2)
    gate, worker = Gate(idle), alone(given)
    await asked_for(idle)
    some = [await idle.start() for _ in range(4)]
    for run in some:
        assert (await begin(worker, run)).begun
    assert len(idle.backend.calls) == 2
    gate.opened.set()
    await worker.finish()
    ended = await go_on(worker, some[-1], (await begin(worker, some[-1])).begun)
    assert ended.status is RunStatus.SUCCESS


@pytest.mark.usefixtures("impatient")
async def test_a_worker_ends_when_what_it_has_begun_is_recorded(
    clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str
) -> None:
    async with running(clock, evaluate, sqlite_url, worker="alone") as product:
        gate = Gate(product)
        run = await asked_for(product)
        await gate.arrived.wait()
        asyncio.get_running_loop().call_later(1, gate.opened.set)
    async with Database(sqlite_url) as database, database.read() as session:
        assert (await runs.get(session, run["id"])).status is RunStatus.SUCCESS
