"""Blueprints, their relations and their permissions through the Terraform provider, replayed."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from domain.jq import Evaluator
from runtime.clock import now
from tests.clients import go
from tests.clients.go import Json
from tests.clients.terraform import RefusedError, Terraform, Wire
from tests.clients.terraform_blueprints import Blueprint, BlueprintPermissions, BlueprintRelation
from tests.support.product import Product
from worker.catalog_migrations import CatalogMigrations

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXT: Json = {"type": "string", "title": "Tier"}


def _of(*properties: Json, required: list[str] | None = None, **more: Any) -> Json:
    named = {f"p{number}": one for number, one in enumerate(properties)}
    schema = {"properties": named, **({"required": required} if required else {})}
    return {"schema": schema, **more}


SHAPES: dict[str, Json] = {
    "bare": {},
    "described": {"icon": "Disk", "description": ""},
    "text": _of(
        {
            "type": "string",
            "title": "T",
            "icon": "I",
            "description": "D",
            "minLength": 1,
            "maxLength": 10,
            "default": "nobody",
            "enum": ["nobody", "somebody"],
            "enumColors": {"nobody": "red", "somebody": "green"},
            "pattern": "^[a-z]*$",
            "format": "user",
        },
        {"type": "string", "format": "date-time", "dateFormat": "relative"},
        {"type": "string", "format": "yaml", "spec": "async-api"},
        {
            "type": "string",
            "format": "url",
            "spec": "embedded-url",
            "specAuthentication": {
                "clientId": "c",
                "authorizationUrl": "https://a.example.org",
                "tokenUrl": "https://t.example.org",
            },
        },
        *({"type": "string", "format": name} for name in ("timer", "markdown", "proto", "team", "email", "ipv4")),
        required=["p0"],
    ),
    "numbers": _of(
        {"type": "number", "minimum": 0, "maximum": 100, "default": 1, "enum": [1, 2.5], "enumColors": {"1": "red"}},
        {"type": "number", "default": -0.5},
    ),
    "switches": _of({"type": "boolean", "default": False}, {"type": "boolean", "default": True}, required=["p0", "p1"]),
    "lists": _of(
        {"type": "array", "minItems": 0, "maxItems": 3, "items": {"type": "string"}, "default": ["a"]},
        {"type": "array", "items": {"type": "string", "format": "email", "pattern": "^a"}},
        {"type": "array", "items": {"type": "number"}, "default": [1, 2.5]},
        {"type": "array", "items": {"type": "boolean"}, "default": [True]},
        {"type": "array", "items": {"type": "object"}, "default": [{"a": 1}]},
        {"type": "array"},
    ),
    "objects": _of({"type": "object", "spec": "open-api", "default": {"a": [None]}}, {"type": "object"}),
    "calculations": _of(
        TEXT,
        calculationProperties={
            "loud": {
                "type": "string",
                "calculation": ".properties.p0 | ascii_upcase",
                "title": "Loud",
                "icon": "I",
                "description": "D",
                "colorized": True,
                "colors": {"GOLD": "gold"},
            },
            "many": {"type": "array", "calculation": "[.identifier]", "items": {"type": "string", "format": "url"}},
            "on": {"type": "string", "calculation": ".createdAt", "format": "date-time"},
            "wrong": {"type": "number", "calculation": "'no jq"},
        },
    ),
    "relations": {
        "relations": {
            "host": {"target": "tf-target", "title": "Host", "description": "D"},
            "peers": {"target": "tf-target", "many": True},
            "needed": {"target": "tf-target", "required": True},
        },
        "mirrorProperties": {"tier": {"path": "host.tier", "title": "Tier"}, "name": {"path": "peers.$title"}},
    },
    "to-kafka": {"changelogDestination": {"type": "KAFKA"}},
    "to-a-webhook": {
        "changelogDestination": {"type": "WEBHOOK", "url": "https://hooks.example.org", "agent": True},
    },
    "team-inheritance": {
        "relations": {"host": {"target": "tf-target"}},
        "teamInheritance": {"path": "host"},
    },
    "ownership-direct": {"ownership": {"type": "Direct", "title": "Owners", "union": False}},
    "ownership-inherited": {
        "relations": {"host": {"target": "tf-target"}},
        "ownership": {"type": "Inherited", "path": "host", "title": "Owners"},
    },
    "searched": {"includeInGlobalSearch": True},
    "not-searched": {"includeInGlobalSearch": False},
}


async def _target(wire: Wire) -> None:
    try:
        await wire.call("GET", "/v1/blueprints/tf-target")
    except RefusedError:
        await Terraform(wire, Blueprint()).apply(
            {"identifier": "tf-target", "title": "Target", "schema": {"properties": {"tier": TEXT}}}
        )


@pytest.mark.parametrize("name", SHAPES)
async def test_what_is_applied_is_found_again(wire: Wire, name: str) -> None:
    await _target(wire)
    config = {"identifier": f"bp-{name}", "title": "A volume", **SHAPES[name]}
    terraform = Terraform(wire, Blueprint())
    await terraform.apply(config)
    assert go.text(await terraform.import_(f"bp-{name}")) == go.text(terraform.state)
    await terraform.apply({**config, "title": "Another", "description": "More"})
    await terraform.apply({"identifier": f"bp-{name}", "title": "Bare"})
    await terraform.apply({**config, "identifier": f"bp-{name}-renamed"})
    assert wire.writes[-1][:2] == ("PUT", f"/v1/blueprints/bp-{name}")
    await terraform.destroy()


@pytest_asyncio.fixture(loop_scope="module")
async def migrating(product: Product, evaluate: Evaluator) -> AsyncIterator[None]:
    """What deletes entities in the background."""
    working = asyncio.create_task(CatalogMigrations(product.database, now, evaluate).run())
    yield
    working.cancel()


@pytest.mark.usefixtures("migrating")
async def test_a_property_that_gets_another_type_goes_first(wire: Wire, product: Product) -> None:
    terraform = Terraform(wire, Blueprint(force=True))
    config = {"identifier": "turning", "title": "T"}
    entity = {"identifier": "e", "properties": {"p0": "a"}}
    await terraform.apply({**config, **_of({"type": "string"}, required=["p0"])})
    answer = await product.api.post("/v1/blueprints/turning/entities", json=entity)
    assert answer.status_code == 201, answer.text
    for kind in ("number", "array", "boolean", "object", "string"):
        await terraform.apply({**config, **_of({"type": kind}, required=["p0"])})
        assert [call[0] for call in wire.sent[-4:]] == ["GET", "PUT", "PUT", "GET"]
    with pytest.raises(RefusedError, match="has_dependents"):
        await Blueprint().delete(wire, config)
    await terraform.destroy()


async def test_a_relation_is_added_to_a_blueprint_that_somebody_else_manages(wire: Wire) -> None:
    await _target(wire)
    own = {"identifier": "shared", "title": "S", **_of(TEXT), "relations": {"own": {"target": "tf-target"}}}
    blueprint = Terraform(wire, Blueprint())
    await blueprint.apply(own)
    relation = Terraform(wire, BlueprintRelation())
    config = {"blueprint": "shared", "identifier": "more", "target": "tf-target", "title": "More"}
    await relation.apply(config)
    assert wire.writes[-1][:2] == ("PATCH", "/v1/blueprints/shared")
    assert await blueprint.difference(own) == {}, "the blueprint's own relations and properties stay"
    assert go.text(await relation.import_("shared:more")) == go.text(relation.state)

    await relation.apply({**config, "description": "D", "many": True})
    await relation.apply({**config, "title": "Other"})
    assert wire.writes[-1][0] == "PUT", "what is taken away needs the whole blueprint"
    del config["title"]
    await relation.apply(config)
    await blueprint.apply({**own, "title": "Changed"})
    assert await relation.difference(config) == {}, "the blueprint keeps relations it did not make"
    await relation.destroy()
    assert await blueprint.difference({**own, "title": "Changed"}) == {}
    await blueprint.destroy()


async def test_two_blueprints_relate_to_each_other(wire: Wire) -> None:
    for name in ("left", "right"):
        await Terraform(wire, Blueprint()).apply({"identifier": name, "title": name})
    for name, other in (("left", "right"), ("right", "left")):
        relation = {"blueprint": name, "identifier": "others", "target": other, "many": True}
        await Terraform(wire, BlueprintRelation()).apply(relation)


async def test_a_system_blueprint_is_extended_by_patches_alone(wire: Wire) -> None:
    path = "/v1/blueprints/_scorecard"
    before = (await wire.call("GET", path))["blueprint"]
    relation = Terraform(wire, BlueprintRelation())
    await relation.apply({"blueprint": "_scorecard", "identifier": "squad", "target": "_team", "title": "Squad"})
    await wire.call("PATCH", path, {"schema": {"properties": {"goal": {"type": "string", "title": "Goal"}}}})
    found = (await wire.call("GET", path))["blueprint"]
    assert found["relations"].keys() == {*before["relations"], "squad"}
    assert found["schema"]["properties"].keys() == {*before["schema"]["properties"], "goal"}
    await wire.call("PATCH", path, {"schema": {"properties": {"goal": None}}})
    await wire.call("PATCH", path, {"relations": {"squad": None}})
    found = (await wire.call("GET", path))["blueprint"]
    assert (found["relations"], found["schema"]) == (before["relations"], before["schema"])
    structure = (await wire.call("GET", "/v1/blueprints/system/_scorecard/structure"))["blueprint"]
    assert structure["schema"]["properties"].keys() <= found["schema"]["properties"].keys()


MEMBERS: Json = {"roles": ["Member"], "users": [], "teams": []}
META = {f"${name}": MEMBERS for name in ("icon", "identifier", "team", "title")}
BASE: Json = {**dict.fromkeys(("register", "unregister", "update"), MEMBERS), "updateProperties": META}


async def test_permissions_of_a_blueprint(wire: Wire, product: Product) -> None:
    await _target(wire)
    assert (await product.api.post("/v1/teams", json={"name": "storage"})).status_code in (200, 201)
    for name, more in {
        "base": {},
        "not-in-order": {"register": {"roles": ["Member", "Admin"], "users": [], "teams": ["storage"]}},
        "owned": {"update": {**MEMBERS, "ownedByTeam": True}},
        "read": {"read": {**MEMBERS, "roles": ["Admin", "Member"]}},
    }.items():
        blueprint = Terraform(wire, Blueprint())
        await blueprint.apply({"identifier": f"perm-{name}", "title": "P"})
        permissions = Terraform(wire, BlueprintPermissions())
        await permissions.apply({"blueprint": f"perm-{name}", "entities": {**BASE, **more}})
        await permissions.apply({"blueprint": f"perm-{name}", "entities": BASE})
        await blueprint.destroy()
        assert await permissions.refresh() is None


async def test_permissions_of_properties_and_relations(wire: Wire) -> None:
    await _target(wire)
    blueprint = {"identifier": "parts", "title": "P", **_of(TEXT), "relations": {"host": {"target": "tf-target"}}}
    await Terraform(wire, Blueprint()).apply(blueprint)
    permissions = Terraform(wire, BlueprintPermissions())
    admins = {**MEMBERS, "roles": ["Admin"]}
    for block in (MEMBERS, admins):
        parts = {"updateProperties": {**META, "p0": block}, "updateRelations": {"host": block}}
        await permissions.apply({"blueprint": "parts", "entities": {**BASE, **parts}})
    assert go.text(await permissions.import_("parts")) == go.text(permissions.state)
