"""One jq process and one product for all examples of a module: examples only read, or name things of their own."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from domain.jq import Evaluator
from runtime.jq_pool import JqPool
from runtime.temporal import SEARCH_ATTRIBUTES
from tests.support.databases import SqliteTemplate
from tests.support.product import Product, running


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
    server = Path(sys.prefix, "bin", "temporal-test-server")
    url = sqlite_template.copy(tmp_path_factory.mktemp("conformance"))
    async with (
        await WorkflowEnvironment.start_time_skipping(
            test_server_existing_path=str(server), data_converter=pydantic_data_converter
        ) as environment,
        running(environment, evaluate, url, worker=False) as product,
    ):
        attributes = {key.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD for key in SEARCH_ATTRIBUTES}
        await environment.client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace="default", search_attributes=attributes)
        )
        yield product
