"""What happens to a run over time while it waits: people are told again, others may decide, and it begins on time."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment

from activities.invocation import InvocationActivity
from activities.notifications import NotificationActivity
from activities.runs import RunActivities
from activities.services import Services
from domain.jq import Evaluator
from domain.runs import RunStatus
from store import runs
from tests.support.mail import FakeMailbox
from tests.support.product import Product, running
from workflows.calls import Question

Json = dict[str, Any]
ADA, BOB, BOSS = "ada@example.com", "bob@example.com", "boss@example.com"
SECRETS = "/v1/organization/secrets"
NOT_BEFORE = {"notBefore": "PT1H"}


@pytest.fixture
async def mails() -> AsyncIterator[FakeMailbox]:
    """An SMTP server."""
    async with FakeMailbox() as mails:
        yield mails


@pytest.fixture
async def product(
    clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str, mails: FakeMailbox
) -> AsyncIterator[Product]:
    """The product with that server."""
    sender = "Interlock <interlock@example.com>"
    async with running(clock, evaluate, sqlite_url, smtp_url=mails.url, smtp_from=sender) as product:
        yield product


async def asked_for(
    product: Product, approval: Json, *people: str, **more: Any
) -> tuple[Json, dict[str, httpx.Headers]]:
    """A run that waits for these people, by rules of an approval; and how everybody calls."""
    headers = {email: await product.person(email) for email in (*people, BOSS)}
    await product.action(requiredApproval=True, interlock={"approval": approval}, **more)
    answer = await product.api.patch(
        "/v1/actions/deploy/permissions", json={"approve": {"users": list(people), "roles": []}}
    )
    assert answer.status_code == 200, answer.text
    return await product.start(), headers


async def approve(product: Product, run: Json, headers: httpx.Headers | None = None, word: str = "APPROVE") -> Json:
    """Decide about the run."""
    path = f"/v1/actions/runs/{run['id']}/approval"
    answer = await product.api.patch(path, json={"status": word}, headers=headers)
    assert answer.status_code == 201, answer.text
    after: Json = answer.json()["run"]
    return after


async def secret(product: Product, value: str) -> None:
    """The secret TOKEN, made or changed."""
    known = await product.api.patch(f"{SECRETS}/TOKEN", json={"secretValue": value})
    if known.status_code != 200:
        made = await product.api.post(SECRETS, json={"secretName": "TOKEN", "secretValue": value})
        assert made.status_code in (200, 201), made.text


async def logged(product: Product, run_id: str, text: str, times: int = 1) -> list[str]:
    """The run's log, once so many of its lines hold the text."""
    async with asyncio.timeout(20):
        while len([line for line in await product.logs(run_id) if text in line]) < times:
            await asyncio.sleep(0.02)
    return await product.logs(run_id)


def subjects(mails: FakeMailbox, to: str) -> list[str]:
    """How the emails to somebody begin."""
    letters = zip(mails.letters, mails.recipients, strict=True)
    return [letter["Subject"].partition(":")[0].strip() for letter, people in letters if people == [to]]


def with_secret(product: Product) -> Json:
    """An invocation that sends a secret."""
    return {"invocationMethod": product.webhook(headers={"X-Auth": "{{ .secrets.TOKEN }}"})}


async def test_who_was_asked_is_reminded_until_they_decide_and_others_are_asked_in_time(
    product: Product, mails: FakeMailbox, clock: WorkflowEnvironment
) -> None:
    rules = {
        "timeLimit": "P30D", "quorum": 2, "reminders": {"every": "P1D", "most": 3},
        "escalation": {"to": {"users": [BOSS]}, "after": "P2DT12H"},
    }  # fmt: skip
    run, headers = await asked_for(product, rules, ADA, BOB)
    await logged(product, run["id"], "were told")
    await approve(product, run, headers[ADA])
    for number in (1, 2):
        await clock.sleep(timedelta(days=1, minutes=5))
        await logged(product, run["id"], "reminded", number)
    await clock.sleep(timedelta(hours=13))
    await logged(product, run["id"], "Those it was escalated to were told")
    await clock.sleep(timedelta(hours=13))
    lines = await logged(product, run["id"], "reminded", 3)
    assert subjects(mails, ADA) == ["Approval needed"], "who has spoken is left alone"
    assert subjects(mails, BOB) == ["Approval needed", *["Reminder, approval needed"] * 3]
    assert subjects(mails, BOSS) == ["Escalated to you, approval needed", "Reminder, approval needed"]
    assert len({letter["Message-ID"] for letter in mails.letters}) == len(mails.letters)
    assert f"Nobody has decided for some time, escalated to {BOSS}" in lines
    driving = (await product.get(run["id"]))["interlock"]
    assert [one["message"] for one in driving["asked"]] == ["request", "escalation", "reminder-3"]
    await approve(product, run, headers[BOSS])
    assert (await product.until(run["id"]))["status"] == "SUCCESS"


async def test_a_webhook_is_told_whom_a_reminder_is_for(product: Product, clock: WorkflowEnvironment) -> None:
    notification = {"type": "webhook", "url": f"{product.backend.url}/asked"}
    rules = {"reminders": {"every": "P1D", "most": 1}}
    run, _ = await asked_for(product, rules, ADA, approvalNotification=notification)
    await logged(product, run["id"], "were told")
    await clock.sleep(timedelta(days=1, minutes=5))
    await logged(product, run["id"], "Approvers were reminded by the webhook")
    first, second = product.backend.calls
    assert "reason" not in first.json
    assert (second.json["type"], second.json["reason"]) == ("APPROVAL_REQUEST", "REMINDER")
    assert second.json["recipients"] == [ADA]
    assert second.headers["idempotency-key"] == f"{run['id']}:approval:reminder-1"


async def test_who_gets_the_decision_left_to_them_is_told(product: Product, mails: FakeMailbox) -> None:
    run, headers = await asked_for(product, {"delegation": True}, ADA)
    await logged(product, run["id"], "were told")
    path = f"/v1/actions/runs/{run['id']}/approval/delegation"
    answer = await product.api.post(path, json={"to": BOSS}, headers=headers[ADA])
    assert answer.status_code == 201, answer.text
    await logged(product, run["id"], "Those it was left to were told by email")
    assert subjects(mails, BOSS) == ["Left to you, approval needed"]
    text = mails.letters[-1].get_body(("plain",))
    assert text
    assert f"{ADA} leaves the decision to you." in text.get_content()
    await approve(product, run, headers[BOSS])
    assert (await product.until(run["id"]))["status"] == "SUCCESS"


async def test_whose_decision_is_void_is_asked_again(product: Product, mails: FakeMailbox) -> None:
    await secret(product, "old")
    run, headers = await asked_for(product, {"quorum": 2}, ADA, BOB, **with_secret(product))
    await logged(product, run["id"], "were told")
    await approve(product, run, headers[ADA])
    await secret(product, "new")
    assert (await approve(product, run, headers[BOB]))["status"] == "WAITING_FOR_APPROVAL"
    await logged(product, run["id"], "Approvers were told that what would be sent has changed")
    assert subjects(mails, ADA) == ["Approval needed", "Approval needed again"]
    assert subjects(mails, BOB) == ["Approval needed"]
    assert not product.backend.calls
    await approve(product, run, headers[ADA])
    assert (await product.until(run["id"]))["status"] == "SUCCESS"
    (call,) = product.backend.calls
    assert call.headers["x-auth"] == "new"


@pytest.mark.parametrize(("on_time_limit", "ends"), [("DECLINE", "DECLINED"), ("APPROVE", "SUCCESS")])
async def test_what_becomes_of_a_run_that_nobody_decides_about(
    product: Product, clock: WorkflowEnvironment, on_time_limit: str, ends: str
) -> None:
    run, _ = await asked_for(product, {"timeLimit": "P1D", "onTimeLimit": on_time_limit}, ADA)
    await logged(product, run["id"], "were told")
    await clock.sleep(timedelta(days=1, minutes=5))
    after = await product.until(run["id"])
    assert after["status"] == ends
    if ends == "SUCCESS":
        why = "Nobody decided within 1 day, 0:00:00"
        assert after["approval"] | {"userId": None, "state": "APPROVED", "description": why} == after["approval"]
        assert f"Approved: {why}" in await product.logs(run["id"])
        audits = (await product.api.get(f"/v1/audit-log?run_id={run['id']}")).json()["audits"]
        approved = [one for one in audits if (one["diff"]["after"] or {}).get("status") == "IN_PROGRESS"]
        assert {one["diff"]["after"]["updatedBy"] for one in approved} == {"interlock"}


async def test_after_the_time_limit_others_have_as_long_again(
    product: Product, mails: FakeMailbox, clock: WorkflowEnvironment
) -> None:
    rules = {"timeLimit": "P1D", "onTimeLimit": "ESCALATE", "escalation": {"to": {"users": [BOSS]}}}
    run, headers = await asked_for(product, rules, ADA)
    await logged(product, run["id"], "were told")
    refused = await product.api.patch(
        f"/v1/actions/runs/{run['id']}/approval", json={"status": "APPROVE"}, headers=headers[BOSS]
    )
    assert refused.status_code in (403, 404)
    await clock.sleep(timedelta(days=1, minutes=5))
    await logged(product, run["id"], "Those it was escalated to were told")
    assert subjects(mails, BOSS) == ["Escalated to you, approval needed"]
    await clock.sleep(timedelta(days=1, minutes=5))
    ended = await product.until(run["id"])
    assert ended["status"] == "DECLINED"
    assert ended["summary"].endswith("nor in the same time after it was escalated")


async def test_the_history_of_the_workflow_shows_who_decided(product: Product) -> None:
    run, headers = await asked_for(product, {}, ADA)
    await logged(product, run["id"], "were told")
    path = f"/v1/actions/runs/{run['id']}/approval"
    await product.api.patch(path, json={"status": "APPROVE", "description": "Go"}, headers=headers[ADA])
    await product.until(run["id"])
    history = await product.temporal.get_workflow_handle(run["id"]).fetch_history()
    signals = [event.workflow_execution_signaled_event_attributes for event in history.events]
    (wake,) = [signal for signal in signals if signal.signal_name == "wake"]
    (said,) = await product.temporal.data_converter.decode(wake.input.payloads)
    assert said == {"approval": {"by": ADA, "state": "APPROVED", "channel": "API", "description": "Go"}}


async def test_an_approved_run_begins_at_its_time(product: Product, clock: WorkflowEnvironment) -> None:
    run, _ = await asked_for(product, {"notBefore": "P60D"}, ADA)
    await logged(product, run["id"], "were told")
    after = await approve(product, run)
    starts_at = datetime.fromisoformat(after["interlock"]["gate"]["startsAt"])
    assert abs(starts_at - datetime.now(UTC) - timedelta(days=60)) < timedelta(minutes=5)
    assert (after["status"], after["statusLabel"]) == (
        "IN_PROGRESS",
        f"Approved, starts at {after['interlock']['gate']['startsAt']}",
    )
    await clock.sleep(timedelta(days=59))
    assert not product.backend.calls
    await clock.sleep(timedelta(days=1, minutes=5))
    ended = await product.until(run["id"])
    assert (ended["status"], ended["statusLabel"]) == ("SUCCESS", None)
    assert len(product.backend.calls) == 1


async def test_a_run_is_withdrawn_before_its_time(product: Product) -> None:
    run, _ = await asked_for(product, {"notBefore": "P60D"}, ADA)
    await approve(product, run)
    path = f"/v1/actions/runs/{run['id']}"
    refused = await product.api.patch(path, json={"status": "SUCCESS"})
    assert refused.status_code == 422
    assert "can only be withdrawn" in refused.text
    stopped = await product.api.patch(path, json={"status": "FAILURE", "summary": "Not any more"})
    assert stopped.status_code == 200, stopped.text
    assert await product.temporal.get_workflow_handle(run["id"]).result() == "FAILURE"
    assert not product.backend.calls


async def test_a_run_whose_request_changed_before_its_time_is_approved_again(
    product: Product, mails: FakeMailbox, clock: WorkflowEnvironment
) -> None:
    await secret(product, "old")
    run, headers = await asked_for(product, NOT_BEFORE, ADA, **with_secret(product))
    await logged(product, run["id"], "were told")
    await approve(product, run, headers[ADA])
    await secret(product, "new")
    await clock.sleep(timedelta(hours=1, minutes=5))
    await logged(product, run["id"], "Approvers were told that what would be sent has changed")
    waiting = await product.get(run["id"])
    assert (waiting["status"], waiting["statusLabel"], waiting["approval"]) == ("WAITING_FOR_APPROVAL", None, None)
    assert subjects(mails, ADA) == ["Approval needed", "Approval needed again"]
    lines = await product.logs(run["id"])
    assert f"The decision of {ADA} is void: what would be sent has changed" in lines
    assert not product.backend.calls
    await approve(product, run, headers[ADA])
    await clock.sleep(timedelta(hours=1, minutes=5))
    assert (await product.until(run["id"]))["status"] == "SUCCESS"
    (call,) = product.backend.calls
    assert call.headers["x-auth"] == "new"


async def approved(idle: Product) -> Json:
    """A run that was approved before the secret that it sends changed; its workflow has not begun."""
    await secret(idle, "old")
    run, headers = await asked_for(idle, {}, ADA, **with_secret(idle))
    await approve(idle, run, headers[ADA])
    await secret(idle, "new")
    return run


async def test_an_attempt_that_is_repeated_reopens_a_run_once(idle: Product, given: Services) -> None:
    run = await approved(idle)
    for _ in range(2):
        progress = await ActivityEnvironment().run(InvocationActivity(given).invoke_backend, run["id"])
        assert progress.status is RunStatus.WAITING_FOR_APPROVAL
    assert not idle.backend.calls
    lines = await idle.logs(run["id"])
    assert len([line for line in lines if "waits for approval again" in line]) == 1
    assert len([line for line in lines if "is void" in line]) == 1


async def test_what_may_have_been_sent_is_not_reopened_and_nothing_else_is_sent(idle: Product, given: Services) -> None:
    run = await approved(idle)
    at = datetime.now(UTC)
    async with idle.database.write() as session:  # where the worker of an attempt before has died
        await runs.change(
            session, run["id"], lambda one: one.begun({"type": "WEBHOOK"}, synchronous=True, at=at), origin="API"
        )
    progress = await ActivityEnvironment().run(InvocationActivity(given).invoke_backend, run["id"])
    assert progress.status is RunStatus.FAILURE
    assert "may have been sent already" in (await idle.get(run["id"]))["summary"]
    assert not idle.backend.calls


async def test_an_escalation_and_a_reminder_that_are_repeated_happen_once(
    idle: Product, given: Services, mails: FakeMailbox
) -> None:
    notification = {"type": "webhook", "url": f"{idle.backend.url}/asked"}
    rules = {"reminders": {"every": "P1D"}, "escalation": {"to": {"users": [BOSS]}, "after": "P2D"}}
    run, _ = await asked_for(idle, rules, ADA, approvalNotification=notification)
    tell = NotificationActivity(given).ask_approvers
    close = RunActivities(given).close_approval
    questions = [
        Question(run_id=run["id"]),
        Question(run_id=run["id"], escalate=True),
        Question(run_id=run["id"], reminder=1),
    ]
    for question in questions:
        for _ in range(2):
            progress = await ActivityEnvironment().run(close, question)
            assert progress.status is RunStatus.WAITING_FOR_APPROVAL
        for _ in range(2):
            await ActivityEnvironment().run(tell, run["id"])
        assert not (await ActivityEnvironment().run(close, question)).untold
    assert [call.json.get("reason") for call in idle.backend.calls] == [None, "ESCALATION", "REMINDER"]
    assert idle.backend.calls[-1].json["recipients"] == [ADA, BOSS]
    lines = await idle.logs(run["id"])
    assert len(lines) == len(set(lines)) == 4
    audits = (await idle.api.get(f"/v1/audit-log?run_id={run['id']}")).json()["audits"]
    assert len(audits) == 6, "it was made, told about three times, escalated and reminded once"


async def test_a_time_limit_that_passes_twice_approves_once(idle: Product, given: Services) -> None:
    run, _ = await asked_for(idle, {"timeLimit": "P1D", "onTimeLimit": "APPROVE", "notBefore": "P9D"}, ADA)
    question = Question(run_id=run["id"], expired=True)
    first, second = [await ActivityEnvironment().run(RunActivities(given).close_approval, question) for _ in range(2)]
    assert first.status is second.status is RunStatus.IN_PROGRESS
    assert first.starts_at
    assert second.starts_at
    assert abs(first.starts_at - second.starts_at) < timedelta(milliseconds=1), "SQL keeps no more"
    assert (await idle.logs(run["id"])) == ["Approved: Nobody decided within 1 day, 0:00:00"]
