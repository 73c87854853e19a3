"""Slack: its answer ends the run, in its own words; a limit is waited for."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from pydantic import JsonValue

import backends
from domain.errors import BackendBusy, BackendRefused, BackendUnavailable
from domain.runs import RunStatus
from tests.support.processes import free_ports
from tests.support.slack_webhook import SlackWebhook, slack_webhook

if TYPE_CHECKING:
    from tests.backends.conftest import Invoke, Peer

TEXT: dict[str, JsonValue] = {"text": "Run r_1 by ada@example.com <https://example.com|see>: ünïcode"}
BLOCKS: dict[str, JsonValue] = {"blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "*Deployed*"}}]}
FAILED = "Failed to invoke the webhook with status code: "


@pytest.fixture
async def slack() -> AsyncIterator[SlackWebhook]:
    async with slack_webhook() as slack:
        yield slack


@cache
def roots() -> ssl.SSLContext:
    """What a transport has by default; read once, as it takes longer than most tests."""
    return httpx.create_ssl_context()


Post = Callable[..., Awaitable[backends.Receipt]]


@pytest.fixture
def post(slack: SlackWebhook, invoke: "Invoke") -> Post:
    async def post(body: JsonValue = TEXT, *, using: dict[str, Any] | None = None, **more: JsonValue) -> Any:
        document: dict[str, JsonValue] = {"type": "SLACK", "url": slack.url, "body": body, **more}
        return await invoke(document, **{"http": backends.open_transport(roots()), **(using or {})})

    return post


@pytest.mark.parametrize("body", [TEXT, BLOCKS, TEXT | BLOCKS])
async def test_a_message_is_posted_and_its_run_succeeds_at_once(
    slack: SlackWebhook, post: Post, body: dict[str, JsonValue]
) -> None:
    assert await post(body) == backends.Receipt(status=RunStatus.SUCCESS, response="ok")
    assert slack.posted == [body]


async def test_the_example_of_the_reference(slack: SlackWebhook, post: Post) -> None:
    receipt = await post(agent=False, synchronized=True, method="POST", headers={})
    assert (receipt.status, receipt.response) == (RunStatus.SUCCESS, "ok")


async def test_what_is_not_synchronized_waits_for_a_report(slack: SlackWebhook, post: Post) -> None:
    assert await post(synchronized=False) == backends.Receipt()
    assert await post(synchronized="false") == backends.Receipt()
    assert len(slack.posted) == 2


@pytest.mark.parametrize(
    ("state", "body", "status", "word"),
    [
        ({}, {"txt": "x"}, 400, "no_text"),
        ({}, {}, 400, "no_text"),
        ({}, [], 400, "invalid_payload"),
        ({}, {"blocks": [{}]}, 400, "invalid_blocks"),
        ({}, {"text": "x", "attachments": [{}] * 101}, 400, "too_many_attachments"),
        ({"removed": True}, TEXT, 404, "no_service"),
        ({"archived": True}, TEXT, 410, "channel_is_archived"),
        ({"prohibited": True}, TEXT, 403, "action_prohibited"),
    ],
)
@pytest.mark.parametrize("synchronized", [True, False])
async def test_what_slack_refuses_fails_the_run_in_slacks_words(
    slack: SlackWebhook, post: Post, state: dict[str, bool], body: JsonValue, status: int, word: str, synchronized: bool
) -> None:
    for name, value in state.items():
        setattr(slack, name, value)
    receipt = await post(body, synchronized=synchronized)
    assert receipt.status is RunStatus.FAILURE
    assert receipt.summary == f"{FAILED}{status}. Response: {word}"
    assert receipt.response == (word if synchronized else None)
    assert (slack.asked, slack.posted) == (1, [])


async def test_another_token_and_another_team_fail_the_run(slack: SlackWebhook, post: Post) -> None:
    for url, said in ((f"{slack.url}x", "403. Response: invalid_token"), (f"{slack.url}/x", "404. Response: no_team")):
        assert (await post(url=url)).summary == f"{FAILED}{said}"


async def test_another_method_posts_nothing(slack: SlackWebhook, post: Post) -> None:
    assert (await post(method="PUT")).summary == f"{FAILED}400. Response: invalid_payload"
    assert slack.posted == []


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "0"}, 1),
        ({"Retry-After": "999999"}, 3600),
        ({"Retry-After": "Fri, 01 May 2026 00:01:30 GMT"}, 90),
        ({"Retry-After": "soon"}, 30),
        ({}, 30),
    ],
)
@pytest.mark.parametrize("synchronized", [True, False])
async def test_a_limit_is_waited_for_as_long_as_slack_says(
    slack: SlackWebhook, post: Post, said: dict[str, str], seconds: int, synchronized: bool
) -> None:
    slack.limits.append(said)
    using = {"now": lambda: datetime(2026, 5, 1, tzinfo=UTC)}
    with pytest.raises(BackendBusy, match=rf"^Slack takes no more messages for {seconds} s$") as busy:
        await post(using=using, synchronized=synchronized)
    assert busy.value.retry_after == timedelta(seconds=seconds)
    assert slack.posted == []
    assert (await post(using=using)).status is RunStatus.SUCCESS, "the same later"
    assert slack.posted == [TEXT]


async def test_a_slack_that_is_broken_fails_the_run(peer: "Peer", post: Post) -> None:
    peer.answers(503, b"upstream connect error", Retry_After="7")
    assert (await post(url=peer.url)).summary == f"{FAILED}503. Response: upstream connect error"
    peer.writes(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
    with pytest.raises(BackendRefused, match="the connection was cut before the answer was complete"):
        await post(url=peer.url)
    peer.writes(b"")
    with pytest.raises(BackendRefused, match="the connection was cut"):
        await post(url=peer.url)


async def test_a_slack_that_is_not_there_may_be_tried_again(post: Post) -> None:
    [port] = free_ports(1)
    with pytest.raises(BackendUnavailable, match="refused"):
        await post(url=f"http://127.0.0.1:{port}")
