"""The audit log over HTTP: what happened, what was refused, and who may know."""

import httpx
import pytest
from sqlmodel import select

from domain.audit import KEYS
from store.tables import ChangeRow
from tests.api.answers import INSTANT, Json, granted, refused
from tests.support.product import Product

LOG = "/v1/audit-log"
OURS = "origin=API,UI"
"""What the test did; not the system blueprints, which the product made."""
SECRETS = "/v1/organization/secrets"
PERMISSIONS = "/v1/actions/deploy/permissions"


async def audits(product: Product, query: str = "", headers: httpx.Headers | None = None) -> list[Json]:
    found: list[Json] = granted(await product.api.get(f"{LOG}?{query}", headers=headers), "audits")
    return found


async def test_a_record_has_the_shape_of_the_contract(product: Product) -> None:
    action = await product.action()
    [record] = await audits(product, OURS)
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
    everything = await audits(product, OURS)
    of_runs = [one for one in everything if one["resourceType"] == "run"]
    assert await audits(product, "resources=run") == of_runs
    for query in ("resources=run,action", "resources=run&resources=action", "origin=API,UI", "origin=API&origin=UI"):
        assert await audits(product, query) == everything, query
    assert await audits(product, "origin=UI") == []
    assert [one["resourceType"] for one in await audits(product, f"action=CREATE&{OURS}")] == ["run", "action"]
    assert [one["resourceType"] for one in await audits(product, "action=CREATE&resources=run")] == ["run"]
    assert await audits(product, f"identifier={everything[1]['identifier']}") == [everything[1]]
    assert await audits(product, "limit=1") == everything[:1]
    assert await audits(product, f"status=SUCCESS&{OURS}") == everything
    for query in ("status=FAILURE", "action=TIMER_EXPIRED", "entity=x", "blueprint=x", "run_id=r_x"):
        assert await audits(product, query) == [], query
    for query in ("webhookId=x", "webhookEventId=x", "InstallationId=x"):
        assert await audits(product, query) == [], query
    assert await audits(product, f"run_id=&unknown=1&{OURS}") == everything, "empty and unknown parameters mean nothing"


async def test_a_span_holds_its_ends_as_clients_read_them(product: Product) -> None:
    await product.action()
    [record] = await audits(product, OURS)
    at = record["trigger"]["at"]
    assert await audits(product, f"from={at}&to={at}&{OURS}") == [record]
    assert await audits(product, "from=2999-01-01T00:00:00Z") == []
    assert await audits(product, "to=2001-01-01T00:00:00%2B02:00") == []


async def test_includes_leave_out_the_rest(product: Product) -> None:
    await product.action()
    assert await audits(product, f"includes=context&{OURS}") == [{"context": {"action": "deploy"}}]
    [record] = await audits(product, f"includes=status,action&includes=message&{OURS}")
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
        ("from=yesterday", ("from: must be a date-time such as",)),
        ("to=2024-06-09T12:28:18", ("to", "must have a time zone")),
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

    definitions = {(kind, "SUCCESS") for kind in ("action", "action_permissions", "blueprint", "entity")}
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
