"""Runs as their rows have them: with what is kept beside the document, because no change of a run is told by it."""

from datetime import datetime

from domain.documents import Document
from domain.runs import Run

WAITING, HELD = "waiting", "held"
"""Of the turn of a run: it waits for it, or has it."""


def as_run(
    document: Document, action: str | None, queue: str | None, claimed_until: datetime | None, turn: str | None = None
) -> Run:
    """The run as its row has it; `action` is None when its action was deleted, `queue` when nobody has to claim it."""
    run = queued(Run.model_validate(document), turn)
    if action is None:
        run = run.model_copy(update={"action": run.action.model_copy(update={"deleted": True})})
    return as_claimed(run, queue, claimed_until)


def queued(run: Run, turn: str | None) -> Run:
    """The run with whether it waits for its turn."""
    return run.model_copy(update={"queued": True}) if turn == WAITING else run


def as_claimed(run: Run, queue: str | None, until: datetime | None) -> Run:
    """The run with what is kept beside its document: whether somebody has to claim it, and has."""
    if queue is None or run.status.is_terminal:
        return run
    return run.model_copy(update={"pending_execution": True, "claimed_until": until})
