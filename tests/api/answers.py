"""How tests read the API's answers: a success with its one key, or a refusal that says why."""

from typing import Any

import httpx
import regex

Json = dict[str, Any]

INSTANT = regex.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
"""ISO 8601, UTC, milliseconds."""


def granted(answer: httpx.Response, key: str, *, status: int = 200) -> Any:
    """What a success holds under its one key."""
    assert answer.status_code == status, f"{answer.status_code} {answer.text}"
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body["ok"] is True
    assert body.keys() == {"ok", key}
    return body[key]


def refused(answer: httpx.Response, status: int, code: str | None, *words: str) -> str:
    """Why a request was refused, with exactly this status and code; the message has the words."""
    assert answer.status_code == status, f"{answer.status_code} {answer.text}"
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body.keys() == {"ok", "error", "message"}, body
    assert body["ok"] is False
    assert code is None or body["error"] == code, body
    message = body["message"]
    assert isinstance(message, str)
    assert message
    for word in words:
        assert word in message, f"{word!r} is not in {message!r}"
    return message
