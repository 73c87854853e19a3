"""Runs of GITHUB actions through the whole product: how each ends, and with which words, whatever GitHub does."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from temporalio.testing import WorkflowEnvironment

from domain.jq import Evaluator
from tests.support.github import SECRET, TOKEN, FakeGitHub, github, refusal
from tests.support.listening import Said
from tests.support.product import Product, running

Json = dict[str, Any]
DISPATCH = "/dispatches"
PATH = "/v1/integrations/github/webhook"
HUGE = b'{"message":"' + b"x" * (5 * 1024 * 1024) + b'"}'
OURS = "Error dispatching workflow: "


@pytest.fixture
async def hub() -> AsyncIterator[FakeGitHub]:
    async with github() as hub:
        yield hub


@pytest.fixture
async def product(
    clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str, hub: FakeGitHub
) -> AsyncIterator[Product]:
    async with over(clock, evaluate, sqlite_url, hub.url) as product:
        yield product


@asynccontextmanager
async def over(
    clock: WorkflowEnvironment, evaluate: Evaluator, database_url: str, url: str, **settings: str
) -> AsyncIterator[Product]:
    """The product, with GitHub at this address."""
    usual: dict[str, Any] = {"github_api_url": url, "github_token": TOKEN, "github_webhook_secret": SECRET}
    usual |= {"webhook_timeout": "1", "webhook_attempts": "2"}
    async with running(clock, evaluate, database_url, **usual | settings) as product:
        yield product


async def dispatched(product: Product, **fields: Any) -> Json:
    """A run of a new action."""
    inputs = {"env": "{{ .inputs.env }}", "context": {"runId": "{{ .run.id }}"}}
    method = {"type": "GITHUB", "org": "acme", "repo": "infra", "workflow": "deploy.yml", "workflowInputs": inputs}
    identifier = f"deploy{fields.pop('number', '')}"
    more = {"interlock": fields.pop("interlock")} if "interlock" in fields else {}
    await product.action(identifier, {"env": {"type": "string"}}, invocationMethod={**method, **fields}, **more)
    return await product.start(identifier, {"env": "prod"})


async def test_a_run_ends_when_its_workflow_is_seen_to_have_ended(product: Product, hub: FakeGitHub) -> None:
    run = await product.linked(await dispatched(product))
    [workflow_run] = hub.runs
    assert workflow_run.inputs == {"env": "prod", "context": f'{{"runId":"{run["id"]}"}}'}
    assert run["link"] == [workflow_run.link]
    assert run["externalRunId"] == workflow_run.external_run_id
    assert (await product.looked_up(run))["status"] == "IN_PROGRESS"
    hub.begin(workflow_run)
    assert (await product.looked_up(run))["status"] == "IN_PROGRESS"
    hub.conclude(workflow_run, "success")
    ended = await product.looked_up(run)
    assert (ended["status"], ended["link"]) == ("SUCCESS", [workflow_run.link])
    assert await product.logs(run["id"]) == ["Workflow completed: success"]


async def test_a_webhook_ends_it_at_once_and_its_replays_change_nothing(product: Product, hub: FakeGitHub) -> None:
    run = await product.linked(await dispatched(product))
    hub.conclude(hub.runs[0], "timed_out")
    told = hub.told(hub.webhook(hub.runs[0]))
    answers = [await product.api.post(PATH, content=told.content, headers=told.headers) for _ in range(3)]
    assert [(answer.status_code, answer.json()) for answer in answers] == [
        (202, {"ok": True, "runs": [run["id"]]}),
        (202, {"ok": True, "ignored": "no run waits for this workflow run"}),
        (202, {"ok": True, "ignored": "no run waits for this workflow run"}),
    ]
    ended = await product.until(run["id"])
    assert ended["status"] == "FAILURE"
    assert await product.logs(run["id"]) == ["Workflow completed: timed_out"]
    handle = product.temporal.get_workflow_handle(run["id"])
    assert await asyncio.wait_for(handle.result(), 20) == "FAILURE", "its workflow has been told"

    hub.conclude(hub.runs[0], "success")  # somebody has run it again
    assert (await product.looked_up(run)) == ended
    told = hub.told(hub.webhook(hub.runs[0]))
    assert (await product.api.post(PATH, content=told.content, headers=told.headers)).status_code == 202
    assert await product.get(run["id"]) == ended


async def test_a_run_that_reports_itself_is_left_to_its_reports(product: Product, hub: FakeGitHub) -> None:
    run = await product.linked(await dispatched(product, reportWorkflowStatus=False))
    hub.conclude(hub.runs[0], "failure")
    told = hub.told(hub.webhook(hub.runs[0]))
    answer = await product.api.post(PATH, content=told.content, headers=told.headers)
    assert answer.json() == {"ok": True, "ignored": "no run waits for this workflow run"}
    assert (await product.looked_up(run))["status"] == "IN_PROGRESS"
    await product.api.patch(f"/v1/actions/runs/{run['id']}", json={"status": "SUCCESS"})
    assert (await product.get(run["id"]))["status"] == "SUCCESS"


async def test_what_the_workflow_has_said_is_kept(product: Product, hub: FakeGitHub) -> None:
    run = await product.linked(await dispatched(product))
    said = {"summary": "deployed 1.2.3", "link": "https://ci.example.test/1"}
    await product.api.patch(f"/v1/actions/runs/{run['id']}", json=said)
    hub.conclude(hub.runs[0], "failure")
    ended = await product.looked_up(run)
    assert (ended["status"], ended["summary"], ended["link"]) == ("FAILURE", said["summary"], [said["link"]])


@pytest.mark.parametrize(
    ("where", "said", "summary"),
    [
        (DISPATCH, refusal(422, 'Unexpected inputs provided: ["zone"]'), 'Unexpected inputs provided: ["zone"]'),
        (DISPATCH, refusal(403, f"{TOKEN} may not"), "******** may not"),
        (
            "GET /repos/{owner}/{repo}",
            refusal(301, "Moved Permanently", Location="https://example.test"),
            "Moved Permanently (redirects are not followed: write the present names of owner and repository into the "
            "action)",
        ),
    ],
)
async def test_a_dispatch_that_fails_fails_the_run(
    product: Product, hub: FakeGitHub, where: str, said: Said, summary: str
) -> None:
    hub.answers(where, said)
    ended = await product.until((await dispatched(product))["id"])
    assert (ended["status"], ended["summary"]) == ("FAILURE", OURS + summary)
    assert len(hub.operations(where)) == 1
    assert "externalRunId" not in ended


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        (Said(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", after_all=True), "ACCEPTED"),
        (Said(200, HUGE, after_all=True), "ACCEPTED"),
        (Said(502, b"<html>Unicorn!</html>", after_all=True), "ANSWER_LOST"),
        (Said(raw=b"", after_all=True), "ANSWER_LOST"),
    ],
)
async def test_a_dispatch_that_worked_without_saying_so_is_found(
    product: Product, hub: FakeGitHub, said: Said, outcome: str
) -> None:
    hub.now = lambda: datetime.now(UTC) - timedelta(seconds=20)  # nobody else's, as would be known by now
    hub.answers(DISPATCH, said)
    run = await dispatched(product, interlock={"backend": {"retry": {"statuses": [500, 502], "attempts": 5}}})
    async with asyncio.timeout(20):
        while (found := await product.looked_up(run)).get("externalRunId") is None:
            await asyncio.sleep(0.1)
    assert (found["status"], found["externalRunId"]) == ("IN_PROGRESS", hub.runs[0].external_run_id)
    assert found["link"] == [hub.runs[0].link]
    hub.conclude(hub.runs[0], "success")
    assert (await product.looked_up(run))["status"] == "SUCCESS"
    assert len(hub.operations(DISPATCH)) == 1, "whatever the policy says"
    timeline = (await product.api.get(f"/v1/actions/runs/{run['id']}/timeline")).json()["timeline"]
    [made] = [one["attempt"] for one in timeline if one.get("attempt", {}).get("kind") == "INVOKE"]
    assert made["outcome"] == outcome
    sought = "its workflow run is looked for, 10 minutes at most"
    assert (outcome == "ACCEPTED") or sought in made["said"], "the timeline says at once what is waited for"
    first, second, *_ = await product.logs(run["id"])
    assert sought in first
    assert second == "The workflow run was found: the nearest in time that is nobody else's"


@pytest.mark.parametrize(
    ("said", "times"),
    [(refusal(429, "Slow down", Retry_After="1"), 3), (refusal(403, "secondary rate limit", Retry_After="1"), 1)],
)
async def test_rate_limits_are_waited_for(product: Product, hub: FakeGitHub, said: Said, times: int) -> None:
    hub.answers(DISPATCH, *[said] * times)
    run = await product.linked(await dispatched(product))
    assert (run["status"], len(hub.operations(DISPATCH)), len(hub.runs)) == ("IN_PROGRESS", times + 1, 1)


async def test_the_token_of_the_organization_is_used_and_shown_nowhere(product: Product, hub: FakeGitHub) -> None:
    hub.token = "ghp_of_the_organization_0123456789"
    answer = await product.api.post(
        "/v1/organization/secrets", json={"secretName": "GITHUB_TOKEN", "secretValue": hub.token}
    )
    assert answer.status_code in (200, 201), answer.text
    await product.linked(await dispatched(product, number=1))
    hub.answers(DISPATCH, refusal(400, f"what is {hub.token}"))
    ended = await product.until((await dispatched(product, number=2))["id"])
    assert ended["summary"] == f"{OURS}what is ********"


def throw_away_certificate(folder: Path) -> ssl.SSLContext:
    """A server's that nobody trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "github")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    kept = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "github.pem").write_bytes(kept + certificate.public_bytes(pem))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "github.pem")
    return context


@pytest.mark.parametrize(
    ("url", "settings", "summary"),
    [
        ("https://github.invalid", {}, "github.invalid has no address"),
        ("http://127.0.0.1:{nobody}", {}, "Connection refused"),
        ("http://127.0.0.1:{nobody}", {"allow_private_destinations": "false"}, "127.0.0.1 leads to a private address"),
        ("{untrusted}/api/v3", {}, "the certificate of 127.0.0.1 does not verify"),
    ],
)
async def test_a_github_that_cannot_be_reached_fails_the_run(
    clock: WorkflowEnvironment,
    evaluate: Evaluator,
    sqlite_url: str,
    tmp_path: Path,
    url: str,
    settings: dict[str, str],
    summary: str,
) -> None:
    async with github(enterprise=True, tls=throw_away_certificate(tmp_path)) as untrusted:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            where = url.format(nobody=taken.getsockname()[1], untrusted=untrusted.url.removesuffix("/api/v3"))
            async with over(clock, evaluate, sqlite_url, where, **settings) as product:
                ended = await product.until((await dispatched(product))["id"])
        assert untrusted.asked == []
    assert ended["status"] == "FAILURE"
    assert ended["summary"].startswith(OURS + summary)
