"""What the execution agent makes of the topics it reads: as strict as it is, so that what passes here passes there."""

import hmac
import json
from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Order:
    """A request that the agent sends: by default the whole message is its body."""

    run_id: str | None
    method: str
    url: str
    synchronized: bool
    body: Json


def order_of_run(value: bytes, secret: str) -> Order | None:
    """What the agent does about a message of the topic of runs; None: nothing, and only its log says why."""
    message = json.loads(value.decode())
    said = message.get("payload", {}).get("action", {}).get("invocationMethod", {})
    if not said.get("agent", False):
        return None
    run_id = message["context"].get("runId")
    if not _believed(message, said.get("type", ""), secret):
        return None
    return Order(run_id, said.get("method", "POST"), said.get("url", ""), bool(said.get("synchronized")), message)


def order_of_change(value: bytes) -> Order | None:
    """What the agent does about a message of the topic of changes, which are not signed."""
    message = json.loads(value.decode())
    said = message.get("changelogDestination", {})
    if not said.get("agent", False):
        return None
    return Order(message["context"].get("runId"), said.get("method", "POST"), said["url"], False, message)


def _believed(message: Json, kind: str, secret: str) -> bool:
    """Whether the signature fits the message without it; of GitLab's, without any headers. The age does not matter."""
    if "changelogDestination" in message:
        return True
    signature = message.get("headers", {}).get("X-Port-Signature")
    timestamp = message.get("headers", {}).get("X-Port-Timestamp")
    if not signature or not timestamp:
        return False
    if kind == "GITLAB":
        del message["headers"]
    else:
        del message["headers"]["X-Port-Signature"]
        del message["headers"]["X-Port-Timestamp"]
    text = json.dumps(message, separators=(",", ":"), ensure_ascii=False)
    expected = hmac.new(secret.encode(), f"{timestamp}.{text}".encode(), sha256).digest()
    return bool(signature == f"v1,{b64encode(expected).decode()}")
