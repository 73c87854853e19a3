"""Waiting for a verdict: what happens meanwhile, and when."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from domain.approvals import Gate, OnTimeLimit, Reminders
from domain.driving import Driving
from domain.models import Kept
from domain.times import Duration


class Step(StrEnum):
    """What may have to be done while a run waits; the values are what Temporal shows of it."""

    REMIND = "reminder"
    ESCALATE = "escalation"
    END = "approval time limit"


@dataclass(frozen=True)
class Moment:
    """When to do what."""

    at: datetime
    step: Step
    number: int = 0
    """Which reminder it is; the first one is 1."""

    def __str__(self) -> str:
        """For people."""
        return f"{self.step} {self.number}" if self.number else self.step


class Patience(Kept):
    """How long a run waits for its verdict, and what happens meanwhile."""

    time_limit: Duration | None = None
    on_time_limit: OnTimeLimit = OnTimeLimit.DECLINE
    escalate_after: Duration | None = None
    reminders: Reminders | None = None

    @classmethod
    def of(cls, driving: Driving) -> Self:
        """The patience of a run."""
        gate = driving.gate or Gate()
        return cls(
            time_limit=driving.approval_time_limit,
            on_time_limit=gate.on_time_limit,
            escalate_after=gate.escalation.after if gate.escalation else None,
            reminders=gate.reminders,
        )

    def end(self, since: datetime) -> datetime | None:
        """When it is over for one who waits since then. None: never."""
        if self.time_limit is None:
            return None
        return since + self.time_limit * (2 if self.on_time_limit is OnTimeLimit.ESCALATE else 1)

    def plan(self, since: datetime) -> tuple[Moment, ...]:
        """Everything that has to be done for one who waits since then, in order of time.

        >>> day = timedelta(days=1)
        >>> given = Patience(time_limit=3 * day, reminders=Reminders(every=day, most=9))
        >>> [f"{moment}: {moment.at:%d}" for moment in given.plan(datetime(2026, 1, 1))]
        ['reminder 1: 02', 'reminder 2: 03', 'approval time limit: 04']
        """
        end = self.end(since)
        moments = [Moment(at, Step.ESCALATE) for at in self._escalations(since)]
        if self.reminders:
            every, most = self.reminders.every, self.reminders.most
            moments += [Moment(since + number * every, Step.REMIND, number) for number in range(1, most + 1)]
        if end:
            moments = [*(moment for moment in moments if moment.at < end), Moment(end, Step.END)]
        return tuple(sorted(moments, key=lambda moment: moment.at))

    def _escalations(self, since: datetime) -> set[datetime]:
        lengths = {self.escalate_after} if self.escalate_after else set[timedelta]()
        if self.time_limit and self.on_time_limit is OnTimeLimit.ESCALATE:
            lengths.add(self.time_limit)
        return {since + length for length in lengths}


def ahead(plan: Sequence[Moment], now: datetime) -> tuple[Moment, ...]:
    """What of it is still to be done: of reminders that are all due by now, only the last one.

    They are when nobody looked for a while, because Temporal or every worker was down.
    """
    due = [moment.number for moment in plan if moment.step is Step.REMIND and moment.at <= now]
    return tuple(moment for moment in plan if moment.step is not Step.REMIND or moment.number >= max(due, default=0))


def start_after(gate: Gate | None, verdict: datetime) -> datetime | None:
    """When the backend of a run that was approved at that moment is called at the earliest. None: at once."""
    wanted = gate.not_before if gate else None
    moment = verdict + wanted if isinstance(wanted, timedelta) else wanted
    return moment if moment and moment > verdict else None
