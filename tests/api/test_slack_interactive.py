"""Slack's buttons: who may decide by them, and what the message says afterwards."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from domain.jq import Evaluator
from domain.slack_messages import APPROVE, DECLINE
from tests.api.answers import Json, granted, refused
from tests.support.chat import FakeSlack, pressed, signed, without_temporal
from tests.support.product import Product, running

PATH = "/v1/chat/slack/interactive"
ADA, BOB, EVE = "U0ADA", "U0BOB", "U0EVE"


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with FakeSlack() as slack:
        for user in (ADA, BOB, EVE):
            slack.knows(user, f"{user[2:].lower()}@example.com")
        yield slack


@pytest.fixture
async def product(evaluate: Evaluator, sqlite_url: str, slack: FakeSlack) -> AsyncIterator[Product]:
    async with without_temporal(evaluate, sqlite_url, **slack.settings) as product:
        for name in ("ada", "bob"):
            await product.person(f"{name}@example.com", "Approver", "Member")
        await product.person("eve@example.com", "Member")
        yield product


async def waiting(product: Product, required: Any = True, **more: Any) -> str:
    await product.action(requiredApproval=required, inputs={"env": {"type": "string"}}, **more)
    permit: Json = {"approve": {"roles": ["Approver"]}}
    granted(await product.api.patch("/v1/actions/deploy/permissions", json=permit), "permissions")
    return str((await product.start(properties={"env": "prod <eu>"}))["id"])


async def press(product: Product, body: bytes, headers: dict[str, str] | None = None) -> None:
    answer = await product.api.post(PATH, content=body, headers={"Authorization": ""} | (headers or signed(body)))
    assert (answer.status_code, answer.content) == (200, b""), answer.text


def is_decidable(message: Json) -> bool:
    return APPROVE in json.dumps(message)


async def test_a_press_decides_and_the_message_says_who_did(product: Product, slack: FakeSlack) -> None:
    run = await waiting(product)
    await press(product, pressed(APPROVE, run, ADA, slack.response_url))
    told = await slack.heard()
    assert told["replace_original"] is True
    assert not is_decidable(told), "it is decided"
    text = json.dumps(told)
    assert "Approved by ada@example.com" in text
    assert "IN_PROGRESS" in text
    assert "prod &lt;eu&gt;" in text, "written anew from the run"
    assert "forged" not in text, "nothing of what the payload shows"
    assert "divider" not in text
    approval = (await product.get(run))["approval"]
    assert approval["state"] == "APPROVED"


async def test_a_message_that_asks_has_buttons_and_a_press_lets_the_run_go_on(
    clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str, slack: FakeSlack
) -> None:
    async with running(clock, evaluate, sqlite_url, worker=True, **slack.settings) as product:
        await product.person("ada@example.com", "Approver", "Member")
        url = f"{product.backend.url}/services/T0/B0/x"
        run = await waiting(product, approvalNotification={"type": "webhook", "format": "slack", "url": url})
        message = (await product.backend.called()).json
        [actions] = [block for block in message["blocks"] if block["type"] == "actions"]
        approve, decline = actions["elements"]
        assert (approve["action_id"], decline["action_id"]) == (APPROVE, DECLINE)
        await press(product, pressed(approve["action_id"], approve["value"], ADA, slack.response_url))
        assert (await product.until(run))["status"] == "SUCCESS"
        assert not is_decidable(await slack.heard())


async def test_under_all_the_buttons_stay_until_everybody_has_spoken(product: Product, slack: FakeSlack) -> None:
    run = await waiting(product, {"type": "ALL"})
    await press(product, pressed(APPROVE, run, ADA, slack.response_url))
    told = await slack.heard()
    assert is_decidable(told)
    assert "Approved by ada@example.com" in json.dumps(told)
    assert (await product.get(run))["status"] == "WAITING_FOR_APPROVAL"
    await press(product, pressed(DECLINE, run, BOB, slack.response_url))
    told = await slack.heard(2)
    assert not is_decidable(told)
    assert "Declined by bob@example.com" in json.dumps(told)
    assert (await product.get(run))["status"] == "DECLINED"


async def test_who_may_not_decide_is_told_alone_and_the_message_stays(product: Product, slack: FakeSlack) -> None:
    run = await waiting(product)
    lies = {"user": {"id": EVE, "name": "ada", "email": "ada@example.com", "team_id": "T0INTERLOCK"}}
    await press(product, pressed(APPROVE, run, EVE, slack.response_url, **lies))
    told = await slack.heard()
    assert told["response_type"] == "ephemeral"
    assert told["replace_original"] is False
    assert "permitted" in json.dumps(told)
    assert (await product.get(run))["status"] == "WAITING_FOR_APPROVAL"
    [record] = granted(await product.api.get("/v1/audit-log?status=FAILURE"), "audits")
    assert (record["trigger"]["origin"], record["context"]["runId"]) == ("SLACK", run)


async def test_who_comes_too_late_is_told_and_sees_what_was_decided(product: Product, slack: FakeSlack) -> None:
    run = await waiting(product)
    await press(product, pressed(DECLINE, run, ADA, slack.response_url))
    await slack.heard()
    await press(product, pressed(APPROVE, run, BOB, slack.response_url))
    await slack.heard(3)
    message, alone = slack.told[1:]
    assert "Declined by ada@example.com" in json.dumps(message)
    assert not is_decidable(message)
    assert alone["response_type"] == "ephemeral"
    assert "not waiting for approval" in json.dumps(alone)
    assert (await product.get(run))["status"] == "DECLINED"


async def test_a_replayed_press_changes_nothing(product: Product, slack: FakeSlack) -> None:
    run = await waiting(product, {"type": "ALL"})
    body = pressed(APPROVE, run, ADA, slack.response_url)
    headers = signed(body)
    await press(product, body, headers)
    await slack.heard()
    once = granted(await product.api.get(f"/v1/audit-log?run_id={run}"), "audits")
    await press(product, body, headers)
    await slack.heard(2)
    assert granted(await product.api.get(f"/v1/audit-log?run_id={run}"), "audits") == once
    late = signed(body, at=datetime.now(UTC) - timedelta(minutes=4))
    await press(product, body, late)
    await slack.heard(3)
    assert granted(await product.api.get(f"/v1/audit-log?run_id={run}"), "audits") == once


async def test_a_clock_that_goes_slow_lets_no_replay_through(product: Product, slack: FakeSlack) -> None:
    run = await waiting(product, {"type": "ALL"})
    body = pressed(APPROVE, run, ADA, slack.response_url)
    ahead = signed(body, at=datetime.now(UTC) + timedelta(minutes=3))
    for times in (1, 2):
        await press(product, body, ahead)
        await slack.heard(times)
    found = granted(await product.api.get(f"/v1/audit-log?run_id={run}&action=UPDATE"), "audits")
    assert len(found) == 1


async def test_a_run_that_is_not_there_is_told_alone(product: Product, slack: FakeSlack) -> None:
    await press(product, pressed(APPROVE, "r_0000000000000000", ADA, slack.response_url))
    assert (await slack.heard())["response_type"] == "ephemeral"


async def test_a_press_that_is_not_ours_is_nothing_and_what_is_no_press_is_refused(
    product: Product, slack: FakeSlack
) -> None:
    await press(product, pressed("another", "x", ADA, slack.response_url))
    for body in (b"", b"payload=", b"payload=x", b"payload=%7B%7D", b"nonsense"):
        answer = await product.api.post(PATH, content=body, headers={"Authorization": ""} | signed(body))
        refused(answer, 422, "invalid_request")
    elsewhere = pressed(APPROVE, "r_0000000000000000", ADA, "https://evil.example/x")
    answer = await product.api.post(PATH, content=elsewhere, headers={"Authorization": ""} | signed(elsewhere))
    refused(answer, 422, "invalid_request", "response_url")
    assert (slack.told, slack.asked) == ([], [])
