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
        action = Happening.CREATE if before is None else Happening.DELETE if after is None else Happening.UPDATE
        return cls(
            resource_type="action",
            action=action,
            at=at,
            by=by,
            origin=origin,
            context={"action": identifier},
            before=before,
            after=after,
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
        }
