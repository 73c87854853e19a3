"""What became of changes that automations let pass: written with the run, counted for limits."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import insert
from sqlmodel import col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.automations import Outcome
from store.automation_tables import FiringRow, HeldChangeRow
from store.columns import table
from store.database import execute

_FIRINGS = table(FiringRow).c
_INSERT = insert(table(FiringRow))
_FORGET = sa.delete(table(FiringRow)).where(
    _FIRINGS.change_id == sa.bindparam("change"),
    _FIRINGS.action_id == sa.bindparam("of"),
    _FIRINGS.replay == sa.bindparam("again"),
)
_HELD = table(HeldChangeRow).c
_HOLD = insert(table(HeldChangeRow))
_LET_GO = (
    sa.delete(table(HeldChangeRow))
    .where(_HELD.action_id == sa.bindparam("of"), _HELD.subject == sa.bindparam("this"))
    .returning(_HELD.change_id, _HELD.replay)
)


@dataclass(frozen=True)
class Held:
    """A change that waits for its subject to calm down."""

    action_id: str
    subject: str
    change_id: str
    replay: str
    due_at: datetime


@dataclass(frozen=True)
class Firing:
    """One automation, and one change that it let pass."""

    change_id: str
    action_id: str
    subject: str
    outcome: Outcome
    at: datetime
    replay: str = ""
    run_id: str | None = None
    recurs: bool = False


async def exists(session: AsyncSession, change_id: str, action_id: str, replay: str) -> bool:
    """Whether it is known already what became of the pair."""
    return await session.get(FiringRow, (change_id, action_id, replay)) is not None


async def record(session: AsyncSession, firing: Firing) -> None:
    """Write it down, in place of what was known of the pair until now."""
    await execute(session, _FORGET, {"change": firing.change_id, "of": firing.action_id, "again": firing.replay})
    await execute(session, _INSERT, vars(firing))


async def ran(session: AsyncSession, action_id: str, subject: str, *, since: datetime) -> int:
    """How many runs the automation has made for the subject since a moment."""
    counted = select(sa.func.count()).where(
        FiringRow.action_id == action_id,
        FiringRow.subject == subject,
        col(FiringRow.at) > since,
        FiringRow.outcome == Outcome.RUN,
    )
    return (await session.exec(counted)).one()


async def counted(session: AsyncSession, action_id: str, *, since: datetime) -> tuple[int, int]:
    """How many runs the automation has made since a moment, and how many of them recur."""
    recurring = sa.func.coalesce(sa.func.sum(sa.case((col(FiringRow.recurs), 1), else_=0)), 0)
    query = select(sa.func.count(), recurring).where(
        FiringRow.action_id == action_id, col(FiringRow.at) > since, FiringRow.outcome == Outcome.RUN
    )
    return (await session.exec(query)).one()


async def hold(session: AsyncSession, held: Held, *, at: datetime) -> None:
    """Let the change wait, in place of the one that waited before it."""
    for change_id, replay in (await execute(session, _LET_GO, {"of": held.action_id, "this": held.subject})).all():
        await record(session, Firing(change_id, held.action_id, held.subject, Outcome.MERGED, at, replay))
    await execute(session, _HOLD, vars(held))


async def due(session: AsyncSession, *, at: datetime, limit: int) -> Sequence[Held]:
    """Those whose subjects have calmed down."""
    rows = await session.exec(
        select(HeldChangeRow).where(col(HeldChangeRow.due_at) <= at).order_by(col(HeldChangeRow.due_at)).limit(limit)
    )
    return [Held(row.action_id, row.subject, row.change_id, row.replay, row.due_at) for row in rows]


async def next_due(session: AsyncSession) -> datetime | None:
    """When the next of them is due."""
    found = await session.exec(select(HeldChangeRow.due_at).order_by(col(HeldChangeRow.due_at)).limit(1))
    return found.first()


async def let_go(session: AsyncSession, held: Held) -> bool:
    """It waits no more; False when another change has taken its place, or another relay was faster."""
    gone = delete(HeldChangeRow).where(
        col(HeldChangeRow.action_id) == held.action_id,
        col(HeldChangeRow.subject) == held.subject,
        col(HeldChangeRow.change_id) == held.change_id,
    )
    return bool((await session.exec(gone)).rowcount)
