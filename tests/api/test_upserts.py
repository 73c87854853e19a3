"""Runs that write to the catalog: what comes of it over HTTP."""

from typing import Any

import pytest

from tests.api.answers import Json, granted
from tests.support.product import Product

INPUTS: Json = {"name": {"type": "string"}, "replicas": {"type": "number"}, "domain": {"type": "string"}}
MAPPING: Json = {
    "identifier": "{{ .inputs.name }}",
    "title": "Service {{ .inputs.name }}",
    "properties": {"replicas": "{{ .inputs.replicas }}"},
    "relations": {"domain": "{{ .inputs.domain }}"},
}


@pytest.fixture
async def catalog(product: Product) -> Product:
    """Services that belong to domains, mirror something of them, and are judged."""
    domain = {"identifier": "domain", "schema": {"properties": {"tier": {"type": "number"}}}}
    service = {
        "identifier": "service",
        "schema": {"properties": {"replicas": {"type": "number"}, "lang": {"type": "string"}}},
        "relations": {"domain": {"target": "domain"}},
        "mirrorProperties": {"tier": {"path": "domain.tier"}},
    }
    for blueprint in (domain, service):
        granted(await product.api.post("/v1/blueprints", json=blueprint), "blueprint", status=201)
    await product.entity("pay", "domain", properties={"tier": 1})
    return product


def upsert(**mapping: Any) -> Json:
    """An invocation method that writes services."""
    return {"type": "UPSERT_ENTITY", "blueprintIdentifier": "service", "mapping": mapping or MAPPING}


async def entity(product: Product, identifier: str) -> Json:
    """The service as it is."""
    found: Json = granted(await product.api.get(f"/v1/blueprints/service/entities/{identifier}"), "entity")
    return found


async def audits(product: Product, **filters: str) -> list[Json]:
    """What is on record, oldest first."""
    found: list[Json] = granted(await product.api.get("/v1/audit-log", params=filters), "audits")
    return list(reversed(found))


async def test_a_run_creates_an_entity_and_the_next_changes_what_it_names(catalog: Product) -> None:
    await catalog.action(inputs=INPUTS, invocationMethod=upsert())
    ada = await catalog.person("ada@x.io")
    inputs = {"name": "cart", "replicas": 3, "domain": "pay"}
    first = await catalog.until((await catalog.start(properties=inputs, headers=ada))["id"])
    assert (first["status"], first["summary"]) == ("SUCCESS", "Created service 'cart'")
    assert first["response"] == {"blueprint": "service", "identifier": "cart"}
    made = await entity(catalog, "cart")
    assert (made["title"], made["properties"]) == ("Service cart", {"replicas": 3, "tier": 1})
    assert made["relations"] == {"domain": "pay"}
    assert made["createdBy"] == first["createdBy"], "who asked for the run has written it"

    path = "/v1/blueprints/service/entities/cart"
    granted(await catalog.api.patch(path, json={"icon": "Box", "properties": {"lang": "go"}}), "entity")
    second = await catalog.until((await catalog.start(properties={"name": "cart", "replicas": 4}))["id"])
    assert (second["status"], second["summary"]) == ("SUCCESS", "Updated service 'cart'")
    is_now = await entity(catalog, "cart")
    assert (is_now["icon"], is_now["properties"]) == ("Box", {"replicas": 4, "lang": "go", "tier": None})
    assert is_now["relations"] == {"domain": None}, "null takes it away"

    third = await catalog.until((await catalog.start(properties={"name": "cart", "replicas": 4}))["id"])
    assert third["summary"] == "Nothing to change in service 'cart'"
    for run, happening in ((first, "CREATE"), (second, "UPDATE")):
        [audit] = await audits(catalog, resources="entity", run_id=run["id"])
        assert (audit["action"], audit["context"]["entity"], audit["trigger"]["origin"]) == (happening, "cart", "API")
    assert await audits(catalog, resources="entity", run_id=third["id"]) == []


async def test_without_an_identifier_it_gets_one_that_is_the_runs(catalog: Product) -> None:
    await catalog.action(invocationMethod=upsert(properties={"replicas": 1}))
    runs = [await catalog.until((await catalog.start())["id"]) for _ in range(2)]
    names = [run["response"]["identifier"] for run in runs]
    assert names == [f"e_{run['id'].removeprefix('r_')}" for run in runs]
    for name in names:
        assert (await entity(catalog, name))["title"] == name


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ({**upsert(), "blueprintIdentifier": "nothing"}, ("Blueprint", "nothing")),
        (upsert(identifier="x", properties={"replicas": "many"}), ("/properties/replicas",)),
        (upsert(identifier="x", relations={"domain": "none"}), ("domain", "relations.domain", "'none'")),
        (upsert(identifier="x", relations={"owner": "pay"}), ("Relation of service", "owner")),
        (upsert(identifier="x", relations={"domain": ["pay", "pay"]}), ("relations.domain", "not to several")),
        (upsert(identifier="a b"), ("identifier",)),
        ({**upsert(identifier="eve@x.io"), "blueprintIdentifier": "_user"}, ("may not write _user",)),
    ],
)
async def test_what_cannot_be_written_ends_the_run_with_the_reason(
    catalog: Product, method: Json, words: tuple[str, ...]
) -> None:
    await catalog.action(inputs=INPUTS, invocationMethod=method)
    ended = await catalog.until((await catalog.start(properties={"name": "x"}))["id"])
    assert (ended["status"], "response" in ended) == ("FAILURE", False)
    for word in words:
        assert word in ended["summary"]
    assert await audits(catalog, resources="entity", run_id=ended["id"]) == []
    assert granted(await catalog.api.get("/v1/blueprints/service/entities"), "entities") == []


async def test_a_secret_does_not_get_into_the_catalog(catalog: Product) -> None:
    secret = {"secretName": "TOKEN", "secretValue": "s3cret"}
    assert (await catalog.api.post("/v1/organization/secrets", json=secret)).status_code < 300
    await catalog.action(invocationMethod=upsert(identifier="x", properties={"lang": "{{ .secrets.TOKEN }}"}))
    ended = await catalog.until((await catalog.start())["id"])
    assert ended["status"] == "FAILURE"
    assert "names secrets" in ended["summary"]
    assert granted(await catalog.api.get("/v1/blueprints/service/entities"), "entities") == []


async def test_who_may_execute_the_action_need_not_be_one_who_writes_entities(catalog: Product) -> None:
    permissions = {"entities": {"register": {"roles": ["Admin"], "users": [], "teams": [], "ownedByTeam": False}}}
    answer = await catalog.api.patch("/v1/blueprints/service/permissions", json=permissions)
    assert answer.status_code == 200, answer.text
    bob = await catalog.person("bob@x.io")
    refused = await catalog.api.post("/v1/blueprints/service/entities", json={"identifier": "x"}, headers=bob)
    assert refused.status_code == 403
    await catalog.action(invocationMethod=upsert(identifier="x"))
    ended = await catalog.until((await catalog.start(headers=bob))["id"])
    assert ended["status"] == "SUCCESS", ended["summary"]
    assert (await entity(catalog, "x"))["createdBy"] == ended["createdBy"]


async def test_what_was_approved_is_what_is_written(catalog: Product) -> None:
    await catalog.action(inputs=INPUTS, invocationMethod=upsert(), requiredApproval=True)
    run = await catalog.start(properties={"name": "cart", "replicas": 2, "domain": "pay"})
    assert run["status"] == "WAITING_FOR_APPROVAL"
    path = f"/v1/actions/runs/{run['id']}/approval"
    assert (await catalog.api.patch(path, json={"status": "APPROVE"})).status_code == 201
    ended = await catalog.until(run["id"])
    assert (ended["status"], ended["payload"]["mapping"]["identifier"]) == ("SUCCESS", "cart")
    assert (await entity(catalog, "cart"))["properties"]["replicas"] == 2


async def test_scorecards_judge_what_is_written_by_what_it_mirrors(catalog: Product) -> None:
    conditions = [{"property": "tier", "operator": "=", "value": 1}]
    rule = {
        "identifier": "first", "title": "First", "level": "Gold",
        "query": {"combinator": "and", "conditions": conditions},
    }  # fmt: skip
    card = {"identifier": "tiers", "title": "Tiers", "rules": [rule]}
    assert (await catalog.api.post("/v1/blueprints/service/scorecards", json=card)).status_code == 201
    await catalog.action(inputs=INPUTS, invocationMethod=upsert())
    await catalog.until((await catalog.start(properties={"name": "cart", "domain": "pay"}))["id"], "SUCCESS")
    assert (await entity(catalog, "cart"))["scorecards"]["tiers"]["level"] == "Gold"
    await catalog.until((await catalog.start(properties={"name": "cart"}))["id"], "SUCCESS")
    assert (await entity(catalog, "cart"))["scorecards"]["tiers"]["level"] == "Basic"
