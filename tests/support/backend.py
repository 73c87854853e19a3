"""A backend for tests: a real HTTP server on loopback that remembers what it was asked."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Self

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from tests.support.listening import no_more


@dataclass(frozen=True)
class Call:
    """One request it got."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


Answer = Callable[[Call], Awaitable[Response]]


@dataclass
class FakeBackend:
    """Answers 200 `{"done": true}` unless told otherwise."""

    calls: list[Call] = field(default_factory=list)
    url: str = ""
    answer: Answer | None = None
    _listener: socket.socket = field(init=False)
    _server: uvicorn.Server | None = None
    _task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Listen on a free port of loopback."""
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._server = _Quiet(
            uvicorn.Config(self._app, log_config=None, lifespan="off", loop="none", interface="asgi3")
        )
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listener]))
        while not self._server.started:
            await asyncio.sleep(0.001)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening; no connection outlives this."""
        if self._server and self._task:
            await no_more(self._listener.fileno())
            self._server.force_exit = self._server.should_exit = True
            await self._task
            for connection in list(self._server.server_state.connections):
                connection.transport.abort()
            await asyncio.sleep(0)  # what is closed says so in the next round of the loop

    async def called(self, times: int = 1, within: float = 10) -> Call:
        """The newest call, once there are that many."""
        async with asyncio.timeout(within):
            while len(self.calls) < times:
                await asyncio.sleep(0.005)
        return self.calls[-1]

    async def abandoned(self, within: float = 10) -> None:
        """Return once everybody who called has hung up: all that the dead had sent is among the calls by then."""
        assert self._server
        async with asyncio.timeout(within):
            while self._server.server_state.connections:
                await asyncio.sleep(0.01)

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        call = Call(request.method, request.url.path, request.url.query, dict(request.headers), await request.body())
        self.calls.append(call)
        response = await self.answer(call) if self.answer else JSONResponse({"done": True})
        await response(scope, receive, send)


class _Quiet(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield
