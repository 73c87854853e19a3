"""What runs of automations wrote to the catalog, and which of them had the later word."""

import sqlalchemy as sa
from sqlalchemy import bindparam
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.documents import Document
from domain.runs import Run
from store.automation_tables import AutomationWriteRow, FiringRow
from store.columns import table
from store.database import execute
from store.tables import ChangeRow

_FIRINGS, _CHANGES, _WRITES = table(FiringRow).c, table(ChangeRow).c, table(AutomationWriteRow).c
_ENTITY = sa.and_(_WRITES.blueprint == bindparam("of"), _WRITES.identifier == bindparam("called"))
_OURS = (
    sa.select(_FIRINGS.action_id, _FIRINGS.subject, _CHANGES.sequence)
    .join_from(table(FiringRow), table(ChangeRow), _CHANGES.id == _FIRINGS.change_id)
    .where(_FIRINGS.run_id == bindparam("ours"))
)
_KEY = sa.and_(_WRITES.action_id == bindparam("by"), _WRITES.subject == bindparam("about"), _ENTITY)
_LAST = sa.select(_WRITES.sequence, _WRITES.run_id).where(_KEY)
_FORGET = sa.delete(table(AutomationWriteRow)).where(_KEY)
_NOTE = sa.insert(table(AutomationWriteRow))


async def later(session: AsyncSession, run: Run, written: Document) -> str | None:
    """The run of the same automation that wrote the entity for a later change of the same subject, if any has."""
    ours = await _ours(session, run)
    if ours is None:
        return None
    action_id, subject, sequence = ours
    found = (await execute(session, _LAST, _key(action_id, subject, written))).first()
    return found.run_id if found and found.sequence > sequence else None


async def note(session: AsyncSession, run: Run, written: Document) -> None:
    """Write down that the run has written the entity, for whichever comes too late; nothing if no change started it.

    Nobody else does so for the entity at the same time: whoever writes it is waited for.
    """
    ours = await _ours(session, run)
    if ours is None:
        return
    action_id, subject, sequence = ours
    await execute(session, _FORGET, _key(action_id, subject, written))
    row = {"action_id": action_id, "subject": subject, "sequence": sequence, "run_id": run.id, **written}
    await execute(session, _NOTE, row)


async def _ours(session: AsyncSession, run: Run) -> tuple[str, str, int] | None:
    """The automation of the run, the subject of the change that started it, and where that is in the order."""
    if run.interlock.cause is None:
        return None
    found = (await execute(session, _OURS, {"ours": run.id})).first()
    return tuple(found) if found else None


def _key(action_id: str, subject: str, written: Document) -> Document:
    return {"by": action_id, "about": subject, "of": written["blueprint"], "called": written["identifier"]}
