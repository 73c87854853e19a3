"""Actions in SQL: the current definition, and every version that ever was."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa
from pydantic import JsonValue, TypeAdapter
from sqlalchemy import bindparam
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, delete, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from domain import documents
from domain.actions import Action
from domain.audit import Resource
from domain.changes import Change
from domain.documents import Document
from domain.errors import IdentifierTaken, NotFound
from domain.permissions import Permissions
from domain.runs import PLATFORM, Run, Source
from store import changes, claims, listeners, runs, schedules
from store.columns import table
from store.database import execute
from store.tables import ActionRow, ActionVersionRow, RunRow

_COLUMNS = table(ActionRow).c
_CURRENT = sa.select(_COLUMNS.id, _COLUMNS.version, _COLUMNS.permissions).where(
    _COLUMNS.identifier == bindparam("this")
)
_TO_CHANGE = _CURRENT.with_for_update()
_STANDING = (
    sa.select(_COLUMNS.version, _COLUMNS.permissions).where(_COLUMNS.id == bindparam("this")).with_for_update(read=True)
)

_ACTION = TypeAdapter(Action)
_MOST_VERSIONS = 5_000
_versions: dict[tuple[str, int], Action] = {}
"""Versions read before: one never changes, so what is here is never stale, and is parsed only once."""


@dataclass(frozen=True)
class Filters:
    """Which actions to list; all that are set must hold, an empty tuple is not set."""

    identifiers: tuple[str, ...] = ()
    blueprints: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    published: bool | None = None
    trigger_type: str | None = None
    events: tuple[str, ...] = ()
    event_action: str | None = None


async def create(session: AsyncSession, action: Action, *, origin: str) -> None:
    """Insert the action with the default permissions, as its first version.

    Raises:
        IdentifierTaken: another action has the identifier.
    """
    since = await listeners.changed(session) if _listens(action) else None
    session.add(ActionRow(**_columns(action), listening_since=since, permissions=Permissions().model_dump(mode="json")))
    await _versioned(session, action)
    await schedules.keep(session, action, at=action.created_at)
    await _record(session, None, action.echo(), action, by=action.created_by, at=action.created_at, origin=origin)


async def replace(
    session: AsyncSession, before: Action, after: Action, *, origin: str, same_event: bool = False
) -> None:
    """Make `after` the current version; it may have another identifier. An automation that was paused stays so.

    One that listens to something else begins to listen; `same_event` says that it only names the same otherwise.

    Raises:
        IdentifierTaken: another action has the new identifier.
        NotFound: the action was deleted, or replaced by somebody else, in the meantime.
    """
    known = await paused(session, before)
    replaced = (
        update(ActionRow)
        .where(col(ActionRow.id) == after.id, col(ActionRow.version) == before.version)
        .values(**_columns(after), **await _listening(session, before, after, same_event=same_event))
    )
    try:
        result = await session.exec(replaced)
    except IntegrityError:
        raise IdentifierTaken("Action", after.identifier) from None
    if not result.rowcount:
        raise NotFound("Action", before.identifier)
    await _versioned(session, after)
    await schedules.keep(session, after, at=after.updated_at)
    columns = _columns(after)
    followed = {"action": after.identifier, "restricted": columns["restricted"]}
    if (before.identifier, _columns(before)["restricted"]) != tuple(followed.values()):
        await session.exec(update(RunRow).where(col(RunRow.action_id) == after.id).values(**followed))
        await claims.follow(session, after.id, after.identifier)
    was, is_now = before.echo(known.get(before.id)), after.echo(known.get(after.id))
    await _record(session, was, is_now, after, by=after.updated_by, at=after.updated_at, origin=origin)


async def remove(session: AsyncSession, action: Action, *, by: str, at: datetime, origin: str) -> list[Run]:
    """Delete the action; its versions and runs stay. The runs that waited for approval and have failed now."""
    ended = []
    for run_id in await runs.waiting_for(session, action.id):
        _, after = await runs.change(
            session,
            run_id,
            lambda run: run.cancelled("The action was deleted before anybody decided", at=at, by=by),
            origin=origin,
        )
        ended.append(after)
    known = await paused(session, action)
    await session.exec(delete(ActionRow).where(col(ActionRow.id) == action.id))
    if _listens(action):
        await listeners.changed(session)
    await schedules.keep(session, action, at=at)
    await _record(session, action.echo(known.get(action.id)), None, action, by=by, at=at, origin=origin)
    return ended


async def pause(
    session: AsyncSession, action_id: str, reason: Document, *, by: str = PLATFORM, origin: str = Source.AUTOMATION
) -> bool:
    """Let an automation be asked about nothing until somebody resumes it; False if it is paused already, or gone.

    `reason` has `reason`, `at` (ISO 8601) and `runId`.
    """
    action = await _to_pause(session, action_id)
    if action is None or await paused(session, action):
        return False
    await session.exec(update(ActionRow).where(col(ActionRow.id) == action_id).values(paused=reason))
    await listeners.changed(session)
    at = datetime.fromisoformat(str(reason["at"]))
    await schedules.keep(session, action, at=at)
    await _record(session, action.echo(), action.echo(reason), action, by=by, at=at, origin=origin)
    return True


async def resume(session: AsyncSession, action_id: str, *, by: str, at: datetime, origin: str) -> bool:
    """Let it be asked again, about what happens from now on; False if it is not paused, or gone."""
    action = await _to_pause(session, action_id)
    known = await paused(session, action) if action else {}
    if action is None or action.id not in known:
        return False
    # Before the row is written, so that nobody remembers under the new number who listened before.
    number = await listeners.changed(session)
    since = number if _listens(action) else None
    await session.exec(
        update(ActionRow).where(col(ActionRow.id) == action_id).values(paused=sa.null(), listening_since=since)
    )
    await schedules.keep(session, action, at=at)
    await _record(session, action.echo(known[action.id]), action.echo(), action, by=by, at=at, origin=origin)
    return True


async def paused(session: AsyncSession, *several: Action) -> dict[str, Document]:
    """Why and when those of the actions that are paused were, by id."""
    query = select(ActionRow.id, ActionRow.paused).where(col(ActionRow.paused).is_not(None))
    if len(several) == 1:
        query = query.where(ActionRow.id == several[0].id)
    wanted = {action.id for action in several}
    rows = cast(Iterable[tuple[str, Document]], await session.exec(query))
    return {action_id: reason for action_id, reason in rows if action_id in wanted}


async def get(session: AsyncSession, identifier: str, *, to_change: bool = False) -> tuple[Action, Permissions]:
    """The current version of the action, and who may do what with it; `to_change` keeps others from changing it.

    Raises:
        NotFound: there is none.
    """
    found = (await execute(session, _TO_CHANGE if to_change else _CURRENT, {"this": identifier})).first()
    if found is None:
        raise NotFound("Action", identifier)
    action_id, number, permissions = found
    return await version(session, action_id, number), Permissions.model_validate(permissions)


async def current(session: AsyncSession, action_id: str) -> tuple[int, Permissions] | None:
    """Which version of the action is current, and who may do what with it; None when it was deleted.

    Both stay so until the transaction ends.
    """
    found = (await execute(session, _STANDING, {"this": action_id})).first()
    return None if found is None else (found[0], Permissions.model_validate(found[1]))


async def version(session: AsyncSession, action_id: str, number: int) -> Action:
    """One version of an action, also of one that was deleted.

    Raises:
        NotFound: there never was.
    """
    if known := _versions.get((action_id, number)):
        return known
    row = await session.get(ActionVersionRow, (action_id, number))
    if row is None:
        raise NotFound("Action version", f"{action_id}/{number}")
    action = _ACTION.validate_python(row.document)
    if len(_versions) >= _MOST_VERSIONS:
        _versions.clear()
    _versions[action_id, number] = action
    return action


async def permissions(session: AsyncSession, action_id: str) -> Permissions | None:
    """Who may do what with the action; None when it was deleted."""
    found = (await session.exec(select(ActionRow.permissions).where(ActionRow.id == action_id))).first()
    return Permissions.model_validate(found) if found is not None else None


async def put_permissions(
    session: AsyncSession,
    action: Action,
    before: Permissions,
    after: Permissions,
    *,
    by: str,
    at: datetime,
    origin: str,
) -> None:
    """Replace the permissions of the action; nothing is written when they stay as they are."""
    was, is_now = before.model_dump(mode="json"), after.model_dump(mode="json")
    if was == is_now:
        return
    await session.exec(update(ActionRow).where(col(ActionRow.id) == action.id).values(permissions=is_now))
    context: dict[str, str | None] = {"action": action.identifier}
    await changes.append(
        session, Change.of(Resource.ACTION_PERMISSIONS, was, is_now, context=context, by=by, at=at, origin=origin)
    )


async def restricted(session: AsyncSession) -> list[tuple[str, Permissions]]:
    """The ids and permissions of actions whose runs only some may see."""
    rows = await session.exec(select(ActionRow.id, ActionRow.permissions).where(col(ActionRow.restricted)))
    return [(action_id, Permissions.model_validate(found)) for action_id, found in rows]


async def of_self_service(session: AsyncSession) -> list[tuple[str, Permissions]]:
    """The identifier and the permissions of every self-service action."""
    query = select(ActionRow.identifier, ActionRow.permissions).where(ActionRow.trigger_type == "self-service")
    return [(identifier, Permissions.model_validate(found)) for identifier, found in await session.exec(query)]


async def active(session: AsyncSession, *, besides: str) -> list[Document]:
    """The current definitions of everything that can run, besides one: self-service actions, published automations."""
    rows = await session.exec(
        select(ActionRow.document).where(
            ActionRow.id != besides, sa.or_(col(ActionRow.trigger_type) == "self-service", col(ActionRow.published))
        )
    )
    return [cast(Document, document["document"]) for document in rows]


async def listed(session: AsyncSession, filters: Filters) -> list[Action]:
    """The current versions that pass every filter, by identifier."""
    query = select(ActionRow.document).order_by(col(ActionRow.identifier))
    several: Sequence[tuple[object, tuple[str, ...]]] = (
        (col(ActionRow.identifier), filters.identifiers),
        (col(ActionRow.blueprint), filters.blueprints),
        (col(ActionRow.operation), filters.operations),
        (col(ActionRow.event), filters.events),
    )
    for column, wanted in several:
        if wanted:
            query = query.where(column.in_(wanted))  # type: ignore[attr-defined]
    if filters.published is not None:
        query = query.where(col(ActionRow.published) == filters.published)
    if filters.trigger_type is not None:
        query = query.where(ActionRow.trigger_type == filters.trigger_type)
    if filters.event_action is not None:
        query = query.where(ActionRow.event_action == filters.event_action)
    return [_ACTION.validate_python(document) for document in await session.exec(query)]


async def _versioned(session: AsyncSession, action: Action) -> None:
    session.add(
        ActionVersionRow(action_id=action.id, version=action.version, document=_ACTION.dump_python(action, mode="json"))
    )
    try:
        await session.flush()
    except IntegrityError:
        raise IdentifierTaken("Action", action.identifier) from None


def _columns(action: Action) -> dict[str, Any]:
    document = action.document
    trigger = document["trigger"]
    event = trigger.get("event") if isinstance(trigger, dict) else None
    of = trigger if isinstance(trigger, dict) else {}
    happening = event if isinstance(event, dict) else {}
    return {
        "id": action.id,
        "identifier": action.identifier,
        "version": action.version,
        "trigger_type": of.get("type"),
        "operation": of.get("operation"),
        "blueprint": of.get("blueprintIdentifier") or happening.get("blueprintIdentifier"),
        "event": happening.get("type"),
        "event_action": happening.get("actionIdentifier"),
        "published": document.get("publish") is True,
        "restricted": document.get("allowAnyoneToViewRuns") is False,
        "document": _ACTION.dump_python(action, mode="json"),
    }


def _listens(action: Action) -> bool:
    return action.document.get("publish") is True and _event(action) is not None


def _event(action: Action) -> JsonValue:
    """What an automation listens to; None for what people execute."""
    trigger = action.document["trigger"]
    return trigger.get("event") if isinstance(trigger, dict) and trigger.get("type") == "automation" else None


async def _listening(session: AsyncSession, before: Action, after: Action, *, same_event: bool) -> dict[str, Any]:
    """The columns that say since when the action listens, as far as they change with it."""
    if not _listens(before) and not _listens(after):
        return {}
    # Others know it by its version, so they have to look again in any case.
    number = await listeners.changed(session)
    if not _listens(after):
        return {"listening_since": None}
    stays = _listens(before) and (same_event or documents.same(_event(before), _event(after)))
    return {} if stays else {"listening_since": number}


async def _to_pause(session: AsyncSession, action_id: str) -> Action | None:
    found = (await session.exec(select(ActionRow.version).where(ActionRow.id == action_id).with_for_update())).first()
    return None if found is None else await version(session, action_id, found)


async def _record(
    session: AsyncSession,
    before: Document | None,
    after: Document | None,
    action: Action,
    *,
    by: str,
    at: datetime,
    origin: str,
) -> None:
    change = Change.of_action(before, after, identifier=action.identifier, by=by, at=at, origin=origin)
    await changes.append(session, change)
