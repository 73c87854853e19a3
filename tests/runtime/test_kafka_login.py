"""Kafka behind TLS and a login: who is trusted, who is let in, and what is said of those who are not."""

import asyncio
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.errors import BackendUnavailable
from runtime.kafka import KafkaProducer, configuration
from runtime.settings import InvalidSettings, Settings
from tests.backends.conftest import Authority
from tests.backends.conftest import authority as authority
from tests.support.kafka import Broker
from tests.support.kafka_gate import Gate, gated

PASSWORD = "pass, word=\u00fc%s \\"
"""What means something in formats and protocols, and has to mean nothing here."""
TIME_LIMIT = 12
"""In seconds, of which a fourth is for asking whether a broker is there."""
CLOSED = "Kafka cannot be reached: the brokers close the connection, as if they expected something else than PLAINTEXT"


@pytest.fixture
async def broker(tmp_path: Path) -> Broker:
    """A broker that is not started yet."""
    return Broker(tmp_path)


@pytest.fixture(autouse=True)
def nothing_said(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No password is in what was logged, however much is."""
    caplog.set_level(logging.DEBUG)
    yield
    said = [f"{record.getMessage()} {vars(record)}" for record in caplog.records]
    assert not [line for line in said if PASSWORD in line or "wrong one" in line]


def settings(gate: Gate, protocol: str, host: str = "127.0.0.1", **more: str) -> Settings:
    """Settings that lead to the gate."""
    found = {
        "kafka_brokers": f"{host}:{gate.port}",
        "kafka_security_protocol": protocol,
        "webhook_timeout": str(TIME_LIMIT),
        **({"kafka_username": "interlock", "kafka_password": PASSWORD} if protocol.startswith("SASL_") else {}),
        **more,
    }
    return Settings.from_environment({f"INTERLOCK_{name.upper()}": value for name, value in found.items()})


async def arrives(given: Settings, gate: Gate) -> None:
    """A message is published, and a consumer gets it that says the same of itself."""
    producer = KafkaProducer(given)
    try:
        await producer.publish("org_1.runs", b"{}", key="r_1")
    finally:
        await producer.close()
    gate.broker.consumers = {**configuration(given), "client.id": "consumer"}
    (found,) = await gate.broker.received("org_1.runs")
    assert (found.key, found.value) == ("r_1", b"{}")


async def refused(given: Settings) -> str:
    """Why nothing can be published, soon."""
    producer = KafkaProducer(given)
    begun = time.monotonic()
    try:
        with pytest.raises(BackendUnavailable) as fault:
            await producer.publish("org_1.runs", b"{}")
        assert time.monotonic() - begun < TIME_LIMIT
    finally:
        await producer.close()
    assert PASSWORD not in str(fault.value)
    return str(fault.value)


async def test_with_the_right_certificates_a_message_arrives(broker: Broker, authority: Authority) -> None:
    async with gated(broker, Gate(broker, authority.listener())) as gate:
        await arrives(settings(gate, "SSL", kafka_ca_file=str(authority.root)), gate)


async def test_who_is_not_trusted_gets_nothing_and_it_says_why(broker: Broker, authority: Authority) -> None:
    async with gated(broker, Gate(broker, authority.listener())) as gate:
        unknown = await refused(settings(gate, "SSL"))
        assert unknown.startswith("Kafka cannot be reached: SSL handshake failed: ")
        assert "certificate verify failed" in unknown
        other = await refused(settings(gate, "SSL", host="localhost", kafka_ca_file=str(authority.root)))
        assert "certificate verify failed" in other
        assert await broker_count(gate, authority) == 0


async def broker_count(gate: Gate, authority: Authority) -> int:
    """How many messages were published."""
    gate.broker.consumers = configuration(settings(gate, "SSL", kafka_ca_file=str(authority.root)))
    return await gate.broker.count("org_1.runs")


async def test_who_speaks_plainly_to_tls_or_the_other_way_round_is_told_so(
    broker: Broker, authority: Authority
) -> None:
    async with gated(broker, Gate(broker, authority.listener())) as gate:
        assert await refused(settings(gate, "PLAINTEXT")) == CLOSED
    async with gated(broker, Gate(broker)) as gate:
        said = await refused(settings(gate, "SSL", kafka_ca_file=str(authority.root)))
        assert said.startswith("Kafka cannot be reached: SSL handshake failed: ")


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_who_knows_the_password_is_let_in(
    broker: Broker, authority: Authority, protocol: str, mechanism: str
) -> None:
    tls = authority.listener() if protocol == "SASL_SSL" else None
    async with gated(broker, Gate(broker, tls, logins={"interlock": PASSWORD})) as gate:
        more = {"kafka_ca_file": str(authority.root)} if tls else {}
        await arrives(settings(gate, protocol, kafka_sasl_mechanism=mechanism, **more), gate)
        assert set(gate.let_in) == {(mechanism, "interlock")}
        assert gate.turned_away == []


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_a_wrong_password_is_said_at_once_and_the_right_one_works_later(broker: Broker, mechanism: str) -> None:
    async with gated(broker, Gate(broker, logins={"interlock": "another"})) as gate:
        given = settings(gate, "SASL_PLAINTEXT", kafka_sasl_mechanism=mechanism)
        said = await refused(given)
        assert said.startswith("Kafka cannot be reached: SASL authentication error: ")
        assert "Authentication failed" in said
        assert gate.let_in == []
        producer = KafkaProducer(given)
        with pytest.raises(BackendUnavailable):
            await producer.prepare("org_1.runs")
        gate.logins = {"interlock": PASSWORD}
        async with asyncio.timeout(30):
            while True:
                try:
                    await producer.prepare("org_1.runs")
                except BackendUnavailable:
                    continue
                break
        await producer.close()
        assert set(gate.let_in) == {(mechanism, "interlock")}


async def test_a_mechanism_that_is_not_offered_is_named_with_those_that_are(broker: Broker) -> None:
    gate = Gate(broker, logins={"interlock": PASSWORD}, mechanisms=("SCRAM-SHA-256", "GSSAPI"))
    async with gated(broker, gate):
        said = await refused(settings(gate, "SASL_PLAINTEXT"))
        assert said.startswith("Kafka cannot be reached: SASL SCRAM-SHA-512 mechanism handshake failed: ")
        assert said.endswith("broker's supported mechanisms: SCRAM-SHA-256,GSSAPI")


async def test_who_does_not_log_in_where_that_is_asked_for_is_told_so(broker: Broker) -> None:
    async with gated(broker, Gate(broker, logins={"interlock": PASSWORD})) as gate:
        assert await refused(settings(gate, "PLAINTEXT")) == CLOSED
        assert gate.turned_away


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
async def test_a_gate_that_says_nothing_is_given_up(broker: Broker, authority: Authority, protocol: str) -> None:
    tls = authority.listener() if protocol == "SASL_SSL" else None
    async with gated(broker, Gate(broker, tls, logins={}, silent=True)) as gate:
        more = {"kafka_ca_file": str(authority.root)} if tls else {}
        assert (await refused(settings(gate, protocol, **more))).startswith("Kafka cannot be reached: ")


def test_a_file_without_certificates_stops_the_process(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("no certificates\n")
    for path in (tmp_path / "gone.pem", tmp_path, empty):
        with pytest.raises(InvalidSettings, match=r"^INTERLOCK_KAFKA_CA_FILE is wrong: it must be the path of a file"):
            Settings.from_environment({"INTERLOCK_KAFKA_CA_FILE": str(path)})
