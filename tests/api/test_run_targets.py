"""Runs on entities: the catalog says what the entity is, whose it is, and whether the action is for it."""

from typing import Any

from tests.api.answers import granted, refused
from tests.support.product import Json, Product


def on_service(**more: Any) -> Json:
    """The trigger of an action on services."""
    return {
        "type": "self-service",
        "operation": "DAY-2",
        "blueprintIdentifier": "service",
        "userInputs": {"properties": {}},
        **more,
    }


def condition(*rules: Json, combinator: str = "and") -> Json:
    """Which services an action is for."""
    return {"type": "SEARCH", "combinator": combinator, "rules": list(rules)}


async def ask(product: Product, entity: str = "cart", action: str = "deploy", **how: Any) -> Any:
    """The answer to the request for a run."""
    body = {"properties": {}, "entity": entity}
    return await product.api.post(f"/v1/actions/{action}/runs", json=body, **how)


async def test_templates_see_the_entity_with_what_is_derived(product: Product) -> None:
    blueprint = {
        "identifier": "service",
        "title": "Service",
        "schema": {"properties": {"tier": {"type": "number"}}},
        "relations": {"on": {"target": "service"}},
        "mirrorProperties": {"upper": {"path": "on.tier"}},
        "calculationProperties": {"twice": {"type": "number", "calculation": ".properties.tier * 2"}},
    }
    granted(await product.api.post("/v1/blueprints", json=blueprint), "blueprint", status=201)
    await product.entity("base", properties={"tier": 7})
    await product.entity("cart", title="Cart", team=["sre"], properties={"tier": 2}, relations={"on": "base"})
    names = ("identifier", "title", "blueprint", "team", "properties", "relations")
    body = {name: f"{{{{ .entity.{name} }}}}" for name in names}
    await product.action(trigger=on_service(), invocationMethod=product.webhook(body=body))

    run = granted(await ask(product), "run", status=202)
    assert (await product.until(run["id"]))["status"] == "SUCCESS"
    assert product.backend.calls[0].json == {
        "identifier": "cart",
        "title": "Cart",
        "blueprint": "service",
        "team": ["sre"],
        "properties": {"tier": 2, "upper": 7, "twice": 4},
        "relations": {"on": "base"},
    }
    assert (run["entity"]["identifier"], run["entity"]["title"]) == ("cart", "Cart")


async def test_what_was_approved_is_what_is_sent_whatever_becomes_of_the_entity(product: Product) -> None:
    await product.entity("cart", properties={"tier": 1})
    method = product.webhook(body={"tier": "{{ .entity.properties.tier }}"})
    await product.action(trigger=on_service(), invocationMethod=method, requiredApproval=True)
    run = granted(await ask(product), "run", status=202)

    assert (await product.api.delete("/v1/blueprints/service/entities/cart")).status_code == 200
    path = f"/v1/actions/runs/{run['id']}/approval"
    granted(await product.api.patch(path, json={"status": "APPROVE"}), "run", status=201)
    assert (await product.until(run["id"]))["status"] == "SUCCESS"
    assert product.backend.calls[0].json == {"tier": 1}


async def test_an_action_is_refused_on_entities_its_condition_does_not_find(product: Product) -> None:
    await product.entity("base")
    await product.entity("cart", properties={"tier": 1}, team=["sre"])
    await product.entity("shop", properties={"tier": 9})
    low = {"property": "tier", "operator": "<", "value": 5}
    mine = {
        "property": "$team",
        "operator": "containsAny",
        "value": {"context": "userTeams", "property": "$identifier"},
    }
    await product.action("low", trigger=on_service(condition=condition(low)))
    await product.action("mine", trigger=on_service(condition=condition(mine)))
    await product.action("all", trigger=on_service(condition=condition(combinator="or")))
    granted(await product.api.post("/v1/teams", json={"name": "sre", "users": []}), "team")
    ada, eve = await product.person("ada@x.io", teams=("sre",)), await product.person("eve@x.io")

    granted(await ask(product, "cart", "low"), "run", status=202)
    for answer in (
        await ask(product, "shop", "low"),
        await ask(product, "cart", "mine"),
        await ask(product, "cart", "mine", headers=eve),
    ):
        refused(answer, 422, "entity_does_not_pass_condition")
    granted(await ask(product, "cart", "mine", headers=ada), "run", status=202)
    granted(await ask(product, "shop", "all"), "run", status=202)


async def test_an_entity_that_is_not_there_is_not_found(product: Product) -> None:
    await product.action(trigger=on_service())
    refused(await ask(product), 404, "not_found", "service")
    await product.entity("shop")
    refused(await ask(product), 404, "not_found", "cart")
    granted(await ask(product, "shop"), "run", status=202)


async def test_the_rules_of_a_condition_are_checked_when_the_action_is_written(product: Product) -> None:
    action: Json = {
        "identifier": "deploy",
        "trigger": on_service(condition=condition({"property": "tier", "operator": "like", "value": 1})),
        "invocationMethod": product.webhook(),
    }
    refused(
        await product.api.post("/v1/actions", json=action),
        422,
        "invalid_request",
        "trigger.condition.rules[0].operator",
    )


async def test_who_shares_a_team_with_the_entity_may_execute_where_that_is_enough(product: Product) -> None:
    await product.entity("cart", team=["sre"])
    await product.entity("shop", team=["web"])
    await product.action(trigger=on_service())
    permissions = {"execute": {"roles": [], "ownedByTeam": True}}
    granted(await product.api.patch("/v1/actions/deploy/permissions", json=permissions), "permissions")
    granted(await product.api.post("/v1/teams", json={"name": "sre", "users": []}), "team")
    ada = await product.person("ada@x.io", teams=("sre",))

    granted(await ask(product, "cart", headers=ada), "run", status=202)
    refused(await ask(product, "shop", headers=ada), 403, "missing_permissions", "no team of theirs owns the entity")
