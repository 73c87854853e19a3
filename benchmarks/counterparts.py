"""What the other systems are in benchmarks: lean servers that answer at once, and say which runs they have seen."""

import asyncio
import json
import re
import threading
import time
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

RUN_ID = re.compile(rb"r_[A-Za-z0-9]{8,}")
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_Result = TypeVar("_Result")


class Seen:
    """Which runs their counterpart has seen."""

    def __init__(self) -> None:
        self._events: dict[str, asyncio.Event] = {}

    def put(self, run_id: str) -> None:
        """It has."""
        self._events.setdefault(run_id, asyncio.Event()).set()

    async def wait(self, run_id: str) -> None:
        """Until it has."""
        await self._events.setdefault(run_id, asyncio.Event()).wait()
        del self._events[run_id]


class Counterpart:
    """Answers as GitHub, GitLab, Azure DevOps, Slack and a webhook do, by the path. It has a thread of its own."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self.url = ""
        self.requests = 0
        """How many there were."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    async def __aenter__(self) -> Self:
        """Listen on a free port of loopback."""
        self._told = asyncio.get_running_loop()
        self._thread.start()
        server = await self._there(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join)

    async def cpu(self) -> float:
        """CPU seconds that it has taken so far."""

        async def ask() -> float:
            return time.thread_time()

        return await self._there(ask())

    async def _there(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                body = await reader.readexactly(int(length[1])) if length else b""
                status, answer = self._answer(head.split(b" ", 2)[1].decode())
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                kind = "text/plain" if isinstance(answer, bytes) else "application/json"
                line = f"HTTP/1.1 {status} OK\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n"
                writer.write(line.encode() + data)
                if found := RUN_ID.search(body):
                    self._told.call_soon_threadsafe(self._seen.put, found[0].decode())
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _answer(self, path: str) -> tuple[int, Any]:
        self.requests += 1
        if path.startswith("/repos/"):
            if path.endswith("/dispatches"):
                link = f"https://github.example/o/r/actions/runs/{self.requests}"
                return 200, {"workflow_run_id": self.requests, "run_url": link, "html_url": link}
            return 200, {"id": 7, "owner": {"id": 8}, "default_branch": "main", "private": True}
        if path.startswith("/api/v4/"):
            link = f"https://gitlab.example/g/p/-/pipelines/{self.requests}"
            return 201, {"id": self.requests, "project_id": 9, "status": "created", "ref": "main", "web_url": link}
        if path.startswith("/services/"):
            return 200, b"ok"
        return 200, {"ok": True}
