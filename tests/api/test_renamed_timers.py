"""Changes of timers that are still to be looked at when their property is renamed, on both databases."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import col, select
from temporalio.testing import WorkflowEnvironment

from domain.jq import Evaluator
from domain.timers import due_at
from runtime.clock import now
from store import audit, replays, timers
from store.automation_tables import EntityTimerRow, TimerRenameRow
from store.database import Database
from tests.api.answers import Json, granted, refused
from tests.support.product import Product, running
from worker.automations import Automations

AT = "/v1/blueprints/lab"
PAST = "2025-01-01T00:00:00Z"
TIMER: Json = {"type": "string", "format": "timer"}


@pytest.fixture
async def product(clock: WorkflowEnvironment, evaluate: Evaluator, database_url: str) -> AsyncIterator[Product]:
    """Labs with two timers; nothing happens unless a test does it."""
    async with running(clock, evaluate, database_url, worker=False) as product:
        body = {"identifier": "lab", "schema": {"properties": {"ttl": TIMER, "other": TIMER}}}
        granted(await product.api.post("/v1/blueprints", json=body), "blueprint", status=201)
        yield product


@pytest.fixture
def relay(product: Product, evaluate: Evaluator) -> Automations:
    """Asks automations when it is told to."""
    return product.automations(evaluate)


async def listener(product: Product, identifier: str, timer: str = "ttl", *, sees: str = "", **more: Any) -> None:
    """An automation that says what it was told, if the event has the timer, or what else it should see."""
    event = {"type": "TIMER_PROPERTY_EXPIRED", "blueprintIdentifier": "lab", "propertyIdentifier": timer}
    condition = {"type": "JQ", "expressions": [f".diff.after.properties.{sees or timer} != null"]}
    body = {"says": "{{ .event.context }}"}
    trigger = {"type": "automation", "event": event, "condition": condition}
    await product.action(
        identifier,
        trigger=trigger,
        invocationMethod=product.webhook(body=body, synchronized=False),
        **{"publish": True, **more},
    )


async def rename(product: Product, old: str, new: str) -> None:
    body = {"newPropertyIdentifier": new}
    granted(await product.api.patch(f"{AT}/properties/{old}/rename", json=body), "blueprint")


async def expire(product: Product, identifier: str, *properties: str) -> None:
    """Write an entity whose timers expire at once."""
    body = {"identifier": identifier, "properties": dict.fromkeys(properties, PAST)}
    granted(await product.api.post(f"{AT}/entities", json=body), "entity", status=201)
    due = due_at(PAST)
    assert due
    async with product.database.write() as session:
        rows = select(EntityTimerRow.entity_id, EntityTimerRow.property).where(col(EntityTimerRow.expired).is_(False))
        for entity_id, name in sorted(await session.exec(rows)):
            assert (await timers.expire(session, entity_id, name, due, at=now())).outcome == "done"


async def ran(product: Product, relay: Automations) -> list[tuple[str, Json]]:
    """What every run was told, after everybody was asked."""
    while await relay.once():
        pass
    runs = granted(await product.api.get("/v1/actions/runs?limit=100"), "runs")
    told = [(str(one["action"]["identifier"]), one["payload"]["body"]["says"]) for one in runs]
    return sorted(told, key=lambda one: (one[0], one[1]["entityIdentifier"]))


def said(timer: str, entity: str = "dev") -> Json:
    return {"blueprintIdentifier": "lab", "entityIdentifier": entity, "propertyIdentifier": timer}


async def test_what_a_timer_told_before_its_property_was_renamed_starts_its_automation(
    product: Product, relay: Automations
) -> None:
    await listener(product, "destroy")
    await listener(product, "another", "other")
    await listener(product, "namesake", "until", sees="ttl")
    await listener(product, "draft", publish=False)
    await expire(product, "dev", "ttl")
    await rename(product, "ttl", "until")
    await rename(product, "until", "end")
    await product.api.patch(f"{AT}/entities/dev", json={"identifier": "prod"})
    await listener(product, "late", "end", sees="ttl")
    assert await ran(product, relay) == [("destroy", said("ttl"))], "events are facts of their time"

    [audit_record] = granted(await product.api.get("/v1/audit-log?action=TIMER_EXPIRED"), "audits")
    explained = await product.api.get(f"/v1/audit-log/{audit_record['identifier']}/automations")
    told = {one["identifier"]: (one["fired"], one["why"]) for one in explained.json()["automations"]}
    assert told["destroy"] == (True, "It runs: `.diff.after.properties.ttl != null` is true")
    assert not any(fired for identifier, (fired, _) in told.items() if identifier != "destroy")

    body: Json = {"from": "2026-01-01T00:00:00Z", "again": True}
    replayed = granted(await product.api.post("/v1/actions/destroy/replay", json=body), "replay", status=202)
    assert replayed["changes"] == 1
    assert await ran(product, relay) == [("destroy", said("ttl"))] * 2
    simulated = (await product.api.post("/v1/actions/destroy/simulate", json={})).json()
    assert (simulated["examined"], simulated["fired"]) == (1, 1)


async def test_a_name_that_changes_hands_means_what_it_meant(product: Product, relay: Automations) -> None:
    await listener(product, "of_ttl")
    await listener(product, "of_other", "other")
    await expire(product, "dev", "ttl", "other")
    for old, new in (("ttl", "x"), ("other", "ttl"), ("x", "other")):
        await rename(product, old, new)
    assert await ran(product, relay) == [("of_other", said("other")), ("of_ttl", said("ttl"))]

    await product.api.delete("/v1/actions/of_other")
    await product.api.delete("/v1/actions/of_ttl")
    await listener(product, "of_new_ttl")
    await expire(product, "e2", "ttl")
    assert ("of_new_ttl", said("ttl", "e2")) in await ran(product, relay)
    simulated = (await product.api.post("/v1/actions/of_new_ttl/simulate", json={})).json()["results"]
    async with product.database.read() as session:
        asked = [await audit.listed(session, audit.Filters(identifier=one["event"], limit=1)) for one in simulated]
    contexts: list[Any] = [change["context"] for [change] in asked]
    assert [(one["property"], one["entity"]) for one in contexts] == [("ttl", "e2"), ("other", "dev")]


async def test_a_property_that_takes_the_name_of_one_that_is_gone_has_not_its_past(
    product: Product, relay: Automations
) -> None:
    await listener(product, "of_ttl")
    await expire(product, "dev", "other")
    only_ttl = {"identifier": "lab", "schema": {"properties": {"ttl": TIMER}}}
    granted(await product.api.put(AT, json=only_ttl), "blueprint")
    await rename(product, "ttl", "other")
    assert await ran(product, relay) == []


async def test_a_change_that_was_held_when_its_property_was_renamed_is_let_go(
    product: Product, relay: Automations
) -> None:
    await listener(product, "destroy", interlock={"debounce": {"quiet": "PT1S"}})
    await expire(product, "dev", "ttl")
    assert await ran(product, relay) == []
    await rename(product, "ttl", "until")
    await asyncio.sleep(1.1)
    await relay.let_go()
    assert await ran(product, relay) == [("destroy", said("ttl"))]


async def test_a_replay_goes_on_over_a_rename(
    product: Product, relay: Automations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replays, "PORTION", 2)
    for number in range(5):
        await expire(product, f"e{number}", "ttl")
    await listener(product, "destroy")
    body = {"from": "2026-01-01T00:00:00Z"}
    replay = granted(await product.api.post("/v1/actions/destroy/replay", json=body), "replay", status=202)
    assert replay["changes"] == 5
    await rename(product, "ttl", "until")
    for _ in range(4):
        await relay.once()
        await relay.go_on()
    assert await ran(product, relay) == [("destroy", said("ttl", f"e{number}")) for number in range(5)]


async def test_renames_are_forgotten_with_the_changes_of_before(product: Product, relay: Automations) -> None:
    async def known(database: Database) -> list[str]:
        async with database.read() as session:
            return list(await session.exec(select(TimerRenameRow.old)))

    await listener(product, "destroy")
    await expire(product, "dev", "ttl")
    await rename(product, "ttl", "until")
    await audit.purge(product.database, before=now() + timedelta(days=1))
    assert await known(product.database) == ["ttl"], "a change is still pending"
    assert len(await ran(product, relay)) == 1
    [run] = granted(await product.api.get("/v1/actions/runs"), "runs")
    granted(await product.api.patch(f"/v1/actions/runs/{run['id']}", json={"status": "SUCCESS"}), "run")
    while await relay.once():
        pass
    await audit.purge(product.database, before=now() + timedelta(days=1))
    assert await known(product.database) == []


async def test_runs_of_an_action_that_is_renamed_are_told_by_the_name_they_were_made_by(
    product: Product, relay: Automations
) -> None:
    made = await product.action("deploy", invocationMethod=product.webhook(synchronized=False))
    body = {"says": "{{ .event.context.action.identifier }} {{ .event.diff.after.status }}"}
    trigger = {"type": "automation", "event": {"type": "ANY_RUN_CHANGE", "actionIdentifier": "deploy"}}
    await product.action("told", trigger=trigger, invocationMethod=product.webhook(body=body), publish=True)
    run = await product.start("deploy")
    document = {key: made[key] for key in ("title", "trigger", "invocationMethod")}
    granted(await product.api.put("/v1/actions/deploy", json={**document, "identifier": "ship"}), "action")
    granted(await product.api.patch(f"/v1/actions/runs/{run['id']}", json={"status": "SUCCESS"}), "run")
    await product.start("ship")
    while await relay.once():
        pass
    runs = granted(await product.api.get("/v1/actions/runs?action=told"), "runs")
    assert sorted(one["payload"]["body"]["says"] for one in runs) == ["deploy IN_PROGRESS", "deploy SUCCESS"]


async def test_a_blueprint_keeps_its_identifier_while_a_change_of_it_is_held_or_will_be_replayed(
    product: Product, relay: Automations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replays, "PORTION", 1)
    renaming = {"identifier": "office"}
    await listener(product, "destroy", interlock={"debounce": {"quiet": "PT1S"}})
    await expire(product, "e1", "ttl")
    assert await ran(product, relay) == []
    refused(await product.api.patch(AT, json=renaming), 503, "service_unavailable", "'lab'")
    await asyncio.sleep(1.1)
    await relay.let_go()
    assert len(await ran(product, relay)) == 1

    await expire(product, "e2", "ttl")
    body = {"from": "2026-01-01T00:00:00Z", "again": True}
    await asyncio.sleep(0.01)
    granted(await product.api.post("/v1/actions/destroy/replay", json=body), "replay", status=202)
    await ran(product, relay)
    await asyncio.sleep(1.1)
    await relay.let_go()
    refused(await product.api.patch(AT, json=renaming), 503, "service_unavailable", "'lab'")
    await relay.go_on()
    await ran(product, relay)
    await asyncio.sleep(1.1)
    await relay.let_go()
    granted(await product.api.patch(AT, json=renaming), "blueprint")
    assert [one["entityIdentifier"] for _, one in await ran(product, relay)] == ["e1", "e1", "e2", "e2"]
