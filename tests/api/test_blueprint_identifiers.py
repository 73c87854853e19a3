"""Another identifier for a blueprint, by PUT and PATCH: whatever names it follows, on both databases."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import col, select
from temporalio.testing import WorkflowEnvironment

from domain.jq import Evaluator
from domain.times import iso
from runtime.clock import now
from store.automation_tables import AutomationWriteRow, EntityTimerRow
from store.catalog_tables import EntityRelationRow
from tests.api.answers import Json, granted, refused
from tests.support.product import Product, running

SERVICE: Json = {
    "identifier": "service",
    "title": "Service",
    "schema": {"properties": {"tier": {"type": "number"}, "ttl": {"type": "string", "format": "timer"}}},
    "relations": {"uses": {"target": "service", "many": True}},
    "aggregationProperties": {
        "users": {
            "title": "Users",
            "target": "service",
            "calculationSpec": {"calculationBy": "entities", "func": "count"},
            "pathFilter": [{"path": ["uses"], "fromBlueprint": "service"}],
            "query": {"combinator": "and", "rules": [{"property": "$blueprint", "operator": "=", "value": "service"}]},
        }
    },
}
ENVIRONMENT: Json = {
    "identifier": "environment",
    "title": "Environment",
    "schema": {"properties": {}},
    "relations": {"of": {"target": "service"}},
    "mirrorProperties": {"tier": {"path": "of.tier"}},
}
QUERY: Json = {
    "combinator": "and",
    "rules": [
        {"property": "$blueprint", "operator": "in", "value": ["service", "environment"]},
        {"operator": "relatedTo", "blueprint": "service", "value": "cart", "direction": "upstream"},
        {
            "combinator": "or",
            "rules": [{"property": {"path": ["of"], "fromBlueprint": "service"}, "operator": "matchAny", "value": "x"}],
        },
    ],
}
POLICY: Json = {"queries": {"mine": QUERY}, "conditions": [".results.mine.entities | length == 0"]}


def as_renamed(document: Any) -> Any:
    """The same with `service` called `app`, wherever it is a text of its own."""
    match document:
        case dict():
            return {key: as_renamed(value) for key, value in document.items()}
        case list() | tuple():
            return [as_renamed(value) for value in document]
        case _:
            return "app" if document == "service" else document


@pytest.fixture
async def catalog(clock: WorkflowEnvironment, evaluate: Evaluator, database_url: str) -> AsyncIterator[Product]:
    """Services, environments, and all that can name a blueprint; nothing works on them."""
    async with running(clock, evaluate, database_url, worker=False) as product:
        for document in (SERVICE, ENVIRONMENT):
            granted(await product.api.post("/v1/blueprints", json=document), "blueprint", status=201)
        ttl = iso(now() + timedelta(days=1))
        await product.entity("pay", properties={"tier": 2})
        await product.entity("cart", properties={"tier": 1, "ttl": ttl}, relations={"uses": ["pay"]})
        await product.entity("prod", "environment", relations={"of": "cart"})
        yield product


async def make_everything(product: Product) -> None:
    """Actions, automations, permissions, scorecards and a webhook that name the blueprint."""
    await product.action(
        "scale",
        trigger={
            "type": "self-service",
            "operation": "DAY-2",
            "blueprintIdentifier": "service",
            "condition": {"type": "SEARCH", "rules": QUERY["rules"][:1], "combinator": "and"},
            "userInputs": {
                "properties": {
                    "other": {"type": "string", "format": "entity", "blueprint": "service", "dataset": QUERY},
                    "more": {"type": "array", "items": {"type": "string", "format": "entity", "blueprint": "service"}},
                },
                "required": [],
            },
        },
    )
    event = {"type": "ENTITY_UPDATED", "blueprintIdentifier": "service"}
    await product.action(
        "copy",
        trigger={"type": "automation", "event": event},
        invocationMethod={
            "type": "UPSERT_ENTITY",
            "blueprintIdentifier": "service",
            "mapping": {"identifier": "copy-of-{{ .event.context.entityIdentifier }}"},
        },
        publish=False,
    )
    for path in ("/v1/actions/scale/permissions", "/v1/blueprints/environment/permissions"):
        part = {"execute": {"policy": POLICY}} if "actions" in path else {"entities": {"register": {"policy": POLICY}}}
        granted(await product.api.patch(path, json=part), "permissions")
    own = {"entities": {"update": {"roles": ["Member"]}, "updateProperties": {"tier": {"users": ["a@x.io"]}}}}
    granted(await product.api.patch("/v1/blueprints/service/permissions", json=own), "permissions")
    condition = {"property": "tier", "operator": "=", "value": 1}
    is_service = {"property": "$blueprint", "operator": "=", "value": "service"}
    scorecard = {
        "identifier": "ready",
        "title": "Ready",
        "filter": {"combinator": "and", "conditions": [is_service]},
        "rules": [
            {
                "identifier": "first",
                "title": "First",
                "level": "Gold",
                "query": {"combinator": "and", "conditions": [condition]},
            }
        ],
    }
    granted(await product.api.post("/v1/blueprints/service/scorecards", json=scorecard), "scorecard", status=201)
    webhook = {
        "identifier": "hook",
        "title": "Hook",
        "mappings": [{"blueprint": "service", "filter": "true", "entity": {"identifier": ".body.id"}}],
    }
    granted(await product.api.post("/v1/webhooks", json=webhook), "integration", status=201)


async def told(product: Product, *paths: str) -> list[Any]:
    """What is told at these paths, besides when and by whom it was written."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items() if key not in ("updatedAt", "updatedBy")}
        return [plain(one) for one in value] if isinstance(value, list) else value

    answers = [await product.api.get(path) for path in paths]
    assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
    return [plain(answer.json()) for answer in answers]


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_whatever_names_a_blueprint_follows_its_new_identifier(catalog: Product, method: str) -> None:
    await make_everything(catalog)
    elsewhere = (
        *("/v1/blueprints/environment", "/v1/blueprints/environment/permissions", "/v1/actions/scale"),
        *("/v1/actions/copy", "/v1/actions/scale/permissions", "/v1/webhooks/hook"),
        *("/v1/blueprints/environment/entities", "/v1/scorecards"),
    )
    at_home = ("", "/entities", "/entities-count", "/permissions", "/scorecards", "/actions")
    before = await told(catalog, *elsewhere), await told(catalog, *(f"/v1/blueprints/service{end}" for end in at_home))

    body = {**SERVICE, "identifier": "app"} if method == "PUT" else {"identifier": "app"}
    renamed = granted(await catalog.api.request(method, "/v1/blueprints/service", json=body), "blueprint")
    assert renamed["identifier"] == "app"
    assert renamed["relations"]["uses"]["target"] == "app", "what it says of itself follows, in the body too"
    refused(await catalog.api.get("/v1/blueprints/service"), 404, "not_found", "service")

    after = await told(catalog, *elsewhere), await told(catalog, *(f"/v1/blueprints/app{end}" for end in at_home))
    for is_now, wanted in zip((*after[0], *after[1]), as_renamed((*before[0], *before[1])), strict=True):
        assert is_now == wanted
    assert after != before
    service = {"property": "$blueprint", "operator": "=", "value": "app"}
    found = await catalog.api.post("/v1/entities/search", json={"combinator": "and", "rules": [service]})
    assert [one["identifier"] for one in found.json()["entities"]] == ["cart", "pay"]
    related = {"operator": "relatedTo", "blueprint": "app", "value": "pay", "direction": "downstream"}
    found = await catalog.api.post("/v1/entities/search", json={"combinator": "and", "rules": [related]})
    assert [(one["blueprint"], one["identifier"]) for one in found.json()["entities"]] == [
        ("app", "cart"),
        ("environment", "prod"),
    ]
    [pay] = [one for one in after[1][1]["entities"] if one["identifier"] == "pay"]
    assert pay["properties"]["users"] == 1, "aggregations are made along the same relations"
    [prod] = after[0][6]["entities"]
    assert prod["properties"]["tier"] == 1

    async with catalog.database.read() as session:
        [timer] = (await session.exec(select(EntityTimerRow))).all()
        targets = (await session.exec(select(EntityRelationRow.target_blueprint).distinct())).all()
        writes = (await session.exec(select(col(AutomationWriteRow.blueprint)))).all()
    assert (timer.blueprint, timer.entity, timer.pending) == ("app", "cart", "start"), "its workflow is begun anew"
    assert "service" not in (*targets, *writes)


async def test_scorecard_results_go_by_the_new_name_and_say_what_they_said(catalog: Product) -> None:
    await make_everything(catalog)
    own = {"schema": {"properties": {"note": {"type": "string"}}}}
    granted(await catalog.api.patch("/v1/blueprints/_rule_result", json=own), "blueprint")
    noted = {"properties": {"note": "mine"}}
    path = "/v1/blueprints/_rule_result/entities"
    granted(await catalog.api.patch(f"{path}/service:ready:first:cart", json=noted), "entity")
    before = granted(await catalog.api.get(path), "entities")
    granted(await catalog.api.patch("/v1/blueprints/service", json={"identifier": "app"}), "blueprint")
    after = granted(await catalog.api.get(path), "entities")

    assert [one["identifier"] for one in before] == ["service:ready:first:cart", "service:ready:first:pay"]
    assert [one["identifier"] for one in after] == ["app:ready:first:cart", "app:ready:first:pay"]
    assert [one["relations"]["rule"] for one in after] == ["app:ready:first"] * 2
    for was, is_now in zip(before, after, strict=True):
        assert is_now["createdAt"] == was["createdAt"], "they are the same entities"
        assert is_now["properties"] == {**was["properties"], "blueprint": "app"}
    assert after[0]["properties"]["note"] == "mine"
    for blueprint, name in (("_scorecard", "app:ready"), ("_rule", "app:ready:first")):
        [one] = granted(await catalog.api.get(f"/v1/blueprints/{blueprint}/entities"), "entities")
        assert (one["identifier"], one["properties"]["blueprint"]) == (name, "app")
    cart = granted(await catalog.api.patch("/v1/blueprints/app/entities/cart", json={"title": "C"}), "entity")
    assert cart["scorecards"]["ready"]["level"] == "Gold"
    assert len(granted(await catalog.api.get(path), "entities")) == 2, "the next write finds them"


async def test_each_thing_that_changes_has_one_record_and_entities_follow_silently(catalog: Product) -> None:
    await make_everything(catalog)
    body = {**SERVICE, "identifier": "app", "title": "App"}
    granted(await catalog.api.put("/v1/blueprints/service", json=body), "blueprint")
    wanted = "/v1/audit-log?action=UPDATE&resources=blueprint,action,action_permissions,webhook,scorecard,entity"
    audits = granted(await catalog.api.get(wanted), "audits")
    diffs = [
        (one["resourceType"], one["diff"]["before"].get("identifier"), one["diff"]["after"].get("identifier"))
        for one in audits
        if not str(one["context"].get("blueprint")).startswith("_")
    ]
    assert sorted(diffs, key=str) == [
        ("action", "copy", "copy"),
        ("action", "scale", "scale"),
        ("action_permissions", None, None),
        ("action_permissions", None, None),  # when it was made
        ("blueprint", "app", "app"),  # what else the request changes
        ("blueprint", "environment", "environment"),
        ("blueprint", "service", "app"),
        ("scorecard", "ready", "ready"),
        ("webhook", "hook", "hook"),
    ]


@pytest.mark.parametrize(
    ("blueprint", "new", "status", "code", "word"),
    [
        ("service", "environment", 409, "identifier_taken", "environment"),
        ("service", "_user", 409, "identifier_taken", "_user"),
        ("service", "_mine", 422, "invalid_request", "identifier: must not begin with _"),
        ("service", "a b", 422, "invalid_request", "identifier"),
        ("service", "..", 422, "invalid_request", "identifier"),
        ("service", None, 422, "invalid_request", "identifier"),
        ("_team", "squad", 422, "invalid_request", "identifier: the system blueprint _team keeps its identifier"),
    ],
)
async def test_a_name_that_cannot_be_changes_nothing(
    catalog: Product, blueprint: str, new: str | None, status: int, code: str, word: str
) -> None:
    paths = ("/v1/blueprints", f"/v1/blueprints/{blueprint}/entities", "/v1/blueprints/environment/entities")
    before = await told(catalog, *paths)
    answer = await catalog.api.patch(f"/v1/blueprints/{blueprint}", json={"identifier": new})
    refused(answer, status, code, word)
    assert await told(catalog, *paths) == before


async def test_nobody_misses_a_change_that_was_made_under_the_old_name(catalog: Product, evaluate: Evaluator) -> None:
    event = {"type": "ENTITY_UPDATED", "blueprintIdentifier": "service"}
    await catalog.action("told", trigger={"type": "automation", "event": event}, publish=True)
    granted(await catalog.api.patch("/v1/blueprints/service/entities/cart", json={"title": "Now"}), "entity")
    renaming = {"identifier": "app"}
    refused(await catalog.api.patch("/v1/blueprints/service", json=renaming), 503, "service_unavailable", "'service'")
    relay = catalog.automations(evaluate)
    while await relay.once():
        pass
    granted(await catalog.api.patch("/v1/blueprints/service", json=renaming), "blueprint")
    granted(await catalog.api.patch("/v1/blueprints/app/entities/cart", json={"title": "Then"}), "entity")
    while await relay.once():
        pass
    runs = granted(await catalog.api.get("/v1/actions/runs"), "runs")
    assert [run["action"]["identifier"] for run in runs] == ["told", "told"], "one run for each change"


async def test_runs_are_found_by_the_blueprint_as_it_is_called_now(catalog: Product) -> None:
    inputs: Json = {"properties": {}, "required": []}
    trigger = {"type": "self-service", "operation": "DAY-2", "blueprintIdentifier": "service", "userInputs": inputs}
    await catalog.action("scale", trigger=trigger)
    run = granted(
        await catalog.api.post("/v1/actions/scale/runs", json={"entity": "cart", "properties": {}}), "run", status=202
    )
    granted(await catalog.api.patch("/v1/blueprints/service", json={"identifier": "app"}), "blueprint")
    for blueprint, found in (("app", [run["id"]]), ("service", [])):
        runs = granted(await catalog.api.get(f"/v1/actions/runs?blueprint={blueprint}&entity=cart"), "runs")
        assert [one["id"] for one in runs] == found
