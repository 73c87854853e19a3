"""Backends are told when a run is stopped: what reaches them, what the log says, and what is left alone."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment

import backends
from activities.cancelling import CancelActivity
from backends import open_transport
from backends.base import Reference, Resources
from backends.webhook import Webhook
from domain.errors import BackendBusy, BackendRefused, BackendUnavailable
from domain.jq import Evaluator
from tests.support.github import TOKEN, FakeGitHub, github
from tests.support.listening import Said
from tests.support.product import Product, running
from worker.main import services
from workflows.calls import CANCEL_ATTEMPTS

Json = dict[str, Any]
DISPATCH, CANCEL = "/dispatches", "/cancel"
GITHUB = {"type": "GITHUB", "org": "acme", "repo": "infra", "workflow": "deploy.yml"}
NO_WAY = "The backend cannot be stopped: nothing tells {} that nobody waits for it any more"


@pytest.fixture
async def hub() -> AsyncIterator[FakeGitHub]:
    async with github() as hub:
        yield hub


@pytest.fixture
async def product(
    clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str, hub: FakeGitHub
) -> AsyncIterator[Product]:
    how: Json = {"github_api_url": hub.url, "github_token": TOKEN, "webhook_timeout": "4"}
    async with running(clock, evaluate, sqlite_url, **how) as product:
        yield product


async def signalled(product: Product, run_id: str) -> None:
    await product.temporal.get_workflow_handle(run_id).signal("cancel", {"by": "ada@example.com"})


async def requested(product: Product, run_id: str) -> None:
    answer = await product.api.post(f"/v1/actions/runs/{run_id}/cancel", json={})
    assert answer.status_code == 200, answer.text


async def cancelled_by_temporal(product: Product, run_id: str) -> None:
    await product.temporal.get_workflow_handle(run_id).cancel()


WAYS = pytest.mark.parametrize("stop", [signalled, requested, cancelled_by_temporal])
Stop = Callable[[Product, str], Awaitable[None]]


async def over(product: Product, run_id: str, clock: WorkflowEnvironment | None = None) -> Json:
    """The run, once its workflow has ended; with a clock, time passes meanwhile."""
    handle = product.temporal.get_workflow_handle(run_id)
    async with asyncio.timeout(40):
        while (await handle.describe()).status is WorkflowExecutionStatus.RUNNING:
            await (clock.sleep(timedelta(minutes=2)) if clock else asyncio.sleep(0.05))
    return await product.get(run_id)


async def handed_over(product: Product, run_id: str) -> None:
    async with asyncio.timeout(20):
        while True:
            history = await product.temporal.get_workflow_handle(run_id).fetch_history()
            if any(event.HasField("activity_task_completed_event_attributes") for event in history.events):
                return
            await asyncio.sleep(0.02)


async def test_the_history_of_a_run_names_the_release_that_worked_on_it(product: Product, hub: FakeGitHub) -> None:
    await product.action(invocationMethod=GITHUB)
    run = await product.start()
    await handed_over(product, run["id"])
    history = await product.temporal.get_workflow_handle(run["id"]).fetch_history()
    done = [event.workflow_task_completed_event_attributes for event in history.events]
    # The server that skips time still has it where servers had it before.
    builds = {each.worker_version.build_id or each.binary_checksum for each in done if each.identity}
    assert builds == {f"interlock@{version('interlock')}"}


@WAYS
async def test_a_workflow_run_is_cancelled_with_its_run(product: Product, hub: FakeGitHub, stop: Stop) -> None:
    await product.action(invocationMethod=GITHUB)
    run = await product.start()
    await handed_over(product, run["id"])
    await stop(product, run["id"])
    ended = await over(product, run["id"])
    assert ended["summary"].startswith("Cancelled by ")
    assert hub.runs[0].conclusion == "cancelled"
    assert await product.logs(run["id"]) == [f"GitHub was asked to cancel workflow run {hub.runs[0].id}"]
    timeline = (await product.api.get(f"/v1/actions/runs/{run['id']}/timeline")).json()["timeline"]
    [made] = [one["attempt"] for one in timeline if one.get("attempt", {}).get("kind") == "CANCEL"]
    assert (made["outcome"], made["exchanges"][0]["answer"]["status"]) == ("ACCEPTED", 202)
    assert TOKEN not in str(timeline)


async def test_a_dispatch_that_a_dying_worker_could_not_record_is_cancelled_as_well(
    clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str, hub: FakeGitHub
) -> None:
    how: Json = {"github_api_url": hub.url, "github_token": TOKEN}
    async with running(clock, evaluate, sqlite_url, worker=False, **how) as idle, open_transport() as http:
        given = services(idle.settings, idle.database, evaluate, idle.organization, http)
        hub.now = lambda: datetime.now(UTC) - timedelta(seconds=50)  # another run's, that would be known by now
        await idle.action(invocationMethod=GITHUB)
        run, other = await idle.start(), await idle.start()
        await backends.parse_rendered(run["payload"]).invoke(backends.Delivery(run["id"], {}), given.resources)
        for one in (run, other):
            await requested(idle, one["id"])
        cancel = CancelActivity(given).cancel_backend
        assert await ActivityEnvironment().run(cancel, other["id"]) == "no backend has it"
        assert hub.runs[0].conclusion is None
        await ActivityEnvironment().run(cancel, run["id"])
        assert hub.runs[0].conclusion == "cancelled"
        assert await idle.logs(run["id"]) == [f"GitHub was asked to cancel workflow run {hub.runs[0].id}"]


@WAYS
async def test_what_is_dispatched_while_the_run_is_stopped_is_cancelled_once_it_is_known(
    product: Product, hub: FakeGitHub, stop: Stop
) -> None:
    hub.answers(DISPATCH, Said(200, {"workflow_run_id": hub.first_run}, after_all=True, pause=1.5))
    await product.action(invocationMethod=GITHUB)
    run = await product.start()
    async with asyncio.timeout(20):
        while not hub.runs:
            await asyncio.sleep(0.01)
    await stop(product, run["id"])
    stopped = await product.until(run["id"])
    assert hub.operations(CANCEL) == []
    assert await over(product, run["id"]) == stopped, "a run that has ended does not change"
    assert "externalRunId" not in stopped
    assert hub.runs[0].conclusion == "cancelled"
    assert len(hub.operations(DISPATCH)) == 1
    answer = await product.api.get("/v1/actions/runs", params={"external_run_id": hub.runs[0].external_run_id})
    assert [one["id"] for one in answer.json()["runs"]] == [run["id"]], "it can be found by what it has started"


@pytest.mark.parametrize("asked", [True, False])
async def test_the_time_limit_stops_the_backend_where_the_action_says_so(
    product: Product, hub: FakeGitHub, clock: WorkflowEnvironment, asked: bool
) -> None:
    limits: Json = {"run": {"timeLimit": "PT10M"}, "backend": {"cancelAfterTimeLimit": asked}}
    await product.action(invocationMethod=GITHUB, interlock=limits)
    run = await product.start()
    await handed_over(product, run["id"])
    ended = await over(product, run["id"], clock)
    assert ended["summary"] == "The backend did not report within 0:10:00"
    assert hub.runs[0].conclusion == ("cancelled" if asked else None)
    assert len(await product.logs(run["id"])) == asked


async def test_a_run_that_ends_by_itself_stops_nothing(product: Product, hub: FakeGitHub) -> None:
    await product.action(invocationMethod=GITHUB)
    run = await product.start()
    await handed_over(product, run["id"])
    await product.api.patch(f"/v1/actions/runs/{run['id']}", json={"status": "FAILURE"})
    await over(product, run["id"])
    assert (hub.operations(CANCEL), await product.logs(run["id"])) == ([], [])


async def test_what_was_never_sent_is_not_stopped(product: Product, hub: FakeGitHub) -> None:
    await product.action(invocationMethod=GITHUB, requiredApproval=True)
    run = await product.start()
    await requested(product, run["id"])
    await over(product, run["id"])
    assert hub.asked == []


INTEGRATION = {
    "type": "INTEGRATION_ACTION",
    "installationId": "mine",
    "integrationActionType": "x",
    "integrationActionExecutionProperties": {},
}


def _claimed(kind: str, url: str) -> tuple[Json, Json]:
    """A method that is claimed, and what who claims it says."""
    if kind == "WEBHOOK":
        method = {"type": "WEBHOOK", "url": f"{url}/hook", "agent": True, "body": {}}
        return method, {"installationId": "_PORT_EXEC_AGENT", "invocationMethod": "WEBHOOK"}
    return INTEGRATION, {"installationId": "mine"}


@pytest.mark.parametrize("kind", ["WEBHOOK", "INTEGRATION_ACTION"])
@pytest.mark.parametrize("steps", ["waiting", "claimed", "taken"])
async def test_a_run_that_nobody_has_taken_leaves_its_queue_and_else_the_log_says_so(
    product: Product, kind: str, steps: str
) -> None:
    method, claim = _claimed(kind, product.backend.url)
    await product.action(invocationMethod=method)
    run = await product.start()
    await handed_over(product, run["id"])
    if steps != "waiting":
        answer = await product.api.post("/v1/actions/runs/claim-pending", json=claim)
        assert [one["id"] for one in answer.json()["runs"]] == [run["id"]]
    if steps == "taken":
        assert (await product.api.patch("/v1/actions/runs/ack", json={"runId": run["id"]})).status_code == 200
    await requested(product, run["id"])
    await over(product, run["id"])
    assert await product.logs(run["id"]) == ([NO_WAY.format(kind)] if steps == "taken" else [])
    if steps == "claimed":
        assert (await product.api.patch("/v1/actions/runs/ack", json={"runId": run["id"]})).status_code == 409
    assert (await product.api.post("/v1/actions/runs/claim-pending", json=claim)).json()["runs"] == []


async def test_a_run_that_is_stopped_before_it_could_wait_for_a_claim_is_nobodys(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way, goes_on = asyncio.Event(), asyncio.Event()
    invoke = Webhook.invoke

    async def slowly(self: Webhook, *what: Any) -> backends.Receipt:
        under_way.set()
        await goes_on.wait()
        return await invoke(self, *what)

    monkeypatch.setattr(Webhook, "invoke", slowly)
    method, claim = _claimed("WEBHOOK", product.backend.url)
    await product.action(invocationMethod=method)
    run = await product.start()
    await under_way.wait()
    await requested(product, run["id"])
    goes_on.set()
    await over(product, run["id"])
    assert await product.logs(run["id"]) == []
    assert (await product.api.post("/v1/actions/runs/claim-pending", json=claim)).json()["runs"] == []


SECRET = "a secret of the organization"
Answers = list[str | Exception | None]


@pytest.mark.parametrize(
    ("answers", "line"),
    [
        ([None], NO_WAY.format("WEBHOOK")),
        (["stopped"], "stopped"),
        ([f"stopped {SECRET}"], "stopped ********"),
        ([BackendRefused(f"no {SECRET}")], "The backend was not stopped: no ********"),
        ([RuntimeError(SECRET)], "The backend was not stopped: The backend failed unexpectedly (RuntimeError)"),
        ([BackendUnavailable("no route"), BackendBusy("busy", timedelta(minutes=3)), "stopped"], "stopped"),
        ([BackendBusy("busy", timedelta(minutes=16))], "The backend was not stopped: busy"),
        ([BackendUnavailable("no route")] * CANCEL_ATTEMPTS, "The backend was not stopped: no route"),
    ],
)
async def test_the_log_tells_what_became_of_it(
    product: Product, clock: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch, answers: Answers, line: str
) -> None:
    asked: list[Reference] = []

    async def cancel(self: Webhook, reference: Reference, using: Resources) -> str | None:
        assert await using.secret("TOKEN") == SECRET
        asked.append(reference)
        answer = answers[len(asked) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(Webhook, "cancel", cancel)
    await product.api.post("/v1/organization/secrets", json={"secretName": "TOKEN", "secretValue": SECRET})
    await product.action(invocationMethod=product.webhook(synchronized=False, headers={"X": "{{ .secrets.TOKEN }}"}))
    run = await product.start()
    await handed_over(product, run["id"])
    await product.api.patch(f"/v1/actions/runs/{run['id']}", json={"externalRunId": "e", "link": "https://a.test"})
    await requested(product, run["id"])
    await over(product, run["id"], clock)
    assert await product.logs(run["id"]) == [line]
    assert len(asked) == len(answers)
    assert (asked[0].run_id, asked[0].external_run_id, asked[0].link) == (run["id"], "e", ("https://a.test",))
