"""Changes on their way to the address that their blueprint names: what arrives, how often, and what does not."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from domain.signatures import verify
from tests.support.backend import Call
from tests.support.product import Product
from worker.changelog import PREFIX, ChangeDeliveries

Json = dict[str, Any]


@pytest.fixture
def deliveries(product: Product) -> ChangeDeliveries:
    """What the relay asks to have changes delivered."""
    return ChangeDeliveries(product.temporal, product.settings)


async def send_to(product: Product, destination: Json | None) -> None:
    """Give the blueprint a destination."""
    answer = await product.api.patch("/v1/blueprints/service", json={"changelogDestination": destination})
    assert answer.status_code == 200, answer.text


async def a_change(product: Product, destination: Json | None = None) -> Json:
    """The record of a change of a blueprint whose changes go to our backend."""
    await product.entity()
    await send_to(product, destination or {"type": "WEBHOOK", "url": f"{product.backend.url}/changes"})
    await product.api.patch("/v1/blueprints/service/entities/cart", json={"title": "Cart"})
    audits = (await product.api.get("/v1/audit-log?resources=entity&action=UPDATE")).json()["audits"]
    record: Json = audits[0]
    return record


async def delivered(product: Product, deliveries: ChangeDeliveries, record: Json) -> str:
    """What became of it."""
    await deliveries.start([record["identifier"]])
    end: str = await product.temporal.get_workflow_handle(f"{PREFIX}{record['identifier']}").result()
    return end


def answers(*statuses: int) -> Callable[[Call], Awaitable[Response]]:
    """A receiver that answers these, the last of them for ever."""
    left = list(statuses)

    async def answer(_: Call) -> Response:
        return JSONResponse({}, left.pop(0) if len(left) > 1 else left[0])

    return answer


async def test_the_record_of_the_audit_log_arrives_signed_and_once(
    product: Product, deliveries: ChangeDeliveries
) -> None:
    record = await a_change(product)
    assert await delivered(product, deliveries, record) == "delivered"
    assert await delivered(product, deliveries, record) == "delivered"
    (call,) = product.backend.calls
    destination = {"type": "WEBHOOK", "url": f"{product.backend.url}/changes"}
    assert (call.method, call.path) == ("POST", "/changes")
    assert call.json == {**record, "changelogDestination": destination}
    assert record["diff"]["after"]["title"] == "Cart"
    assert call.headers["idempotency-key"] == record["identifier"]
    assert verify(product.organization.client_secret, call.body, call.headers, datetime.now(UTC))


async def test_a_receiver_that_is_out_of_order_gets_it_later(product: Product, deliveries: ChangeDeliveries) -> None:
    record = await a_change(product)
    product.backend.answer = answers(503, 429, 200)
    assert await delivered(product, deliveries, record) == "delivered"
    assert [call.headers["idempotency-key"] for call in product.backend.calls] == [record["identifier"]] * 3


async def test_a_receiver_that_refuses_is_not_asked_again(
    product: Product, deliveries: ChangeDeliveries, caplog: pytest.LogCaptureFixture
) -> None:
    record = await a_change(product)
    product.backend.answer = answers(404)
    assert await delivered(product, deliveries, record) == "refused: the receiver answered 404"
    assert len(product.backend.calls) == 1
    assert "change was refused" in caplog.text


async def test_the_destination_is_that_of_now(product: Product, deliveries: ChangeDeliveries) -> None:
    record = await a_change(product)
    await send_to(product, {"type": "WEBHOOK", "url": f"{product.backend.url}/moved"})
    assert await delivered(product, deliveries, record) == "delivered"
    assert [call.path for call in product.backend.calls] == ["/moved"]


async def test_without_an_address_nobody_is_told(product: Product, deliveries: ChangeDeliveries) -> None:
    record = await a_change(product)
    await send_to(product, None)
    assert await delivered(product, deliveries, record) == "nobody is to be told any more"
    assert not product.backend.calls


@pytest.mark.parametrize(
    "destination",
    [{"type": "KAFKA"}, {"type": "WEBHOOK", "url": "https://example.com", "agent": True}],
    ids=["kafka", "agent"],
)
async def test_without_a_broker_what_would_go_by_kafka_goes_nowhere(
    product: Product, deliveries: ChangeDeliveries, destination: Json
) -> None:
    record = await a_change(product)
    await send_to(product, destination)
    assert not deliveries.reaches(destination), "so nobody starts a workflow that would find out"
    assert (await delivered(product, deliveries, record)).startswith("refused: No Kafka broker is configured")
    assert deliveries.reaches({"type": "WEBHOOK", "url": "https://example.com"})
    assert not product.backend.calls


async def test_our_own_api_is_not_told(product: Product, deliveries: ChangeDeliveries) -> None:
    own = f"{product.settings.public_url}/v1/blueprints/service/entities"
    record = await a_change(product, {"type": "WEBHOOK", "url": own})
    assert (await delivered(product, deliveries, record)).startswith("refused: it leads to our own API")


async def test_without_temporal_the_caller_knows(
    product: Product, deliveries: ChangeDeliveries, clock: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.changelog._RPC_TIMEOUT", timedelta(seconds=0.5))
    await clock.shutdown()
    with pytest.raises(RPCError):
        await deliveries.start(["event_1", "event_2"])
