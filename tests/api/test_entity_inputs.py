"""Inputs that name entities: templates see the entities, everybody else the identifiers that were sent."""

import pytest

from tests.api.answers import Json, granted
from tests.support.product import Product

ONE: Json = {"type": "string", "format": "entity", "blueprint": "domain"}
SEVERAL: Json = {"type": "array", "items": ONE}
FLEXIBLE = 'if type == "array" then map(.identifier) else .identifier end'


@pytest.fixture
async def catalog(product: Product) -> Product:
    """Two domains, and services that belong to them."""
    domain = {"identifier": "domain", "schema": {"properties": {"tier": {"type": "number"}}}}
    service = {
        "identifier": "service",
        "schema": {"properties": {"tier": {"type": "number"}}},
        "relations": {"domain": {"target": "domain"}, "uses": {"target": "domain", "many": True}},
    }
    for blueprint in (domain, service):
        granted(await product.api.post("/v1/blueprints", json=blueprint), "blueprint", status=201)
    await product.entity("pay", "domain", title="Payments", properties={"tier": 1})
    await product.entity("web", "domain", properties={"tier": 2})
    return product


async def test_templates_see_the_entities_that_inputs_name(catalog: Product) -> None:
    body = {
        "all": "{{ .inputs }}",
        "one": f"{{{{ .inputs.one | {FLEXIBLE} }}}}",
        "several": f"{{{{ .inputs.several | {FLEXIBLE} }}}}",
        "tiers": "{{ [.inputs.several[].properties.tier] }}",
    }
    inputs = {"one": ONE, "text": {"type": "string"}, "several": SEVERAL, "not_sent": ONE}
    await catalog.action(inputs=inputs, invocationMethod=catalog.webhook(body=body))
    given = {"one": "pay", "text": "pay", "several": ["web", "pay"]}
    run = await catalog.start(properties=given)
    ended = await catalog.until(run["id"])
    sent = (await catalog.backend.called()).json
    assert (sent["one"], sent["several"], sent["tiers"]) == ("pay", ["web", "pay"], [2, 1])
    assert list(sent["all"]) == ["one", "text", "several"]
    assert sent["all"]["text"] == "pay"
    one = sent["all"]["one"]
    assert (one["identifier"], one["title"], one["blueprint"]) == ("pay", "Payments", "domain")
    assert (one["properties"], one["relations"]) == ({"tier": 1}, {})
    assert (ended["properties"], ended["rawProperties"]) == (given, given)
    assert ended["interlock"]["inputs"] is None, "the copies are for templates alone"


async def test_what_was_approved_is_sent_although_the_entity_has_changed(catalog: Product) -> None:
    body = {"tier": "{{ .inputs.one.properties.tier }}"}
    await catalog.action(inputs={"one": ONE}, invocationMethod=catalog.webhook(body=body), requiredApproval=True)
    run = await catalog.start(properties={"one": "pay"})
    changed = {"properties": {"tier": 9}}
    assert (await catalog.api.patch("/v1/blueprints/domain/entities/pay", json=changed)).status_code == 200
    decided = await catalog.api.patch(f"/v1/actions/runs/{run['id']}/approval", json={"status": "APPROVE"})
    assert decided.status_code == 201, decided.text
    await catalog.until(run["id"])
    assert (await catalog.backend.called()).json == {"tier": 1}


@pytest.mark.parametrize("written", ["{{ .inputs.one }}", "{{ .inputs.one.identifier }}"])
async def test_relations_take_the_entity_or_its_identifier(catalog: Product, written: str) -> None:
    mapping = {"identifier": "cart", "relations": {"domain": written, "uses": "{{ .inputs.several }}"}}
    method = {"type": "UPSERT_ENTITY", "blueprintIdentifier": "service", "mapping": mapping}
    await catalog.action(inputs={"one": ONE, "several": SEVERAL}, invocationMethod=method)
    run = await catalog.start(properties={"one": "pay", "several": ["pay", "web"]})
    ended = await catalog.until(run["id"])
    assert ended["status"] == "SUCCESS", ended["summary"]
    made = granted(await catalog.api.get("/v1/blueprints/service/entities/cart"), "entity")
    assert made["relations"] == {"domain": "pay", "uses": ["pay", "web"]}


async def test_the_message_for_older_receivers_has_the_identifiers(catalog: Product) -> None:
    method = catalog.webhook()
    del method["body"]
    await catalog.action(inputs={"one": ONE, "several": SEVERAL}, invocationMethod=method)
    given = {"one": "pay", "several": ["web"]}
    await catalog.until((await catalog.start(properties=given))["id"])
    assert (await catalog.backend.called()).json["payload"]["properties"] == given


async def test_an_entity_that_is_not_there_has_its_identifier_where_datasets_are_not_enforced(catalog: Product) -> None:
    body = {"one": "{{ .inputs.one }}"}
    await catalog.action(
        inputs={"one": ONE},
        invocationMethod=catalog.webhook(body=body),
        interlock={"form": {"enforceDataset": False}},
    )
    await catalog.until((await catalog.start(properties={"one": "gone"}))["id"])
    one = (await catalog.backend.called()).json["one"]
    assert (one["identifier"], one["blueprint"], one["properties"], one["relations"]) == ("gone", "domain", {}, {})
