"""Slack's command: who is believed, what they may do, and that the same message does nothing twice."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, PlainTextResponse

from domain.jq import Evaluator
from tests.api.answers import Json, granted
from tests.support.chat import WORKSPACE, FakeSlack, signed, slash, without_temporal
from tests.support.product import Product

PATH = "/v1/chat/slack/commands"
ADA, EVE = "U0ADA", "U0EVE"
NOBODY = {"Authorization": ""}


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with FakeSlack() as slack:
        slack.knows(ADA, "Ada@example.com")
        slack.knows(EVE, "eve@example.com")
        yield slack


@pytest.fixture
async def product(evaluate: Evaluator, sqlite_url: str, slack: FakeSlack) -> AsyncIterator[Product]:
    async with without_temporal(evaluate, sqlite_url, **slack.settings) as product:
        await product.person("ada@example.com", "Approver", "Member")
        await product.person("eve@example.com", "Member")
        yield product


async def say(product: Product, slack: FakeSlack, text: str, user: str = ADA, **more: str) -> httpx.Response:
    body = slash(text, user, slack.response_url, **more)
    return await product.api.post(PATH, content=body, headers=NOBODY | signed(body))


async def hear(product: Product, slack: FakeSlack, text: str, user: str = ADA, **more: str) -> str:
    """What follows at response_url."""
    before = len(slack.told)
    answer = await say(product, slack, text, user, **more)
    assert (answer.status_code, answer.content) == (200, b""), answer.text
    told = await slack.heard(before + 1)
    assert told["response_type"] == "ephemeral"
    return said(told)


def said(message: Json) -> str:
    text = message["blocks"][0]["text"]
    assert text["type"] == "plain_text", "nothing in it is markup"
    return str(text["text"])


async def runs(product: Product) -> list[Json]:
    found: list[Json] = granted(await product.api.get("/v1/actions/runs"), "runs")
    return found


async def waiting(product: Product, **more: Any) -> str:
    """A run that waits for an Approver."""
    await product.action(requiredApproval=True, **more)
    permit: Json = {"approve": {"roles": ["Approver"]}}
    granted(await product.api.patch("/v1/actions/deploy/permissions", json=permit), "permissions")
    return str((await product.start())["id"])


# Who somebody is.


STRANGERS: list[tuple[Json, str]] = [
    ({"deleted": True}, "active account"),
    ({"is_bot": True}, "no bots"),
    ({"is_app_user": True}, "no bots"),
    ({"is_email_confirmed": False}, "not confirmed"),
    ({"is_email_confirmed": None}, "not confirmed"),
    ({"team_id": "T0OTHER"}, "of another one"),
    ({"is_stranger": True}, "of another one"),
    ({"profile": {}}, "users:read.email"),
    ({"id": "U0SOMEBODY"}, "does not know you"),
]


async def test_only_confirmed_people_of_the_workspace_are_somebody(product: Product, slack: FakeSlack) -> None:
    run = await waiting(product)
    for about, words in STRANGERS:
        slack.knows(ADA, "ada@example.com", **about)
        assert words in await hear(product, slack, f"approve {run}"), about
        assert (await product.get(run))["status"] == "WAITING_FOR_APPROVAL"


async def test_what_the_payload_says_about_its_sender_counts_for_nothing(product: Product, slack: FakeSlack) -> None:
    run = await waiting(product)
    lies = {"user_name": "ada", "email": "ada@example.com", "user_email": "ada@example.com"}
    assert "not permitted" in await hear(product, slack, f"approve {run}", EVE, **lies)
    assert (await product.get(run))["status"] == "WAITING_FOR_APPROVAL"


async def test_a_user_whom_slack_does_not_know_is_nobody(product: Product, slack: FakeSlack) -> None:
    for user in ("U0NOBODY", "../auth.test", "U0ADA&user=U0EVE", ""):
        assert "does not know you" in await hear(product, slack, "request deploy", user)
    assert await runs(product) == []


async def test_people_of_another_workspace_are_refused_before_slack_is_asked_about_them(
    product: Product, slack: FakeSlack
) -> None:
    assert "of another one" in await hear(product, slack, "request deploy", team_id="T0OTHER")
    assert slack.asked == ["auth.test"]


async def test_a_workspace_that_is_named_in_the_settings_is_the_one(
    evaluate: Evaluator, sqlite_url: str, slack: FakeSlack
) -> None:
    settings = {**slack.settings, "slack_team_id": "T0OTHER"}
    async with without_temporal(evaluate, sqlite_url, **settings) as product:
        await product.person("ada@example.com")
        assert "of another one" in await hear(product, slack, "request deploy")
        assert "of another one" in await hear(product, slack, "request deploy", team_id="T0OTHER"), "Slack says so"


async def test_who_is_nobody_here_or_inactive_may_do_nothing(product: Product, slack: FakeSlack) -> None:
    slack.knows("U0NEW", "new@example.com")
    assert "ask an Admin" in await hear(product, slack, "request deploy", "U0NEW")
    path = "/v1/blueprints/_user/entities/ada@example.com"
    off = await product.api.patch(path, json={"properties": {"status": "Disabled"}})
    assert off.status_code == 200, off.text
    assert "not active" in await hear(product, slack, "request deploy")


async def test_who_somebody_is_is_asked_once_a_minute_and_what_they_may_do_every_time(
    product: Product, slack: FakeSlack
) -> None:
    run = await waiting(product)
    for _ in range(2):
        await hear(product, slack, f"status {run}")
    assert slack.asked == ["auth.test", "users.info"]
    gone = await product.api.delete("/v1/users/ada@example.com")
    assert gone.status_code < 300, gone.text
    assert "ask an Admin" in await hear(product, slack, f"approve {run}")


async def test_when_slack_does_not_say_who_somebody_is_nothing_is_done(product: Product, slack: FakeSlack) -> None:
    await product.action()
    for fault in (
        PlainTextResponse("no", status_code=500),
        JSONResponse({"ok": False, "error": "ratelimited"}, status_code=429),
        JSONResponse({"ok": False, "error": "invalid_auth"}),
        JSONResponse({"ok": False}),
        JSONResponse([]),
        PlainTextResponse("x" * 300_000),
    ):
        slack.refuses.append(fault)
        assert "Slack" in await hear(product, slack, "request deploy")
    assert await runs(product) == []
    assert "asked for" in await hear(product, slack, "request deploy")


# What they ask for.


async def test_help_and_what_is_no_command_are_answered_at_once(product: Product, slack: FakeSlack) -> None:
    for text in ("help", "", "  HELP "):
        answer = (await say(product, slack, text)).json()
        assert answer["response_type"] == "ephemeral"
        assert "approve <run>" in said(answer)
    for text in ("frobnicate", "approve", "status", 'request deploy a="x', "request deploy x"):
        assert "You can write" in said((await say(product, slack, text)).json())
    assert slack.asked == []


async def test_a_run_is_asked_for_with_inputs_read_by_their_types(product: Product, slack: FakeSlack) -> None:
    await product.entity("cart")
    inputs = {
        "reason": {"type": "string"},
        "to": {"type": "number"},
        "force": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "ports": {"type": "array", "items": {"type": "number"}},
        "labels": {"type": "object"},
        "zip": {"type": "string"},
    }
    trigger = {
        "type": "self-service",
        "operation": "DAY-2",
        "blueprintIdentifier": "service",
        "userInputs": {"properties": inputs, "required": ["reason"]},
    }
    await product.action(trigger=trigger)
    text = (
        """request deploy on cart reason="too slow" to=3 force=yes tags=a,b ports=[80,443] labels='{"a": 1}' zip=007"""
    )
    told = await hear(product, slack, text)
    [run] = await runs(product)
    assert run["id"] in told
    assert run["entity"]["identifier"] == "cart"
    assert run["properties"] == {
        "reason": "too slow",
        "to": 3,
        "force": True,
        "tags": ["a", "b"],
        "ports": [80, 443],
        "labels": {"a": 1},
        "zip": "007",
    }
    assert run["interlock"]["trigger"]["by"]["user"]["email"] == "ada@example.com"
    assert "/approvals/" in slack.told[-1]["blocks"][1]["text"]["text"]


WRONG = [
    ("request none", "not found"),
    ("request deploy", "/env is required"),
    ("request deploy env=prod size=big", "/size must be a number"),
    ("request deploy env=prod other=1", "/other is no input"),
    ("request deploy env=prod password=hush", "/password is secret"),
    ("approve r_0000000000000000", "not found"),
    ("approve ../../x", "not found"),
    ("status r_0000000000000000", "not found"),
]


async def test_what_does_not_hold_is_told_to_the_one_who_wrote_it(product: Product, slack: FakeSlack) -> None:
    inputs = {
        "env": {"type": "string"},
        "size": {"type": "number"},
        "password": {"type": "string", "encryption": "aes256-gcm"},
    }
    user_inputs = {"properties": inputs, "required": ["env"]}
    await product.action(trigger={"type": "self-service", "operation": "CREATE", "userInputs": user_inputs})
    for text, words in WRONG:
        told = await hear(product, slack, text)
        assert words in told, text
        assert "hush" not in told
    assert await runs(product) == []
    records = granted(await product.api.get("/v1/audit-log?status=FAILURE"), "audits")
    assert len(records) == len([text for text, _ in WRONG if not text.startswith("status")])
    for record in records:
        assert record["trigger"]["origin"] == "SLACK"
        assert record["resourceType"] == "run"
        assert record["trigger"]["by"]["userId"].startswith("user_")
        assert "hush" not in str(record)


async def test_who_may_not_execute_an_action_is_told_nothing_of_its_inputs(product: Product, slack: FakeSlack) -> None:
    await product.action(inputs={"env": {"type": "string"}})
    permit: Json = {"execute": {"roles": [], "users": []}}
    granted(await product.api.patch("/v1/actions/deploy/permissions", json=permit), "permissions")
    told = await hear(product, slack, "request deploy wrong=1")
    assert "not permitted" in told
    assert "wrong" not in told
    assert await runs(product) == []


async def test_the_same_message_asks_for_one_run(product: Product, slack: FakeSlack) -> None:
    await product.action()
    body = slash("request deploy", ADA, slack.response_url, trigger="9.9")
    headers = NOBODY | signed(body)
    for _ in range(3):
        assert (await product.api.post(PATH, content=body, headers=headers)).status_code == 200
    await slack.heard(3)
    [run] = await runs(product)
    assert all(run["id"] in said(message) for message in slack.told)
    await hear(product, slack, "request deploy", trigger="9.10")
    assert len(await runs(product)) == 2


async def test_a_decision_counts_as_in_the_api_and_its_reason_is_kept(product: Product, slack: FakeSlack) -> None:
    run = await waiting(product)
    told = await hear(product, slack, f"decline {run} it's &lt;!channel&gt; too late")
    assert "counts" in told
    assert "DECLINED" in told
    after = await product.get(run)
    assert after["status"] == "DECLINED"
    assert "it's <!channel> too late" in after["summary"]
    [record] = granted(await product.api.get(f"/v1/actions/runs/{run}/explain"), "explanation")["votes"]
    assert record["channel"] == "SLACK"


async def test_a_replayed_decision_says_nothing_a_second_time(product: Product, slack: FakeSlack) -> None:
    await product.person("bob@example.com", "Approver")
    await product.action(requiredApproval={"type": "ALL"})
    permit: Json = {"approve": {"roles": ["Approver"]}}
    granted(await product.api.patch("/v1/actions/deploy/permissions", json=permit), "permissions")
    run = str((await product.start())["id"])
    body = slash(f"approve {run} fine", ADA, slack.response_url)
    headers = NOBODY | signed(body)
    audits = f"/v1/audit-log?run_id={run}"
    await product.api.post(PATH, content=body, headers=headers)
    assert "others have to decide" in said(await slack.heard()).lower()
    once = granted(await product.api.get(audits), "audits")
    await product.api.post(PATH, content=body, headers=headers)
    assert "already" in said(await slack.heard(2))
    assert granted(await product.api.get(audits), "audits") == once


async def test_slack_is_answered_before_anything_slow_begins(product: Product, slack: FakeSlack) -> None:
    run = await waiting(product)
    slack.held = asyncio.Event()
    async with asyncio.timeout(2):
        answer = await say(product, slack, f"approve {run}")
    assert (answer.status_code, answer.content) == (200, b"")
    assert (await product.get(run))["status"] == "WAITING_FOR_APPROVAL"
    slack.held.set()
    await slack.heard()
    assert (await product.get(run))["approval"]["state"] == "APPROVED"


async def test_what_was_begun_is_finished_before_the_process_ends(
    evaluate: Evaluator, sqlite_url: str, slack: FakeSlack
) -> None:
    slack.held = asyncio.Event()
    async with without_temporal(evaluate, sqlite_url, **slack.settings) as product:
        await product.person("ada@example.com")
        await product.action()
        await say(product, slack, "request deploy")
        asyncio.get_running_loop().call_later(0.2, slack.held.set)
    assert "was asked for" in said(slack.told[0])


async def test_an_answer_that_slack_does_not_take_at_first_is_sent_again(product: Product, slack: FakeSlack) -> None:
    await hear(product, slack, "status r_0000000000000000")
    slack.refuses.append(PlainTextResponse("later", status_code=503))
    await hear(product, slack, "status r_0000000000000000")


async def test_the_workspace_is_that_of_the_bot_token(product: Product, slack: FakeSlack) -> None:
    assert "not found" in await hear(product, slack, "status r_0000000000000000", team_id=WORKSPACE)
