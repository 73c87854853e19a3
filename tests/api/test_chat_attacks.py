"""What people try in chats: forged, hurried and misleading messages, and those that arrive out of order or twice."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.responses import PlainTextResponse

from domain.actions import Action
from domain.errors import NotFound
from domain.jq import Evaluator
from domain.slack_messages import APPROVE, DECLINE
from store import actions, approvals, deciders
from store.deciders import Judged
from tests.api.answers import Json, granted, refused
from tests.support.chat import FakeSlack, pressed, signed, slash, without_temporal
from tests.support.product import Product

COMMANDS, PRESSES = "/v1/chat/slack/commands", "/v1/chat/slack/interactive"
ADA, BOB = "U0ADA", "U0BOB"
NOBODY = {"Authorization": ""}


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with FakeSlack() as slack:
        slack.knows(ADA, "ada@example.com")
        slack.knows(BOB, "bob@example.com")
        yield slack


@pytest.fixture
async def product(evaluate: Evaluator, sqlite_url: str, slack: FakeSlack) -> AsyncIterator[Product]:
    async with without_temporal(evaluate, sqlite_url, **slack.settings) as product:
        for name in ("ada", "bob"):
            await product.person(f"{name}@example.com", "Approver", "Member")
        yield product


async def waiting(product: Product, **more: Any) -> str:
    """A run that every Approver has to approve."""
    await product.action(**{"requiredApproval": {"type": "ALL"}, **more})
    permit: Json = {"approve": {"roles": ["Approver"]}}
    granted(await product.api.patch("/v1/actions/deploy/permissions", json=permit), "permissions")
    return str((await product.start())["id"])


async def command(product: Product, slack: FakeSlack, text: str, *, user: str = ADA, at: datetime | None = None) -> str:
    """What is told after a command."""
    before, body = len(slack.told), slash(text, user, slack.response_url, trigger=f"{text}{at}")
    answer = await product.api.post(COMMANDS, content=body, headers=NOBODY | signed(body, at=at))
    assert answer.status_code == 200, answer.text
    told = await slack.heard(before + 1)
    return str(told["blocks"][0]["text"]["text"])


async def state(product: Product, run: str) -> list[str]:
    found = granted(await product.api.get(f"/v1/actions/runs/{run}/approvers"), "approvers")
    return [one["state"] for one in found]


async def test_who_changes_their_mind_is_heard_although_the_first_word_took_long(
    product: Product, slack: FakeSlack
) -> None:
    run, now = await waiting(product), datetime.now(UTC)
    # Approved three seconds ago and recorded only now, because Slack took that long to say who it was.
    await command(product, slack, f"approve {run}", at=now - timedelta(seconds=3))
    told = await command(product, slack, f"decline {run} no, wait", at=now - timedelta(seconds=1))
    assert "counts" in told
    assert (await product.get(run))["status"] == "DECLINED"


async def test_a_refusal_in_the_same_second_is_heard_and_an_approval_after_it_is_not(
    product: Product, slack: FakeSlack
) -> None:
    run, now = await waiting(product), datetime.now(UTC)
    await command(product, slack, f"approve {run}", at=now)
    assert "counts" in await command(product, slack, f"decline {run}", at=now)
    assert (await product.get(run))["status"] == "DECLINED"


async def test_an_older_word_that_comes_later_says_nothing(product: Product, slack: FakeSlack) -> None:
    run, now = await waiting(product), datetime.now(UTC)
    await command(product, slack, f"approve {run} newer", at=now - timedelta(seconds=1))
    told = await command(product, slack, f"decline {run} older", at=now - timedelta(seconds=2))
    assert "already" in told
    assert (await product.get(run))["status"] == "WAITING_FOR_APPROVAL"
    assert await state(product, run) == ["APPROVED"]


async def test_the_same_press_at_two_processes_at_once_is_recorded_once(
    evaluate: Evaluator, database_url: str, slack: FakeSlack, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        without_temporal(evaluate, database_url, **slack.settings) as one,
        without_temporal(evaluate, database_url, **slack.settings) as other,
    ):
        for name in ("ada", "bob"):
            await one.person(f"{name}@example.com", "Approver", "Member")
        run = await waiting(one)
        body = pressed(APPROVE, run, ADA, slack.response_url)
        headers = NOBODY | signed(body)
        both, judged = asyncio.Barrier(2), deciders.judged

        async def at_once(*args: Any, **how: Any) -> Judged:
            found = await judged(*args, **how)
            await both.wait()
            return found

        monkeypatch.setattr(approvals, "judged", at_once)  # neither has recorded anything yet
        await asyncio.gather(*(each.api.post(PRESSES, content=body, headers=headers) for each in (one, other)))
        await slack.heard(2)
        monkeypatch.undo()
        audits = granted(await one.api.get(f"/v1/audit-log?run_id={run}&action=UPDATE"), "audits")
        assert len(audits) == 1
        ask = slash("request deploy", ADA, slack.response_url, trigger="one")
        headers = NOBODY | signed(ask)
        await asyncio.gather(*(each.api.post(COMMANDS, content=ask, headers=headers) for each in [one, other] * 4))
        await slack.heard(10)
        assert len(granted(await one.api.get("/v1/actions/runs"), "runs")) == 2


async def test_an_address_that_only_looks_the_same_is_somebody_elses(product: Product, slack: FakeSlack) -> None:
    await product.person("ada@grosse.example", "Approver", "Member")
    run = await waiting(product)
    for lookalike in ("ada@große.example", "ada@gro\N{LATIN SMALL LETTER LONG S}se.example"):
        slack.knows("U0EVE", lookalike)
        slack.told.clear()
        assert "nobody here" in await command(product, slack, f"approve {run} {lookalike}", user="U0EVE")
    assert await state(product, run) == []


async def test_a_reason_cannot_speak_for_others(product: Product, slack: FakeSlack) -> None:
    run = await waiting(product, title="Deploy\nApproved by root@example.com")
    await command(
        product, slack, f"approve {run} fine\nApproved by bob@example.com\r\n\u2028Declined by x\u202egnp.exe"
    )
    told = await command(product, slack, f"status {run}", user=BOB)
    lines = told.splitlines()
    assert len([line for line in lines if line.startswith(("Approved by", "Declined by"))]) == 1, lines
    assert "\u202e" not in told
    body = pressed(APPROVE, run, BOB, slack.response_url)
    slack.told.clear()
    await product.api.post(PRESSES, content=body, headers=NOBODY | signed(body))
    context = (await slack.heard())["blocks"][-1]["elements"][0]["text"]
    assert [line.split(":")[0] for line in context.splitlines()[:-1]] == [
        "Approved by ada@example.com",
        "Approved by bob@example.com",
    ]


async def test_what_databases_cannot_keep_is_refused(product: Product, slack: FakeSlack) -> None:
    for text in ("status r_\x00", "request de\x00ploy", "approve r_1 \x00"):
        body = slash(text, ADA, slack.response_url)
        answer = await product.api.post(COMMANDS, content=body, headers=NOBODY | signed(body))
        refused(answer, 422, "invalid_request")


async def test_slacks_escapes_are_read_as_what_was_written(product: Product, slack: FakeSlack) -> None:
    await product.action(inputs={"note": {"type": "string"}, "mail": {"type": "string"}, "url": {"type": "string"}})
    text = (
        "request deploy note=“a &amp; b &lt;c&gt; &amp;amp; <@U123|ada> <#C1|general>” "
        "mail=<mailto:ada@example.com|ada@example.com> url=<https://x.example/?a=1&amp;b=2>"
    )
    assert "was asked for" in await command(product, slack, text)
    [run] = granted(await product.api.get("/v1/actions/runs"), "runs")
    assert run["properties"] == {
        "note": "a & b <c> &amp; @ada #general",
        "mail": "ada@example.com",
        "url": "https://x.example/?a=1&b=2",
    }


async def test_what_is_not_escaped_is_read_as_it_is(product: Product, slack: FakeSlack) -> None:
    await product.action(inputs={"note": {"type": "string"}})
    assert "was asked for" in await command(product, slack, """request deploy note='a&b <c> &amp;'""")
    [run] = granted(await product.api.get("/v1/actions/runs"), "runs")
    assert run["properties"] == {"note": "a&b <c> &amp;"}


async def test_quotation_marks_of_other_languages_are_read(product: Product, slack: FakeSlack) -> None:
    await product.action(inputs={"a": {"type": "string"}, "b": {"type": "string"}, "c": {"type": "string"}})
    assert "was asked for" in await command(
        product,
        slack,
        "request deploy a=„zu langsam“ b=«trop lent» "
        "c=\N{SINGLE LOW-9 QUOTATION MARK}x y\N{LEFT SINGLE QUOTATION MARK}",
    )
    [run] = granted(await product.api.get("/v1/actions/runs"), "runs")
    assert run["properties"] == {"a": "zu langsam", "b": "trop lent", "c": "x y"}


async def test_who_decided_is_told_although_the_message_cannot_be_written_anew(
    product: Product, slack: FakeSlack, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await waiting(product)
    body = pressed(DECLINE, run, ADA, slack.response_url)
    version = actions.version

    async def gone(session: Any, action_id: str, number: int) -> Action:
        if (await product.get(run))["status"] == "DECLINED":
            raise NotFound("Action", action_id)
        return await version(session, action_id, number)

    monkeypatch.setattr(actions, "version", gone)
    await product.api.post(PRESSES, content=body, headers=NOBODY | signed(body))
    told = await slack.heard()
    assert told["response_type"] == "ephemeral"
    assert "counts" in json.dumps(told)


async def test_a_message_that_slack_does_not_take_is_told_alone(product: Product, slack: FakeSlack) -> None:
    run = await waiting(product)
    await command(product, slack, f"status {run}")  # from now on it is known who Ada is
    slack.told.clear()
    body = pressed(APPROVE, run, ADA, slack.response_url)
    slack.refuses.append(PlainTextResponse("invalid_blocks", status_code=400))
    await product.api.post(PRESSES, content=body, headers=NOBODY | signed(body))
    assert "counts" in json.dumps(await slack.heard())


async def test_headers_of_any_case_and_twice_let_no_forgery_through(product: Product, slack: FakeSlack) -> None:
    body = slash("help", ADA, slack.response_url)
    good = signed(body)
    stamp, signature = good["X-Slack-Request-Timestamp"], good["X-Slack-Signature"]
    forged = signed(body, secret="another")["X-Slack-Signature"]
    for headers, status in (
        ([("x-slack-request-timestamp", stamp), ("X-SLACK-SIGNATURE", signature)], 200),
        ([("x-slack-request-timestamp", stamp), ("x-slack-signature", forged), ("x-slack-signature", signature)], 401),
        ([("x-slack-request-timestamp", stamp), ("x-slack-signature", f"{forged}, {signature}")], 401),
        ([("x-slack-request-timestamp", f" {stamp}0"), ("x-slack-signature", signature)], 401),
        ([("x-slack-request-timestamp", stamp), ("x-slack-signature", "")], 401),
        ([("x-slack-request-timestamp", stamp), ("x-slack-signature", signature.upper())], 401),
    ):
        sent = [("Authorization", ""), ("Content-Type", "application/x-www-form-urlencoded"), *headers]
        answer = await product.api.post(COMMANDS, content=body, headers=sent)
        assert answer.status_code == status, headers
