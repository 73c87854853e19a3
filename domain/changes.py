"""Changes: what happened to a thing, in full; the audit trail and what automations listen to."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Self

from pydantic import JsonValue

from domain.documents import Document
from domain.identifiers import new
from domain.runs import Run
from domain.times import iso


class Happening(StrEnum):
    """What kind of change."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    TIMER_EXPIRED = "TIMER_EXPIRED"


class Outcome(StrEnum):
    """Whether what was asked for has happened."""

    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change of one resource, with the resource before and after."""

    id: str = field(default_factory=lambda: new("event"))
    resource_type: str
    action: Happening
    at: datetime
    by: str
    origin: str
    context: dict[str, str | None]
    before: Document | None
    after: Document | None
    depth: int = 0
    """How many runs caused each other before this change."""
    outcome: Outcome = Outcome.SUCCESS
    message: str | None = None
    """Why it was refused; None for what has happened."""

    @classmethod
    def of_run(cls, before: Document | None, after: Document, run: Run, *, origin: str) -> Self:
        """The change of a run that now is `run`, as JSON `after`; `before` is None when it was created."""
        return cls(
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
            depth=run.interlock.depth,
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
    ) -> Self:
        """The change of a resource; `before` is None when it was created, `after` when it was deleted."""
        return cls(
            resource_type=resource_type,
            action=Happening.CREATE if before is None else Happening.DELETE if after is None else Happening.UPDATE,
            at=at,
            by=by,
            origin=origin,
            context=context,
            before=before,
            after=after,
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

    def document(self) -> Document:
        """The change as JSON."""
        return {
            "id": self.id,
            "resourceType": self.resource_type,
            "action": self.action,
            "at": iso(self.at),
            "by": self.by,
            "origin": self.origin,
            "context": dict[str, JsonValue](self.context),
            "before": self.before,
            "after": self.after,
            "depth": self.depth,
            "status": self.outcome,
            "message": self.message,
        }
