"""What tests of the API share: the product, watched for answers that its OpenAPI document does not know."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import regex
from starlette.responses import JSONResponse, Response

from tests.support.backend import Call
from tests.support.product import Product

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

    def _template(self, path: str) -> str | None:
        fitting = [
            template for template in self.paths if regex.fullmatch(regex.sub(r"\{[^}]+\}", "[^/]+", template), path)
        ]
        return min(fitting, key=lambda template: template.count("{"), default=None)


@pytest.fixture(scope="session")
def contract() -> Contract:
    """Read from the first product that is there; all have the same."""
    return Contract()


@pytest.fixture
def answers() -> list[httpx.Response]:
    """Every answer the API gave in this test."""
    return []


@pytest.fixture
async def product(product: Product, contract: Contract, answers: list[httpx.Response]) -> AsyncIterator[Product]:
    """The product; whatever it answers must be declared in its OpenAPI document."""
    if not contract.paths:
        contract.paths = (await product.api.get("/openapi.json")).json()["paths"]

    async def remember(answer: httpx.Response) -> None:
        await answer.aread()
        answers.append(answer)

    product.api.event_hooks["response"].append(remember)
    yield product
    seen: set[Seen] = {(one.request.method, one.request.url.path, one.status_code) for one in answers}
    undeclared = list(filter(None, map(contract.undeclared, sorted(seen))))
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
