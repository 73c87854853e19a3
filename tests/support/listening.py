"""Servers of tests on loopback: how they listen, how a strict one reads a request, and what it can answer."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol


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
        finally:
            writer.close()

    def _answered(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Said:
        raise NotImplementedError


@asynccontextmanager
async def listening(server: Serves, tls: ssl.SSLContext | None = None) -> AsyncIterator[None]:
    """Let it listen on a free port, which it is told; no connection outlives this."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await server.serve(reader, writer)
        except asyncio.CancelledError:
            writer.close()
        finally:
            tasks.discard(task)

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listener.wait_closed()
