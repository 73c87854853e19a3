"""Runs of AZURE_DEVOPS actions through the whole product: how each ends, and with which words."""

import asyncio
import json
import socket
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from domain.jq import Evaluator
from store import runs
from tests.support.azure_devops import SECRET, SIGN_IN, TOKEN, FakeAzureDevOps, Started, Webhook, azure_devops, fault
from tests.support.listening import Said
from tests.support.product import Product, running

Json = dict[str, Any]
PATH = "/v1/integrations/azure-devops/webhook"
KEY = "the secret of the service connection"
OURS = "Error triggering pipeline: "
PERHAPS = "Azure DevOps may have started pipelines all the same; the webhook is not called again"
HUGE = b'{"message":"' + b"x" * (2 * 1024 * 1024) + b'"}'


@pytest.fixture
async def azure() -> AsyncIterator[FakeAzureDevOps]:
    async with azure_devops(webhook=Webhook(secret=KEY, header="X-Hub-Signature")) as azure:
        yield azure


@pytest.fixture
async def product(
    clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str, azure: FakeAzureDevOps
) -> AsyncIterator[Product]:
    said = {"url": azure.url, "signature_header": "X-Hub-Signature", "token": TOKEN, "webhook_secret": SECRET}
    settings: dict[str, Any] = {f"azure_devops_{name}": value for name, value in said.items()} | {
        "webhook_timeout": "1"
    }
    async with running(clock, evaluate, sqlite_url, **settings) as product:
        body = {"secretName": "AZURE_DEVOPS_SIGNING_KEY", "secretValue": KEY}
        answer = await product.api.post("/v1/organization/secrets", json=body)
        assert answer.is_success, answer.text
        yield product


async def triggered(product: Product, **more: Any) -> Json:
    """A run of a new action."""
    payload = {"name": "{{ .inputs.name }}", "port_context": {"runId": "{{ .run.id }}"}}
    method = {"type": "AZURE_DEVOPS", "org": "acme", "webhook": "port_trigger", "payload": payload}
    await product.action("deploy", {"name": {"type": "string"}}, invocationMethod=method, **more)
    return await product.start("deploy", {"name": "küche"})


async def started(product: Product, run: Json) -> None:
    """Wait until the webhook was called and the row says so."""
    async with asyncio.timeout(20):
        while True:
            async with product.database.read() as session:
                if (await runs.find(session, run["id"])).delivered:
                    return
            await asyncio.sleep(0.02)


async def told(product: Product, event: Json) -> Json:
    """What we answer to an event."""
    headers = {"Authorization": f"Basic {b64encode(f'azure:{SECRET}'.encode()).decode()}"}
    answer = await product.api.post(PATH, content=json.dumps(event), headers=headers)
    assert answer.status_code == 202, answer.text
    said: Json = answer.json()
    return said


async def test_a_build_that_names_its_run_is_linked_looked_up_and_ends_it(
    product: Product, azure: FakeAzureDevOps
) -> None:
    run = await triggered(product)
    await started(product, run)
    [build] = azure.builds
    assert build.payload == {"name": "küche", "port_context": {"runId": run["id"]}}
    assert (await product.looked_up(run))["status"] == "IN_PROGRESS"
    assert len(azure.asked) == 1, "nobody knows which build it is"
    build.number = f"Deploy {run['id']}"
    assert (await told(product, azure.state_changed(build)))["runs"] == [run["id"]]
    assert (await product.looked_up(run))["externalRunId"] == build.external_run_id
    azure.conclude(build, "succeeded")
    ended = await product.looked_up(run)
    assert (ended["status"], ended["link"]) == ("SUCCESS", [azure.link(build)])
    assert await product.logs(run["id"]) == ["Pipeline completed: succeeded"]
    assert "ignored" in await told(product, azure.completed(build))


async def test_an_event_ends_the_run_at_once(product: Product, azure: FakeAzureDevOps) -> None:
    run = await triggered(product)
    await started(product, run)
    [build] = azure.builds
    build.tags = [run["id"]]
    azure.conclude(build, "failed")
    assert (await told(product, azure.completed(build)))["runs"] == [run["id"]]
    ended = await product.until(run["id"])
    assert (ended["status"], ended["summary"]) == ("FAILURE", "")


async def test_a_pipeline_that_reports_its_build_is_looked_up(product: Product, azure: FakeAzureDevOps) -> None:
    run = await triggered(product)
    await started(product, run)
    [build] = azure.builds
    report = {"link": azure.link(build), "summary": "half way"}
    assert (await product.api.patch(f"/v1/actions/runs/{run['id']}", json=report)).is_success
    assert (await product.looked_up(run))["externalRunId"] == build.external_run_id
    azure.conclude(build, "succeeded")
    ended = await product.looked_up(run)
    assert (ended["status"], ended["summary"]) == ("SUCCESS", "half way")


@pytest.mark.parametrize(
    ("said", "summary"),
    [
        (fault(f"No web hook found, said who knows {KEY}"), "No web hook found, said who knows ********"),
        (Said(203, SIGN_IN), "Azure DevOps wants somebody to sign in (status code 203)"),
        (Said(500, HUGE), f"status code 500. {PERHAPS}"),
        (Said(503, b"<html>Our services are not available</html>"), f"status code 503. {PERHAPS}"),
    ],
)
async def test_what_azure_devops_refuses_ends_the_run(
    product: Product, azure: FakeAzureDevOps, said: Said, summary: str
) -> None:
    azure.scripted.append(said)
    statuses = {"interlock": {"backend": {"retry": {"statuses": [503], "attempts": 5}}}}
    ended = await product.until((await triggered(product, **statuses))["id"])
    assert (ended["status"], ended["summary"][: len(OURS + summary)]) == ("FAILURE", OURS + summary)
    assert len(azure.asked) == 1


async def test_a_build_that_is_known_before_the_answer_is_lost_was_started(
    product: Product, azure: FakeAzureDevOps
) -> None:
    azure.scripted.append(Said(502, b"<html>", pause=0.8))
    run = await triggered(product)
    async with asyncio.timeout(20):
        while not azure.asked:
            await asyncio.sleep(0.01)
    build = Started(345, None, f"Deploy {run['id']}")
    azure.builds.append(build)
    assert (await told(product, azure.state_changed(build)))["runs"] == [run["id"]]
    await started(product, run)
    now = await product.get(run["id"])
    assert (now["status"], now["externalRunId"]) == ("IN_PROGRESS", build.external_run_id)
    [line] = await product.logs(run["id"])
    assert line.startswith(f"The backend did not confirm it, but {build.external_run_id} is known to have come of it: ")
    azure.conclude(build, "succeeded")
    assert (await product.looked_up(run))["status"] == "SUCCESS"
    assert len([asked for asked in azure.asked if asked.method == "POST"]) == 1


async def test_an_answer_that_breaks_off_was_a_yes(product: Product, azure: FakeAzureDevOps) -> None:
    azure.scripted.append(Said(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"))
    run = await triggered(product)
    await started(product, run)
    assert (await product.get(run["id"]))["status"] == "IN_PROGRESS"


async def test_limits_are_waited_for(product: Product, azure: FakeAzureDevOps) -> None:
    azure.scripted += [fault("Slow down", 429, Retry_After="1"), Said(503, b"", {"Retry-After": "1"})]
    await started(product, await triggered(product))
    assert (len(azure.asked), len(azure.builds)) == (3, 1)


@pytest.mark.parametrize(
    ("url", "more", "summary"),
    [
        ("https://ado.invalid", {}, "ado.invalid has no address"),
        ("http://127.0.0.1:{nobody}", {}, "Connection refused"),
        ("https://127.0.0.1:{plain}", {}, "TLS failed"),
        ("http://127.0.0.1:{nobody}", {"allow_private_destinations": "false"}, "127.0.0.1 leads to a private address"),
    ],
)
async def test_an_azure_devops_that_cannot_be_reached_fails_the_run(
    clock: WorkflowEnvironment,
    evaluate: Evaluator,
    sqlite_url: str,
    azure: FakeAzureDevOps,
    url: str,
    more: dict[str, str],
    summary: str,
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        settings: dict[str, Any] = {
            "webhook_timeout": "10",
            "azure_devops_url": url.format(nobody=taken.getsockname()[1], plain=azure.port),
            **more,
        }
        async with running(clock, evaluate, sqlite_url, webhook_attempts="2", **settings) as product:
            ended = await product.until((await triggered(product))["id"])
    assert ended["status"] == "FAILURE"
    assert ended["summary"].startswith(OURS + summary), ended["summary"]
    assert azure.asked == []
