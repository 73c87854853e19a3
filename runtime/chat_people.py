"""What both chats need to ask somebody else's API who a person is: one bounded request, and a short memory."""

import asyncio
import time
from typing import Any

import httpx
from pydantic import JsonValue

from domain import documents
from domain.errors import InvalidRequest, Unavailable
from runtime import egress
from runtime.settings import Settings

_SECONDS = 5.0
_MOST_BYTES = 256 * 1024
_MEMORY_SECONDS = 60.0
_MOST_KNOWN = 1000


def client(settings: Settings) -> httpx.AsyncClient:
    """What asks; it follows nobody anywhere, and goes out as everything of this deployment does."""
    way_out = egress.open_transport(settings)
    return httpx.AsyncClient(transport=way_out, timeout=_SECONDS, follow_redirects=False, trust_env=False)


async def asked(http: httpx.AsyncClient, whom: str, method: str, url: str, **how: Any) -> tuple[int, JsonValue]:
    """The status and the JSON that the API answers with; None where it is no JSON.

    Raises:
        Unavailable: it does not answer, or not in time, or without end.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(_SECONDS), http.stream(method, url, **how) as response:
            async for part in response.aiter_bytes():
                body += part
                if len(body) > _MOST_BYTES:
                    raise Unavailable(f"{whom} answers with more than it should; try again later")
            status = response.status_code
    except (httpx.HTTPError, TimeoutError):
        raise Unavailable(f"{whom} does not answer; nothing was done, so try again") from None
    try:
        return status, documents.parse(bytes(body))
    except InvalidRequest:
        return status, None


class Remembered:
    """Who somebody is in their chat, for a minute: long enough for one conversation."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, float]] = {}

    def get(self, key: str) -> str | None:
        """The email address, if it was asked for a moment ago."""
        email, until = self._known.get(key, ("", 0.0))
        return email if time.monotonic() < until else None

    def put(self, key: str, email: str) -> None:
        """Remember it; whoever was asked for first is forgotten first."""
        self._known.pop(key, None)
        while len(self._known) >= _MOST_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[key] = (email, time.monotonic() + _MEMORY_SECONDS)
