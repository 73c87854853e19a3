"""Runs of SLACK actions through the whole product: how each ends, and with which words, whatever Slack does."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from domain.jq import Evaluator
from tests.support.listening import Said, Strict, listening
from tests.support.product import Product, running

Json = dict[str, Any]
OURS = "Failed to invoke the webhook with "
PATH = "/services/T01ABCDEF/B02GHIJKL/abcdefghijklmnopqrstuvwx"
HUGE = b"x" * (2 * 1024 * 1024)


@dataclass
class Scripted(Strict):
    """Slack, which says what a test wants, and then `ok`."""

    answers: list[Said] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    asked: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        """The webhook."""
        return f"http://127.0.0.1:{self.port}{PATH}"

    def _answered(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Said:
        self.asked += 1
        if (method, target) != ("POST", PATH) or headers.get("content-type") != "application/json":
            self.faults.append(f"{method} {target} {headers}")
        return self.answers.pop(0) if self.answers else Said(200, b"ok")


@pytest.fixture
async def slack() -> AsyncIterator[Scripted]:
    slack = Scripted()
    async with listening(slack):
        yield slack
    assert slack.faults == []


@asynccontextmanager
async def over(
    clock: WorkflowEnvironment, evaluate: Evaluator, database_url: str, **settings: str
) -> AsyncIterator[Product]:
    """The product."""
    usual: dict[str, Any] = {"webhook_timeout": "1", "webhook_attempts": "2"}
    async with running(clock, evaluate, database_url, **usual | settings) as product:
        yield product


@pytest.fixture
async def product(clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str) -> AsyncIterator[Product]:
    async with over(clock, evaluate, sqlite_url) as product:
        yield product


async def ended(product: Product, url: str) -> Json:
    """How a run of a new action ends, whose webhook is a secret."""
    secret = {"secretName": "SLACK", "secretValue": url}
    assert (await product.api.post("/v1/organization/secrets", json=secret)).is_success
    method = {"type": "SLACK", "url": "{{ .secrets.SLACK }}", "body": {"text": "{{ .inputs.text }}"}}
    await product.action("tell", {"text": {"type": "string"}}, invocationMethod=method)
    run = await product.until((await product.start("tell", {"text": "deployed"}))["id"])
    timeline = (await product.api.get(f"/v1/actions/runs/{run['id']}/timeline")).text
    for text in (str(run), timeline):
        assert PATH not in text
    return run


async def test_a_message_that_was_posted_ends_the_run(product: Product, slack: Scripted) -> None:
    run = await ended(product, slack.url)
    assert (run["status"], run["response"], slack.asked) == ("SUCCESS", "ok", 1)


@pytest.mark.parametrize(
    ("said", "summary"),
    [
        (Said(404, f"Cannot POST {PATH}".encode()), "status code: 404"),
        (Said(410, b"channel_is_archived"), "status code: 410"),
        (Said(503, HUGE), "status code: 503"),
    ],
)
async def test_what_slack_did_not_take_fails_the_run(
    product: Product, slack: Scripted, said: Said, summary: str
) -> None:
    slack.answers.append(said)
    run = await ended(product, slack.url)
    assert (run["status"], run["summary"][: len(OURS + summary)]) == ("FAILURE", OURS + summary)
    assert slack.asked == 1


async def test_a_limit_is_waited_for(product: Product, slack: Scripted) -> None:
    slack.answers += [Said(429, b"rate_limited", {"Retry-After": "1"})] * 3
    run = await ended(product, slack.url)
    assert (run["status"], slack.asked) == ("SUCCESS", 4)


@pytest.mark.parametrize(
    ("url", "settings", "summary"),
    [
        ("https://slack.invalid", {}, "slack.invalid has no address"),
        ("http://127.0.0.1:{nobody}", {}, "Connection refused"),
        ("http://127.0.0.1:{nobody}", {"allow_loopback_destinations": "false"}, "127.0.0.1 leads to a loopback"),
        ("https://127.0.0.1:{plain}", {}, "TLS failed"),
    ],
)
async def test_a_slack_that_cannot_be_reached_fails_the_run(
    clock: WorkflowEnvironment,
    evaluate: Evaluator,
    sqlite_url: str,
    slack: Scripted,
    url: str,
    settings: dict[str, str],
    summary: str,
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        where = url.format(nobody=taken.getsockname()[1], plain=slack.port) + PATH
        async with over(clock, evaluate, sqlite_url, **settings) as product:
            run = await ended(product, where)
    assert run["status"] == "FAILURE"
    assert run["summary"].startswith(f"{OURS}error: {summary}"), run["summary"]
    assert slack.asked == 0
