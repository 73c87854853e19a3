"""Deleting all entities over HTTP: asked for, done in the background, and looked after."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from domain.jq import Evaluator
from runtime.clock import now
from tests.api.answers import Json, granted, refused
from tests.support.product import Product
from worker.catalog_migrations import CatalogMigrations

AT = "/v1/blueprints/service"


@pytest.fixture
async def catalog(product: Product) -> Product:
    """Three services."""
    document = {"identifier": "service", "schema": {"properties": {}}}
    granted(await product.api.post("/v1/blueprints", json=document), "blueprint", status=201)
    for name in ("a", "b", "c"):
        granted(await product.api.post(f"{AT}/entities", json={"identifier": name}), "entity", status=201)
    return product


@pytest.fixture
async def worker(catalog: Product, evaluate: Evaluator) -> AsyncIterator[None]:
    """What works on it in the background."""
    working = asyncio.create_task(CatalogMigrations(catalog.database, now, evaluate).run())
    yield
    working.cancel()


async def until_ended(product: Product, identifier: str) -> Json:
    """The migration, once it has ended."""
    async with asyncio.timeout(20):
        while True:
            found: Json = granted(await product.api.get(f"/v1/migrations/{identifier}"), "migration")
            if found["status"] in ("COMPLETED", "FAILURE"):
                return found
            await asyncio.sleep(0.05)


async def test_it_is_accepted_at_once_and_is_the_same_until_it_is_done(catalog: Product) -> None:
    first = granted(await catalog.api.delete(f"{AT}/all-entities"), "migrationId")
    migration = granted(await catalog.api.get(f"/v1/migrations/{first}"), "migration")
    assert migration == {
        "id": first, "actor": catalog.organization.client_id, "sourceBlueprint": "service", "mapping": {},
        "status": "PENDING", "deleteBlueprint": False, "deleteEntities": True, "failureCount": 0, "successCount": 0,
    }  # fmt: skip
    assert granted(await catalog.api.delete(f"{AT}/all-entities", params={"run_id": ""}), "migrationId") == first
    assert len(granted(await catalog.api.get(f"{AT}/entities"), "entities")) == 3, "nobody works on it here"


@pytest.mark.usefixtures("worker")
async def test_all_entities_go_and_the_run_is_told(catalog: Product, held: asyncio.Event) -> None:
    await catalog.action()
    run = await catalog.start()
    await catalog.until(run["id"], "IN_PROGRESS")
    answer = await catalog.api.delete(f"{AT}/all-entities", params={"run_id": run["id"]})
    found = await until_ended(catalog, granted(answer, "migrationId"))
    assert (found["status"], found["successCount"], found["failureCount"]) == ("COMPLETED", 3, 0)
    assert granted(await catalog.api.get(f"{AT}/entities"), "entities") == []
    audits = granted(await catalog.api.get(f"/v1/audit-log?resources=entity&run_id={run['id']}"), "audits")
    assert sorted(one["context"]["entity"] for one in audits) == ["a", "b", "c"]

    held.set()
    await catalog.until(run["id"], "SUCCESS")
    answer = await catalog.api.delete(f"{AT}/all-entities", params={"run_id": run["id"]})
    refused(answer, 400, "run_exhausted", run["id"])


@pytest.mark.usefixtures("worker")
async def test_the_blueprint_goes_with_them_unless_others_relate_to_it(catalog: Product) -> None:
    env = {"identifier": "env", "schema": {"properties": {}}, "relations": {"of": {"target": "service"}}}
    granted(await catalog.api.post("/v1/blueprints", json=env), "blueprint", status=201)
    query = {"delete_blueprint": "true"}
    answer = await catalog.api.delete(f"{AT}/all-entities", params=query)
    found = await until_ended(catalog, granted(answer, "migrationId"))
    assert (found["status"], found["successCount"], found["deleteBlueprint"]) == ("FAILURE", 3, True)
    assert found["message"] == "Blueprint 'service' is the target of env.of"
    assert (await catalog.api.delete("/v1/blueprints/env")).json() == {"ok": True}
    answer = await catalog.api.delete(f"{AT}/all-entities", params=query)
    assert (await until_ended(catalog, granted(answer, "migrationId")))["status"] == "COMPLETED"
    refused(await catalog.api.get(AT), 404, "not_found", "service")


async def test_only_admins_ask_for_it_and_only_of_what_there_is(catalog: Product) -> None:
    member = await catalog.person("m@x.io")
    refused(await catalog.api.delete(f"{AT}/all-entities", headers=member), 403, "missing_permissions", "m@x.io")
    refused(await catalog.api.delete("/v1/blueprints/none/all-entities"), 404, "not_found", "none")
    refused(await catalog.api.get("/v1/migrations/none"), 404, "not_found", "none")


@pytest.mark.usefixtures("worker")
async def test_another_definition_has_scorecards_look_again_at_entities_that_nobody_writes(catalog: Product) -> None:
    rule = {"identifier": "loud", "title": "Loud", "level": "Gold"}
    query = {"combinator": "and", "conditions": [{"property": "shout", "operator": "=", "value": "A"}]}
    scorecard = {"identifier": "tone", "title": "Tone", "rules": [{**rule, "query": query}]}
    granted(await catalog.api.post(f"{AT}/scorecards", json=scorecard), "scorecard", status=201)
    shout = {"calculationProperties": {"shout": {"type": "string", "calculation": ".identifier | ascii_upcase"}}}
    granted(await catalog.api.patch(AT, json=shout), "blueprint")
    async with asyncio.timeout(20):
        while True:
            found = granted(await catalog.api.get(f"{AT}/entities"), "entities")
            levels = {one["identifier"]: one["scorecards"]["tone"]["level"] for one in found}
            if levels["a"] == "Gold":
                break
            await asyncio.sleep(0.05)
    assert levels == {"a": "Gold", "b": "Basic", "c": "Basic"}
