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
from domain.times import iso
from store import changes, pending_changes
from store.automation_tables import FiringRow, ListeningRow, PendingChangeRow
from store.columns import table
from store.explanations import between, meant_by
from store.tables import ChangeRow


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

    A change that it has let pass before is left out unless it is to pass again; its run has another id then.
    """
    made = new("replay")
    wanted = [meant_by(wish.event), between(wish.since, wish.until)]
    if not wish.again:
        await _forget(session, wish, wanted)
        wanted += [~_exists(FiringRow, wish.action.id), ~_exists(PendingChangeRow, wish.action.id)]
    past = (
        sa.select(
            col(ChangeRow.id),
            _subject(of_runs="actionIdentifier" in wish.event),
            sa.select(col(ListeningRow.number)).scalar_subquery(),
            sa.literal(wish.action.id),
            sa.literal(made if wish.again else ""),
        )
        .where(*wanted)
        .order_by(col(ChangeRow.sequence))
    )
    names = ["change_id", "subject", "listening", "action_id", "replay"]
    result = await session.exec(insert(table(PendingChangeRow)).from_select(names, past))
    replay = Replay(made, cast("CursorResult[Any]", result).rowcount)
    if replay.changes:
        await changes.append(session, _told(wish, replay, by=by, at=at, origin=origin))
        await pending_changes.ring(session)
    return replay


async def _forget(session: AsyncSession, wish: Wish, wanted: Sequence[ColumnElement[bool]]) -> None:
    """Forget that changes were let pass and then made no run, not even one that failed: a pause came between."""
    await session.exec(
        delete(FiringRow).where(
            col(FiringRow.action_id) == wish.action.id,
            col(FiringRow.replay) == "",
            col(FiringRow.outcome) == Outcome.STOPPED,
            col(FiringRow.run_id).is_(None),
            col(FiringRow.change_id).in_(sa.select(col(ChangeRow.id)).where(*wanted)),
        )
    )


def _exists(row: type[FiringRow | PendingChangeRow], action_id: str) -> ColumnElement[bool]:
    columns = table(row).c
    return sa.exists().where(columns.change_id == col(ChangeRow.id), columns.action_id == action_id)


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
        resource_type=Resource.ACTION,
        action=Happening.UPDATE,
        at=at,
        by=by,
        origin=origin,
        context={"action": wish.action.identifier},
        before=None,
        after={"replay": asked},
    )
