"""Random automations over random writes: what fired is what a few lines of Python say should have."""

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from sqlmodel import col, select
from temporalio.testing import WorkflowEnvironment

from domain.jq import Evaluator
from store.automation_tables import FiringRow
from store.tables import ActionRow, ChangeRow, RunRow
from tests.support.product import Json, Product, running

EVENTS = {
    "ENTITY_CREATED": {"CREATE"},
    "ENTITY_UPDATED": {"UPDATE"},
    "ENTITY_DELETED": {"DELETE"},
    "ANY_ENTITY_CHANGE": {"CREATE", "UPDATE", "DELETE"},
}
CONDITIONS: dict[str, Callable[[Json], bool]] = {
    ".diff.after.properties.n > 3": lambda change: (_of(change, "after", "properties").get("n") or 0) > 3,
    ".diff.before == null": lambda change: change["before"] is None,
    '.diff.after.properties.word == "b"': lambda change: _of(change, "after", "properties").get("word") == "b",
    ".diff.after.relations.to != .diff.before.relations.to": lambda change: (
        _of(change, "after", "relations").get("to") != _of(change, "before", "relations").get("to")
    ),
    ".context.entityIdentifier": lambda change: False,  # no boolean
    ".nothing | error": lambda change: False,
}


def _of(change: Json, side: str, part: str) -> Json:
    return (change[side] or {}).get(part) or {}


def should_fire(definition: Json, change: Json) -> bool:
    """The model."""
    event, condition = definition["trigger"]["event"], definition["trigger"].get("condition", {})
    if not definition["publish"] or change["context"]["blueprint"] != event["blueprintIdentifier"]:
        return False
    if change["action"] not in EVENTS[event["type"]]:
        return False
    held = [CONDITIONS[expression](change) for expression in condition.get("expressions", [])]
    return not held or (any(held) if condition.get("combinator") == "or" else all(held))


def made_up(chance: random.Random, number: int, method: Json) -> Json:
    trigger: Json = {
        "type": "automation",
        "event": {"type": chance.choice(list(EVENTS)), "blueprintIdentifier": chance.choice("ab")},
    }
    if chance.random() < 0.8:
        expressions = chance.sample(list(CONDITIONS), chance.randint(0, 3))
        trigger["condition"] = {"type": "JQ", "expressions": expressions}
        if chance.random() < 0.7:
            trigger["condition"]["combinator"] = chance.choice(["and", "or"])
    publish = chance.random() < 0.9
    return {"identifier": f"auto{number}", "trigger": trigger, "invocationMethod": method, "publish": publish}


async def write(product: Product, chance: random.Random) -> None:
    """One write of a random kind; many are refused, or change nothing."""
    path = f"/v1/blueprints/{chance.choice('ab')}/entities"
    name = f"e{chance.randint(0, 5)}"
    properties = {"n": chance.randint(0, 6), "word": chance.choice("abc")}
    body: Json = {"identifier": name, "properties": dict(chance.sample(list(properties.items()), chance.randint(0, 2)))}
    if chance.random() < 0.5:
        body["relations"] = {"to": chance.choice([f"e{chance.randint(0, 6)}", None])}
    missing = {"create_missing_related_entities": chance.random() < 0.5}
    match chance.randint(0, 6):
        case 0 | 1:
            await product.api.post(path, json=body, params={"upsert": True, "merge": chance.random() < 0.5, **missing})
        case 2:
            bulk = {"entities": [body, {**body, "identifier": f"e{chance.randint(0, 5)}"}]}
            await product.api.post(f"{path}/bulk", json=bulk, params={"upsert": True, **missing})
        case 3:
            await product.api.patch(f"{path}/{name}", json={"properties": body["properties"]})
        case 4:
            await product.api.put(f"{path}/{name}", json={**body, "identifier": f"e{chance.randint(0, 5)}"})
        case 5:
            await product.api.delete(f"{path}/{name}", params={"delete_dependents": chance.random() < 0.5})
        case 6:
            await product.api.post(path, json=body, params={"validation_only": True})


@pytest.mark.parametrize("seed", range(3))
async def test_what_fires_is_what_the_model_says(
    clock: WorkflowEnvironment, evaluate: Evaluator, database_url: str, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    limits: Any = {"automation_runs_per_minute": "100000", "automation_recurrences_per_minute": "100000"}
    async with running(clock, evaluate, database_url, worker=False, **limits) as product:
        for name in "ab":
            schema = {"properties": {"n": {"type": "number"}, "word": {"type": "string"}}}
            relations = {"to": {"target": "a", "required": False, "many": False}}
            body = {"identifier": name, "title": name, "schema": schema, "relations": relations}
            assert (await product.api.post("/v1/blueprints", json=body)).status_code == 201
        definitions = {f"auto{number}": made_up(chance, number, product.webhook()) for number in range(8)}
        for definition in definitions.values():
            answer = await product.api.post("/v1/actions", json=definition)
            assert answer.status_code == 200, answer.text
        relay = product.automations(evaluate)
        for _ in range(60):
            await write(product, chance)
            if chance.random() < 0.2:
                await relay.once()
        while await relay.once():
            pass

        async with product.database.read() as session:
            happened = select(ChangeRow.document).where(
                ChangeRow.resource_type == "entity",
                ChangeRow.status == "SUCCESS",
                col(ChangeRow.blueprint).in_(["a", "b"]),
            )
            changes: list[Any] = list(await session.exec(happened))
            firings = await session.exec(
                select(FiringRow.change_id, ActionRow.identifier)
                .join(ActionRow, col(ActionRow.id) == col(FiringRow.action_id))
                .join(RunRow, col(RunRow.id) == col(FiringRow.run_id))
            )
            fired = Counter(tuple(pair) for pair in firings)
        wanted = Counter(
            (change["id"], name)
            for change in changes
            for name, definition in definitions.items()
            if should_fire(definition, change)
        )
        assert fired == wanted
        assert len(changes) > 20
