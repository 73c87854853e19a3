"""Policies of a blueprint's permissions over HTTP: they decide alone about writes, of the person and of the entity."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from temporalio.testing import WorkflowEnvironment

from domain.jq import Evaluator
from tests.api.answers import Json, granted, refused
from tests.support.product import Product, running

SERVICES = "/v1/blueprints/service/entities"
ENVS = "/v1/blueprints/env/entities"
ALL: Json = {"combinator": "and", "rules": [{"property": "$blueprint", "operator": "=", "value": "crew"}]}
NEVER: Json = {"queries": {"q": ALL}, "conditions": ["false", "1", ".no.such | error", '"true"', "empty"]}


def policy(*conditions: str, rules: list[Json] | None = None) -> Json:
    """A block that a policy alone decides, though its lists name everybody."""
    query = {"combinator": "and", "rules": rules} if rules else ALL
    return {"roles": ["Member"], "policy": {"queries": {"q": query}, "conditions": list(conditions)}}


@pytest.fixture
async def product(clock: WorkflowEnvironment, evaluate: Evaluator, database_url: str) -> AsyncIterator[Product]:
    """The product on each database; nothing here runs."""
    async with running(clock, evaluate, database_url, worker=False) as product:
        yield product


@pytest.fixture
async def catalog(product: Product) -> Product:
    """Services with what is derived of them, environments of services, and the crew."""
    number = {"type": "number"}
    for document in (
        {
            "identifier": "service",
            "schema": {"properties": {"tier": number, "cost": number}},
            "calculationProperties": {"twice": {"type": "number", "calculation": ".properties.tier * 2"}},
            "relations": {"uses": {"target": "service"}},
        },
        {
            "identifier": "env",
            "schema": {"properties": {}},
            "relations": {"of": {"target": "service", "required": True}},
        },
        {"identifier": "crew", "schema": {"properties": {"mail": {"type": "string"}, "tier": number}}},
    ):
        granted(await product.api.post("/v1/blueprints", json=document), "blueprint", status=201)
    kim: Json = {"identifier": "kim", "properties": {"mail": "m@x.io", "tier": 3}}
    granted(await product.api.post("/v1/blueprints/crew/entities", json=kim), "entity", status=201)
    await service(product, "cart", 1)
    return product


async def give(product: Product, blueprint: str = "service", **entities: Json) -> None:
    path = f"/v1/blueprints/{blueprint}/permissions"
    granted(await product.api.patch(path, json={"entities": entities}), "permissions")


async def service(product: Product, name: str, tier: float, headers: httpx.Headers | None = None) -> Json:
    answer = await product.api.post(SERVICES, json=said(name, tier), headers=headers)
    made: Json = granted(answer, "entity", status=201)
    return made


def said(name: str, tier: float, **more: Any) -> Json:
    return {"identifier": name, "properties": {"tier": tier}, **more}


async def test_to_register_it_sees_the_entity_as_asked_for_the_person_and_what_queries_find(catalog: Product) -> None:
    member, other = await catalog.person("m@x.io", teams=("sre",)), await catalog.person("o@x.io")
    mine = {"property": "mail", "operator": "=", "value": "{{ .user.email }}"}
    enough = {"property": "tier", "operator": ">=", "value": "{{ .entity.properties.tier }}"}
    said_of = '.blueprint == "service" and .entity.blueprint == "service" and .entity.properties.twice == 6'
    person = '(.user.teams == ["sre"]) and (.user.roles == [{"name": "Member"}])'
    await give(
        catalog,
        register=policy(
            f'.entity.identifier == "shop" and {said_of} and {person} and (.results.q.entities | length == 1)',
            rules=[*ALL["rules"], mine, enough],
        ),
    )
    for headers, name, tier in ((member, "shop", 4), (member, "other", 3), (other, "shop", 3)):
        answer = await catalog.api.post(SERVICES, json=said(name, tier), headers=headers)
        refused(answer, 403, "missing_permissions", "'service'", "entities.register: its policy does not let")
        refused(await catalog.api.get(f"{SERVICES}/{name}"), 404, "not_found")
    await service(catalog, "shop", 3, member)


@pytest.mark.parametrize("conditions", [NEVER["conditions"], [".results.q.entities[0].identifier"]])
async def test_only_exactly_true_lets_and_only_people_who_are_no_admins_are_asked_about(
    catalog: Product, conditions: list[str]
) -> None:
    member, admin = await catalog.person("m@x.io"), await catalog.person("a@x.io", "Admin")
    never: Json = {"roles": ["Member"], "policy": {**NEVER, "conditions": conditions}}
    await give(catalog, register=never, unregister=never, update=never)
    for method, path, body, block in (
        ("POST", "", said("shop", 1), "register"),
        ("PATCH", "/cart", {"title": "New"}, "update"),
        ("PUT", "/cart", said("cart", 2), "update"),
        ("DELETE", "/cart", None, "unregister"),
    ):
        answer = await catalog.api.request(method, SERVICES + path, json=body, headers=member)
        refused(answer, 403, "missing_permissions", f"entities.{block}: its policy does not let m@x.io")
    entity = granted(await catalog.api.get(f"{SERVICES}/cart"), "entity")
    assert (entity["title"], entity["properties"]["tier"]) == ("cart", 1)
    for headers, name in ((admin, "one"), (None, "two")):
        await service(catalog, name, 1, headers)
        granted(await catalog.api.patch(f"{SERVICES}/{name}", json={"title": "New"}, headers=headers), "entity")
        assert (await catalog.api.delete(f"{SERVICES}/{name}", headers=headers)).status_code == 200
    hook: Json = {
        "identifier": "hook",
        "title": "Hook",
        "enabled": True,
        "mappings": [{"blueprint": "service", "entity": {"identifier": ".body.id"}}],
    }
    url = granted(await catalog.api.post("/v1/webhooks", json=hook), "integration", status=201)["url"]
    assert (await catalog.api.post(url, json={"id": "sent"}, headers={"Authorization": ""})).is_success
    granted(await catalog.api.get(f"{SERVICES}/sent"), "entity")


async def test_to_change_it_sees_what_was_and_each_property_and_relation_has_its_own(catalog: Product) -> None:
    member = await catalog.person("m@x.io")
    path = f"{SERVICES}/cart"
    await give(
        catalog,
        update=policy(".entity.properties.tier == 1 and .entity.properties.twice == 2"),
        updateProperties={"cost": policy(".entity.properties.tier == 9"), "$title": policy(".entity.icon == null")},
        updateRelations={"uses": policy(".entity.relations.uses == null")},
        unregister=policy('.entity.relations.uses == "cart"'),
    )
    whole = granted(await catalog.api.put(path, json=said("cart", 9, icon="X"), headers=member), "entity")
    assert (whole["properties"]["tier"], whole["icon"]) == (9, "X")
    granted(await catalog.api.patch(path, json={"properties": {"cost": 5}}, headers=member), "entity")
    answer = await catalog.api.patch(path, json={"title": "New", "properties": {"cost": 6}}, headers=member)
    refused(answer, 403, "missing_permissions", "entities.update: its policy", "entities.updateProperties.$title: its")
    assert "cost" not in answer.json()["message"]
    answer = await catalog.api.patch(path, json=said("cart", 1), headers=member)
    refused(answer, 403, "missing_permissions", "entities.updateProperties.tier: m@x.io is in none of")
    refused(await catalog.api.delete(path, headers=member), 403, "missing_permissions", "entities.unregister: its")
    granted(await catalog.api.patch(path, json={"relations": {"uses": "cart"}}, headers=member), "entity")
    answer = await catalog.api.patch(path, json={"relations": {"uses": None}}, headers=member)
    refused(answer, 403, "missing_permissions", "entities.updateRelations.uses: its policy does not let m@x.io")
    found = granted(await catalog.api.get(path), "entity")
    assert (found["properties"], found["relations"]) == ({"tier": 9, "cost": 5, "twice": 18}, {"uses": "cart"})
    assert (await catalog.api.delete(path, headers=member)).status_code == 200


async def test_of_many_each_is_judged_by_what_was_committed_before(catalog: Product) -> None:
    member = await catalog.person("m@x.io")
    same = {"property": "tier", "operator": "=", "value": "{{ .entity.properties.tier }}"}
    service_rule = {"property": "$blueprint", "operator": "=", "value": "service"}
    await give(catalog, register=policy(".results.q.entities | length == 0", rules=[service_rule, same]))
    rows = [said("a", 7), said("b", 1), said("c", 7)]
    answer = await catalog.api.post(f"{SERVICES}/bulk", headers=member, json={"entities": rows})
    assert answer.status_code == 207
    assert [one["identifier"] for one in answer.json()["entities"]] == ["a", "c"]
    [failed] = answer.json()["errors"]
    assert (failed["identifier"], failed["statusCode"], failed["error"]) == ("b", 403, "missing_permissions")
    assert "entities.register: its policy" in failed["message"]
    refused(await catalog.api.post(SERVICES, json=said("d", 7), headers=member), 403, "missing_permissions")


async def test_what_comes_or_goes_along_is_judged_by_its_own_blueprint(catalog: Product) -> None:
    member = await catalog.person("m@x.io")
    await give(catalog, "env", register=policy("true"), unregister=policy('.entity.relations.of == "new"'))
    await give(catalog, register=policy('.blueprint == "service" and .entity.identifier == "new"'))
    for name, status in (("no", 403), ("new", 201)):
        body: Json = {"identifier": "dev", "relations": {"of": name}}
        create = {"create_missing_related_entities": True}
        answer = await catalog.api.post(ENVS, params=create, json=body, headers=member)
        assert answer.status_code == status, answer.text
    refused(await catalog.api.get(f"{SERVICES}/no"), 404, "not_found")
    await give(catalog, unregister=policy("true"))
    other: Json = {"identifier": "other", "relations": {"of": "cart"}}
    granted(await catalog.api.post(ENVS, json=other), "entity", status=201)
    answer = await catalog.api.delete(f"{SERVICES}/cart", params={"delete_dependents": True}, headers=member)
    refused(answer, 403, "missing_permissions", "'env'", "entities.unregister: its policy")
    answer = await catalog.api.delete(f"{SERVICES}/new", params={"delete_dependents": True}, headers=member)
    assert answer.status_code == 200, answer.text
    refused(await catalog.api.get(f"{ENVS}/dev"), 404, "not_found")


async def test_many_writers_whose_policies_are_asked_do_not_wait_for_each_other_forever(catalog: Product) -> None:
    member = await catalog.person("m@x.io")
    await give(catalog, register=policy(".results.q.entities | length == 1"))
    made = await asyncio.gather(*(service(catalog, f"s{number}", number, member) for number in range(24)))
    assert len({one["identifier"] for one in made}) == 24
