"""Deliveries are tried again as their action says, and each attempt is in the run's timeline."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment

from activities.invocation import InvocationActivity
from backends import open_transport
from domain.jq import Evaluator
from domain.runs import RunStatus
from tests.support.backend import Call
from tests.support.listening import serving
from tests.support.product import Product
from worker.main import services

Json = dict[str, Any]
NOBODY = "http://127.0.0.1:1/"


def busy(status: int = 503, **headers: str) -> Response:
    return JSONResponse({"busy": True}, status_code=status, headers=headers)


def says(product: Product, *answers: Response) -> None:
    """What the backend answers, one after the other; the last one for ever."""
    left = list(answers)

    async def answer(call: Call) -> Response:
        return left.pop(0) if len(left) > 1 else left[0]

    product.backend.answer = answer


async def tried(
    product: Product, retry: Json | None, *, clock: WorkflowEnvironment | None = None, **method: Any
) -> Json:
    """A run of an action with this policy, once it has ended; with the clock, time between attempts is skipped."""
    waited = 0
    interlock: Json = {"interlock": {"backend": {"retry": retry}}} if retry is not None else {}
    await product.action(invocationMethod=product.webhook(**method), **interlock)
    run = await product.start()
    async with asyncio.timeout(20):
        while (now := await product.get(run["id"]))["status"] == "IN_PROGRESS":
            await asyncio.sleep(0.02)
            made = await attempts(product, run) if clock else []
            if clock and made and len(made) > waited:  # one has just ended: nothing is under way
                waited = len(made)
                await clock.sleep(pause(made[-1]) + 1)
    return now


async def timeline(product: Product, run: Json, query: str = "") -> list[Json]:
    answer = await product.api.get(f"/v1/actions/runs/{run['id']}/timeline{query}")
    assert answer.status_code == 200, answer.text
    entries: list[Json] = answer.json()["timeline"]
    return entries


async def attempts(product: Product, run: Json) -> list[Json]:
    return [entry["attempt"] for entry in await timeline(product, run) if entry["kind"] == "ATTEMPT"]


def statuses(made: Iterable[Json]) -> list[int | None]:
    return [exchange.get("answer", {}).get("status") for attempt in made for exchange in attempt["exchanges"]]


async def test_an_answer_that_the_policy_names_is_tried_again(product: Product) -> None:
    says(product, busy(), JSONResponse({"done": True}))
    run = await tried(product, {"statuses": [503]})
    assert (run["status"], run["response"]) == ("SUCCESS", {"done": True})
    first, second = await attempts(product, run)
    assert [one["outcome"] for one in (first, second)] == ["REFUSED", "ACCEPTED"]
    assert statuses([first, second]) == [503, 200]
    assert (first["said"][:22], "againAt" in first, "againAt" in second) == ("Failed to invoke the w", True, False)
    keys = {call.headers["idempotency-key"] for call in product.backend.calls}
    assert (keys, len(product.backend.calls)) == ({run["id"]}, 2)


@pytest.mark.parametrize("retry", [None, {}, {"attempts": 5, "statuses": [500, 502, 429]}, {"attempts": 1}])
async def test_other_answers_are_final(product: Product, retry: Json | None) -> None:
    says(product, busy())
    run = await tried(product, retry)
    assert (run["status"], run["response"]) == ("FAILURE", {"busy": True})
    assert statuses(await attempts(product, run)) == [503]


@pytest.mark.parametrize("synchronized", [True, False])
async def test_the_last_answer_ends_the_run_as_if_it_were_the_only_one(product: Product, synchronized: bool) -> None:
    says(product, busy(), busy(), busy(500), JSONResponse({}))
    run = await tried(product, {"attempts": 3, "statuses": [500, 503]}, synchronized=synchronized)
    assert run["status"] == "FAILURE"
    assert run["summary"] == 'Failed to invoke the webhook with status code: 500. Response: {"busy":true}'
    assert run.get("response") == ({"busy": True} if synchronized else None)
    assert statuses(await attempts(product, run)) == [503, 503, 500]


async def test_pauses_double_up_to_a_limit(product: Product, clock: WorkflowEnvironment) -> None:
    says(product, busy())
    policy = {"attempts": 5, "wait": "PT10S", "longestWait": "PT35S", "statuses": [503]}
    made = await attempts(product, await tried(product, policy, clock=clock))
    assert [round(pause(one)) for one in made[:-1]] == [10, 20, 35, 35]
    assert "againAt" not in made[-1]


def pause(attempt: Json) -> float:
    return (datetime.fromisoformat(attempt["againAt"]) - datetime.fromisoformat(attempt["endedAt"])).total_seconds()


@pytest.mark.parametrize(("asked", "waited"), [("120", 120), ("0", 1), ("999999", 3600), ("soon", 1)])
async def test_a_retry_after_is_waited_for_within_reason(
    product: Product, clock: WorkflowEnvironment, asked: str, waited: int
) -> None:
    says(product, busy(429, **{"Retry-After": asked}), JSONResponse({}))
    run = await tried(product, {"statuses": [429]}, clock=clock)
    first, _ = await attempts(product, run)
    assert run["status"] == "SUCCESS"
    assert round(pause(first)) == waited
    assert first["exchanges"][0]["answer"]["headers"]["retry-after"] == asked


async def test_what_never_arrived_is_tried_as_often_as_the_policy_says(product: Product) -> None:
    run = await tried(product, {"attempts": 3}, url=NOBODY)
    assert run["summary"] == "Failed to invoke the webhook with error: Connection refused"
    made = await attempts(product, run)
    assert [one["outcome"] for one in made] == ["UNREACHABLE"] * 3
    assert [one["exchanges"][0]["fault"] for one in made] == ["Connection refused"] * 3


async def test_an_answer_that_was_cut_is_not_tried_again(product: Product) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\nbusy")
        await writer.drain()

    async with serving(cut) as port:
        run = await tried(product, {"statuses": [503]}, url=f"http://127.0.0.1:{port}/")
    (made,) = await attempts(product, run)
    assert run["status"] == "FAILURE"
    assert "cut before the answer was complete" in made["exchanges"][0]["fault"]


@asynccontextmanager
async def worker(idle: Product, evaluate: Evaluator) -> AsyncIterator[InvocationActivity]:
    """A worker that has just started and knows nothing."""
    async with open_transport() as http:
        yield InvocationActivity(services(idle.settings, idle.database, evaluate, idle.organization, http))


async def attempt(given: InvocationActivity, run: Json, number: int) -> Any:
    """What Temporal's attempt of that number ends with."""
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, attempt=number)
    try:
        return await environment.run(given.invoke_backend, run["id"])
    except ApplicationError as error:
        return error


async def test_a_worker_that_starts_again_goes_on_counting(idle: Product, evaluate: Evaluator) -> None:
    says(idle, busy())
    policy = {"attempts": 3, "statuses": [503]}
    await idle.action(invocationMethod=idle.webhook(), interlock={"backend": {"retry": policy}})
    run = await idle.start()
    for number in (1, 2):
        async with worker(idle, evaluate) as given:
            error = await attempt(given, run, number)
            assert isinstance(error, ApplicationError)
            assert error.next_retry_delay
            assert error.next_retry_delay.total_seconds() == number
    async with worker(idle, evaluate) as given:
        assert (await attempt(given, run, 3)).status is RunStatus.FAILURE
    assert len(idle.backend.calls) == 3


async def test_an_attempt_whose_worker_died_is_a_gap_that_the_timeline_shows(
    idle: Product, evaluate: Evaluator
) -> None:
    says(idle, busy(), JSONResponse({}))
    await idle.action(invocationMethod=idle.webhook(), interlock={"backend": {"retry": {"statuses": [503]}}})
    run = await idle.start()
    async with worker(idle, evaluate) as given:
        await attempt(given, run, 2)
        await attempt(given, run, 4)
    shown = await timeline(idle, run)
    tries = [(one["kind"], one["number"]) for one in shown if one["kind"].startswith("ATTEMPT")]
    assert tries == [("ATTEMPT_LOST", 1), ("ATTEMPT", 2), ("ATTEMPT_LOST", 3), ("ATTEMPT", 4)]


async def test_attempts_that_temporal_asked_for_twice_are_one(idle: Product, evaluate: Evaluator) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(call: Call) -> Response:
        arrived.set()
        await go_on.wait()
        return busy() if len(idle.backend.calls) == 1 else JSONResponse({})

    idle.backend.answer = slowly
    await idle.action(invocationMethod=idle.webhook(), interlock={"backend": {"retry": {"statuses": [503]}}})
    run = await idle.start()
    async with worker(idle, evaluate) as given:
        first = asyncio.create_task(attempt(given, run, 1))
        await arrived.wait()
        joins = asyncio.create_task(attempt(given, run, 2))
        await asyncio.sleep(0.05)
        go_on.set()
        await asyncio.gather(first, joins)
        assert (await attempt(given, run, 3)).status is RunStatus.SUCCESS
    kinds = [one["kind"] for one in await timeline(idle, run) if one["kind"].startswith("ATTEMPT")]
    assert (kinds, len(idle.backend.calls)) == (["ATTEMPT", "ATTEMPT"], 2)
