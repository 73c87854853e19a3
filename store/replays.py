"""Replays in SQL: changes of the past become pending again, for one automation."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import ColumnElement, CursorResult, insert
from sqlmodel import col, delete
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.actions import Action
from domain.audit import Resource
from domain.automations import Outcome
from domain.changes import Change, Happening
from domain.documents import Document
from domain.identifiers import new
from domain.timer_names import Span
from domain.times import iso
from store import actions, changes, listeners, pending_changes, timer_names
from store.automation_tables import FiringRow, ListeningRow, PendingChangeRow, ReplayRow
from store.columns import table
from store.database import execute
from store.explanations import between, meant_by
from store.tables import ChangeRow

PORTION = 5_000
"""How many changes one transaction makes pending."""
_COUNTED = 50_000

_REPLAYS = table(ReplayRow)
_THIS = _REPLAYS.c.id == sa.bindparam("this")
_ANY = sa.select(_REPLAYS.c.id).limit(1)
_TAKEN = sa.select(_REPLAYS).order_by(_REPLAYS.c.id).limit(1).with_for_update(skip_locked=True)
_OVER = sa.delete(_REPLAYS).where(_THIS)
_OF_ACTION = sa.select(_REPLAYS.c.id, _REPLAYS.c.event).where(_REPLAYS.c.action_id == sa.bindparam("of"))
_RENAME = sa.update(_REPLAYS).where(_THIS).values(event=sa.bindparam("now"))
_PROGRESS = sa.update(_REPLAYS).where(_THIS).values(after=sa.bindparam("upto"))


@dataclass(frozen=True)
class Wish:
    """What to replay: the changes of a span that an automation listens to."""

    action: Action
    event: Document
    """What the automation listens to; no schedule."""
    since: datetime
    until: datetime
    again: bool
    """Whether changes that it has let pass before are to pass again."""


@dataclass(frozen=True)
class Replay:
    """What came of it."""

    id: str
    changes: int
    """How many changes the automation will be asked about."""


async def start(session: AsyncSession, wish: Wish, *, by: str, at: datetime, origin: str) -> Replay:
    """Have the automation asked about the changes, in the order in which they were made.

    A change that it has let pass before is left out unless it is to pass again; its run has another id then. Of many
    changes this is about the first ones only, and `go_on` about the others.
    """
    made, names = new("replay"), await timer_names.when(session, wish.event)
    upto = await _end(session, _meant(wish, names, 0), size=PORTION)
    asked = await _ask(session, wish, made, _meant(wish, names, 0, upto))
    if upto is not None:
        asked += await _count(session, wish, names, after=upto)
        row = {
            "id": made,
            "after": upto,
            **{name: getattr(wish, name) for name in ("event", "since", "until", "again")},
        }
        await execute(session, insert(_REPLAYS), {**row, "action_id": wish.action.id})
    replay = Replay(made, asked)
    if replay.changes:
        await changes.append(session, _told(wish, replay, by=by, at=at, origin=origin))
        await pending_changes.ring(session)
    return replay


async def under_way(session: AsyncSession) -> bool:
    """Whether there is any to go on with."""
    return (await execute(session, _ANY, {})).first() is not None


async def go_on(session: AsyncSession) -> bool:
    """Have an automation asked about the next changes of a replay; False if there are none, or none for now.

    There are none for now while as many as that are pending: what happens meanwhile shall not wait behind all of them.
    What is left of a replay is dropped when its automation does not listen any more.
    """
    waiting = sa.select(sa.literal(1)).select_from(table(PendingChangeRow)).limit(PORTION).subquery()
    if (await session.exec(sa.select(sa.func.count()).select_from(waiting))).one()[0] >= PORTION:  # type: ignore[call-overload]
        return False
    found = (await execute(session, _TAKEN, {})).first()
    if found is None:
        return False
    this = {"this": found.id}
    listener = (await listeners.current(session)).by_action.get(found.action_id)
    if listener is None:
        await execute(session, _OVER, this)
        return True
    action = await actions.version(session, found.action_id, listener.version)
    wish = Wish(action, found.event, found.since, found.until, found.again)
    names = await timer_names.when(session, wish.event)
    upto = await _end(session, _meant(wish, names, found.after), size=PORTION)
    await _ask(session, wish, found.id, _meant(wish, names, found.after, upto))
    await (execute(session, _OVER, this) if upto is None else execute(session, _PROGRESS, {**this, "upto": upto}))
    await pending_changes.ring(session)
    return True


async def rename(session: AsyncSession, action_id: str, before: Document, after: Document) -> None:
    """Let replays that are under way go on for an automation that listens to the same by another name."""
    for row in (await execute(session, _OF_ACTION, {"of": action_id})).all():
        if row.event == before:
            await execute(session, _RENAME, {"this": row.id, "now": after})


async def _end(session: AsyncSession, wanted: Sequence[ColumnElement[bool]], *, size: int) -> int | None:
    """The sequence of the last change of so many that are wanted; None when there are no more than that."""
    following = sa.select(col(ChangeRow.sequence)).where(*wanted)
    found = (await session.exec(following.order_by(col(ChangeRow.sequence)).offset(size - 1).limit(2))).all()  # type: ignore[call-overload]
    return found[0][0] if len(found) > 1 else None


async def _ask(session: AsyncSession, wish: Wish, replay: str, wanted: list[ColumnElement[bool]]) -> int:
    """Make the changes of a portion pending; how many."""
    if not wish.again:
        await _forget(session, wish, wanted)
        wanted += [~_exists(FiringRow, wish.action.id), ~_exists(PendingChangeRow, wish.action.id)]
    past = (
        sa.select(
            col(ChangeRow.id),
            _subject(of_runs="actionIdentifier" in wish.event),
            sa.select(col(ListeningRow.number)).scalar_subquery(),
            sa.literal(wish.action.id),
            sa.literal(replay if wish.again else ""),
        )
        .where(*wanted)
        .order_by(col(ChangeRow.sequence))
    )
    names = ["change_id", "subject", "listening", "action_id", "replay"]
    result = await session.exec(insert(table(PendingChangeRow)).from_select(names, past))
    return cast("CursorResult[Any]", result).rowcount


async def _count(session: AsyncSession, wish: Wish, names: Sequence[Span], *, after: int) -> int:
    """How many changes follow, also those that `_ask` will forget to have been let pass; in portions, as well."""
    counted, last = 0, False
    while not last:
        upto = await _end(session, _meant(wish, names, after), size=_COUNTED)
        wanted = _meant(wish, names, after, upto)
        if not wish.again:
            ended = sa.or_(col(FiringRow.replay) != "", ~_lost())
            wanted += [~_exists(FiringRow, wish.action.id, ended), ~_exists(PendingChangeRow, wish.action.id)]
        several = sa.select(sa.func.count()).select_from(table(ChangeRow)).where(*wanted)
        counted += (await session.exec(several)).one()[0]  # type: ignore[call-overload]
        after, last = upto or after, upto is None
    return counted


def _meant(wish: Wish, names: Sequence[Span], after: int, upto: int | None = None) -> list[ColumnElement[bool]]:
    wanted = [meant_by(wish.event, names), between(wish.since, wish.until), col(ChangeRow.sequence) > after]
    return wanted if upto is None else [*wanted, col(ChangeRow.sequence) <= upto]


async def _forget(session: AsyncSession, wish: Wish, wanted: Sequence[ColumnElement[bool]]) -> None:
    """Forget that changes were let pass and then made no run, not even one that failed: a pause came between."""
    await session.exec(
        delete(FiringRow).where(
            col(FiringRow.action_id) == wish.action.id,
            col(FiringRow.replay) == "",
            _lost(),
            col(FiringRow.change_id).in_(sa.select(col(ChangeRow.id)).where(*wanted)),
        )
    )


def _lost() -> ColumnElement[bool]:
    return sa.and_(col(FiringRow.outcome) == Outcome.STOPPED, col(FiringRow.run_id).is_(None))


def _exists(row: type[FiringRow | PendingChangeRow], action_id: str, *more: ColumnElement[bool]) -> ColumnElement[bool]:
    columns = table(row).c
    return sa.exists().where(columns.change_id == col(ChangeRow.id), columns.action_id == action_id, *more)


def _subject(*, of_runs: bool) -> ColumnElement[str]:
    """What the changes are kept in order by: as at first or, where that was not written down, the next best."""
    known = sa.func.nullif(sa.type_coerce(col(ChangeRow.document), sa.JSON)["subject"].as_string(), "")
    place = col(ChangeRow.blueprint).concat("/").concat(col(ChangeRow.entity))
    return sa.func.coalesce(known, col(ChangeRow.run_id) if of_runs else place, col(ChangeRow.id))


def _told(wish: Wish, replay: Replay, *, by: str, at: datetime, origin: str) -> Change:
    asked: Document = {
        "id": replay.id,
        "from": iso(wish.since),
        "to": iso(wish.until),
        "again": wish.again,
        "changes": replay.changes,
    }
    return Change(
        id=new("event"),
        resource_type=Resource.ACTION,
        action=Happening.UPDATE,
        at=at,
        by=by,
        origin=origin,
        context={"action": wish.action.identifier},
        before=None,
        after={"replay": asked},
    )
