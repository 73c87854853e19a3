"""Reports about runs: patches, log lines and responses, and what each state of a run allows."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, Response

from tests.api.answers import INSTANT, Json, granted, refused
from tests.support.backend import Call
from tests.support.product import Product

Outcome = tuple[int, str | None, str]
"""The status of the answer, the code of a refusal, and where the run stands afterwards."""


async def _patch(product: Product, run: str, body: Any, **how: Any) -> httpx.Response:
    return await product.api.patch(f"/v1/actions/runs/{run}", json=body, **how)


async def _log(product: Product, run: str, body: Any, **how: Any) -> httpx.Response:
    return await product.api.post(f"/v1/actions/runs/{run}/logs", json=body, **how)


async def _respond(product: Product, run: str, body: Any, **how: Any) -> httpx.Response:
    return await product.api.patch(f"/v1/actions/runs/{run}/response", json=body, **how)


async def _decide(product: Product, run: str, word: str) -> httpx.Response:
    return await product.api.patch(f"/v1/actions/runs/{run}/approval", json={"status": word})


async def _asynchronous(product: Product, **more: Any) -> None:
    await product.action(invocationMethod=product.webhook(synchronized=False), **more)


DOORS: dict[str, Callable[[Product, str], Awaitable[httpx.Response]]] = {
    "patch success": lambda product, run: _patch(product, run, {"status": "SUCCESS"}),
    "patch failure": lambda product, run: _patch(product, run, {"status": "FAILURE"}),
    "patch summary": lambda product, run: _patch(product, run, {"summary": "s"}),
    "log": lambda product, run: _log(product, run, {"message": "m"}),
    "log success": lambda product, run: _log(product, run, {"message": "m", "terminationStatus": "SUCCESS"}),
    "log failure": lambda product, run: _log(product, run, {"message": "m", "terminationStatus": "FAILURE"}),
    "response": lambda product, run: _respond(product, run, {"response": {"a": 1}}),
    "approve": lambda product, run: _decide(product, run, "APPROVE"),
    "decline": lambda product, run: _decide(product, run, "DECLINE"),
}

NOT_WAITING = (422, "run_not_waiting_for_approval")
EXHAUSTED = (422, "run_exhausted")
SYNCHRONIZED = (422, "run_synchronized_error")


def _ended(status: str) -> dict[str, Outcome]:
    return {door: (*(NOT_WAITING if door in ("approve", "decline") else EXHAUSTED), status) for door in DOORS}


TABLE: dict[str, dict[str, Outcome]] = {
    "WAITING_FOR_APPROVAL": {
        "patch success": (422, "invalid_request", "WAITING_FOR_APPROVAL"),
        "patch failure": (200, None, "FAILURE"),
        "patch summary": (200, None, "WAITING_FOR_APPROVAL"),
        "log": (201, None, "WAITING_FOR_APPROVAL"),
        "log success": (422, "invalid_request", "WAITING_FOR_APPROVAL"),
        "log failure": (201, None, "FAILURE"),
        "response": (422, "invalid_request", "WAITING_FOR_APPROVAL"),
        "approve": (201, None, "IN_PROGRESS"),
        "decline": (201, None, "DECLINED"),
    },
    "IN_PROGRESS": {
        "patch success": (200, None, "SUCCESS"),
        "patch failure": (200, None, "FAILURE"),
        "patch summary": (200, None, "IN_PROGRESS"),
        "log": (201, None, "IN_PROGRESS"),
        "log success": (201, None, "SUCCESS"),
        "log failure": (201, None, "FAILURE"),
        "response": (200, None, "IN_PROGRESS"),
        "approve": (*NOT_WAITING, "IN_PROGRESS"),
        "decline": (*NOT_WAITING, "IN_PROGRESS"),
    },
    "synchronized": {
        "patch success": (*SYNCHRONIZED, "IN_PROGRESS"),
        "patch failure": (*SYNCHRONIZED, "IN_PROGRESS"),
        "patch summary": (200, None, "IN_PROGRESS"),
        "log": (201, None, "IN_PROGRESS"),
        "log success": (*SYNCHRONIZED, "IN_PROGRESS"),
        "log failure": (*SYNCHRONIZED, "IN_PROGRESS"),
        "approve": (*NOT_WAITING, "IN_PROGRESS"),
        "decline": (*NOT_WAITING, "IN_PROGRESS"),
    },
    "SUCCESS": _ended("SUCCESS"),
    "FAILURE": _ended("FAILURE"),
    "DECLINED": _ended("DECLINED"),
}


async def _in_state(product: Product, state: str) -> str:
    run = (await product.start())["id"]
    match state:
        case "SUCCESS" | "FAILURE":
            granted(await _patch(product, run, {"status": state}), "run")
        case "DECLINED":
            granted(await _decide(product, run, "DECLINE"), "run", status=201)
    return str(run)


async def _said(product: Product, run: str) -> list[str]:
    """The run's log, but for the line that nobody is told by email, which comes when it comes."""
    return [line for line in await product.logs(run) if "INTERLOCK_SMTP_URL" not in line]


@pytest.mark.parametrize("state", TABLE)
async def test_each_state_of_a_run_allows_what_the_state_machine_says(
    product: Product, held: asyncio.Event, state: str
) -> None:
    waits = state in ("WAITING_FOR_APPROVAL", "DECLINED")
    synchronized = state == "synchronized"
    await product.action(requiredApproval=waits, invocationMethod=product.webhook(synchronized=synchronized))
    for door, (status, code, then) in TABLE[state].items():
        run = await _in_state(product, state)
        before, said = await product.get(run), await _said(product, run)
        answer = await DOORS[door](product, run)
        assert answer.status_code == status, f"{state}, {door}: {answer.status_code} {answer.text}"
        after = await product.get(run)
        assert after["status"] == then, f"{state}, {door}"
        if code:
            assert answer.json()["error"] == code, f"{state}, {door}: {answer.text}"
            refused(answer, status, code, run)
            assert after == before, f"{state}, {door}: a refused report changed the run"
            assert await _said(product, run) == said, f"{state}, {door}: a refused report left a line in the log"
        elif then in ("SUCCESS", "FAILURE", "DECLINED"):
            assert INSTANT.fullmatch(after["endedAt"])
        else:
            assert after["endedAt"] is None
    if waits:
        approved = 1 if state == "WAITING_FOR_APPROVAL" else 0
        held.set()
        await asyncio.sleep(0.3)
        assert len(product.backend.calls) == approved, "only what was approved is invoked"


async def test_one_of_many_racing_reports_ends_the_run(product: Product) -> None:
    await _asynchronous(product)
    run = (await product.start())["id"]
    words = ["SUCCESS", "FAILURE"] * 10
    said = [{"status": word, "summary": f"number {number}"} for number, word in enumerate(words)]

    answers = await asyncio.gather(*(_patch(product, run, body) for body in said))

    won = [number for number, answer in enumerate(answers) if answer.status_code == 200]
    assert len(won) == 1
    for number, answer in enumerate(answers):
        if number not in won:
            refused(answer, *EXHAUSTED)
    ended = await product.get(run)
    assert {key: ended[key] for key in ("status", "summary")} == said[won[0]]


async def test_racing_patches_and_terminating_logs_end_the_run_once(product: Product) -> None:
    await _asynchronous(product)
    run = (await product.start())["id"]
    reports = [_log(product, run, {"message": f"{n}", "terminationStatus": "SUCCESS"}) for n in range(8)]
    answers = await asyncio.gather(*reports, *(_patch(product, run, {"status": "FAILURE"}) for _ in range(8)))

    assert sorted(answer.status_code for answer in answers)[:2] in ([200, 422], [201, 422])
    assert sum(answer.status_code < 300 for answer in answers) == 1
    log_won = any(answer.status_code == 201 for answer in answers)
    assert (await product.get(run))["status"] == ("SUCCESS" if log_won else "FAILURE")
    assert len(await product.logs(run)) == int(log_won)


async def test_each_key_of_a_patch_replaces_what_was_said_before(product: Product) -> None:
    await _asynchronous(product)
    run = (await product.start())["id"]
    for body, expected in (
        ({}, {"link": [], "summary": "", "statusLabel": None}),
        ({"link": "https://ci/1"}, {"link": ["https://ci/1"], "summary": ""}),
        ({"link": ["https://ci/2", "https://ci/3"]}, {"link": ["https://ci/2", "https://ci/3"]}),
        ({"summary": "# first"}, {"summary": "# first", "link": ["https://ci/2", "https://ci/3"]}),
        ({"statusLabel": "Building"}, {"statusLabel": "Building", "status": "IN_PROGRESS", "summary": "# first"}),
        ({"summary": ""}, {"summary": "", "statusLabel": "Building"}),
        ({"link": []}, {"link": []}),
        ({"externalRunId": "gh_1_2_3"}, {"externalRunId": "gh_1_2_3"}),
        ({"status": "IN_PROGRESS"}, {"status": "IN_PROGRESS", "endedAt": None}),
        ({"message": {"any": ["thing"]}}, {"status": "IN_PROGRESS"}),
    ):
        patched = granted(await _patch(product, run, body), "run")
        assert {key: patched[key] for key in expected} == expected, body
    found = granted(await product.api.get("/v1/actions/runs?version=v2&external_run_id=gh_1_2_3"), "runs")
    assert [one["id"] for one in found] == [run]

    ended = granted(
        await _patch(product, run, {"status": "SUCCESS", "statusLabel": "Done"}, params={"runId": run}), "run"
    )
    assert (ended["status"], ended["statusLabel"]) == ("SUCCESS", "Done")
    assert ended["updatedBy"] == product.organization.client_id


async def test_a_patch_answers_in_the_version_that_is_asked_for(product: Product) -> None:
    await _asynchronous(product)
    run = (await product.start())["id"]
    assert granted(await _patch(product, run, {}, params={"version": "v1"}), "run")["action"] == "deploy"
    assert granted(await _patch(product, run, {}, params={"version": "v2"}), "run")["action"]["identifier"] == "deploy"


async def test_reports_of_the_wrong_shape_are_refused_and_change_nothing(product: Product) -> None:
    await _asynchronous(product)
    run = (await product.start())["id"]
    await product.backend.called()
    before = await product.get(run)
    for send, bodies in (
        (
            _patch,
            [
                {"status": "DECLINED"},
                {"status": "WAITING_FOR_APPROVAL"},
                {"status": "success"},
                {"status": 1},
                {"statusLabel": 1},
                {"link": 1},
                {"link": [1]},
                {"link": {"url": "x"}},
                {"summary": ["s"]},
                {"externalRunId": 1},
                {"message": "text"},
                {"status": "SUCCESS", "colour": "red"},
                {"response": {}},
                [],
                "SUCCESS",
                None,
            ],
        ),
        (
            _log,
            [
                {},
                {"message": None},
                {"message": 1},
                {"message": {"a": 1}},
                {"message": "m", "terminationStatus": "IN_PROGRESS"},
                {"message": "m", "terminationStatus": "DECLINED"},
                {"message": "m", "statusLabel": 1},
                {"message": "m", "level": "info"},
                {"terminationStatus": "SUCCESS"},
                [],
                "m",
            ],
        ),
        (_respond, [{}, {"answer": 1}, {"response": 1, "more": 2}, [], "x"]),
    ):
        for body in bodies:
            answer = await send(product, run, body)
            assert answer.status_code == 422, f"{body}: {answer.text}"
            refused(answer, 422, "invalid_request")
    assert await product.get(run) == before
    assert await product.logs(run) == []
    for send, body in ((_patch, {}), (_log, {"message": "m"}), (_respond, {"response": 1})):
        refused(await send(product, "r_0000000000000000", body), 404, "not_found", "r_0000000000000000")
        refused(await send(product, "nonsense", body), 404, "not_found")
        assert (await send(product, run, body)).status_code in (200, 201)


async def test_log_lines_are_kept_in_order_and_read_in_pages(product: Product) -> None:
    await _asynchronous(product)
    run = (await product.start())["id"]
    first = granted(await _log(product, run, {"message": "line 0"}), "runLog", status=201)
    assert first.keys() == {"id", "runId", "message", "createdBy", "createdAt"}
    assert (first["runId"], first["message"]) == (run, "line 0")
    assert first["createdBy"] == product.organization.client_id
    assert INSTANT.fullmatch(first["createdAt"])
    for number in range(1, 55):
        granted(await _log(product, run, {"message": f"line {number}"}), "runLog", status=201)

    path = f"/v1/actions/runs/{run}/logs"
    for query, expected in (
        ("", range(50)),
        ("?limit=3", range(3)),
        ("?limit=3&offset=2", range(2, 5)),
        ("?limit=50&offset=50", range(50, 55)),
        ("?offset=55", range(0)),
        ("?limit=&offset=&page=x", range(50)),
    ):
        lines = granted(await product.api.get(path + query), "runLogs")
        assert [line["message"] for line in lines] == [f"line {number}" for number in expected], query
        assert not lines or lines[0].keys() == first.keys()
    for query in ("limit=0", "limit=51", "limit=x", "offset=-1", "offset=x", f"offset={10**30}"):
        refused(await product.api.get(f"{path}?{query}"), 422, "invalid_request", query.split("=")[0])
    refused(await product.api.get("/v1/actions/runs/r_0000000000000000/logs"), 404, "not_found")


async def test_a_log_line_can_label_the_run_and_end_it_once(product: Product) -> None:
    await _asynchronous(product)
    run = (await product.start())["id"]
    odd = "lines\nand\ttabs, ä \U0001f680 <b>"
    granted(await _log(product, run, {"message": odd, "statusLabel": "Half way"}), "runLog", status=201)
    assert (await product.get(run))["statusLabel"] == "Half way"
    assert (await product.get(run))["status"] == "IN_PROGRESS"

    last = {"message": "bye", "terminationStatus": "FAILURE", "statusLabel": "Gone"}
    granted(await _log(product, run, last), "runLog", status=201)
    ended = await product.get(run)
    assert (ended["status"], ended["statusLabel"]) == ("FAILURE", "Gone")
    refused(await _log(product, run, last), *EXHAUSTED)
    refused(await _log(product, run, {"message": "late"}), *EXHAUSTED)
    assert await product.logs(run) == [odd, "bye"]


async def test_a_response_can_be_any_json(product: Product) -> None:
    await _asynchronous(product)
    run = (await product.start())["id"]
    for response in ({"a": [1, None, {"b": 1.5}]}, "text", ["list"], 3, False, "", {}):
        assert granted(await _respond(product, run, {"response": response}), "run")["response"] == response
        assert (await product.get(run))["response"] == response
    granted(await _respond(product, run, {"response": None}), "run")
    assert (await product.get(run)).get("response") is None
    granted(await _patch(product, run, {"status": "SUCCESS"}), "run")
    refused(await _respond(product, run, {"response": 1}), *EXHAUSTED)


async def test_an_asynchronous_run_stays_in_progress_until_it_is_reported(product: Product) -> None:
    await _asynchronous(product)
    run = (await product.start())["id"]
    await product.backend.called()
    await asyncio.sleep(0.5)
    assert (await product.get(run))["status"] == "IN_PROGRESS", "a 200 of the backend ends nothing"

    granted(await _patch(product, run, {"status": "SUCCESS", "summary": "done"}), "run")
    workflow = product.temporal.get_workflow_handle(run)
    assert await asyncio.wait_for(workflow.result(), 10) == "SUCCESS"
    refused(await _patch(product, run, {"status": "FAILURE"}), *EXHAUSTED)
    assert (await product.get(run))["summary"] == "done"
    assert len(product.backend.calls) == 1


async def test_an_asynchronous_backend_that_refuses_fails_the_run(product: Product) -> None:
    async def refuse(_: Call) -> Response:
        return JSONResponse({"why": "no"}, status_code=400)

    product.backend.answer = refuse
    await _asynchronous(product)
    ended = await product.until((await product.start())["id"])
    assert ended["status"] == "FAILURE"
    assert "400" in ended["summary"]


async def test_a_backend_may_report_before_it_answers(product: Product) -> None:
    async def report_first(call: Call) -> Response:
        run = call.headers["idempotency-key"]
        answer = await _patch(product, run, {"status": "SUCCESS", "summary": "early", "link": "https://ci/1"})
        assert answer.status_code == 200
        return JSONResponse({"late": True}, status_code=500)

    product.backend.answer = report_first
    await _asynchronous(product)
    run = (await product.start())["id"]
    ended = await product.until(run)
    assert (ended["status"], ended["summary"], ended["link"]) == ("SUCCESS", "early", ["https://ci/1"])
    assert await asyncio.wait_for(product.temporal.get_workflow_handle(run).result(), 10) == "SUCCESS"
    await asyncio.sleep(0.2)
    assert await product.get(run) == ended, "what the backend answers afterwards changes nothing"


async def test_reports_come_from_machines_admins_and_the_requester_only(product: Product) -> None:
    await _asynchronous(product)
    requester, other = await product.person("req@example.com"), await product.person("other@example.com")
    admin = await product.person("root@example.com", "Admin")
    run = (await product.start(headers=requester))["id"]
    for send, body in ((_patch, {"summary": "x"}), (_log, {"message": "x"}), (_respond, {"response": 1})):
        refused(await send(product, run, body, headers=other), 403, "missing_permissions", "other@example.com")
        for who in (requester, admin, None):
            assert (await send(product, run, body, headers=who)).status_code in (200, 201)


async def test_the_requester_can_withdraw_a_run_that_waits_and_other_members_cannot(product: Product) -> None:
    await product.action(requiredApproval=True)
    requester, other = await product.person("req@example.com"), await product.person("other@example.com")
    first, second = [(await product.start(headers=requester))["id"] for _ in range(2)]

    refused(await _patch(product, first, {"status": "FAILURE"}, headers=other), 403, "missing_permissions")
    assert (await product.get(first))["status"] == "WAITING_FOR_APPROVAL"
    withdrawn: Json = granted(await _patch(product, first, {"status": "FAILURE"}, headers=requester), "run")
    assert withdrawn["status"] == "FAILURE"
    assert INSTANT.fullmatch(withdrawn["endedAt"])
    refused(await _decide(product, first, "APPROVE"), *NOT_WAITING)
    granted(await _patch(product, second, {"status": "FAILURE", "summary": "by an admin"}), "run")
    assert await asyncio.wait_for(product.temporal.get_workflow_handle(first).result(), 10) == "FAILURE"
    assert product.backend.calls == []


async def test_a_synchronized_run_with_a_secret_in_its_address_cannot_be_reported(product: Product) -> None:
    await product.api.post("/v1/organization/secrets", json={"secretName": "PLACE", "secretValue": "hook-of-ours"})
    answered = asyncio.Event()

    async def slow(call: Call) -> Response:
        await answered.wait()
        return JSONResponse({"done": True})

    product.backend.answer = slow
    await product.action(invocationMethod=product.webhook(url=product.backend.url + "/{{ .secrets.PLACE }}"))
    run = await product.start()
    assert (await product.backend.called()).path == "/hook-of-ours"
    refusal = await product.api.patch(f"/v1/actions/runs/{run['id']}", json={"status": "FAILURE"})
    answered.set()
    assert (refusal.status_code, refusal.json()["error"]) == (422, "run_synchronized_error")
    assert (await product.until(run["id"]))["status"] == "SUCCESS"
