"""Renames over HTTP, and the rules of ownership and paths."""

from typing import Any

import pytest

from domain.changes import Change, Happening
from domain.jq import Evaluator
from runtime.clock import now
from store import changes
from tests.api.answers import Json, granted, refused
from tests.support.product import Product

AT = "/v1/blueprints/service"


@pytest.fixture
async def catalog(product: Product) -> Product:
    """Services with an owner."""
    for document in (
        {"identifier": "squad", "schema": {"properties": {"mail": {"type": "string"}}}},
        {
            "identifier": "service",
            "schema": {"properties": {"tier": {"type": "number"}, "cost": {"type": "number"}}, "required": ["tier"]},
            "relations": {"owner": {"target": "squad"}},
            "mirrorProperties": {"mail": {"path": "owner.mail"}},
        },
    ):
        granted(await product.api.post("/v1/blueprints", json=document), "blueprint", status=201)
    granted(await product.api.post("/v1/blueprints/squad/entities", json={"identifier": "sre"}), "entity", status=201)
    cart = {"identifier": "cart", "properties": {"tier": 1}, "relations": {"owner": "sre"}}
    granted(await product.api.post(f"{AT}/entities", json=cart), "entity", status=201)
    return product


@pytest.mark.parametrize("key", [None, "newIdentifier"])
async def test_properties_mirrors_and_relations_are_renamed(catalog: Product, key: str | None) -> None:
    for path, own, new in (
        ("properties/tier", "newPropertyIdentifier", "rank"),
        ("mirror/mail", "newMirrorIdentifier", "contact"),
        ("relations/owner", "newRelationIdentifier", "squad"),
    ):
        blueprint = granted(await catalog.api.patch(f"{AT}/{path}/rename", json={key or own: new}), "blueprint")
    assert list(blueprint["schema"]["properties"]) == ["rank", "cost"]
    assert blueprint["schema"]["required"] == ["rank"]
    assert blueprint["mirrorProperties"] == {"contact": {"path": "squad.mail"}}
    assert granted(await catalog.api.get(AT), "blueprint") == blueprint
    found = granted(await catalog.api.get(f"{AT}/entities/cart"), "entity")
    assert found["properties"]["rank"] == 1
    assert found["relations"] == {"squad": "sre"}
    audits = granted(await catalog.api.get("/v1/audit-log?resources=entity,blueprint&action=UPDATE"), "audits")
    assert [one["resourceType"] for one in audits] == ["blueprint"] * 3, "entities follow without a word"


async def test_automations_listen_to_a_timer_by_its_new_name(product: Product, evaluate: Evaluator) -> None:
    timers = {"ttl": {"type": "string", "format": "timer"}, "other": {"type": "string", "format": "timer"}}
    for name in ("lab", "office"):
        body = {"identifier": name, "schema": {"properties": timers}}
        granted(await product.api.post("/v1/blueprints", json=body), "blueprint", status=201)
    wanted = {}
    for identifier, kind, blueprint, timer in (
        ("destroy", "TIMER_PROPERTY_EXPIRED", "lab", "ttl"),
        ("warn", "TIMER_PROPERTY_WARNING", "lab", "ttl"),
        ("another", "TIMER_PROPERTY_EXPIRED", "lab", "other"),
        ("elsewhere", "TIMER_PROPERTY_EXPIRED", "office", "ttl"),
    ):
        event = {"type": kind, "blueprintIdentifier": blueprint, "propertyIdentifier": timer}
        trigger = {"type": "automation", "event": event}
        await product.action(identifier, trigger=trigger, publish=identifier != "warn")
        follows = (blueprint, timer) == ("lab", "ttl")
        wanted[identifier] = {**event, "propertyIdentifier": "until"} if follows else event
    await product.action("created", trigger=entity_created("lab"), publish=True)

    renaming = "/v1/blueprints/lab/properties/ttl/rename"
    granted(await product.api.patch(renaming, json={"newPropertyIdentifier": "until"}), "blueprint")
    for identifier, event in wanted.items():
        found = granted(await product.api.get(f"/v1/actions/{identifier}"), "action")
        assert found["trigger"]["event"] == event, identifier
        assert found["publish"] is (identifier != "warn")
    audits = granted(await product.api.get("/v1/audit-log?resources=action&action=UPDATE"), "audits")
    assert sorted(one["context"]["action"] for one in audits) == ["destroy", "warn"]
    for one in audits:
        sides = [one["diff"][side]["trigger"]["event"]["propertyIdentifier"] for side in ("before", "after")]
        assert sides == ["ttl", "until"]

    refused(await product.api.patch(renaming, json={"newPropertyIdentifier": "x"}), 404, "not_found", "ttl")
    context: dict[str, str | None] = {"blueprint": "lab", "entity": "old", "property": "until"}
    of_entity = Change.of(
        "entity", None, {"identifier": "old"}, context=context, at=now(), by="interlock", origin="API"
    )
    async with product.database.write() as session:
        await changes.append(session, of_entity._replace(action=Happening.TIMER_EXPIRED, subject="entity_1"))
    relay = product.automations(evaluate)
    while await relay.once():
        pass
    runs = granted(await product.api.get("/v1/actions/runs"), "runs")
    assert [one["action"]["identifier"] for one in runs] == ["destroy"], "the timer starts it by its new name"


def entity_created(blueprint: str) -> Json:
    return {"type": "automation", "event": {"type": "ENTITY_CREATED", "blueprintIdentifier": blueprint}}


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "word"),
    [
        ("properties/none", {"newPropertyIdentifier": "x"}, 404, "not_found", "none"),
        ("properties/mail", {"newPropertyIdentifier": "x"}, 404, "not_found", "mail"),
        ("mirror/tier", {"newMirrorIdentifier": "x"}, 404, "not_found", "tier"),
        ("properties/tier", {"newPropertyIdentifier": "owner"}, 409, "identifier_taken", "owner"),
        ("relations/owner", {"newRelationIdentifier": "tier"}, 409, "identifier_taken", "tier"),
        ("properties/tier", {"newPropertyIdentifier": "a b"}, 422, "invalid_request", "newPropertyIdentifier"),
        ("properties/tier", {"newPropertyIdentifier": 1}, 422, "invalid_request", "newPropertyIdentifier"),
        ("mirror/mail", {}, 422, "invalid_request", "newMirrorIdentifier"),
        ("relations/owner", {"newRelationIdentifier": "x", "more": 1}, 422, "invalid_request", "more: unknown key"),
    ],
)
async def test_a_rename_that_cannot_be_says_why(
    catalog: Product, path: str, body: Json, status: int, code: str, word: str
) -> None:
    before = granted(await catalog.api.get(AT), "blueprint")
    refused(await catalog.api.patch(f"{AT}/{path}/rename", json=body), status, code, word)
    assert granted(await catalog.api.get(AT), "blueprint") == before


@pytest.mark.parametrize("path", ["properties/tier", "mirror/mail", "relations/owner"])
async def test_members_rename_nothing_and_nobody_what_is_not_there(catalog: Product, path: str) -> None:
    member = await catalog.person("m@x.io")
    body = {"newIdentifier": "x"}
    refused(
        await catalog.api.patch(f"{AT}/{path}/rename", json=body, headers=member), 403, "missing_permissions", "m@x.io"
    )
    refused(await catalog.api.patch(f"/v1/blueprints/none/{path}/rename", json=body), 404, "not_found", "none")


async def test_parts_of_system_blueprints_keep_their_names(catalog: Product) -> None:
    answer = await catalog.api.patch("/v1/blueprints/_user/relations/teams/rename", json={"newIdentifier": "x"})
    refused(answer, 403, "missing_permissions", "_user")
    answer = await catalog.api.delete("/v1/blueprints/_user/all-entities")
    refused(answer, 403, "missing_permissions", "_user")


@pytest.mark.parametrize(
    "inherits",
    [{"ownership": {"type": "Inherited", "path": "owner"}}, {"teamInheritance": {"path": "owner"}}],
)
async def test_entities_that_inherit_their_teams_name_none(catalog: Product, inherits: Json) -> None:
    granted(await catalog.api.patch(AT, json=inherits), "blueprint")
    for team in ("sre", ["sre"]):
        for method, path in (
            ("POST", f"{AT}/entities"),
            ("PUT", f"{AT}/entities/cart"),
            ("PATCH", f"{AT}/entities/cart"),
        ):
            body = {"properties": {"tier": 1}, "team": team}
            refused(
                await catalog.api.request(method, path, json=body), 422, "team_inheritance_enabled", "team", "owner"
            )
    nothing: tuple[Any, ...] = (None, [], "")
    for index, none in enumerate(nothing):
        new: Json = {"identifier": f"s{index}", "properties": {"tier": 1}, "team": none}
        granted(await catalog.api.post(f"{AT}/entities", json=new), "entity", status=201)


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ({"mirrorProperties": {"m": {"path": "none.x"}}}, ["mirrorProperties.m.path", "none"]),
        ({"mirrorProperties": {"m": {"path": "owner.none.x"}}}, ["mirrorProperties.m.path", "squad", "none"]),
        ({"ownership": {"type": "Inherited", "path": "owner.none"}}, ["ownership.path", "none"]),
        ({"relations": {"owner": None}}, ["mirrorProperties.mail.path", "owner"]),
    ],
)
async def test_paths_lead_somewhere(catalog: Product, patch: Json, words: list[str]) -> None:
    refused(await catalog.api.patch(AT, json=patch), 422, "invalid_request", *words)


async def test_the_actions_of_a_blueprint_are_listed_and_go_with_it_when_asked(catalog: Product) -> None:
    trigger = {
        "type": "self-service",
        "operation": "DAY-2",
        "blueprintIdentifier": "squad",
        "userInputs": {"properties": {}},
    }
    await catalog.action("page", trigger=trigger)
    await catalog.action("other")
    listed = granted(await catalog.api.get("/v1/blueprints/squad/actions"), "actions")
    assert [one["identifier"] for one in listed] == ["page"]
    assert listed == granted(await catalog.api.get("/v1/actions?blueprint_identifier=squad"), "actions")
    refused(await catalog.api.get("/v1/blueprints/none/actions"), 404, "not_found", "none")

    query = {"delete_actions": True}
    refused(await catalog.api.delete("/v1/blueprints/squad", params=query), 403, "has_dependents")
    assert granted(await catalog.api.get("/v1/blueprints/squad/actions"), "actions") == listed, "all or nothing"
    for path in (f"{AT}/entities/cart", AT, "/v1/blueprints/squad/entities/sre"):
        assert (await catalog.api.delete(path)).json() == {"ok": True}
    assert (await catalog.api.delete("/v1/blueprints/squad", params=query)).json() == {"ok": True}
    left = granted(await catalog.api.get("/v1/actions"), "actions")
    assert [one["identifier"] for one in left] == ["other"]
