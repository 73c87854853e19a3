"""Changes: what happened to a thing, in full; the audit trail and what automations listen to."""

from enum import StrEnum
from typing import Self

from pydantic import Field, JsonValue

from domain.documents import Document
from domain.identifiers import new
from domain.models import Kept
from domain.runs import Run
from domain.times import Instant


class Happening(StrEnum):
    """What kind of change."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"


class Change(Kept):
    """One change of one resource, with the resource before and after."""

    id: str = Field(default_factory=lambda: new("event"))
    resource_type: str
    action: Happening
    at: Instant
    by: str
    origin: str
    context: dict[str, str | None] = Field(default_factory=dict)
    before: Document | None = None
    after: Document | None = None
    details: dict[str, JsonValue] = Field(default_factory=dict)
    depth: int = 0
    """How many runs caused each other before this change."""

    @classmethod
    def of_run(cls, before: Run | None, after: Run, *, origin: str) -> Self:
        """The change between two states of a run; `before` is None when it was created."""
        return cls(
            resource_type="run",
            action=Happening.UPDATE if before else Happening.CREATE,
            at=after.updated_at,
            by=after.updated_by,
            origin=origin,
            context={
                "runId": after.id,
                "action": after.action.identifier,
                "blueprint": after.blueprint.identifier if after.blueprint else None,
                "entity": after.entity.identifier if after.entity else None,
            },
            before=before.document() if before else None,
            after=after.document(),
            depth=after.interlock.depth,
        )

    @classmethod
    def of_action(
        cls, before: Document | None, after: Document | None, *, identifier: str, at: Instant, by: str, origin: str
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
