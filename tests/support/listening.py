"""Servers of tests on loopback: how they listen, how a strict one reads a request, and what it can answer."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]
"""Takes one connection, until it ends."""


class Serves(Protocol):
    """Whoever takes connections."""

    port: int

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one connection, until it ends."""


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    operation: str = ""


@dataclass(frozen=True)
class Said:
    """An answer: a status with JSON, or exactly these bytes."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    after_all: bool = False
    """Whether what was asked for is done all the same."""
    pause: float = 0
    """How long to wait before it is sent, and with `raw` also before the connection ends."""

    def encoded(self) -> bytes:
        """As it goes over the wire."""
        if self.raw is not None:
            return self.raw
        content = (
            b"" if self.body is None else self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        )
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Content-Length": str(len(content)),
            **self.headers,
        }
        if self.status == 204:
            headers.pop("Content-Length")
        lines = [f"HTTP/1.1 {self.status} X", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode() + content


class Strict:
    """Another system: it remembers in `faults` what it would not take."""

    port: int
    faults: list[str]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, as each of ours has a connection of its own."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            if len(headers) != len(lines):
                self.faults.append(f"{first}: a header comes twice")
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            method, target, _ = first.split(" ")
            said = self._answered(method, target, headers, body)
            await asyncio.sleep(said.pause)
            writer.write(said.encoded())
            await writer.drain()
            if said.raw is not None:
                await asyncio.sleep(said.pause)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except Exception as broken:
            self.faults.append(f"the server itself is broken: {broken!r}")
            raise

    def _answered(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Said:
        raise NotImplementedError


class _Connections:
    """Those that a server has taken; each is closed when whoever serves it has ended, or never began.

    Called by the event loop, which makes no task of its own for it then: one that is cancelled before it has begun
    would leave its connection open.
    """

    def __init__(self, serve: Handler) -> None:
        self._serve = serve
        self._open: set[asyncio.Task[None]] = set()
        self._closed = False

    def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._closed:
            writer.close()
            return

        def ended(task: asyncio.Task[None]) -> None:
            self._open.discard(task)
            writer.close()
            if not task.cancelled() and (fault := task.exception()) is not None:
                said = {"message": "a server of the tests is broken", "exception": fault}
                task.get_loop().call_exception_handler(said)

        task = asyncio.ensure_future(self._serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(ended)

    async def close(self) -> None:
        self._closed = True
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)


async def no_more(listener: int) -> None:
    """Take no connection any more at this descriptor; the server knows all that were taken when this returns.

    Servers of asyncio lose, and leave open, what they have just taken when they are closed.
    """
    asyncio.get_running_loop().remove_reader(listener)
    await asyncio.sleep(0)


@asynccontextmanager
async def serving(serve: Handler, *, port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Let it take connections on loopback, on the port that this tells; no connection outlives this."""
    connections = _Connections(serve)
    listener = await asyncio.start_server(connections, "127.0.0.1", port, ssl=tls)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        await no_more(listener.sockets[0].fileno())
        listener.close()
        await connections.close()
        await listener.wait_closed()


@asynccontextmanager
async def listening(server: Serves, tls: ssl.SSLContext | None = None) -> AsyncIterator[None]:
    """Let it listen on a free port, which it is told; no connection outlives this."""
    async with serving(server.serve, tls=tls) as server.port:
        yield
