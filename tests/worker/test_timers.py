"""The relay of timers on a real Temporal server, and against a small model of what has to fire."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

from backends import open_transport
from domain.errors import NotFound
from domain.jq import Evaluator
from domain.times import iso
from runtime.clock import now
from store import timers
from store.database import Database
from tests.store import test_timers_in_sql as sql
from tests.store.conftest import AT
from tests.support.processes import eventually
from tests.support.product import Product, running
from tests.support.sandbox import Sandbox
from worker.main import services, working
from worker.timers import TimerRelay
from workflows.calls import EntityTimerInput

ENV = {
    "identifier": "env",
    "title": "Env",
    "schema": {"properties": {"ttl": {"type": "string", "format": "timer", "interlock": {"warn": {"before": "PT1S"}}}}},
}


@pytest.fixture
async def product(server: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str) -> AsyncIterator[Product]:
    """The product without a worker, on a server that can list its workflows."""
    async with running(server, evaluate, sqlite_url, worker=False) as product:
        assert (await product.api.post("/v1/blueprints", json=ENV)).status_code == 201
        yield product


def relay_of(product: Product) -> TimerRelay:
    return TimerRelay(product.temporal, product.database, product.settings.task_queue, now)


async def put(product: Product, identifier: str, ttl: datetime | None) -> None:
    body = {"identifier": identifier, "properties": {"ttl": iso(ttl) if ttl else None}}
    answer = await product.api.post("/v1/blueprints/env/entities?upsert=true&merge=true", json=body)
    assert answer.status_code in (200, 201), answer.text


async def told_of(product: Product) -> list[tuple[str, str]]:
    """What timers have told, by entity."""
    answer = await product.api.get("/v1/audit-log?resources=entity&limit=1000")
    audits = answer.json()["audits"]
    return sorted((one["context"]["entity"], one["action"]) for one in audits if one["action"].startswith("TIMER"))


async def is_running(product: Product, identifier: str) -> bool:
    try:
        described = await product.temporal.get_workflow_handle(f"timer:env:{identifier}:ttl").describe()
    except RPCError:
        return False
    return described.status is WorkflowExecutionStatus.RUNNING


async def test_timers_fire_once_though_everything_was_down_when_they_came_due(
    product: Product, evaluate: Evaluator
) -> None:
    soon, far = now() + timedelta(seconds=2), now() + timedelta(days=200)
    for identifier, ttl in (("soon", soon), ("past", now() - timedelta(days=1)), ("far", far), ("moved", soon)):
        await put(product, identifier, ttl)
    relay = relay_of(product)
    await relay.relay_once()
    assert [await is_running(product, one) for one in ("soon", "past", "far", "moved")] == [True] * 4
    await put(product, "moved", far)
    await put(product, "late", soon)  # nobody tells Temporal before the time has passed
    await asyncio.sleep(2.5)
    assert await told_of(product) == []
    async with open_transport() as http:
        given = services(product.settings, product.database, evaluate, product.organization, http)
        async with working(product.settings, product.temporal, given, workflow_runner=Sandbox()):
            work = asyncio.create_task(relay.run())

            async def fired() -> bool | None:
                return len(await told_of(product)) >= 3 or None

            try:
                await eventually("all have fired", fired, within=20)
                quick = now() + timedelta(seconds=1.6)
                await put(product, "quick", quick)

                async def warned_and_fired() -> bool | None:
                    return len(await told_of(product)) >= 5 or None

                await eventually("one warned and fired", warned_and_fired, within=20)
                await asyncio.sleep(0.5)
            finally:
                work.cancel()
    expired = [(one, "TIMER_EXPIRED") for one in ("late", "past", "quick", "soon")]
    assert await told_of(product) == sorted([*expired, ("quick", "TIMER_WARNING")]), "the others were late for that"


async def test_workflows_of_timers_follow_their_entities(product: Product) -> None:
    relay, far = relay_of(product), now() + timedelta(days=200)
    await put(product, "a", far)
    await put(product, "b", far)
    await put(product, "c", far)
    await relay.relay_once()
    await product.api.patch("/v1/blueprints/env/entities/a", json={"identifier": "a2"})
    await product.api.delete("/v1/blueprints/env/entities/b")
    await put(product, "c", None)
    await put(product, "a", far)  # another one of the old name
    await relay.relay_once()
    assert [await is_running(product, one) for one in ("a", "a2", "b", "c")] == [True, True, False, False]
    assert not await relay.relay_once()


async def test_a_workflow_that_somebody_terminated_is_started_again(product: Product) -> None:
    relay = relay_of(product)
    for number in range(3):
        await put(product, f"e{number}", now() + timedelta(days=200))
    await relay.relay_once()
    await product.temporal.get_workflow_handle("timer:env:e1:ttl").terminate("an operator had enough")

    async def swept() -> bool | None:
        await relay.sweep()
        async with product.database.read() as session:
            return await timers.pending(session, now=now()) or None

    await eventually("the sweep has seen it", swept)
    before = {
        n: (await product.temporal.get_workflow_handle(f"timer:env:e{n}:ttl").describe()).run_id for n in range(3)
    }
    await relay.relay_once()
    after = {n: (await product.temporal.get_workflow_handle(f"timer:env:e{n}:ttl").describe()).run_id for n in range(3)}
    assert [n for n in range(3) if before[n] != after[n]] == [1]
    assert await is_running(product, "e1")
    await relay.sweep()
    async with product.database.read() as session:
        assert not await timers.pending(session, now=now())


async def test_a_relay_is_woken_by_the_write(product: Product) -> None:
    relay = relay_of(product)
    other = product.database.bell.ear()
    work = asyncio.create_task(relay.run())
    try:
        await asyncio.sleep(0.2)
        await other.wait(0.01)
        await put(product, "e", now() + timedelta(days=200))
        await asyncio.wait_for(other.wait(30), 5)  # whoever else listens hears it too

        async def started() -> bool | None:
            return await is_running(product, "e") or None

        await eventually("its workflow is there", started, within=10)
    finally:
        work.cancel()


@dataclass
class Execution:
    """A workflow that waits for its moment."""

    start: EntityTimerInput
    run: str
    running: bool = True


@dataclass
class Unreliable:
    """As much of Temporal as the relay talks to. It may lose what it is told, or what it has."""

    chance: random.Random
    executions: list[Execution] = field(default_factory=list)
    ids: dict[str, Execution] = field(default_factory=dict)
    outage: float = 0.0

    def fail(self) -> None:
        """Be out of order, now and then."""
        if self.chance.random() < self.outage:
            raise RPCError("out of order", RPCStatusCode.UNAVAILABLE, b"")

    async def start_workflow(self, _: Any, start: EntityTimerInput, *, id: str, **__: Any) -> Any:
        """Start it in the place of another one; the answer may be lost."""
        self.fail()
        if id in self.ids:
            self.ids[id].running = False
        made = Execution(start, f"run-{len(self.executions)}")
        self.executions.append(made)
        self.ids[id] = made
        self.fail()
        return type("Handle", (), {"first_execution_run_id": made.run})()

    def get_workflow_handle(self, _: str, *, run_id: str) -> Any:
        """Something to end it with, or to look at it."""
        return Handle(self, self.executions[int(run_id.removeprefix("run-"))])

    async def list_workflows(self, query: str) -> AsyncIterator[Any]:
        """Those that are running, or not all of them: listings are written later."""
        for one in self.executions:
            if one.running and f"'{one.run}'" in query and self.chance.random() < 0.8:
                yield type("Listed", (), {"run_id": one.run})()


@dataclass
class Handle:
    """Of one execution."""

    temporal: Unreliable
    found: Execution

    async def terminate(self, **_: Any) -> None:
        """End it, if it has not ended."""
        self.temporal.fail()
        if not self.found.running:
            raise RPCError("not found", RPCStatusCode.NOT_FOUND, b"")
        self.found.running = False

    async def describe(self, **_: Any) -> Any:
        """Whether it is running."""
        self.temporal.fail()
        status = WorkflowExecutionStatus.RUNNING if self.found.running else WorkflowExecutionStatus.TERMINATED
        return type("Description", (), {"status": status})()


@dataclass
class World:
    """A database, a Temporal that fails, a clock, and the model: what each entity holds, and what must have fired."""

    database: Database
    chance: random.Random
    temporal: Unreliable
    now: datetime = AT
    held: dict[str, datetime] = field(default_factory=dict)
    fired: dict[str, bool] = field(default_factory=dict)
    expected: list[tuple[str, str]] = field(default_factory=list)

    @property
    def relay(self) -> TimerRelay:
        """A relay, which may be another process than the one before."""
        return TimerRelay(self.temporal, self.database, "queue", lambda: self.now)  # type: ignore[arg-type]

    async def step(self) -> None:
        """Write something, let relays work or fail, and now and then let time pass."""
        names = [f"e{n}" for n in range(4)]
        name, other = self.chance.sample(names, 2)
        match self.chance.choice(["set", "set", "set", "clear", "delete", "rename", "relay", "relay", "lose", "pass"]):
            case "set":
                ttl = AT + timedelta(hours=self.chance.randrange(60))
                if ttl <= self.now:
                    ttl = self.now + timedelta(hours=1)
                await sql.put(self.database, name, ttl=iso(ttl))
                if self.held.get(name) != ttl:
                    self.held[name], self.fired[name] = ttl, False
            case "clear" if name in self.held:
                await sql.put(self.database, name, ttl=None)
                del self.held[name]
            case "delete" if name in self.held:
                await sql.removed(self.database, name)
                del self.held[name]
            case "rename" if name in self.held and other not in self.held:
                await self._free(other)
                await sql.put(self.database, name, called=other)
                self.held[other], self.fired[other] = self.held.pop(name), self.fired[name]
            case "relay":
                self.temporal.outage = self.chance.choice([0.0, 0.3])
                await self.relay.relay_once()
            case "lose" if self.temporal.executions:
                self.chance.choice(self.temporal.executions).running = False
            case "pass":
                await self.passes(timedelta(hours=self.chance.randrange(12)))

    async def _free(self, name: str) -> None:
        try:
            await sql.removed(self.database, name)
        except NotFound:
            return

    async def passes(self, time: timedelta) -> None:
        """Let time pass: what is due by then fires, whatever happened before."""
        self.temporal.outage = 0.0
        self.now += time + timers.LEASE
        await self.relay.sweep()
        while await self.relay.relay_once():
            pass
        for one in list(self.temporal.executions):
            if one.running and one.start.due_at <= self.now:
                for _ in range(self.chance.choice([1, 2])):  # an answer that is lost is asked for again
                    await self.database.transact(
                        lambda session, of=one.start: timers.expire(  # type: ignore[misc]
                            session, of.entity_id, of.property, of.due_at, at=self.now
                        )
                    )
                one.running = False
        for name, ttl in self.held.items():
            if ttl <= self.now and not self.fired[name]:
                self.fired[name] = True
                self.expected.append((name, iso(ttl)))


@pytest.mark.parametrize("seed", range(6))
async def test_every_moment_that_is_reached_fires_once(database: Database, seed: int) -> None:
    await sql.made(database)
    chance = random.Random(seed)  # noqa: S311
    world = World(database, chance, Unreliable(chance))
    for _ in range(60):
        await world.step()
    await world.passes(timedelta(days=30))
    changes: list[Any] = await sql.fired(database)
    told = [(one["context"]["entity"], one["after"]["properties"]["ttl"]) for one in changes]
    assert sorted(told) == sorted(world.expected)
    assert told, "something must have happened"


@dataclass
class Slow(Unreliable):
    """A Temporal that serves one start after the other, each of which takes its time."""

    world: World = field(kw_only=True)

    async def start_workflow(self, *given: Any, **more: Any) -> Any:
        """Start it, later."""
        self.world.now += timedelta(seconds=0.25)
        await asyncio.sleep(0)
        return await super().start_workflow(*given, **more)


async def _told_all(relay: TimerRelay, temporal: Unreliable, *, most: int) -> None:
    while await relay.relay_once():
        assert len(temporal.executions) <= most, "they are started again and again"


async def test_each_timer_is_started_once_however_slow_temporal_is(database: Database) -> None:
    await sql.made(database)
    world = World(database, random.Random(0), Unreliable(random.Random(0)))  # noqa: S311
    world.temporal = Slow(random.Random(0), world=world)  # noqa: S311
    for number in range(100):
        await sql.put(database, f"e{number}", ttl=iso(AT + timedelta(days=2)))
    relays = [world.relay, world.relay]
    await asyncio.gather(*(_told_all(relay, world.temporal, most=200) for relay in relays))
    assert len(world.temporal.executions) == 100
    assert not any([await relay.relay_once() for relay in relays])


async def test_a_timer_that_cannot_be_told_costs_the_others_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.timers._TELLING_SECONDS", 0.05)
    await sql.made(database)
    world = World(database, random.Random(0), Unreliable(random.Random(0)))  # noqa: S311
    for name in ("broken", "endless", "good"):
        await sql.put(database, name, ttl=iso(AT + timedelta(days=2)))
    real = TimerRelay._start

    async def start(self: TimerRelay, timer: timers.Timer, called: str) -> str | None:
        if timer.entity == "broken":
            raise ValueError("nobody knows why")
        if timer.entity == "endless":
            await asyncio.sleep(60)
        return await real(self, timer, called)

    monkeypatch.setattr(TimerRelay, "_start", start)
    for _ in range(2):
        with pytest.raises(ValueError, match="nobody knows why"):
            await world.relay.relay_once()
        world.now += timers.LEASE
    rows = await sql.rows(database)
    assert {entity: row.pending for (entity, _), row in rows.items()} == {
        "broken": "start", "endless": "start", "good": None,
    }  # fmt: skip
    assert len(world.temporal.executions) == 1
