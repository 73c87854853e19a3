"""Guardrails from the side of those who try: what may not be read is not run on, and what is unknown opens nothing."""

import json
from typing import Any

import pytest

from tests.api.answers import Json, granted, refused
from tests.api.test_policies import PERMISSIONS, RUNS, permit, policy, query
from tests.support.product import Product

ON_ENTITY: Json = {
    "type": "self-service",
    "operation": "DAY-2",
    "blueprintIdentifier": "service",
    "userInputs": {"properties": {}},
}


@pytest.fixture
async def hidden(product: Product) -> Product:
    """An entity that nobody but Admins may read, and an action on it."""
    await product.entity("hidden", properties={"tier": 77}, team=["sre"])
    await product.action(trigger=ON_ENTITY)
    read: Json = {"entities": {"read": {"roles": []}}}
    granted(await product.api.patch("/v1/blueprints/service/permissions", json=read), "permissions")
    return product


@pytest.mark.parametrize("path", [RUNS, f"{RUNS}?dry_run=true", "/v1/actions/deploy/form"])
async def test_an_action_does_not_run_on_what_the_caller_may_not_read(hidden: Product, path: str) -> None:
    eve = await hidden.person("eve@x.io")
    answer = await hidden.api.post(path, json={"properties": {}, "entity": "hidden"}, headers=eve)
    assert "77" not in answer.text
    if "dry_run" in path:
        assert answer.json()["dryRun"]["refusal"]["error"] == "not_found"
    else:
        refused(answer, 404, "not_found")


async def test_who_sees_a_run_does_not_read_its_entity_there(hidden: Product) -> None:
    run = granted(await hidden.api.post(RUNS, json={"properties": {}, "entity": "hidden"}), "run", status=202)
    eve = await hidden.person("eve@x.io")
    for path in ("/v1/actions/runs", f"/v1/actions/runs/{run['id']}", f"/v1/audit-log?run_id={run['id']}"):
        answer = await hidden.api.get(path, headers=eve)
        assert answer.status_code == 200, answer.text
        assert run["id"] in answer.text
        assert '"tier"' not in answer.text


@pytest.mark.parametrize("operator", ["in", "notIn", "containsAny"])
async def test_an_input_that_nobody_filled_in_opens_no_dataset(product: Product, operator: str) -> None:
    await product.entity("nil")
    await product.entity("one", properties={"tier": 1})
    value = {"jqQuery": "[.form.pick.properties.tier]"}
    dataset = {"combinator": "and", "rules": [{"property": "tier", "operator": operator, "value": value}]}
    inputs = {
        "pick": {"type": "string", "format": "entity", "blueprint": "service"},
        "of": {"type": "string", "format": "entity", "blueprint": "service", "dataset": dataset},
    }
    await product.action(inputs=inputs)
    for name in ("nil", "one"):
        answer = await product.api.post(RUNS, json={"properties": {"of": name}})
        refused(answer, 422, "user_inputs_schema_invalid", "/of")


async def test_the_dataset_of_the_items_holds_wherever_the_format_stands(product: Product) -> None:
    await product.entity("one", properties={"tier": 1})
    rule = {"property": "tier", "operator": "=", "value": 2}
    items = {"type": "string", "dataset": {"combinator": "and", "rules": [rule]}}
    await product.action(inputs={"of": {"type": "array", "format": "entity", "blueprint": "service", "items": items}})
    refused(await product.api.post(RUNS, json={"properties": {"of": ["one"]}}), 422, "user_inputs_schema_invalid")


async def test_a_policy_about_a_blueprint_that_is_not_there_knows_that_its_query_failed(product: Product) -> None:
    await product.action()
    await permit(product, execute={"policy": policy(".results.q.entities | length == 0", q=query("nowhere"))})
    ada = await product.person("ada@x.io")
    answer = await product.api.post(f"{RUNS}?dry_run=true", json={"properties": {}}, headers=ada)
    [asked] = answer.json()["dryRun"]["decisions"][-1]["queries"]
    assert asked["failed"] == "there is no blueprint nowhere"


@pytest.mark.parametrize("length", [4, 300])
async def test_no_ciphertext_is_told_of_however_long_it_is(product: Product, length: int) -> None:
    await product.action(inputs={"password": {"type": "string", "encryption": "aes256-gcm"}})
    await permit(product, execute={"policy": policy(".inputs", ".inputs.password | error")})
    ada = await product.person("ada@x.io")
    body = {"properties": {"password": "h" * length}}
    told: Any = (await product.api.post(f"{RUNS}?dry_run=true", json=body, headers=ada)).json()["dryRun"]
    for part in (told["decisions"][-1]["conditions"], told["refusal"]["message"]):
        assert "********" in json.dumps(part)
        assert len(json.dumps(part)) < 600
    message = refused(await product.api.post(RUNS, json=body, headers=ada), 403, "missing_permissions")
    assert "********" in message


async def test_who_is_about_is_asked_of_everybody_however_a_policy_names_them(product: Product) -> None:
    owned = {"property": "$owned_by_team", "operator": "=", "value": True}
    approve = policy('[.results.q.entities[] | "bob@x.io"]', q=query("service", owned))
    await product.action(requiredApproval=True)
    for email in ("ada@x.io", "bob@x.io"):
        await product.person(email)
    granted(await product.api.patch(PERMISSIONS, json={"approve": {"policy": approve}}), "permissions")
    assert granted(await product.api.post(RUNS, json={"properties": {}}), "run", status=202)["status"] == (
        "WAITING_FOR_APPROVAL"
    )
