"""Wakes in SQL: which workflows know by now what they were started or woken for."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, cast

import sqlalchemy as sa
from sqlalchemy import CursorResult, bindparam
from sqlmodel import col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.approvals import Gate
from domain.documents import Document
from domain.runs import Run, RunStatus
from store.columns import table
from store.database import execute
from store.tables import RunRow

Pending = Literal["start", "wake"]

_RUNS = table(RunRow).c
_IS_LEFT = sa.select(sa.exists().where(_RUNS.pending.is_not(None), _RUNS.pending_since < bindparam("before")))
_TOLD = (
    update(table(RunRow))
    .where(
        _RUNS.id.in_(bindparam("these", expanding=True)),
        _RUNS.pending == bindparam("what"),
        _RUNS.status == bindparam("of"),
    )
    .values(pending=None, pending_since=None)
)


async def left(session: AsyncSession, *, before: datetime) -> bool:
    """Whether the workflow of any run has been kept waiting since before a moment."""
    return bool((await execute(session, _IS_LEFT, {"before": before})).scalar_one())


async def leased(session: AsyncSession, *, before: datetime, now: datetime, limit: int) -> list[tuple[Run, Pending]]:
    """Runs whose workflow has been kept waiting since before a moment; they count as just asked for from now on.

    Several relays may ask at once: each row goes to one of them until it is overdue again.
    """
    rows = (
        await session.exec(
            select(RunRow)
            .where(col(RunRow.pending).is_not(None), col(RunRow.pending_since) < before)
            .order_by(col(RunRow.pending_since))
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
    ).all()
    if rows:
        await session.exec(update(RunRow).where(col(RunRow.id).in_([row.id for row in rows])).values(pending_since=now))
    return [(Run.model_validate(row.document), cast(Pending, row.pending)) for row in rows]


async def told(session: AsyncSession, run_ids: Sequence[str], what: Pending, status: RunStatus) -> int:
    """Note that the workflows of these runs were started or woken; how many had been waiting for it.

    `status` is what they were told about: a run that has moved on since has to be woken again.
    """
    result = await execute(session, _TOLD, {"these": run_ids, "what": what, "of": status})
    return cast("CursorResult[Any]", result).rowcount


async def untold(session: AsyncSession, run_ids: Sequence[str], *, now: datetime) -> None:
    """Note that the workflows of these runs have to be started again, and told to look at the row."""
    await session.exec(
        update(RunRow)
        .where(col(RunRow.id).in_(run_ids), col(RunRow.pending).is_(None))
        .values(pending="wake", pending_since=now)
    )


async def heard(session: AsyncSession, woken: Sequence[Run]) -> int:
    """Note that the workflows of these runs were woken, each by the run as it was then; how many had to be.

    Where there is more news since, the row still says so: who was to tell of that may have died before they could.
    """
    news: dict[str, tuple[RunStatus, Document]] = {run.id: _news(run) for run in woken}
    waiting = await session.exec(
        select(RunRow.id, RunRow.document)
        .where(col(RunRow.id).in_(news), RunRow.pending == "wake")
        .order_by(col(RunRow.id))
        .with_for_update()
    )
    known = [run_id for run_id, document in waiting if _news(Run.model_validate(document)) == news[run_id]]
    if not known:
        return 0
    result = await session.exec(
        update(RunRow).where(col(RunRow.id).in_(known)).values(pending=None, pending_since=None)
    )
    return cast("CursorResult[Any]", result).rowcount


def _news(run: Run) -> tuple[RunStatus, Document]:
    """What its workflow is woken for: it differs from before whenever that has to hear of something."""
    return run.status, (run.interlock.gate or Gate()).news
