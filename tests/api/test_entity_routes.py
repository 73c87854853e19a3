"""Entities over HTTP: what each way of writing does to what is there, and what is refused."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from tests.api.answers import INSTANT, Json, granted, refused
from tests.support.product import Product

AT = "/v1/blueprints/service/entities"
CART: Json = {"identifier": "cart", "title": "Cart", "properties": {"tier": 1, "lang": "go"}, "team": "sre"}


@pytest.fixture
async def catalog(product: Product) -> Product:
    """Teams have services, services depend on services; an environment must have a service."""
    properties = {
        "tier": {"type": "number"},
        "lang": {"type": "string", "default": "python"},
        "url": {"type": "string", "format": "url"},
    }
    blueprints: list[Json] = [
        {"identifier": "group", "title": "Group", "schema": {"properties": {}}},
        {
            "identifier": "service",
            "title": "Service",
            "schema": {"properties": properties, "required": ["tier"]},
            "relations": {"group": {"target": "group"}, "uses": {"target": "service", "many": True}},
        },
        {
            "identifier": "env",
            "title": "Environment",
            "schema": {"properties": {}},
            "relations": {"of": {"target": "service", "required": True}},
        },
    ]
    for blueprint in blueprints:
        granted(await product.api.post("/v1/blueprints", json=blueprint), "blueprint", status=201)
    return product


async def created(product: Product, entity: Json, of: str = "service", **query: Any) -> Json:
    answer = await product.api.post(f"/v1/blueprints/{of}/entities", json=entity, params=query)
    return granted(answer, "entity", status=201)  # type: ignore[no-any-return]


async def read(product: Product, identifier: str, of: str = "service") -> Json:
    return granted(await product.api.get(f"/v1/blueprints/{of}/entities/{identifier}"), "entity")  # type: ignore[no-any-return]


async def audited(product: Product, **query: Any) -> list[Json]:
    query = {"resources": "entity", "status": "SUCCESS", **query}
    return granted(await product.api.get("/v1/audit-log", params=query), "audits")  # type: ignore[no-any-return]


async def test_an_entity_is_created_with_defaults_and_read_back(catalog: Product) -> None:
    entity = await created(catalog, {"identifier": "cart", "properties": {"tier": 1, "extra": [None]}})

    assert {key: entity[key] for key in entity if not key.endswith(("At", "By"))} == {
        "identifier": "cart", "title": "cart", "icon": None, "blueprint": "service", "team": [],
        "properties": {"lang": "python", "tier": 1, "extra": [None]}, "relations": {},
    }  # fmt: skip
    assert INSTANT.fullmatch(entity["createdAt"])
    assert await read(catalog, "cart") == entity
    assert granted(await catalog.api.get(AT), "entities") == [entity]
    refused(await catalog.api.post(AT, json=CART), 409, "identifier_taken", "cart")
    [record] = await audited(catalog)
    assert (record["action"], record["context"]["blueprint"], record["context"]["entity"]) == (
        "CREATE",
        "service",
        "cart",
    )
    assert record["diff"] == {"before": None, "after": entity}


async def test_an_entity_without_a_name_gets_one(catalog: Product) -> None:
    entity = await created(catalog, {"properties": {"tier": 1}})
    assert entity["identifier"].startswith("e_")
    assert await read(catalog, entity["identifier"]) == entity


@pytest.mark.parametrize("identifier", ["dienst/größe", "a:b=c@d", "x" * 1000, "日本", "a\\b"])
async def test_names_of_every_script(catalog: Product, identifier: str) -> None:
    await created(catalog, {**CART, "identifier": identifier})
    found = granted(await catalog.api.get(f"{AT}/{identifier}"), "entity")
    assert found["identifier"] == identifier


@pytest.mark.parametrize(
    ("wrong", "status", "code", "words"),
    [
        ({"identifier": ".."}, 422, "invalid_request", "identifier"),
        ({"identifier": "a b"}, 422, "invalid_request", "identifier"),
        ({"identifier": 7}, 422, "invalid_request", "identifier"),
        ({"title": 7}, 422, "invalid_request", "title"),
        ({"properties": []}, 422, "invalid_request", "properties: must be an object"),
        ({"team": 7}, 422, "invalid_request", "team: must be a string or an array or an object"),
        ({"team": ["a", 7]}, 422, "invalid_request", "team[1]: must be a string"),
        ({"properties": {"tier": "one"}}, 422, "blueprint_schema_mismatch", "/properties/tier"),
        ({"properties": {"tier": None}}, 422, "blueprint_schema_mismatch", "tier"),
        ({"properties": {"tier": 1, "url": "no url"}}, 422, "blueprint_schema_mismatch", "/properties/url"),
        ({"relations": {"nope": "x"}}, 404, "not_found", "nope"),
        ({"relations": {"group": "none"}}, 404, "not_found", "none"),
        ({"relations": {"group": ["a", "b"]}}, 422, "relation_many_violation", "relations.group"),
        ({"relations": {"uses": [1]}}, 422, "invalid_request", "relations.uses[0]: must be a string"),
        ({"relations": {"uses": ["a b"]}}, 422, "invalid_request", "relations.uses"),
        ({"relations": {"group": {"combinator": "and", "rules": []}}}, 404, "not_found", "relations.group searches"),
    ],
)
async def test_what_is_no_entity_is_refused_and_leaves_nothing(
    catalog: Product, wrong: Json, status: int, code: str, words: str
) -> None:
    refused(await catalog.api.post(AT, json={**CART, **wrong}), status, code, words)
    assert granted(await catalog.api.get(AT), "entities") == []
    assert await audited(catalog) == []


async def test_a_required_relation_must_be_there(catalog: Product) -> None:
    at = "/v1/blueprints/env/entities"
    refused(await catalog.api.post(at, json={"identifier": "dev"}), 422, "required_relation", "relations.of")
    await created(catalog, CART)
    await created(catalog, {"identifier": "dev", "relations": {"of": "cart"}}, "env")
    refused(await catalog.api.patch(f"{at}/dev", json={"relations": {"of": None}}), 422, "required_relation")
    refused(await catalog.api.delete(f"{AT}/cart"), 403, "has_dependents", "dev", "relations.of")
    assert (await read(catalog, "dev", "env"))["relations"] == {"of": "cart"}


async def test_upsert_overrides_and_merge_keeps(catalog: Product) -> None:
    await created(catalog, {**CART, "icon": "Box"})
    answer = await catalog.api.post(
        AT, params={"upsert": True, "merge": True}, json={"identifier": "cart", "properties": {"tier": 2}}
    )
    merged = granted(answer, "entity")
    assert (merged["properties"], merged["title"], merged["icon"], merged["team"]) == (
        {"tier": 2, "lang": "go"}, "Cart", "Box", ["sre"],
    )  # fmt: skip
    answer = await catalog.api.post(AT, params={"upsert": True}, json={"identifier": "cart", "properties": {"tier": 3}})
    assert (replaced := granted(answer, "entity"))["properties"] == {"tier": 3}
    assert (replaced["title"], replaced["icon"], replaced["team"]) == ("cart", None, [])
    assert replaced["createdAt"] == merged["createdAt"]
    assert [one["action"] for one in await audited(catalog)] == ["UPDATE", "UPDATE", "CREATE"]


async def test_a_write_that_changes_nothing_is_none(catalog: Product) -> None:
    before = await created(catalog, CART)
    for query in ({"upsert": True}, {"upsert": True, "merge": True}):
        assert granted(await catalog.api.post(AT, params=query, json=CART), "entity") == before
    assert granted(await catalog.api.patch(f"{AT}/cart", json={}), "entity") == before
    assert granted(await catalog.api.put(f"{AT}/cart", json=CART), "entity") == before
    assert len(await audited(catalog)) == 1


async def test_validation_only_checks_what_nothing_changes(catalog: Product) -> None:
    await created(catalog, CART)
    stricter = {"schema": {"properties": {"tier": {"type": "number", "maximum": 0}}}}
    assert (await catalog.api.patch("/v1/blueprints/service", json=stricter)).status_code == 200
    asked = {"upsert": True, "validation_only": True}
    refused(await catalog.api.post(AT, params=asked, json=CART), 422, "blueprint_schema_mismatch", "/properties/tier")
    assert (await catalog.api.post(AT, params={"upsert": True}, json=CART)).status_code == 200, "it says nothing new"


async def test_validation_only_writes_nothing(catalog: Product) -> None:
    answer = await catalog.api.post(AT, params={"validation_only": True}, json=CART)
    assert (answer.status_code, answer.json()) == (200, {"ok": True})
    wrong = {**CART, "properties": {"tier": "x"}}
    refused(await catalog.api.post(AT, params={"validation_only": True}, json=wrong), 422, "blueprint_schema_mismatch")
    related = {**CART, "relations": {"group": "new"}}
    answer = await catalog.api.post(
        AT, params={"validation_only": True, "create_missing_related_entities": True}, json=related
    )
    assert answer.status_code == 200
    assert granted(await catalog.api.get(AT), "entities") == []
    assert granted(await catalog.api.get("/v1/blueprints/group/entities"), "entities") == []


async def test_missing_related_entities_are_created_first(catalog: Product) -> None:
    entity = {**CART, "relations": {"group": "core", "uses": ["db", "queue", "db"]}}
    made = await created(catalog, entity, create_missing_related_entities=True)
    assert made["relations"] == {"group": "core", "uses": ["db", "queue"]}
    assert (await read(catalog, "core", "group"))["title"] == "core"
    assert (await read(catalog, "db"))["properties"] == {}
    records = [one["context"]["entity"] for one in await audited(catalog)]
    assert records[0] == "cart", "newest first: the others came before it"
    assert sorted(records) == ["cart", "core", "db", "queue"]


async def test_put_and_patch_need_an_entity_and_can_rename_it(catalog: Product) -> None:
    for method in ("PUT", "PATCH"):
        refused(await catalog.api.request(method, f"{AT}/cart", json=CART), 404, "not_found", "cart")
    await created(catalog, CART)
    await created(catalog, {**CART, "identifier": "shop", "relations": {"uses": ["cart", "shop"]}})
    await created(catalog, {"identifier": "dev", "relations": {"of": "cart"}}, "env")
    refused(await catalog.api.patch(f"{AT}/cart", json={"identifier": "shop"}), 409, "identifier_taken", "shop")
    renamed = granted(await catalog.api.patch(f"{AT}/cart", json={"identifier": "basket"}), "entity")
    assert renamed["identifier"] == "basket"
    assert (await read(catalog, "shop"))["relations"] == {"uses": ["basket", "shop"]}
    assert (await read(catalog, "dev", "env"))["relations"] == {"of": "basket"}
    refused(await catalog.api.get(f"{AT}/cart"), 404, "not_found", "cart")
    own = granted(await catalog.api.patch(f"{AT}/shop", json={"identifier": "store"}), "entity")
    assert own["relations"] == {"uses": ["basket", "store"]}
    refused(await catalog.api.delete(f"{AT}/basket"), 403, "has_dependents", "dev")
    refused(await catalog.api.patch(f"{AT}/basket", json={"propertis": {}}), 422, "invalid_request", "propertis")


async def test_who_relates_to_what_is_deleted_forgets_it_or_goes_too(catalog: Product) -> None:
    await created(catalog, CART)
    await created(catalog, {**CART, "identifier": "shop", "relations": {"uses": ["cart"]}})
    await created(catalog, {**CART, "identifier": "web", "relations": {"uses": ["shop"]}})
    assert (await catalog.api.delete(f"{AT}/cart")).json() == {"ok": True}
    assert (await read(catalog, "shop"))["relations"] == {"uses": []}
    assert [one["action"] for one in await audited(catalog, entity="shop")] == ["CREATE"], "it forgets silently"

    await created(catalog, {"identifier": "dev", "relations": {"of": "web"}}, "env")
    answer = await catalog.api.delete(f"{AT}/shop", params={"delete_dependents": True})
    assert answer.json() == {"ok": True}
    assert granted(await catalog.api.get(AT), "entities") == []
    assert granted(await catalog.api.get("/v1/blueprints/env/entities"), "entities") == []
    deleted = [one["context"]["entity"] for one in await audited(catalog, action="DELETE")]
    assert sorted(deleted) == ["cart", "dev", "shop", "web"]
    refused(await catalog.api.delete(f"{AT}/shop"), 404, "not_found", "shop")


async def test_circles_can_be_deleted(catalog: Product) -> None:
    await created(catalog, {**CART, "relations": {"uses": ["cart"]}})
    await created(catalog, {**CART, "identifier": "shop", "relations": {"uses": ["cart"]}})
    granted(await catalog.api.patch(f"{AT}/cart", json={"relations": {"uses": ["shop", "cart"]}}), "entity")
    assert (await catalog.api.delete(f"{AT}/cart", params={"delete_dependents": True})).json() == {"ok": True}
    assert granted(await catalog.api.get(AT), "entities") == []


async def test_a_bulk_tells_of_every_row(catalog: Product) -> None:
    await created(catalog, CART)
    rows: list[Any] = [
        {**CART, "identifier": "a"},
        {**CART, "identifier": "b", "properties": {"tier": "x"}},
        CART,
        {**CART, "identifier": "c", "relations": {"uses": ["a"]}},
        {**CART, "identifier": {"combinator": "and", "rules": []}},
        7,
    ]
    answer = await catalog.api.post(f"{AT}/bulk", json={"entities": rows})
    body = answer.json()
    assert (answer.status_code, body["ok"]) == (207, True)
    assert [(one["identifier"], one["index"], one["created"]) for one in body["entities"]] == [
        ("a", 0, True),
        ("c", 3, True),
    ]
    assert [(one["identifier"], one["index"], one["statusCode"], one["error"]) for one in body["errors"]] == [
        ("b", 1, 422, "blueprint_schema_mismatch"),
        ("cart", 2, 409, "identifier_taken"),
        ("unknown", 4, 422, "invalid_request"),
        ("unknown", 5, 422, "invalid_request"),
    ]
    fine = await catalog.api.post(f"{AT}/bulk", params={"upsert": True}, json={"entities": [CART]})
    assert (fine.status_code, fine.json()["errors"], fine.json()["entities"][0]["created"]) == (200, [], False)
    none = await catalog.api.post(f"{AT}/bulk", json={"entities": [CART]})
    assert (none.status_code, none.json()["ok"]) == (207, False)
    refused(await catalog.api.post(f"{AT}/bulk", json={"entities": [CART] * 51}), 422, "invalid_request", "entities")
    refused(await catalog.api.post(f"{AT}/bulk", json={"entities": []}), 422, "invalid_request", "entities")


@pytest.mark.parametrize("by_post", [True, False])
async def test_several_are_deleted_or_none(catalog: Product, by_post: bool) -> None:
    for name in ("a", "b", "c"):
        await created(catalog, {**CART, "identifier": name})
    await created(catalog, {"identifier": "dev", "relations": {"of": "b"}}, "env")

    async def delete(*names: str, **query: Any) -> Any:
        method, path = ("POST", "bulk/entities/delete") if by_post else ("DELETE", "bulk/entities")
        body = {"entities": list(names)}
        return await catalog.api.request(method, f"/v1/blueprints/service/{path}", json=body, params=query)

    refused(await delete("a", "b"), 403, "has_dependents", "dev")
    assert (await read(catalog, "a"))["identifier"] == "a", "all or none"
    assert granted(await delete("a", "nothing", "a"), "deletedEntities") == ["a"]
    assert granted(await delete("b", "c", delete_dependents=True), "deletedEntities") == ["b", "c"]
    assert granted(await catalog.api.get("/v1/blueprints/env/entities"), "entities") == []


@pytest.mark.parametrize("by_post", [True, False])
@pytest.mark.parametrize("names", [["root", "ch"], ["ch", "root"]])
async def test_the_order_in_which_several_are_named_decides_nothing(
    catalog: Product, names: list[str], by_post: bool
) -> None:
    relations = {"parent": {"target": "node", "required": True}}
    node = {"identifier": "node", "title": "Node", "schema": {"properties": {}}, "relations": relations}
    granted(await catalog.api.post("/v1/blueprints", json=node), "blueprint", status=201)
    for name, parent in (("root", "root"), ("ch", "root"), ("tip", "ch")):
        await created(catalog, {"identifier": name, "relations": {"parent": parent}}, "node")

    async def delete(*these: str) -> Any:
        method, path = ("POST", "bulk/entities/delete") if by_post else ("DELETE", "bulk/entities")
        return await catalog.api.request(method, f"/v1/blueprints/node/{path}", json={"entities": list(these)})

    refused(await delete(*names), 403, "has_dependents", "node 'tip' must relate to node 'ch' (relations.parent)")
    assert [(await read(catalog, name, "node"))["identifier"] for name in names] == names, "all or none"
    assert granted(await delete(*names, "tip"), "deletedEntities") == [*names, "tip"]
    assert granted(await catalog.api.get("/v1/blueprints/node/entities"), "entities") == []
    records = await audited(catalog, blueprint="node", action="DELETE")
    assert sorted(record["context"]["entity"] for record in records) == ["ch", "root", "tip"]
    refused(await catalog.api.delete("/v1/blueprints/node/entities/root"), 404, "not_found", "root")


async def test_a_run_ties_what_it_writes_together(catalog: Product, held: asyncio.Event) -> None:
    await catalog.action()
    run = await catalog.start()
    await catalog.until(run["id"], "IN_PROGRESS")
    await created(catalog, CART, run_id=run["id"])
    [record] = await audited(catalog, run_id=run["id"], includes="context")
    assert record["context"]["entity"] == "cart"
    assert record["context"]["runId"] == run["id"]
    await created(catalog, {**CART, "identifier": "empty"}, run_id="")
    refused(await catalog.api.post(AT, params={"run_id": "r_0000000000000000"}, json=CART), 404, "not_found", "r_0000")

    held.set()
    await catalog.api.patch(f"/v1/actions/runs/{run['id']}", json={"status": "SUCCESS"})
    await catalog.until(run["id"], "SUCCESS")
    for method, path in (("POST", AT), ("PATCH", f"{AT}/cart"), ("PUT", f"{AT}/cart"), ("DELETE", f"{AT}/cart")):
        body: dict[str, Any] = {} if method == "DELETE" else {"json": {**CART, "title": "late"}}
        answer = await catalog.api.request(method, path, params={"run_id": run["id"], "upsert": True}, **body)
        refused(answer, 400, "run_exhausted", run["id"])
    assert (await read(catalog, "cart"))["title"] == "Cart"


async def test_what_is_asked_for_is_what_comes(catalog: Product) -> None:
    await created(catalog, {**CART, "relations": {"uses": []}})
    path = f"{AT}/cart"
    asked = granted(await catalog.api.get(path, params={"include": "properties.tier,$team"}), "entity")
    assert asked == {
        "identifier": "cart", "title": "Cart", "blueprint": "service", "team": ["sre"], "properties": {"tier": 1},
        "relations": {},
    }  # fmt: skip
    left = granted(await catalog.api.get(path, params={"exclude": ["lang", "relations.uses", "icon"]}), "entity")
    assert (left["properties"], left["relations"]) == ({"tier": 1}, {})
    assert "icon" not in left
    [listed] = granted(await catalog.api.get(AT, params={"include": "tier"}), "entities")
    assert listed["properties"] == {"tier": 1}


async def test_lists_of_many_come_whole_and_in_order(catalog: Product) -> None:
    names = [f"s{number:04}" for number in range(1_010)]
    for start in range(0, len(names), 50):
        rows = [{**CART, "identifier": name} for name in names[start : start + 50]]
        answer = await catalog.api.post(f"{AT}/bulk", json={"entities": rows})
        assert answer.status_code == 200
    found = granted(await catalog.api.get(AT), "entities")
    assert [one["identifier"] for one in found] == names
    assert granted(await catalog.api.get("/v1/blueprints/service/entities-count"), "count") == len(names)


async def test_of_many_who_create_the_same_one_wins(catalog: Product) -> None:
    answers = await asyncio.gather(*(catalog.api.post(AT, json={**CART, "title": str(n)}) for n in range(20)))
    assert sorted(one.status_code for one in answers) == [201] + [409] * 19
    answers = await asyncio.gather(
        *(
            catalog.api.post(AT, params={"upsert": True}, json={**CART, "identifier": "x", "title": str(n)})
            for n in range(20)
        )
    )
    assert sorted(one.status_code for one in answers) == [200] * 19 + [201]
    records = await audited(catalog, entity="x")
    assert [one["action"] for one in records] == ["UPDATE"] * 19 + ["CREATE"]
    for newer, older in pairwise(records):
        assert newer["diff"]["before"] == older["diff"]["after"], "the log is one chain"


async def test_members_read_entities_and_write_none(catalog: Product) -> None:
    await created(catalog, CART)
    member = await catalog.person("m@x.io", "Member")
    assert granted(await catalog.api.get(f"{AT}/cart", headers=member), "entity")["title"] == "Cart"
    for method, path in (("POST", AT), ("PUT", f"{AT}/cart"), ("PATCH", f"{AT}/cart"), ("DELETE", f"{AT}/cart")):
        body: dict[str, Any] = {} if method == "DELETE" else {"json": CART}
        answer = await catalog.api.request(method, path, headers=member, **body)
        refused(answer, 403, "missing_permissions", "m@x.io")
