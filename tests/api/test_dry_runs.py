"""Dry runs: what would come of a request, and what decides about it, while nothing changes; and runs explained."""

from typing import Any

import pytest

from tests.api.answers import Json, granted, refused
from tests.api.test_policies import FAILING, permit, policy, query
from tests.support.product import Product

RUNS = "/v1/actions/deploy/runs"
SECRET = {"type": "string", "encryption": "aes256-gcm"}


async def dry(
    product: Product, properties: Json | None = None, *, headers: Any = None, query: str = "", **body: Any
) -> Json:
    """What a dry run answers."""
    body = {"properties": properties or {}, **body}
    answer = await product.api.post(f"{RUNS}?dry_run=true{query}", json=body, headers=headers)
    found: Json = granted(answer, "dryRun")
    return found


async def nothing_changed(product: Product, runs: int = 0) -> None:
    """There are this many runs, and no record of more, or of a refusal."""
    assert len(granted(await product.api.get("/v1/actions/runs"), "runs")) == runs
    records = granted(await product.api.get("/v1/audit-log?resources=run&action=CREATE"), "audits")
    assert len(records) == runs


def rules(found: Json) -> list[tuple[str, bool]]:
    return [(one["rule"], one["allowed"]) for one in found["decisions"]]


async def test_a_dry_run_tells_what_would_be_sent_and_changes_nothing(product: Product) -> None:
    inputs = {"image": {"type": "string"}, "size": {"type": "number", "default": 2}, "password": SECRET}
    body = {"n": "{{ .inputs.size }}", "all": "{{ .inputs }}", "key": "{{ .secrets.KEY }}", "run": "{{ .run.id }}"}
    secret = {"secretName": "KEY", "secretValue": "organization-secret"}
    granted(await product.api.post("/v1/organization/secrets", json=secret), "secret")
    await product.action(inputs=inputs, invocationMethod=product.webhook(body=body))
    ada = await product.person("ada@x.io")

    asked = {"image": "v2", "password": "hush-hush"}
    found = await dry(product, asked, headers=ada)
    assert found["inputs"] == {"image": "v2", "size": 2, "password": "********"}
    assert found["request"]["body"]["n"] == 2
    assert found["request"]["body"]["all"] == found["inputs"]
    assert found["request"]["body"]["key"] == "********"
    assert found["run"]["status"] == "IN_PROGRESS"
    assert found["run"]["properties"] == found["inputs"]
    assert "id" not in found["run"]
    assert rules(found) == [("execute", True), ("inputs", True)]
    assert "roles Admin, Member include a role of ada@x.io" in found["decisions"][0]["why"]
    assert (found["approvers"], found["lastRun"], found["differences"]) == ([], None, [])
    assert "refusal" not in found
    await nothing_changed(product)
    assert product.backend.calls == []

    first = await product.start(properties=asked)
    again = await dry(product, {"image": "v3", "password": "another"}, headers=ada)
    assert again["lastRun"] == first["id"]
    assert again["differences"] == [
        {"path": "inputs.image", "before": "v2", "after": "v3"},
        {"path": "request.body.all.image", "before": "v2", "after": "v3"},
    ], "secrets are encrypted anew each time, and are not compared"
    for text in ("hush-hush", "organization-secret", first["properties"]["password"]):
        assert text not in str(found)
        assert text not in str(again)
    await nothing_changed(product, runs=1)


async def test_a_dry_run_tells_who_would_have_to_approve_and_what_would_be_sent_then(product: Product) -> None:
    await product.action(
        requiredApproval=True, invocationMethod=product.webhook(body={"a": "{{ .trigger.by.user.email }}"})
    )
    ada = await product.person("ada@x.io")
    await product.person("root@x.io", "Admin")
    found = await dry(product, headers=ada)
    assert found["run"]["status"] == "WAITING_FOR_APPROVAL"
    assert [(one["email"], "roles Admin" in one["why"]) for one in found["approvers"]] == [("root@x.io", True)]
    assert found["request"]["body"] == {"a": "ada@x.io"}
    assert rules(found)[-1] == ("approve", True)

    await permit(product, approve={"policy": policy('["ada@x.io"]')})
    found = await dry(product, headers=ada)
    assert [one["email"] for one in found["approvers"]] == ["ada@x.io"]
    assert found["decisions"][-1]["conditions"] == [
        {"condition": '["ada@x.io"]', "value": '["ada@x.io"]', "failed": None}
    ]
    await permit(product, approve={"policy": policy("[]")})
    found = await dry(product, headers=ada)
    assert rules(found)[-1] == ("approve.policy", False)
    assert "Nobody can approve" in found["warnings"][0]
    assert "refusal" not in found, "it would be accepted, and wait"
    await nothing_changed(product)


async def test_a_refusal_stands_beside_what_is_known_so_far_and_is_in_no_log(product: Product) -> None:
    await product.action(inputs={"size": {"type": "number", "maximum": 3}, "password": SECRET})
    ada = await product.person("ada@x.io")
    found = await dry(product, {"size": 9, "password": "hush-hush"}, headers=ada)
    assert found["refusal"]["error"] == "user_inputs_schema_invalid"
    assert found["refusal"]["statusCode"] == 422
    assert "size" in found["refusal"]["message"]
    assert rules(found) == [("execute", True), ("inputs", False)]
    assert (found["run"], found["request"]) == (None, None)
    assert "hush-hush" not in str(found)

    await product.entity("mine", "sandbox")
    await permit(product, execute={"policy": policy(".inputs.size < 2", "error", mine=query("sandbox"))})
    found = await dry(product, {"size": 3}, headers=ada)
    real = await product.api.post(RUNS, json={"properties": {"size": 3}}, headers=ada)
    message = refused(real, 403, "missing_permissions")
    assert found["refusal"] == {"error": "missing_permissions", "statusCode": 403, "message": message}
    assert found["inputs"] == {"size": 3}
    [*_, last] = found["decisions"]
    assert (last["rule"], last["allowed"]) == ("execute.policy", False)
    assert last["queries"] == [{"query": "mine", "found": 1, "failed": None}]
    assert [(one["value"], one["failed"] is not None) for one in last["conditions"]] == [("false", False), (None, True)]

    for action, query_, status, code in (
        ("nothing", "", 404, "not_found"),
        ("deploy", "&run_as=nobody@x.io", 404, "not_found"),
    ):
        path = f"/v1/actions/{action}/runs?dry_run=true{query_}"
        answer = granted(await product.api.post(path, json={"properties": {}}), "dryRun")
        assert (answer["refusal"]["statusCode"], answer["refusal"]["error"]) == (status, code)
    refused(await product.api.post(f"{RUNS}?dry_run=true", json={}), 422, "invalid_request")
    failures = granted(await product.api.get("/v1/audit-log?resources=run&status=FAILURE"), "audits")
    assert len(failures) == 1, "only the real request is in the log"


async def test_others_hidden_runs_are_not_compared_with(product: Product) -> None:
    await product.action(inputs={"a": {"type": "string"}}, allowAnyoneToViewRuns=False)
    ada = await product.person("ada@x.io")
    run = await product.start(properties={"a": "theirs"})
    assert (await dry(product, {"a": "mine"}))["lastRun"] == run["id"]
    found = await dry(product, {"a": "mine"}, headers=ada)
    assert found["lastRun"] is None
    assert "theirs" not in str(found)


async def test_a_dry_run_uses_up_no_idempotency_key(product: Product) -> None:
    await product.action()
    key = {"Idempotency-Key": "k"}
    answer = await product.api.post(f"{RUNS}?dry_run=true", json={"properties": {}}, headers=key)
    granted(answer, "dryRun")
    granted(await product.api.post(RUNS, json={"properties": {}}, headers=key), "run", status=202)
    await nothing_changed(product, runs=1)


async def explained(product: Product, run: Json, headers: Any = None) -> Json:
    answer = await product.api.get(f"/v1/actions/runs/{run['id']}/explain", headers=headers)
    found: Json = granted(answer, "explanation")
    return found


async def test_a_run_can_be_explained_to_admins_for_ever(product: Product) -> None:
    await product.entity("cart", properties={"tier": 1})
    trigger = {
        "type": "self-service",
        "operation": "DAY-2",
        "blueprintIdentifier": "service",
        "userInputs": {"properties": {"password": SECRET}},
        "condition": {
            "type": "SEARCH",
            "combinator": "and",
            "rules": [{"property": "tier", "operator": "<", "value": 5}],
        },
    }
    await product.action(trigger=trigger, requiredApproval=True)
    ada, root = await product.person("ada@x.io"), await product.person("root@x.io", "Admin")
    seen = policy(".results.q.entities | length == 1", ".inputs.password", q=query("service"))
    await permit(product, execute={"policy": seen})
    body = {"properties": {"password": "hush-hush"}, "entity": "cart"}
    run = granted(await product.api.post(RUNS, json=body, headers=ada), "run", status=202)
    await permit(product, execute={"policy": None, "roles": []})

    found = await explained(product, run, root)
    assert rules(found) == [
        ("execute", True), ("condition", True), ("inputs", True), ("execute.policy", True), ("approve", True)
    ]  # fmt: skip
    by_policy = found["decisions"][3]
    assert by_policy["queries"] == [{"query": "q", "found": 1, "failed": None}]
    assert by_policy["conditions"][0]["value"] == "true"
    assert [one["email"] for one in found["approvers"]] == ["root@x.io"]
    assert found["votes"] == []
    for text in ("hush-hush", run["properties"]["password"]):
        assert text not in str(found)

    said = await product.api.patch(
        f"/v1/actions/runs/{run['id']}/approval", json={"status": "DECLINE", "description": "no"}, headers=root
    )
    granted(said, "run", status=201)
    [vote] = (await explained(product, run))["votes"]
    assert (vote["name"], vote["state"], vote["description"]) == ("root@x.io", "DECLINED", "no")
    assert "roles Admin include a role of root@x.io" in vote["allowedBy"]

    path = f"/v1/actions/runs/{run['id']}/explain"
    refused(await product.api.get(path, headers=ada), 403, "missing_permissions", "Admins")
    refused(await product.api.get("/v1/actions/runs/r_none/explain"), 404, "not_found")
    records = granted(await product.api.get(f"/v1/audit-log?run_id={run['id']}"), "audits")
    assert len(records) >= 2
    assert "execute.policy" not in str(records), "change records have no explanations"


@pytest.mark.parametrize("required", [True, False])
async def test_a_failed_query_is_explained(product: Product, required: bool) -> None:
    await product.action(requiredApproval=required)
    await permit(product, execute={"policy": {**FAILING, "conditions": ["true"]}})
    ada = await product.person("ada@x.io")
    run = await product.start(headers=ada)
    [answer] = next(one for one in (await explained(product, run))["decisions"] if one["rule"] == "execute.policy")[
        "queries"
    ]
    assert answer["found"] is None
    assert "no" in answer["failed"]
