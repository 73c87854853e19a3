"""A real Temporal with fake activities: callables that remember, over a row in memory."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio import activity
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from domain.runs import RunStatus
from workflows.action_run import ActionRun
from workflows.calls import ActionRunInput, Begun, OperatorWord, Progress, Question, task_time_limit


@dataclass
class Row:
    """The fact, and what the workflow asked for."""

    status: RunStatus = RunStatus.IN_PROGRESS
    outcome: RunStatus | None = RunStatus.SUCCESS
    """What the backend's answer settles the run with; None when it works on."""
    asked: Counter[str] = field(default_factory=Counter)
    words: list[Any] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    """How often each activity fails before it works."""
    told: list[str] = field(default_factory=list)
    """The runs whose approvers were told."""
    happened: list[str] = field(default_factory=list)
    """What happened while the run waited."""
    on_time_limit: RunStatus = RunStatus.DECLINED
    """What becomes of a run that nobody decided about in time."""
    starts_at: datetime | None = None
    """What an approval says about when to begin."""
    untold: bool = False
    """Whether somebody has to be told of something new."""
    changed: int = 0
    """How many times it is found, before anything is sent, that something else was approved."""
    postponed: datetime | None = None
    """When it may begin, as is found once: it was approved again for a later time."""
    tries: int = 0
    """How often that was tried."""
    stops: bool = False
    """Whether the backend is told to stop when the run is ended from outside."""
    invoking: bool = False
    """Whether the backend is being called, and its answer takes as long as this is set."""
    begun: list[Begun | None] = field(default_factory=list)
    """What each call of the backend was told of what was begun before."""
    stopped: list[bool] = field(default_factory=list)
    """Each time the backend was told to stop: whether it was being called just then."""

    lines: list[timedelta] = field(default_factory=list)
    """For each time that it is found that its turn has not come: after which time it looks again."""

    def _asked(self, name: str) -> None:
        self.asked[name] += 1
        if self.failures[name] > 0:
            self.failures[name] -= 1
            raise ApplicationError(f"{name} is out of order")

    @activity.defn
    async def begin_invocation(self, run_id: str, asked_at: datetime) -> Progress:
        """The same at once, unless that takes long or fails."""
        if self.invoking or self.failures["invoke_backend"]:
            return Progress(status=self.status, begun=Begun(by="this worker", until=asked_at))
        return await self.invoke_backend(run_id)

    @activity.defn
    async def invoke_backend(self, run_id: str, begun: Begun | None = None) -> Progress:
        """Settle the run, unless it has ended."""
        self.begun.append(begun)
        self._asked("invoke_backend")
        while self.invoking:
            await asyncio.sleep(0.01)
        if self.changed and self.status is RunStatus.IN_PROGRESS:
            self.changed -= 1
            self.status, self.untold = RunStatus.WAITING_FOR_APPROVAL, True
        if self.postponed:
            starts_at, self.postponed = self.postponed, None
            return Progress(status=self.status, starts_at=starts_at)
        if self.lines and self.status is RunStatus.IN_PROGRESS:
            looks_after = self.lines.pop(0)
            return Progress(
                status=self.status,
                starts_at=datetime.now(UTC) + looks_after,
                queued=True,
                look_after=looks_after,
                waits_for="Waits for its turn: 1st for entity cart",
            )
        if self.status is RunStatus.IN_PROGRESS and self.outcome:
            self.status = self.outcome
        return self._stands()

    @activity.defn
    async def ask_approvers(self, run_id: str) -> str:
        """Tell them; it is beside everything else, so it is not counted among what was asked for."""
        self.tries += 1
        if self.failures["ask_approvers"] > 0:
            self.failures["ask_approvers"] -= 1
            raise ApplicationError("the SMTP server is out of order")
        if self.status is RunStatus.WAITING_FOR_APPROVAL:
            self.told.append(run_id)
        self.untold = False
        return "said"

    @activity.defn
    async def close_approval(self, question: Question) -> Progress:
        """Note what has to happen, and settle the run if the time is over."""
        self._asked("close_approval")
        if self.status is RunStatus.WAITING_FOR_APPROVAL:
            if question.escalate or question.reminder:
                self.untold = True
                self.happened.append(f"reminder {question.reminder}" if question.reminder else "escalation")
            if question.expired:
                self.status = self.on_time_limit
        waits = self.status is RunStatus.WAITING_FOR_APPROVAL
        return Progress(status=self.status, starts_at=None if waits else self.starts_at, untold=waits and self.untold)

    @activity.defn
    async def close_run(self, question: Question) -> Progress:
        """Fail if the time is over."""
        self._asked("close_run")
        if question.expired and self.status is RunStatus.IN_PROGRESS:
            self.status = RunStatus.FAILURE
        return self._stands()

    @activity.defn
    async def cancel_backend(self, run_id: str) -> str:
        """Remember it."""
        self._asked("cancel_backend")
        self.stopped.append(self.invoking)
        return "said"

    def _stands(self) -> Progress:
        return Progress(status=self.status, stops=self.stops and self.status is RunStatus.FAILURE)

    @activity.defn
    async def hear_operator(self, word: OperatorWord) -> Progress:
        """Do as the operator says."""
        self._asked("hear_operator")
        self.words.append((word.signal, word.said))
        if word.signal == "cancel":
            self.status = RunStatus.FAILURE
        elif isinstance(word.said, dict) and self.status is RunStatus.WAITING_FOR_APPROVAL:
            self.status = RunStatus.IN_PROGRESS if word.said["status"] == "APPROVE" else RunStatus.DECLINED
        return self._stands()

    @property
    def activities(self) -> list[Callable[..., Any]]:
        """All of them."""
        return [
            self.begin_invocation,
            self.invoke_backend,
            self.ask_approvers,
            self.close_approval,
            self.close_run,
            self.cancel_backend,
            self.hear_operator,
        ]


@dataclass
class Bench:
    """Where a workflow is tried."""

    environment: WorkflowEnvironment
    row: Row
    queue: str

    @property
    def client(self) -> Client:
        """The client of the Temporal server."""
        return self.environment.client

    async def start(self, *, in_task: bool = True, **values: Any) -> WorkflowHandle[Any, RunStatus]:
        """Start the workflow of a run."""
        run_id = f"r_{uuid.uuid4().hex[:16]}"
        if values.get("waits_for_approval"):
            self.row.status = RunStatus.WAITING_FOR_APPROVAL
        start = ActionRunInput(
            **{"requested_at": datetime.now(UTC), **values}, run_id=run_id, backend="WEBHOOK", in_task=in_task
        )
        return await self.client.start_workflow(
            ActionRun.run,
            start,
            id=run_id,
            task_queue=self.queue,
            run_timeout=timedelta(days=400),
            task_timeout=task_time_limit(start.delivery_time_limit) if in_task else None,
        )

    async def quiet(self, handle: WorkflowHandle[Any, RunStatus]) -> None:
        """Wait until the approvers were told and the workflow knows it.

        While an activity is under way this server may reject a workflow task, and local activities run again.
        """
        told = EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
        async with asyncio.timeout(10):
            while True:
                events = [event.event_type for event in (await handle.fetch_history()).events]
                if told in events and events[-1] == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
                    return
                await asyncio.sleep(0.02)


@pytest.fixture
async def bench(clock: WorkflowEnvironment) -> AsyncIterator[Bench]:
    """A worker with fake activities on a Temporal of its own."""
    row = Row()
    queue = uuid.uuid4().hex
    async with Worker(
        clock.client,
        task_queue=queue,
        workflows=[ActionRun],
        activities=row.activities,
    ):
        yield Bench(clock, row, queue)
