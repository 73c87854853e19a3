"""Attempts in SQL: each call of a run's backend, and how many of them have failed before."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import bindparam
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.attempts import Attempt, Kind, Outcome, Try
from store.columns import table
from store.database import execute
from store.plain_inserts import PlainInsert, insert_all
from store.tables import RunAttemptRow

_ATTEMPTS = table(RunAttemptRow).c
_INSERT = PlainInsert(
    table(RunAttemptRow),
    "run_id", "kind", "outcome", "started_at", "activity", "first_try", "last_try", "document",
)  # fmt: skip
_MADE = (
    sa.select(_ATTEMPTS.outcome, _ATTEMPTS.document)
    .where(
        _ATTEMPTS.run_id == bindparam("run"), _ATTEMPTS.activity == bindparam("activity"), _ATTEMPTS.kind == Kind.INVOKE
    )
    .order_by(_ATTEMPTS.sequence)
)
_LATEST = (
    sa.select(_ATTEMPTS.document)
    .where(_ATTEMPTS.run_id == bindparam("run"))
    .order_by(_ATTEMPTS.sequence.desc())
    .limit(1)
)


@dataclass(frozen=True)
class Before:
    """How often a backend was called in vain."""

    failures: int = 0
    refusals: int = 0
    """How often it was busy."""
    latest: Attempt | None = None
    """The last of these."""


async def before(session: AsyncSession, run_id: str, activity: str) -> Before:
    """How often this activity has called the backend in vain."""
    made = list(await execute(session, _MADE, {"run": run_id, "activity": activity}))
    if not made:
        return Before()
    busy = sum(outcome == Outcome.BUSY for outcome, _ in made)
    return Before(len(made) - busy, busy, Attempt.model_validate(made[-1].document))


async def record(session: AsyncSession, run_id: str, attempt: Attempt, tried: Try | None = None) -> None:
    """Keep the attempt; `tried` says which of Temporal's attempts it was, if it was one."""
    made_by = (tried.activity, tried.first, tried.last) if tried else (None, None, None)
    document = attempt.model_dump(mode="json")
    row = (run_id, attempt.kind, attempt.outcome, attempt.started_at, *made_by, document)
    await insert_all(session, (_INSERT, [row]))


async def record_news(session: AsyncSession, run_id: str, attempt: Attempt, tried: Try | None = None) -> None:
    """Keep the attempt, unless the one before it says the same: what fails all day is told once."""
    found = (await execute(session, _LATEST, {"run": run_id})).scalar()
    latest = Attempt.model_validate(found) if found else None
    if latest is None or (latest.kind, latest.outcome, latest.said) != (attempt.kind, attempt.outcome, attempt.said):
        await record(session, run_id, attempt, tried)
