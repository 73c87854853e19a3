"""The outgoing webhook of Microsoft Teams: who is believed, what they may do, and what the channel reads."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.responses import JSONResponse, PlainTextResponse

from api import teams as door
from domain.jq import Evaluator
from tests.api.answers import Json, granted, refused
from tests.support.chat import FakeMicrosoft, hmac_of, mentioned, without_temporal
from tests.support.product import Product

PATH = "/v1/chat/teams"
ADA, EVE, NEW = (f"{digit * 8}-0000-4000-8000-{digit * 12}" for digit in "aec")


@pytest.fixture
async def microsoft() -> AsyncIterator[FakeMicrosoft]:
    async with FakeMicrosoft() as microsoft:
        microsoft.knows(ADA, "Ada@example.com")
        microsoft.knows(EVE, None, userPrincipalName="eve@example.com")
        microsoft.knows(NEW, "new@example.com")
        yield microsoft


@pytest.fixture
async def product(evaluate: Evaluator, sqlite_url: str, microsoft: FakeMicrosoft) -> AsyncIterator[Product]:
    async with without_temporal(evaluate, sqlite_url, **microsoft.settings) as product:
        await product.person("ada@example.com", "Approver", "Member")
        await product.person("eve@example.com", "Member")
        yield product


async def send(product: Product, body: bytes, headers: dict[str, str] | None = None) -> tuple[str, Json]:
    """What the channel reads, and the card."""
    answer = await product.api.post(PATH, content=body, headers=headers or hmac_of(body))
    assert answer.status_code == 200, answer.text
    message = answer.json()
    [attachment] = message["attachments"]
    assert (message["type"], attachment["contentType"]) == ("message", "application/vnd.microsoft.card.adaptive")
    card: Json = attachment["content"]
    return "\n".join(block["inlines"][0]["text"] for block in card["body"]), card


async def say(product: Product, text: str, user: str | None = ADA, **more: Any) -> str:
    return (await send(product, mentioned(text, user, **more)))[0]


async def waiting(product: Product, required: Any = True) -> str:
    await product.action(requiredApproval=required)
    permit: Json = {"approve": {"roles": ["Approver"]}}
    granted(await product.api.patch("/v1/actions/deploy/permissions", json=permit), "permissions")
    return str((await product.start())["id"])


async def test_what_the_webhook_has_not_signed_is_refused(product: Product, microsoft: FakeMicrosoft) -> None:
    body = mentioned("help", ADA)
    genuine = hmac_of(body)["Authorization"]
    for header in (
        "",
        "HMAC",
        "HMAC \xe9",
        genuine.replace("HMAC", "Bearer"),
        hmac_of(body + b" ")["Authorization"],
        hmac_of(body, token=b64encode(b"another").decode())["Authorization"],
    ):
        raw = [(b"Authorization", header.encode("latin-1")), (b"Content-Type", b"application/json")]
        refused(await product.api.post(PATH, content=body, headers=raw), 401, "unauthorized", "not signed")
    junk = b"no JSON"
    refused(await product.api.post(PATH, content=junk, headers={"Authorization": genuine}), 401, "unauthorized")
    refused(await product.api.post(PATH, content=junk, headers=hmac_of(junk)), 422, "invalid_request")
    for minutes in (-6, 6):
        old = mentioned("help", ADA, at=datetime.now(UTC) + timedelta(minutes=minutes))
        refused(await product.api.post(PATH, content=old, headers=hmac_of(old)), 401, "unauthorized", "five minutes")
    naive = mentioned("help", ADA, timestamp="2026-01-01T00:00:00")
    refused(await product.api.post(PATH, content=naive, headers=hmac_of(naive)), 422, "invalid_request", "timestamp")
    assert microsoft.asked == []


async def test_a_door_that_is_not_configured_says_which_settings_are_missing(
    evaluate: Evaluator, sqlite_url: str, microsoft: FakeMicrosoft
) -> None:
    settings = {**microsoft.settings, "teams_client_id": "", "teams_client_secret": ""}
    async with without_temporal(evaluate, sqlite_url, **settings) as product:
        body = mentioned("help", ADA)
        answer = await product.api.post(PATH, content=body, headers=hmac_of(body))
        names = ("INTERLOCK_TEAMS_CLIENT_ID", "INTERLOCK_TEAMS_CLIENT_SECRET")
        assert "TENANT" not in refused(answer, 404, "not_configured", *names)


async def test_only_members_of_the_tenant_are_somebody(product: Product, microsoft: FakeMicrosoft) -> None:
    run = await waiting(product)
    about: list[tuple[Json, str]] = [
        ({"accountEnabled": False}, "active account"),
        ({"accountEnabled": None}, "active account"),
        ({"userType": "Guest"}, "guest"),
        ({"userType": None}, "guest"),
        ({"id": EVE}, "does not know you"),
        ({"mail": None, "userPrincipalName": None}, "email address"),
    ]
    for more, words in about:
        microsoft.knows(ADA, "ada@example.com")
        microsoft.people[ADA] |= more
        assert words in await say(product, f"approve {run}"), more
    microsoft.knows(ADA, "ada@example.com")
    assert "does not know you" in await say(product, f"approve {run}", None)
    for user in ("../me", "ffffffff-0000-4000-8000-ffffffffffff", f"{ADA}/manager", ""):
        assert "does not know you" in await say(product, f"approve {run}", user)
    lies: Json = {"from": {"id": "29:1", "name": "ada@example.com", "aadObjectId": EVE, "email": "ada@example.com"}}
    assert "permitted" in await say(product, f"approve {run}", **lies)
    elsewhere: list[Json] = [
        {"conversation": {"id": "19:a", "tenantId": "another"}},
        {"channelData": {"tenant": {"id": "another"}}},
        {"conversation": {"id": "19:a"}, "channelData": {}},
    ]
    for tenants in elsewhere:
        assert "of another one" in await say(product, f"approve {run}", **tenants)
    assert "ask an Admin" in await say(product, f"approve {run}", NEW)
    assert (await product.get(run))["status"] == "WAITING_FOR_APPROVAL"
    assert microsoft.tokens == 1, "one token serves until it ends"


async def test_a_message_decides_and_the_card_leads_to_the_run(product: Product, microsoft: FakeMicrosoft) -> None:
    run = await waiting(product)
    text, card = await send(product, mentioned(f"approve {run} go &amp; see", ADA))
    assert "counts" in text
    assert card["actions"][0]["type"] == "Action.OpenUrl"
    assert card["actions"][0]["url"] == f"http://interlock.test/approvals/{run}"
    assert (await product.get(run))["approval"] == {
        **(await product.get(run))["approval"],
        "state": "APPROVED",
        "description": "go & see",
    }
    assert "Approved by ada@example.com: go & see" in await say(product, f"status {run}")
    decided = granted(await product.api.get(f"/v1/actions/runs/{run}/explain"), "explanation")
    assert '"TEAMS"' in json.dumps(decided)


async def test_a_run_is_asked_for_once_however_often_the_message_comes(
    product: Product, microsoft: FakeMicrosoft
) -> None:
    await product.action(inputs={"env": {"type": "string"}})
    body = mentioned("request deploy env=&quot;the prod&quot;", EVE)
    first, _ = await send(product, body)
    second, _ = await send(product, body)
    assert first == second
    [run] = granted(await product.api.get("/v1/actions/runs"), "runs")
    assert run["properties"] == {"env": "the prod"}
    assert run["interlock"]["trigger"]["by"]["user"]["email"] == "eve@example.com", "by the principal name"


async def test_a_replayed_decision_says_nothing_a_second_time(product: Product, microsoft: FakeMicrosoft) -> None:
    await product.person("bob@example.com", "Approver")
    run = await waiting(product, {"type": "ALL"})
    body = mentioned(f"approve {run}", ADA)
    await send(product, body)
    once = granted(await product.api.get(f"/v1/audit-log?run_id={run}"), "audits")
    assert "already" in (await send(product, body))[0]
    assert granted(await product.api.get(f"/v1/audit-log?run_id={run}"), "audits") == once


async def test_what_is_no_command_is_answered_with_help_and_asks_nobody(
    product: Product, microsoft: FakeMicrosoft
) -> None:
    for text in ("", "help", "frobnicate", "approve"):
        assert "approve <run>" in await say(product, text)
    assert microsoft.asked == []


async def test_when_graph_does_not_say_who_somebody_is_nothing_is_done(
    product: Product, microsoft: FakeMicrosoft
) -> None:
    await product.action()
    faults = (
        lambda: PlainTextResponse("no", status_code=500),
        lambda: JSONResponse({"error": "invalid_client"}, status_code=401),
        lambda: JSONResponse({"access_token": 1}),
    )
    for fault in faults:
        microsoft.fault = fault
        assert "nothing was done" in await say(product, "request deploy")
    microsoft.fault = None
    assert granted(await product.api.get("/v1/actions/runs"), "runs") == []


async def test_teams_is_answered_in_time_and_the_work_goes_on(
    product: Product, microsoft: FakeMicrosoft, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await waiting(product)
    monkeypatch.setattr(door, "_SECONDS", 0.05)
    microsoft.held = asyncio.Event()
    assert "longer" in await say(product, f"approve {run}")
    microsoft.held.set()
    async with asyncio.timeout(10):
        while (await product.get(run))["status"] == "WAITING_FOR_APPROVAL":
            await asyncio.sleep(0.02)
