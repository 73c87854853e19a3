"""Another key for a part of a blueprint, carried through everything in SQL that goes by it."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.blueprint_renames import Part, Rename
from domain.blueprints import Blueprint, Definition
from domain.documents import Document
from domain.entities import Author, Entity
from domain.errors import NotFound
from store import (
    actions,
    blueprint_permissions,
    blueprint_timers,
    blueprints,
    catalog_migrations,
    entities,
    entity_values,
    listeners,
    replays,
    scorecards,
    timer_names,
)
from store.catalog_tables import EntityRelationRow, EntityRow
from store.columns import table
from store.database import Raced, execute
from store.entities import Writer
from store.tables import ActionRow

_ENTITIES = table(EntityRow).c
_UPDATE = update(table(EntityRow)).where(_ENTITIES.id == bindparam("this"))
_RACED = "others change what names it all the time; ask again"


async def rename(
    session: AsyncSession, identifier: str, what: Rename, *, by: str, at: datetime, origin: str
) -> Blueprint:
    """Give the key its new name: in the blueprint, its scorecards, paths of others, permissions, timers and entities.

    Every blueprint, scorecard and automation whose document changes has a change record; entities follow, which tells
    nobody.

    Raises:
        NotFound: there is no such blueprint, or no such key.
        IdentifierTaken: the blueprint has the new key already.
        store.database.Raced: the transaction has to be done again.
    """
    before = await blueprints.get(session, identifier, to_change=True)
    listed: dict[str, Blueprint] = {one.identifier: one for one in await blueprints.listed(session)}
    documents = what.renamed({name: one.definition for name, one in listed.items()}, identifier)
    renamed = before
    for name in sorted(documents):
        other = await _locked(session, listed[name])
        after = replace(other, document=documents[name], updated_at=at, updated_by=by)
        await blueprints.replace(session, other, after, origin=origin, renames=True)
        if name == identifier:
            renamed = after
    if documents:
        await blueprint_permissions.follow(session, renamed.definition, {what.old: what.new})
        if what.part is Part.RELATION:
            await _rename_relation(session, before.definition, what)
        if what.part is not Part.MIRROR:
            await _rename_in_entities(session, identifier, what)
        if what.part is Part.PROPERTY:
            await blueprint_timers.rename(session, before.definition, renamed.definition, what.old, what.new, at=at)
            if what.old in before.definition.timers:
                await timer_names.note(session, identifier, what.old, what.new)
        writer = Writer(Author(by, at, ""), origin)
        await scorecards.follow(session, renamed, what, writer=writer)
        await _rename_in_automations(session, identifier, what, by=by, at=at, origin=origin)
        # A calculation that names the old key in jq now makes something else.
        await catalog_migrations.evaluate_anew(session, before, renamed, writer=writer)
    return renamed


async def _locked(session: AsyncSession, seen: Blueprint) -> Blueprint:
    """The blueprint, which nobody changes from now on, if it is still as it was seen."""
    try:
        now = await blueprints.get(session, seen.identifier, to_change=True)
    except NotFound:
        raise Raced(_RACED) from None
    if now.document != seen.document:
        raise Raced(_RACED)
    return now


async def _rename_relation(session: AsyncSession, before: Definition, what: Rename) -> None:
    sources = select(EntityRow.id).where(EntityRow.blueprint == before.identifier)
    named = sa.and_(
        col(EntityRelationRow.relation) == what.old,
        col(EntityRelationRow.source_id).in_(sources),
    )
    # Whoever deletes or renames a target asks by which relation it is named, and then waits for the entities that
    # name it. So the targets are locked first, which is where they begin.
    await session.exec(
        select(EntityRow.id)
        .where(
            EntityRow.blueprint == before.relations[what.old].target,
            col(EntityRow.identifier).in_(select(EntityRelationRow.target).where(named)),
        )
        .order_by(col(EntityRow.id))
        .with_for_update()
    )
    await session.exec(update(EntityRelationRow).where(named).values(relation=what.new))


async def _rename_in_automations(
    session: AsyncSession, blueprint: str, what: Rename, *, by: str, at: datetime, origin: str
) -> None:
    """Let automations listen to the timer by its new name, in a version of their own; also drafts and paused ones.

    They are still asked about what is pending. Those that named the new one already have not listened to this timer.
    """
    rows = await session.exec(
        select(ActionRow.id, ActionRow.version)
        .where(ActionRow.trigger_type == "automation", ActionRow.blueprint == blueprint)
        .order_by(col(ActionRow.id))
        .with_for_update()
    )
    for action_id, version in rows.all():
        before = await actions.version(session, action_id, version)
        document = what.in_automation(before.document, blueprint)
        if document is before.document:
            if what.turned.in_automation(document, blueprint) is not document:
                await listeners.begin_anew(session, action_id)
            continue
        after = replace(before, version=before.version + 1, document=document, updated_at=at, updated_by=by)
        try:
            await actions.replace(session, before, after, origin=origin, same_event=True)
        except NotFound:
            raise Raced(_RACED) from None
        await replays.rename(session, action_id, _event(before.document), _event(document))


def _event(automation: Document) -> Document:
    trigger: Any = automation["trigger"]
    event: Document = trigger["event"]
    return event


async def _rename_in_entities(session: AsyncSession, blueprint: str, what: Rename) -> None:
    async for row_id, document in entities.to_change(session, blueprint):
        renamed = what.in_entity(document)
        if renamed is not document:
            await execute(session, _UPDATE, {"this": row_id, "document": renamed})
            was, is_now = Entity.model_validate(document), Entity.model_validate(renamed)
            await entity_values.keep(session, row_id, was, is_now)
