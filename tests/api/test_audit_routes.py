"""The audit log over HTTP: what happened, what was refused, and who may know."""

from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from sqlmodel import select

from api import actions, approvals, organization, runs
from api.refusals import WRITES
from domain.audit import KEYS
from domain.errors import Unavailable
from store.tables import ChangeRow
from tests.api.answers import INSTANT, Json, granted, refused
from tests.support.product import Product

LOG = "/v1/audit-log"
SECRETS = "/v1/organization/secrets"
PERMISSIONS = "/v1/actions/deploy/permissions"


async def audits(product: Product, query: str = "", headers: httpx.Headers | None = None) -> list[Json]:
    found: list[Json] = granted(await product.api.get(f"{LOG}?{query}", headers=headers), "audits")
    return found


async def test_a_record_has_the_shape_of_the_contract(product: Product) -> None:
    action = await product.action()
    [record] = await audits(product)
    assert INSTANT.fullmatch(record["trigger"]["at"])
    by = {"orgId": product.organization.id, "userId": product.organization.client_id}
    assert record == {
        "identifier": record["identifier"],
        "resourceType": "action",
        "action": "CREATE",
        "status": "SUCCESS",
        "message": None,
        "trigger": {"by": by, "origin": "API", "at": record["trigger"]["at"]},
        "context": {"action": "deploy"},
        "diff": {"before": None, "after": action},
        "additionalData": {},
    }
    assert tuple(record) == KEYS
    assert record["identifier"].startswith("event_")


async def test_a_run_is_told_with_who_asked_and_newest_first(product: Product) -> None:
    await product.action()
    ada = await product.person("ada@example.com")
    run = await product.start(headers=ada)
    await product.until(run["id"])
    last, *_, first = await audits(product, f"run_id={run['id']}")
    assert (first["action"], first["diff"]["before"], first["diff"]["after"]["status"]) == (
        "CREATE",
        None,
        "IN_PROGRESS",
    )
    assert first["diff"]["after"] == run
    assert first["trigger"]["by"]["userId"] == run["createdBy"]
    assert first["context"] == {"blueprint": None, "entity": None, "runId": run["id"], "action": "deploy"}
    assert (last["action"], last["diff"]["after"]["status"]) == ("UPDATE", "SUCCESS")
    assert last["diff"]["before"]["status"] == "IN_PROGRESS"


async def test_filters_work_together_as_lists_repeated_or_joined(product: Product) -> None:
    await product.action()
    run = await product.start()
    await product.until(run["id"])
    everything = await audits(product)
    of_runs = [one for one in everything if one["resourceType"] == "run"]
    assert await audits(product, "resources=run") == of_runs
    for query in ("resources=run,action", "resources=run&resources=action", "origin=API,UI", "origin=API&origin=UI"):
        assert await audits(product, query) == everything, query
    assert await audits(product, "origin=UI") == []
    assert [one["resourceType"] for one in await audits(product, "action=CREATE")] == ["run", "action"]
    assert [one["resourceType"] for one in await audits(product, "action=CREATE&resources=run")] == ["run"]
    assert await audits(product, f"identifier={everything[1]['identifier']}") == [everything[1]]
    assert await audits(product, "limit=1") == everything[:1]
    assert await audits(product, "status=SUCCESS") == everything
    for query in ("status=FAILURE", "action=TIMER_EXPIRED", "entity=x", "blueprint=x", "run_id=r_x"):
        assert await audits(product, query) == [], query
    for query in ("webhookId=x", "webhookEventId=x", "InstallationId=x"):
        assert await audits(product, query) == [], query
    assert await audits(product, "run_id=&unknown=1") == everything, "empty and unknown parameters mean nothing"


async def test_a_span_holds_its_ends_as_clients_read_them(product: Product) -> None:
    await product.action()
    [record] = await audits(product)
    at = record["trigger"]["at"]
    assert await audits(product, f"from={at}&to={at}") == [record]
    assert await audits(product, "from=2999-01-01T00:00:00Z") == []
    assert await audits(product, "to=2001-01-01T00:00:00%2B02:00") == []


async def test_includes_leave_out_the_rest(product: Product) -> None:
    await product.action()
    assert await audits(product, "includes=context") == [{"context": {"action": "deploy"}}]
    [record] = await audits(product, "includes=status,action&includes=message")
    assert record == {"action": "CREATE", "status": "SUCCESS", "message": None}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("resources=run,pipeline", ("resources", "pipeline", "blueprint")),
        ("includes=context&includes=secrets", ("includes", "secrets", "additionalData")),
        ("action=CREATE,UPDATE", ("action", "CREATE,UPDATE", "TIMER_EXPIRED")),
        ("status=success", ("status", "success", "SUCCESS")),
        ("limit=0", ("limit",)),
        ("limit=1001", ("limit",)),
        ("from=yesterday", ("from",)),
        ("to=2024-06-09T12:28:18", ("to", "timezone")),
        ("to=0001-01-01T00:00:00%2B14:00", ("to", "too far")),
    ],
)
async def test_what_a_parameter_cannot_be_is_refused_by_name(
    product: Product, query: str, words: tuple[str, ...]
) -> None:
    refused(await product.api.get(f"{LOG}?{query}"), 422, "invalid_request", *words)


async def test_nobody_reads_it_without_a_token(product: Product) -> None:
    refused(await product.api.get(LOG, headers={"Authorization": "Bearer nonsense"}), 401, "unauthorized")


async def test_members_see_what_they_could_see_anyway(product: Product) -> None:
    await product.action(allowAnyoneToViewRuns=False)
    granted(await product.api.patch(PERMISSIONS, json={"approve": {"roles": ["Approver"]}}), "permissions")
    granted(await product.api.post(SECRETS, json={"secretName": "A", "secretValue": "value"}), "secret")
    people = {
        "mine": await product.person("mine@example.com"),
        "other": await product.person("other@example.com"),
        "approver": await product.person("approver@example.com", "Approver"),
        "admin": await product.person("admin@example.com", "Admin"),
    }
    run = await product.start(headers=people["mine"])
    await product.until(run["id"])
    refused(await product.api.post("/v1/actions/deploy/runs", json=[], headers=people["mine"]), 422, None)

    async def seen(name: str) -> set[tuple[str, str]]:
        found = await audits(product, headers=people[name])
        return {(one["resourceType"], one["status"]) for one in found if one["resourceType"] != "user"}

    definitions = {("action", "SUCCESS"), ("action_permissions", "SUCCESS")}
    assert await seen("other") == definitions
    assert await seen("mine") == await seen("approver") == definitions | {("run", "SUCCESS")}
    assert await seen("admin") == definitions | {("run", "SUCCESS"), ("run", "FAILURE"), ("secret", "SUCCESS")}
    for name, sees in (("other", False), ("mine", True)):
        assert bool(await audits(product, f"run_id={run['id']}", headers=people[name])) is sees
    assert await audits(product, "resources=secret", headers=people["mine"]) == []
    assert await audits(product, "resources=user", headers=people["mine"]) == []


async def test_permissions_are_told_when_they_change_and_only_then(product: Product) -> None:
    await product.action()
    before = granted(await product.api.get(PERMISSIONS), "permissions")
    patch = {"approve": {"roles": ["Admin"], "teams": ["b", "a"]}}
    after = granted(await product.api.patch(PERMISSIONS, json=patch), "permissions")
    for unchanged in (patch, {"approve": {"teams": ["a", "b"]}}, {}):
        granted(await product.api.patch(PERMISSIONS, json=unchanged), "permissions")
    [record] = await audits(product, "resources=action_permissions")
    assert (record["action"], record["context"]) == ("UPDATE", {"action": "deploy"})
    assert record["diff"] == {"before": before, "after": after}
    assert before != after


async def test_secrets_are_told_without_their_values(product: Product) -> None:
    created = granted(await product.api.post(SECRETS, json={"secretName": "A", "secretValue": "canary-1"}), "secret")
    path = f"{SECRETS}/A"
    described = granted(await product.api.patch(path, json={"description": "d"}), "secret")
    for unchanged in ({}, {"description": "d"}):
        assert granted(await product.api.patch(path, json=unchanged), "secret") == described
    renewed = granted(await product.api.patch(path, json={"secretValue": "canary-2"}), "secret")
    assert (await product.api.delete(path)).status_code == 200

    found = await audits(product, "resources=secret")
    assert [(one["action"], one["diff"]["before"], one["diff"]["after"]) for one in found] == [
        ("DELETE", renewed, None),
        ("UPDATE", described, renewed),
        ("UPDATE", created, described),
        ("CREATE", None, created),
    ]
    assert {one["context"]["secret"] for one in found} == {"A"}
    async with product.database.read() as session:
        kept = str((await session.exec(select(ChangeRow.document))).all())
    assert "secretName" in kept
    assert "canary" not in kept
    assert all(one.keys() == {"secretName", "description", "createdAt", "updatedAt"} for one in (created, renewed))


async def refusals(product: Product) -> list[Json]:
    return await audits(product, "status=FAILURE")


REFUSED: list[tuple[str, str, Any, int, str, str, Json]] = [
    ("POST", "/v1/actions", {"identifier": "deploy"}, 422, "action", "CREATE", {}),
    ("PUT", "/v1/actions/none", {}, 422, "action", "UPDATE", {"action": "none"}),
    ("DELETE", "/v1/actions/none", None, 404, "action", "DELETE", {"action": "none"}),
    ("PATCH", PERMISSIONS, {"x": 1}, 422, "action_permissions", "UPDATE", {"action": "deploy"}),
    ("POST", SECRETS, {"secretName": "TAKEN", "secretValue": "x"}, 409, "secret", "CREATE", {}),
    ("PATCH", f"{SECRETS}/NONE", {}, 404, "secret", "UPDATE", {"secret": "NONE"}),
    ("DELETE", f"{SECRETS}/NONE", None, 404, "secret", "DELETE", {"secret": "NONE"}),
    (
        *("POST", "/v1/actions/deploy/runs", {"properties": [1]}, 422, "run", "CREATE"),
        {"blueprint": None, "entity": None, "runId": None, "action": "deploy"},
    ),
    (
        *("PATCH", "/v1/actions/runs/r_1/approval", {"status": "APPROVE"}, 404, "run", "UPDATE"),
        {"blueprint": None, "entity": None, "runId": "r_1"},
    ),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "resource", "action", "context"), REFUSED)
async def test_a_refused_write_is_told_with_the_reason(
    product: Product, method: str, path: str, body: Any, status: int, resource: str, action: str, context: Json
) -> None:
    await product.action()
    granted(await product.api.post(SECRETS, json={"secretName": "TAKEN", "secretValue": "x"}), "secret")
    message = refused(await product.api.request(method, path, json=body), status, None)
    [record] = await refusals(product)
    assert record["message"] == message
    assert (record["resourceType"], record["action"], record["context"]) == (resource, action, context)
    assert record["trigger"]["by"]["userId"] == product.organization.client_id
    assert record["trigger"]["origin"] == "API"
    assert record["diff"] == {"before": None, "after": None}


def test_every_write_that_is_recorded_is_a_route_and_has_its_case() -> None:
    modules = (actions, approvals, organization, runs)
    found = [route for module in modules for route in module.router.routes if isinstance(route, APIRoute)]
    assert set(WRITES) <= {(method, route.path) for route in found for method in route.methods or ()}
    assert {(str(resource), str(action)) for resource, action in WRITES.values()} == {case[4:6] for case in REFUSED}
    assert len(WRITES) == len(REFUSED)


async def test_who_may_not_is_told_by_name(product: Product) -> None:
    await product.action()
    member = await product.person("m@example.com")
    me = (await product.start(headers=member))["createdBy"]
    message = refused(await product.api.delete("/v1/actions/deploy", headers=member), 403, "missing_permissions")
    [record] = await refusals(product)
    assert (record["message"], record["trigger"]["by"]["userId"]) == (message, me)


async def test_what_is_no_refused_write_is_not_told(product: Product) -> None:
    await product.action()
    run = await product.start(headers={"Idempotency-Key": "k"})
    assert (await product.start(headers={"Idempotency-Key": "k"}))["id"] == run["id"]
    await product.until(run["id"])
    before = await audits(product)
    nobody = {"Authorization": "Bearer nonsense"}
    refused(await product.api.post("/v1/actions", json={}, headers=nobody), 401, None)
    refused(await product.api.post("/v1/actions", json={"x": "x" * 2**20}), 413, None)
    for path in ("/v1/actions/none", "/v1/actions/runs/none", f"{SECRETS}/NONE", f"{LOG}?limit=0", "/v1/none"):
        assert (await product.api.get(path)).status_code in (404, 422)
    refused(await product.api.patch(f"/v1/actions/runs/{run['id']}", json={"status": "SUCCESS"}), 422, None)
    refused(await product.api.put("/v1/organization/secrets/A", json={}), 405, None)
    assert await audits(product) == before


async def test_a_refusal_that_is_too_long_for_the_log_is_cut(product: Product) -> None:
    name = "n" * 5000
    message = refused(await product.api.delete(f"/v1/actions/{name}"), 404, "not_found")
    [record] = await refusals(product)
    assert len(message) > len(record["message"]) == 4000
    assert record["message"][:-1] == message[:3999]
    assert record["context"] == {"action": name[:255]}


async def test_a_refusal_is_answered_also_when_it_cannot_be_recorded(
    product: Product, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def down() -> None:
        raise Unavailable("the database does not answer")

    monkeypatch.setattr(product.database, "write", down)
    refused(await product.api.post(SECRETS, json={"secretName": "A"}), 422, "invalid_request", "secretValue")
    monkeypatch.undo()
    assert await refusals(product) == []
    assert "a refusal is not in the audit log" in caplog.text


async def test_a_refusal_repeats_no_secret(product: Product) -> None:
    hush = "canary-s3cret"
    await product.action(inputs={"pw": {"type": "string", "encryption": "aes256-gcm", "maxLength": 4}})
    for path, body in (
        (SECRETS, {"secretName": "A", "secretValue": [hush]}),
        (SECRETS, {"secretName": "a b", "secretValue": hush}),
        ("/v1/actions/deploy/runs", {"properties": {"pw": hush}}),
        ("/v1/actions/deploy/runs", {"properties": {"pw": {"deep": hush}}}),
    ):
        refused(await product.api.post(path, json=body), 422, None)
    found = await refusals(product)
    assert len(found) == 4
    assert hush not in str(found)
