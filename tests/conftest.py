"""What tests share: real databases, a real Temporal and the product over them."""

import gc
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Self

import pytest
from hypothesis import HealthCheck, settings
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from domain.jq import Evaluator
from runtime.embedded import DEV_SERVER_FLAGS
from runtime.jq_pool import JqPool
from runtime.temporal import SEARCH_ATTRIBUTES
from store.database import Database
from tests.support.databases import PostgresServer, SqliteTemplate
from tests.support.product import Product, running
from tests.support.skipping import skipping

# Everything that is imported and collected stays, in every worker: to look for garbage in it is a third of the time.
gc.disable()

# Machines are shared and noisy: how long it takes to make up an example says nothing about the product.
settings.register_profile("noisy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("noisy")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests with real processes, which mostly wait, between the others, which mostly compute."""
    waiting = [item for item in items if item.get_closest_marker("whole")]
    computing = [item for item in items if not item.get_closest_marker("whole")]
    if not waiting or not computing:
        return
    # A test that takes a minute should not be the last one that is begun.
    places = len(computing) * 9 // 10
    before: dict[int, list[pytest.Item]] = {}
    for number, item in enumerate(waiting):
        before.setdefault(places * number // len(waiting), []).append(item)
    items[:] = [item for place, one in enumerate(computing) for item in (*before.get(place, ()), one)]


def pytest_collection_finish() -> None:
    """Look for garbage from now on, and only in what is made from now on."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> SqliteTemplate:
    """A migrated SQLite file to copy."""
    return SqliteTemplate(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL server."""
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture
def sqlite_url(sqlite_template: SqliteTemplate, tmp_path: Path) -> str:
    """The address of a fresh SQLite database."""
    return sqlite_template.copy(tmp_path)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of an empty database, once of each kind."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_url")
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    yield server.url
    server.empty()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An empty database, once of each kind."""
    async with Database(database_url) as database:
        yield database


class ColdPool(JqPool):
    """A pool that starts its processes when there is something to evaluate; most tests have nothing."""

    async def __aenter__(self) -> Self:
        """Open the pool."""
        self._open = True
        return self


@pytest.fixture
async def evaluate() -> AsyncIterator[Evaluator]:
    """A jq process."""
    async with ColdPool(size=1) as pool:
        yield pool


@pytest.fixture
async def clock() -> AsyncIterator[WorkflowEnvironment]:
    """A Temporal of this test alone that skips the time nobody needs."""
    async with skipping() as environment:
        yield environment


@pytest.fixture
async def server() -> AsyncIterator[WorkflowEnvironment]:
    """A Temporal of this test alone as `interlock dev` has it, which also lists its workflows."""
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(Path(sys.prefix, "bin", "temporal")),
        dev_server_extra_args=list(DEV_SERVER_FLAGS),
        dev_server_log_level="error",
        search_attributes=SEARCH_ATTRIBUTES,
        data_converter=pydantic_data_converter,
    ) as server:
        yield server


@pytest.fixture
async def product(clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str) -> AsyncIterator[Product]:
    """The product on SQLite."""
    async with running(clock, evaluate, sqlite_url) as product:
        yield product
