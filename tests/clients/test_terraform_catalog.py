"""Entities, teams, incoming webhooks, scorecards and aggregations through the Terraform provider, replayed."""

from typing import Any

import pytest
import pytest_asyncio

from tests.clients import go
from tests.clients.go import Json
from tests.clients.terraform import RefusedError, Terraform, Wire
from tests.clients.terraform_blueprints import Blueprint
from tests.clients.terraform_catalog import Aggregations, Entity, Scorecard, Team, Webhook
from tests.support.product import Product

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOST: Json = {"identifier": "tf-host", "title": "Host", "schema": {"properties": {"zone": {"type": "string"}}}}
VOLUME: Json = {
    "identifier": "tf-volume",
    "title": "Volume",
    "schema": {
        "properties": {
            "text": {"type": "string"},
            "size": {"type": "number"},
            "on": {"type": "boolean"},
            "extra": {"type": "object"},
            "words": {"type": "array"},
            "mails": {"type": "array", "items": {"type": "string", "format": "email"}},
            "numbers": {"type": "array", "items": {"type": "number"}},
            "switches": {"type": "array", "items": {"type": "boolean"}},
            "objects": {"type": "array", "items": {"type": "object"}},
        }
    },
    "relations": {"host": {"target": "tf-host"}, "peers": {"target": "tf-host", "many": True}},
    "mirrorProperties": {"zone": {"path": "host.zone"}},
    "calculationProperties": {"loud": {"type": "string", "calculation": ".properties.text | ascii_upcase"}},
}


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def catalog(wire: Wire) -> None:
    """Two blueprints, and hosts."""
    try:
        await wire.call("GET", "/v1/blueprints/tf-volume")
    except RefusedError:
        for blueprint in (HOST, VOLUME):
            await Terraform(wire, Blueprint()).apply(blueprint)
        for name in ("h1", "h2"):
            host = {"identifier": name, "title": name, "blueprint": "tf-host", "properties": {"zone": "eu"}}
            await Terraform(wire, Entity()).apply(host)
    wire.sent.clear()


VALUES: dict[str, Json] = {
    "bare": {},
    "plain": {"properties": {"text": "", "size": 1, "on": False, "extra": {"a": [None, {"b": 1.5}]}}},
    "lists": {
        "properties": {
            "words": ["a", ""],
            "mails": ["a@example.org"],
            "numbers": [1, -2.5],
            "switches": [True, False],
            "objects": [{"a": 1}, {}],
        }
    },
    "empty-lists": {"properties": {"words": [], "mails": [], "numbers": [], "switches": [], "objects": []}},
    "relations": {"relations": {"host": "h1", "peers": ["h2", "h1"]}, "properties": {"text": "x"}},
    "relations-that-are-null": {"relations": {"host": None, "peers": []}},
    "icon": {"icon": "Disk"},
}


@pytest.mark.parametrize("name", VALUES)
async def test_entities(wire: Wire, name: str) -> None:
    config = {"identifier": f"e:{name}", "title": "V", "blueprint": "tf-volume", **VALUES[name]}
    terraform = Terraform(wire, Entity())
    await terraform.apply(config)
    assert go.text(await terraform.import_(f"tf-volume:e:{name}")) == go.text(terraform.state)
    await terraform.apply({**config, "title": "W"})
    await terraform.apply({"identifier": f"e:{name}", "title": "V", "blueprint": "tf-volume"})
    await terraform.apply({**config, "identifier": f"{name}-renamed"})
    await terraform.destroy()


async def test_an_entity_without_an_identifier_gets_one_and_one_that_is_there_is_taken_over(wire: Wire) -> None:
    terraform = Terraform(wire, Entity())
    config: Json = {"title": "Nameless", "blueprint": "tf-volume"}
    plan = terraform.kind.planned(config)
    made = await terraform.kind.create(wire, plan)
    terraform.state = {**plan, "id": made}
    assert plan["identifier"]
    other = Terraform(wire, Entity())
    await other.apply({**config, "title": "Mine", "identifier": plan["identifier"]})
    assert await terraform.difference({**config, "identifier": plan["identifier"]}) == {"title": ("Mine", "Nameless")}
    await other.destroy()


async def test_entities_of_a_blueprint_or_to_entities_that_are_not_there_are_refused(wire: Wire) -> None:
    for config in (
        {"identifier": "x", "title": "X", "blueprint": "tf-nothing"},
        {"identifier": "x", "title": "X", "blueprint": "tf-volume", "relations": {"host": "nobody"}},
        {"identifier": "x", "title": "X", "blueprint": "tf-volume", "relations": {"unknown": "h1"}},
    ):
        with pytest.raises(RefusedError, match="not_found") as refusal:
            await Terraform(wire, Entity()).apply(config)
        assert refusal.value.status == 404


async def test_teams(wire: Wire, product: Product) -> None:
    for email in ("a@tf.io", "b@tf.io"):
        await product.person(email)
    terraform = Terraform(wire, Team())
    config: Json = {"name": "tf sre", "description": "Keeps it up", "users": ["a@tf.io", "b@tf.io"]}
    await terraform.apply(config)
    assert go.text(await terraform.import_("tf sre")) == go.text(terraform.state)
    await terraform.apply({**config, "description": "Other", "users": ["b@tf.io"]})
    entity = {"identifier": "owned", "title": "O", "blueprint": "tf-volume", "team": ["tf sre"]}
    owned = Terraform(wire, Entity())
    await owned.apply(entity)
    await owned.destroy()
    await terraform.destroy()


WEBHOOKS: dict[str, Json] = {
    "bare": {},
    "described": {"title": "W", "icon": "Disk", "description": "D", "enabled": True},
    "secured": {
        "security": {
            "secret": "s3cret",
            "signatureHeaderName": "x-sig",
            "signatureAlgorithm": "sha256",
            "signaturePrefix": "sha256=",
            "requestIdentifierPath": ".headers.id",
        }
    },
    "mapped": {
        "mappings": [
            {
                "blueprint": "tf-volume",
                "operation": {"type": "create"},
                "filter": '.headers["x-kind"] == "volume"',
                "itemsToParse": ".body.items",
                "entity": {
                    "identifier": ".item.id",
                    "title": ".item.name",
                    "icon": '"Disk"',
                    "team": '"sre"',
                    "properties": {"text": ".item.name", "size": ".item.size"},
                    "relations": {"host": ".item.host"},
                },
            },
            {
                "blueprint": "tf-volume",
                "operation": {"type": "delete", "deleteDependents": True},
                "entity": {"identifier": ".body.id"},
            },
        ]
    },
}


@pytest.mark.parametrize("name", WEBHOOKS)
async def test_incoming_webhooks(wire: Wire, name: str) -> None:
    config = {"identifier": f"hook-{name}", "title": "Hook", **WEBHOOKS[name]}
    terraform = Terraform(wire, Webhook())
    await terraform.apply(config)
    (terraform.state or {}).get("security", {}).pop("secret", None)
    assert go.text(await terraform.import_(f"hook-{name}")) == go.text(terraform.state)
    await terraform.apply({**config, "enabled": True, "title": "Other"})
    await terraform.apply({"identifier": f"hook-{name}", "title": "Bare"})
    await terraform.destroy()


def _rule(identifier: str, level: str, *conditions: Any, **more: Any) -> Json:
    query = {"combinator": "and", "conditions": list(conditions)}
    return {"identifier": identifier, "title": identifier, "level": level, "query": query, **more}


SCORECARDS: dict[str, Json] = {
    "plain": {
        "rules": [
            _rule("named", "Bronze", {"property": "$title", "operator": "isNotEmpty"}),
            _rule("large", "Gold", {"property": "size", "operator": ">", "value": 2.5}, description="Large ones"),
        ]
    },
    "levels-and-a-filter": {
        "levels": [{"title": "None", "color": "paleBlue"}, {"title": "Some", "color": "green"}],
        "filter": {"combinator": "or", "conditions": [{"property": "on", "operator": "=", "value": True}]},
        "rules": [_rule("named", "Some", {"property": "text", "operator": "=", "value": "x"})],
    },
    # The provider leaves out a list that is empty.
    "no-conditions": {
        "filter": {"combinator": "and"},
        "rules": [{"identifier": "all", "title": "All", "level": "Gold", "query": {"combinator": "or"}}],
    },
}


@pytest.mark.parametrize("name", SCORECARDS)
async def test_scorecards(wire: Wire, name: str) -> None:
    config = {"identifier": f"card-{name}", "title": "Card", "blueprint": "tf-volume", **SCORECARDS[name]}
    terraform = Terraform(wire, Scorecard())
    await terraform.apply(config)
    await terraform.apply({**config, "title": "Other"})
    await terraform.apply({**config, "rules": config["rules"][:1]})
    await terraform.destroy()


def _counted(**more: Any) -> Json:
    spec = {"func": "count", "calculationBy": "entities"}
    return {"title": "Volumes", "target": "tf-volume", "calculationSpec": spec, **more}


AGGREGATIONS: dict[str, Json] = {
    "count": _counted(icon="Disk", description="How many"),
    "some": _counted(query={"combinator": "and", "rules": [{"property": "on", "operator": "=", "value": True}]}),
    "path": _counted(pathFilter=[{"path": ["host"], "fromBlueprint": "tf-volume"}]),
    "paths": _counted(pathFilter=[{"path": [name], "fromBlueprint": "tf-volume"} for name in ("host", "peers")]),
    "rate": _counted(
        calculationSpec={
            "func": "average",
            "averageOf": "month",
            "measureTimeBy": "$createdAt",
            "calculationBy": "entities",
        }
    ),
    "total": _counted(calculationSpec={"func": "sum", "property": "size", "calculationBy": "property"}),
    "mean": _counted(
        calculationSpec={
            "func": "average",
            "averageOf": "total",
            "measureTimeBy": "$updatedAt",
            "property": "size",
            "calculationBy": "property",
        }
    ),
}


async def test_aggregations_and_the_blueprint_that_others_write(wire: Wire) -> None:
    blueprint = Terraform(wire, Blueprint(), state={**Blueprint().planned(HOST), "id": "tf-host"})
    terraform = Terraform(wire, Aggregations())
    config: Json = {"blueprint": "tf-host", "properties": AGGREGATIONS}
    await terraform.apply(config)
    assert go.text(await terraform.import_("tf-host")) == go.text(terraform.state)
    host = Terraform(wire, Entity(), state={"blueprint": "tf-host", "identifier": "h1", "id": "tf-host:h1"})
    assert ((await host.refresh()) or {})["properties"] == {"zone": "eu"}, "what is computed is not read"

    await blueprint.apply({**HOST, "title": "Changed"})
    assert await terraform.difference(config) == {}
    for name in AGGREGATIONS:
        await terraform.apply({**config, "properties": {name: AGGREGATIONS[name]}})
    assert await blueprint.difference({**HOST, "title": "Changed"}) == {}
    await terraform.destroy()
