"""`python -m benchmarks.automations`: what automations and timers cost, on SQLite.

Only ratios mean something elsewhere. How soon a change is answered by a call when nothing else happens; what asking
about a change costs the relay, with one automation and with 1,000, of which one can match, or that jq has to evaluate
each; whether changes that nobody watches leave work; what waiting timers cost in memory.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, cast

from sqlmodel import func, select
from temporalio.client import Client

from benchmarks.catalog import BULK, connections, entity
from benchmarks.product import product, say, signed_in
from benchmarks.wire import Backend, Connection
from domain.actions import Action, Definition
from domain.changes import Change
from domain.identifiers import new
from runtime.clock import now
from runtime.driver import RunDriver
from runtime.jq_pool import JqPool, Limits
from runtime.settings import Settings
from store import actions, changes, listeners, migrate
from store.automation_tables import EntityTimerRow, PendingChangeRow
from store.database import Database
from worker.automations import Automations
from worker.changelog import ChangeDeliveries

MANY = 1000


def automation(number: int, url: str, *, blueprint: str, condition: str = "", **event: str) -> dict[str, Any]:
    """A published automation that calls the address."""
    trigger: dict[str, Any] = {
        "type": "automation",
        "event": {"type": "ANY_ENTITY_CHANGE", "blueprintIdentifier": blueprint, **event},
    }
    if condition:
        trigger["condition"] = {"type": "JQ", "expressions": [condition]}
    method = {"type": "WEBHOOK", "url": url, "synchronized": True, "body": {"entity": "{{ .event.context }}"}}
    return {"identifier": f"automation-{number}", "trigger": trigger, "invocationMethod": method, "publish": True}


async def blueprint(connection: Connection, identifier: str, properties: dict[str, Any]) -> None:
    """Make a blueprint."""
    body = {"identifier": identifier, "title": identifier, "schema": {"properties": properties, "required": []}}
    status, answer = await connection.call("POST", "/v1/blueprints", body)
    assert status == 201, answer


async def publish(connection: Connection, definition: dict[str, Any]) -> None:
    """Make an automation."""
    status, answer = await connection.call("POST", "/v1/actions", definition)
    assert status == 200, answer


async def answered(connection: Connection, backend: Backend, times: int) -> None:
    """How soon a change is answered by a call, one at a time."""
    await publish(connection, automation(0, f"{backend.url}/hook", blueprint="service"))
    took = []
    for number in range(times):
        before, known = time.perf_counter(), len(backend.seen)
        await connection.call("POST", "/v1/blueprints/service/entities?upsert=true", entity(number))
        while len(backend.seen) == known:
            await asyncio.sleep(0.001)
        took.append(max(backend.seen.values()) - before)
        await asyncio.sleep(0.05)
    say("change to backend call, p50 when idle", median(took) * 1000, "ms")


async def unmatched(connection: Connection, url: str, temporal: str, number: int) -> None:
    """Changes of a blueprint that nobody watches, beside automations on another one."""
    await blueprint(connection, "other", {"name": {"type": "string"}, "tier": {"type": "number"}})
    started = time.perf_counter()
    for begin in range(0, number, BULK):
        some = [{**entity(begin + place), "team": [], "properties": {"tier": place}} for place in range(BULK)]
        await connection.call("POST", "/v1/blueprints/other/entities/bulk?upsert=true", {"entities": some})
    took = time.perf_counter() - started
    say(f"{number} changes that nobody watches", number / took, "per second")
    async with Database(url) as database, database.read() as session:
        pending = (await session.exec(select(func.count()).select_from(PendingChangeRow))).one()
    workflows = await (await Client.connect(temporal)).count_workflows("WorkflowType != 'ActionRun'")
    say("  pending rows, workflows that are no runs", float(pending), f"and {workflows.count}")


async def timers(connection: Connection, url: str, memory: Any, number: int) -> None:
    """Timers that wait for next year."""
    await blueprint(connection, "environment", {"ttl": {"type": "string", "format": "timer"}})
    ttl, before = (datetime.now(UTC) + timedelta(days=365)).isoformat(), memory()
    for begin in range(0, number, BULK):
        some = [{"identifier": f"env-{begin + place}", "properties": {"ttl": ttl}} for place in range(BULK)]
        await connection.call("POST", "/v1/blueprints/environment/entities/bulk?upsert=true", {"entities": some})
    async with Database(url) as database:
        while True:
            async with database.read() as session:
                told = select(func.count()).select_from(EntityTimerRow).where(EntityTimerRow.pending == None)  # noqa: E711
                if (await session.exec(told)).one() >= number:
                    break
            await asyncio.sleep(0.2)
    say(f"{number} waiting timers, memory of our process", memory() - before, "MB more")


@asynccontextmanager
async def relay(directory: Path) -> AsyncIterator[tuple[Database, Automations]]:
    """A relay over an empty catalog; nothing fires, so it has nobody to start workflows with."""
    settings = Settings(data_dir=directory, log_level="error")
    await asyncio.to_thread(migrate.upgrade, settings.database_url)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(settings.database_url))
        evaluate = await stack.enter_async_context(JqPool(size=2, limits=Limits(seconds=60)))
        client = cast(Client, None)
        driver = RunDriver(client, database, settings)
        deliveries = ChangeDeliveries(client, database, settings, now)
        yield database, Automations(database, driver, evaluate, deliveries, settings, "org", now)


async def asked(definitions: list[dict[str, Any]], number: int) -> float:
    """Microseconds that the relay needs for a change of a service, with these automations."""
    with tempfile.TemporaryDirectory() as directory:
        async with relay(Path(directory)) as (database, automations):
            async with database.write() as session:
                for definition in definitions:
                    parsed = Definition.parse(definition)
                    action = Action(new("action"), parsed.identifier, 1, parsed.document, now(), "ada", now(), "ada")
                    await actions.create(session, action, origin="API")
            for begin in range(0, number, 500):
                async with database.write() as session:
                    await changes.append_all(session, [_change(begin + place) for place in range(500)])
            started = time.perf_counter()
            while await automations.once():
                pass
            took = (time.perf_counter() - started) / number * 1e6
            async with database.read() as session:
                left = len((await listeners.current(session)).by_action)
            assert left == len(definitions), "some ran into limits and were paused, so they were not asked"
            return took


def _change(number: int) -> Change:
    document: Any = {**entity(number), "blueprint": "service", "relations": {}}
    context: dict[str, str | None] = {"blueprint": "service", "entity": str(document["identifier"])}
    change = Change.of("entity", None, document, context=context, at=now(), by="ada", origin="API")
    return change._replace(subject=f"ent_{number}")


def listening(of: str, *expressions: str, number: int = 0) -> dict[str, Any]:
    """An automation on a blueprint with a condition of these expressions."""
    definition = automation(number, "http://127.0.0.1:9/hook", blueprint=of, condition=expressions[0])
    definition["trigger"]["condition"]["expressions"] = list(expressions)
    return definition


async def relays(number: int, rounds: int) -> None:
    """What asking costs with one automation, and with 1,000, in turns.

    A condition that compares a path with a value is found by the value; what that leaves over jq evaluates.
    """
    is_here, is_there = '.context.blueprintIdentifier == "service"', '.diff.after.properties.name == "nobody-{}"'
    by_jq = '.diff.after.properties.name | startswith("nobody-{}")'
    others = range(1, MANY)
    compared, evaluated = listening("service", is_there.format(0)), listening("service", is_here, by_jq.format(0))
    elsewhere = [listening(f"other-{each}", is_there.format(each), number=each) for each in others]
    compare = [listening("service", is_there.format(each), number=each) for each in others]
    both = f"{is_there} and ({by_jq})"
    joined = [listening("service", both.format(each, each), number=each) for each in others]
    evaluate = [listening("service", is_here, by_jq.format(each), number=each) for each in others]
    measured = {
        "compared": [compared],
        "compared elsewhere": [compared, *elsewhere],
        "compared together": [compared, *compare],
        "joined together": [listening("service", both.format(0, 0)), *joined],
        "evaluated": [evaluated],
        "evaluated beside": [evaluated, *compare],
    }
    results: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, definitions in measured.items():
            results.setdefault(name, []).append(await asked(definitions, number))
    # They cost so much that fewer changes say it as well.
    together = [await asked([evaluated, *evaluate], max(500, number // 10)) for _ in range(rounds)]
    took = {name: median(several) for name, several in results.items()}
    say("asking one automation about a change, by value", took["compared"], "us")
    say(
        f"  {MANY} automations, of which one listens to it", took["compared elsewhere"] / took["compared"], "times that"
    )
    say(f"  {MANY} that listen, each to another value", took["compared together"] / took["compared"], "times that")
    say(
        f"  {MANY} that listen, each to another value and more",
        took["joined together"] / took["compared"],
        "times that",
    )
    say("asking one automation that jq has to evaluate", took["evaluated"], "us")
    say(f"  {MANY} that listen, one by jq, others by value", took["evaluated beside"] / took["evaluated"], "times that")
    say(f"  {MANY} that listen and jq has to evaluate each", median(together) / took["evaluated"], "times that")


async def main(options: argparse.Namespace) -> None:
    """Measure and report."""
    await relays(options.changes, options.rounds)
    with tempfile.TemporaryDirectory() as directory:
        async with product(Path(directory)) as made, Backend() as backend:
            url = f"sqlite:///{Path(directory) / 'interlock.db'}"
            async with connections(made, 1) as [connection]:
                await signed_in(made, connection)
                await blueprint(connection, "service", {"name": {"type": "string"}})
                await answered(connection, backend, options.times)
                for number in range(1, MANY):
                    await publish(connection, automation(number, f"{backend.url}/hook", blueprint=f"other-{number}"))
                await unmatched(connection, url, made.environment["TEMPORAL_ADDRESS"], options.unmatched)
                await timers(connection, url, made.memory, options.timers)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=50, help="how many changes are timed one by one")
    parser.add_argument("--changes", type=int, default=10_000, help="how many changes the relay is asked about")
    parser.add_argument("--rounds", type=int, default=3, help="how often each measurement of the relay is made")
    parser.add_argument("--unmatched", type=int, default=100_000, help="how many changes nobody watches")
    parser.add_argument("--timers", type=int, default=100_000, help="how many timers wait")
    asyncio.run(main(parser.parse_args()))
