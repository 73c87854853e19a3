"""What runs of automations wrote to the catalog, and which of them had the later word."""

import sqlalchemy as sa
from sqlalchemy import bindparam
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.documents import Document
from domain.runs import Run, RunStatus
from store.automation_tables import FiringRow
from store.columns import table
from store.database import execute
from store.tables import ChangeRow, RunRow

_RUNS = table(RunRow).c
_OURS, _THEIRS = table(FiringRow).alias("ours"), table(FiringRow).alias("theirs")
_BEFORE, _AFTER = table(ChangeRow).alias("before"), table(ChangeRow).alias("after")
_LATER = (
    sa.select(_RUNS.id)
    .select_from(_OURS)
    .join(_BEFORE, _BEFORE.c.id == _OURS.c.change_id)
    .join(_THEIRS, sa.and_(_THEIRS.c.action_id == _OURS.c.action_id, _THEIRS.c.subject == _OURS.c.subject))
    .join(_AFTER, sa.and_(_AFTER.c.id == _THEIRS.c.change_id, _AFTER.c.sequence > _BEFORE.c.sequence))
    .join(table(RunRow), _RUNS.id == _THEIRS.c.run_id)
    .where(
        _OURS.c.run_id == bindparam("run"),
        _RUNS.status == RunStatus.SUCCESS,
        _RUNS.document[("response", "blueprint")].as_string() == bindparam("blueprint"),
        _RUNS.document[("response", "identifier")].as_string() == bindparam("identifier"),
    )
    .order_by(_AFTER.c.sequence.desc())
    .limit(1)
)


async def later(session: AsyncSession, run: Run, written: Document) -> str | None:
    """The run of the same automation that has answered the same for a later change of the same subject, if any has."""
    if run.interlock.cause is None:
        return None
    found = (await execute(session, _LATER, {"run": run.id, **written})).first()
    return found[0] if found else None
