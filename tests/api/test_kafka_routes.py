"""Where Kafka is, and as whom consumers log in: for Admins and machines only."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from domain.jq import Evaluator
from runtime.clock import now
from runtime.tokens import Claims, Tokens
from tests.support.product import Product, running

ROUTE = "/v1/kafka-credentials"


@pytest.fixture
def login() -> dict[str, str]:
    """What is configured about consumers."""
    return {}


@pytest.fixture
async def with_kafka(
    clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str, login: dict[str, str]
) -> AsyncIterator[Product]:
    """The product that knows brokers; nobody answers there, and nobody asks them."""
    how: dict[str, Any] = {
        "kafka_brokers": "a.test:9093,b.test:9093",
        "kafka_username": "interlock",
        "kafka_password": "own",
        **login,
    }
    async with running(clock, evaluate, sqlite_url, worker=False, **how) as product:
        yield product


async def test_without_brokers_there_are_no_credentials(product: Product) -> None:
    answer = await product.api.get(ROUTE)
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("login", "username", "password"),
    [
        ({}, "interlock", "own"),
        ({"kafka_client_username": "agent", "kafka_client_password": "theirs"}, "agent", "theirs"),
    ],
    ids=["ours", "theirs"],
)
async def test_machines_and_admins_are_told(with_kafka: Product, username: str, password: str) -> None:
    credentials = {"brokers": ["a.test:9093", "b.test:9093"], "username": username, "password": password}
    admin = await with_kafka.person("ada@example.com", "Admin")
    for headers in (None, admin):
        answer = await with_kafka.api.get(ROUTE, headers=headers)
        assert (answer.status_code, answer.json()) == (200, {"ok": True, "credentials": credentials})


async def test_nobody_else_is_told(with_kafka: Product) -> None:
    member = await with_kafka.person("bob@example.com")
    refused = await with_kafka.api.get(ROUTE, headers=member)
    assert (refused.status_code, refused.json()["error"]) == (403, "missing_permissions")
    tokens = Tokens(with_kafka.settings.keys.token_keys, with_kafka.settings.access_token_lifetime)
    organization = with_kafka.organization
    claims = Claims(organization.client_id, organization.id, machine=True, run_id="r_0123456789abcdef", depth=1)
    of_run = {"Authorization": f"Bearer {tokens.issue(claims, at=now())}"}
    refused = await with_kafka.api.get(ROUTE, headers=of_run)
    assert (refused.status_code, refused.json()["error"]) == (403, "missing_permissions")
    assert "own" not in refused.text
