"""Whatever goes wrong between us and Kafka: how the run ends, in which words, how often it is tried, what is written.

The runs go through the real activity and the real client to a real broker, or to a gate before one that fails as
brokers do; only the time between attempts is left out. What is tried again was provably not written.
"""

import dataclasses
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from confluent_kafka import KafkaError
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

import backends
from activities.invocation import InvocationActivity
from domain.jq import Evaluator
from runtime.kafka import KafkaProducer
from tests.support import kafka_faults as broken
from tests.support.chat import without_temporal
from tests.support.kafka import Broker
from tests.support.kafka_faults import CREATE_TOPICS, METADATA, PRODUCE, Faulty
from tests.support.kafka_gate import Gate, gated
from tests.support.processes import free_ports
from tests.support.product import Product
from worker.main import services

if TYPE_CHECKING:
    from tests.backends.conftest import Authority

Json = dict[str, Any]
ATTEMPTS = 2
LIMIT = 4000
"""In bytes, of one message."""
LOGIN = {"kafka_username": "interlock", "kafka_password": "s3cret"}
UNREACHABLE, REFUSED, LOST, ACCEPTED = ["UNREACHABLE"] * ATTEMPTS, ["REFUSED"], ["ANSWER_LOST"], ["ACCEPTED"]
NOT_CONFIRMED = r"Kafka did not confirm the message within 2 s; it may have it"
TOO_LARGE = r"The message of \d+ bytes is larger than Kafka takes"


@dataclass(frozen=True)
class Row:
    """One way to fail."""

    name: str
    outcomes: list[str]
    """Of each attempt."""
    cause: str = ""
    """The summary after what was being done; a regular expression."""
    settings: dict[str, str] = field(default_factory=dict)
    gate: Callable[[Broker, "Authority"], Gate] | None = None
    faults: dict[int, broken.Answer] = field(default_factory=dict)
    there: bool = True
    """Whether there is a broker."""
    size: int = 1
    written: int = 0
    """How many messages are in the topic in the end, if that can be told."""


ROWS = (
    Row("no trouble", ACCEPTED, written=1),
    Row("DNS", UNREACHABLE, "Kafka cannot be reached: Failed to resolve .*",
        {"kafka_brokers": "nowhere.invalid:9092"}, there=False),
    Row("refused", UNREACHABLE, "Kafka cannot be reached: Connect to .* failed: Connection refused", there=False),
    Row("TLS that nobody speaks", UNREACHABLE, "Kafka cannot be reached: .*", {"kafka_security_protocol": "SSL"}),
    Row("TLS that cannot be trusted", UNREACHABLE, "Kafka cannot be reached: .*certificate verify failed.*",
        {"kafka_security_protocol": "SSL"}, lambda broker, authority: Gate(broker, authority.listener())),
    Row("no TLS where it is wanted", UNREACHABLE, "Kafka cannot be reached: the brokers close the connection, as if .*",
        {}, lambda broker, authority: Gate(broker, authority.listener())),
    Row("a wrong password", UNREACHABLE, "Kafka cannot be reached: .*[Aa]uthentication failed.*",
        {"kafka_security_protocol": "SASL_PLAINTEXT", **LOGIN},
        lambda broker, authority: Gate(broker, logins={"interlock": "another"})),
    Row("a mechanism that is not offered", UNREACHABLE, "Kafka cannot be reached: .*SCRAM-SHA-512.*PLAIN.*",
        {"kafka_security_protocol": "SASL_PLAINTEXT", **LOGIN},
        lambda broker, authority: Gate(broker, logins={"interlock": "s3cret"}, mechanisms=("PLAIN",))),
    Row("no login where it is wanted", UNREACHABLE, "Kafka cannot be reached: .*",
        {}, lambda broker, authority: Gate(broker, logins={})),
    Row("no answer to anything", UNREACHABLE, "Kafka cannot be reached: .*",
        {}, lambda broker, authority: Gate(broker, silent=True)),
    Row("an answer that is none", UNREACHABLE, "Kafka cannot be reached: .*", faults={METADATA: broken.nonsense}),
    Row("no leader yet", UNREACHABLE, r"The topic org_\S+ is not ready: .*",
        faults={METADATA: broken.topic_is(KafkaError.LEADER_NOT_AVAILABLE)}),
    Row("a topic that is not for us", REFUSED, r"Kafka refuses the topic org_\S+: .*[Aa]uthorization failed",
        faults={METADATA: broken.topic_is(KafkaError.TOPIC_AUTHORIZATION_FAILED)}),
    Row("a topic that cannot be", REFUSED, r"Kafka refuses the topic org_\S+: .*",
        faults={METADATA: broken.topic_is(KafkaError.TOPIC_EXCEPTION)}),
    Row("a topic that we may not make", REFUSED, r"The topic org_\S+ is missing and cannot be made: .*",
        faults={CREATE_TOPICS: broken.not_made(KafkaError.TOPIC_AUTHORIZATION_FAILED)}),
    Row("a topic that a policy forbids", REFUSED, r"The topic org_\S+ is missing and cannot be made: .*",
        faults={CREATE_TOPICS: broken.not_made(KafkaError.POLICY_VIOLATION)}),
    Row("too large for us", REFUSED, TOO_LARGE, size=2 * LIMIT),
    Row("too large for the brokers", REFUSED, TOO_LARGE,
        faults={PRODUCE: broken.not_written(KafkaError.MSG_SIZE_TOO_LARGE)}),
    Row("not allowed to write", REFUSED, "Kafka refused the message: .*[Aa]uthorization failed",
        faults={PRODUCE: broken.not_written(KafkaError.TOPIC_AUTHORIZATION_FAILED)}),
    Row("not allowed to write at all", REFUSED, "Kafka refused the message: .*[Aa]uthorization failed",
        faults={PRODUCE: broken.not_written(KafkaError.CLUSTER_AUTHORIZATION_FAILED)}),
    Row("forbidden by a policy", REFUSED, "Kafka refused the message: .*",
        faults={PRODUCE: broken.not_written(KafkaError.POLICY_VIOLATION)}),
    Row("too few replicas", LOST, NOT_CONFIRMED,
        faults={PRODUCE: broken.not_written(KafkaError.NOT_ENOUGH_REPLICAS)}),
    Row("too few replicas for a moment", ACCEPTED, written=1,
        faults={PRODUCE: broken.not_written(KafkaError.NOT_ENOUGH_REPLICAS, times=1)}),
    Row("another leader", ACCEPTED, written=1,
        faults={PRODUCE: broken.not_written(KafkaError.NOT_LEADER_FOR_PARTITION, times=1)}),
    Row("a broker that fails", LOST, r"Kafka did not confirm the message \(.*\); it may have it",
        faults={PRODUCE: broken.not_written(KafkaError.UNKNOWN)}),
    Row("cut while it is sent", LOST, NOT_CONFIRMED, faults={PRODUCE: broken.lost(written=False)}),
    Row("cut while it is sent, once", ACCEPTED, written=1, faults={PRODUCE: broken.lost(written=False, times=1)}),
    Row("cut once it is written, once", ACCEPTED, written=1, faults={PRODUCE: broken.lost(written=True, times=1)}),
    Row("cut once it is written", LOST, NOT_CONFIRMED, written=1, faults={PRODUCE: broken.lost(written=True)}),
    Row("no confirmation", LOST, NOT_CONFIRMED, faults={PRODUCE: broken.never}),
    Row("a confirmation that is none", LOST, r"Kafka did not confirm the message.*; it may have it",
        faults={PRODUCE: broken.nonsense}),
    Row("killed before it confirms", LOST, NOT_CONFIRMED, faults={PRODUCE: broken.killed}),
)  # fmt: skip


@asynccontextmanager
async def counterpart(row: Row, directory: Path, authority: "Authority") -> AsyncIterator[tuple[Broker, Gate | None]]:
    """The broker of the row, if it has one, and what is before it."""
    broker = Broker(directory)
    gate = row.gate(broker, authority) if row.gate else Faulty(broker, faults=row.faults) if row.faults else None
    if gate:
        async with gated(broker, gate):
            yield broker, gate
    elif row.there:
        async with broker:
            yield broker, None
    else:
        yield broker, None


@pytest.mark.timeout(60)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_each_failure_ends_as_it_should(
    evaluate: Evaluator, sqlite_url: str, tmp_path: Path, authority: "Authority", row: Row
) -> None:
    async with AsyncExitStack() as stack:
        broker, gate = await stack.enter_async_context(counterpart(row, tmp_path, authority))
        nobody = free_ports(1)[0]
        address = f"127.0.0.1:{gate.port if gate else broker.port if row.there else nobody}"
        given: Json = {**broker.settings, "kafka_brokers": address, "webhook_attempts": str(ATTEMPTS)}
        given |= {"kafka_max_message_bytes": str(LIMIT), "webhook_timeout": "4", **row.settings}
        product = await stack.enter_async_context(without_temporal(evaluate, sqlite_url, **given))
        http = await stack.enter_async_context(backends.open_transport(httpx.create_ssl_context()))
        kafka = KafkaProducer(product.settings)
        stack.push_async_callback(kafka.close)
        work = InvocationActivity(
            services(product.settings, product.database, evaluate, product.organization, http, kafka)
        )
        method = {"type": "KAFKA", "payload": {"text": "x" * row.size, "run": "{{ .run.id }}"}}
        await product.action(invocationMethod=method)
        run = await invoked(product, work)

        assert await outcomes(product, run["id"]) == row.outcomes
        if row.outcomes == ACCEPTED:
            assert run["status"] == "IN_PROGRESS"
        else:
            assert run["status"] == "FAILURE"
            said = f"Failed to publish the message: {row.cause}"
            assert re.fullmatch(said, run["summary"], re.DOTALL), run["summary"]
        if isinstance(gate, Faulty):
            gate.faults = {}
        if row.there and not row.gate and broken.killed not in row.faults.values():
            assert await broker.count(f"{product.organization.id}.runs") == row.written


async def invoked(product: Product, work: InvocationActivity) -> Json:
    """A run, once it was tried as often as it is."""
    run = await product.start()
    for number in range(1, ATTEMPTS + 2):
        environment = ActivityEnvironment()
        environment.info = dataclasses.replace(environment.info, attempt=number)
        try:
            await environment.run(work.invoke_backend, run["id"])
            break
        except ApplicationError:
            continue  # Temporal would wait before it asks again
    return await product.get(run["id"])


async def outcomes(product: Product, run_id: str) -> list[str]:
    """What came of each attempt, as its timeline has it."""
    answer = await product.api.get(f"/v1/actions/runs/{run_id}/timeline")
    return [one["attempt"]["outcome"] for one in answer.json()["timeline"] if "attempt" in one]
