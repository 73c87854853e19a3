"""Wakes in SQL: which workflows know by now what they were woken for."""

from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import CursorResult
from sqlmodel import col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.approvals import Gate
from domain.documents import Document
from domain.runs import Run, RunStatus
from store.tables import RunRow


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
