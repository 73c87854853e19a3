"""GitHub's webhooks: only what GitHub has signed counts, and what concerns no run of ours is ignored."""

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import pytest

from domain.jq import Evaluator
from store import runs
from tests.api.answers import refused
from tests.support.chat import without_temporal
from tests.support.github import SECRET, captured, signed
from tests.support.product import Product

PATH = "/v1/integrations/github/webhook"
EXTERNAL = "gh_41548062_300029405_289782451"
"""What the run is called that the captured webhook is about."""
METHOD = {"type": "GITHUB", "org": "Codertocat", "repo": "hello-world-npm", "workflow": "test.yml"}
Json = dict[str, Any]


@pytest.fixture
async def product(evaluate: Evaluator, sqlite_url: str) -> AsyncIterator[Product]:
    async with without_temporal(evaluate, sqlite_url, github_webhook_secret=SECRET) as product:
        yield product


async def waiting(product: Product, identifier: str = "deploy", **method: Any) -> str:
    """A run whose workflow goes on."""
    await product.action(identifier, invocationMethod=METHOD | method)
    run_id: str = (await product.start(identifier))["id"]
    answer = await product.api.patch(f"/v1/actions/runs/{run_id}", json={"externalRunId": EXTERNAL})
    assert answer.status_code == 200, answer.text
    return run_id


async def told(product: Product, payload: Any, event: str = "workflow_run") -> Json:
    """What we answer to a webhook."""
    body = json.dumps(payload).encode()
    headers = {"Authorization": "", **signed(body, event)}
    answer = await product.api.post(PATH, content=body, headers=headers)
    assert answer.status_code == 202, answer.text
    said: Json = answer.json()
    return said


def concluded(conclusion: str | None, **more: Any) -> Json:
    payload = captured()
    payload["workflow_run"] |= {"conclusion": conclusion, **more}
    return payload


@pytest.mark.parametrize(
    ("conclusion", "status"),
    [
        ("success", "SUCCESS"),
        ("neutral", "SUCCESS"),
        ("skipped", "SUCCESS"),
        ("failure", "FAILURE"),
        ("cancelled", "FAILURE"),
        ("action_required", "FAILURE"),
        (None, "FAILURE"),
    ],
)
async def test_a_run_ends_as_its_workflow_ends(product: Product, conclusion: str | None, status: str) -> None:
    run_id = await waiting(product)
    assert await told(product, concluded(conclusion)) == {"ok": True, "runs": [run_id]}
    run = await product.get(run_id)
    assert (run["status"], run["updatedBy"]) == (status, "interlock")
    assert await product.logs(run_id) == [f"Workflow completed: {conclusion}"]


async def test_what_is_sent_again_changes_nothing(product: Product) -> None:
    run_id = await waiting(product)
    await told(product, captured())
    ended = await product.get(run_id)
    for payload in (captured(), concluded("failure", run_attempt=2)):
        assert (await told(product, payload))["ignored"] == "no run waits for this workflow run"
    assert await product.get(run_id) == ended
    assert len(await product.logs(run_id)) == 1


async def test_a_run_that_has_ended_by_itself_stays_as_it_is(product: Product) -> None:
    run_id = await waiting(product)
    await product.api.patch(f"/v1/actions/runs/{run_id}", json={"status": "FAILURE", "summary": "tests are red"})
    ended = await product.get(run_id)
    assert "ignored" in await told(product, captured())
    assert await product.get(run_id) == ended
    assert await product.logs(run_id) == []


@pytest.mark.parametrize(
    "method",
    [
        {"reportWorkflowStatus": False},
        {"reportWorkflowStatus": "{{ false }}"},
        {"type": "WEBHOOK", "url": "http://127.0.0.1:1", "org": None, "repo": None, "workflow": None},
    ],
)
async def test_a_run_that_is_reported_otherwise_is_left_alone(product: Product, method: Json) -> None:
    method_ = {key: value for key, value in (METHOD | method).items() if value is not None}
    await product.action(invocationMethod=method_)
    run_id = (await product.start())["id"]
    await product.api.patch(f"/v1/actions/runs/{run_id}", json={"externalRunId": EXTERNAL})
    assert (await told(product, captured()))["ignored"] == "no run waits for this workflow run"
    assert (await product.get(run_id))["status"] == "IN_PROGRESS"


async def test_unknown_repositories_and_runs_are_ignored(product: Product) -> None:
    run_id = await waiting(product)
    other = captured()
    other["workflow_run"]["repository"]["id"] += 1
    for payload in (other, concluded("success", id=1)):
        assert (await told(product, payload))["ignored"] == "no run waits for this workflow run"
    assert (await product.get(run_id))["status"] == "IN_PROGRESS"


def naming(run_id: str, **more: Any) -> Json:
    """A webhook about a workflow run whose name names a run."""
    said = {"event": "workflow_dispatch", "display_title": f"Deploy ({run_id})", **more}
    payload = concluded("success", **said)
    payload["workflow_run"]["repository"] |= {"name": "infra"}
    payload["workflow_run"]["repository"]["owner"] |= {"login": "Acme"}
    return payload


async def unnamed(product: Product, **method: Any) -> str:
    """A run of which GitHub has not said yet which workflow run it is."""
    named = {"org": "acme", "repo": "infra", "workflow": "test.yml"}
    await product.action(invocationMethod=METHOD | named | method)
    run_id: str = (await product.start())["id"]
    return run_id


async def test_a_webhook_before_our_request_was_answered_is_known_by_the_run_in_its_name(product: Product) -> None:
    run_id = await unnamed(product)
    assert (await told(product, naming(run_id)))["runs"] == [run_id]
    run = await product.get(run_id)
    assert (run["status"], run["externalRunId"]) == ("SUCCESS", EXTERNAL)
    assert run["link"] == [captured()["workflow_run"]["html_url"]]


@pytest.mark.parametrize(
    ("said", "method"),
    [
        ({"event": "push"}, {}),
        ({"event": None}, {}),
        ({"path": ".github/workflows/other.yml"}, {}),
        ({"path": 7}, {}),
        ({}, {"repo": "other"}),
        ({}, {"workflow": "7"}),
        ({}, {"reportWorkflowStatus": False}),
    ],
)
async def test_a_name_does_not_make_it_another_runs(product: Product, said: Json, method: Json) -> None:
    run_id = await unnamed(product, **method)
    assert "ignored" in await told(product, naming(run_id, **said))
    assert (await product.get(run_id))["status"] == "IN_PROGRESS"


async def test_a_run_that_knows_its_workflow_run_listens_to_no_other(product: Product) -> None:
    run_id = await unnamed(product)
    await product.api.patch(f"/v1/actions/runs/{run_id}", json={"externalRunId": "gh_1_2_3"})
    assert "ignored" in await told(product, naming(run_id))
    assert (await product.get(run_id))["status"] == "IN_PROGRESS"


async def test_other_events_and_moments_are_ignored(product: Product) -> None:
    run_id = await waiting(product)
    assert (await told(product, {"zen": "Design for failure."}, "ping"))["ignored"]
    assert (await told(product, captured(), "workflow_job"))["ignored"]
    for action, status in (("requested", "queued"), ("in_progress", "in_progress"), ("completed", "in_progress")):
        payload = concluded(None, status=status) | {"action": action}
        assert (await told(product, payload))["ignored"] == "the workflow run goes on"
    assert (await product.get(run_id))["status"] == "IN_PROGRESS"


async def test_an_event_may_come_as_a_form(product: Product) -> None:
    run_id = await waiting(product)
    body = urlencode({"payload": json.dumps(captured())}).encode()
    form = {"Content-Type": "application/x-www-form-urlencoded", "Authorization": ""}
    answer = await product.api.post(PATH, content=body, headers=signed(body) | form)
    assert answer.json() == {"ok": True, "runs": [run_id]}


async def test_what_github_has_not_signed_is_refused(product: Product) -> None:
    run_id = await waiting(product)
    body = json.dumps(captured()).encode()
    genuine = signed(body)
    signature = genuine["X-Hub-Signature-256"]
    for given in (
        None,
        "",
        signature.removeprefix("sha256="),
        signature.replace("sha256", "sha1"),
        signature.upper(),
        signed(body, secret="another")["X-Hub-Signature-256"],
        signed(body + b" ")["X-Hub-Signature-256"],
        "sha256=\xe9",
    ):
        others = [(name.encode(), value.encode()) for name, value in genuine.items() if "Signature" not in name]
        headers = others if given is None else [*others, (b"X-Hub-Signature-256", given.encode("latin-1"))]
        answer = await product.api.post(PATH, content=body, headers=headers)
        message = refused(answer, 401, "unauthorized", "signed")
        assert signature.removeprefix("sha256=") not in message
    assert (await product.get(run_id))["status"] == "IN_PROGRESS"
    assert (await told(product, captured()))["runs"] == [run_id], "the same, signed"


async def test_what_is_signed_and_no_event_is_refused(product: Product) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for body, headers, words in (
        (b"", {}, "JSON"),
        (b"[1]", {}, "JSON object"),
        (b"{}", {}, "workflow_run"),
        (b'{"action":"completed","workflow_run":{"id":"1","status":"completed"}}', {}, "workflow_run"),
        (b'{"action":"completed","workflow_run":{"id":true,"status":"completed"}}', {}, "workflow_run"),
        (b"payload=%7B", form, "JSON"),
        (b"other=1", form, "payload"),
        (b"\xff\xfe=1", form, "UTF-8"),
    ):
        answer = await product.api.post(PATH, content=body, headers=signed(body) | headers)
        refused(answer, 422, "invalid_request", words)


async def test_without_its_secret_the_door_is_closed(evaluate: Evaluator, sqlite_url: str) -> None:
    async with without_temporal(evaluate, sqlite_url) as product:
        body = json.dumps(captured()).encode()
        answer = await product.api.post(PATH, content=body, headers=signed(body, secret=""))
        refused(answer, 404, "not_configured", "INTERLOCK_GITHUB_WEBHOOK_SECRET")


async def test_its_workflow_is_told(product: Product) -> None:
    run_id = await waiting(product)
    await told(product, captured())
    async with product.database.read() as session:
        assert (await runs.locked(session, run_id)).pending in ("start", "wake")
