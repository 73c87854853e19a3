"""One product for all examples of a module: each names things of its own; every answer must be declared."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from api.app import document
from domain.jq import Evaluator
from tests.api.conftest import Contract, Seen
from tests.clients.terraform import Wire
from tests.conformance.conftest import evaluate as evaluate
from tests.support.databases import SqliteTemplate
from tests.support.product import WATCHERS, Product, running
from tests.support.skipping import skipping


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def product(
    evaluate: Evaluator, sqlite_template: SqliteTemplate, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Product]:
    """The product on SQLite, without a worker: definitions are written here, and nothing is sent."""
    seen: set[Seen] = set()

    async def remember(answer: httpx.Response) -> None:
        seen.add((answer.request.method, answer.request.url.path, answer.status_code))

    url = sqlite_template.copy(tmp_path_factory.mktemp("clients"))
    WATCHERS.append(remember)
    try:
        async with skipping() as environment, running(environment, evaluate, url, worker=False) as product:
            yield product
    finally:
        WATCHERS.remove(remember)
    contract = Contract(json.loads(document())["paths"])
    assert list(filter(None, map(contract.undeclared, sorted(seen)))) == []


@pytest.fixture
def wire(product: Product) -> Wire:
    """The provider's HTTP client, logged in."""
    return Wire(product.api)
