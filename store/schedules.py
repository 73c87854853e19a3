"""Schedules in SQL: what Temporal has to be told of automations that the clock starts, and each time that came."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import insert
from sqlmodel import col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.actions import Action
from domain.audit import Resource
from domain.changes import Change, Happening
from domain.documents import Document
from domain.identifiers import derived, new
from domain.runs import PLATFORM, Source
from domain.times import iso
from store import changes, pending_changes
from store.automation_tables import ScheduleRow
from store.columns import table
from store.database import execute
from store.tables import ActionRow, ChangeRow

DEFAULT_ZONE = "UTC"

_ROW = table(ScheduleRow)
_COLUMNS = _ROW.c
_ACTIONS = table(ActionRow).c
_INSERT = insert(_ROW)
_THIS = _COLUMNS.action_id == sa.bindparam("this")
_TO_CHANGE = (
    sa.select(_COLUMNS.identifier, _COLUMNS.wanted, _COLUMNS.pending, _COLUMNS.since, _COLUMNS.document)
    .where(_THIS)
    .with_for_update()
)
_LISTENS = sa.select(_ACTIONS.id).where(
    _ACTIONS.id == sa.bindparam("this"), _ACTIONS.published, _ACTIONS.paused.is_(None)
)
_CHANGE = (
    sa.update(_ROW)
    .where(_THIS)
    .values(
        {
            name: sa.bindparam(f"new_{name}", type_=_COLUMNS[name].type)
            for name in ("identifier", "token", "wanted", "since", "pending", "pending_since", "document")
        }
    )
)
_TOLD = sa.update(_ROW).where(_THIS, _COLUMNS.token == sa.bindparam("known")).values(pending=False)
_GONE = sa.delete(_ROW).where(_THIS, _COLUMNS.token == sa.bindparam("known"), sa.not_(_COLUMNS.wanted))
_CHANGES = table(ChangeRow).c
_FIRED = sa.select(_CHANGES.id).where(_CHANGES.id == sa.bindparam("this"))


@dataclass(frozen=True)
class Wish:
    """The schedule of an automation as it should be."""

    action_id: str
    identifier: str
    token: str
    wanted: bool
    since: datetime
    pending_since: datetime
    cron: str
    timezone: str


async def keep(session: AsyncSession, action: Action, *, at: datetime) -> None:
    """Note what schedule the automation has now, in the transaction that has just written, paused or deleted it.

    Nothing is written, and Temporal is not told, where that has not changed.
    """
    found = (await execute(session, _TO_CHANGE, {"this": action.id})).first()
    event = _event(action)
    wanted = event is not None and (await execute(session, _LISTENS, {"this": action.id})).first() is not None
    if found is None and not wanted:
        return
    times = event if wanted else found.document
    same = found is not None and (found.wanted, found.document) == (wanted, times)
    if same and (found.identifier == action.identifier or not wanted):
        return
    since = found.since if same else at
    values = {"identifier": action.identifier, "wanted": wanted, "document": times, "since": since}
    await _write(session, action.id, values, at=at, exists=found is not None)


async def pending(session: AsyncSession, *, limit: int) -> Sequence[Wish]:
    """Those that Temporal has to be told, the longest waiting first."""
    query = select(ScheduleRow).where(col(ScheduleRow.pending)).order_by(col(ScheduleRow.pending_since)).limit(limit)
    return [_wish(row) for row in await session.exec(query)]


async def wanted(session: AsyncSession, *, after: str, limit: int) -> Sequence[Wish]:
    """Those that should be there, in the order of their ids."""
    query = select(ScheduleRow).where(col(ScheduleRow.wanted), col(ScheduleRow.action_id) > after)
    return [_wish(row) for row in await session.exec(query.order_by(col(ScheduleRow.action_id)).limit(limit))]


async def told(session: AsyncSession, wish: Wish, *, at: datetime) -> bool:
    """Temporal has been told the wish; False when it has changed meanwhile, and has to be told again.

    It is told again even if somebody else told the change already: what was told last is what counts there.
    """
    same = {"this": wish.action_id, "known": wish.token}
    if (await execute(session, _TOLD if wish.wanted else _GONE, same)).rowcount:
        return True
    await _again(session, wish.action_id, wanted=wish.wanted, at=at)
    return False


async def untold(session: AsyncSession, action_ids: Collection[str], *, at: datetime) -> None:
    """Temporal has to be told these again."""
    lost = update(ScheduleRow).where(col(ScheduleRow.action_id).in_(action_ids), ~col(ScheduleRow.pending))
    await session.exec(lost.values(pending=True, pending_since=at))
    await pending_changes.ring(session)


async def fire(
    session: AsyncSession, action_id: str, *, cron: str, timezone: str, scheduled_at: datetime, at: datetime
) -> bool:
    """Record that a time of the schedule has come, for its automation to be asked about; whether it is news.

    It is not when it was recorded before, when the automation is not published, is paused or deleted, or has other
    times by now. What Temporal still holds of such a schedule is put right.
    """
    found = (await execute(session, _TO_CHANGE, {"this": action_id})).first()
    after: Document = {"scheduledAt": iso(scheduled_at), "cron": cron, "timezone": timezone}
    if found is None or not found.wanted or found.document != {"cron": cron, "timezone": timezone}:
        await _again(session, action_id, wanted=True, at=at)
        return False
    if scheduled_at < found.since.replace(microsecond=0):  # Temporal counts in seconds
        return False
    change = Change(
        id=derived("event", action_id, iso(scheduled_at)),
        resource_type=Resource.SCHEDULE,
        action=Happening.FIRED,
        at=at,
        by=PLATFORM,
        origin=Source.API,
        context={"action": found.identifier},
        before=None,
        after=after,
        subject=action_id,
    )
    if (await execute(session, _FIRED, {"this": change.id})).first() is not None:
        return False
    await changes.append(session, change)
    await pending_changes.note_for(session, change, action_id)
    return True


async def _again(session: AsyncSession, action_id: str, *, wanted: bool, at: datetime) -> None:
    """Have Temporal told how it stands; if there should be nothing and `wanted` may have been told, that too."""
    found = (await execute(session, _TO_CHANGE, {"this": action_id})).first()
    if found is not None:
        await untold(session, [action_id], at=at)
    elif wanted:
        nothing = {"identifier": "", "wanted": False, "document": {"cron": "", "timezone": DEFAULT_ZONE}, "since": at}
        await _write(session, action_id, nothing, at=at, exists=False)


async def _write(session: AsyncSession, action_id: str, values: dict[str, Any], *, at: datetime, exists: bool) -> None:
    row = {**values, "token": new("schedule"), "pending": True, "pending_since": at}
    if exists:
        await execute(session, _CHANGE, {"this": action_id, **{f"new_{name}": value for name, value in row.items()}})
    else:
        await execute(session, _INSERT, {"action_id": action_id, **row})
    await pending_changes.ring(session)


def _event(action: Action) -> Document | None:
    """When the automation is to be started; None if it is none, or the clock does not start it."""
    trigger = action.document["trigger"]
    event = trigger.get("event") if isinstance(trigger, dict) and trigger.get("type") == "automation" else None
    if not isinstance(event, dict) or event.get("type") != "SCHEDULE":
        return None
    return {"cron": event["cron"], "timezone": event.get("timezone") or DEFAULT_ZONE}


def _wish(row: ScheduleRow) -> Wish:
    return Wish(
        row.action_id,
        row.identifier,
        row.token,
        row.wanted,
        row.since,
        row.pending_since,
        str(row.document["cron"]),
        str(row.document["timezone"]),
    )
