"""Changes: what happened to a thing, in full; the audit trail and what automations listen to."""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Self, TypeAlias

from domain.causes import NO_RUN, Cause
from domain.documents import Document
from domain.identifiers import new
from domain.runs import Run
from domain.times import iso

Key: TypeAlias = tuple[str, str, str]
"""What listeners find a change by: the kind of the resource, what happened, and its blueprint or action."""


_LISTENED_BY = {"entity": "blueprint", "run": "action"}
"""What of a change's context its listeners name, by kind of resource."""


class Happening(StrEnum):
    """What kind of change."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    TIMER_EXPIRED = "TIMER_EXPIRED"
    TIMER_WARNING = "TIMER_WARNING"
    """A timer will expire soon; ours."""
    FIRED = "FIRED"
    """A schedule came to its time; ours."""


class Outcome(StrEnum):
    """Whether what was asked for has happened."""

    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"


class Change(NamedTuple):
    """One change of one resource, with the resource before and after."""

    id: str
    resource_type: str
    action: Happening
    at: datetime
    by: str
    origin: str
    context: dict[str, str | None]
    before: Document | None
    after: Document | None
    depth: int = 0
    """How many runs caused each other before this change, the one that made it included."""
    caused_by: str | None = None
    """The run on whose behalf somebody changed it, or the run itself."""
    subject: str = ""
    """What it is about, whatever that is called: the row of an entity, a run. Its changes are kept in order."""
    outcome: Outcome = Outcome.SUCCESS
    message: str | None = None
    """Why it was refused; None for what has happened."""

    @classmethod
    def of_run(cls, before: Document | None, after: Document, run: Run, *, origin: str) -> Self:
        """The change of a run that now is `run`, as JSON `after`; `before` is None when it was created."""
        return cls(
            id=new("event"),
            resource_type="run",
            action=Happening.UPDATE if before else Happening.CREATE,
            at=run.updated_at,
            by=run.updated_by,
            origin=origin,
            context={
                "runId": run.id,
                "action": run.action.identifier,
                "blueprint": run.blueprint.identifier if run.blueprint else None,
                "entity": run.entity.identifier if run.entity else None,
            },
            before=before,
            after=after,
            depth=run.interlock.depth + 1,
            caused_by=run.id,
            subject=run.id,
        )

    @classmethod
    def of_action(
        cls, before: Document | None, after: Document | None, *, identifier: str, at: datetime, by: str, origin: str
    ) -> Self:
        """The change between two versions of a definition; None where there is none."""
        return cls.of("action", before, after, context={"action": identifier}, at=at, by=by, origin=origin)

    @classmethod
    def of(
        cls,
        resource_type: str,
        before: Document | None,
        after: Document | None,
        *,
        context: dict[str, str | None],
        at: datetime,
        by: str,
        origin: str,
        cause: Cause = NO_RUN,
    ) -> Self:
        """The change of a resource; `before` is None when it was created, `after` when it was deleted."""
        return cls(
            id=new("event"),
            resource_type=resource_type,
            action=Happening.CREATE if before is None else Happening.DELETE if after is None else Happening.UPDATE,
            at=at,
            by=by,
            origin=origin,
            context=context,
            before=before,
            after=after,
            depth=cause.next_depth,
            caused_by=cause.run_id,
        )

    @classmethod
    def refused(
        cls,
        resource_type: str,
        action: Happening,
        message: str,
        *,
        context: dict[str, str | None],
        at: datetime,
        by: str,
        origin: str,
    ) -> Self:
        """The change that somebody asked for and that did not happen."""
        return cls(
            id=new("event"),
            resource_type=resource_type,
            action=action,
            at=at,
            by=by,
            origin=origin,
            context=context,
            before=None,
            after=None,
            outcome=Outcome.FAILURE,
            message=message,
        )

    @property
    def key(self) -> Key | None:
        """What automations that listen to it are found by; None where none can."""
        of = self.context.get(_LISTENED_BY.get(self.resource_type, ""))
        return (self.resource_type, self.action, of) if of and self.outcome is Outcome.SUCCESS else None

    def document(self) -> Document:
        """The change as JSON."""
        return {**self.around(), "after": self.after}

    def around(self) -> Document:
        """All of it but `after`, which may be much."""
        return {
            "id": self.id,
            "resourceType": self.resource_type,
            "action": str(self.action),  # writers of JSON look long at what only inherits from a string
            "at": iso(self.at),
            "by": self.by,
            "origin": self.origin,
            "context": {**self.context},
            "before": self.before,
            "depth": self.depth,
            "causedBy": self.caused_by,
            "subject": self.subject,
            "status": str(self.outcome),
            "message": self.message,
        }


def key_of(change: Document) -> Key | None:
    """The key of a change that was recorded, from its document."""
    kind, context = str(change["resourceType"]), change["context"]
    of = context.get(_LISTENED_BY.get(kind, "")) if isinstance(context, dict) else None
    return (
        (kind, str(change["action"]), str(of))
        if of and change.get("status", Outcome.SUCCESS) == Outcome.SUCCESS
        else None
    )
