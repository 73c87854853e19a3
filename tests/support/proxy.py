"""An HTTP proxy for tests: a real one on loopback, that connects (CONNECT) and forwards, and remembers both."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.support.listening import listening


@dataclass
class TinyProxy:
    """The proxy. It knows names that nobody else does: `names` says which port of this machine each leads to."""

    names: dict[str, int] = field(default_factory=dict)
    credentials: str | None = None
    """What `Proxy-Authorization` has to be."""
    says: bytes | None = None
    """Instead of doing anything."""
    pause: float = 0
    """Before it does anything."""
    tunnels: list[str] = field(default_factory=list)
    """What it was asked to connect to."""
    forwarded: list[str] = field(default_factory=list)
    """First lines of the requests that it has passed on."""
    heads: list[dict[str, str]] = field(default_factory=list)
    """Headers of all that was asked of it."""
    connections: int = 0
    port: int = 0

    def url(self, credentials: str = "") -> str:
        """Where it is."""
        return f"http://{credentials}127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            await asyncio.sleep(self.pause)
            await self._asked(head, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass

    async def _asked(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self.heads.append(headers)
        method, target, _ = first.split(" ")
        if method == "CONNECT":
            self.tunnels.append(target)
        else:
            self.forwarded.append(first)
        if self.says is not None:
            writer.write(self.says)
            await writer.drain()
        elif headers.get("proxy-authorization") != self.credentials:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
        elif method == "CONNECT":
            host, _, port = target.rpartition(":")
            await self._piped(host.strip("[]"), int(port), reader, writer, b"")
        else:
            url = urlsplit(target)
            path = target.removeprefix(f"{url.scheme}://{url.netloc}")
            kept = [line for line in lines if not line.lower().startswith("proxy-")]
            sent = "\r\n".join([f"{method} {path} HTTP/1.1", *kept, "", ""]).encode()
            await self._piped(url.hostname or "", url.port or 80, reader, writer, sent)

    async def _piped(
        self, host: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes
    ) -> None:
        try:
            there = await asyncio.open_connection(
                "127.0.0.1" if host in self.names else host, self.names.get(host, port)
            )
        except OSError:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            return
        if first:
            there[1].write(first)
        else:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        pipes = [asyncio.ensure_future(_pipe(reader, there[1])), asyncio.ensure_future(_pipe(there[0], writer))]
        try:
            await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pipe in pipes:
                pipe.cancel()
            there[1].close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def proxy() -> AsyncIterator[TinyProxy]:
    """A proxy on a free port."""
    fake = TinyProxy()
    async with listening(fake):
        yield fake
