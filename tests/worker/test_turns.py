"""Runs that wait for their turn, end to end: budgets and circuits with a real worker and a real backend."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment

from activities.invocation import InvocationActivity
from activities.turns import Turns
from backends import open_transport
from domain.budgets import Wanted
from domain.jq import Evaluator
from runtime.clock import now
from store import runs
from store.runs import Found
from tests.support.backend import Call
from tests.support.listening import serving
from tests.support.product import Product, running
from worker.main import services
from worker.turns import TurnCalls
from workflows.calls import Progress

Json = dict[str, Any]


@pytest.fixture
async def product(server: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str) -> AsyncIterator[Product]:
    """The product with who calls runs whose turn it is."""
    async with running(server, evaluate, sqlite_url) as product:
        calls = asyncio.create_task(TurnCalls(product.database, product.driver, now).run())
        yield product
        calls.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await calls


class Gate:
    """A backend that answers when it is told to, and knows how many it has at once."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.status = 200
        self.now = self.most = 0

    async def __call__(self, call: Call) -> Response:
        """Answer, once the gate is open."""
        self.now += 1
        self.most = max(self.most, self.now)
        await self.open.wait()
        self.now -= 1
        return JSONResponse({"done": True}, status_code=self.status)


def backend_rules(**rules: Any) -> Json:
    """The section of an action."""
    return {"backend": rules}


async def queue(product: Product, run_id: str, **how: Any) -> Json:
    answer = await product.api.get(f"/v1/actions/runs/{run_id}/queue", **how)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()["queue"]
    return found


async def waits(product: Product, run_id: str) -> Json:
    """What it waits for, once it waits."""
    async with asyncio.timeout(10):
        while not (found := await queue(product, run_id))["waiting"]:
            await asyncio.sleep(0.02)
    return found


async def test_runs_beyond_the_budget_wait_and_say_for_whom(product: Product) -> None:
    await product.action(interlock=backend_rules(budgets=[{"per": "ACTION", "concurrent": 1}]))
    product.backend.answer = gate = Gate()
    first = await product.start()
    await product.backend.called()
    second = await product.start()
    await waits(product, second["id"])
    third = await product.start()
    found = await waits(product, third["id"])
    assert found["since"]
    assert found["circuit"] is None
    assert found["keys"] == [
        {
            "per": "ACTION", "key": "deploy", "concurrent": 1, "starts": None, "within": None,
            "position": 2, "ahead": 1, "holders": [first["id"]],
        }
    ]  # fmt: skip
    held = await queue(product, first["id"])
    assert not held["waiting"]
    assert (held["keys"][0]["position"], held["keys"][0]["holders"]) == (None, [first["id"]])

    shown = await product.get(third["id"])
    assert shown["status"] == "IN_PROGRESS"
    assert shown["statusLabel"] == "Waits for its turn: 2nd for action deploy"
    listed = (await product.api.get("/v1/actions/runs?active=true")).json()["runs"]
    assert {run["id"]: run["statusLabel"] for run in listed} == {
        first["id"]: None,
        second["id"]: "Waits for its turn: 1st for action deploy",
        third["id"]: "Waits for its turn: 2nd for action deploy",
    }
    gate.open.set()
    for run in (first, second, third):
        assert (await product.until(run["id"]))["status"] == "SUCCESS"
    assert gate.most == 1
    assert [call.headers["idempotency-key"] for call in product.backend.calls] == [
        first["id"], second["id"], third["id"],
    ]  # fmt: skip
    logs = await product.logs(third["id"])
    assert logs[0] == "Waits for its turn: 2nd for action deploy"
    assert logs[1].startswith("Its turn has come, after 0:00:")
    assert await product.logs(first["id"]) == []
    assert await queue(product, third["id"]) == {"waiting": False, "since": None, "keys": [], "circuit": None}


async def test_whoever_may_not_see_a_holder_is_not_told_of_it(product: Product) -> None:
    budgets = [{"per": "BACKEND", "concurrent": 1}]
    await product.action("hidden", interlock=backend_rules(budgets=budgets), allowAnyoneToViewRuns=False)
    await product.action("shown", interlock=backend_rules(budgets=budgets))
    ada = await product.person("ada@example.com")
    product.backend.answer = gate = Gate()
    holder = await product.start("hidden")
    await product.backend.called()
    waiting = await product.start("shown")
    found = await waits(product, waiting["id"])
    assert found["keys"][0]["holders"] == [holder["id"]]
    assert found["keys"][0]["key"] == product.backend.url
    seen = await queue(product, waiting["id"], headers=ada)
    assert seen == {**found, "keys": [{**found["keys"][0], "holders": []}]}
    answer = await product.api.get(f"/v1/actions/runs/{holder['id']}/queue", headers=ada)
    assert answer.status_code == 404
    gate.open.set()
    await product.until(waiting["id"])


@pytest.mark.parametrize("how", ["withdrawn", "signal"])
async def test_a_run_that_waits_can_be_stopped_and_those_behind_it_go_on(product: Product, how: str) -> None:
    await product.action(interlock=backend_rules(budgets=[{"per": "ACTION", "concurrent": 1}]))
    product.backend.answer = gate = Gate()
    await product.start()
    await product.backend.called()
    second = await product.start()
    await waits(product, second["id"])
    third = await product.start()
    assert (await waits(product, third["id"]))["keys"][0]["position"] == 2
    if how == "signal":
        await product.temporal.get_workflow_handle(second["id"]).signal("cancel", {"by": "ada@example.com"})
    else:
        answer = await product.api.patch(f"/v1/actions/runs/{second['id']}", json={"status": "SUCCESS"})
        assert answer.status_code == 422, "its backend was not called yet"
        answer = await product.api.patch(f"/v1/actions/runs/{second['id']}", json={"status": "FAILURE"})
        assert answer.status_code == 200, answer.text
    assert (await product.until(second["id"]))["status"] == "FAILURE"
    assert (await queue(product, third["id"]))["keys"][0]["position"] == 1
    gate.open.set()
    assert (await product.until(third["id"]))["status"] == "SUCCESS"
    assert len(product.backend.calls) == 2


async def test_starts_within_a_time(product: Product) -> None:
    await product.action(interlock=backend_rules(budgets=[{"per": "ACTION", "starts": 2, "within": "PT2S"}]))
    began = asyncio.get_running_loop().time()
    started = [await product.start() for _ in range(5)]
    for run in started:
        assert (await product.until(run["id"]))["status"] == "SUCCESS"
    assert asyncio.get_running_loop().time() - began >= 4, "two, two more, and one"


async def test_where_a_secret_leads_is_not_told(product: Product) -> None:
    secret = {"secretName": "WHERE", "secretValue": product.backend.url}
    assert (await product.api.post("/v1/organization/secrets", json=secret)).is_success
    await product.action(
        invocationMethod=product.webhook(url="{{ .secrets.WHERE }}/hook"),
        interlock=backend_rules(budgets=[{"per": "BACKEND", "concurrent": 1}]),
    )
    product.backend.answer = gate = Gate()
    await product.start()
    await product.backend.called()
    second = await product.start()
    found = await waits(product, second["id"])
    key = found["keys"][0]["key"]
    assert key.startswith("WEBHOOK ")
    assert product.backend.url not in str(found) + str(await product.get(second["id"]))
    gate.open.set()
    assert (await product.until(second["id"]))["status"] == "SUCCESS"


async def test_a_backend_that_fails_is_left_alone_until_one_run_has_tried_it(product: Product) -> None:
    breaker = {"failures": 2, "open": "PT2S"}
    await product.action(interlock=backend_rules(circuitBreaker=breaker, retry={"attempts": 1}))
    product.backend.answer = gate = Gate()
    gate.open.set()
    gate.status = 503
    for _ in range(2):
        assert (await product.until((await product.start())["id"]))["status"] == "FAILURE"
    gate.status = 200
    gate.open.clear()
    waiting = [await product.start() for _ in range(5)]
    for run in waiting:
        found = await waits(product, run["id"])
        assert found["keys"] == []
        assert found["circuit"]["failures"] == 2
        assert found["circuit"]["openUntil"]
        label = (await product.get(run["id"]))["statusLabel"]
        assert label == f"Waits until {product.backend.url} answers again"
    assert len(product.backend.calls) == 2
    await product.backend.called(3)
    await asyncio.sleep(0.5)
    assert len(product.backend.calls) == 3, "one tries it"
    gate.open.set()
    for run in waiting:
        assert (await product.until(run["id"]))["status"] == "SUCCESS"
    calls = Counter(call.headers["idempotency-key"] for call in product.backend.calls)
    assert [calls[run["id"]] for run in waiting] == [1] * 5


async def test_what_cannot_be_reached_waits_instead_of_failing(product: Product, unused_tcp_port: int) -> None:
    """Nobody listens; then somebody does."""
    breaker = {"failures": 2, "open": "PT1S"}
    await product.action(
        invocationMethod=product.webhook(url=f"http://127.0.0.1:{unused_tcp_port}/hook"),
        interlock=backend_rules(circuitBreaker=breaker, retry={"attempts": 3, "wait": "PT0.1S"}),
    )
    started = [await product.start() for _ in range(3)]
    for run in started:
        await waits(product, run["id"])
    await asyncio.sleep(3.5)
    assert (await queue(product, started[0]["id"]))["circuit"]["failures"] >= 4
    for run in started:  # one of them has tried, again and again; that would fill tables if it was dead for weeks
        assert len(await product.logs(run["id"])) == 1
        timeline = (await product.api.get(f"/v1/actions/runs/{run['id']}/timeline")).json()["timeline"]
        assert sum(entry["kind"] == "ATTEMPT" for entry in timeline) <= 2

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        await writer.drain()

    async with serving(answer, port=unused_tcp_port):
        for run in started:
            assert (await product.until(run["id"]))["status"] == "SUCCESS"


async def test_a_run_that_ends_while_it_asks_for_its_turn_is_not_sent(
    clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Turns.take
    ending: list[str] = []

    async def late(self: Turns, found: Found, wanted: Wanted) -> Progress | None:
        if found.run.id in ending:
            async with given.database.write() as session:
                await runs.change(
                    session, found.run.id, lambda one: one.cancelled("enough", at=now(), by="x"), origin="API"
                )
        return await ask(self, found, wanted)

    monkeypatch.setattr(Turns, "take", late)
    async with running(clock, evaluate, sqlite_url, worker=False) as product, open_transport() as http:
        given = services(product.settings, product.database, evaluate, product.organization, http)
        await product.action(interlock=backend_rules(budgets=[{"per": "ACTION", "concurrent": 1}]))
        ended, other = await product.start(), await product.start()
        ending.append(ended["id"])
        for run, status in ((ended, "FAILURE"), (other, "SUCCESS")):
            progress = await ActivityEnvironment().run(InvocationActivity(given).invoke_backend, run["id"])
            assert progress.status == status
        assert [call.headers["idempotency-key"] for call in product.backend.calls] == [other["id"]]


async def test_what_a_wrong_answer_says_about_a_backend(product: Product) -> None:
    """A backend that refuses answers; one that has too much to do does not."""
    await product.action(interlock=backend_rules(circuitBreaker={"failures": 2, "open": "PT1H"}))
    product.backend.answer = gate = Gate()
    gate.open.set()
    for gate.status in (500, 404, 429, 200, 503, 502):
        await product.until((await product.start())["id"])
    waiting = await product.start()
    assert (await waits(product, waiting["id"]))["circuit"]["failures"] == 2
