"""SIGKILL while a run waits: for people, who are asked, reminded and joined by others, and then for its time."""

import asyncio
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

import httpx
import pytest
from starlette.responses import Response

from cli.processes import create_user
from tests.support.backend import Call
from tests.support.mail import FakeMailbox
from tests.support.outcome import APPROVED, Json, Observer, observing
from tests.support.processes import Parts, Stack, eventually

pytestmark = [pytest.mark.whole, pytest.mark.timeout(120)]

ADA, BOB, BOSS = "ada@example.com", "bob@example.com", "boss@example.com"
RULES = {
    "reminders": {"every": "PT2S", "most": 50},
    "escalation": {"to": {"users": [BOSS]}, "after": "PT5S"},
    "notBefore": "PT4S",
    "selfApproval": False,
}


async def _guarded(observer: Observer) -> Json:
    """A run that waits for two people by those rules."""
    document = {
        "identifier": "guarded",
        "trigger": {
            "type": "self-service",
            "operation": "CREATE",
            "userInputs": {"properties": {"gate": {"type": "string", "default": ""}}, "required": []},
        },
        "invocationMethod": {
            "type": "WEBHOOK",
            "url": f"{observer.backend.url}/guarded",
            "synchronized": True,
            "body": {"gate": "{{ .inputs.gate }}"},
        },
        "requiredApproval": True,
        "interlock": {"approval": RULES},
    }
    made = await observer.call("POST", "/v1/actions", json=document)
    assert made.status_code == 200, made.text
    permissions = {"approve": {"users": [ADA, BOB], "roles": []}}
    granted = await observer.call("PATCH", "/v1/actions/guarded/permissions", json=permissions)
    assert granted.status_code == 200, granted.text
    run_id = await observer.run("guarded")
    observer.promised[run_id] = APPROVED
    return await _run(observer, run_id)


async def _run(observer: Observer, run_id: str) -> Json:
    answer = await observer.until_answered("GET", f"/v1/actions/runs/{run_id}")
    run: Json = answer.json()["run"]
    return run


async def _headers(observer: Observer, credentials: tuple[str, str]) -> httpx.Headers:
    client_id, client_secret = credentials
    answer = await observer.call(
        "POST", "/v1/auth/access_token", json={"clientId": client_id, "clientSecret": client_secret}
    )
    return httpx.Headers({"Authorization": f"Bearer {answer.json()['accessToken']}"})


def _got(mails: FakeMailbox, who: str, headline: str) -> int:
    """How many emails with this headline somebody has got."""
    letters = zip(mails.letters, mails.recipients, strict=True)
    return sum(people == [who] and letter["Subject"].strip().startswith(f"{headline}:") for letter, people in letters)


async def _gets(mails: FakeMailbox, who: str, headline: str, times: int = 1) -> None:
    async def look() -> bool | None:
        return _got(mails, who, headline) >= times or None

    await eventually(f"{who} gets {headline!r}", look)


async def _idle(stack: Stack, run_id: str) -> None:
    """Wait until Temporal knows that nobody is being told: it would wait a minute for one who dies then."""
    handle = (await stack.temporal()).get_workflow_handle(run_id)

    async def look() -> bool | None:
        return not (await handle.describe()).raw_description.pending_activities or None

    await eventually("nobody is being told", look)


async def test_a_run_that_waits_survives_every_process(tmp_path: Path) -> None:
    async with (
        FakeMailbox() as mails,
        Parts(tmp_path, smtp_url=mails.url, smtp_from="Interlock <interlock@example.com>") as stack,
        observing(stack) as observer,
    ):
        people = {who: await create_user(stack.settings, who, roles=["Member"]) for who in (ADA, BOB, BOSS)}
        boss = await _headers(observer, people[BOSS])
        called: list[float] = []

        async def answer(call: Call) -> Response:
            called.append(time.time())
            return await observer.gates.answer(call)

        observer.backend.answer = answer
        run_id = (await _guarded(observer))["id"]
        for who in (ADA, BOB):
            await _gets(mails, who, "Approval needed")
        await _gets(mails, BOB, "Reminder, approval needed")
        await _idle(stack, run_id)
        # Nobody is there when more reminders are due, and others should be asked.
        await asyncio.gather(stack.kill("worker"), stack.kill("temporal"))
        await asyncio.gather(stack.start("temporal"), stack.start("worker"))
        await _gets(mails, BOSS, "Escalated to you, approval needed")

        # Approved, and whoever was to tell the workflow dies.
        await stack.kill("temporal")
        said = await observer.call(
            "PATCH", f"/v1/actions/runs/{run_id}/approval", json={"status": "APPROVE"}, headers=boss
        )
        assert said.status_code == 201, said.text
        await stack.kill("api")
        await asyncio.gather(stack.start("temporal"), stack.start("api"))

        await observer.all_is_well()
        run = await _run(observer, run_id)
        starts_at = datetime.fromisoformat(run["interlock"]["gate"]["startsAt"]).timestamp()
        assert [moment >= starts_at for moment in called] == [True], "called once, and not before its time"
        assert [_got(mails, who, "Approval needed") for who in (ADA, BOB, BOSS)] == [1, 1, 0]
        assert [_got(mails, who, "Escalated to you, approval needed") for who in (ADA, BOB, BOSS)] == [0, 0, 1]
        repeated = Counter(letter["Message-ID"] for letter in mails.letters)
        assert max(repeated.values()) == 1, repeated
        logs = (await observer.call("GET", f"/v1/actions/runs/{run_id}/logs")).json()["runLogs"]
        lines = Counter(line["message"] for line in logs)
        assert lines[f"Nobody has decided for some time, escalated to {BOSS}"] == 1
