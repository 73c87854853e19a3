"""What is published for a run, and what the execution agent makes of it."""

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

import backends
from backends._topics import for_gitlab, publish_change, publish_run, signed
from backends.base import Unconfirmed
from domain.documents import Document, canonical
from domain.errors import BackendFault, BackendRefused, BackendUnavailable, InvalidInvocation
from domain.organization import Streamer
from domain.signatures import verify
from tests.support.port_agent import Order, order_of_run

SECRET = "0123456789abcdef0123456789abcdef"
RUN = "r_0123456789abcdef"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LEGACY: Document = {
    "action": "create_vm",
    "resourceType": "run",
    "context": {"entity": None, "blueprint": "vm", "runId": RUN},
    "payload": {
        "entity": None,
        "action": {"identifier": "vm_create_vm", "invocationMethod": {"type": "KAFKA"}, "trigger": "CREATE"},
        "properties": {"größe": 2},
    },
}


@dataclass
class Remembering:
    """Takes messages, or fails as it is told to."""

    fault: BackendFault | None = None
    taken: list[tuple[str, bytes, str | None, dict[str, str]]] = field(default_factory=list)

    async def publish(
        self, topic: str, message: bytes, *, key: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        if self.fault:
            raise self.fault
        self.taken.append((topic, message, key, dict(headers or {})))

    @property
    def message(self) -> bytes:
        """The only message."""
        ((topic, message, key, _),) = self.taken
        assert (topic, key) == ("org_1.runs", RUN)
        return message


def resources(kafka: Remembering | None, streamer: Streamer | None = "KAFKA") -> backends.Resources:
    async def said() -> Streamer | None:
        return streamer

    return backends.Resources(
        signing_secret=SECRET, organization="org_1", kafka=kafka, streamer=said, now=lambda: NOW, http=_transport()
    )


@functools.cache
def _transport() -> httpx.AsyncBaseTransport:
    """A way out that nobody takes; made once, as it takes longer than most tests."""
    return backends.open_transport()


DELIVERY = backends.Delivery(RUN, LEGACY, "vm_create_vm")


async def invoke(document: Document, kafka: Remembering | None, **how: Any) -> backends.Receipt:
    method = backends.parse_rendered(document)
    return await method.invoke(DELIVERY, resources(kafka, **how))


PAYLOADS: list[JsonValue] = [{"b": "é ☃", "a": [1, 2.5, 3.0, None]}, [1, {"a": 2}], "text", {}]


@pytest.mark.parametrize("payload", PAYLOADS, ids=["object", "array", "text", "empty"])
async def test_the_payload_is_the_message_and_the_run_waits_for_its_report(payload: JsonValue) -> None:
    kafka = Remembering()
    assert await invoke({"type": "KAFKA", "payload": payload}, kafka) == backends.Receipt()
    ((topic, message, key, headers),) = kafka.taken
    assert (topic, key) == ("org_1.runs", RUN)
    assert message.decode() == canonical(payload)
    assert {name: headers[name] for name in ("runId", "actionIdentifier")} == {
        "runId": RUN,
        "actionIdentifier": "vm_create_vm",
    }
    assert verify(SECRET, message, headers, NOW)
    assert not verify(SECRET, message + b" ", headers, NOW)


async def test_without_a_payload_it_is_the_message_that_older_consumers_expect() -> None:
    kafka = Remembering()
    await invoke({"type": "KAFKA"}, kafka)
    assert json.loads(kafka.message) == LEGACY


@pytest.mark.parametrize("method", [{"type": "KAFKA"}, {"type": "WEBHOOK", "url": "https://x.test", "agent": True}])
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (BackendUnavailable("Kafka cannot be reached: no"), BackendUnavailable),
        (Unconfirmed("Kafka did not confirm the message"), BackendRefused),
        (BackendRefused("The message is larger than Kafka takes"), BackendRefused),
    ],
)
async def test_what_is_wrong_is_told_as_it_is(method: Document, fault: BackendFault, kind: type[BackendFault]) -> None:
    with pytest.raises(kind, match=f"^Failed to .*: {fault}$") as told:
        await invoke(method, Remembering(fault))
    assert isinstance(told.value, type(fault))


async def test_without_a_broker_the_run_says_what_to_set() -> None:
    with pytest.raises(BackendRefused, match=r"No Kafka broker is configured: set INTERLOCK_KAFKA_BROKERS$"):
        await invoke({"type": "KAFKA"}, None)


def webhook(**more: JsonValue) -> Document:
    return {"type": "WEBHOOK", "url": "http://10.0.0.5/hook", "agent": True, **more}


async def ordered(document: Document, secret: str = SECRET) -> Order | None:
    """What the agent does about it."""
    kafka = Remembering()
    assert await invoke(document, kafka) == backends.Receipt()
    return order_of_run(kafka.message, secret)


async def test_the_agent_calls_what_the_webhook_says() -> None:
    body: Document = {"cpu": 2, "name": "größe ☃", "port_context": {"runId": RUN}}
    kafka = Remembering()
    document = webhook(body=body, headers={"RUN_ID": RUN, "x-port-signature": "forged"}, synchronized=True)
    assert await invoke(document, kafka) == backends.Receipt(), "the agent reports, so nothing is known yet"
    message: dict[str, Any] = json.loads(kafka.message)
    assert message["headers"].pop("X-Port-Signature").startswith("v1,")
    assert message["headers"].pop("X-Port-Timestamp") == "1767323045"
    expected: dict[str, Any] = {
        **body,
        "context": {"runId": RUN},
        "payload": {
            "action": {
                "invocationMethod": {
                    "type": "WEBHOOK",
                    "agent": True,
                    "url": "http://10.0.0.5/hook",
                    "synchronized": True,
                    "method": "POST",
                    "headers": {"RUN_ID": RUN, "x-port-signature": "forged"},
                    "body": body,
                }
            }
        },
        "headers": {"RUN_ID": RUN},
    }
    assert message == expected
    order = order_of_run(kafka.message, SECRET)
    assert order is not None
    assert (order.run_id, order.method, order.url, order.synchronized) == (RUN, "POST", "http://10.0.0.5/hook", True)


async def test_without_custom_headers_the_agent_believes_it_too() -> None:
    order = await ordered(webhook(body={"cpu": 2}, method="put"))
    assert order is not None
    assert (order.method, order.body["headers"], order.synchronized) == ("PUT", {}, False)


async def test_a_message_that_was_tampered_with_is_dropped() -> None:
    kafka = Remembering()
    await invoke(webhook(body={"cpu": 2}, headers={"A": "b"}), kafka)
    assert order_of_run(kafka.message, SECRET), "the agent would do what is not tampered with"
    assert order_of_run(kafka.message, SECRET[::-1]) is None
    tamperings: tuple[Callable[[dict[str, Any]], object], ...] = (
        lambda message: message.update(cpu=3),
        lambda message: message.update(more=1),
        lambda message: message["context"].update(runId="r_another"),
        lambda message: message["payload"]["action"]["invocationMethod"].update(url="https://evil.test"),
        lambda message: message["headers"].update(A="c"),
        lambda message: message["headers"].update({"X-Port-Timestamp": "1767323046"}),
        lambda message: message["headers"].pop("X-Port-Signature"),
    )
    for tampering in tamperings:
        message = json.loads(kafka.message)
        tampering(message)
        assert order_of_run(json.dumps(message).encode(), SECRET) is None


async def test_a_body_of_older_receivers_keeps_what_it_has_but_the_run_and_the_method() -> None:
    body: Document = {
        "context": {"blueprint": "vm", "runId": "r_another"},
        "payload": {"properties": {"a": 1}, "action": {"identifier": "x", "invocationMethod": {"agent": False}}},
    }
    order = await ordered(webhook(body=body))
    assert order is not None
    assert order.body["context"] == {"blueprint": "vm", "runId": RUN}
    assert order.body["payload"]["properties"] == {"a": 1}
    assert order.body["payload"]["action"]["identifier"] == "x"
    assert order.body["payload"]["action"]["invocationMethod"]["url"] == "http://10.0.0.5/hook"


async def test_without_a_body_the_agent_gets_the_message_of_older_receivers_once() -> None:
    order = await ordered(webhook())
    assert order is not None
    assert order.body["payload"]["properties"] == {"größe": 2}
    assert order.body["context"] == LEGACY["context"]
    assert "body" not in order.body["payload"]["action"]["invocationMethod"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([1], "body"),
        ("text", "body"),
        ({"context": 1}, "body.context"),
        ({"payload": []}, "body.payload"),
        ({"payload": {"action": "x"}}, "body.payload.action"),
    ],
)
async def test_what_an_agent_cannot_be_told_is_refused(body: JsonValue, field: str) -> None:
    kafka = Remembering()
    with pytest.raises(InvalidInvocation, match=rf"invocationMethod\.{field}: must be an object"):
        await invoke(webhook(body=body), kafka)
    assert not kafka.taken


@pytest.mark.parametrize("streamer", [None, "POLLING"])
async def test_an_agent_that_does_not_read_topics_has_to_claim_the_run(streamer: Streamer | None) -> None:
    kafka = Remembering()
    assert (await invoke(webhook(), kafka, streamer=streamer)).claim == "_PORT_EXEC_AGENT"
    assert not kafka.taken


async def test_without_a_broker_an_agent_has_to_claim_the_run_whatever_it_said() -> None:
    assert (await invoke(webhook(), None)).claim == "_PORT_EXEC_AGENT"


async def test_pipelines_of_gitlab_reach_the_agent_signed_without_headers() -> None:
    kafka = Remembering()
    using = resources(kafka)
    method: Document = {"type": "GITLAB", "projectName": "infra", "groupName": "acme/platform", "defaultRef": "main"}
    await publish_run(DELIVERY, for_gitlab(method, {"ref": "dev", "SERVICE": "ä"}, DELIVERY, using), using, {})
    order = order_of_run(kafka.message, SECRET)
    assert order is not None
    assert "headers" not in order.body, "the agent has taken them away, signature and all"
    assert order.body["payload"]["action"]["invocationMethod"] == {**method, "agent": True}
    assert order.body["payload"]["properties"] == {"ref": "dev", "SERVICE": "ä"}
    assert order.body["context"]["runId"] == RUN
    tampered = json.loads(kafka.message)
    tampered["payload"]["properties"]["ref"] = "main"
    assert order_of_run(json.dumps(tampered).encode(), SECRET) is None


async def test_a_change_is_published_under_its_subject_and_may_come_twice() -> None:
    kafka = Remembering()
    await publish_change({"action": "UPDATE", "ä": 1.0}, subject="vm/a", key="evt_1", using=resources(kafka))
    assert kafka.taken == [("org_1.change.log", '{"action":"UPDATE","ä":1}'.encode(), "vm/a", {"eventId": "evt_1"})]
    kafka.fault = Unconfirmed("nobody knows")
    with pytest.raises(BackendUnavailable, match=r"^nobody knows$"):
        await publish_change({}, subject="vm/a", key="evt_1", using=resources(kafka))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text('aé☃😀"\\ '),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('aé"', max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), _JSON, max_size=4))
def test_whatever_the_body_holds_the_agent_believes_what_we_sign(body: dict[str, Any]) -> None:
    method: Document = {"type": "WEBHOOK", "agent": True, "url": "https://x.test"}
    message: Document = {
        **body,
        "context": {},
        "payload": {"action": {"invocationMethod": method}},
        "headers": {"Ä": "ö"},
    }
    assert order_of_run(signed(message, resources(None)), SECRET)
