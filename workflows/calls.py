"""The activities that workflows ask for: names, types and retry policies; `activities/` has what they do."""

from datetime import datetime, timedelta
from typing import Any, Self, TypedDict

from pydantic import AwareDatetime
from temporalio import activity
from temporalio.common import RetryPolicy

from domain.approvals import ASK_ATTEMPTS
from domain.models import Kept
from domain.runs import Run, RunStatus
from domain.timers import Outcome
from domain.times import Duration, Instant
from domain.waiting import Moment, Patience, Step


class ActionRunInput(Kept):
    """What a run's workflow is started with. Everything else is in the row."""

    run_id: str
    requested_at: Instant
    """Since when it waits, if it does."""
    waits_for_approval: bool = False
    approval_time_limit: Duration | None = None
    patience: Patience | None = None
    """What happens while it waits. None: only the time limit passes."""
    not_before: Instant | None = None
    """When the backend of a run that is approved already may be called. Else the verdict tells."""
    run_time_limit: Duration | None = None
    approvers: str = ""
    """Who is asked, in words."""
    backend: str = ""
    """What does the work, in words."""
    delivery_time_limit: Duration = timedelta(seconds=30)
    """How long one delivery may take."""
    in_task: bool = False
    """Whether the backend is invoked within the workflow's task, which lasts long enough then (`task_time_limit`)."""
    at_once: bool = False
    """The same of runs whose history says, by a patch, that it was known how. Nobody says it any more."""
    histories: int = 0
    """How many its workflow had before this one: while it waits for its turn it begins a new one before one is long."""

    def plan(self, since: datetime) -> tuple[Moment, ...]:
        """What happens to a run that waits for approval since then, in order of time."""
        return (self.patience or Patience(time_limit=self.approval_time_limit)).plan(since)


class Begun(Kept):
    """An invocation that is not over, as whoever goes on with it has to know."""

    by: str
    """The worker that has begun it."""
    until: Instant
    """How long that worker may be at it."""


class Progress(Kept):
    """Where the run stands after an activity."""

    status: RunStatus
    starts_at: Instant | None = None
    """When the backend of a run that is approved may be called. None: at once."""
    untold: bool = False
    """Whether people have to be told something that they were not told when it began to wait."""
    queued: bool = False
    """Whether it waits for its turn, and looks again when it is woken. `starts_at` is for older workflow code."""
    look_after: Duration = timedelta(0)
    """After which time it looks again if nobody wakes it: clocks may differ."""
    waits_for: str = ""
    """What for, in words."""
    stops: bool = False
    """Whether it was stopped, and its backend may be at work."""
    begun: Begun | None = None
    """The invocation is for an activity: it takes long, has failed, or was not begun at all. None: it is over."""

    @classmethod
    def of(cls, run: Run) -> Self:
        """Where this run stands. The answer of a synchronous backend is waited for, and nothing else is to be had."""
        stops = run.status.is_terminal and run.interlock.stopped and not run.interlock.synchronous
        return cls(status=run.status, stops=stops and run.payload is not None)


class Question(Kept):
    """Where does the run stand, and has its time run out?"""

    run_id: str
    expired: bool = False
    """Whether the time limit of this phase has passed: then the run is settled if it still is in the phase."""
    escalate: bool = False
    """Whether it is time that others may decide, too."""
    reminder: int = 0
    """Which reminder is due. 0: none."""

    @classmethod
    def about(cls, run_id: str, moment: Moment | None) -> Self:
        """What is asked when the moment has come; None is none."""
        step = moment.step if moment else None
        return cls(
            run_id=run_id,
            expired=step is Step.END,
            escalate=step is Step.ESCALATE,
            reminder=moment.number if moment else 0,
        )


class OperatorWord(Kept):
    """What an operator's signal said, about which run."""

    run_id: str
    signal: str
    said: Any = None


class ScheduledRunInput(Kept):
    """What a schedule starts its workflow with: the automation, and the times that Temporal was told."""

    action_id: str
    cron: str
    timezone: str


class ScheduledTime(ScheduledRunInput):
    """One of those times."""

    scheduled_at: Instant


class ChangeDeliveryInput(Kept):
    """What the workflow that sends a change is started with. Everything else is in SQL."""

    change_id: str
    delivery_time_limit: Duration = timedelta(seconds=30)
    """How long one delivery may take."""


class EntityTimerInput(Kept):
    """What the workflow of a timer is started with."""

    entity_id: str
    """The id of the entity's row, which stays when the entity gets another name."""
    property: str
    due_at: AwareDatetime
    """Also what the timer is compared with when its time has come: an entity may hold another moment by then."""
    warn_at: AwareDatetime | None = None
    value: str = ""
    """The moment as it was written, for people; cut when it is long."""


class TimerQuestion(Kept):
    """Is it time for the timer of an entity, as it was when this workflow was started?"""

    entity_id: str
    property: str
    due_at: AwareDatetime


class TimerAnswer(Kept):
    """What came of it."""

    outcome: Outcome
    left: Duration = timedelta(0)
    """How long it is still too early."""


@activity.defn
async def begin_invocation(run_id: str, asked_at: datetime) -> Progress:
    """Begin what `invoke_backend` does, and wait a moment for its end; else it is for that activity (`begun`)."""
    raise NotImplementedError


@activity.defn
async def invoke_backend(run_id: str, begun: Begun | None = None) -> Progress:
    """Render, send, and record what came of it; a run that has ended is left alone.

    One that would send something else than what was approved is not sent: it waits for approval again. What was
    `begun` is not begun a second time.
    """
    raise NotImplementedError


@activity.defn
async def ask_approvers(run_id: str) -> str:
    """Tell who may decide about a run what they have to know, each of it once; what became of it, in words."""
    raise NotImplementedError


@activity.defn
async def close_approval(question: Question) -> Progress:
    """The verdict; what has to happen while there is none is recorded, and people who have to be told are found."""
    raise NotImplementedError


@activity.defn
async def close_run(question: Question) -> Progress:
    """How the run ended; one that nobody reported in time fails."""
    raise NotImplementedError


@activity.defn
async def cancel_backend(run_id: str) -> str:
    """Have the backend stop what it does for a run that has ended; what became of it, in words."""
    raise NotImplementedError


@activity.defn
async def hear_operator(word: OperatorWord) -> Progress:
    """Record an operator's decision or cancellation by the rules of the API; where the run stands then."""
    raise NotImplementedError


@activity.defn
async def fire_schedule(time: ScheduledTime) -> bool:
    """Record that the time has come, for the automation to be asked about; whether that was news."""
    raise NotImplementedError


@activity.defn
async def deliver_change(change_id: str) -> str:
    """Send the change to the destination of its blueprint; what became of it, in words."""
    raise NotImplementedError


@activity.defn
async def warn_of_timer(question: TimerQuestion) -> TimerAnswer:
    """Record that the timer will expire soon, unless it is another one by now."""
    raise NotImplementedError


@activity.defn
async def expire_timer(question: TimerQuestion) -> TimerAnswer:
    """Record that the timer has expired, unless it is another one by now, or has before."""
    raise NotImplementedError


class LocalOptions(TypedDict):
    """How a local activity is asked for."""

    start_to_close_timeout: timedelta
    retry_policy: RetryPolicy


LONG_HISTORY = 4_000
"""After so many events a workflow that waits for its turn begins a new history; Temporal ends it at 51,200."""

INVOKE_TIME_LIMIT = timedelta(minutes=15)
INVOKE_RETRIES = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1))
"""Retried for ever: the activity itself knows when a failure is final and settles the run."""

ASK_TIME_LIMIT = timedelta(hours=1)
ASK_SILENCE = timedelta(minutes=1)
"""How long who tells approvers may say nothing before the worker counts as dead."""
ASK_RETRIES = RetryPolicy(initial_interval=timedelta(seconds=30), backoff_coefficient=4, maximum_attempts=ASK_ATTEMPTS)
"""At once, and half a minute and two and a half minutes later."""

CANCEL_TIME_LIMIT = timedelta(minutes=5)
CANCEL_PATIENCE = timedelta(minutes=1)
"""How much longer than a delivery may take its answer is waited for, which says what to stop."""
CANCEL_ATTEMPTS = 5
"""How often a backend that does not answer is told to stop."""
CANCEL_RETRIES = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=3, maximum_attempts=2 * CANCEL_ATTEMPTS
)
"""After 1, 3, 9 and 27 seconds. Those beyond that are for SQL, which may not take down what became of it."""

DELIVER_TIME_LIMIT = timedelta(hours=24)
DELIVER_RETRIES = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=15))
"""How a change that cannot be delivered is tried again, and how long."""

SILENCE = timedelta(seconds=10)
"""How long beyond the time limit of a delivery a worker may be silent before it counts as dead.

A worker that lives but cannot reach Temporal has finished its call and recorded it in SQL by then, so whoever tries
next finds that instead of sending again.
"""

_LONGEST_TASK = timedelta(minutes=2)
"""Temporal waits no longer for a task, whatever it is told."""


def task_time_limit(delivery_time_limit: timedelta) -> timedelta | None:
    """How long a task of a workflow has to last in which a backend is invoked; None: longer than Temporal lets it.

    A task that was not heard of for so long is given to a worker again, which begins it again.
    """
    limit = delivery_time_limit + SILENCE
    return limit if limit <= _LONGEST_TASK else None


RECORD: LocalOptions = {
    "start_to_close_timeout": timedelta(seconds=30),
    "retry_policy": RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=30)),
}
"""Short SQL transactions: local activities, which add one event and no write of their own."""

ALL: tuple[Any, ...] = (
    begin_invocation,
    invoke_backend,
    ask_approvers,
    close_approval,
    close_run,
    cancel_backend,
    hear_operator,
    fire_schedule,
    deliver_change,
    warn_of_timer,
    expire_timer,
)
