"""Changes on their way to the address that their blueprint names: what arrives, how often, and what does not."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import delete, select
from starlette.responses import JSONResponse, Response
from temporalio.client import WorkflowFailureError
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.services import Services
from domain.errors import Unavailable
from domain.jq import Evaluator
from domain.signatures import verify
from runtime.clock import now
from store import audit, change_deliveries
from store.automation_tables import ChangeDeliveryRow, PendingChangeRow
from tests.support.backend import Call
from tests.support.product import Product
from tests.support.sandbox import Sandbox
from worker.changelog import PREFIX, ChangeDeliveries
from worker.main import working
from workflows.change_delivery import GIVEN_UP

Json = dict[str, Any]


@pytest.fixture
def deliveries(product: Product) -> ChangeDeliveries:
    """What the relay asks to have changes delivered."""
    return of(product)


def of(product: Product, *, later: timedelta = timedelta(0)) -> ChangeDeliveries:
    """The same, by a clock that is ahead."""
    return ChangeDeliveries(product.temporal, product.database, product.settings, lambda: now() + later)


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


async def is_kept(product: Product, record: Json) -> bool:
    """Whether the record is still there after everything was purged that nobody waits for."""
    await audit.purge(product.database, before=now() + timedelta(minutes=1))
    audits = (await product.api.get("/v1/audit-log")).json()["audits"]
    assert audits in ([], [record]), "nobody waits for anything else"
    return bool(audits)


async def relayed(product: Product, evaluate: Evaluator) -> None:
    """Have the relay start what is pending, and end."""
    automations = product.automations(evaluate)
    while await automations.once():
        pass


def at_work(product: Product, given: Services) -> AbstractAsyncContextManager[Worker]:
    """A worker without a relay."""
    return working(product.settings, product.temporal, given, workflow_runner=Sandbox())


async def ended(product: Product, record: Json) -> str:
    """What became of its delivery."""
    end: str = await product.temporal.get_workflow_handle(f"{PREFIX}{record['identifier']}").result()
    return end


async def test_what_has_still_to_arrive_is_not_purged(idle: Product, given: Services, evaluate: Evaluator) -> None:
    record = await a_change(idle)
    assert await is_kept(idle, record), "the relay has not come to it"
    await relayed(idle, evaluate)
    await of(idle, later=timedelta(days=3)).sweep()
    assert await is_kept(idle, record), "no worker has come to it"
    was_kept: list[bool] = []

    async def answer(_: Call) -> Response:
        was_kept.append(await is_kept(idle, record))
        return JSONResponse({}, 503 if len(was_kept) < 3 else 200)

    idle.backend.answer = answer
    async with at_work(idle, given):
        assert await ended(idle, record) == "delivered"
    assert was_kept == [True] * 3
    assert [call.json["identifier"] for call in idle.backend.calls] == [record["identifier"]] * 3
    assert not await is_kept(idle, record)


@pytest.mark.parametrize("end", ["refused", "nobody"])
async def test_what_is_not_sent_again_is_purged(idle: Product, given: Services, evaluate: Evaluator, end: str) -> None:
    record = await a_change(idle)
    await relayed(idle, evaluate)
    if end == "nobody":
        await send_to(idle, None)
    idle.backend.answer = answers(404)
    async with at_work(idle, given):
        assert (await ended(idle, record)).startswith(end)
    assert not await is_kept(idle, record)


@pytest.mark.parametrize("end", ["given up", "cancelled", "terminated", "unknown"])
async def test_what_nobody_says_the_end_of_is_purged_a_day_later(
    idle: Product, given: Services, evaluate: Evaluator, clock: WorkflowEnvironment, end: str
) -> None:
    record = await a_change(idle)
    if end == "unknown":
        async with idle.database.write() as session:
            await session.exec(delete(PendingChangeRow))
            await change_deliveries.begin(session, [record["identifier"]], at=now())
    else:
        await relayed(idle, evaluate)
        idle.backend.answer = answers(503)
        handle = idle.temporal.get_workflow_handle(f"{PREFIX}{record['identifier']}")
        async with at_work(idle, given):
            match end:
                case "given up":
                    await clock.sleep(timedelta(hours=25))
                    assert await ended(idle, record) == GIVEN_UP
                case "cancelled":
                    await handle.cancel()
                    with pytest.raises(WorkflowFailureError):
                        await handle.result()
                case "terminated":
                    await handle.terminate("an operator had enough")
    await of(idle, later=timedelta(hours=23)).sweep()
    assert await is_kept(idle, record)
    await of(idle, later=timedelta(hours=25)).sweep()
    assert not await is_kept(idle, record)


async def test_every_delivery_that_is_over_is_found(
    idle: Product, evaluate: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.changelog._BATCH", 2)
    record = await a_change(idle)
    await relayed(idle, evaluate)
    over = [f"{place}_{number}" for place in ("a", "z") for number in range(3)]
    async with idle.database.write() as session:
        await change_deliveries.begin(session, over, at=now())
    await of(idle, later=timedelta(days=2)).sweep()
    async with idle.database.read() as session:
        assert list(await session.exec(select(ChangeDeliveryRow.change_id))) == [record["identifier"]]


async def test_what_has_arrived_is_not_sent_again_because_sql_does_not_answer(
    idle: Product, given: Services, evaluate: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def unavailable(_: object, change_id: str) -> None:
        asked.append(change_id)
        raise Unavailable("it does not answer")

    monkeypatch.setattr("store.change_deliveries.end", unavailable)
    record = await a_change(idle)
    await relayed(idle, evaluate)
    async with at_work(idle, given):
        assert await ended(idle, record) == "delivered"
    assert asked == [record["identifier"]]
    assert len(idle.backend.calls) == 1
    assert await is_kept(idle, record)
    await of(idle, later=timedelta(hours=25)).sweep()
    assert not await is_kept(idle, record)
