"""What happens to every request before a route sees it."""

import re
import secrets
from urllib.parse import parse_qsl, unquote, urlencode

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import answer, status_of
from api.services import HIDDEN_SLASH
from domain.errors import InterlockError, NotFound, TooLarge


class Door:
    """Limits bodies, drops empty query parameters (clients send `run_id=` to mean none), names each answer.

    Slashes that a path has as `%2F` do not part it.

    The name is the header `x-trace-id`: the caller's own if there was one.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        trace = headers.get(b"x-trace-id", b"")[:64] or secrets.token_hex(8).encode()

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-trace-id", trace)]
            await send(message)

        if "\x00" in scope["path"]:  # which no identifier has, and not every database can be asked about
            await self._refused(NotFound("Path", scope["path"]))(scope, receive, named)
            return
        if b"%2f" in (raw := scope.get("raw_path") or b"").lower():
            # Before the router sees it: a slash within a name must not end it.
            scope = {**scope, "path": unquote(re.sub(r"%2[fF]", HIDDEN_SLASH, raw.decode("ascii")))}
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._limit:
            await self._refused(TooLarge(self._limit))(scope, receive, named)
            return
        if any(not pair.partition(b"=")[2] for pair in scope["query_string"].split(b"&")):
            pairs = parse_qsl(scope["query_string"].decode("latin-1"))  # which leaves out empty values
            scope = {**scope, "query_string": urlencode(pairs).encode()}
        await self._app(scope, self._limited(receive), named)

    def _refused(self, error: InterlockError) -> JSONResponse:
        return answer(status_of(error), error.code, str(error))

    def _limited(self, receive: Receive) -> Receive:
        seen = 0

        async def limited() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._limit:
                raise TooLarge(self._limit)
            return message

        return limited
