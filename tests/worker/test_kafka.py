"""Runs and changes on their way through a real broker: what arrives, and what a run says when the broker fails."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from domain.jq import Evaluator
from domain.signatures import verify
from runtime.kafka import KafkaProducer, _Connection
from tests.support.kafka import Broker
from tests.support.port_agent import order_of_change, order_of_run
from tests.support.processes import eventually
from tests.support.product import Product, running

Json = dict[str, Any]


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    """A broker."""
    async with Broker(tmp_path) as broker:
        yield broker


@pytest.fixture
async def product(
    clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str, broker: Broker
) -> AsyncIterator[Product]:
    """The product with that broker, which has two seconds to confirm a message."""
    how: Json = {
        "webhook_timeout": "4",
        "kafka_max_message_bytes": "100000",
        **broker.settings,
    }
    async with running(clock, evaluate, sqlite_url, **how) as product:
        yield product


@pytest.fixture
def runs(product: Product) -> str:
    """The topic of runs."""
    return f"{product.organization.id}.runs"


KAFKA = {"type": "KAFKA", "payload": {"service": "{{ .inputs.service }}", "runId": "{{ .run.id }}"}}
INPUTS = {"service": {"type": "string"}}


async def test_a_run_is_published_and_waits_until_its_consumer_reports(
    product: Product, broker: Broker, runs: str
) -> None:
    await product.action(inputs=INPUTS, invocationMethod=KAFKA)
    run = await product.start(properties={"service": "größe"})
    (message,) = await broker.received(runs)
    assert json.loads(message.value) == {"service": "größe", "runId": run["id"]}
    assert message.key == run["id"]
    assert (message.headers["runId"], message.headers["actionIdentifier"]) == (run["id"], "deploy")
    assert verify(product.organization.client_secret, message.value, message.headers, datetime.now(UTC))
    assert (await product.get(run["id"]))["status"] == "IN_PROGRESS"
    await product.api.patch(f"/v1/actions/runs/{run['id']}", json={"status": "SUCCESS", "link": "https://x.test"})
    ended = await product.until(run["id"])
    assert (ended["status"], ended["link"]) == ("SUCCESS", ["https://x.test"])
    assert await broker.count(runs) == 1


async def test_without_a_payload_the_run_itself_is_the_message(product: Product, broker: Broker, runs: str) -> None:
    await product.action(inputs=INPUTS, invocationMethod={"type": "KAFKA"})
    run = await product.start(properties={"service": "a"})
    (message,) = await broker.received(runs)
    said = json.loads(message.value)
    assert (said["resourceType"], said["status"], said["context"]["runId"]) == ("run", "TRIGGERED", run["id"])
    assert said["payload"]["action"]["invocationMethod"] == {"type": "KAFKA"}
    assert said["payload"]["properties"] == {"service": "a"}


async def test_without_a_broker_the_run_fails_and_says_why(product: Product, broker: Broker) -> None:
    await broker.kill()
    await product.action(invocationMethod=KAFKA)
    ended = await product.until((await product.start())["id"], within=40)
    assert ended["status"] == "FAILURE"
    assert ended["summary"].startswith("Failed to publish the message: Kafka cannot be reached: ")
    assert ended["summary"].endswith("Connection refused")


async def test_a_broker_that_comes_back_in_time_gets_the_run_once(
    product: Product, broker: Broker, runs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await product.action(invocationMethod=KAFKA)
    await broker.kill()
    prepare, refused = _Connection.prepare, list[str]()

    def once_more(connection: _Connection, topic: str) -> None:
        try:
            prepare(connection, topic)
        except Exception as fault:
            refused.append(str(fault))
            raise

    monkeypatch.setattr(_Connection, "prepare", once_more)
    run = await product.start()
    while not refused:
        await asyncio.sleep(0.02)
    await broker.start()
    (message,) = await broker.received(runs, within=20)
    assert message.key == run["id"]
    assert await broker.count(runs) == 1
    assert (await product.get(run["id"]))["status"] == "IN_PROGRESS"


async def test_a_broker_that_is_killed_with_the_message_leaves_a_run_that_says_so(
    product: Product, broker: Broker, runs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await product.action(invocationMethod=KAFKA)
    first = await product.start()
    assert [message.key for message in await broker.received(runs)] == [first["id"]]
    check = KafkaProducer._check

    async def check_and_freeze(producer: KafkaProducer, connection: _Connection, topic: str) -> None:
        await check(producer, connection, topic)
        broker.freeze()  # between its last answer and the message

    monkeypatch.setattr(KafkaProducer, "_check", check_and_freeze)
    ended = await product.until((await product.start())["id"])
    assert ended["status"] == "FAILURE"
    assert ended["summary"] == (
        "Failed to publish the message: Kafka did not confirm the message within 2 s; it may have it"
    )
    monkeypatch.undo()
    await broker.kill()
    await broker.start()
    later = await product.start()
    assert [message.key for message in await broker.received(runs, within=20)] == [later["id"]]
    assert await broker.count(runs) == 1


async def test_a_message_that_is_too_large_fails_its_run_and_no_other(
    product: Product, broker: Broker, runs: str
) -> None:
    await product.action(inputs=INPUTS, invocationMethod=KAFKA)
    ended = await product.until((await product.start(properties={"service": "x" * 200_000}))["id"])
    assert ended["status"] == "FAILURE"
    assert "Failed to publish the message: The message of 2000" in ended["summary"]
    assert ended["summary"].endswith("bytes is larger than Kafka takes")
    small = await product.start(properties={"service": "x"})
    assert [message.key for message in await broker.received(runs)] == [small["id"]]
    assert await broker.count(runs) == 1


async def test_the_agent_gets_webhooks_by_the_topic_once_it_says_so(
    product: Product, broker: Broker, runs: str
) -> None:
    secrets = "/v1/organization/secrets"
    await product.api.post(secrets, json={"secretName": "TOKEN", "secretValue": "s3cret-value"})
    streamer = {"settings": {"portAgentStreamerName": "KAFKA"}}
    assert (await product.api.patch("/v1/organization", json=streamer)).status_code == 200
    headers = {"RUN_ID": "{{ .run.id }}", "X-Token": "{{ .secrets.TOKEN }}"}
    await product.action(
        inputs=INPUTS,
        invocationMethod=product.webhook(agent=True, headers=headers, body={"cpu": "{{ .inputs.service }}"}),
    )
    run = await product.start(properties={"service": "größe"})
    (message,) = await broker.received(runs)
    order = order_of_run(message.value, product.organization.client_secret)
    assert order is not None
    assert (order.run_id, order.url, order.synchronized) == (run["id"], f"{product.backend.url}/hook", True)
    assert order.body["cpu"] == "größe"
    assert order.body["headers"] == {"RUN_ID": run["id"], "X-Token": "s3cret-value"}
    now = await product.get(run["id"])
    assert now["status"] == "IN_PROGRESS", "the agent reports"
    assert "s3cret-value" not in json.dumps(now)
    assert not product.backend.calls
    response = {"response": {"done": True}}
    await product.api.patch(f"/v1/actions/runs/{run['id']}/response", json=response)
    await product.api.patch(f"/v1/actions/runs/{run['id']}", json={"status": "SUCCESS"})
    ended = await product.until(run["id"])
    assert (ended["status"], ended["response"]) == ("SUCCESS", {"done": True})


@pytest.mark.parametrize("agent", [False, True], ids=["kafka", "agent"])
async def test_changes_of_a_blueprint_are_published(product: Product, broker: Broker, agent: bool) -> None:
    destination: Json = {"type": "WEBHOOK", "url": "http://10.0.0.5/x", "agent": True} if agent else {"type": "KAFKA"}
    await product.entity()
    answer = await product.api.patch("/v1/blueprints/service", json={"changelogDestination": destination})
    assert answer.status_code == 200, answer.text
    await product.api.patch("/v1/blueprints/service/entities/cart", json={"title": "Größe"})
    record = (await product.api.get("/v1/audit-log?resources=entity&action=UPDATE")).json()["audits"][0]
    (message,) = await broker.received(f"{product.organization.id}.change.log", within=20)
    expected = {**record, "changelogDestination": destination}
    if agent:
        del expected["context"]["runId"]
    assert json.loads(message.value) == expected
    assert (message.key, message.headers) == ("service/cart", {"eventId": record["identifier"]})
    order = order_of_change(message.value)
    assert (order.url if order else None) == (destination["url"] if agent else None)


async def test_a_change_outlives_an_outage_of_the_broker(product: Product, broker: Broker) -> None:
    await product.entity()
    await product.api.patch("/v1/blueprints/service", json={"changelogDestination": {"type": "KAFKA"}})
    await broker.kill()
    await product.api.patch("/v1/blueprints/service/entities/cart", json={"title": "Cart"})
    record = (await product.api.get("/v1/audit-log?resources=entity&action=UPDATE")).json()["audits"][0]
    handle = product.temporal.get_workflow_handle(f"changelog:{record['identifier']}")

    async def tried_in_vain() -> bool | None:
        pending = (await handle.describe()).raw_description.pending_activities
        return bool(pending and pending[0].attempt > 1) or None

    await eventually("the first attempt has failed", tried_in_vain, within=20)
    await broker.start()
    assert await handle.result() == "delivered"
    (message,) = await broker.received(f"{product.organization.id}.change.log")
    assert json.loads(message.value)["identifier"] == record["identifier"]
