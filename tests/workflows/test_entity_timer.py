"""`EntityTimer`: what it asks for, and when, over months."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from domain.timers import Outcome
from workflows import entity_timer
from workflows.calls import EntityTimerInput, TimerAnswer, TimerQuestion
from workflows.entity_timer import EntityTimer

DAY = timedelta(days=1)


@dataclass
class TimerRow:
    """The fact, and when it was asked about."""

    environment: WorkflowEnvironment
    stale: bool = False
    behind: timedelta = timedelta(0)
    """How far our clock is behind Temporal's."""
    failures: int = 0
    """How often asking fails before it works."""
    asked: list[tuple[str, datetime]] = field(default_factory=list)
    warn_at: datetime | None = None

    @activity.defn
    async def warn_of_timer(self, question: TimerQuestion) -> TimerAnswer:
        """Warn when it is time."""
        return await self._asked("warn", self.warn_at or question.due_at)

    @activity.defn
    async def expire_timer(self, question: TimerQuestion) -> TimerAnswer:
        """Expire when it is time."""
        return await self._asked("expire", question.due_at)

    async def _asked(self, what: str, due: datetime) -> TimerAnswer:
        if self.failures:
            self.failures -= 1
            raise ApplicationError("the database is out of order")
        now = await self.environment.get_current_time()
        self.asked.append((what, now))
        if self.stale:
            return TimerAnswer(outcome=Outcome.STALE)
        left = due - (now - self.behind)
        return (
            TimerAnswer(outcome=Outcome.EARLY, left=left) if left > timedelta(0) else TimerAnswer(outcome=Outcome.DONE)
        )


@dataclass
class TimerBench:
    """Where the workflow is tried."""

    environment: WorkflowEnvironment
    row: TimerRow
    queue: str

    async def now(self) -> datetime:
        """By Temporal's clock."""
        return await self.environment.get_current_time()

    async def start(
        self, due: datetime, warn: datetime | None = None, delay: timedelta | None = None, **how: Any
    ) -> WorkflowHandle[Any, Outcome]:
        """Start the workflow as the relay does."""
        self.row.warn_at = warn
        start = EntityTimerInput(entity_id="ent_1", property="ttl", due_at=due, warn_at=warn, value=due.isoformat())
        first = max((warn or due) - await self.now(), timedelta(0)) if delay is None else delay
        return await self.environment.client.start_workflow(
            EntityTimer.run, start, id=how.pop("id", f"timer:env:{uuid.uuid4().hex}:ttl"), task_queue=self.queue,
            start_delay=first or None,
            run_timeout=timedelta(days=30_000),
            execution_timeout=timedelta(days=30_000), **how,
        )  # fmt: skip


@pytest.fixture
async def bench(clock: WorkflowEnvironment) -> AsyncIterator[TimerBench]:
    """A worker with fake activities on a Temporal of its own."""
    row, queue = TimerRow(clock), uuid.uuid4().hex
    async with Worker(
        clock.client, task_queue=queue, workflows=[EntityTimer], activities=[row.warn_of_timer, row.expire_timer]
    ):
        yield TimerBench(clock, row, queue)


def days(bench: TimerBench, since: datetime) -> list[tuple[str, float]]:
    """What was asked for, after how many days."""
    return [(what, round((at - since) / DAY, 2)) for what, at in bench.row.asked]


async def test_a_timer_expires_after_months(bench: TimerBench) -> None:
    since = await bench.now()
    handle = await bench.start(since + 200 * DAY)
    assert await handle.result() is Outcome.DONE
    assert days(bench, since) == [("expire", 200)]
    events = [event async for event in handle.fetch_history_events()]
    assert len(events) == 6, "started, one task, one record, completed: no worker has it before its time"


async def test_a_timer_of_the_past_expires_at_once(bench: TimerBench) -> None:
    since = await bench.now()
    handle = await bench.start(since - 900 * DAY)
    assert await handle.result() is Outcome.DONE
    assert days(bench, since) == [("expire", 0)]


async def test_it_warns_and_then_expires(bench: TimerBench) -> None:
    since = await bench.now()
    handle = await bench.start(since + 90 * DAY, since + 60 * DAY)
    assert await handle.result() is Outcome.DONE
    assert days(bench, since) == [("warn", 60), ("expire", 90)]


async def test_one_that_is_stale_when_it_should_warn_asks_for_nothing_more(bench: TimerBench) -> None:
    since = await bench.now()
    bench.row.stale = True
    handle = await bench.start(since + 90 * DAY, since + 60 * DAY)
    assert await handle.result() is Outcome.STALE
    assert days(bench, since) == [("warn", 60)]


async def test_one_that_is_stale_when_it_should_expire_says_so(bench: TimerBench) -> None:
    bench.row.stale = True
    handle = await bench.start(await bench.now() + DAY)
    assert await handle.result() is Outcome.STALE


async def test_a_clock_that_is_behind_is_waited_for(bench: TimerBench) -> None:
    since = await bench.now()
    bench.row.behind = timedelta(hours=6)
    handle = await bench.start(since + 10 * DAY, since + 9 * DAY)
    assert await handle.result() is Outcome.DONE
    assert days(bench, since) == [("warn", 9), ("warn", 9.25), ("expire", 10), ("expire", 10.25)]


async def test_what_is_further_away_than_servers_count_is_waited_for_in_steps(
    clock: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entity_timer, "_LONGEST", 30 * DAY)
    row, queue = TimerRow(clock), uuid.uuid4().hex
    bench = TimerBench(clock, row, queue)
    since = await bench.now()
    async with Worker(
        clock.client,
        task_queue=queue,
        workflows=[EntityTimer],
        activities=[row.warn_of_timer, row.expire_timer],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        handle = await bench.start(since + 80 * DAY, delay=timedelta(0))
        assert await handle.result() is Outcome.DONE
    assert days(bench, since) == [("expire", 30), ("expire", 60), ("expire", 80)]


async def test_an_outage_of_the_database_only_costs_time(bench: TimerBench) -> None:
    bench.row.failures = 4
    handle = await bench.start(await bench.now() + DAY)
    assert await handle.result() is Outcome.DONE
    assert [what for what, _ in bench.row.asked] == ["expire"]


async def test_it_says_in_words_what_it_waits_for(bench: TimerBench) -> None:
    due = await bench.now() + 8 * DAY
    handle = await bench.start(due, delay=timedelta(0))
    async with asyncio.timeout(10):
        while not (words := (await handle.query("__temporal_workflow_metadata")).current_details):
            await asyncio.sleep(0.05)
    assert words == f"Waits until **{due.isoformat()}**."
    await handle.terminate()


def test_the_moment_survives_the_way_through_temporal_to_the_microsecond() -> None:
    due = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    start = EntityTimerInput(entity_id="ent_1", property="ttl", due_at=due)
    assert EntityTimerInput.model_validate_json(start.model_dump_json()) == start
    answer = TimerAnswer(outcome=Outcome.EARLY, left=timedelta(microseconds=7))
    assert TimerAnswer.model_validate_json(answer.model_dump_json()) == answer
