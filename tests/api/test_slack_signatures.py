"""Slack's signatures: what Slack has not sent just now is refused, and no address is called that is not Slack's."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from domain.errors import InvalidRequest
from domain.jq import Evaluator
from runtime.slack import Slack
from tests.api.answers import refused
from tests.support.chat import FakeSlack, signed, slash, without_temporal
from tests.support.product import Product

PATH = "/v1/chat/slack/commands"
ADA = "U0ADA"
NOBODY = {"Authorization": ""}


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with FakeSlack() as slack:
        yield slack


@pytest.fixture
async def product(evaluate: Evaluator, sqlite_url: str, slack: FakeSlack) -> AsyncIterator[Product]:
    async with without_temporal(evaluate, sqlite_url, **slack.settings) as product:
        yield product


def at(**ago: float) -> datetime:
    return datetime.now(UTC) - timedelta(**ago)


BODY = slash("help", ADA, "https://hooks.slack.com/commands/T0/1/a")


def strange() -> dict[str, dict[str, str]]:
    """Headers that Slack has not sent with this body, not now."""
    genuine = signed(BODY)
    return {
        "nothing": {},
        "no signature": {"X-Slack-Request-Timestamp": genuine["X-Slack-Request-Timestamp"]},
        "no timestamp": {"X-Slack-Signature": genuine["X-Slack-Signature"]},
        "another secret": signed(BODY, secret="another"),
        "another body": signed(BODY + b"&x=1"),
        "an old one": signed(BODY, at=at(minutes=5, seconds=1)),
        "one of tomorrow": signed(BODY, at=at(days=-1)),
        "no number": genuine | {"X-Slack-Request-Timestamp": "soon"},
        "a huge number": genuine | {"X-Slack-Request-Timestamp": "9" * 400},
        "another moment": signed(BODY, at=at(minutes=1)) | {"X-Slack-Request-Timestamp": str(int(at().timestamp()))},
        "no ASCII": genuine | {"X-Slack-Signature": "v0=\xe9"},
        "another version": genuine | {"X-Slack-Signature": genuine["X-Slack-Signature"].replace("v0", "v1")},
    }


@pytest.mark.parametrize("path", [PATH, "/v1/chat/slack/interactive"])
async def test_what_slack_has_not_signed_is_refused(product: Product, slack: FakeSlack, path: str) -> None:
    for what, headers in strange().items():
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        answer = await product.api.post(path, content=BODY, headers=[(b"Authorization", b""), *raw])
        message = refused(answer, 401, "unauthorized", "signed")
        assert "v0=" not in message, what
    assert slack.asked == []
    fresh = signed(BODY, at=at(minutes=4))
    assert (await product.api.post(PATH, content=BODY, headers=fresh)).status_code == 422


async def test_a_body_that_is_no_text_is_refused_and_not_parsed(product: Product) -> None:
    headers = {**signed(BODY), "Authorization": ""}
    refused(await product.api.post(PATH, content=b"\xff\xfe", headers=headers), 401, "unauthorized")
    refused(await product.api.post(PATH, content=b"", headers=headers), 401, "unauthorized")


async def test_what_is_signed_and_no_command_is_refused(product: Product) -> None:
    for body in (
        b"",
        b"user_id=U0ADA",
        slash("help", ADA, "https://hooks.slack.com/x") + b"&user_id=U0EVE",
        b"user_id=%ff&trigger_id=1&response_url=x",
        b"nonsense",
    ):
        answer = await product.api.post(PATH, content=body, headers=NOBODY | signed(body))
        refused(answer, 422, "invalid_request")


async def test_no_address_is_called_that_is_not_where_slack_answers(product: Product, slack: FakeSlack) -> None:
    for url in (
        "https://hooks.slack.com/commands/1",
        "http://169.254.169.254/latest/meta-data",
        f"{slack.server.url}@evil.example/x",
        slack.response_url.replace("http://", "http://user:password@"),
        slack.response_url.replace("http://", "https://"),
        "file:///etc/passwd",
        "//127.0.0.1/x",
        "",
        "http://[::1",
    ):
        body = slash("status r_0000000000000000", ADA, url)
        answer = await product.api.post(PATH, content=body, headers=NOBODY | signed(body))
        refused(answer, 422, "invalid_request", "response_url")
    assert slack.asked == []


def test_answers_go_to_slack_alone_unless_its_api_is_elsewhere() -> None:
    def takes(api_url: str, response_url: str) -> bool:
        http = httpx.AsyncClient()
        slack = Slack(http, signing_secret="s", bot_token="t", team_id=None, api_url=api_url, now=at)
        try:
            slack.require_answerable(response_url)
        except InvalidRequest:
            return False
        return True

    for cloud in ("slack.com", "slack-gov.com"):
        assert takes(f"https://{cloud}/api", f"https://hooks.{cloud}/commands/T/1/x")
        assert takes(f"https://{cloud}/api", f"https://hooks.{cloud}:443/commands/T/1/x")
        for url in (
            f"http://hooks.{cloud}/x",
            f"https://hooks.{cloud}:8443/x",
            f"https://hooks.{cloud}.evil.example/x",
            f"https://{cloud}/x",
            f"https://evil.example/hooks.{cloud}",
            f"https://evil.example#@hooks.{cloud}/",
            f"https://hooks.{cloud}@evil.example/",
            f"https://a@hooks.{cloud}/x",
        ):
            assert not takes(f"https://{cloud}/api", url), url
    assert not takes("https://notslack.com/api", "https://hooks.slack.com/x")
    assert takes("https://proxy.example/slack", "https://proxy.example/x")


async def test_a_door_that_is_not_configured_says_which_setting_is_missing(
    evaluate: Evaluator, sqlite_url: str
) -> None:
    settings = {"slack_signing_secret": "s"}
    async with without_temporal(evaluate, sqlite_url, **settings) as product:
        for path in (PATH, "/v1/chat/slack/interactive"):
            answer = await product.api.post(path, content=BODY, headers=NOBODY | signed(BODY))
            message = refused(answer, 404, "not_configured", "INTERLOCK_SLACK_BOT_TOKEN")
            assert "SIGNING_SECRET" not in message


async def test_with_a_blank_secret_nobody_can_sign(evaluate: Evaluator, sqlite_url: str, slack: FakeSlack) -> None:
    settings = {**slack.settings, "slack_signing_secret": " \n"}
    async with without_temporal(evaluate, sqlite_url, **settings) as product:
        answer = await product.api.post(PATH, content=BODY, headers=NOBODY | signed(BODY))
        refused(answer, 404, "not_configured", "INTERLOCK_SLACK_SIGNING_SECRET")
