"""Changes that automations have still to be asked about: noted when they are written, taken by the relay in order."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

import sqlalchemy as sa
from sqlalchemy import insert, text
from sqlalchemy.orm import aliased
from sqlmodel import col, delete, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.changes import Change
from domain.documents import Document
from store import listeners
from store.automation_tables import PendingChangeRow
from store.bell import CHANNEL
from store.columns import table
from store.database import execute
from store.tables import ChangeRow

_INSERT = insert(table(PendingChangeRow))
_NOTIFY = text(f"SELECT pg_notify('{CHANNEL}', '')")


@dataclass(frozen=True)
class Pending:
    """A change to ask about, and whom."""

    id: int
    change_id: str
    change: Document | None
    """None when it was purged, which does not happen while it is pending."""
    subject: str
    listening: int
    """The number that was current when it was written."""
    action_id: str
    """The only automation to ask, or empty."""
    replay: str


async def note(session: AsyncSession, several: Sequence[Change]) -> None:
    """Note those of the changes that somebody listens to, in the transaction that writes them."""
    keyed = [(change, change.key) for change in several if change.key]
    if not keyed:
        return
    listening = await listeners.current(session)
    rows = [
        {
            "change_id": change.id,
            "subject": change.subject,
            "listening": listening.number,
            "action_id": "",
            "replay": "",
        }
        for change, key in keyed
        if listening.hears(key)
    ]
    if rows:
        await execute(session, _INSERT, rows)
        await ring(session)


async def note_for(session: AsyncSession, change: Change, action_id: str) -> None:
    """Note the change for one automation, whoever else listens."""
    listening = await listeners.current(session)
    row = {
        "change_id": change.id,
        "subject": change.subject,
        "listening": listening.number,
        "action_id": action_id,
        "replay": "",
    }
    await execute(session, _INSERT, row)
    await ring(session)


async def ring(session: AsyncSession) -> None:
    """Wake the relays when the transaction of the session commits."""
    session.info["rings"] = True
    if session.get_bind().dialect.name == "postgresql":
        await execute(session, _NOTIFY, {})


async def waiting(session: AsyncSession) -> bool:
    """Whether there is anything to take."""
    return (await session.exec(select(PendingChangeRow.id).limit(1))).first() is not None


async def take(session: AsyncSession, lease: str, *, at: datetime, span: timedelta, limit: int) -> list[Pending]:
    """The oldest that nobody has taken, and that nothing of the same subject is before; they are ours for a while.

    Several relays may ask at once: of one subject, only one of them has changes at a time, and has them in order.
    """
    earlier = aliased(PendingChangeRow)
    blocked = sa.exists().where(
        col(earlier.subject) == col(PendingChangeRow.subject),
        col(earlier.id) < col(PendingChangeRow.id),
        col(earlier.leased_until) > at,
    )
    rows = (
        await session.exec(
            select(PendingChangeRow, ChangeRow.document)
            .join(ChangeRow, col(ChangeRow.id) == col(PendingChangeRow.change_id), isouter=True)
            .where(sa.or_(col(PendingChangeRow.leased_until).is_(None), col(PendingChangeRow.leased_until) <= at))
            .where(~blocked)
            .order_by(col(PendingChangeRow.id))
            .limit(limit)
            .with_for_update(skip_locked=True, of=PendingChangeRow)
        )
    ).all()
    first = {row.subject: row.id for row, _ in reversed(rows)}
    heads = await _heads(session, first)
    ours = [(row, document) for row, document in rows if heads[row.subject] == first[row.subject]]
    ids = [row.id for row, _ in ours]
    if ids:
        leased = update(PendingChangeRow).where(col(PendingChangeRow.id).in_(ids))
        await session.exec(leased.values(lease=lease, leased_until=at + span))
    return [
        Pending(
            row.id or 0,
            row.change_id,
            cast("Document | None", document),
            row.subject,
            row.listening,
            row.action_id,
            row.replay,
        )
        for row, document in ours
    ]


async def done(session: AsyncSession, lease: str, ids: Collection[int]) -> set[int]:
    """Forget those of these that are still ours; which ones."""
    gone = (
        delete(PendingChangeRow)
        .where(col(PendingChangeRow.id).in_(ids), col(PendingChangeRow.lease) == lease)
        .returning(col(PendingChangeRow.id))
    )
    return {row[0] for row in await session.exec(gone)}


async def release(session: AsyncSession, lease: str, ids: Collection[int]) -> None:
    """Let others take those of these that are ours."""
    ours = update(PendingChangeRow).where(col(PendingChangeRow.id).in_(ids), col(PendingChangeRow.lease) == lease)
    await session.exec(ours.values(lease=None, leased_until=None))


async def _heads(session: AsyncSession, subjects: Collection[str]) -> dict[str, int]:
    """The first row of each subject, also if another relay is about to take it."""
    first = (
        select(PendingChangeRow.subject, sa.func.min(col(PendingChangeRow.id)))
        .where(col(PendingChangeRow.subject).in_(subjects))
        .group_by(col(PendingChangeRow.subject))
    )
    return {subject: least or 0 for subject, least in await session.exec(first)}
