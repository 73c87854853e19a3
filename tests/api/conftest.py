"""What tests of the API share: every product is watched for answers that its OpenAPI document does not know."""

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import regex
from starlette.responses import JSONResponse, Response

from api.app import document
from tests.support.backend import Call
from tests.support.product import WATCHERS, Product

Seen = tuple[str, str, int]
"""Method, path and status of an answer."""


@dataclass
class Contract:
    """What the OpenAPI document promises: the statuses of each method of each path."""

    paths: dict[str, dict[str, Any]] = field(default_factory=dict)

    def undeclared(self, seen: Seen) -> str | None:
        """The answer in words if its route does not declare it; None also where there is no such route."""
        method, path, status = seen
        template = self._template(path)
        operation = self.paths.get(template or "", {}).get(method.lower())
        if operation is None or str(status) in operation["responses"]:
            return None
        return f"{method} {template} answered {status} and declares {sorted(operation['responses'])}"

    @functools.cached_property
    def _patterns(self) -> dict[str, regex.Pattern[str]]:
        return {template: regex.compile(regex.sub(r"\{[^}]+\}", "[^/]+", template)) for template in self.paths}

    def _template(self, path: str) -> str | None:
        fitting = [template for template, pattern in self._patterns.items() if pattern.fullmatch(path)]
        return min(fitting, key=lambda template: template.count("{"), default=None)


@functools.cache
def _contract() -> Contract:
    return Contract(json.loads(document())["paths"])


@pytest.fixture(autouse=True)
def answers() -> Iterator[list[httpx.Response]]:
    """Every answer the API gave in this test, by whichever product; each must be declared in the OpenAPI document."""
    seen: list[httpx.Response] = []

    async def remember(answer: httpx.Response) -> None:
        await answer.aread()
        seen.append(answer)

    WATCHERS.append(remember)
    yield seen
    WATCHERS.remove(remember)
    answered: set[Seen] = {(one.request.method, one.request.url.path, one.status_code) for one in seen}
    undeclared = list(filter(None, map(_contract().undeclared, sorted(answered))))
    assert undeclared == []


@pytest.fixture
async def held(product: Product) -> AsyncIterator[asyncio.Event]:
    """The backend answers nothing until this is set; it is set at the end of the test."""
    released = asyncio.Event()

    async def wait(_: Call) -> Response:
        await released.wait()
        return JSONResponse({"done": True})

    product.backend.answer = wait
    yield released
    released.set()


Answering = Callable[[int, Any], None]


@pytest.fixture
def answering(product: Product) -> Answering:
    """Makes the backend answer with a status and a JSON body from now on."""

    def answer_with(status: int, body: Any) -> None:
        async def answer(_: Call) -> Response:
            return JSONResponse(body, status_code=status)

        product.backend.answer = answer

    return answer_with
