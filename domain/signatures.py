"""Signatures of what we send: receivers prove with the client secret that a request is ours, and recent."""

import hmac
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

TIMESTAMP: Final = "X-Port-Timestamp"
SIGNATURE: Final = "X-Port-Signature"

_SCHEME = "v1"


def sign(secret: str, body: bytes, at: datetime) -> dict[str, str]:
    """The two headers that sign exactly these bytes. Without a body, sign `b""`.

    >>> sign("0123456789abcdef0123456789abcdef", b"{}", datetime.fromtimestamp(1700000000, UTC))["X-Port-Signature"]
    'v1,QXrfNrkBdy9lhZenbTKWlOM15l/AhJ13FcPKM0BjCbU='

    Source: webhook signatures: HMAC-SHA-256 over `<unix seconds>.<body>`, keyed by the client secret.
    """
    timestamp = str(int(at.timestamp()))
    return {TIMESTAMP: timestamp, SIGNATURE: f"{_SCHEME},{_mac(secret, timestamp, body)}"}


def verify(
    secret: str,
    body: bytes,
    headers: Mapping[str, str],
    at: datetime,
    tolerance: timedelta = timedelta(minutes=5),
) -> bool:
    """Whether the headers sign this body with this secret, no longer ago (or ahead) than the tolerance."""
    given = {name.lower(): value for name, value in headers.items()}
    timestamp, signature = given.get(TIMESTAMP.lower(), ""), given.get(SIGNATURE.lower(), "")
    expected = f"{_SCHEME},{_mac(secret, timestamp, body)}"
    if not hmac.compare_digest(expected.encode(), signature.encode()):
        return False
    try:
        signed_at = datetime.fromtimestamp(int(timestamp), UTC)
    except (ValueError, OverflowError, OSError):
        return False
    return abs(at - signed_at) <= tolerance


def _mac(secret: str, timestamp: str, body: bytes) -> str:
    return b64encode(hmac.digest(secret.encode(), timestamp.encode() + b"." + body, "sha256")).decode()
