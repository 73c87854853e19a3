"""A run that waits, while attempts are repeated, answers are late, and processes die between SQL and Temporal."""

import asyncio
import dataclasses
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, Response
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment

from activities.invocation import InvocationActivity
from activities.notifications import NotificationActivity
from activities.services import Services
from domain.runs import Run, RunStatus
from tests.support.backend import Call
from tests.support.product import Product
from tests.worker.test_waiting_runs import (
    ADA,
    Json,
    approve,
    asked_for,
    logged,
    mails,
    product,
    secret,
    with_secret,
)
from workflows.calls import Progress

__all__ = ["mails", "product"]  # fixtures


async def invoked(given: Services, run: Json, scheduled: datetime) -> Progress:
    """What an attempt says that the workflow has asked for at that time."""
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, scheduled_time=scheduled)
    return await environment.run(InvocationActivity(given).invoke_backend, run["id"])


def starts(run: Json) -> datetime:
    """When the backend of an approved run is called at the earliest."""
    return datetime.fromisoformat(run["interlock"]["gate"]["startsAt"])


async def test_a_run_that_is_approved_again_before_its_attempt_has_ended_is_sent(
    product: Product, clock: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    await secret(product, "old")
    run, headers = await asked_for(product, {"notBefore": "PT1H"}, ADA, **with_secret(product))
    await logged(product, run["id"], "were told")
    await approve(product, run, headers[ADA])
    await secret(product, "new")
    reopened = InvocationActivity._reopened

    async def approved_at_once(self: InvocationActivity, *what: Any) -> Run:
        after = await reopened(self, *what)
        await approve(product, run, headers[ADA])
        return after

    monkeypatch.setattr(InvocationActivity, "_reopened", approved_at_once)
    await clock.sleep(timedelta(hours=1, minutes=5))
    await logged(product, run["id"], "waits for approval again")
    await clock.sleep(timedelta(hours=1, minutes=5))
    assert (await product.until(run["id"]))["status"] == "SUCCESS"
    (call,) = product.backend.calls
    assert call.headers["x-auth"] == "new"


async def test_an_attempt_that_is_repeated_sends_nothing_before_the_time_of_another_approval(
    idle: Product, given: Services
) -> None:
    await secret(idle, "old")
    run, headers = await asked_for(idle, {"notBefore": "P1D"}, ADA, **with_secret(idle))
    first = starts(await approve(idle, run, headers[ADA]))
    await secret(idle, "new")
    # Its worker dies before Temporal hears of it, and before the next one tries, the run is approved again.
    assert (await invoked(given, run, first)).status is RunStatus.WAITING_FOR_APPROVAL
    second = starts(await approve(idle, run, headers[ADA]))
    assert second > first
    progress = await invoked(given, run, first)
    assert (progress.status, progress.starts_at) == (RunStatus.IN_PROGRESS, second)
    assert not idle.backend.calls
    assert (await invoked(given, run, second)).status is RunStatus.SUCCESS
    assert len(idle.backend.calls) == 1


async def test_an_attempt_at_telling_that_is_believed_dead_and_lives_tells_nobody_twice(
    idle: Product, given: Services
) -> None:
    async def slowly(_: Call) -> Response:
        await asyncio.sleep(0.3)
        return JSONResponse({})

    idle.backend.answer = slowly
    notification = {"type": "webhook", "url": f"{idle.backend.url}/asked"}
    run, _ = await asked_for(idle, {}, ADA, approvalNotification=notification)
    activity = NotificationActivity(given)
    await asyncio.gather(*(ActivityEnvironment().run(activity.ask_approvers, run["id"]) for _ in range(2)))
    assert len(idle.backend.calls) == 1
    asked = (await idle.get(run["id"]))["interlock"]["asked"]
    assert [one["message"] for one in asked] == ["request"]


async def test_the_token_of_a_backend_does_not_decide_for_who_asked_for_its_run(idle: Product, given: Services) -> None:
    rules = {"selfApproval": False}
    _, headers = await asked_for(idle, rules, ADA)
    await idle.action("free")
    mine = await idle.api.post("/v1/actions/deploy/runs", json={"properties": {}}, headers=headers[ADA])
    free = await idle.api.post("/v1/actions/free/runs", json={"properties": {}}, headers=headers[ADA])
    token = given.access_token(free.json()["run"]["id"], 1)
    backend = httpx.Headers({"Authorization": f"Bearer {token}"})
    path = f"/v1/actions/runs/{mine.json()['run']['id']}/approval"
    refused = await idle.api.patch(path, json={"status": "APPROVE"}, headers=backend)
    assert refused.status_code == 403, refused.text
    assert "selfApproval" in refused.text

    # What the backend asks for, they have asked for: whoever approved it would approve a run of their own.
    asked = await idle.api.post("/v1/actions/deploy/runs", json={"properties": {}}, headers=backend)
    of_backend = asked.json()["run"]
    assert of_backend["interlock"]["approvers"] == []
    path = f"/v1/actions/runs/{of_backend['id']}/approval"
    for who in (headers[ADA], backend):
        refused = await idle.api.patch(path, json={"status": "APPROVE"}, headers=who)
        assert refused.status_code == 403, refused.text
        assert "selfApproval" in refused.text
