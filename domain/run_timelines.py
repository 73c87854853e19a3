"""Timelines of runs: what happened to one, in order, as clients read it."""

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from domain.approvals import Channel, Decision
from domain.attempts import Attempt, Kind
from domain.documents import Document
from domain.models import Kept
from domain.runs import LogLine, Run, RunStatus, Source
from domain.times import Instant


class _Moment(Kept):
    at: Instant
    by: str
    """The id of who did it; `interlock` where nobody but the product itself acted."""


class Recorded(_Moment):
    """The run was made."""

    kind: Literal["RECORDED"] = "RECORDED"
    status: RunStatus
    source: Source


class ApproversAsked(_Moment):
    """People were told that the run waits for them; or others may decide, too; or a reminder was due.

    `APPROVAL_CHANGED` is all else that a verdict depends on: somebody left it to another, decisions became void.
    """

    kind: Literal["APPROVAL_ASKED", "APPROVAL_ESCALATED", "APPROVAL_REMINDED", "APPROVAL_CHANGED"]
    user_ids: tuple[str, ...] = ()
    """Who."""
    channel: str | None = None
    """How they were told."""


class Decided(_Moment):
    """Somebody decided, or the time for that was over."""

    kind: Literal["APPROVAL_DECIDED"] = "APPROVAL_DECIDED"
    status: RunStatus | None = None
    """Of the run, after it. None: it is not known any more."""
    state: str
    """`APPROVED` or `DECLINED`."""
    description: str | None = None
    channel: Channel | None = None
    """By which door they came. None: nobody did, the time was over; or it is not known any more."""
    starts_at: Instant | None = None
    """When the backend may be called, if it has to wait for that."""


class Reopened(_Moment):
    """What would have been sent was not what was approved: it waits for approval again."""

    kind: Literal["APPROVAL_REOPENED"] = "APPROVAL_REOPENED"


class Begun(_Moment):
    """What is sent is settled; from now on it may have been."""

    kind: Literal["BEGUN"] = "BEGUN"


class Attempted(_Moment):
    """The backend was called; `at` is when that began."""

    kind: Literal["ATTEMPT"] = "ATTEMPT"
    number: int
    """Which of the attempts of its kind it is, the first is 1."""
    attempt: Attempt


class Lost(_Moment):
    """An attempt that left no record: its worker died, or a part that it needs did not answer before it began.

    If its worker died, the backend may have got the request. `at` is when the next one began.
    """

    kind: Literal["ATTEMPT_LOST"] = "ATTEMPT_LOST"
    of: Kind
    number: int


class Reported(_Moment):
    """The backend, or somebody for it, said something about the run. Only what was said anew is there."""

    kind: Literal["REPORTED"] = "REPORTED"
    status_label: str | None = None
    summary: str | None = None
    link: tuple[str, ...] | None = None
    external_run_id: str | None = None
    changed: tuple[str, ...] = ()
    """The fields of the run that have another value than before."""


class Logged(_Moment):
    """A line of the run's log."""

    kind: Literal["LOGGED"] = "LOGGED"
    id: str
    message: str


class Ended(_Moment):
    """The run ended."""

    kind: Literal["ENDED"] = "ENDED"
    status: RunStatus
    status_label: str | None = None
    summary: str = ""


Entry: TypeAlias = Annotated[
    Recorded | ApproversAsked | Decided | Reopened | Begun | Attempted | Lost | Reported | Logged | Ended,
    Field(discriminator="kind"),
]

_SAID = {"statusLabel": "status_label", "summary": "summary", "link": "link", "externalRunId": "external_run_id"}
_UNTOLD = frozenset({"updatedAt", "updatedBy"})


class RunTimeline(Kept):
    """What happened to a run."""

    ok: Literal[True] = True
    timeline: tuple[Entry, ...]
    """The oldest first."""


def ended_by_decision(run: Run) -> bool:
    """Whether a decision ended it: then the change that did so tells of the decision, and the end comes beside it."""
    return run.status is RunStatus.DECLINED and run.approval is not None and run.updated_by == run.approval.user_id


def recorded(run: Run) -> Recorded:
    """How the timeline begins where the change that made the run is not kept any more."""
    asked = run.required_approval is not False
    status = RunStatus.WAITING_FOR_APPROVAL if asked else RunStatus.IN_PROGRESS
    return Recorded(at=run.created_at, by=run.created_by, status=status, source=run.source)


def ended(run: Run) -> Ended:
    """How it ends."""
    at = run.ended_at or run.updated_at
    return Ended(at=at, by=run.updated_by, status=run.status, status_label=run.status_label, summary=run.summary)


def decided(decision: Decision) -> Decided:
    """A decision where the change that it made is not kept any more."""
    said = {"state": decision.state, "description": decision.description, "channel": decision.channel}
    return Decided(at=decision.at, by=decision.user_id, **said)


def logged(line: Document) -> Logged:
    """The line of a log."""
    known = LogLine.model_validate(line)
    return Logged(at=known.created_at, by=known.created_by, id=known.id, message=known.message)


def of_change(before: Document | None, after: Document, *, at: datetime, by: str) -> Entry:
    """What a change of the run tells."""
    run = Run.model_validate(after)
    if before is None:
        return Recorded(at=at, by=by, status=run.status, source=run.source)
    was = Run.model_validate(before)
    said: dict[str, Any] = {"at": at, "by": by}
    gate, past = run.interlock.gate, was.interlock.gate
    if run.approval != was.approval and run.approval is not None:
        word = run.interlock.last_word
        return Decided(
            **said,
            status=run.status,
            state=run.approval.state,
            description=run.approval.description,
            channel=word.channel if word and run.approval.user_id else None,
            starts_at=gate.starts_at if gate else None,
        )
    if run.status is RunStatus.WAITING_FOR_APPROVAL and was.status is not run.status:
        return Reopened(**said)
    if run.status.is_terminal and not was.status.is_terminal:
        return Ended(**said, status=run.status, status_label=run.status_label, summary=run.summary)
    if told := [one for one in run.interlock.asked if one not in was.interlock.asked]:
        ids = tuple(dict.fromkeys(user_id for one in told for user_id in one.user_ids))
        return ApproversAsked(**said, kind="APPROVAL_ASKED", user_ids=ids, channel=told[-1].channel)
    if gate and past and gate.escalated_at != past.escalated_at:
        return ApproversAsked(**said, kind="APPROVAL_ESCALATED", user_ids=gate.escalated_to)
    if gate and gate.reminded > (past.reminded if past else 0):
        return ApproversAsked(**said, kind="APPROVAL_REMINDED")
    if run.payload is not None and was.payload is None:
        return Begun(**said)
    if gate != past and run.status is RunStatus.WAITING_FOR_APPROVAL:
        return ApproversAsked(**said, kind="APPROVAL_CHANGED")
    changed = tuple(key for key in after if after.get(key) != before.get(key) and key not in _UNTOLD)
    new = {field: getattr(run, field) for key, field in _SAID.items() if key in changed}
    return Reported(**said, **new, changed=changed)
