"""Approvals: who may decide, what follows, what time does, and the doors in Temporal."""

import asyncio
from typing import Any

import httpx
import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

from domain.jq import Evaluator
from tests.api.answers import Json, granted, refused
from tests.support.product import Product, running

APPROVERS = {"approve": {"roles": ["Approver"]}}


async def _say(product: Product, run: str, word: str, headers: Any = None, **more: Any) -> httpx.Response:
    body = {"status": word, **more}
    return await product.api.patch(f"/v1/actions/runs/{run}/approval", json=body, headers=headers)


async def _approvers(product: Product, run: str, *, pending: bool = True) -> dict[str, Json]:
    query = {"include_pending_approvers": str(pending).lower()}
    found = granted(await product.api.get(f"/v1/actions/runs/{run}/approvers", params=query), "approvers")
    assert all(one.keys() == {"userId", "state", "description"} for one in found)
    return {one["userId"]: one for one in found}


async def _release(product: Product, required: bool | Json = True, **more: Any) -> None:
    await product.action(requiredApproval=required, **more)
    granted(await product.api.patch("/v1/actions/deploy/permissions", json=APPROVERS), "permissions")


async def _approver(product: Product, name: str) -> httpx.Headers:
    return await product.person(f"{name}@example.com", "Approver", "Member")


async def _signal(product: Product, run: str, name: str, said: Any) -> None:
    handle = product.temporal.get_workflow_handle(run)
    async with asyncio.timeout(10):
        while True:
            try:
                return await handle.signal(name, said)
            except RPCError as error:  # the API answers before Temporal has the workflow
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise
                await asyncio.sleep(0.02)


async def _log_grows(product: Product, run: str, lines: int) -> list[str]:
    """What the log says about signals, once there is so much of it."""

    async def about_signals() -> list[str]:
        return [line for line in await product.logs(run) if line.startswith("The signal")]

    async with asyncio.timeout(10):
        while len(logs := await about_signals()) < lines:
            await asyncio.sleep(0.02)
    return logs


@pytest.mark.parametrize("required", [True, {"type": "ANY"}])
async def test_any_one_approver_releases_the_run(product: Product, required: bool | Json) -> None:
    await _release(product, required)
    ada, bob = await _approver(product, "ada"), await _approver(product, "bob")
    run = (await product.start())["id"]
    waiting = await product.get(run)
    assert waiting["status"] == "WAITING_FOR_APPROVAL"
    assert waiting["requiredApproval"] == required, "it reads back as it was written"
    assert waiting["payload"] is None
    pending = await _approvers(product, run)
    assert {one["state"] for one in pending.values()} == {"PENDING"}
    assert len(pending) == 2
    assert await _approvers(product, run, pending=False) == {}
    await asyncio.sleep(0.2)
    assert product.backend.calls == []

    released = granted(await _say(product, run, "APPROVE", ada, description="go"), "run", status=201)
    assert released["status"] == "IN_PROGRESS"
    assert released["approval"]["state"] == "APPROVED"
    assert released["approval"]["description"] == "go"
    assert released["approval"]["userId"] in pending
    assert (await product.until(run))["status"] == "SUCCESS"
    assert len(product.backend.calls) == 1
    assert (await product.get(run))["payload"]["type"] == "WEBHOOK"

    refused(await _say(product, run, "APPROVE", ada), 422, "run_not_waiting_for_approval", run)
    refused(await _say(product, run, "DECLINE", bob), 422, "run_not_waiting_for_approval", run)
    decided = await _approvers(product, run, pending=False)
    assert [(one["state"], one["description"]) for one in decided.values()] == [("APPROVED", "go")]


async def test_all_approvers_have_to_approve_and_each_counts_once(product: Product) -> None:
    await _release(product, {"type": "ALL"})
    people = [await _approver(product, name) for name in ("ada", "bob", "eve")]
    run = (await product.start())["id"]

    for who in (people[0], people[0], people[1]):
        still = granted(await _say(product, run, "APPROVE", who), "run", status=201)
        assert still["status"] == "WAITING_FOR_APPROVAL"
    states = sorted(one["state"] for one in (await _approvers(product, run)).values())
    assert states == ["APPROVED", "APPROVED", "PENDING"]
    assert len(await _approvers(product, run, pending=False)) == 2
    assert product.backend.calls == []

    last = granted(await _say(product, run, "APPROVE", people[2]), "run", status=201)
    assert last["status"] == "IN_PROGRESS"
    assert (await product.until(run))["status"] == "SUCCESS"
    assert len(product.backend.calls) == 1


@pytest.mark.parametrize("kind", ["ANY", "ALL"])
async def test_one_refusal_declines_the_run_for_good(product: Product, kind: str) -> None:
    await _release(product, {"type": kind})
    ada, bob = await _approver(product, "ada"), await _approver(product, "bob")
    run = (await product.start())["id"]
    if kind == "ALL":
        granted(await _say(product, run, "APPROVE", ada), "run", status=201)

    declined = granted(await _say(product, run, "DECLINE", bob, description="change freeze"), "run", status=201)
    assert declined["status"] == "DECLINED"
    assert declined["endedAt"]
    assert declined["approval"]["state"] == "DECLINED"
    assert declined["approval"]["description"] == "change freeze"
    refused(await _say(product, run, "APPROVE", ada), 422, "run_not_waiting_for_approval")
    assert await asyncio.wait_for(product.temporal.get_workflow_handle(run).result(), 10) == "DECLINED"
    assert product.backend.calls == []


async def test_who_is_in_no_list_is_told_which_lists_there_are(product: Product) -> None:
    await _release(product, {"type": "ANY"})
    lists = {"approve": {"roles": ["Approver"], "users": ["boss@example.com"], "teams": ["sre"]}}
    granted(await product.api.patch("/v1/actions/deploy/permissions", json=lists), "permissions")
    member = await product.person("m@example.com")
    admin = await product.person("root@example.com", "Admin")
    run = (await product.start())["id"]
    for who, email in ((member, "m@example.com"), (admin, "root@example.com")):
        words = (email, "Approver", "boss@example.com", "sre")
        refused(await _say(product, run, "APPROVE", who), 403, "missing_permissions", *words)
        refused(await _say(product, run, "DECLINE", who), 403, "missing_permissions", *words)
    assert (await product.get(run))["status"] == "WAITING_FOR_APPROVAL"
    assert await _approvers(product, run, pending=False) == {}

    for email, teams in (("boss@example.com", ()), ("x@example.com", ("sre",))):
        waiting = (await product.start())["id"]
        who = await product.person(email, teams=teams)
        granted(await _say(product, waiting, "APPROVE", who), "run", status=201)


async def test_a_requester_who_may_approve_may_approve_their_own_run(product: Product) -> None:
    await _release(product)
    ada = await _approver(product, "ada")
    run = await product.start(headers=ada)
    approved = granted(await _say(product, run["id"], "APPROVE", ada), "run", status=201)
    assert approved["approval"]["userId"] == run["createdBy"]
    assert (await product.until(run["id"]))["status"] == "SUCCESS"


async def test_the_organization_decides_for_everybody(product: Product) -> None:
    await _release(product, {"type": "ALL"})
    await _approver(product, "ada")
    for word, status in (("APPROVE", "SUCCESS"), ("DECLINE", "DECLINED")):
        run = (await product.start())["id"]
        granted(await _say(product, run, word), "run", status=201)
        assert (await product.until(run))["status"] == status


async def test_decisions_of_the_wrong_shape_are_refused(product: Product) -> None:
    await _release(product)
    run = (await product.start())["id"]
    path = f"/v1/actions/runs/{run}/approval"
    bodies: tuple[Any, ...] = (
        {},
        {"status": "APPROVED"},
        {"status": "approve"},
        {"status": None},
        {"status": "APPROVE", "description": 1},
        {"status": "APPROVE", "reason": "x"},
        [],
        "APPROVE",
    )
    for body in bodies:
        answer = await product.api.patch(path, json=body)
        assert answer.status_code == 422, f"{body}: {answer.text}"
        refused(answer, 422, "invalid_request")
    assert (await product.get(run))["status"] == "WAITING_FOR_APPROVAL"
    refused(await _say(product, "r_0000000000000000", "APPROVE"), 404, "not_found", "r_0000000000000000")
    refused(await product.api.get("/v1/actions/runs/r_0000000000000000/approvers"), 404, "not_found")
    for query in ("", "?include_pending_approvers=", "?include_pending_approvers=false&x=y"):
        assert granted(await product.api.get(f"/v1/actions/runs/{run}/approvers{query}"), "approvers") == []
    answer = await product.api.get(f"/v1/actions/runs/{run}/approvers?include_pending_approvers=perhaps")
    refused(answer, 422, "invalid_request", "include_pending_approvers")
    version_1 = await product.api.patch(f"{path}?version=v1", json={"status": "APPROVE"})
    assert granted(version_1, "run", status=201)["action"] == "deploy"


@pytest.mark.parametrize("kind", ["ANY", "ALL"])
async def test_fifty_votes_at_once_are_one_verdict(product: Product, kind: str) -> None:
    await _release(product, {"type": kind})
    people = [await _approver(product, f"p{number}") for number in range(5)]
    run = (await product.start())["id"]

    answers = await asyncio.gather(*(_say(product, run, "APPROVE", people[number % 5]) for number in range(50)))

    moved = [
        answer
        for answer in answers
        if answer.status_code == 201 and answer.json()["run"]["status"] != "WAITING_FOR_APPROVAL"
    ]
    assert len(moved) == 1, "exactly one vote released the run"
    for answer in answers:
        if answer.status_code != 201:
            refused(answer, 422, "run_not_waiting_for_approval")
    assert (await product.until(run))["status"] == "SUCCESS"
    assert len(product.backend.calls) == 1


async def test_approvals_and_refusals_at_once_are_one_verdict(product: Product) -> None:
    await _release(product)
    people = [await _approver(product, f"p{number}") for number in range(2)]
    for _ in range(3):
        calls = len(product.backend.calls)
        run = (await product.start())["id"]
        words = ["APPROVE", "DECLINE"] * 10
        answers = await asyncio.gather(*(_say(product, run, word, people[word == "DECLINE"]) for word in words))
        won = [word for word, answer in zip(words, answers, strict=True) if answer.status_code == 201]
        assert len(won) == 1
        ended = await product.until(run)
        assert ended["status"] == ("SUCCESS" if won == ["APPROVE"] else "DECLINED")
        assert len(product.backend.calls) - calls == (won == ["APPROVE"])


async def test_a_run_nobody_decides_about_in_time_is_declined(product: Product, clock: WorkflowEnvironment) -> None:
    await _release(product, interlock={"approval": {"timeLimit": "P2D"}})
    run = (await product.start())["id"]
    await clock.sleep(47 * 3600)
    assert (await product.get(run))["status"] == "WAITING_FOR_APPROVAL"

    await clock.sleep(2 * 3600)
    ended = await product.until(run)
    assert ended["status"] == "DECLINED"
    assert ended["summary"]
    assert ended["endedAt"]
    refused(await _say(product, run, "APPROVE"), 422, "run_not_waiting_for_approval")
    assert product.backend.calls == []


async def test_a_run_that_is_not_reported_in_time_fails(product: Product, clock: WorkflowEnvironment) -> None:
    limits = {"run": {"timeLimit": "PT1H"}, "approval": {"timeLimit": "P1D"}}
    await _release(product, interlock=limits, invocationMethod=product.webhook(synchronized=False))
    late, quick = [(await product.start())["id"] for _ in range(2)]
    await clock.sleep(20 * 3600)
    for run in (late, quick):
        granted(await _say(product, run, "APPROVE"), "run", status=201)
    await product.backend.called(2)
    granted(await product.api.patch(f"/v1/actions/runs/{quick}", json={"status": "SUCCESS"}), "run")
    await clock.sleep(1800)
    assert (await product.get(late))["status"] == "IN_PROGRESS", "the time that it waited for approval does not count"

    await clock.sleep(2000)
    ended = await product.until(late)
    assert ended["status"] == "FAILURE"
    assert ended["summary"]
    assert ended["endedAt"]
    refused(await product.api.patch(f"/v1/actions/runs/{late}", json={"status": "SUCCESS"}), 422, "run_exhausted")
    await clock.sleep(24 * 3600)
    assert (await product.get(quick))["status"] == "SUCCESS"


async def test_a_time_limit_and_an_approval_at_once_are_one_verdict(
    server: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str
) -> None:
    async with running(server, evaluate, sqlite_url) as product:
        await _release(product, interlock={"approval": {"timeLimit": "PT1S"}})

        async def raced(number: int) -> bool:
            run = (await product.start())["id"]
            await asyncio.sleep(0.8 + number * 0.05)  # from a little before the limit to a little after it
            answer = await _say(product, run, "APPROVE")
            ended = await product.until(run)
            if answer.status_code == 201:
                assert ended["status"] == "SUCCESS"
            else:
                refused(answer, 422, "run_not_waiting_for_approval")
                assert ended["status"] == "DECLINED"
            return bool(ended["status"] == "SUCCESS")

        approved = await asyncio.gather(*(raced(number) for number in range(8)))
        assert len(product.backend.calls) == sum(approved), "whoever was approved was delivered, once"


async def test_a_limit_of_the_wrong_shape_is_refused(product: Product) -> None:
    document = (await product.action("fine", interlock={"run": {"timeLimit": "PT1H"}})) | {"identifier": "wrong"}
    faults: tuple[Json, ...] = (
        {"approval": {"timeLimit": "soon"}},
        {"approval": {"timeLimit": "PT0S"}},
        {"approval": {"timeLimit": "-PT1H"}},
        {"run": {"timeLimit": "P20Y"}},
        {"run": {}},
        {"run": {"timeLimit": "PT1H", "colour": 1}},
        {"colour": 1},
    )
    for limits in faults:
        answer = await product.api.post("/v1/actions", json={**document, "interlock": limits})
        assert answer.status_code == 422, f"{limits}: {answer.text}"
        refused(answer, 422, "invalid_request", "interlock")


async def test_an_operator_decides_by_signal_by_the_rules_of_the_api(product: Product) -> None:
    await _release(product, {"type": "ALL"})
    await _approver(product, "ada")
    bob = await _approver(product, "bob")
    approved, declined = [(await product.start())["id"] for _ in range(2)]

    await _signal(product, approved, "decide", {"by": "ada@example.com", "status": "APPROVE", "description": "by hand"})
    async with asyncio.timeout(10):
        while len(await _approvers(product, approved, pending=False)) < 1:
            await asyncio.sleep(0.02)
    assert (await product.get(approved))["status"] == "WAITING_FOR_APPROVAL"
    granted(await _say(product, approved, "APPROVE", bob), "run", status=201)
    assert (await product.until(approved))["status"] == "SUCCESS"
    descriptions = {one["description"] for one in (await _approvers(product, approved)).values()}
    assert descriptions == {"by hand", None}

    await _signal(product, declined, "decide", {"by": "bob@example.com", "status": "DECLINE", "reason": "no"})
    ended = await product.until(declined)
    assert (ended["status"], ended["approval"]["description"]) == ("DECLINED", "no")
    assert len(product.backend.calls) == 1


async def test_a_refused_signal_leaves_a_line_in_the_log_and_breaks_nothing(product: Product) -> None:
    await _release(product)
    await product.person("m@example.com")
    run = (await product.start())["id"]
    refusals: list[tuple[Any, str]] = [
        ({"by": "m@example.com", "status": "APPROVE"}, "Approver"),
        ({"by": "nobody@example.com", "status": "APPROVE"}, "nobody@example.com"),
        ({"by": "m@example.com"}, "status"),
        ({"status": "APPROVE"}, "by"),
        ({"by": "m@example.com", "status": "MAYBE"}, "status"),
        ({"by": "m@example.com", "status": "APPROVE", "reson": "fine"}, "reson"),
        ({"by": "m@example.com", "status": "APPROVE", "reason": {"a": 1}}, "reason"),
        ({"by": ["m@example.com"], "status": "APPROVE"}, "by"),
        ({}, "by"),
        ([], "decide"),
        ("APPROVE", "decide"),
        (1, "decide"),
        (None, "decide"),
        ([[{"by": "m@example.com"}]], "decide"),
        (b"\xff", "decide"),
        (WorkflowExecution(workflow_id=run), "decide"),
        (float("nan"), "decide"),
    ]
    for number, (said, word) in enumerate(refusals, start=1):
        await _signal(product, run, "decide", said)
        line = (await _log_grows(product, run, number))[-1]
        assert word in line, f"{said}: {line}"
        assert "decide" in line
    assert (await product.get(run))["status"] == "WAITING_FOR_APPROVAL"

    await _approver(product, "ada")
    await _signal(product, run, "decide", {"by": "ada@example.com", "status": "APPROVE"})
    assert (await product.until(run))["status"] == "SUCCESS"
    assert len(product.backend.calls) == 1


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("decide", []),
        ("decide", [{"by": "ada@example.com"}, "and", "more"]),
        ("cancel", [{"by": 3}]),
        ("wake", ["unexpected"]),
        ("no_such_signal", [{"a": 1}]),
    ],
    ids=["decide without words", "decide with too many", "cancel by a number", "wake with words", "unknown"],
)
async def test_a_malformed_signal_does_not_break_the_run(product: Product, name: str, arguments: list[Any]) -> None:
    await _release(product)
    run = (await product.start())["id"]
    await _signal(product, run, "decide", {"by": "nobody@example.com", "status": "APPROVE"})
    await _log_grows(product, run, 1)
    await product.temporal.get_workflow_handle(run).signal(name, args=arguments)
    await asyncio.sleep(0.3)
    assert (await product.get(run))["status"] == "WAITING_FOR_APPROVAL"

    await _approver(product, "ada")
    await _signal(product, run, "decide", {"by": "ada@example.com", "status": "APPROVE"})
    assert (await product.until(run, within=8))["status"] == "SUCCESS"
    assert len(product.backend.calls) == 1


async def test_a_cancel_that_says_something_else_than_an_object_cancels_nothing(product: Product) -> None:
    await _release(product)
    run = (await product.start())["id"]
    for number, said in enumerate(([], 0, "", False, float("nan"), b"\xff", [{"reason": "mine"}]), start=1):
        await _signal(product, run, "cancel", said)
        line = (await _log_grows(product, run, number))[-1]
        assert line.startswith("The signal cancel was not understood"), said
    assert (await product.get(run))["status"] == "WAITING_FOR_APPROVAL"
    await _signal(product, run, "cancel", None)
    assert (await product.until(run))["status"] == "FAILURE"


async def test_an_operator_cancels_by_signal_or_by_temporal(product: Product, held: asyncio.Event) -> None:
    await _release(product, invocationMethod=product.webhook(synchronized=False))
    await product.action("now", invocationMethod=product.webhook(synchronized=False))
    await product.action("wait", invocationMethod=product.webhook(synchronized=True))
    for action, calls in (("deploy", 0), ("now", 1), ("wait", 2)):
        run = (await product.start(action))["id"]
        if calls:
            await product.backend.called(calls)
        await _signal(product, run, "cancel", {"by": "op@example.com", "reason": "wrong cluster"})
        ended = await product.until(run)
        assert ended["status"] == "FAILURE"
        assert "op@example.com" in ended["summary"]
        assert "wrong cluster" in ended["summary"]
        refused(await product.api.patch(f"/v1/actions/runs/{run}", json={"status": "SUCCESS"}), 422, "run_exhausted")
        held.set()  # what is being sent is waited for, so that it can be stopped
        assert await asyncio.wait_for(product.temporal.get_workflow_handle(run).result(), 10) == "FAILURE"
        held.clear()

    bare = (await product.start("deploy"))["id"]
    await _signal(product, bare, "cancel", None)
    assert (await product.until(bare))["status"] == "FAILURE"

    run = (await product.start("deploy"))["id"]
    await product.temporal.get_workflow_handle(run).cancel()
    assert (await product.until(run))["status"] == "FAILURE"
    held.set()
