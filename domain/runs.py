"""Runs: one execution of an action, and the moves it may make."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import Field, JsonValue, SerializerFunctionWrapHandler, field_validator, model_serializer

from domain.approvals import Decision, RequiredApproval, Verdict
from domain.documents import Document
from domain.errors import InvalidRequest, RunExhausted, RunNotWaitingForApproval, RunSynchronized
from domain.identifiers import RunId
from domain.models import Kept
from domain.times import Duration, Instant

PLATFORM = "interlock"
"""What `updatedBy` and log lines say when nobody but the product itself acted."""


class RunStatus(StrEnum):
    """Where a run stands."""

    WAITING_FOR_APPROVAL = "WAITING_FOR_APPROVAL"
    IN_PROGRESS = "IN_PROGRESS"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    DECLINED = "DECLINED"

    @property
    def is_terminal(self) -> bool:
        """Whether the run has ended."""
        return not MOVES[self]


MOVES: dict[RunStatus, frozenset[RunStatus]] = {
    RunStatus.WAITING_FOR_APPROVAL: frozenset({RunStatus.IN_PROGRESS, RunStatus.DECLINED, RunStatus.FAILURE}),
    RunStatus.IN_PROGRESS: frozenset({RunStatus.SUCCESS, RunStatus.FAILURE}),
    RunStatus.SUCCESS: frozenset(),
    RunStatus.FAILURE: frozenset(),
    RunStatus.DECLINED: frozenset(),
}
"""Every legal move. Source: the state machine of the runs API."""


class Source(StrEnum):
    """What asked for the run."""

    UI = "UI"
    API = "API"
    AUTOMATION = "AUTOMATION"


class Ref(Kept):
    """A thing as it was when the run was made; `deleted` says that it is gone by now."""

    identifier: str
    title: str | None = None
    icon: str | None = None
    deleted: bool = False


class ApprovalState(Kept):
    """The decision that counted last."""

    user_id: str | None
    state: str
    description: str | None = None
    impersonated_user_id: str | None = None


class Link(Kept):
    """One run in a chain of runs that cause each other."""

    run: str
    action: str
    """The identifier of the action it executed."""


class Asked(Kept):
    """People who were asked to decide: when, and by which channel."""

    user_ids: tuple[str, ...]
    channel: Literal["email", "webhook"]
    at: Instant


class Driving(Kept):
    """What the run's workflow needs to know; our own addition to the run object."""

    action_version: int = 1
    """The version of the definition this run executes."""
    trigger: Document = Field(default_factory=dict)
    """Who asked, how and when, as templates see it."""
    approvers: tuple[str, ...] = ()
    """The user ids asked when the run was made."""
    asked: tuple[Asked, ...] = ()
    """Who of them was told of it, and how; a webhook is told for all."""
    approval_time_limit: Duration | None = None
    """How long the run waits for a verdict before it is DECLINED. None: for ever."""
    run_time_limit: Duration | None = None
    """How long the run may be IN_PROGRESS before it fails. None: for ever."""
    synchronous: bool = False
    """Whether the backend's answer ends the run, so that reports are refused."""
    backend: str = ""
    """What does the work, in words."""
    depth: int = 0
    """How many runs caused each other before this one."""
    causes: tuple[Link, ...] = ()
    """Those runs, the first one first; as far as they are known."""
    cause: str | None = None
    """The change that started it, when an automation did: what its templates see as the event."""
    entity: Document | None = None
    """The entity it runs on, as it was when the run was made: what was approved is what is rendered."""


_ABSENT_WHEN_NONE = (
    "blueprint",
    "entity",
    "response",
    "claimedUntil",
    "installationId",
    "externalRunId",
    "impersonatedBy",
    "impersonatedUserId",
    "rawProperties",
)


class Run(Kept):
    """One execution of an action: the HTTP body, the stored document, what activities exchange."""

    id: RunId
    status: RunStatus
    status_label: str | None = None
    action: Ref
    blueprint: Ref | None = None
    entity: Ref | None = None
    source: Source = Source.API
    properties: Document = Field(default_factory=dict)
    """The inputs after defaults; secret ones encrypted."""
    raw_properties: Document | None = None
    """The inputs as submitted; secret ones encrypted."""
    required_approval: bool | RequiredApproval = False
    approval: ApprovalState | None = None
    link: tuple[str, ...] = ()
    summary: str = ""
    payload: Document | None = None
    """The rendered invocation method, secrets masked; None until the backend is invoked."""
    response: JsonValue = None
    pending_execution: bool = False
    claimed_until: Instant | None = None
    installation_id: str | None = None
    external_run_id: str | None = None
    created_at: Instant
    created_by: str
    updated_at: Instant
    updated_by: str
    impersonated_by: str | None = None
    impersonated_user_id: str | None = None
    ended_at: Instant | None = None
    interlock: Driving = Field(default_factory=Driving)

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document: dict[str, Any] = handler(self)
        for key in _ABSENT_WHEN_NONE:
            if document.get(key) is None:
                document.pop(key, None)
        return document

    def document(self) -> Document:
        """The run as JSON."""
        return self.model_dump(mode="json")

    def answer(self) -> Document:
        """The run as it is told: without the entity it runs on, which not everybody who sees the run may read."""
        return without_entity(self.document())

    def moved(self, to: RunStatus, *, at: datetime, by: str, **said: Any) -> Self:
        """With another status.

        Raises:
            RunExhausted: the run has ended.
            ValueError: the state machine has no such move.
        """
        if self.status.is_terminal:
            raise RunExhausted(f"run {self.id} has ended with {self.status}")
        if to not in MOVES[self.status]:
            raise ValueError(f"a run cannot move from {self.status} to {to}")
        return self.changed(at=at, by=by, status=to, ended_at=at if to.is_terminal else None, **said)

    def changed(self, *, at: datetime, by: str, **said: Any) -> Self:
        """With other values; the very same run where nothing differs, so that nothing is written or told."""
        if all(getattr(self, name) == value for name, value in said.items()):
            return self
        return self.model_copy(update={**said, "updated_at": at, "updated_by": by})

    def reported(self, report: "Report", *, at: datetime, by: str) -> Self:
        """What follows from a backend's report, or from the requester withdrawing a run that waits.

        Raises:
            RunExhausted: the run has ended.
            RunSynchronized: the backend's answer decides, so its status cannot be reported.
            InvalidRequest: the run waits for approval and the report says SUCCESS.
        """
        if self.status.is_terminal:
            raise RunExhausted(f"run {self.id} has ended with {self.status}")
        said = report.said()
        if report.status is None:
            return self.changed(at=at, by=by, **said)
        if self.interlock.synchronous and self.status is RunStatus.IN_PROGRESS:
            raise RunSynchronized(f"run {self.id} ends with the answer of its synchronized backend")
        if report.status not in MOVES[self.status]:
            raise InvalidRequest(f"status: run {self.id} waits for approval and can only be withdrawn with FAILURE")
        return self.moved(report.status, at=at, by=by, **said)

    def answered(self, response: JsonValue, *, at: datetime, by: str) -> Self:
        """With the answer of a backend that somebody else called.

        Raises:
            RunExhausted: the run has ended.
            RunSynchronized: we call the backend ourselves.
            InvalidRequest: the backend was not called yet, because the run waits for approval.
        """
        if self.status.is_terminal:
            raise RunExhausted(f"run {self.id} has ended with {self.status}")
        if self.status is not RunStatus.IN_PROGRESS:
            raise InvalidRequest(f"run {self.id} is {self.status}: its backend was not called yet")
        if self.interlock.synchronous:
            raise RunSynchronized(f"run {self.id} ends with the answer of its synchronized backend")
        return self.changed(at=at, by=by, response=response)

    def decided(self, decision: Decision, verdict: Verdict) -> Self:
        """What follows from a decision and the verdict it leads to.

        Raises:
            RunNotWaitingForApproval: it waits no more, or never did.
        """
        if self.status is not RunStatus.WAITING_FOR_APPROVAL:
            raise RunNotWaitingForApproval(f"run {self.id} is {self.status}, not waiting for approval")
        said = {
            "approval": ApprovalState(user_id=decision.user_id, state=decision.state, description=decision.description)
        }
        match verdict:
            case Verdict.APPROVED:
                return self.moved(RunStatus.IN_PROGRESS, at=decision.at, by=decision.user_id, **said)
            case Verdict.DECLINED:
                reason = f"Declined by {decision.name}" + (f": {decision.description}" if decision.description else "")
                return self.moved(RunStatus.DECLINED, at=decision.at, by=decision.user_id, summary=reason, **said)
        return self.changed(at=decision.at, by=decision.user_id, **said)

    def told(self, asked: Asked) -> Self:
        """Once people were asked to decide about it; the very same run if it has ended."""
        if self.status.is_terminal:
            return self
        driving = self.interlock.model_copy(update={"asked": (*self.interlock.asked, asked)})
        return self.changed(at=asked.at, by=PLATFORM, interlock=driving)

    def undecided(self, *, at: datetime, by: str) -> Self:
        """DECLINED because nobody decided in time; the very same run if somebody did."""
        if self.status is not RunStatus.WAITING_FOR_APPROVAL:
            return self
        return self.moved(
            RunStatus.DECLINED,
            at=at,
            by=by,
            summary=f"Nobody decided within {_words(self.interlock.approval_time_limit)}",
        )

    def unreported(self, *, at: datetime, by: str) -> Self:
        """FAILURE because the backend did not report in time; the very same run if it did."""
        if self.status is not RunStatus.IN_PROGRESS:
            return self
        return self.moved(
            RunStatus.FAILURE,
            at=at,
            by=by,
            summary=f"The backend did not report within {_words(self.interlock.run_time_limit)}",
        )

    def cancelled(self, reason: str, *, at: datetime, by: str) -> Self:
        """FAILURE because somebody stopped it; the very same run if it has ended."""
        if self.status.is_terminal:
            return self
        return self.moved(RunStatus.FAILURE, at=at, by=by, summary=reason)


class Report(Kept):
    """What a backend says about a run. Only what is not None is said; each value replaces the one before."""

    status: RunStatus | None = None
    status_label: str | None = None
    link: tuple[str, ...] | None = None
    summary: str | None = None
    external_run_id: str | None = None

    @field_validator("link", mode="before")
    @classmethod
    def _one_link(cls, link: object) -> object:
        return (link,) if isinstance(link, str) else link

    def said(self) -> dict[str, Any]:
        """The fields of the run it replaces, other than the status."""
        fields = ("status_label", "link", "summary", "external_run_id")
        return {name: getattr(self, name) for name in fields if getattr(self, name) is not None}


class LogLine(Kept):
    """One line of a run's log."""

    id: str
    run_id: RunId
    message: str
    created_by: str
    created_at: Instant


def without_entity(run: Document) -> Document:
    """The run, as JSON, without its copy of the entity; what names the entity stays."""
    driving = run.get("interlock")
    if not isinstance(driving, dict) or driving.get("entity") is None:
        return run
    return {**run, "interlock": {**driving, "entity": None}}


def v1(run: Document) -> Document:
    """A run as clients of version 1 read it: the action as a string, booleans instead of `deleted`."""
    action, blueprint, entity = (run.get(key) for key in ("action", "blueprint", "entity"))
    shape = {**run, "action": action["identifier"] if isinstance(action, dict) else action}
    for name, ref in (("Blueprint", blueprint), ("Entity", entity)):
        if isinstance(ref, dict):
            shape[f"related{name}Exists"] = not ref.get("deleted")
            shape[name.lower()] = {"identifier": ref["identifier"], "title": ref.get("title")}
    return shape


def _words(limit: timedelta | None) -> str:
    return str(limit) if limit is not None else "its time limit"
