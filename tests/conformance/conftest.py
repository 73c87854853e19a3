"""One jq process and one product for all examples of a module: examples only read, or name things of their own."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from domain.jq import Evaluator
from runtime.jq_pool import JqPool
from tests.support.databases import SqliteTemplate
from tests.support.product import Product, running
from tests.support.skipping import skipping


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def evaluate() -> AsyncIterator[Evaluator]:
    """A jq process."""
    async with JqPool(size=1) as pool:
        yield pool


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def product(
    evaluate: Evaluator, sqlite_template: SqliteTemplate, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Product]:
    """The product on SQLite, without a worker: what is asked for here is answered before anything is sent."""
    url = sqlite_template.copy(tmp_path_factory.mktemp("conformance"))
    async with skipping() as environment, running(environment, evaluate, url, worker=False) as product:
        yield product
