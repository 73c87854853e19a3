"""Slack's incoming webhooks for tests: a real HTTP server on loopback that says what Slack says, and why not."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.listening import listening

PATH = "/services/T01ABCDEF/B02GHIJKL/abcdefghijklmnopqrstuvwx"
_MOST_BLOCKS, _MOST_ATTACHMENTS = 50, 100


@dataclass
class SlackWebhook:
    """One webhook; `posted` is what stands in its channel."""

    posted: list[dict[str, Any]] = field(default_factory=list)
    asked: int = 0
    archived: bool = False
    removed: bool = False
    prohibited: bool = False
    limits: list[dict[str, str]] = field(default_factory=list)
    """Headers of the next answers, which say that there was too much."""
    port: int = 0

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}{PATH}"

    def said(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, str, dict[str, str]]:
        """Status, text and headers of the answer."""
        if self.limits:
            return 429, "rate_limited", self.limits.pop(0)
        if method != "POST":
            return 400, "invalid_payload", {}
        if path != PATH:
            return (
                (403, "invalid_token", {})
                if path.rpartition("/")[0] == PATH.rpartition("/")[0]
                else (404, "no_team", {})
            )
        if self.removed:
            return 404, "no_service", {}
        if self.archived:
            return 410, "channel_is_archived", {}
        if self.prohibited:
            return 403, "action_prohibited", {}
        if headers.get("content-type", "").partition(";")[0] != "application/json":
            return 400, "invalid_payload", {}
        return self._posted(body)

    def _posted(self, body: bytes) -> tuple[int, str, dict[str, str]]:
        try:
            message = json.loads(body)
        except ValueError:
            return 400, "invalid_payload", {}
        if not isinstance(message, dict):
            return 400, "invalid_payload", {}
        if len(message.get("attachments", [])) > _MOST_ATTACHMENTS:
            return 400, "too_many_attachments", {}
        blocks = message.get("blocks", [])
        if len(blocks) > _MOST_BLOCKS or any("type" not in block for block in blocks):
            return 400, "invalid_blocks", {}
        if not any(message.get(key) for key in ("text", "blocks", "attachments")):
            return 400, "no_text", {}
        self.posted.append(message)
        return 200, "ok", {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, as each of ours has a connection of its own."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            method, path, _ = first.split(" ")
            self.asked += 1
            status, text, more = self.said(method, path, headers, body)
            answer = {"Content-Type": "text/html", "Content-Length": str(len(text)), "Server": "Apache", **more}
            lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in answer.items())]
            writer.write("\r\n".join([*lines, "", text]).encode())
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass


@asynccontextmanager
async def slack_webhook(**said: Any) -> AsyncIterator[SlackWebhook]:
    """A webhook on a free port."""
    fake = SlackWebhook(**said)
    async with listening(fake):
        yield fake
