"""Actions in SQL: the current definition, and every version that ever was."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy import bindparam
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, delete, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.actions import Action
from domain.audit import Resource
from domain.changes import Change
from domain.errors import IdentifierTaken, NotFound
from domain.permissions import Permissions
from domain.runs import Run
from store import changes, runs
from store.columns import table
from store.database import execute
from store.tables import ActionRow, ActionVersionRow, RunRow

_COLUMNS = table(ActionRow).c
_CURRENT = sa.select(_COLUMNS.id, _COLUMNS.version, _COLUMNS.permissions).where(
    _COLUMNS.identifier == bindparam("this")
)
_TO_CHANGE = _CURRENT.with_for_update()

_ACTION = TypeAdapter(Action)
_MOST_VERSIONS = 500
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
    session.add(ActionRow(**_columns(action), permissions=Permissions().model_dump(mode="json")))
    await _versioned(session, action)
    await _record(session, None, action, by=action.created_by, at=action.created_at, origin=origin)


async def replace(session: AsyncSession, before: Action, after: Action, *, origin: str) -> None:
    """Make `after` the current version; it may have another identifier.

    Raises:
        IdentifierTaken: another action has the new identifier.
        NotFound: the action was deleted, or replaced by somebody else, in the meantime.
    """
    replaced = (
        update(ActionRow)
        .where(col(ActionRow.id) == after.id, col(ActionRow.version) == before.version)
        .values(**_columns(after))
    )
    try:
        result = await session.exec(replaced)
    except IntegrityError:
        raise IdentifierTaken("Action", after.identifier) from None
    if not result.rowcount:
        raise NotFound("Action", before.identifier)
    await _versioned(session, after)
    columns = _columns(after)
    followed = {"action": after.identifier, "restricted": columns["restricted"]}
    if (before.identifier, _columns(before)["restricted"]) != tuple(followed.values()):
        await session.exec(update(RunRow).where(col(RunRow.action_id) == after.id).values(**followed))
    await _record(session, before, after, by=after.updated_by, at=after.updated_at, origin=origin)


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
    await session.exec(delete(ActionRow).where(col(ActionRow.id) == action.id))
    await _record(session, action, None, by=by, at=at, origin=origin)
    return ended


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


async def _record(
    session: AsyncSession, before: Action | None, after: Action | None, *, by: str, at: datetime, origin: str
) -> None:
    known = after or before
    await changes.append(
        session,
        Change.of_action(
            before.echo() if before else None,
            after.echo() if after else None,
            identifier=known.identifier if known else "",
            by=by,
            at=at,
            origin=origin,
        ),
    )
