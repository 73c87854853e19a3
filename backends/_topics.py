"""What is published to Kafka: the topics of the organization, and messages that the execution agent believes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import anyio
from pydantic import JsonValue

from backends._exchanges import KafkaExchange
from backends.base import Delivery, Producer, Resources, Unconfirmed
from domain.documents import Document, canonical
from domain.errors import BackendFault, BackendRefused, BackendUnavailable, InvalidInvocation
from domain.signatures import SIGNATURE, TIMESTAMP, sign

RUNS = "runs"
CHANGES = "change.log"

_SIGNED = {SIGNATURE.lower(), TIMESTAMP.lower()}


def topic(organization: str, name: str) -> str:
    """The topic of that name.

    >>> topic("org_1", RUNS)
    'org_1.runs'
    """
    return f"{organization}.{name}"


def producer(using: Resources) -> Producer:
    """The way into Kafka.

    Raises:
        BackendRefused: there is none.
    """
    if using.kafka is None:
        raise BackendRefused("No Kafka broker is configured: set INTERLOCK_KAFKA_BROKERS")
    return _Observed(using.kafka, using) if using.observe else using.kafka


@dataclass(frozen=True)
class _Observed:
    """A producer, of whose messages somebody keeps account."""

    producer: Producer
    using: Resources

    async def publish(
        self, topic: str, message: bytes, *, key: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        at, began = self.using.now(), anyio.current_time()

        def tell(fault: str | None = None, *, sent: bool = True) -> None:
            took = timedelta(seconds=anyio.current_time() - began)
            if self.using.observe:
                self.using.observe(
                    KafkaExchange(at=at, took=took, topic=topic, key=key, size=len(message), fault=fault, sent=sent)
                )

        try:
            await self.producer.publish(topic, message, key=key, headers=headers)
        except BackendFault as fault:
            tell(str(fault), sent=isinstance(fault, Unconfirmed))
            raise
        tell()


async def publish_run(delivery: Delivery, message: bytes, using: Resources, headers: dict[str, str]) -> None:
    """Publish the message to the topic of runs, under the id of the run and with the name of its action beside it.

    Raises:
        BackendUnavailable: no broker can have taken it.
        BackendRefused: one may have, or none ever will.
    """
    said = {"runId": delivery.run_id, "actionIdentifier": delivery.action, **headers}
    where = topic(using.organization, RUNS)
    await producer(using).publish(where, message, key=delivery.run_id, headers=said)


async def publish_change(message: Document, *, subject: str, key: str, using: Resources) -> None:
    """Publish a change of the catalog to the topic of changes; `key` is the same however often that is done.

    Raises:
        BackendUnavailable: no broker has it, or nobody knows. The text is the cause.
        BackendRefused: it will never do. The text is the cause.
    """
    where = topic(using.organization, CHANGES)
    try:
        await producer(using).publish(where, canonical(message).encode(), key=subject, headers={"eventId": key})
    except Unconfirmed as fault:  # perhaps it was sent; whoever gets it twice knows it by its key
        raise BackendUnavailable(str(fault)) from None


def for_agent(method: Document, delivery: Delivery, using: Resources) -> bytes:
    """What the agent is told to do: the body of the request, and in its places the run, the method and the signature.

    The message that older receivers expect has these places already; what is there stays, except the run and the
    method. `method` is rendered and complete.

    Source: the topic of runs, as the execution agent reads it.

    Raises:
        InvalidInvocation: the body is no object, or something else is where the agent looks for an object.
    """
    message = dict(_object(method.get("body", {}), "body"))
    payload = dict(_object(message.get("payload", {}), "body.payload"))
    action = dict(_object(payload.get("action", {}), "body.payload.action"))
    headers = _object(method.get("headers", {}), "headers")
    if message == delivery.legacy_message:  # which nobody wrote, so nobody looks for it among the method's own fields
        method = {name: value for name, value in method.items() if name != "body"}
    message["context"] = {**_object(message.get("context", {}), "body.context"), "runId": delivery.run_id}
    message["payload"] = {**payload, "action": {**action, "invocationMethod": {**method, "agent": True}}}
    message["headers"] = {name: value for name, value in headers.items() if name.lower() not in _SIGNED}
    return signed(message, using)


def for_gitlab(method: Document, properties: Document, delivery: Delivery, using: Resources) -> bytes:
    """What the agent starts a pipeline by: the message of version 1, with what the pipeline gets as its properties.

    `method` has `type`, `projectName` and `groupName`, and may have `defaultRef` and `pipelineVariables`.

    Source: the topic of runs, as the execution agent reads it; GitLab is not among the methods that it asks for.

    Raises:
        InvalidInvocation: it cannot be written as JSON.
    """
    message = dict(delivery.legacy_message)
    payload = dict(_object(message.get("payload", {}), "payload"))
    action = dict(_object(payload.get("action", {}), "payload.action"))
    message["context"] = {**_object(message.get("context", {}), "context"), "runId": delivery.run_id}
    message["payload"] = {
        **payload,
        "action": {**action, "invocationMethod": {**method, "type": "GITLAB", "agent": True}},
        "properties": properties,
    }
    message.pop("headers", None)  # it is signed without them
    return signed(message, using)


def signed(message: Document, using: Resources) -> bytes:
    """The message with the signature among its `headers`; it signs the message with all other headers in their place.

    Raises:
        InvalidInvocation: it cannot be written as JSON.
    """
    try:
        signature = sign(using.signing_secret, canonical(message).encode(), using.now())
        headers = _object(message.get("headers", {}), "headers")
        return canonical({**message, "headers": {**headers, **signature}}).encode()
    except ValueError:
        raise InvalidInvocation("invocationMethod: cannot be written as JSON") from None


def _object(value: JsonValue, field: str) -> Document:
    if not isinstance(value, dict):
        raise InvalidInvocation(f"invocationMethod.{field}: must be an object, which is all that an agent can be told")
    return value
