"""The rules of approvals beyond `requiredApproval`: who has to say yes, who may not, and about what."""

import asyncio
from typing import Any

import httpx
import pytest

from runtime.clock import now
from store import users
from tests.api.answers import Json, granted, refused
from tests.support.product import Product

APPROVERS = {"approve": {"roles": ["Approver"]}}


async def _action(product: Product, rules: Json | None = None, permissions: Json | None = None, **more: Any) -> None:
    await product.action(**{"requiredApproval": True, "interlock": {"approval": rules or {}}, **more})
    answer = await product.api.patch("/v1/actions/deploy/permissions", json=permissions or APPROVERS)
    granted(answer, "permissions")


async def _say(product: Product, run: str, word: str, headers: Any = None, **more: Any) -> httpx.Response:
    if match := more.pop("match", None):
        headers = httpx.Headers({**(headers or {}), "If-Match": match})
    body = {"status": word, **more}
    return await product.api.patch(f"/v1/actions/runs/{run}/approval", json=body, headers=headers)


async def _status(product: Product, run: str, word: str, headers: Any = None, **more: Any) -> str:
    status: str = granted(await _say(product, run, word, headers, **more), "run", status=201)["status"]
    return status


async def _approval(product: Product, run: str, headers: Any = None) -> Json:
    answer = await product.api.get(f"/v1/actions/runs/{run}/approval", headers=headers)
    shown: Json = granted(answer, "approval")
    assert answer.headers["etag"] == f'"{shown["requestHash"]}"'
    return shown


async def _lines(product: Product, run: str) -> list[str]:
    """The run's log, without what was or was not sent."""
    return [line for line in await product.logs(run) if not line.startswith("Nobody is told")]


async def _leave(product: Product, run: str, to: str, headers: Any = None, **more: Any) -> httpx.Response:
    body = {"to": to, **more}
    return await product.api.post(f"/v1/actions/runs/{run}/approval/delegation", json=body, headers=headers)


async def _take_back(product: Product, run: str, headers: Any) -> httpx.Response:
    return await product.api.delete(f"/v1/actions/runs/{run}/approval/delegation", headers=headers)


async def _people(product: Product, *names: str, teams: tuple[str, ...] = ()) -> list[httpx.Headers]:
    return [await product.person(f"{name}@x.io", "Approver", "Member", teams=teams) for name in names]


async def test_a_quorum_of_different_people_has_to_approve(product: Product) -> None:
    await _action(product, {"quorum": 2})
    ada, bob, eve = await _people(product, "ada", "bob", "eve")
    run = (await product.start())["id"]
    for _ in range(3):
        assert await _status(product, run, "APPROVE", ada) == "WAITING_FOR_APPROVAL"
    shown = await _approval(product, run, eve)
    assert shown["missing"] == "one more person to approve"
    assert (shown["required"]["quorum"], shown["required"]["type"]) == (2, "ANY")
    assert sorted(one["state"] for one in shown["approvers"]) == ["APPROVED", "PENDING", "PENDING"]
    assert [(one["name"], one["valid"]) for one in shown["decisions"]] == [("ada@x.io", True)]
    assert await _status(product, run, "APPROVE", bob) == "IN_PROGRESS"
    again = await _approval(product, run)
    assert again["missing"] == "nothing"
    refused(await _say(product, run, "APPROVE", eve), 422, "run_not_waiting_for_approval")
    assert (await product.get(run))["interlock"]["gate"]["request"] == again["requestHash"]

    other = (await product.start())["id"]
    assert await _status(product, other, "APPROVE", ada) == "WAITING_FOR_APPROVAL"
    assert await _status(product, other, "DECLINE", bob) == "DECLINED"


async def test_each_team_has_to_approve_with_one_of_its_people(product: Product) -> None:
    await _action(product, {"onePerTeam": True}, {"approve": {"roles": [], "teams": ["sre", "web"]}})
    [ada, bob], [eve] = (
        await _people(product, "ada", "bob", teams=("sre",)),
        await _people(product, "eve", teams=("web",)),
    )
    run = (await product.start())["id"]
    assert await _lines(product, run) == []
    for who in (ada, bob):
        assert await _status(product, run, "APPROVE", who) == "WAITING_FOR_APPROVAL"
    assert (await _approval(product, run))["missing"] == "somebody of each of these teams to approve: web"
    assert await _status(product, run, "APPROVE", eve) == "IN_PROGRESS"


async def test_what_nobody_can_complete_is_in_the_log_and_the_organization_still_decides(product: Product) -> None:
    await _action(product, {"onePerTeam": True, "quorum": 3})
    [ada] = await _people(product, "ada")
    dry = granted(await product.api.post("/v1/actions/deploy/runs?dry_run=true", json={"properties": {}}), "dryRun")
    assert dry["approval"]["quorum"] == 3
    assert dry["approval"]["onePerTeam"] is True
    run = (await product.start())["id"]
    lines = await _lines(product, run)
    assert lines == dry["warnings"]
    assert [("3 people" in line, "they name none" in line) for line in lines] == [(True, False), (False, True)]
    assert await _status(product, run, "APPROVE", ada) == "WAITING_FOR_APPROVAL"
    assert await _status(product, run, "APPROVE") == "IN_PROGRESS"


async def test_who_asked_for_a_run_does_not_decide_about_it_where_that_is_off(product: Product) -> None:
    await _action(product, {"selfApproval": False, "delegation": True})
    ada, bob = await _people(product, "ada", "bob")
    run = await product.start(headers=ada)
    assert run["createdBy"] not in run["interlock"]["approvers"]
    assert len(run["interlock"]["approvers"]) == 1, "bob alone"
    for word in ("APPROVE", "DECLINE"):
        refused(
            await _say(product, run["id"], word, ada), 403, "missing_permissions", "interlock.approval.selfApproval"
        )
    refused(await _leave(product, run["id"], "ada@x.io", bob), 403, "missing_permissions", "selfApproval")
    refused(await _leave(product, run["id"], "bob@x.io", ada), 403, "missing_permissions", "selfApproval")
    assert (await _approval(product, run["id"], ada))["missing"] == "one more person to approve", "who asked may look"
    assert await _status(product, run["id"], "APPROVE", bob) == "IN_PROGRESS"

    of_machine = (await product.start())["id"]
    refused(await _say(product, of_machine, "APPROVE"), 403, "missing_permissions", "selfApproval")
    for_ada = await product.start(params={"run_as": "ada@x.io"})
    refused(await _say(product, for_ada["id"], "APPROVE"), 403, "missing_permissions", "selfApproval")
    refused(await _say(product, for_ada["id"], "APPROVE", ada), 403, "missing_permissions", "selfApproval")
    assert await _status(product, for_ada["id"], "APPROVE", bob) == "IN_PROGRESS"


async def test_a_delegate_decides_as_long_as_who_left_it_to_them_may(product: Product) -> None:
    await _action(product, {"delegation": True}, allowAnyoneToViewRuns=False)
    [ada] = await _people(product, "ada")
    eve = await product.person("eve@x.io")
    run = (await product.start())["id"]
    assert (await product.api.get(f"/v1/actions/runs/{run}", headers=eve)).status_code == 404
    left = granted(await _leave(product, run, "EVE@x.io", ada, description="on leave"), "run", status=201)
    assert [one["description"] for one in left["interlock"]["gate"]["delegations"]] == ["on leave"]
    assert await _lines(product, run) == ["ada@x.io leaves the decision to eve@x.io: on leave"]
    listed = granted(await product.api.get("/v1/actions/runs", headers=eve), "runs")
    assert [one["id"] for one in listed] == [run], "who may decide about a hidden run sees it"
    shown = await _approval(product, run, eve)
    assert [(one["by"], one["to"]) for one in shown["delegations"]] == [("ada@x.io", "eve@x.io")]
    refused(await _leave(product, run, "ada@x.io", eve), 403, "missing_permissions", "not passed on")

    granted(await product.api.patch("/v1/actions/deploy/permissions", json={"approve": {"roles": []}}), "permissions")
    refused(await _say(product, run, "APPROVE", eve), 403, "missing_permissions", "ada@x.io left it to them, but")
    granted(await product.api.patch("/v1/actions/deploy/permissions", json=APPROVERS), "permissions")
    assert await _status(product, run, "APPROVE", eve) == "IN_PROGRESS"
    [said] = (await _approval(product, run))["decisions"]
    assert (said["name"], said["onBehalfOf"]) == ("eve@x.io", ["ada@x.io"])
    assert "ada@x.io left it to them: roles" in said["allowedBy"]


async def test_a_delegate_is_one_person_and_can_be_taken_back(product: Product) -> None:
    await _action(product, {"delegation": True, "quorum": 2})
    ada, bob, eve = await _people(product, "ada", "bob", "eve")
    run = (await product.start())["id"]
    for who in (ada, bob):
        granted(await _leave(product, run, "eve@x.io", who), "run", status=201)
    assert await _status(product, run, "APPROVE", eve) == "WAITING_FOR_APPROVAL", "one person, for three"
    assert await _status(product, run, "APPROVE", ada) == "IN_PROGRESS"

    every = {"approve": {"users": ["ada@x.io", "bob@x.io"], "roles": []}}
    await _action_with(product, {"delegation": True}, every, requiredApproval={"type": "ALL"})
    other = (await product.start("other"))["id"]
    for who in (ada, bob):
        granted(await _leave(product, other, "eve@x.io", who), "run", status=201)
    granted(await _leave(product, other, "bob@x.io", ada), "run", status=201)
    granted(await _take_back(product, other, ada), "run")
    before = await product.get(other)
    assert granted(await _take_back(product, other, ada), "run") == before, "there is nothing to take back any more"
    assert await _status(product, other, "APPROVE", eve) == "WAITING_FOR_APPROVAL", "ada has not spoken"
    assert (await _approval(product, other))["missing"] == "ada@x.io to approve"
    assert await _status(product, other, "APPROVE", ada) == "IN_PROGRESS"


async def _action_with(product: Product, rules: Json, permissions: Json, **more: Any) -> None:
    await product.action("other", interlock={"approval": rules}, **more)
    granted(await product.api.patch("/v1/actions/other/permissions", json=permissions), "permissions")


async def _disable(product: Product, email: str) -> None:
    async with product.database.write() as session:
        user = await users.by_email(session, email)
        await users.replace(session, user, user.revised(at=now(), status="DISABLED"), by="test", origin="TEST")


async def test_people_who_are_not_active_decide_nothing_by_any_door(product: Product) -> None:
    await _action(product, {"delegation": True})
    ada, bob = await _people(product, "ada", "bob")
    eve = await product.person("eve@x.io")
    run = (await product.start())["id"]
    granted(await _leave(product, run, "eve@x.io", ada), "run", status=201)
    await _disable(product, "ada@x.io")
    refused(await _say(product, run, "APPROVE", ada), 401, "unauthorized", "not active")
    refused(await _say(product, run, "APPROVE", eve), 403, "missing_permissions", "ada@x.io is not active")
    await product.temporal.get_workflow_handle(run).signal("decide", {"by": "ada@x.io", "status": "APPROVE"})
    async with asyncio.timeout(20):
        while not any("ada@x.io is not active" in line for line in await _lines(product, run)):
            await asyncio.sleep(0.05)
    assert (await _approval(product, run, bob))["decisions"] == []
    assert await _status(product, run, "APPROVE", bob) == "IN_PROGRESS"


async def test_delegations_that_make_no_sense_are_refused(product: Product) -> None:
    await _action(product, {"delegation": True})
    [ada] = await _people(product, "ada")
    member = await product.person("member@x.io")
    await product.person("gone@x.io")
    await _disable(product, "gone@x.io")
    run = (await product.start())["id"]
    refused(await _leave(product, run, "nobody@x.io", ada), 422, "invalid_request", "to:", "nobody@x.io")
    refused(await _leave(product, run, "gone@x.io", ada), 422, "invalid_request", "to:", "not active")
    refused(await _leave(product, run, "ada@x.io", ada), 422, "invalid_request", "to:")
    refused(await _leave(product, run, "ada@x.io", member), 403, "missing_permissions", "member@x.io")
    refused(await _leave(product, run, "ada@x.io"), 403, "missing_permissions", "people")
    bodies: tuple[Any, ...] = ({}, {"to": 1}, {"to": None}, {"to": "ada@x.io", "for": 1}, [])
    for body in bodies:
        answer = await product.api.post(f"/v1/actions/runs/{run}/approval/delegation", json=body, headers=ada)
        refused(answer, 422, "invalid_request")
    assert (await product.get(run))["interlock"]["gate"]["delegations"] == []
    refused(await _leave(product, "r_0000000000000000", "member@x.io", ada), 404, "not_found")
    assert await _status(product, run, "APPROVE", ada) == "IN_PROGRESS"
    refused(await _leave(product, run, "member@x.io", ada), 422, "run_not_waiting_for_approval")
    refused(await _take_back(product, run, ada), 422, "run_not_waiting_for_approval")

    await _action_with(product, {}, APPROVERS, requiredApproval=True)
    plain = (await product.start("other"))["id"]
    for answer in (await _leave(product, plain, "member@x.io", ada), await _take_back(product, plain, ada)):
        refused(answer, 403, "missing_permissions", "interlock.approval.delegation")


async def test_who_decides_sees_what_will_be_sent_without_its_secrets(product: Product) -> None:
    await _keep_secret(product, "hush-hush")
    body = {"token": "{{ .secrets.TOKEN }}", "size": "{{ .inputs.size }}", "key": "{{ .inputs.key }}"}
    await _action(
        product,
        inputs={"size": {"type": "string"}, "key": {"type": "string", "encryption": "aes256-gcm"}},
        invocationMethod=product.webhook(body=body),
    )
    [ada] = await _people(product, "ada")
    member = await product.person("member@x.io")
    run = (await product.start(properties={"size": "large", "key": "open sesame"}))["id"]
    shown = await _approval(product, run, ada)
    assert shown["request"]["body"] == {"token": "********", "size": "large", "key": "********"}
    assert "hush" not in str(shown)
    assert len(shown["requestHash"]) == 64
    refused(await product.api.get(f"/v1/actions/runs/{run}/approval", headers=member), 403, "missing_permissions")
    assert (await product.api.get(f"/v1/actions/runs/{run}/approval")).status_code == 200
    refused(await product.api.get("/v1/actions/runs/r_0000000000000000/approval"), 404, "not_found")

    await product.action("plain")
    free = (await product.start("plain"))["id"]
    refused(await product.api.get(f"/v1/actions/runs/{free}/approval"), 422, "run_not_waiting_for_approval")


async def _keep_secret(product: Product, value: str) -> None:
    """The secret TOKEN, from now on."""
    made = await product.api.post("/v1/organization/secrets", json={"secretName": "TOKEN", "secretValue": value})
    if made.status_code == 409:
        made = await product.api.patch("/v1/organization/secrets/TOKEN", json={"secretValue": value})
    assert made.is_success, made.text


async def test_a_decision_is_void_when_something_else_would_be_sent(product: Product) -> None:
    await _keep_secret(product, "one")
    method = product.webhook(body={"token": "{{ .secrets.TOKEN }}"})
    await _action(product, {"quorum": 2}, invocationMethod=method)
    ada, bob, eve = await _people(product, "ada", "bob", "eve")
    run = (await product.start())["id"]
    first = (await _approval(product, run))["requestHash"]
    assert await _status(product, run, "APPROVE", ada, match=f'"{first}"') == "WAITING_FOR_APPROVAL"

    await _keep_secret(product, "two")
    second = await _approval(product, run)
    assert second["requestHash"] != first
    assert [one["valid"] for one in second["decisions"]] == [False]
    assert second["missing"] == "2 more people to approve"
    refused(await _say(product, run, "APPROVE", bob, match=f'"{first}"'), 412, "request_changed", run)
    refused(await _say(product, run, "APPROVE", bob, match=f'W/"{second["requestHash"]}"'), 412, "request_changed")
    refused(await _say(product, run, "APPROVE", bob, match='""'), 422, "invalid_request", "If-Match")
    assert len((await _approval(product, run))["decisions"]) == 1, "what was refused is not recorded"

    either = f'"{first}", "{second["requestHash"]}"'
    assert await _status(product, run, "APPROVE", bob, match=either) == "WAITING_FOR_APPROVAL"
    assert await _lines(product, run) == ["The decision of ada@x.io is void: what would be sent has changed"]
    assert (await product.get(run))["interlock"]["gate"]["voidedAt"]
    query = {"include_pending_approvers": "true"}
    asked = granted(await product.api.get(f"/v1/actions/runs/{run}/approvers", params=query), "approvers")
    assert sorted(one["state"] for one in asked) == ["APPROVED", "PENDING", "PENDING"], "ada is asked again"

    await _keep_secret(product, "one")
    assert await _status(product, run, "APPROVE", eve, match="*") == "WAITING_FOR_APPROVAL"
    assert len(await _lines(product, run)) == 2, "what is void stays void, also when the secret is as it was"
    assert await _status(product, run, "APPROVE", ada) == "IN_PROGRESS"


async def test_what_cannot_be_rendered_is_another_request_once_it_can(product: Product) -> None:
    method = product.webhook(body={"{{ .secrets.NAME }}": 1, "{{ 5 }}{{": 2})
    await _action(product, {"quorum": 2}, invocationMethod=method)
    [ada] = await _people(product, "ada")
    run = (await product.start())["id"]
    shown = await _approval(product, run, ada)
    assert shown["request"] is None
    assert shown["fault"]
    assert await _status(product, run, "APPROVE", ada, match=f'"{shown["requestHash"]}"') == "WAITING_FOR_APPROVAL"


@pytest.mark.parametrize(
    ("value", "status"),
    [("2126-01-02T03:04:05Z", 202), ("PT2H", 202), ("tomorrow", 422), ("2126-01-02T03:04:05", 422), ("P11Y", 422)],
)
async def test_when_a_run_may_begin_is_rendered_when_it_is_asked_for(product: Product, value: str, status: int) -> None:
    rules = {"notBefore": "{{ .inputs.start }}"}
    await _action(product, rules, inputs={"start": {"type": "string"}})
    answer = await product.api.post("/v1/actions/deploy/runs", json={"properties": {"start": value}})
    if status == 422:
        refused(answer, 422, "invalid_request", "interlock.approval.notBefore")
        assert granted(await product.api.get("/v1/actions/runs"), "runs") == []
        return
    run = granted(answer, "run", status=202)
    assert run["interlock"]["gate"]["notBefore"] == value.replace("05Z", "05.000Z")
    assert (await _approval(product, run["id"]))["notBefore"] == run["interlock"]["gate"]["notBefore"]


async def test_rules_that_do_not_fit_are_refused_with_the_definition(product: Product) -> None:
    document = {
        "identifier": "deploy",
        "trigger": {"type": "self-service", "operation": "CREATE", "userInputs": {"properties": {}, "required": []}},
        "invocationMethod": product.webhook(),
        "interlock": {"approval": {"quorum": 2}},
    }
    refused(await product.api.post("/v1/actions", json=document), 422, "invalid_request", "interlock.approval.quorum")
    all_of = {**document, "requiredApproval": {"type": "ALL"}}
    refused(await product.api.post("/v1/actions", json=all_of), 422, "invalid_request", "interlock.approval.quorum")
    created = granted(await product.api.post("/v1/actions", json={**document, "requiredApproval": True}), "action")
    assert created["interlock"] == document["interlock"], "it reads back as it was written"
