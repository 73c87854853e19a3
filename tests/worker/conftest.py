"""The product without a worker, for tests that run activities themselves, as often as they want."""

from collections.abc import AsyncIterator

import pytest
from temporalio.testing import WorkflowEnvironment

from activities.services import Services
from backends import open_transport
from domain.jq import Evaluator
from tests.support.product import Product, running
from worker.main import services


@pytest.fixture
async def idle(clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str) -> AsyncIterator[Product]:
    """The product: its runs are accepted and wait."""
    async with running(clock, evaluate, sqlite_url, worker=False) as product:
        yield product


@pytest.fixture
async def given(idle: Product, evaluate: Evaluator) -> AsyncIterator[Services]:
    """What activities work with."""
    async with open_transport() as http:
        yield services(idle.settings, idle.database, evaluate, idle.organization, http)
