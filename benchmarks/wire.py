"""A lean HTTP client and backend, so that what is measured is the product and not the measuring."""

import asyncio
import json
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit


class Connection:
    """One kept connection to an HTTP server."""

    def __init__(self, base_url: str, token: str | None = None) -> None:
        parts = urlsplit(base_url)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        self.token = token

    async def __aenter__(self) -> Self:
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        self._writer.close()

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Send a request; the status and the parsed body of the answer."""
        data = json.dumps(body).encode() if body is not None else b""
        token = f"Authorization: Bearer {self.token}\r\n" if self.token else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{token}Content-Type: application/json\r\n"
        self._writer.write(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        return int(answer.split()[1]), json.loads(await self._body(answer))

    async def _body(self, head: bytes) -> bytes:
        if _header(head, b"transfer-encoding") != "chunked":
            return await self._reader.readexactly(_length(head))
        pieces = []
        while size := int(await self._reader.readline(), 16):
            pieces.append((await self._reader.readexactly(size + 2))[:-2])
        await self._reader.readline()
        return b"".join(pieces)


class Backend:
    """Answers every request at once and remembers when it came, by idempotency key."""

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}
        self._waiting: dict[str, asyncio.Event] = {}
        self.url = ""

    async def __aenter__(self) -> Self:
        """Listen on a free port of loopback."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/hook"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        self._server.close()

    async def reached(self, run_id: str) -> float:
        """When the run reached us, in seconds of `time.perf_counter`."""
        if run_id not in self.seen:
            await self._waiting.setdefault(run_id, asyncio.Event()).wait()
        return self.seen[run_id]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                at = time.perf_counter()
                await reader.readexactly(_length(head))
                writer.write(
                    b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"ok":true}'
                )
                run_id = _header(head, b"idempotency-key") or ""
                self.seen[run_id] = at
                if event := self._waiting.pop(run_id, None):
                    event.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


async def repeatedly(times: int, clients: int, once: Callable[[int], Any]) -> float:
    """Call `once` so many times from so many clients; how many seconds it took."""
    numbers = iter(range(times))

    async def client(number: int) -> None:
        for _ in numbers:
            await once(number)

    began = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(clients)))
    return time.perf_counter() - began


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _length(head: bytes) -> int:
    return int(_header(head, b"content-length") or 0)


def _header(head: bytes, name: bytes) -> str | None:
    for line in head.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.lower() == name:
            return value.strip().decode()
    return None
