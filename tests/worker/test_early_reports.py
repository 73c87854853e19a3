"""A report that arrives before the dispatch has answered is kept, whichever backend has still to answer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

import backends
from backends.base import Delivery, Receipt, Resources
from domain.jq import Evaluator
from tests.support.github import TOKEN, FakeGitHub, github
from tests.support.kafka import Broker
from tests.support.product import Product, running

Json = dict[str, Any]
METHODS: dict[str, Json] = {
    "GITHUB": {"type": "GITHUB", "org": "acme", "repo": "infra", "workflow": "deploy.yml"},
    "KAFKA": {"type": "KAFKA", "payload": {}},
    "WEBHOOK": {"type": "WEBHOOK", "url": "{url}/hook", "body": {}},
    "agent": {"type": "WEBHOOK", "url": "{url}/hook", "agent": True, "body": {}},
    "INTEGRATION_ACTION": {
        "type": "INTEGRATION_ACTION",
        "installationId": "mine",
        "integrationActionType": "x",
        "integrationActionExecutionProperties": {},
    },
}
EVERY = pytest.mark.parametrize("kind", METHODS)


@dataclass
class Held:
    """Dispatches are done, and their answer is held back until somebody says so."""

    done: asyncio.Event = field(default_factory=asyncio.Event)
    goes_on: asyncio.Event = field(default_factory=asyncio.Event)


@pytest.fixture
async def hub() -> AsyncIterator[FakeGitHub]:
    async with github() as hub:
        yield hub


@pytest.fixture
async def product(
    clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str, hub: FakeGitHub, tmp_path: Path, kind: str
) -> AsyncIterator[Product]:
    settings: Json = {"github_api_url": hub.url, "github_token": TOKEN}
    if kind != "KAFKA":
        async with running(clock, evaluate, sqlite_url, **settings) as product:
            yield product
        return
    async with Broker(tmp_path) as broker:
        settings |= broker.settings
        async with running(clock, evaluate, sqlite_url, **settings) as product:
            yield product


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch, kind: str) -> Held:
    """The backend of this kind does its work as ever."""
    held, method = Held(), backends.METHODS[METHODS[kind]["type"]]
    invoke: Callable[[Any, Delivery, Resources], Awaitable[Receipt]] = method.invoke

    async def slowly(self: Any, delivery: Delivery, using: Resources) -> Receipt:
        receipt = await invoke(self, delivery, using)
        held.done.set()
        await held.goes_on.wait()
        return receipt

    monkeypatch.setattr(method, "invoke", slowly)
    return held


async def dispatched(product: Product, held: Held, kind: str) -> str:
    """A run whose dispatch has been done, and is not known to have been."""
    method = dict(METHODS[kind])
    if url := method.get("url"):
        method["url"] = url.format(url=product.backend.url)
    await product.action(invocationMethod=method)
    run_id: str = (await product.start())["id"]
    await asyncio.wait_for(held.done.wait(), 20)
    return run_id


async def over(product: Product, run_id: str) -> str:
    """How the workflow of the run has ended."""
    ended: str = await asyncio.wait_for(product.temporal.get_workflow_handle(run_id).result(), 30)
    return ended


async def answered(product: Product, run_id: str) -> None:
    """Wait until the answer is recorded."""
    async with asyncio.timeout(20):
        while True:
            history = await product.temporal.get_workflow_handle(run_id).fetch_history()
            if any(event.HasField("activity_task_completed_event_attributes") for event in history.events):
                return
            await asyncio.sleep(0.02)


SAID = {"summary": "deployed", "link": ["https://ci.example.test/1"], "externalRunId": "mine", "statusLabel": "done"}


@EVERY
@pytest.mark.parametrize("status", ["SUCCESS", "FAILURE"])
async def test_a_report_that_ends_the_run_is_what_the_run_ends_with(
    product: Product, held: Held, kind: str, status: str
) -> None:
    run_id = await dispatched(product, held, kind)
    answer = await product.api.patch(f"/v1/actions/runs/{run_id}", json={"status": status, **SAID})
    assert answer.status_code == 200, answer.text
    reported = answer.json()["run"]
    held.goes_on.set()
    assert await over(product, run_id) == status
    assert await product.get(run_id) == reported
    assert {name: reported[name] for name in SAID} == SAID
    queue = {"installationId": "mine"} if kind != "agent" else {"installationId": "_PORT_EXEC_AGENT"}
    queue |= {"invocationMethod": METHODS[kind]["type"]}
    claimed = await product.api.post("/v1/actions/runs/claim-pending", json=queue)
    assert claimed.json()["runs"] == [], "nobody is given what has ended"


@EVERY
async def test_what_a_report_has_said_stays_when_the_dispatch_has_answered(
    product: Product, held: Held, kind: str
) -> None:
    run_id = await dispatched(product, held, kind)
    answer = await product.api.patch(f"/v1/actions/runs/{run_id}", json=SAID)
    assert answer.status_code == 200, answer.text
    held.goes_on.set()
    await answered(product, run_id)
    run = await product.get(run_id)
    assert run["status"] == "IN_PROGRESS"
    assert {name: run[name] for name in SAID} == SAID
    await product.api.patch(f"/v1/actions/runs/{run_id}", json={"status": "SUCCESS"})
    assert await over(product, run_id) == "SUCCESS"
