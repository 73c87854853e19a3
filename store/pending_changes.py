"""Changes that automations have still to be asked about: noted when they are written, taken by the relay in order."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import bindparam, insert, text
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.changes import Change
from domain.documents import Document
from store import listeners
from store.automation_tables import HeldChangeRow, PendingChangeRow, ReplayRow
from store.bell import CHANNEL
from store.columns import table
from store.database import execute
from store.tables import ChangeRow

_PENDING, _CHANGES = table(PendingChangeRow), table(ChangeRow)
_ROW = _PENDING.c
_EARLIER = _PENDING.alias("earlier")
_INSERT = insert(_PENDING)
_ANY = sa.select(_ROW.id).limit(1)
_HELD, _REPLAYS = table(HeldChangeRow).c, table(ReplayRow).c
_ABOUT = sa.union_all(
    *(
        sa.select(waiting).where(
            # As a subquery, so that no database looks through all changes of the blueprint instead.
            sa.exists().where(
                _CHANGES.c.id == waiting, _CHANGES.c.resource_type == "entity", _CHANGES.c.blueprint == bindparam("of")
            )
        )
        for waiting in (_ROW.change_id, _HELD.change_id)
    ),
    sa.select(_REPLAYS.id).where(_REPLAYS.event[("blueprintIdentifier",)].as_string() == bindparam("of")),
).limit(1)
_BLOCKED = sa.exists().where(
    _EARLIER.c.subject == _ROW.subject, _EARLIER.c.id < _ROW.id, _EARLIER.c.leased_until > bindparam("at")
)
_FREE = (
    sa.select(_ROW.id, _ROW.change_id, _CHANGES.c.document, _ROW.subject, _ROW.listening, _ROW.action_id, _ROW.replay)
    .join_from(_PENDING, _CHANGES, _CHANGES.c.id == _ROW.change_id, isouter=True)
    .where(sa.or_(_ROW.leased_until.is_(None), _ROW.leased_until <= bindparam("at")), ~_BLOCKED)
    .order_by(_ROW.id)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True, of=_PENDING)
)
_HEADS = (
    sa.select(_ROW.subject, sa.func.min(_ROW.id))
    .where(_ROW.subject.in_(bindparam("subjects", expanding=True)))
    .group_by(_ROW.subject)
)
"""The first row of each subject, also if another relay is about to take it."""
_THESE = _ROW.id.in_(bindparam("ids", expanding=True))
_OURS = _ROW.lease == bindparam("ours")
_LEASE = sa.update(_PENDING).where(_THESE).values(lease=bindparam("ours"), leased_until=bindparam("until"))
_DONE = sa.delete(_PENDING).where(_THESE, _OURS).returning(_ROW.id)
_RELEASE = sa.update(_PENDING).where(_THESE, _OURS).values(lease=None, leased_until=None)
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
    keyed = [(change, key) for change in several if (key := change.key)]
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
    return (await execute(session, _ANY, {})).first() is not None


async def about(session: AsyncSession, blueprint: str) -> bool:
    """Whether any of them is about an entity of the blueprint, or will be: it is held, or a replay will come to it."""
    return (await execute(session, _ABOUT, {"of": blueprint})).first() is not None


async def take(session: AsyncSession, lease: str, *, at: datetime, span: timedelta, limit: int) -> list[Pending]:
    """The oldest that nobody has taken, and that nothing of the same subject is before; they are ours for a while.

    Several relays may ask at once: of one subject, only one of them has changes at a time, and has them in order.
    """
    found = await session.exec(_FREE, params={"at": at, "most": limit})  # type: ignore[call-overload]
    free = [Pending(*row) for row in found]
    first = {one.subject: one.id for one in reversed(free)}
    heads = dict((await execute(session, _HEADS, {"subjects": list(first)})).all()) if first else {}
    ours = [one for one in free if heads[one.subject] == first[one.subject]]
    if ours:
        await execute(session, _LEASE, {"ids": [one.id for one in ours], "ours": lease, "until": at + span})
    return ours


async def done(session: AsyncSession, lease: str, ids: Collection[int]) -> set[int]:
    """Forget those of these that are still ours; which ones."""
    return set((await execute(session, _DONE, {"ids": list(ids), "ours": lease})).scalars())


async def release(session: AsyncSession, lease: str, ids: Collection[int]) -> None:
    """Let others take those of these that are ours."""
    await execute(session, _RELEASE, {"ids": list(ids), "ours": lease})
