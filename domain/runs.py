"""Runs: one execution of an action, and the moves it may make."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from pydantic import Field, JsonValue, SerializerFunctionWrapHandler, field_validator, model_serializer

from domain.approvals import Decision, DecisionState, OnTimeLimit, RequiredApproval, Verdict
from domain.documents import Document
from domain.driving import Asked as Asked
from domain.driving import Driving as Driving
from domain.driving import LastWord as LastWord
from domain.driving import Link as Link
from domain.errors import InvalidRequest, RunExhausted, RunNotWaitingForApproval, RunSynchronized
from domain.identifiers import RunId
from domain.models import Kept
from domain.run_documents import LogLine as LogLine
from domain.run_documents import v1 as v1
from domain.run_documents import without_entity as without_entity
from domain.times import Instant, iso
from domain.waiting import start_after

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
    queued: bool = Field(default=False, exclude=True)
    """Whether it waits for its turn, as its row knows."""

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
            InvalidRequest: the run waits for approval, or for its time, and the report says SUCCESS.
        """
        if self.status.is_terminal:
            raise RunExhausted(f"run {self.id} has ended with {self.status}")
        said = report.said()
        if report.status is None:
            return self.changed(at=at, by=by, **said)
        if self.held:
            if report.status is not RunStatus.FAILURE:
                raise InvalidRequest(f"status: run {self.id} waits for its time and can only be withdrawn with FAILURE")
        elif self.interlock.synchronous and self.status is RunStatus.IN_PROGRESS:
            raise RunSynchronized(f"run {self.id} ends with the answer of its synchronized backend")
        if report.status not in MOVES[self.status]:
            raise InvalidRequest(f"status: run {self.id} waits for approval and can only be withdrawn with FAILURE")
        return self.moved(report.status, at=at, by=by, **said)

    def answered(self, response: JsonValue, *, at: datetime, by: str) -> Self:
        """With the answer of a backend that somebody else called.

        Raises:
            RunExhausted: the run has ended.
            RunSynchronized: we call the backend ourselves.
            InvalidRequest: the backend was not called yet, because the run waits for approval or for its time.
        """
        if self.status.is_terminal:
            raise RunExhausted(f"run {self.id} has ended with {self.status}")
        if self.status is not RunStatus.IN_PROGRESS or self.held:
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
        driving = self.interlock.model_copy(update={"last_word": LastWord(by=decision.name, channel=decision.channel)})
        said: dict[str, Any] = {
            "approval": ApprovalState(user_id=decision.user_id, state=decision.state, description=decision.description),
            "interlock": driving,
        }
        match verdict:
            case Verdict.APPROVED:
                if decision.request is not None:
                    said["interlock"] = driving.gated(request=decision.request)
                return self._approved(at=decision.at, by=decision.user_id, **said)
            case Verdict.DECLINED:
                reason = f"Declined by {decision.name}" + (f": {decision.description}" if decision.description else "")
                return self.moved(RunStatus.DECLINED, at=decision.at, by=decision.user_id, summary=reason, **said)
        return self.changed(at=decision.at, by=decision.user_id, **said)

    def _approved(self, *, at: datetime, by: str, approval: ApprovalState, interlock: Driving) -> Self:
        said: dict[str, Any] = {"approval": approval, "interlock": interlock}
        if starts_at := start_after(interlock.gate, at):
            said |= {"interlock": interlock.gated(starts_at=starts_at), "status_label": _starts(starts_at)}
        return self.moved(RunStatus.IN_PROGRESS, at=at, by=by, **said)

    @property
    def held(self) -> bool:
        """Whether it is approved but has not begun yet, because its time, or its turn, has not come."""
        gate = self.interlock.gate
        held = gate is not None and gate.starts_at is not None and self.payload is None
        return (held or self.queued) and self.status is RunStatus.IN_PROGRESS

    def approves(self, request: str) -> bool:
        """Whether it may send what has this fingerprint: nobody decided about another."""
        approved = self.interlock.gate.request if self.interlock.gate else None
        return approved is None or approved == request

    def begun(self, payload: Document | None, *, synchronous: bool, at: datetime) -> Self:
        """With what is sent, secrets masked: from now on it may have been. The very same run if it does not go on."""
        if self.status is not RunStatus.IN_PROGRESS:
            return self
        said: dict[str, Any] = {"payload": payload}
        starts_at = self.interlock.gate.starts_at if self.interlock.gate else None
        if starts_at and self.status_label == _starts(starts_at):
            said["status_label"] = None
        driving = self.interlock.model_copy(update={"synchronous": synchronous})
        return self.changed(at=at, by=PLATFORM, interlock=driving, **said)

    def told(self, asked: Asked) -> Self:
        """Once people were told that it waits for them; the very same run if it has ended."""
        if self.status.is_terminal:
            return self
        return self.changed(at=asked.at, by=PLATFORM, interlock=self.interlock.told(asked))

    def reminded(self, number: int, *, at: datetime) -> Self:
        """Once a reminder is due; the very same run if that is known, or if it does not wait."""
        gate = self.interlock.gate
        if self.status is not RunStatus.WAITING_FOR_APPROVAL or gate is None or gate.reminded >= number:
            return self
        driving = self.interlock.gated(reminded=number, reminded_at=at)
        return self.changed(at=at, by=PLATFORM, interlock=driving)

    def escalated(self, user_ids: tuple[str, ...], *, at: datetime) -> Self:
        """Once these people may decide, too; the very same run if it was escalated before, or does not wait."""
        gate = self.interlock.gate
        if self.status is not RunStatus.WAITING_FOR_APPROVAL or (gate and gate.escalated_at):
            return self
        driving = self.interlock.gated(escalated_at=at, escalated_to=user_ids)
        approvers = tuple(dict.fromkeys((*driving.approvers, *user_ids)))
        return self.changed(at=at, by=PLATFORM, interlock=driving.model_copy(update={"approvers": approvers}))

    def reopened(self, *, request: str | None, at: datetime) -> Self:
        """Waiting for approval again, because what would be sent is not what was approved.

        No other move leads back, and this one only as long as nothing can have been sent: else it is the very same run.
        """
        if self.status is not RunStatus.IN_PROGRESS or self.payload is not None:
            return self
        gated = self.interlock.gated(request=request, reopened_at=at, reminded=0, reminded_at=None, starts_at=None)
        said = {"status_label": None, "approval": None, "interlock": gated.model_copy(update={"last_word": None})}
        return self.changed(at=at, by=PLATFORM, status=RunStatus.WAITING_FOR_APPROVAL, **said)

    def undecided(self, *, at: datetime, by: str) -> Self:
        """What follows from nobody deciding in time: DECLINED or, where the action says so, approved.

        The very same run if somebody did.
        """
        if self.status is not RunStatus.WAITING_FOR_APPROVAL:
            return self
        why = f"Nobody decided within {_words(self.interlock.approval_time_limit)}"
        gate = self.interlock.gate
        if gate and gate.on_time_limit is OnTimeLimit.APPROVE:
            approval = ApprovalState(user_id=None, state=DecisionState.APPROVED, description=why)
            driving = self.interlock.model_copy(update={"last_word": None})
            return self._approved(at=at, by=by, approval=approval, interlock=driving)
        if gate and gate.on_time_limit is OnTimeLimit.ESCALATE:
            why += ", nor in the same time after it was escalated"
        return self.moved(RunStatus.DECLINED, at=at, by=by, summary=why)

    def unreported(self, *, at: datetime, by: str, stop: bool = False) -> Self:
        """FAILURE because the backend did not report in time, to `stop` it, too; the very same run if it did."""
        if self.status is not RunStatus.IN_PROGRESS:
            return self
        return self.moved(
            RunStatus.FAILURE,
            at=at,
            by=by,
            interlock=self.interlock.stopping() if stop else self.interlock,
            summary=f"The backend did not report within {_words(self.interlock.run_time_limit)}",
        )

    def cancelled(self, reason: str, *, at: datetime, by: str) -> Self:
        """FAILURE because somebody stopped it; the very same run if it has ended."""
        if self.status.is_terminal:
            return self
        return self.moved(RunStatus.FAILURE, at=at, by=by, summary=reason, interlock=self.interlock.stopping())


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


def _starts(at: datetime) -> str:
    return f"Approved, starts at {iso(at)}"


def _words(limit: timedelta | None) -> str:
    return str(limit) if limit is not None else "its time limit"
