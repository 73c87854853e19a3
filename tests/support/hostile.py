"""Everything that can go wrong between us and a counterpart that is spoken to by HTTP: one row for each way."""

import asyncio
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from tests.support.listening import Said

DRIP = 0.1
"""Seconds between two parts of an answer that comes slowly."""
_WITHOUT_END = 600


class Way(Enum):
    """What a row means for the run: nothing else has to be known of it."""

    UNREACHABLE = auto()
    """No byte of the request was sent."""
    UNTRUSTED = auto()
    """Nor will one ever be."""
    REFUSED = auto()
    """The answer is a no."""
    LIMITED = auto()
    """The answer asks to come again."""
    BROKEN = auto()
    """The answer is no yes, and may come from somebody who does not know."""
    LOST = auto()
    """Nobody knows what the answer would have been."""
    HALF = auto()
    """The answer begins like a yes, and its end is missing."""
    ODD = auto()
    """The answer is a yes, with something in it that is no use."""


class Where(Enum):
    """Which address the counterpart has."""

    HERE = auto()
    NO_NAME = auto()
    NOBODY = auto()
    UNTRUSTED = auto()
    NO_TLS = auto()


@dataclass(frozen=True)
class Row:
    """One way to fail."""

    name: str
    way: Way
    cause: str
    """In our words, or the counterpart's; a regular expression."""
    parts: tuple[bytes, ...] = ()
    every: float = 0
    where: Where = Where.HERE
    status: int = 0

    def __str__(self) -> str:
        return self.name


def _said(name: str, way: Way, status: int, body: Any = b"", cause: str = "", **headers: str) -> Row:
    said = Said(status, body, {key.replace("_", "-"): value for key, value in headers.items()})
    return Row(name, way, cause or f"status code {status}", (said.encoded(),), status=status)


def _head(status: int, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def _bomb() -> bytes:
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    return b"".join([*(packer.compress(bytes(2**20)) for _ in range(64)), packer.flush()])


_METADATA = "http://169.254.169.254/latest/meta-data/"
_CUT = "the connection was cut before the answer was complete"
_SLOW = "no answer within 3 s"
_NOT_WHOLE = "the answer was not complete within 3 s"
_DRIPS = [b" "] * 100

ROWS = (
    Row("DNS", Way.UNREACHABLE, "nowhere.invalid has no address", where=Where.NO_NAME),
    Row("refused", Way.UNREACHABLE, "Connection refused", where=Where.NOBODY),
    Row("TLS that nobody speaks", Way.UNREACHABLE, "(TLS failed: .*|no connection .*)", where=Where.NO_TLS),
    Row("TLS that cannot be trusted", Way.UNTRUSTED, "the certificate of 127.0.0.1 does not verify: .*",
        where=Where.UNTRUSTED),
    Row("no answer", Way.LOST, _SLOW, (b"",), every=_WITHOUT_END),
    Row("a head that drips", Way.LOST, _SLOW, (b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * 100), every=DRIP),
    Row("cut before it began", Way.LOST, _CUT, (b"",)),
    Row("cut in its head", Way.LOST, _CUT, (b"HTTP/1.1 20",)),
    Row("no HTTP", Way.LOST, "the answer is not valid HTTP", (b"SMTP ready\r\n\r\n",)),
    Row("a head without end", Way.LOST, "the answer is not valid HTTP",
        (b"HTTP/1.1 200 OK\r\n" + (b"X-More: " + b"x" * 1000 + b"\r\n") * 128,)),
    _said("moved", Way.REFUSED, 301, b"", Location="https://example.test/"),
    _said("moved to the metadata service", Way.REFUSED, 307, b"", Location=_METADATA),
    _said("bad request", Way.REFUSED, 400, {"message": "no ref"}, "no ref"),
    _said("unauthorized", Way.REFUSED, 401),
    _said("forbidden", Way.REFUSED, 403, {"message": "not you"}, "not you"),
    _said("not found, as a page", Way.REFUSED, 404, b"<html>no</html>"),
    _said("unprocessable", Way.REFUSED, 422, {"message": ["x", 1, None]}, ".*"),
    Row("a no that was cut", Way.REFUSED, "status code 404", (_head(404, Content_Length="99"), b"{"), status=404),
    Row("a no that drips", Way.REFUSED, "status code 404", (_head(404), *_DRIPS), every=DRIP, status=404),
    Row("a huge no", Way.REFUSED, "status code 404", (_head(404), b"x" * 2**21), status=404),
    _said("too many", Way.LIMITED, 429, b"", "slow down", Retry_After="7"),
    _said("too many, without a word", Way.LIMITED, 429, b"", "slow down"),
    _said("failed", Way.BROKEN, 500, {"message": "oops"}, "oops"),
    _said("a gateway's page", Way.BROKEN, 502, b"<html>Bad Gateway</html>"),
    _said("unavailable", Way.BROKEN, 503),
    _said("a gateway's time-out", Way.BROKEN, 504),
    _said("a bomb that failed", Way.BROKEN, 500, _bomb(), Content_Encoding="gzip"),
    Row("a failure that drips", Way.BROKEN, "status code 500", (_head(500), *_DRIPS), every=DRIP, status=500),
    Row("a huge failure", Way.BROKEN, "status code 500", (_head(500), b"x" * 2**21), status=500),
    Row("cut in the middle", Way.HALF, _CUT, (_head(200, Content_Length="99"), b'{"a":')),
    Row("an answer that drips", Way.HALF, _NOT_WHOLE, (_head(200), *_DRIPS), every=DRIP),
    Row("what cannot be unpacked", Way.HALF, "the answer cannot be decompressed",
        (_head(200, Content_Encoding="gzip"), b"no gzip")),
    _said("an object of other types", Way.ODD, 200, {"id": "7", "status": 1, "workflow_run_id": True, "web_url": []}),
    _said("a list", Way.ODD, 200, [[]]),
)  # fmt: skip


@dataclass
class Hostile:
    """A counterpart that answers what it is only asked to read, and to everything else as its row says."""

    row: Row
    reads: Callable[[str], Any]
    """What is read at a path."""
    port: int = 0
    starts: list[bytes] = field(default_factory=list)
    """The bodies of what it was told to do."""
    place: str = ""
    """What all paths have that it was meant with; what goes elsewhere is for whoever listened here before."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        try:
            if self.row.where is Where.NO_TLS:
                await reader.read(1)
                return writer.write(Said(400).encoded())
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            length = next(
                (line.partition(":")[2] for line in head.lower().split("\r\n") if "content-length" in line), "0"
            )
            body = await reader.readexactly(int(length))
            method, target, _ = head.split(" ", 2)
            if method == "GET":
                writer.write(Said(200, json.loads(json.dumps(self.reads(target.partition("?")[0])))).encoded())
            else:
                if self.place in target:
                    self.starts.append(body)
                for part in self._parts():
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(self.row.every)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass

    def _parts(self) -> Iterator[bytes]:
        yield from self.row.parts
