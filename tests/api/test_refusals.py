"""Refused writes in the audit log: which are told, as what, and what is not told of them."""

import json
from typing import Any

import pytest
from starlette.routing import compile_path

from api.app import document
from api.refusals import WRITES
from domain.errors import Unavailable
from tests.api.answers import Json, granted, refused
from tests.support.product import Product

LOG = "/v1/audit-log"
SECRETS = "/v1/organization/secrets"
PERMISSIONS = "/v1/actions/deploy/permissions"


async def audits(product: Product, query: str = "") -> list[Json]:
    """Records, newest first."""
    found: list[Json] = granted(await product.api.get(f"{LOG}?{query}"), "audits")
    return found


async def refusals(product: Product) -> list[Json]:
    return await audits(product, "status=FAILURE")


Refusal = tuple[str, str, Any, int, str, str, Json]
"""A request, and what the log tells of it: status, kind of thing, what would have happened, context."""

REFUSED: list[Refusal] = [
    ("POST", "/v1/actions", {"identifier": "deploy"}, 422, "action", "CREATE", {"action": "deploy"}),
    ("PUT", "/v1/actions/none", {}, 422, "action", "UPDATE", {"action": "none"}),
    ("DELETE", "/v1/actions/none", None, 404, "action", "DELETE", {"action": "none"}),
    ("POST", "/v1/actions/none/resume", None, 404, "action", "UPDATE", {"action": "none"}),
    ("POST", "/v1/actions/deploy/replay", {}, 422, "action", "UPDATE", {"action": "deploy"}),
    ("PATCH", PERMISSIONS, {"x": 1}, 422, "action_permissions", "UPDATE", {"action": "deploy"}),
    ("POST", SECRETS, {"secretName": "TAKEN", "secretValue": "x"}, 409, "secret", "CREATE", {"secret": "TAKEN"}),
    ("PATCH", f"{SECRETS}/NONE", {}, 404, "secret", "UPDATE", {"secret": "NONE"}),
    ("DELETE", f"{SECRETS}/NONE", None, 404, "secret", "DELETE", {"secret": "NONE"}),
    (
        *("POST", "/v1/actions/deploy/runs", {"properties": [1]}, 422, "run", "CREATE"),
        {"blueprint": None, "entity": None, "runId": None, "action": "deploy"},
    ),
    (
        *("POST", "/v1/actions/runs/r_1/cancel", {}, 404, "run", "UPDATE"),
        {"blueprint": None, "entity": None, "runId": "r_1"},
    ),
    (
        *("PATCH", "/v1/actions/runs/r_1/approval", {"status": "APPROVE"}, 404, "run", "UPDATE"),
        {"blueprint": None, "entity": None, "runId": "r_1"},
    ),
    (
        *("POST", "/v1/actions/runs/r_1/approval/delegation", {"to": "ada@example.com"}, 404, "run", "UPDATE"),
        {"blueprint": None, "entity": None, "runId": "r_1"},
    ),
    (
        *("DELETE", "/v1/actions/runs/r_1/approval/delegation", None, 404, "run", "UPDATE"),
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


async def a_catalog(product: Product) -> None:
    """A blueprint whose entities have a tier, and one entity of it."""
    schema = {"properties": {"tier": {"type": "number"}}}
    body = {"identifier": "service", "title": "Service", "schema": schema}
    granted(await product.api.post("/v1/blueprints", json=body), "blueprint", status=201)
    await product.entity("cart/eu")


SERVICE = "/v1/blueprints/service"
ENTITIES = f"{SERVICE}/entities"
CART: Json = {"blueprint": "service", "entity": "cart/eu", "runId": None}
ANY: Json = {"blueprint": "service", "entity": None, "runId": None}

REFUSED_IN_THE_CATALOG: list[Refusal] = [
    ("POST", "/v1/blueprints", {"identifier": "_x", "schema": {}}, 422, "blueprint", "CREATE", {"blueprint": "_x"}),
    ("PUT", "/v1/blueprints/none", {}, 404, "blueprint", "UPDATE", {"blueprint": "none"}),
    ("PATCH", "/v1/blueprints/none", {"title": "x"}, 404, "blueprint", "UPDATE", {"blueprint": "none"}),
    ("DELETE", SERVICE, None, 403, "blueprint", "DELETE", {"blueprint": "service"}),
    *(
        ("PATCH", f"{SERVICE}/{part}/none/rename", {"newIdentifier": "x"}, 404, "blueprint", "UPDATE", in_service)
        for part in ("properties", "mirror", "relations")
        for in_service in ({"blueprint": "service"},)
    ),
    ("PATCH", f"{SERVICE}/permissions", {"x": 1}, 422, "blueprint_permissions", "UPDATE", {"blueprint": "service"}),
    ("POST", ENTITIES, {"identifier": "cart/eu"}, 409, "entity", "CREATE", CART),
    (
        "POST",
        f"{ENTITIES}?run_id=r_1",
        {"identifier": "x"},
        404,
        "entity",
        "CREATE",
        {**CART, "entity": "x", "runId": "r_1"},
    ),
    ("POST", f"{ENTITIES}?validation_only=false", {"identifier": [1]}, 422, "entity", "CREATE", ANY),
    ("POST", f"{ENTITIES}/bulk", {"entities": []}, 422, "entity", "CREATE", ANY),
    ("PUT", f"{ENTITIES}/cart/eu", {"properties": {"tier": "x"}}, 422, "entity", "UPDATE", CART),
    ("PATCH", f"{ENTITIES}/none", {}, 404, "entity", "UPDATE", {**CART, "entity": "none"}),
    ("DELETE", f"{ENTITIES}/none?validation_only=true", None, 404, "entity", "DELETE", {**CART, "entity": "none"}),
    ("DELETE", f"{SERVICE}/bulk/entities", {"entities": []}, 422, "entity", "DELETE", ANY),
    ("POST", f"{SERVICE}/bulk/entities/delete", {}, 422, "entity", "DELETE", ANY),
    ("DELETE", f"{SERVICE}/all-entities?run_id=r_1", None, 404, "entity", "DELETE", {**ANY, "runId": "r_1"}),
    *(
        (method, f"{SERVICE}/scorecards{rest}", body, status, "scorecard", action, {"blueprint": "service", **named})
        for method, rest, body, status, action, named in (
            ("POST", "", {"identifier": "ready"}, 422, "CREATE", {"scorecard": "ready"}),
            ("PUT", "", [1], 422, "UPDATE", {}),
            ("PUT", "/a/b", {}, 422, "UPDATE", {"scorecard": "a/b"}),
            ("DELETE", "/a/b", None, 404, "DELETE", {"scorecard": "a/b"}),
        )
    ),
]

REFUSED_ELSEWHERE: list[Refusal] = [
    ("PUT", "/v1/organization", {"x": 1}, 422, "organization", "UPDATE", {}),
    ("PATCH", "/v1/organization", {"x": 1}, 422, "organization", "UPDATE", {}),
    ("POST", "/v1/users/invite", {}, 422, "user", "CREATE", {}),
    ("PATCH", "/v1/users/no@example.com", {"teams": []}, 404, "user", "UPDATE", {"user": "no@example.com"}),
    ("DELETE", "/v1/users/no@example.com", None, 404, "user", "DELETE", {"user": "no@example.com"}),
    ("POST", "/v1/rotate-credentials/no@example.com", None, 404, "user", "UPDATE", {"user": "no@example.com"}),
    ("POST", "/v1/teams", {"name": "sre", "users": ["no@example.com"]}, 404, "team", "CREATE", {"team": "sre"}),
    ("PUT", "/v1/teams/sre", {"name": "other"}, 404, "team", "UPDATE", {"team": "sre"}),
    ("PATCH", "/v1/teams/sre", {}, 404, "team", "UPDATE", {"team": "sre"}),
    ("DELETE", "/v1/teams/sre", None, 404, "team", "DELETE", {"team": "sre"}),
    ("POST", "/v1/webhooks", {"identifier": "github"}, 422, "webhook", "CREATE", {"webhookId": "github"}),
    ("PUT", "/v1/webhooks/github", {"title": "x"}, 404, "webhook", "UPDATE", {"webhookId": "github"}),
    ("PATCH", "/v1/webhooks/github", {}, 404, "webhook", "UPDATE", {"webhookId": "github"}),
    ("DELETE", "/v1/webhooks/github", None, 404, "webhook", "DELETE", {"webhookId": "github"}),
    *(
        (method, f"/v1/integration{rest}", body, status, "integration", action, {"installationId": "k8s"})
        for method, rest, body, status, action in (
            ("POST", "", {"installationId": "k8s", "version": 1}, 422, "CREATE"),
            ("PATCH", "/k8s", {}, 404, "UPDATE"),
            ("PATCH", "/k8s/config", {}, 422, "UPDATE"),
            ("PATCH", "/k8s/resync-state", {}, 404, "UPDATE"),
            ("DELETE", "/k8s", None, 404, "DELETE"),
        )
    ),
]


@pytest.mark.parametrize("cases", [REFUSED_IN_THE_CATALOG, REFUSED_ELSEWHERE], ids=["in the catalog", "elsewhere"])
async def test_so_is_every_other_refused_write(product: Product, cases: list[Refusal]) -> None:
    await a_catalog(product)
    for method, path, body, status, resource, action, context in cases:
        message = refused(await product.api.request(method, path, json=body), status, None)
        record = (await refusals(product))[0]
        told = {key: record[key] for key in ("resourceType", "action", "context", "message")}
        expected = {"resourceType": resource, "action": action, "context": context, "message": message}
        assert told == expected, f"{method} {path}"
    assert len(await refusals(product)) == len(cases)


async def test_what_was_refused_is_found_by_what_it_was_about(product: Product) -> None:
    await a_catalog(product)
    for method, path, body in (
        ("POST", ENTITIES, {"identifier": "cart/eu"}),
        ("DELETE", "/v1/webhooks/github", None),
        ("DELETE", "/v1/integration/k8s", None),
    ):
        assert (await product.api.request(method, path, json=body)).status_code in (404, 409)
    for query, kind in (
        ("entity=cart/eu&blueprint=service", "entity"),
        ("webhookId=github", "webhook"),
        ("InstallationId=k8s", "integration"),
    ):
        [record] = await audits(product, f"status=FAILURE&{query}")
        assert record["resourceType"] == kind


async def test_what_a_run_could_not_write_is_found_by_the_run(product: Product) -> None:
    await a_catalog(product)
    await product.action()
    run = await product.start()
    await product.until(run["id"])
    where = f"{ENTITIES}?run_id={run['id']}"
    message = refused(await product.api.post(where, json={"identifier": "x"}), 400, "run_exhausted")
    [record] = await audits(product, f"status=FAILURE&run_id={run['id']}")
    assert (record["message"], record["context"]["entity"]) == (message, "x")


async def test_each_of_many_that_is_refused_is_told(product: Product) -> None:
    await a_catalog(product)
    sent = [{"identifier": "cart/eu"}, {"identifier": "shop"}, {"identifier": "x", "properties": {"tier": "x"}}, 5]
    ocean = {"User-Agent": "port-ocean/k8s/1"}
    answer = await product.api.post(f"{ENTITIES}/bulk", json={"entities": sent}, headers=ocean)
    assert answer.status_code == 207
    assert [one["identifier"] for one in answer.json()["entities"]] == ["shop"]
    found = await refusals(product)
    assert [(one["message"], one["context"]["entity"]) for one in reversed(found)] == [
        (error["message"], name) for error, name in zip(answer.json()["errors"], ("cart/eu", "x", None), strict=True)
    ]
    refused(await product.api.post(ENTITIES, json=sent[0], headers=ocean), 409, None)
    found = await refusals(product)
    assert len(found) == 4
    assert {(one["resourceType"], one["action"], one["trigger"]["origin"]) for one in found} == {
        ("entity", "CREATE", "port-ocean/k8s/1")
    }


async def test_what_is_only_tried_is_not_told(product: Product) -> None:
    await a_catalog(product)
    refused(await product.api.post(f"{ENTITIES}?validation_only=1", json={"identifier": "cart/eu"}), 409, None)
    bulk = await product.api.post(f"{ENTITIES}/bulk?validation_only=true", json={"entities": [5]})
    assert bulk.status_code == 207
    assert await refusals(product) == []


NOT_RECORDED = {
    ("POST", "/v1/actions/runs/claim-pending"),
    ("PATCH", "/v1/actions/runs/ack"),
    ("POST", "/v1/integrations/azure-devops/webhook"),
    ("POST", "/v1/integrations/github/webhook"),
    ("POST", "/v1/integrations/gitlab/webhook"),
    ("POST", "/v1/blueprints/{blueprint}/entities/search"),
    ("POST", "/v1/blueprints/entities/datasource-entities"),
    ("POST", "/v1/auth/access_token"),
    ("POST", "/v1/actions/{action_id}/simulate"),
    ("POST", "/v1/actions/{action_id}/form"),
    ("PATCH", "/v1/actions/runs/{run_id}"),
    ("PATCH", "/v1/actions/runs/{run_id}/response"),
    ("POST", "/v1/actions/runs/{run_id}/logs"),
    ("POST", "/v1/integration/{identifier}/kinds/{kind}/examples"),
    ("POST", "/v1/workflows/runs/claim-pending"),
    ("PATCH", "/v1/workflows/runs/ack"),
}
"""Reading (all of what is posted to `/v1/entities` is), tokens, and what backends, agents and integrations report."""


def test_every_write_is_recorded_when_it_is_refused_and_has_its_case() -> None:
    known = {
        (method.upper(), path)
        for path, operations in json.loads(document())["paths"].items()
        for method in operations
        if method != "get" and not path.startswith(("/v1/ingest/", "/v1/entities/", "/v1/chat/"))
    }
    assert known - NOT_RECORDED == {(method, path.replace(":path", "")) for method, path in WRITES}
    assert known >= NOT_RECORDED
    cases = [*REFUSED, *REFUSED_IN_THE_CATALOG, *REFUSED_ELSEWHERE]
    for (method, template), would in WRITES.items():
        matches = compile_path(template)[0].match
        of_this = [case for case in cases if case[0] == method and matches(case[1].partition("?")[0])]
        assert {(case[4], case[5]) for case in of_this} == {would}, f"{method} {template}"


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
    colors = {f"{'k' * 78}{number}": "none" for number in range(10, 30)}
    wrong = {"n" * 80: {"colors": colors}}
    body = {"identifier": name, "calculationProperties": wrong}
    message = refused(await product.api.post("/v1/blueprints", json=body), 422, "invalid_request")
    [record] = await refusals(product)
    assert len(message) > len(record["message"]) == 4000
    assert record["message"][:-1] == message[:3999]
    assert record["context"] == {"blueprint": name[:1000]}


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
        ("/v1/webhooks", {"title": "x", "security": {"secret": [hush], "signatureHeaderName": "x"}}),
        ("/v1/webhooks", {"title": "x", "security": {"secret": hush, "signatureHeaderName": 1}}),
        ("/v1/webhooks", {"title": "x", "security": hush}),
    ):
        refused(await product.api.post(path, json=body), 422, None)
    found = await refusals(product)
    assert len(found) == 7
    assert hush not in str(found)
