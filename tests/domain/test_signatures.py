"""Signatures: the published vectors, and what a receiver refuses."""

import hmac
from base64 import b64encode
from datetime import UTC, datetime, timedelta

import pytest

from domain.signatures import SIGNATURE, TIMESTAMP, sign, verify

KEY = "0123456789abcdef0123456789abcdef"
AT = datetime.fromtimestamp(1700000000, UTC)


@pytest.mark.parametrize(
    ("body", "signature"),
    [
        (b"{}", "v1,QXrfNrkBdy9lhZenbTKWlOM15l/AhJ13FcPKM0BjCbU="),
        ('{"a":1,"b":"é"}'.encode(), "v1,BwfM5BhoG+dCbaRby0ZfbRrDWiGltbxe+5aX7XN9cFc="),
        (b'{"a":1,"b":"\\u00e9"}', "v1,r6c/yfxGoKD4EWWeZquZAGZec0YEwhrcfrn77cj914E="),
    ],
)
def test_vectors(body: bytes, signature: str) -> None:
    assert sign(KEY, body, AT) == {"X-Port-Timestamp": "1700000000", "X-Port-Signature": signature}


def test_the_time_is_whole_seconds() -> None:
    assert sign(KEY, b"", AT + timedelta(milliseconds=999))[TIMESTAMP] == "1700000000"


def test_a_receiver_accepts_what_we_sign_whatever_the_case_of_the_names() -> None:
    headers = {name.lower(): value for name, value in sign("schlüssel", b"[1]", AT).items()}
    assert verify("schlüssel", b"[1]", headers, AT + timedelta(minutes=5))
    assert verify("schlüssel", b"[1]", headers, AT - timedelta(minutes=5))


@pytest.mark.parametrize(
    "wrong",
    [
        {"secret": "other"},
        {"body": b"[2]"},
        {"at": AT + timedelta(minutes=5, seconds=1)},
        {"at": AT - timedelta(minutes=5, seconds=1)},
        {"headers": {}},
        {"headers": {TIMESTAMP: "1700000000"}},
        {"headers": {TIMESTAMP: "1700000000", SIGNATURE: "v1,ä"}},
        {"headers": {TIMESTAMP: "1700000001", SIGNATURE: sign(KEY, b"[1]", AT)[SIGNATURE]}},
        {"headers": {TIMESTAMP: "1700000000", SIGNATURE: sign(KEY, b"[1]", AT)[SIGNATURE].removeprefix("v1,")}},
    ],
)
def test_a_receiver_refuses(wrong: dict[str, object]) -> None:
    right: dict[str, object] = {"secret": KEY, "body": b"[1]", "headers": sign(KEY, b"[1]", AT), "at": AT}
    assert verify(**right)  # type: ignore[arg-type]
    assert not verify(**{**right, **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize("timestamp", ["", "now", "9" * 30, "1e9"])
def test_a_signed_timestamp_that_is_no_time_is_refused(timestamp: str) -> None:
    mac = b64encode(hmac.digest(KEY.encode(), f"{timestamp}.x".encode(), "sha256")).decode()
    assert not verify(KEY, b"x", {TIMESTAMP: timestamp, SIGNATURE: f"v1,{mac}"}, AT)
