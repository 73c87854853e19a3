"""Runs of AZURE_DEVOPS actions through the whole product: how each ends, and with which words."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from domain.jq import Evaluator
from store import runs
from tests.support.azure_devops import SECRET, TOKEN, FakeAzureDevOps, Webhook, azure_devops, fault
from tests.support.product import Product, running

Json = dict[str, Any]
PATH = "/v1/integrations/azure-devops/webhook"
KEY = "the secret of the service connection"


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


async def triggered(product: Product) -> Json:
    """A run of a new action."""
    payload = {"name": "{{ .inputs.name }}", "port_context": {"runId": "{{ .run.id }}"}}
    method = {"type": "AZURE_DEVOPS", "org": "acme", "webhook": "port_trigger", "payload": payload}
    await product.action("deploy", {"name": {"type": "string"}}, invocationMethod=method)
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


async def test_what_azure_devops_refuses_ends_the_run(product: Product, azure: FakeAzureDevOps) -> None:
    azure.scripted.append(fault(f"No web hook found, said who knows {KEY}"))
    run = await triggered(product)
    ended = await product.until(run["id"])
    assert ended["status"] == "FAILURE"
    assert ended["summary"] == "Error triggering pipeline: No web hook found, said who knows ********"
