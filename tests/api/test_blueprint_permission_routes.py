"""Permissions of blueprints over HTTP: told, changed, and held to by every write of a person."""

from typing import Any

import pytest

from tests.api.answers import Json, granted, refused
from tests.support.product import Product

PATH = "/v1/blueprints/service/permissions"
ENTITIES = "/v1/blueprints/service/entities"
ADMINS: Json = {"roles": ["Admin"], "users": [], "teams": [], "ownedByTeam": False}
MEMBERS: Json = {"roles": ["Member"]}
OWNERS: Json = {"ownedByTeam": True}
CART: Json = {"identifier": "cart", "properties": {"tier": 1}, "team": ["sre"]}


@pytest.fixture
async def catalog(product: Product) -> Product:
    """Services, and environments of services."""
    for document in (
        {
            "identifier": "service",
            "schema": {"properties": {"tier": {"type": "number"}, "cost": {"type": "number"}}},
            "relations": {"uses": {"target": "service", "many": True}},
        },
        {
            "identifier": "env",
            "schema": {"properties": {}},
            "relations": {"of": {"target": "service", "required": True}},
        },
    ):
        granted(await product.api.post("/v1/blueprints", json=document), "blueprint", status=201)
    granted(await product.api.post(ENTITIES, json=CART), "entity", status=201)
    return product


async def give(product: Product, path: str = PATH, **entities: Any) -> Json:
    """The permissions, once these are given."""
    found: Json = granted(await product.api.patch(path, json={"entities": entities}), "permissions")["entities"]
    return found


async def test_permissions_are_there_with_the_blueprint_and_are_replaced_list_by_list(catalog: Product) -> None:
    member = await catalog.person("m@x.io")
    found = granted(await catalog.api.get(PATH, headers=member), "permissions")
    assert found == {
        "entities": {
            "register": ADMINS,
            "unregister": ADMINS,
            "update": ADMINS,
            "updateProperties": dict.fromkeys(["tier", "cost", "$identifier", "$title", "$icon", "$team"], ADMINS),
            "updateRelations": {"uses": ADMINS},
        }
    }
    given = await give(
        catalog,
        register={"roles": ["Member", "Admin"], "ownedByTeam": True},
        updateProperties={"$title": {"users": ["z@x.io", "a@x.io"]}},
    )
    assert given["register"] == {**ADMINS, "roles": ["Admin", "Member"], "ownedByTeam": True}
    assert given["updateProperties"]["$title"]["users"] == ["a@x.io", "z@x.io"]
    assert granted(await catalog.api.get(PATH), "permissions") == {"entities": given}
    assert await give(catalog) == given, "nothing is said, nothing changes"
    audits = granted(await catalog.api.get("/v1/audit-log?resources=blueprint_permissions"), "audits")
    assert [(one["action"], one["context"]) for one in audits] == [("UPDATE", {"blueprint": "service"})]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"entities": {"registr": {}}}, ["entities.registr: unknown key"]),
        ({"entities": {"register": {"role": []}}}, ["entities.register.role: unknown key"]),
        ({"entities": {"register": {"roles": "Admin"}}}, ["entities.register.roles"]),
        ({"entities": {"update": {"ownedByTeam": "yes"}}}, ["entities.update.ownedByTeam"]),
        ({"entities": {"updateProperties": {"x": {}}}}, ["entities.updateProperties.x"]),
        ({"entities": {"updateRelations": {"tier": {}}}}, ["entities.updateRelations.tier"]),
        ({"register": {}}, ["register: unknown key"]),
    ],
)
async def test_what_is_no_permission_is_refused_with_the_path(catalog: Product, body: Json, words: list[str]) -> None:
    refused(await catalog.api.patch(PATH, json=body), 422, "invalid_request", *words)


async def test_only_admins_change_permissions_and_of_a_blueprint_there_is(catalog: Product) -> None:
    member = await catalog.person("m@x.io")
    answer = await catalog.api.patch(PATH, headers=member, json={"entities": {"register": MEMBERS}})
    refused(answer, 403, "missing_permissions", "m@x.io")
    for method in ("GET", "PATCH"):
        answer = await catalog.api.request(
            method, "/v1/blueprints/none/permissions", json={} if method == "PATCH" else None
        )
        refused(answer, 404, "not_found", "none")


async def test_members_write_what_they_are_given(catalog: Product) -> None:
    member = await catalog.person("m@x.io")
    shop: Json = {"identifier": "shop", "properties": {"tier": 2}}
    refused(
        await catalog.api.post(ENTITIES, headers=member, json=shop),
        403,
        "missing_permissions",
        "service",
        "entities.register",
    )
    await give(catalog, register=MEMBERS)
    granted(await catalog.api.post(ENTITIES, headers=member, json=shop), "entity", status=201)
    refused(await catalog.api.delete(f"{ENTITIES}/shop", headers=member), 403, "missing_permissions", "unregister")
    answer = await catalog.api.post(ENTITIES, params={"upsert": True}, headers=member, json={**shop, "title": "New"})
    refused(answer, 403, "missing_permissions", "entities.update", "updateProperties.$title")

    await give(catalog, updateProperties={"tier": MEMBERS}, updateRelations={"uses": MEMBERS}, unregister=MEMBERS)
    body: Json = {"properties": {"tier": 3}, "relations": {"uses": ["cart"]}}
    granted(await catalog.api.patch(f"{ENTITIES}/shop", headers=member, json=body), "entity")
    body = {"properties": {"tier": 4, "cost": 9}}
    refused(
        await catalog.api.patch(f"{ENTITIES}/shop", headers=member, json=body),
        403,
        "missing_permissions",
        "updateProperties.cost",
    )
    assert granted(await catalog.api.get(f"{ENTITIES}/shop"), "entity")["properties"] == {"tier": 3}
    assert (await catalog.api.delete(f"{ENTITIES}/shop", headers=member)).json() == {"ok": True}


async def test_teams_write_what_is_theirs(catalog: Product) -> None:
    owner, other = await catalog.person("o@x.io", teams=("sre",)), await catalog.person("x@x.io", teams=("web",))
    await give(catalog, register=OWNERS, unregister=OWNERS, update=OWNERS)
    mine: Json = {"identifier": "mine", "team": "sre"}
    for headers, status in ((other, 403), (owner, 201)):
        assert (await catalog.api.post(ENTITIES, headers=headers, json=mine)).status_code == status
    for headers, status in ((other, 403), (owner, 200)):
        answer = await catalog.api.patch(f"{ENTITIES}/cart", headers=headers, json={"title": "C"})
        assert answer.status_code == status
    for headers, status in ((other, 403), (owner, 200)):
        assert (await catalog.api.delete(f"{ENTITIES}/cart", headers=headers)).status_code == status


async def test_what_goes_or_comes_along_needs_permission_too(catalog: Product) -> None:
    member = await catalog.person("m@x.io")
    await give(catalog, unregister=MEMBERS)
    at = "/v1/blueprints/env/entities"
    granted(await catalog.api.post(at, json={"identifier": "dev", "relations": {"of": "cart"}}), "entity", status=201)
    query = {"delete_dependents": True}
    answer = await catalog.api.delete(f"{ENTITIES}/cart", params=query, headers=member)
    refused(answer, 403, "missing_permissions", "'env'", "unregister")
    await give(catalog, "/v1/blueprints/env/permissions", unregister=MEMBERS, register=MEMBERS)

    body: Json = {"identifier": "new", "relations": {"of": "nothing"}}
    query = {"create_missing_related_entities": True}
    answer = await catalog.api.post(at, params=query, headers=member, json=body)
    refused(answer, 403, "missing_permissions", "'service'", "register")
    refused(await catalog.api.get(f"{ENTITIES}/nothing"), 404, "not_found")

    query = {"delete_dependents": True}
    assert (await catalog.api.delete(f"{ENTITIES}/cart", params=query, headers=member)).json() == {"ok": True}


async def test_of_many_each_is_held_to_the_permissions(catalog: Product) -> None:
    member = await catalog.person("m@x.io")
    await give(catalog, register=MEMBERS)
    rows = [{"identifier": "new"}, {**CART, "title": "Mine"}]
    answer = await catalog.api.post(
        f"{ENTITIES}/bulk", params={"upsert": True}, headers=member, json={"entities": rows}
    )
    assert answer.status_code == 207
    assert [one["identifier"] for one in answer.json()["entities"]] == ["new"]
    [failed] = answer.json()["errors"]
    assert (failed["statusCode"], failed["error"]) == (403, "missing_permissions")
    assert granted(await catalog.api.get(f"{ENTITIES}/cart"), "entity")["title"] == "cart"
