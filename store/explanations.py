"""What became of changes, and what might have: past changes by what an automation listens to, and who was asked."""

import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

import sqlalchemy as sa
from sqlalchemy import ColumnElement
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.actions import Action
from domain.audit import Resource
from domain.automations import keys_of_event
from domain.changes import Outcome, key_of
from domain.documents import Document
from domain.errors import InvalidRequest, NotFound
from domain.timer_names import Span
from domain.times import iso
from store import actions, timer_names
from store.automation_tables import FiringRow, PendingChangeRow
from store.columns import table
from store.database import execute
from store.tables import ActionRow, ActionVersionRow, ChangeRow, RunRow

log = logging.getLogger(__name__)

_FIRINGS, _RUNS, _ACTIONS = table(FiringRow).c, table(RunRow).c, table(ActionRow).c


@dataclass(frozen=True)
class Fate:
    """What became of a change for one automation."""

    action_id: str
    action: Action | None
    """In the version that was asked, as far as that is known."""
    outcome: str
    replay: str
    run_id: str | None
    restricted: bool
    """Whether only some may see the run, or the runs of the automation."""
    created_by: str | None
    """Whose run it is."""
    ran: bool
    """Whether there is a run, whose version this is."""
    paused: Document | None
    """Why the automation is paused now, if it is."""


@dataclass(frozen=True)
class Listener:
    """An automation whose event means a change."""

    action: Action
    """The current version."""
    then: Action | None
    """The version that was current when the change was made."""
    restricted: bool
    paused: Document | None


def meant_by(event: Document, names: Sequence[Span] = ()) -> ColumnElement[bool]:
    """Whether a change is one that the event of a definition means; that of a schedule means none.

    `names` is what `timer_names.when` says of the event.
    """
    keys = keys_of_event(event)
    if not keys:
        return sa.false()
    kind, _, of = keys[0]
    # Of runs the action says more than the kind does, but SQLite would look through all of them if it could.
    resource_type = col(ChangeRow.resource_type).concat("") if kind == "run" else col(ChangeRow.resource_type)
    conditions: list[ColumnElement[bool]] = [
        resource_type == kind,
        col(ChangeRow.happening).in_([happening for _, happening, _ in keys]),
        (col(ChangeRow.action) if kind == "run" else col(ChangeRow.blueprint)) == of,
        col(ChangeRow.status) == Outcome.SUCCESS,
    ]
    if (name := event.get("propertyIdentifier")) is not None:
        conditions.append(sa.or_(*map(_within, names or [Span(str(name), 0, None)])))
    return sa.and_(*conditions)


def _within(names: Span) -> ColumnElement[bool]:
    sequence, documents = col(ChangeRow.sequence), sa.type_coerce(col(ChangeRow.document), sa.JSON)
    named = documents[("context", "property")].as_string() == names.name
    return sa.and_(named, sequence > names.after, sa.true() if names.upto is None else sequence <= names.upto)


def between(since: datetime | None, until: datetime | None) -> ColumnElement[bool]:
    """Whether a change was made in the span, both ends included, to the millisecond that clients are told."""
    conditions: list[ColumnElement[bool]] = [sa.true()]
    if since is not None:
        conditions.append(col(ChangeRow.at) >= since)
    if until is not None:
        conditions.append(col(ChangeRow.at) <= until.replace(microsecond=until.microsecond // 1000 * 1000 + 999))
    return sa.and_(*conditions)


async def past(
    session: AsyncSession, event: Document, *, since: datetime | None, until: datetime | None, limit: int
) -> Sequence[Document]:
    """The changes of a span that the event of a definition means, newest first."""
    rows = await session.exec(
        select(ChangeRow.document)
        .where(meant_by(event, await timer_names.when(session, event)), between(since, until))
        .order_by(col(ChangeRow.at).desc(), col(ChangeRow.sequence).desc())
        .limit(limit)
    )
    return cast(Sequence[Document], rows.all())


async def named(session: AsyncSession, ids: Collection[str]) -> Sequence[Document]:
    """The changes with these ids, newest first.

    Raises:
        NotFound: there is none with one of them.
    """
    rows = await session.exec(
        select(ChangeRow.document)
        .where(col(ChangeRow.id).in_(ids))
        .order_by(col(ChangeRow.at).desc(), col(ChangeRow.sequence).desc())
    )
    found = cast(Sequence[Document], rows.all())
    if missing := sorted(set(ids) - {str(change["id"]) for change in found}):
        raise NotFound("Event", missing[0])
    return found


async def fates(session: AsyncSession, change_id: str) -> list[Fate]:
    """What became of the change, for each automation that it was of interest to; also for those that are gone."""
    query = (
        sa.select(
            _FIRINGS.action_id,
            _FIRINGS.outcome,
            _FIRINGS.replay,
            _FIRINGS.run_id,
            _RUNS.document[("interlock", "actionVersion")].as_integer().label("ran"),
            _RUNS.created_by,
            _ACTIONS.version,
            _ACTIONS.paused,
            sa.func.coalesce(_RUNS.restricted, _ACTIONS.restricted, sa.true()).label("restricted"),
        )
        .join_from(table(FiringRow), table(RunRow), _RUNS.id == _FIRINGS.run_id, isouter=True)
        .join(table(ActionRow), _ACTIONS.id == _FIRINGS.action_id, isouter=True)
        .where(_FIRINGS.change_id == change_id)
        .order_by(_FIRINGS.at, _FIRINGS.action_id)
    )
    return [
        Fate(
            action_id=row.action_id,
            action=await _version(session, row.action_id, row.ran or row.version),
            outcome=row.outcome,
            replay=row.replay,
            run_id=row.run_id,
            restricted=bool(row.restricted),
            created_by=row.created_by,
            ran=row.ran is not None,
            paused=row.paused,
        )
        for row in (await execute(session, query, {})).all()
    ]


async def listeners_of(session: AsyncSession, change: Document) -> list[Listener]:
    """The automations, published or not, whose event means changes such as this one; by identifier.

    Those whose definition cannot be read any more are left out.
    """
    key = key_of(change)
    if key is not None:
        concerned = (_ACTIONS.event_action if key[0] == "run" else _ACTIONS.blueprint) == key[2]
    elif change["resourceType"] == Resource.SCHEDULE:
        concerned = _ACTIONS.id == change.get("subject")
    else:
        return []
    query = (
        sa.select(_ACTIONS.id, _ACTIONS.version, _ACTIONS.restricted, _ACTIONS.paused, _ACTIONS.document)
        .where(_ACTIONS.trigger_type == "automation", concerned)
        .order_by(_ACTIONS.identifier)
    )
    rows = (await execute(session, query, {})).all()
    found = [row for row in rows if key is None or key in keys_of_event(row.document["document"]["trigger"]["event"])]
    then = await _versions_at(session, [row.id for row in found], datetime.fromisoformat(str(change["at"])))
    listeners = []
    for row in found:
        action = await _readable(session, row.id, row.version)
        if action is not None:
            before = await _readable(session, row.id, then[row.id]) if row.id in then else None
            listeners.append(Listener(action, before, row.restricted, row.paused))
    return listeners


async def pending_for(session: AsyncSession, change_id: str) -> set[str]:
    """The ids of the automations that have still to be asked about the change; an empty one for all that listened."""
    rows = await session.exec(select(PendingChangeRow.action_id).where(PendingChangeRow.change_id == change_id))
    return set(rows)


async def _versions_at(session: AsyncSession, action_ids: Sequence[str], at: datetime) -> Mapping[str, int]:
    """The number of the version of each that was current at a moment; those that there was none of are left out."""
    written = col(ActionVersionRow.document)["updated_at"].as_string()
    rows = await session.exec(
        select(ActionVersionRow.action_id, ActionVersionRow.version, written).where(
            col(ActionVersionRow.action_id).in_(action_ids)
        )
    )
    known: defaultdict[str, int] = defaultdict(int)
    for action_id, number, since in rows:
        # To the millisecond, which is as much as changes are told.
        if datetime.fromisoformat(iso(datetime.fromisoformat(since))) <= at:
            known[action_id] = max(known[action_id], number)
    return known


async def _version(session: AsyncSession, action_id: str, number: int | None) -> Action | None:
    if number is None:
        query = select(sa.func.max(ActionVersionRow.version)).where(ActionVersionRow.action_id == action_id)
        number = (await session.exec(query)).one()
    return None if number is None else await _readable(session, action_id, number)


async def _readable(session: AsyncSession, action_id: str, number: int) -> Action | None:
    """The version; None when an older process took a definition that this one does not."""
    action = await actions.version(session, action_id, number)
    try:
        action.definition  # noqa: B018 - parsed here for the first time
    except InvalidRequest:
        log.warning("definition cannot be read any more", extra={"action_id": action_id, "version": number})
        return None
    return action
