"""One HTTP exchange: bounded in time and size, and exact about whether the peer can have seen the request."""

import codecs
import os
import ssl
import zlib
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

import anyio
import httpx
from pydantic import JsonValue

from backends import _destinations
from backends._exchanges import HttpExchange
from backends._proxy import ProxyFault
from backends.base import Resources, Unconfirmed
from domain import documents
from domain.errors import (
    BackendFault,
    BackendRefused,
    BackendUnavailable,
    InvalidRequest,
    PrivateDestination,
    UnresolvableDestination,
)

_FAULTS = (
    httpx.TransportError,
    OSError,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
)
_BEFORE_SENDING = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_CHARSETS = frozenset({"utf-8", "ascii", "iso8859-1", "cp1252"})
"""Others (`punycode`, say) decode so slowly that an answer could keep us busy."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent, complete but for the address."""

    method: str
    url: httpx.URL
    headers: dict[str, str]
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    text: str
    cut: bool = False
    """Whether there was more than `Resources.response_limit`."""
    broken: str | None = None
    """Why the answer is not complete, if it is not."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """By their names in lower case."""

    @property
    def accepted(self) -> bool:
        """Whether the peer says that all is well."""
        return 200 <= self.status < 300

    def value(self) -> JsonValue:
        """The JSON value if it is one that can be kept, else the text; None for nothing."""
        if not self.text:
            return None
        try:
            return documents.parse(self.text.encode())
        except InvalidRequest:
            return self.text


async def send(request: Request, using: Resources) -> Answer:
    """Send once. An answer whose rest did not come in time, or at all, is `broken`.

    Raises:
        BackendUnavailable: no byte of the request was sent. The text is the cause.
        Unconfirmed: it may have been sent. The text is the cause.
        BackendRefused: its destination will never do. The text is the cause.
    """
    exchange = _Exchange(request, using)
    if using.observe is None:
        return await _sent(exchange, using)
    at, began = using.now(), anyio.current_time()
    answer: Answer | None = None
    fault: str | None = None
    possible = True
    try:
        answer = await _sent(exchange, using)
        fault = answer.broken
    except BackendFault as unanswered:
        fault = str(unanswered)
        possible = exchange.sent is not False and not isinstance(unanswered, BackendUnavailable)
        raise
    finally:
        if answer is not None or fault is not None:  # else it was stopped from outside
            took = timedelta(seconds=anyio.current_time() - began)
            using.observe(_observed(request, answer, fault, at=at, took=took, sent=possible))
    return answer


async def _sent(exchange: "_Exchange", using: Resources) -> Answer:
    with anyio.move_on_after(using.timeout.total_seconds()) as clock:
        await exchange.run()
    if clock.cancelled_caught:
        return exchange.overdue()
    return exchange.answer()


def _observed(
    request: Request, answer: Answer | None, fault: str | None, *, at: datetime, took: timedelta, sent: bool
) -> HttpExchange:
    return HttpExchange(
        at=at,
        took=took,
        method=request.method,
        url=str(request.url),
        request_headers=request.headers,
        request_body=request.body,
        status=answer.status if answer else None,
        headers=answer.headers if answer else {},
        body=answer.text if answer else "",
        cut=answer.cut if answer else False,
        fault=fault,
        sent=sent,
    )


@dataclass(slots=True)
class _Exchange:
    request: Request
    using: Resources
    sent: bool | None = False
    """None: we do not know."""
    response: httpx.Response | None = None
    body: bytearray = field(default_factory=bytearray)
    broken: str | None = None

    async def run(self) -> None:
        try:
            addresses = await _destinations.addresses(self.request.url, self.using.destinations)
        except UnresolvableDestination as nowhere:
            raise BackendUnavailable(str(nowhere)) from None
        except PrivateDestination as private:
            raise BackendRefused(str(private)) from None
        self.response = await self._connected(addresses)
        try:
            await self._read(self.response)
        except _FAULTS as fault:
            self.broken = self._cause(fault)
        except zlib.error:
            self.broken = "the answer cannot be decompressed"
        finally:
            await self.response.aclose()

    def answer(self) -> Answer:
        response = cast(httpx.Response, self.response)
        limit = self.using.response_limit
        cut = len(self.body) > limit
        data = bytes(self.body[:limit]).removeprefix(codecs.BOM_UTF8)
        text = _text(data, response.charset_encoding)
        return Answer(response.status_code, text, cut, self.broken, dict(response.headers))

    def overdue(self) -> Answer:
        """What there is when the time is over."""
        if self.response is not None:
            self.broken = f"the answer was not complete within {_words(self.using.timeout)}"
            return self.answer()
        if self.sent is False:
            raise BackendUnavailable(f"no connection within {_words(self.using.timeout)}")
        raise Unconfirmed(f"no answer within {_words(self.using.timeout)}")

    async def _connected(self, addresses: tuple[str, ...]) -> httpx.Response:
        """The answer's head, from the first address that lets itself be connected to."""
        causes: list[str] = []
        for address in addresses:
            self.sent = None
            try:
                return await self.using.http.handle_async_request(self._addressed(address))
            except httpx.LocalProtocolError:  # it is looked at before any of it is written
                self.sent = False
                raise BackendRefused("a header of the request holds a line break or control character") from None
            except _FAULTS as fault:
                cause = self._cause(fault)
                if self.sent or not (self.sent is False or isinstance(fault, _BEFORE_SENDING)):
                    raise Unconfirmed(cause) from None
                if any(isinstance(error, ssl.SSLCertVerificationError) for error in _chain(fault)):
                    raise BackendRefused(cause) from None
                causes.append(cause)
        raise BackendUnavailable(causes[0])

    def _addressed(self, address: str) -> httpx.Request:
        """The request to a checked address: the name stays in `Host`, and in TLS, where the certificate has it."""
        request, total = self.request, self.using.timeout.total_seconds()
        # A little sooner than the limit of the whole: cut off from outside, httpcore would leave the socket open.
        left = 0.9 * (anyio.current_effective_deadline() - anyio.current_time())
        connecting = max(0.0, min(self.using.connect_timeout.total_seconds(), left))
        return httpx.Request(
            request.method,
            request.url.copy_with(host=address),
            headers=[(name.encode(), value.encode()) for name, value in request.headers.items()],
            content=request.body,
            extensions={
                "timeout": {"connect": connecting, "pool": connecting, "read": total, "write": total},
                "sni_hostname": request.url.raw_host.decode("ascii").rstrip("."),
                "trace": self._traced,
            },
        )

    async def _traced(self, event: str, info: dict[str, Any]) -> None:
        """Told by the transport what it is about to do, so that nobody has to guess it from an exception."""
        if event.startswith("connection."):
            self.sent = False
        elif event.endswith("send_request_headers.started"):
            self.sent = True

    async def _read(self, response: httpx.Response) -> None:
        limit = self.using.response_limit
        decoded = _Decoder(response.headers.get("content-encoding", ""))
        # Closed here and now when we stop early, not some time later by the garbage collector.
        async with aclosing(cast(AsyncGenerator[bytes, None], response.aiter_raw())) as chunks:
            async for chunk in chunks:
                self.body += decoded(chunk, limit + 1 - len(self.body))
                if len(self.body) > limit:
                    return

    def _cause(self, fault: Exception) -> str:
        """The fault in words that repeat nothing of the request or the answer."""
        for error in _chain(fault):
            match error:
                case ssl.SSLCertVerificationError():
                    return f"the certificate of {self.request.url.host} does not verify: {error.verify_message}"
                case ssl.SSLError():
                    return f"TLS failed: {(error.reason or 'no reason given').replace('_', ' ').lower()}"
                case ProxyFault():
                    return str(error)
                case OSError(errno=int(number)):
                    return os.strerror(number)
        match fault:
            case httpx.ConnectTimeout():
                return f"no connection within {_words(min(self.using.connect_timeout, self.using.timeout))}"
            case httpx.ConnectError() | httpx.PoolTimeout():
                return "no connection could be made"
            case httpx.TimeoutException():
                return f"no answer within {_words(self.using.timeout)}"
            case httpx.RemoteProtocolError() if "disconnected" not in str(fault) and "closed" not in str(fault):
                return "the answer is not valid HTTP"
        return "the connection was cut before the answer was complete"


class _Decoder:
    """Decompresses no more than is asked for, whatever a chunk claims to hold."""

    def __init__(self, encoding: str) -> None:
        known = encoding.strip().lower() in ("gzip", "x-gzip", "deflate")
        self._stream = zlib.decompressobj(zlib.MAX_WBITS | 32) if known else None

    def __call__(self, chunk: bytes, most: int) -> bytes:
        return self._stream.decompress(chunk, most) if self._stream else chunk[:most]


def _text(data: bytes, charset: str | None) -> str:
    """The text, whatever the bytes: what cannot be read, or not be stored (NUL), becomes a replacement character."""
    try:
        name = codecs.lookup(charset or "utf-8").name
    except (LookupError, ValueError):
        name = "utf-8"
    return data.decode(name if name in _CHARSETS else "utf-8", errors="replace").replace("\x00", "\ufffd")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _words(limit: timedelta) -> str:
    return f"{limit.total_seconds():g} s"
