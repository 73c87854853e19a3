"""Entities change while processes die at random; then every matching change has exactly one run, every other none."""

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, func, select

from store.automation_tables import EntityTimerRow, FiringRow, PendingChangeRow
from store.database import Database
from store.tables import ActionRow, ChangeRow, RunRow
from tests.support.outcome import TERMINAL, Observer, observing
from tests.support.processes import Parts, eventually

Json = dict[str, Any]
WRITES = int(os.environ.get("INTERLOCK_CHAOS_WRITES", "60"))
"""How many times entities are written; thousands in the longer variant."""
WRITERS, ENTITIES = 6, WRITES * 2 // 5
PATIENCE = 300 + WRITES / 2
"""How many seconds everything may take to be over, once nobody writes and nothing dies any more."""
VICTIMS = ("api", "worker", "temporal")

pytestmark = [pytest.mark.whole, pytest.mark.timeout(2 * PATIENCE)]


def expected(change: Json) -> set[str]:
    """The automations that have to run because of a change: what the product is compared with."""
    kind, happened, after = change["context"]["blueprint"], change["action"], change["after"]
    if kind == "copy":
        return {"copied"} if happened == "CREATE" else set()
    if kind != "service" or happened == "TIMER_EXPIRED":
        return {"expired"} if kind == "service" else set()
    odd = {"odd"} if after and after["properties"]["n"] % 2 == 1 else set()
    return odd | ({"copies"} if happened == "UPDATE" else set())


def definitions(backend: str) -> Iterator[Json]:
    """The automations of `expected`, and one that never fires."""

    def listens(event: str, *conditions: str, blueprint: str = "service", **more: str) -> Json:
        condition = {"condition": {"type": "JQ", "expressions": list(conditions)}} if conditions else {}
        return {
            "type": "automation",
            "event": {"type": event, "blueprintIdentifier": blueprint, **more},
            **condition,
        }

    calls = {
        "type": "WEBHOOK",
        "url": f"{backend}/hook",
        "synchronized": True,
        "body": {"gate": "", "e": "{{ .event.id }}"},
    }
    copies = {
        "type": "UPSERT_ENTITY",
        "blueprintIdentifier": "copy",
        "mapping": {"identifier": "{{ .event.context.entityIdentifier }}", "properties": {"of": "{{ .event.id }}"}},
    }
    for identifier, trigger, method in (
        ("odd", listens("ANY_ENTITY_CHANGE", ".diff.after.properties.n % 2 == 1"), calls),
        ("copies", listens("ENTITY_UPDATED"), copies),
        ("copied", listens("ENTITY_CREATED", blueprint="copy"), calls),
        ("expired", listens("TIMER_PROPERTY_EXPIRED", propertyIdentifier="ttl"), calls),
        ("never", listens("ANY_ENTITY_CHANGE", ".diff.after.properties.n < 0", ".unknown"), calls),
    ):
        yield {"identifier": identifier, "trigger": trigger, "invocationMethod": method, "publish": True}


@asynccontextmanager
async def dying(stack: Parts, deaths: Counter[str], chance: random.Random) -> AsyncIterator[None]:
    """One process after the other is killed and started again, until this is left."""
    over = asyncio.Event()

    async def kill() -> None:
        while not over.is_set():
            await asyncio.sleep(chance.uniform(0.3, 1.5))
            victim = chance.choice(VICTIMS)
            await stack.kill(victim)
            deaths[victim] += 1
            await asyncio.sleep(chance.uniform(0, 0.5))
            await stack.start(victim)

    task = asyncio.create_task(kill())
    try:
        yield
    finally:
        over.set()
        await task


async def write(observer: Observer, chance: random.Random, number: int) -> None:
    """One entity, in a way that may be repeated: with `upsert`, and what it says is said by nobody else."""
    properties: Json = {"n": number}
    if number % 5 == 0:
        properties["ttl"] = (datetime.now(UTC) + timedelta(seconds=chance.uniform(-1, 6))).isoformat()
    answer = await observer.until_answered(
        "POST",
        "/v1/blueprints/service/entities",
        params={"upsert": True, "merge": True},
        json={"identifier": f"e{number % ENTITIES}", "properties": properties},
    )
    assert answer.status_code in (200, 201), answer.text


async def test_every_matching_change_has_one_run_whatever_dies(database_url: str, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print("seed", seed)  # noqa: T201 - told with a failure
    chance, deaths = random.Random(seed), Counter[str]()  # noqa: S311 - no secret
    async with Parts(tmp_path, database_url) as stack, observing(stack) as observer:
        await prepare(observer)
        numbers = iter(range(WRITES))

        async def writer() -> None:
            for number in numbers:
                await write(observer, chance, number)

        async with dying(stack, deaths, chance):
            await asyncio.gather(*(writer() for _ in range(WRITERS)))
        await eventually("everything is over", lambda: over(stack), within=PATIENCE)
        changes, fired = await found(stack)

        wanted = Counter((change["id"], name) for change in changes for name in expected(change))
        assert fired == wanted
        assert sum(1 for change in changes if change["action"] == "UPDATE") >= ENTITIES
        await timers_fired_once(stack, changes)
        delivered = Counter(call.headers["idempotency-key"] for call in observer.backend.calls)
        assert sum(delivered.values()) <= len(delivered) + deaths["worker"] * 100
        await explained(observer, changes, chance)


async def prepare(observer: Observer) -> None:
    """The blueprints and the automations."""
    service = {"properties": {"n": {"type": "number"}, "ttl": {"type": "string", "format": "timer"}}}
    for name, schema in (("service", service), ("copy", {"properties": {"of": {"type": "string"}}})):
        body = {"identifier": name, "title": name, "schema": schema}
        answer = await observer.call("POST", "/v1/blueprints", json=body)
        assert answer.status_code == 201, answer.text
    for definition in definitions(observer.backend.url):
        answer = await observer.call("POST", "/v1/actions", json=definition)
        assert answer.status_code == 200, answer.text


async def over(stack: Parts) -> bool | None:
    """True once nothing is pending, every timer has fired and every run has ended."""
    async with Database(stack.database_url) as database, database.read() as session:
        for waiting in (
            select(func.count()).select_from(PendingChangeRow),
            select(func.count()).where(~col(EntityTimerRow.expired)),
            select(func.count()).where(col(EntityTimerRow.pending).is_not(None)),
            select(func.count()).where(col(RunRow.pending).is_not(None)),
            select(func.count()).where(col(RunRow.status).not_in(TERMINAL)),
        ):
            if (await session.exec(waiting)).one():
                return None
    return True


async def found(stack: Parts) -> tuple[list[Json], Counter[tuple[str, str]]]:
    """The changes of entities, and how many runs each automation has made for each of them."""
    async with Database(stack.database_url) as database, database.read() as session:
        happened = select(ChangeRow.document).where(ChangeRow.resource_type == "entity", ChangeRow.status == "SUCCESS")
        changes: list[Any] = list(await session.exec(happened))
        firings = await session.exec(
            select(FiringRow.change_id, ActionRow.identifier, RunRow.id)
            .join(ActionRow, col(ActionRow.id) == col(FiringRow.action_id))
            .join(RunRow, col(RunRow.id) == col(FiringRow.run_id))
        )
        fired = Counter((change_id, identifier) for change_id, identifier, _ in firings)
        of_automations = select(func.count()).where(RunRow.source == "AUTOMATION")
        assert (await session.exec(of_automations)).one() == sum(fired.values())
    return changes, fired


async def timers_fired_once(stack: Parts, changes: list[Json]) -> None:
    """No value has fired twice, and whatever an entity has in the end has fired."""
    values = [
        (change["context"]["entity"], change["after"]["properties"]["ttl"])
        for change in changes
        if change["action"] == "TIMER_EXPIRED"
    ]
    assert values
    assert max(Counter(values).values()) == 1
    last = {
        change["context"]["entity"]: change["after"]["properties"].get("ttl")
        for change in sorted(changes, key=lambda change: change["at"])
        if change["context"]["blueprint"] == "service"
    }
    assert {(entity, ttl) for entity, ttl in last.items() if ttl} <= set(values)


async def explained(observer: Observer, changes: list[Json], chance: random.Random) -> None:
    """The audit log says of some changes which automations fired, and why the others did not."""
    for change in chance.sample(changes, 5):
        answer = await observer.until_answered("GET", f"/v1/audit-log/{change['id']}/automations")
        assert answer.status_code == 200, answer.text
        told = {one["identifier"] for one in answer.json()["automations"] if one["fired"]}
        assert told == expected(change), answer.text
