"""Blueprints over HTTP: kept as they are written, and changed only where entities allow it."""

from typing import Any

import pytest

from tests.api.answers import Json, granted, refused
from tests.support.product import Product

SERVICE: Json = {
    "identifier": "service",
    "title": "Service",
    "icon": "Box",
    "schema": {"properties": {"tier": {"type": "number", "minimum": 1.0}, "lang": {"type": "string"}}, "required": []},
    "unknown": {"z": 1, "a": [None]},
}


COUNT: Json = {
    "title": "How many", "type": "number", "target": "nowhere",
    "calculationSpec": {"calculationBy": "entities", "func": "count"},
}  # fmt: skip


async def _made(product: Product, **more: Any) -> Json:
    return granted(await product.api.post("/v1/blueprints", json={**SERVICE, **more}), "blueprint", status=201)  # type: ignore[no-any-return]


async def _written(product: Product) -> list[Any]:
    """The blueprints that are not the system's."""
    found = granted(await product.api.get("/v1/blueprints"), "blueprints")
    return [one for one in found if not one["identifier"].startswith("_")]


async def test_a_blueprint_comes_back_as_it_was_written(product: Product) -> None:
    sent = {**SERVICE, "createdAt": "2020-01-01T00:00:00.000Z"}
    blueprint = granted(await product.api.post("/v1/blueprints", json=sent), "blueprint", status=201)

    assert list(blueprint) == [*SERVICE, "createdAt", "createdBy", "updatedAt", "updatedBy"]
    assert {key: blueprint[key] for key in SERVICE} == SERVICE
    assert blueprint["createdAt"] != sent["createdAt"]
    assert granted(await product.api.get("/v1/blueprints/service"), "blueprint") == blueprint
    assert await _written(product) == [blueprint]
    assert granted(await product.api.get("/v1/blueprints/service/entities-count"), "count") == 0


async def test_what_is_no_blueprint_is_refused_with_the_path(product: Product) -> None:
    for wrong, path in (
        ({"identifier": ".."}, "identifier"),
        ({"schema": {"properties": {"p": {"type": "text"}}}}, "schema.properties.p"),
        ({"schema": {"properties": {}, "required": ["p"]}}, "schema.required[0]"),
        ({"relations": {"r": {"target": "service", "required": True, "many": True}}}, "relations.r"),
    ):
        refused(await product.api.post("/v1/blueprints", json={**SERVICE, **wrong}), 422, "invalid_request", path)
    for refers in ({"relations": {"r": {"target": "nowhere"}}}, {"aggregationProperties": {"n": COUNT}}):
        refused(await product.api.post("/v1/blueprints", json={**SERVICE, **refers}), 404, "not_found", "nowhere")
    assert await _written(product) == []


async def test_an_aggregation_may_lose_its_target_and_get_no_other_that_is_not_there(product: Product) -> None:
    await _made(product, identifier="nowhere")
    made = await _made(product, aggregationProperties={"n": COUNT, "own": {**COUNT, "target": "service"}})
    assert (await product.api.delete("/v1/blueprints/nowhere")).status_code == 200
    path = "/v1/blueprints/service"
    granted(await product.api.put(path, json={**made, "title": "As before"}), "blueprint")

    changed = {"aggregationProperties": {"n": {**COUNT, "title": "Another"}}}
    refused(await product.api.patch(path, json=changed), 404, "not_found", "nowhere")


async def test_identifiers_are_unique_and_missing_ones_are_not_found(product: Product) -> None:
    await _made(product)
    refused(await product.api.post("/v1/blueprints", json=SERVICE), 409, "identifier_taken", "service")
    for method, path in (
        ("GET", ""), ("PUT", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/entities-count"), ("GET", "/entities"),
    ):  # fmt: skip
        answer = await product.api.request(
            method, f"/v1/blueprints/none{path}", json=SERVICE if method in ("PUT", "PATCH") else None
        )
        refused(answer, 404, "not_found", "none")


async def test_put_replaces_and_patch_keeps_what_it_does_not_name(product: Product) -> None:
    before = await _made(product)
    patched = granted(await product.api.patch("/v1/blueprints/service", json={"title": "Dienst"}), "blueprint")
    assert patched == {**before, "title": "Dienst", "updatedAt": patched["updatedAt"]}
    again = granted(await product.api.patch("/v1/blueprints/service", json={"title": "Dienst"}), "blueprint")
    assert again == patched, "a change that changes nothing is none"
    replaced = granted(
        await product.api.put("/v1/blueprints/service", json={"identifier": "service", "schema": {"properties": {}}}),
        "blueprint",
    )
    assert "title" not in replaced
    assert replaced["createdAt"] == before["createdAt"]
    audits = granted(
        await product.api.get("/v1/audit-log?resources=blueprint&status=SUCCESS&blueprint=service"), "audits"
    )
    assert [one["action"] for one in audits] == ["UPDATE", "UPDATE", "CREATE"]


async def test_a_patch_is_laid_over_the_blueprint_and_null_takes_away(product: Product) -> None:
    await _made(product)
    relations = {"of": {"target": "service", "title": "Of"}}
    await _made(product, identifier="env", relations=relations)

    async def after(part: Json) -> Json:
        found = granted(await product.api.patch("/v1/blueprints/env", json=part), "blueprint")
        assert found == granted(await product.api.get("/v1/blueprints/env"), "blueprint")
        return {key: found.get(key) for key in ("title", "schema", "relations")}

    before = await after({})
    more = await after({"relations": {"on": {"target": "service", "many": True}}})
    assert more == {**before, "relations": {**relations, "on": {"target": "service", "many": True}}}
    assert await after({"relations": {"on": None}}) == before
    mail = {"type": "string", "format": "email"}
    more = await after({"schema": {"properties": {"mail": mail}}})
    assert more["schema"] == {**before["schema"], "properties": {**before["schema"]["properties"], "mail": mail}}
    assert await after({"schema": {"properties": {"mail": None}}}) == before
    refused(
        await product.api.patch("/v1/blueprints/env", json={"relations": {"of": {"target": None}}}),
        422,
        "invalid_request",
        "relations.of.target",
    )


async def test_a_blueprint_in_use_is_not_deleted(product: Product) -> None:
    await _made(product)
    await _made(product, identifier="env", relations={"of": {"target": "service"}})
    refused(await product.api.delete("/v1/blueprints/service"), 403, "has_dependents", "env.of")
    entity = {"identifier": "dev", "properties": {}}
    granted(await product.api.post("/v1/blueprints/env/entities", json=entity), "entity", status=201)
    refused(await product.api.delete("/v1/blueprints/env"), 403, "has_dependents", "1 entities")
    assert (await product.api.delete("/v1/blueprints/env/entities/dev")).json() == {"ok": True}
    for name in ("env", "service"):
        assert (await product.api.delete(f"/v1/blueprints/{name}")).json() == {"ok": True}
    assert await _written(product) == []
    assert (await _made(product, title="Again"))["title"] == "Again", "the name is free, and nothing old is remembered"


async def test_a_relation_that_goes_is_taken_from_entities_and_one_in_use_keeps_its_meaning(product: Product) -> None:
    relations = {"of": {"target": "service"}, "other": {"target": "service"}}
    await _made(product)
    await _made(product, identifier="env", relations=relations)
    await product.api.post("/v1/blueprints/service/entities", json={"identifier": "cart"})
    entity = {"identifier": "dev", "relations": {"of": "cart", "other": None}}
    granted(await product.api.post("/v1/blueprints/env/entities", json=entity), "entity", status=201)

    many = {**relations, "of": {"target": "service", "many": True}}
    refused(
        await product.api.patch("/v1/blueprints/env", json={"relations": many}), 422, "invalid_request", "relations.of"
    )
    unused = {**relations, "other": {"target": "env", "many": True}}
    granted(await product.api.patch("/v1/blueprints/env", json={"relations": unused}), "blueprint")
    granted(await product.api.patch("/v1/blueprints/env", json={"relations": {"of": None}}), "blueprint")

    found = granted(await product.api.get("/v1/blueprints/env/entities/dev"), "entity")
    assert found["relations"] == {"other": None}
    assert (await product.api.delete("/v1/blueprints/service/entities/cart")).json() == {"ok": True}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_members_read_blueprints_and_change_none(product: Product, method: str) -> None:
    await _made(product)
    member = await product.person("m@x.io", "Member")
    path = "/v1/blueprints" if method == "POST" else "/v1/blueprints/service"
    body: dict[str, Any] = {} if method == "DELETE" else {"json": {**SERVICE, "title": "Mine"}}
    refused(await product.api.request(method, path, headers=member, **body), 403, "missing_permissions", "m@x.io")
    found = granted(await product.api.get("/v1/blueprints/service", headers=member), "blueprint")
    assert found["title"] == "Service"
