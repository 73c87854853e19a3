"""Gives a blueprint another identifier in SQL: what names it follows, in the transaction that does it."""

from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.blueprint_identifiers import NewName
from domain.blueprints import Blueprint, BlueprintId
from domain.errors import IdentifierTaken, NotFound
from domain.permissions import Permissions
from store import (
    actions,
    blueprint_permissions,
    blueprints,
    catalog_migrations,
    entities,
    incoming_webhooks,
    listeners,
    pending_changes,
    scorecards,
    timer_rows,
)
from store.automation_tables import AutomationWriteRow
from store.catalog_tables import EntityRelationRow, EntityRow
from store.columns import table
from store.database import Raced, execute
from store.entities import Writer
from store.tables import ActionRow, RunRow

_RACED = "others change what names the blueprint all the time; ask again"
_AT_ONCE = 500
_ENTITIES = table(EntityRow).c
_UPDATE = (
    sa.update(table(EntityRow))
    .where(_ENTITIES.id == bindparam("this"))
    .values(blueprint=bindparam("of"), document=bindparam("now", type_=_ENTITIES.document.type))
)


def _followed(column: Any) -> Any:
    return sa.update(column.table).where(column == bindparam("old")).values({column: bindparam("new")})


_FOLLOW = (
    _followed(table(EntityRelationRow).c.target_blueprint),
    _followed(table(AutomationWriteRow).c.blueprint),
    _followed(table(RunRow).c.blueprint),
)
"""What is found by the name of the blueprint, and says no more about it."""


async def rename(session: AsyncSession, before: Blueprint, new: BlueprintId, *, writer: Writer) -> Blueprint:
    """The blueprint under its new identifier. It was read `to_change`, so nobody writes entities of it.

    Blueprints, actions, scorecards and webhooks that name it follow, each with a change of its own; entities, their
    timers and permissions follow silently. Changes that automations have still to be asked about, or that have still
    to be sent somewhere, tell the old name: as long as there are any, it stays.

    Raises:
        InvalidRequest: it cannot be called so.
        IdentifierTaken: another one is.
        Raced: changes of its entities have still to be looked at, or somebody changes what has to follow.
    """
    what = NewName(before.identifier, new)
    what.require_allowed()
    await _require_quiet(session, what)
    renamed = await _rename_in_blueprints(session, before, what, writer)
    for statement in _FOLLOW:
        await execute(session, statement, {"old": what.old, "new": what.new})
    await _rename_in_entities(session, what)
    await timer_rows.rename_blueprint(session, what.old, what.new, at=writer.author.at)
    await _require_quiet(session, what)  # timers ask for no blueprint, so one may have expired until now
    await blueprint_permissions.rename_blueprint(session, what)
    await _rename_in_actions(session, what, writer)
    await _rename_in_webhooks(session, what, writer)
    await scorecards.rename_blueprint(session, renamed, what, writer=writer)
    await catalog_migrations.rename_blueprint(session, renamed, what, writer=writer)
    await listeners.changed(session)  # its `changelogDestination` is that of another name
    return renamed


async def _require_quiet(session: AsyncSession, what: NewName) -> None:
    if await pending_changes.about(session, what.old):
        raise Raced(f"automations have still to be asked about changes of {what.old!r}; ask again")


async def _rename_in_blueprints(session: AsyncSession, before: Blueprint, what: NewName, writer: Writer) -> Blueprint:
    renamed = before
    for seen in await blueprints.listed(session):
        if seen.identifier == what.new:
            raise IdentifierTaken("Blueprint", what.new)
        document = what.in_blueprint(seen.document)
        if document is seen.document:
            continue
        try:
            other = await blueprints.get(session, seen.identifier, to_change=True)
        except NotFound:
            raise Raced(_RACED) from None
        if other.document != seen.document:
            raise Raced(_RACED)
        after = replace(other, document=document, updated_at=writer.author.at, updated_by=writer.author.id)
        if other.identifier == what.old:
            after = renamed = replace(after, identifier=BlueprintId(what.new))
        await blueprints.replace(session, other, after, origin=writer.origin, renames=True)
    return renamed


async def _rename_in_entities(session: AsyncSession, what: NewName) -> None:
    rows: list[dict[str, object]] = []
    async for row_id, document in entities.to_change(session, what.old):
        rows.append({"this": row_id, "of": what.new, "now": {**document, "blueprint": what.new}})
        if len(rows) >= _AT_ONCE:
            await session.exec(_UPDATE, params=rows)
            rows = []
    if rows:
        await session.exec(_UPDATE, params=rows)


async def _rename_in_actions(session: AsyncSession, what: NewName, writer: Writer) -> None:
    """Let actions and automations name it, in a version of their own; also drafts and paused ones."""
    by, at, origin = writer.author.id, writer.author.at, writer.origin
    rows = (await session.exec(select(ActionRow.identifier, ActionRow.document, ActionRow.permissions))).all()
    for identifier, document, permissions in sorted(rows, key=lambda row: row[0]):
        definition, granted = document["document"], dict(permissions)
        if what.in_action(definition) is definition and what.in_permissions(granted) is granted:
            continue
        try:
            before, may = await actions.get(session, identifier, to_change=True)
            wanted = what.in_action(before.document)
            if wanted is not before.document:
                after = replace(before, version=before.version + 1, document=wanted, updated_at=at, updated_by=by)
                await actions.replace(session, before, after, origin=origin)
        except NotFound:
            raise Raced(_RACED) from None
        now = Permissions.model_validate(what.in_permissions(may.model_dump(mode="json")))
        await actions.put_permissions(session, before, may, now, by=by, at=at, origin=origin)


async def _rename_in_webhooks(session: AsyncSession, what: NewName, writer: Writer) -> None:
    for seen in await incoming_webhooks.listed(session):
        if what.in_webhook(seen.document) is seen.document:
            continue
        try:
            before = await incoming_webhooks.get(session, seen.identifier, to_change=True)
        except NotFound:
            raise Raced(_RACED) from None
        after = replace(
            before,
            document=what.in_webhook(before.document),
            updated_at=writer.author.at,
            updated_by=writer.author.id,
        )
        await incoming_webhooks.put(session, before, after, origin=writer.origin)
