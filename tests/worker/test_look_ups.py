"""Backends are asked about runs that nobody has reported about, and what a report has said stays."""

from datetime import timedelta

import pytest

import backends
from activities.look_ups import LookUpWork
from activities.receipts import settle
from backends import Delivery, Receipt, Reference, Resources
from backends.integration_action import IntegrationAction
from domain.errors import BackendBusy
from domain.jq import Evaluator
from domain.runs import Report, RunStatus
from runtime.clock import now
from store import runs
from tests.support.product import Product
from worker.look_ups import LookUps
from worker.main import services

METHOD = {
    "type": "INTEGRATION_ACTION",
    "installationId": "x",
    "integrationActionType": "y",
    "integrationActionExecutionProperties": {},
}


async def test_a_run_that_nobody_reports_ends_by_what_its_backend_says(
    product: Product, evaluate: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Reference] = []
    answers: list[Receipt | BackendBusy | Exception | None] = [
        None,
        BackendBusy("busy", timedelta(milliseconds=1)),
        RuntimeError("a fault of ours"),
        Receipt(link=("https://a",), external_run_id="e", look_up_after=timedelta(microseconds=1)),
        Receipt(status=RunStatus.SUCCESS, link=("https://b",)),
    ]

    async def invoke(self: IntegrationAction, delivery: Delivery, using: Resources) -> Receipt:
        return Receipt(look_up_after=timedelta(0))

    async def look_up(self: IntegrationAction, reference: Reference, using: Resources) -> Receipt | None:
        asked.append(reference)
        answer = answers[len(asked) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(IntegrationAction, "invoke", invoke)
    monkeypatch.setattr(IntegrationAction, "look_up", look_up)
    monkeypatch.setattr("activities.look_ups.next_look_up", lambda age: timedelta(0))
    await product.action(invocationMethod=METHOD)
    run = await product.start()
    async with backends.open_transport() as http:
        given = services(product.settings, product.database, evaluate, product.organization, http)
        looking = LookUps(LookUpWork(given), product.driver)
        while (await product.get(run["id"]))["status"] == "IN_PROGRESS":
            await looking.look_up_all()
    ended = await product.until(run["id"])
    assert (ended["status"], ended["link"], ended["externalRunId"]) == ("SUCCESS", ["https://a"], "e")
    assert len(asked) == len(answers)
    assert (asked[0].external_run_id, asked[-1].external_run_id) == (None, "e")
    told = (await product.api.get(f"/v1/actions/runs/{run['id']}/timeline")).json()["timeline"]
    made = [(one["attempt"]["kind"], one["attempt"]["outcome"]) for one in told if one["kind"] == "ATTEMPT"]
    news = [("LOOK_UP", "BUSY"), ("LOOK_UP", "ACCEPTED"), ("LOOK_UP", "ACCEPTED")]
    assert made == [("INVOKE", "ACCEPTED"), *news], "what is no news is not kept"


async def test_what_a_report_said_before_the_dispatch_answered_stays(product: Product) -> None:
    await product.action(invocationMethod=METHOD)
    started = await product.start()
    async with product.database.read() as session:
        before = await runs.get(session, started["id"])
    report = Report(link=("https://reported",), external_run_id="reported", summary="reported")
    async with product.database.write() as session:
        await runs.change(session, before.id, lambda run: run.reported(report, at=now(), by="x"), origin="API")
        late = Receipt(link=("https://late",), external_run_id="late", summary="late")
        after = await settle(session, before, late, at=now())
    assert (after.link, after.external_run_id, after.summary) == (("https://reported",), "reported", "reported")
    ended = Report(status=RunStatus.SUCCESS)
    async with product.database.write() as session:
        await runs.change(session, before.id, lambda run: run.reported(ended, at=now(), by="x"), origin="API")
        after = await settle(session, before, Receipt(claim="x", look_up_after=timedelta(0)), at=now())
    assert after.status is RunStatus.SUCCESS
    shown = await product.get(before.id)
    assert (shown["status"], shown["pendingExecution"]) == ("SUCCESS", False)
