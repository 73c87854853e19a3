"""Publishing to a real broker: what is confirmed, what provably never arrived, and what nobody knows."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backends.base import Unconfirmed
from domain.errors import BackendRefused, BackendUnavailable
from runtime.kafka import KafkaProducer, _Connection, configuration
from runtime.settings import InvalidSettings, Settings
from tests.backends.conftest import Authority
from tests.backends.conftest import authority as authority
from tests.support.kafka import Broker, Received

LOGIN = {"INTERLOCK_KAFKA_USERNAME": "interlock", "INTERLOCK_KAFKA_PASSWORD": "s3cret"}


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    """A broker."""
    async with Broker(tmp_path) as broker:
        yield broker


def configured(broker: Broker, **more: str) -> Settings:
    """Settings that lead to the broker."""
    found = {**broker.settings, "webhook_timeout": "4", **more}
    return Settings.from_environment({f"INTERLOCK_{name.upper()}": value for name, value in found.items()})


@pytest.fixture
async def producer(broker: Broker) -> AsyncIterator[KafkaProducer]:
    """A producer that waits two seconds for a confirmation."""
    producer = KafkaProducer(configured(broker))
    yield producer
    await producer.close()


async def test_a_message_arrives_with_its_key_and_headers_in_a_topic_that_is_made(
    broker: Broker, producer: KafkaProducer
) -> None:
    assert await broker.partitions("org_1.runs") == 0
    await producer.publish("org_1.runs", b'{"a":1}', key="r_1", headers={"runId": "r_1"})
    assert await broker.received("org_1.runs") == [Received("org_1.runs", "r_1", b'{"a":1}', {"runId": "r_1"})]
    assert await broker.partitions("org_1.runs") == 3


async def test_messages_of_one_key_stay_in_their_order(broker: Broker, producer: KafkaProducer) -> None:
    for number in range(20):
        await producer.publish("org_1.runs", str(number).encode(), key=f"r_{number % 2}")
    found = await broker.received("org_1.runs", 20)
    assert [int(one.value) for one in found if one.key == "r_0"] == list(range(0, 20, 2))
    assert [int(one.value) for one in found if one.key == "r_1"] == list(range(1, 20, 2))


async def test_many_at_once_make_the_topic_once_and_all_arrive(broker: Broker, producer: KafkaProducer) -> None:
    await asyncio.gather(*(producer.publish("org_1.runs", b"{}", key=f"r_{number}") for number in range(50)))
    found = await broker.received("org_1.runs", 50)
    assert sorted(one.key or "" for one in found) == sorted(f"r_{number}" for number in range(50))


async def test_without_a_broker_the_message_provably_never_left(broker: Broker, producer: KafkaProducer) -> None:
    await broker.kill()
    begun = time.monotonic()
    with pytest.raises(BackendUnavailable, match=r"^Kafka cannot be reached: Connect to .* Connection refused$"):
        await producer.publish("org_1.runs", b"{}")
    assert time.monotonic() - begun < 3


async def test_a_broker_that_comes_back_gets_what_is_published_then_and_nothing_else(
    broker: Broker, producer: KafkaProducer
) -> None:
    await producer.publish("org_1.runs", b"before")
    await broker.kill()
    with pytest.raises(BackendUnavailable):
        await producer.publish("org_1.runs", b"meanwhile")
    await broker.start()
    await until_taken(producer, b"after")
    assert [one.value for one in await broker.received("org_1.runs")] == [b"after"]
    assert await broker.count("org_1.runs") == 1


async def until_taken(producer: KafkaProducer, message: bytes) -> None:
    """Publish until the broker is found again; every attempt before provably did not arrive."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await producer.publish("org_1.runs", message)
            except BackendUnavailable:
                await asyncio.sleep(0.1)


async def test_a_broker_that_dies_with_the_message_leaves_it_unconfirmed_and_it_is_never_sent_again(
    broker: Broker, producer: KafkaProducer
) -> None:
    await producer.publish("org_1.runs", b"before", key="r_1")
    checked = producer._check

    async def check_and_freeze(connection: _Connection, topic: str) -> None:
        await checked(connection, topic)
        broker.freeze()  # between its last answer and the message

    producer._check = check_and_freeze  # type: ignore[method-assign]
    with pytest.raises(Unconfirmed, match=r"^Kafka did not confirm the message within 2 s; it may have it$"):
        await producer.publish("org_1.runs", b"meanwhile", key="r_1")
    producer._check = checked  # type: ignore[method-assign]
    await broker.kill()
    await broker.start()
    await until_taken(producer, b"after")
    assert [one.value for one in await broker.received("org_1.runs")] == [b"after"]
    assert await broker.count("org_1.runs") == 1


async def test_a_message_that_is_too_large_is_refused_and_others_go_on(broker: Broker) -> None:
    producer = KafkaProducer(configured(broker, kafka_max_message_bytes="2000"))
    try:
        with pytest.raises(BackendRefused, match=r"^The message of 3000 bytes is larger than Kafka takes$") as refusal:
            await producer.publish("org_1.runs", b"x" * 3000)
        assert not isinstance(refusal.value, Unconfirmed)
        await producer.publish("org_1.runs", b"x" * 300)
        assert [len(one.value) for one in await broker.received("org_1.runs")] == [300]
        assert await broker.count("org_1.runs") == 1
    finally:
        await producer.close()


async def test_a_topic_that_cannot_be_is_refused(producer: KafkaProducer) -> None:
    with pytest.raises(BackendRefused, match=r"no/topic"):
        await producer.publish("no/topic", b"{}")


async def test_a_frozen_broker_does_not_keep_us_from_closing(broker: Broker, producer: KafkaProducer) -> None:
    await producer.publish("org_1.runs", b"{}")
    broker.freeze()
    begun = time.monotonic()
    await producer.close()
    assert time.monotonic() - begun < 3


async def test_who_never_publishes_never_connects(broker: Broker) -> None:
    await broker.kill()
    producer = KafkaProducer(configured(broker))
    assert producer._connection is None
    await producer.close()


def test_the_login_is_told_to_the_library(authority: Authority) -> None:
    settings = Settings.from_environment(
        {"INTERLOCK_KAFKA_BROKERS": "a:9093, [::1]:9093", "INTERLOCK_KAFKA_CA_FILE": str(authority.root), **LOGIN}
    )
    assert configuration(settings) == {
        "bootstrap.servers": "a:9093,[::1]:9093",
        "security.protocol": "sasl_ssl",
        "client.id": "interlock",
        "sasl.mechanisms": "SCRAM-SHA-512",
        "sasl.username": "interlock",
        "sasl.password": "s3cret",
        "ssl.ca.location": str(authority.root),
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"INTERLOCK_KAFKA_BROKERS": "a:9092"},
            "INTERLOCK_KAFKA_SECURITY_PROTOCOL is wrong: "
            "it is SASL_SSL, for which a username and a password are needed",
        ),
        (
            {"INTERLOCK_KAFKA_BROKERS": "a:9092,b", **LOGIN},
            "INTERLOCK_KAFKA_BROKERS is wrong: it must be host:port, several of them separated by commas",
        ),
    ],
)
def test_settings_that_cannot_work_are_named(given: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidSettings) as problem:
        Settings.from_environment(given)
    assert str(problem.value) == message
