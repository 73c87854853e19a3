"""Azure DevOps's service hooks: only who knows the secret counts, and what concerns no run of ours is ignored."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from domain.jq import Evaluator
from store import runs
from tests.api.answers import refused
from tests.support.azure_devops import PROJECT, SECRET, FakeAzureDevOps, Started
from tests.support.chat import without_temporal
from tests.support.product import Product

PATH = "/v1/integrations/azure-devops/webhook"
METHOD = {"type": "AZURE_DEVOPS", "org": "Acme", "webhook": "port_trigger"}
NOBODY = "no run waits for this build"
AZURE = FakeAzureDevOps()
"""Only for what its events look like."""
Json = dict[str, Any]


@pytest.fixture
async def product(evaluate: Evaluator, sqlite_url: str) -> AsyncIterator[Product]:
    async with without_temporal(evaluate, sqlite_url, azure_devops_webhook_secret=SECRET) as product:
        yield product


def basic(secret: str, user: str = "azure") -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(f'{user}:{secret}'.encode()).decode()}"}


def started(run_id: str = "", status: str = "completed", result: str | None = "succeeded", **more: Any) -> Started:
    """A build whose number names the run."""
    said: Json = {"id": 345, "payload": {}, "number": f"Deploy {run_id} 7", "status": status, "result": result, **more}
    return Started(**said)


async def waiting(product: Product, identifier: str = "deploy", **method: Any) -> str:
    """A run whose pipeline was started."""
    await product.action(identifier, invocationMethod=method or METHOD)
    run_id: str = (await product.start(identifier))["id"]
    return run_id


async def sent(product: Product, event: Any, headers: dict[str, str] | None = None) -> httpx.Response:
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    return await product.api.post(PATH, content=body, headers=basic(SECRET) if headers is None else headers)


async def told(product: Product, event: Json) -> Json:
    """What we answer to an event."""
    answer = await sent(product, event)
    assert answer.status_code == 202, answer.text
    said: Json = answer.json()
    return said


@pytest.mark.parametrize(
    ("result", "status"),
    [
        ("succeeded", "SUCCESS"),
        ("partiallySucceeded", "FAILURE"),
        ("failed", "FAILURE"),
        ("canceled", "FAILURE"),
        (None, "FAILURE"),
    ],
)
@pytest.mark.parametrize("event", [AZURE.completed, AZURE.state_changed])
async def test_a_run_ends_as_the_build_ends_that_names_it(
    product: Product, event: Any, result: str | None, status: str
) -> None:
    run_id = await waiting(product)
    build = started(run_id, result=result)
    assert await told(product, event(build)) == {"ok": True, "runs": [run_id]}
    run = await product.get(run_id)
    assert (run["status"], run["updatedBy"]) == (status, "interlock")
    assert (run["externalRunId"], run["link"]) == (build.external_run_id, [AZURE.link(build)])
    assert await product.logs(run_id) == [f"Pipeline completed: {result}"]


async def test_a_run_is_linked_to_its_build_when_that_begins(product: Product) -> None:
    run_id = await waiting(product)
    build = started(run_id, "inProgress", None)
    assert (await told(product, AZURE.state_changed(build)))["runs"] == [run_id]
    run = await product.get(run_id)
    assert (run["status"], run["externalRunId"], run["link"]) == (
        "IN_PROGRESS",
        build.external_run_id,
        [AZURE.link(build)],
    )
    assert (await told(product, AZURE.state_changed(build)))["ignored"] == NOBODY, "nothing is new"
    assert await product.get(run_id) == run
    assert (await told(product, AZURE.state_changed(started("", "cancelling", None))))["ignored"] == NOBODY
    build.number = "renamed"
    AZURE.conclude(build, "succeeded")
    assert (await told(product, AZURE.completed(build)))["runs"] == [run_id], "known by its id"


@pytest.mark.parametrize(
    ("key", "given"),
    [
        ("tags", lambda run_id: ["blue", f"interlock-{run_id}"]),
        ("templateParameters", lambda run_id: {"runId": run_id}),
        ("parameters", lambda run_id: json.dumps({"runId": run_id})),
        ("triggerInfo", lambda run_id: {"context": run_id}),
        ("variables", lambda run_id: {"run": {"value": run_id}}),
    ],
)
async def test_a_build_may_name_its_run_elsewhere(product: Product, key: str, given: Callable[[str], Any]) -> None:
    run_id = await waiting(product)
    event = AZURE.completed(started())
    event["resource"][key] = given(run_id)
    assert (await told(product, event))["runs"] == [run_id]


async def test_what_a_report_has_said_stays(product: Product) -> None:
    run_id = await waiting(product)
    report = {"link": ["https://example.com"], "externalRunId": "mine", "summary": "all is well"}
    await product.api.patch(f"/v1/actions/runs/{run_id}", json=report)
    assert (await told(product, AZURE.completed(started(run_id))))["runs"] == [run_id]
    run = await product.get(run_id)
    assert (run["status"], {name: run[name] for name in report}) == ("SUCCESS", report)


async def test_a_run_that_knows_its_build_listens_to_no_other(product: Product) -> None:
    run_id = await waiting(product)
    mine = started()
    await product.api.patch(f"/v1/actions/runs/{run_id}", json={"externalRunId": mine.external_run_id})
    assert (await told(product, AZURE.completed(started(run_id, id=346, result="failed"))))["ignored"] == NOBODY
    other = AZURE.completed(mine)
    other["resourceContainers"]["project"]["id"] = "another"
    assert (await told(product, other))["ignored"] == NOBODY
    assert (await product.get(run_id))["status"] == "IN_PROGRESS"
    assert (await told(product, AZURE.completed(mine)))["runs"] == [run_id]


async def test_what_is_sent_again_changes_nothing(product: Product) -> None:
    run_id = await waiting(product)
    build = started(run_id)
    await told(product, AZURE.completed(build))
    ended = await product.get(run_id)
    again = (AZURE.completed(build), AZURE.state_changed(build), AZURE.completed(started(run_id, result="failed")))
    for event in again:
        assert (await told(product, event))["ignored"] == NOBODY
    assert await product.get(run_id) == ended
    assert len(await product.logs(run_id)) == 1


async def test_builds_of_other_organizations_and_other_runs_are_ignored(product: Product) -> None:
    run_id = await waiting(product)
    stranger = FakeAzureDevOps(org="other").completed(started(run_id))
    hook = await waiting(product, "other", type="WEBHOOK", url="http://127.0.0.1:1")
    for event in (stranger, AZURE.completed(started(hook)), AZURE.completed(started("r_0000000000000000"))):
        assert (await told(product, event))["ignored"] == NOBODY
    assert (await told(product, AZURE.completed(started(f"x{run_id}"))))["ignored"] == NOBODY
    assert (await told(product, AZURE.completed(started(f"{run_id}x"))))["ignored"] == NOBODY
    assert (await product.get(run_id))["status"] == "IN_PROGRESS"


async def test_an_event_of_before_has_its_result_in_the_status(product: Product) -> None:
    """Resource version 1.0."""
    run_id = await waiting(product)
    event = AZURE.completed(started(run_id, "partiallySucceeded", None))
    del event["resource"]["_links"]
    assert (await told(product, event))["runs"] == [run_id]
    assert await product.logs(run_id) == ["Pipeline completed: partiallySucceeded"]


async def test_other_events_and_what_says_too_little_is_ignored(product: Product) -> None:
    run_id = await waiting(product)
    for other in ("git.push", "ms.vss-pipelines.stage-state-changed-event"):
        assert (
            "only events" in (await told(product, AZURE.completed(started(run_id)) | {"eventType": other}))["ignored"]
        )
    for resource in (None, {}, {"id": 345, "url": "https://dev.azure.com/x"}, {"id": "345"}, [1]):
        for event in (AZURE.completed, AZURE.state_changed):
            said = await told(product, event(started(run_id)) | {"resource": resource})
            assert "all details of the resource" in said["ignored"]
    without = AZURE.completed(started(run_id))
    without["resourceContainers"], without["resource"]["project"] = {}, None
    assert "all details of the resource" in (await told(product, without))["ignored"]
    assert (await product.get(run_id))["status"] == "IN_PROGRESS"


async def test_the_project_may_be_told_by_the_build(product: Product) -> None:
    run_id = await waiting(product)
    event = AZURE.completed(started(run_id))
    del event["resourceContainers"]
    assert (await told(product, event))["runs"] == [run_id]
    assert (await product.get(run_id))["externalRunId"] == f"ado_{PROJECT}_12_345"


async def test_who_does_not_know_the_secret_is_refused(product: Product) -> None:
    run_id = await waiting(product)
    event = AZURE.completed(started(run_id))
    for headers in (
        {"Authorization": ""},
        {"Authorization": f"Bearer {SECRET}"},
        basic("another"),
        basic(""),
        basic("", SECRET),
        {"Authorization": "Basic %%%"},
        {"Authorization": "", "X-Webhook-Secret": "another"},
        {"Authorization": "", "X-Webhook-Secret": SECRET + " more"},
    ):
        message = refused(await sent(product, event, headers), 401, "unauthorized", "secret")
        assert SECRET not in message
    assert (await product.get(run_id))["status"] == "IN_PROGRESS"
    header = {"Authorization": "", "X-Webhook-Secret": SECRET}
    assert (await sent(product, event, header)).json()["runs"] == [run_id], "it may be in a header of its own"


@pytest.mark.parametrize("odd", [{}, [], 1.5, True, None])
async def test_odd_values_where_texts_should_be_end_nothing(product: Product, odd: Any) -> None:
    run_id = await waiting(product)
    for key in ("status", "id", "definition", "buildNumber", "triggerInfo"):
        sent = AZURE.completed(started())
        sent["resource"][key] = odd
        assert "ignored" in await told(product, sent)
    assert (await product.get(run_id))["status"] == "IN_PROGRESS"


async def test_a_secret_may_have_any_letters(evaluate: Evaluator, sqlite_url: str) -> None:
    async with without_temporal(evaluate, sqlite_url, azure_devops_webhook_secret="schlüssel") as product:
        run_id = await waiting(product)
        content = json.dumps(AZURE.completed(started(run_id))).encode()
        given = [(b"X-Webhook-Secret", "schlüssel".encode())]
        answer = await product.api.post(PATH, content=content, headers=given)
        assert answer.json() == {"ok": True, "runs": [run_id]}
        answer = await product.api.post(PATH, content=content, headers=basic("schlüssel"))
        assert "ignored" in answer.json()


async def test_what_is_no_event_is_refused(product: Product) -> None:
    for body, words in ((b"", "JSON"), (b"{", "JSON"), (b"[1]", "eventType"), (b"{}", "eventType")):
        refused(await sent(product, body), 422, "invalid_request", words)


async def test_without_its_secret_the_door_is_closed(evaluate: Evaluator, sqlite_url: str) -> None:
    async with without_temporal(evaluate, sqlite_url) as product:
        answer = await sent(product, AZURE.completed(started()), basic(""))
        refused(answer, 404, "not_configured", "INTERLOCK_AZURE_DEVOPS_WEBHOOK_SECRET")


async def test_its_workflow_is_told(product: Product) -> None:
    run_id = await waiting(product)
    await told(product, AZURE.completed(started(run_id)))
    async with product.database.read() as session:
        assert (await runs.locked(session, run_id)).pending in ("start", "wake")
