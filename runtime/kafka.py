"""Kafka: messages that are handed to the brokers, and confirmed by all replicas before anybody is told so."""

import asyncio
import logging
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeAlias

import regex
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from backends.base import Unconfirmed
from domain.errors import BackendRefused, BackendUnavailable
from runtime.settings import Settings

log = logging.getLogger(__name__)

Configuration: TypeAlias = dict[str, Any]

_POLL_SECONDS = 0.5
_CLOSE_SECONDS = 5.0
_CHECKS_AT_ONCE = 4
_PLACE = regex.compile(r"^[^\s:]+:(?://)?\S*?: |^\S+/(?:\d+|bootstrap): ")
_AGE = regex.compile(r" \(after [^)]*\)$")

_NEVER = frozenset(
    {
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.INVALID_RECORD,
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.POLICY_VIOLATION,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT,
    }
)
"""What a broker answers that has not written the message, and never will."""


def configuration(settings: Settings) -> Configuration:
    """How clients of Kafka are told where the brokers are, and who we are."""
    found: Configuration = {
        "bootstrap.servers": ",".join(settings.kafka_brokers),
        "security.protocol": settings.kafka_security_protocol.lower(),
        "client.id": "interlock",
    }
    if settings.kafka_security_protocol.startswith("SASL_") and settings.kafka_password is not None:
        found |= {
            "sasl.mechanisms": settings.kafka_sasl_mechanism,
            "sasl.username": settings.kafka_username,
            "sasl.password": settings.kafka_password.get_secret_value(),
        }
    if settings.kafka_ca_file is not None:
        found["ssl.ca.location"] = str(settings.kafka_ca_file)
    return found


class KafkaProducer:
    """Publishes; connects when there is something to publish for the first time, and stays connected.

    Whoever publishes is told exactly one of three things: the message is written, it cannot have been, or nobody knows.
    For that it is handed over only after a broker has just answered; what is not handed over, no broker can have.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection: _Connection | None = None
        self._checks: dict[str, asyncio.Task[None]] = {}
        self._threads = ThreadPoolExecutor(_CHECKS_AT_ONCE, thread_name_prefix="kafka")
        self._closing: set[threading.Thread] = set()

    async def publish(
        self, topic: str, message: bytes, *, key: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Hand the message to the brokers, and wait until they have it. The topic is made if it is missing.

        Raises:
            BackendUnavailable: no broker can have taken it.
            Unconfirmed: one may have.
            BackendRefused: none ever will.
        """
        connection = self._connected()
        await self._checked(connection, topic)
        fault = await connection.deliver(topic, message, key, headers or {})
        if fault is None:
            return
        log.warning("message was not confirmed by kafka", extra={"topic": topic, "key": key, "cause": fault.name()})
        match fault.code():
            case KafkaError.MSG_SIZE_TOO_LARGE | KafkaError.RECORD_LIST_TOO_LARGE:
                raise BackendRefused(f"The message of {len(message)} bytes is larger than Kafka takes")
            case code if code in _NEVER:
                raise BackendRefused(f"Kafka refused the message: {_words(fault)}")
            case KafkaError._MSG_TIMED_OUT:
                raise Unconfirmed(f"Kafka did not confirm the message within {connection.patience:g} s; it may have it")
        raise Unconfirmed(f"Kafka did not confirm the message ({_words(fault)}); it may have it")

    async def prepare(self, topic: str) -> None:
        """Make the topic if it is missing, before there is anything to publish.

        Raises:
            BackendUnavailable: no broker answers, or not in time.
            BackendRefused: it is missing and cannot be made, or is not for us.
        """
        await self._checked(self._connected(), topic)

    async def close(self) -> None:
        """Wait a moment for what is under way, and let go of the brokers."""
        if self._connection is not None:
            await asyncio.to_thread(self._connection.close, _CLOSE_SECONDS)
            self._connection = None
        for closing in self._closing:
            await asyncio.to_thread(closing.join, _CLOSE_SECONDS)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _connected(self) -> "_Connection":
        """The connection, made anew after trouble: brokers that have lost their memory do not know the old one."""
        if self._connection is not None and self._connection.troubled:
            self._closing = {closing for closing in self._closing if closing.is_alive()}
            # What others have handed over meanwhile gets the time that it was promised.
            patience = self._connection.patience
            closing = threading.Thread(target=self._connection.close, args=(patience,), name="kafka-end", daemon=True)
            closing.start()
            self._closing.add(closing)
            self._connection = None
        if self._connection is None:
            self._connection = _Connection(self._settings)
            self._checks.clear()
        return self._connection

    async def _checked(self, connection: "_Connection", topic: str) -> None:
        """Ask a broker for the topic, once for all who want to publish there now.

        Raises:
            BackendUnavailable: none answers.
            BackendRefused: the topic is missing, and cannot be made.
        """
        check = self._checks.get(topic)
        if check is None:
            check = self._checks[topic] = asyncio.create_task(self._check(connection, topic))
            check.add_done_callback(lambda done: self._done(topic, done))
        await asyncio.shield(check)

    async def _check(self, connection: "_Connection", topic: str) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, connection.prepare, topic)

    def _done(self, topic: str, check: asyncio.Task[None]) -> None:
        if self._checks.get(topic) is check:
            del self._checks[topic]
        if not check.cancelled():
            check.exception()  # seen, even if nobody waits for it any more


class _Connection:
    """One client of the library, and the thread that it tells what became of messages."""

    def __init__(self, settings: Settings) -> None:
        whole = settings.webhook_timeout.total_seconds()
        self.patience = whole / 2
        """How long the brokers have to confirm a message, in seconds. The rest is for asking and making the topic."""
        self.troubled = False
        """Whether the next message should have another one."""
        self.problem = ""
        """What was wrong with the brokers last."""
        self._asking = whole / 4
        self._partitions = settings.kafka_partitions
        self._configuration = configuration(settings)
        self._producer = Producer(
            {
                **self._configuration,
                "acks": "all",
                "enable.idempotence": True,
                "message.timeout.ms": round(self.patience * 1000),
                "message.max.bytes": settings.kafka_max_message_bytes,
                "allow.auto.create.topics": False,  # we make them ourselves, with as many partitions as are wanted
                "reconnect.backoff.ms": 250,
                "reconnect.backoff.max.ms": 5000,
                "log.connection.close": False,
                "error_cb": self._noted,
            },
            logger=_Log(),
        )
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="kafka-reports", daemon=True)
        self._thread.start()

    def prepare(self, topic: str) -> None:
        """Ask a broker for the topic, and make it if it is missing. Blocks.

        Raises:
            BackendUnavailable: none answers.
            BackendRefused: the topic cannot be made, or not be written to.
        """
        self.problem = ""
        try:
            fault = self._producer.list_topics(topic, timeout=self._asking).topics[topic].error
        except KafkaException as error:
            self.troubled = True
            raise BackendUnavailable(f"Kafka cannot be reached: {self.problem or _words(error.args[0])}") from None
        if fault is None:
            return
        if fault.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            self._make(topic)
        elif fault.code() in _NEVER or fault.code() == KafkaError.TOPIC_EXCEPTION:
            raise BackendRefused(f"Kafka refuses the topic {topic}: {_words(fault)}")
        else:
            raise BackendUnavailable(f"The topic {topic} is not ready: {_words(fault)}")

    def _make(self, topic: str) -> None:
        admin = AdminClient(self._configuration, logger=_Log())
        # -1: as many replicas as the brokers keep by default.
        wanted = NewTopic(topic, num_partitions=self._partitions, replication_factor=-1)
        try:
            admin.create_topics([wanted], request_timeout=self._asking)[topic].result()
        except KafkaException as error:
            fault = error.args[0]
            if fault.code() in (KafkaError.TOPIC_ALREADY_EXISTS, KafkaError.REQUEST_TIMED_OUT):
                return  # somebody else was faster, or the brokers still tell each other
            if fault.code() in (KafkaError._TIMED_OUT, KafkaError._TRANSPORT):
                raise BackendUnavailable(f"The topic {topic} could not be made in time: {_words(fault)}") from None
            raise BackendRefused(f"The topic {topic} is missing and cannot be made: {_words(fault)}") from None
        log.info("topic was made", extra={"topic": topic, "partitions": self._partitions})

    async def deliver(
        self, topic: str, message: bytes, key: str | None, headers: Mapping[str, str]
    ) -> KafkaError | None:
        """Hand the message over; what is wrong with it, once that is known.

        Raises:
            BackendUnavailable: it was not handed over.
        """
        loop = asyncio.get_running_loop()
        report: asyncio.Future[KafkaError | None] = loop.create_future()

        def tell(fault: KafkaError | None) -> None:
            if not report.done():
                report.set_result(fault)

        def reported(fault: KafkaError | None, _: Message) -> None:
            with suppress(RuntimeError):  # the loop has ended, and with it whoever waited
                loop.call_soon_threadsafe(tell, fault)

        named: list[tuple[str, str | bytes | None]] = [(name, value.encode()) for name, value in headers.items()]
        try:
            self._producer.produce(topic, value=message, key=key, headers=named, on_delivery=reported)
        except BufferError:
            raise BackendUnavailable("Too many messages wait for Kafka already") from None
        except KafkaException as error:
            refused: KafkaError = error.args[0]
            if refused.fatal() or refused.code() == KafkaError._FATAL:
                self.troubled = True
                raise BackendUnavailable(f"Kafka cannot be written to: {self.problem or _words(refused)}") from None
            return refused
        fault = await report
        self.troubled |= fault is not None and fault.code() not in _NEVER
        return fault

    def close(self, seconds: float) -> None:
        """Give what is under way so much time, then forget it. Blocks."""
        self._producer.flush(seconds)
        self._producer.purge()
        self._producer.flush(_POLL_SECONDS)  # whoever still waits is told
        self._closed.set()
        self._thread.join(2 * _POLL_SECONDS)

    def _serve(self) -> None:
        while not self._closed.is_set():
            self._producer.poll(_POLL_SECONDS)

    def _noted(self, fault: KafkaError) -> None:
        if fault.code() != KafkaError._ALL_BROKERS_DOWN:
            self.problem = _words(fault)
        elif not self.problem:  # whoever is not there, or does not let us in, was named before
            protocol = self._configuration["security.protocol"].upper()
            self.problem = f"the brokers close the connection, as if they expected something else than {protocol}"
        self.troubled |= fault.fatal()


class _Log:
    """Takes what the library logs: it repeats itself several times a second while no broker answers."""

    def log(self, level: int, text: str, *facts: Any) -> None:
        """Log it, as something that only matters to who looks for it."""
        log.debug("kafka client says", extra={"level_of_client": level, "text": text % facts})


def _words(fault: KafkaError) -> str:
    """What is wrong, without the address of the broker and how long it took."""
    found = _AGE.sub("", _PLACE.sub("", fault.str() or fault.name()))
    # A handshake that fails at the first step is told in OpenSSL's words alone, one that fails later is named before.
    return f"SSL handshake failed: {found}" if found.startswith("error:") else found
