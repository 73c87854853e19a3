"""Work on all entities of a blueprint that somebody asked for, and how far it has come."""

from enum import StrEnum
from typing import Self

from pydantic import Field

from domain.documents import Document
from domain.models import Kept
from domain.times import Instant


class MigrationStatus(StrEnum):
    """Where the work stands; the words are the contract's, some are not used."""

    INITIALIZING = "INITIALIZING"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PENDING_CANCELLATION = "PENDING_CANCELLATION"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"
    FAILURE = "FAILURE"

    @property
    def is_terminal(self) -> bool:
        """Whether the work has ended."""
        return self in (MigrationStatus.COMPLETED, MigrationStatus.CANCELLED, MigrationStatus.FAILURE)


UNFINISHED = (MigrationStatus.INITIALIZING, MigrationStatus.PENDING, MigrationStatus.RUNNING)
"""The statuses of what has still to be worked on."""


class CatalogMigration(Kept):
    """All entities of a blueprint are to be deleted, and the blueprint with them if that was asked for.

    Without `delete_entities` they stay, and scorecards say anew what they have to about them.
    """

    id: str
    actor: str
    """Who asked."""
    source_blueprint: str
    mapping: Document = Field(default_factory=dict)
    status: MigrationStatus = MigrationStatus.PENDING
    delete_blueprint: bool = False
    delete_entities: bool = True
    failure_count: int = 0
    success_count: int = 0
    message: str | None = None
    """Why it failed."""
    run_id: str | None = None
    """The run that the deletions belong to."""
    caused_by: str | None = None
    """The run that made somebody ask, and how many caused each other before it, as `domain.causes.Cause` has them."""
    depth: int = 0
    origin: str = "API"
    datasource: str = ""
    created_at: Instant
    done_to: str = ""
    """The last entity that was looked at, in the order of identifiers."""

    def document(self) -> Document:
        """The work as the API tells it."""
        ours = {"run_id", "caused_by", "depth", "origin", "datasource", "created_at", "done_to"}
        document: Document = self.model_dump(mode="json", exclude=ours)
        if self.message is None:
            del document["message"]
        return document

    def wanted(self, *, delete_blueprint: bool) -> Self:
        """With the blueprint to be deleted, if that is wanted now; who asked first may not have wanted it."""
        if self.delete_blueprint or not delete_blueprint:
            return self
        return self.model_copy(update={"delete_blueprint": True})

    def advanced(self, done_to: str, *, done: int, failed: int = 0, reason: str | None = None) -> Self:
        """After another portion; the first reason is kept."""
        return self.model_copy(
            update={
                "status": MigrationStatus.RUNNING,
                "done_to": done_to,
                "success_count": self.success_count + done,
                "failure_count": self.failure_count + failed,
                "message": self.message or reason,
            }
        )

    def from_the_start(self) -> Self:
        """To look at everything again: others have created entities in the meantime."""
        return self.model_copy(update={"done_to": ""})

    def does_again(self, other: "CatalogMigration") -> bool:
        """Whether this will evaluate all that the other one does, having evaluated nothing yet; of two, one does.

        It will see the blueprint as whoever asked for the other one left it, in whatever order they were asked for.
        """
        if self.done_to or self.delete_entities or other.delete_entities:
            return False
        last = bool(other.done_to) or (self.created_at, self.id) > (other.created_at, other.id)
        return last and self.source_blueprint == other.source_blueprint

    def superseded(self) -> Self:
        """It does not go on: another one does all of it again."""
        return self.model_copy(update={"status": MigrationStatus.CANCELLED})

    def completed(self) -> Self:
        """Everything that was asked for is done, or some entities could not be deleted."""
        status = MigrationStatus.FAILURE if self.failure_count else MigrationStatus.COMPLETED
        return self.model_copy(update={"status": status})

    def failed(self, message: str) -> Self:
        """It does not go on."""
        return self.model_copy(update={"status": MigrationStatus.FAILURE, "message": message})
