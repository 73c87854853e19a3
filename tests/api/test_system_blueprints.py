"""System blueprints over HTTP: always there, extended and not taken apart, and people and teams are their entities."""

from typing import Any

import pytest

from domain.system_blueprints import system_blueprints
from tests.api.answers import Json, granted, refused
from tests.support.product import Product

BLUEPRINTS = "/v1/blueprints"
NAMES = [str(document["identifier"]) for document in system_blueprints()]


async def entities(product: Product, blueprint: str) -> dict[str, Json]:
    """The entities of the blueprint, by identifier."""
    found = granted(await product.api.get(f"{BLUEPRINTS}/{blueprint}/entities"), "entities")
    return {one["identifier"]: one for one in found}


async def test_they_are_there_from_the_start(product: Product) -> None:
    for shipped in system_blueprints():
        found = granted(await product.api.get(f"{BLUEPRINTS}/{shipped['identifier']}"), "blueprint")
        assert found | shipped == found
        refused(await product.api.post(BLUEPRINTS, json=found), 409, "identifier_taken", str(shipped["identifier"]))


async def test_the_structure_is_the_system_part_also_of_an_extended_one(product: Product) -> None:
    mine = {"type": "string", "title": "Phone"}
    for name in NAMES:
        path = f"{BLUEPRINTS}/system/{name}/structure"
        structure: Any = granted(await product.api.get(path), "blueprint")
        merged = {**structure, "schema": {**structure["schema"]}}
        merged["schema"]["properties"] = {**structure["schema"]["properties"], "phone": mine}
        changed = granted(await product.api.put(f"{BLUEPRINTS}/{name}", json=merged), "blueprint")
        assert changed["schema"] == merged["schema"]
        assert granted(await product.api.get(path), "blueprint") == structure
    refused(await product.api.get(f"{BLUEPRINTS}/system/service/structure"), 404, "not_found", "service")


async def test_who_asks_for_the_structure_is_known(product: Product) -> None:
    path = f"{BLUEPRINTS}/system/_user/structure"
    refused(await product.api.get(path, headers={"Authorization": ""}), 401, "unauthorized")
    member = await product.person("a@example.com")
    granted(await product.api.get(path, headers=member), "blueprint")


async def test_what_a_request_leaves_out_of_the_system_part_is_put_back(product: Product) -> None:
    mine = {"identifier": "_user", "title": "People", "schema": {"properties": {"phone": {"type": "string"}}}}
    for answer in (
        await product.api.put(f"{BLUEPRINTS}/_user", json=mine),
        await product.api.patch(f"{BLUEPRINTS}/_user", json={"schema": mine["schema"], "relations": None}),
    ):
        found = granted(answer, "blueprint")
        assert list(found["schema"]["properties"])[:2] == ["phone", "status"]
        assert (found["title"], found["relations"]["teams"]["target"]) == ("People", "_team")
    again = granted(await product.api.put(f"{BLUEPRINTS}/_user", json=found), "blueprint")
    assert again["updatedAt"] == found["updatedAt"]


async def test_the_system_part_stays_what_it_is(product: Product) -> None:
    before = granted(await product.api.get(f"{BLUEPRINTS}/_user"), "blueprint")
    wrong: list[tuple[Json, str]] = [
        ({"schema": {"properties": {"status": {"type": "number"}}}}, "schema.properties.status.type"),
        ({"relations": {"teams": {"target": "_team", "many": False}}}, "relations.teams.many"),
    ]
    for change, path in wrong:
        refused(await product.api.patch(f"{BLUEPRINTS}/_user", json=change), 422, "invalid_request", path)
        refused(await product.api.put(f"{BLUEPRINTS}/_user", json={**before, **change}), 422, "invalid_request", path)
    assert granted(await product.api.get(f"{BLUEPRINTS}/_user"), "blueprint") == before


async def test_they_are_not_deleted_and_nobody_makes_others(product: Product) -> None:
    for name in NAMES:
        refused(await product.api.delete(f"{BLUEPRINTS}/{name}"), 403, "missing_permissions", name)
        granted(await product.api.get(f"{BLUEPRINTS}/{name}"), "blueprint")
    mine = {"identifier": "_mine", "title": "Mine", "schema": {"properties": {}}}
    refused(await product.api.post(BLUEPRINTS, json=mine), 422, "invalid_request", "identifier")
    granted(await product.api.post(BLUEPRINTS, json={**mine, "identifier": "mine_"}), "blueprint", status=201)


async def test_people_and_teams_are_entities(product: Product) -> None:
    await product.person("early@example.com", teams=("sre",))
    invitee = {"email": "Ada@example.com", "roles": ["Admin"]}
    assert (await product.api.post("/v1/users/invite", json={"invitee": invitee})).status_code == 200
    team = {"name": "The SREs", "description": "d", "users": ["ada@example.com"]}
    granted(await product.api.post("/v1/teams", json=team), "team")
    [made] = (await entities(product, "_team")).values()
    people = await entities(product, "_user")
    assert made["properties"] == {"description": "d", "port_name": "The SREs", "size": 1}
    assert people.keys() == {"early@example.com", "Ada@example.com"}
    ada = people["Ada@example.com"]
    assert (ada["properties"]["port_role"], ada["relations"]) == ("Admin", {"teams": [made["identifier"]]})
    assert (await product.api.delete("/v1/teams/The SREs")).status_code == 200
    assert (await product.api.delete("/v1/users/ada@example.com")).status_code == 200
    assert await entities(product, "_team") == {}
    assert (await entities(product, "_user")).keys() == {"early@example.com"}


async def test_entities_are_people_and_teams(product: Product) -> None:
    how = {"upsert": "true", "merge": "true"}
    for status in (201, 200):
        answer = await product.api.post(f"{BLUEPRINTS}/_team/entities", params=how, json={"identifier": "sre"})
        assert granted(answer, "entity", status=status)["properties"]["port_name"] == "sre"
    ada = {
        "identifier": "ada@example.com",
        "title": "Ada King",
        "properties": {"port_role": "admin"},
        "relations": {"teams": ["sre"]},
    }
    entity = granted(await product.api.post(f"{BLUEPRINTS}/_user/entities", json=ada), "entity", status=201)
    assert (entity["properties"]["port_role"], entity["properties"]["status"]) == ("Admin", "Active")
    found = granted(await product.api.get("/v1/users/ada@example.com"), "user")
    assert (found["firstName"], found["lastName"], found["teams"]) == ("Ada", "King", ["sre"])
    assert found["roles"] == [{"name": "Admin"}]
    await product.api.patch(f"{BLUEPRINTS}/_team/entities/sre", json={"identifier": "ops"})
    assert granted(await product.api.get("/v1/users/ada@example.com"), "user")["teams"] == ["ops"]
    assert (await product.api.delete(f"{BLUEPRINTS}/_team/entities/ops")).status_code == 200
    refused(await product.api.get("/v1/teams/ops"), 404, "not_found")
    assert (await product.api.delete(f"{BLUEPRINTS}/_user/entities/ada@example.com")).status_code == 200
    refused(await product.api.get("/v1/users/ada@example.com"), 404, "not_found")


@pytest.mark.parametrize(
    ("blueprint", "entity", "status", "word"),
    [
        ("_user", {"identifier": "ada"}, 422, "identifier"),
        ("_user", {"identifier": "a@example.com", "properties": {"port_role": "Owner"}}, 422, "port_role"),
        ("_team", {"identifier": "a/b"}, 422, "identifier"),
        ("_user", {"identifier": "A@example.com"}, 409, "A@example.com"),
    ],
)
async def test_an_entity_that_can_be_nobody_is_refused(
    product: Product, blueprint: str, entity: Json, status: int, word: str
) -> None:
    await product.person("a@example.com")
    before = await entities(product, blueprint)
    for more in ({}, {"validation_only": "true"}):
        params = {"upsert": "true", "merge": "true", **more}
        refused(
            await product.api.post(f"{BLUEPRINTS}/{blueprint}/entities", params=params, json=entity), status, None, word
        )
    assert await entities(product, blueprint) == before


async def test_nobody_is_made_of_what_is_no_address_and_the_relation_is_named(product: Product) -> None:
    relations = {"owner": {"target": "_user"}, "squad": {"target": "_team"}}
    box = {"identifier": "box", "schema": {"properties": {}}, "relations": relations}
    granted(await product.api.post(BLUEPRINTS, json=box), "blueprint", status=201)
    path = f"{BLUEPRINTS}/box/entities?create_missing_related_entities=true"
    for relation, name, said in (("owner", "bad", "'bad' is no email address"), ("squad", "a/b", "'a/b' is no name")):
        entity = {"identifier": "b", "relations": {relation: name}}
        refused(await product.api.post(path, json=entity), 422, "invalid_request", f"relations.{relation}: {said}")
    assert await entities(product, "box") == {}
