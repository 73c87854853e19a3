"""Blueprints: what kinds of entities there are."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body
from sqlmodel.ext.asyncio.session import AsyncSession

from api.auth import AdminCaller, AuthenticatedRoute, Caller
from api.errors import responses
from api.services import ApiServices, Now, Services
from domain.blueprint_identifiers import NewName
from domain.blueprints import Blueprint, Definition, parsed, patched, written
from domain.documents import Document
from domain.entities import Author
from domain.errors import Forbidden, HasDependents, IdentifierTaken, InvalidRequest, NotFound
from domain.runs import Run, Source
from domain.system_blueprints import extended, require_deletable, require_own_name
from domain.users import Caller as CallerValue
from store import (
    actions,
    blueprint_identifiers,
    blueprint_permissions,
    blueprints,
    catalog_migrations,
    entities,
    relations,
    scorecards,
)
from store.entities import Writer

router = APIRouter(route_class=AuthenticatedRoute, tags=["blueprints"])

Written = Annotated[dict[str, Any], Body(description="A blueprint; it is stored and echoed as received.")]
Part = Annotated[dict[str, Any], Body(description="What is added or changed; null takes a key away.")]


@router.post("/v1/blueprints", status_code=201, responses=responses(Forbidden, NotFound, IdentifierTaken))
async def create_blueprint(document: Written, caller: AdminCaller, services: Services, now: Now) -> Document:
    """Create a blueprint. The targets of its relations must exist already, or be the blueprint itself."""
    definition = parsed(document)
    require_own_name(definition.identifier)
    blueprint = Blueprint(
        identifier=definition.identifier,
        document=document,
        created_at=now,
        created_by=caller.id,
        updated_at=now,
        updated_by=caller.id,
    )

    async def work(session: AsyncSession) -> None:
        await blueprints.require_references(session, definition)
        await blueprints.create(session, blueprint, origin=Source.API)

    await services.database.transact(work)
    return {"ok": True, "blueprint": blueprint.echo()}


@router.get("/v1/blueprints", responses=responses())
async def list_blueprints(caller: Caller, services: Services) -> Document:
    """All blueprints, by identifier."""
    async with services.database.read() as session:
        found = await blueprints.listed(session)
    return {"ok": True, "blueprints": [blueprint.echo() for blueprint in found]}


@router.get("/v1/blueprints/{blueprint}", responses=responses(NotFound))
async def get_blueprint(blueprint: str, caller: Caller, services: Services) -> Document:
    """One blueprint as it was written."""
    async with services.database.read() as session:
        found = await blueprints.get(session, blueprint)
    return {"ok": True, "blueprint": found.echo()}


@router.put("/v1/blueprints/{blueprint}", responses=responses(NotFound, Forbidden, IdentifierTaken))
async def replace_blueprint(
    blueprint: str, document: Written, caller: AdminCaller, services: Services, now: Now
) -> Document:
    """Replace the blueprint. Entities stay as they are; a relation that goes is taken from them.

    With another `identifier` it is renamed, and entities and everything that names it follow.

    Scorecards look at all entities again in the background, if they could see a difference.
    """
    return await _changed(blueprint, lambda before: document, caller, services, now)


@router.patch("/v1/blueprints/{blueprint}", responses=responses(NotFound, Forbidden, IdentifierTaken))
async def patch_blueprint(blueprint: str, part: Part, caller: AdminCaller, services: Services, now: Now) -> Document:
    """Lay the body over the blueprint, objects key by key at every depth; what is not named stays."""
    return await _changed(blueprint, lambda before: patched(before.document, part), caller, services, now)


@router.delete("/v1/blueprints/{blueprint}", responses=responses(NotFound, Forbidden, HasDependents))
async def delete_blueprint(
    blueprint: str, caller: AdminCaller, services: Services, now: Now, delete_actions: bool = False
) -> Document:
    """Delete the blueprint, if it has no entities and no other one relates to it; `delete_actions`: and its actions."""
    require_deletable(blueprint)

    async def work(session: AsyncSession) -> list[Run]:
        found = await blueprints.get(session, blueprint, to_change=True)
        await blueprints.remove(session, found, by=caller.id, at=now, origin=Source.API)
        await scorecards.forget_all(session, found, writer=Writer(Author(caller.id, now, ""), Source.API))
        ended: list[Run] = []
        for each in await actions.listed(session, _of(blueprint)) if delete_actions else ():
            action, _ = await actions.get(session, each.identifier, to_change=True)
            ended += await actions.remove(session, action, by=caller.id, at=now, origin=Source.API)
        return ended

    await asyncio.gather(*map(services.driver.try_wake, await services.database.transact(work)))
    return {"ok": True}


@router.get("/v1/blueprints/{blueprint}/actions", responses=responses(NotFound))
async def list_blueprint_actions(blueprint: str, caller: Caller, services: Services) -> Document:
    """The actions on entities of the blueprint, and the automations that its entities trigger."""
    async with services.database.read() as session:
        await blueprints.get(session, blueprint)
        found = await actions.listed(session, _of(blueprint))
    return {"ok": True, "actions": [action.echo() for action in found]}


@router.get("/v1/blueprints/{blueprint}/entities-count", responses=responses(NotFound))
async def count_entities(blueprint: str, caller: Caller, services: Services) -> Document:
    """How many entities the blueprint has."""
    async with services.database.read() as session:
        found = await blueprints.get(session, blueprint)
        count = await blueprints.count(session, found.identifier)
    return {"ok": True, "count": count}


async def _changed(
    identifier: str, change: Callable[[Blueprint], Document], caller: CallerValue, services: ApiServices, now: datetime
) -> Document:
    writer = Writer(Author(caller.id, now, ""), Source.API)

    async def work(session: AsyncSession) -> Blueprint:
        before = await blueprints.get(session, identifier, to_change=True)
        document = extended(change(before))
        definition = parsed(document, before.definition)
        if definition.identifier != before.identifier:
            document = NewName(before.identifier, definition.identifier).in_blueprint(document)
            before = await blueprint_identifiers.rename(session, before, definition.identifier, writer=writer)
            definition = parsed(document, before.definition)
        after = replace(before, document=document, updated_at=now, updated_by=caller.id)
        if json.dumps(written(document)) == json.dumps(written(before.document)):  # the order of keys counts
            return before
        await blueprints.require_references(session, definition, before.definition)
        await _fit_relations(session, before, definition)
        await blueprints.replace(session, before, after, origin=Source.API)
        await blueprint_permissions.follow(session, definition)
        await catalog_migrations.evaluate_anew(session, before, after, writer=writer)
        return after

    return {"ok": True, "blueprint": (await services.database.transact(work)).echo()}


async def _fit_relations(session: AsyncSession, before: Blueprint, definition: Definition) -> None:
    """Take relations that go from the entities.

    Raises:
        InvalidRequest: a relation would mean something else for entities that have it.
    """
    for name, relation in before.definition.relations.items():
        now = definition.relations.get(name)
        if now is None:
            await relations.forget(session, before.identifier, name)
            continue
        same = (now.target, now.many) == (relation.target, relation.many)
        number = 0 if same else await entities.related_by(session, before.identifier, name)
        if number:
            raise InvalidRequest(
                f"relations.{name}: target and many cannot change while {number} entities have the relation"
            )


def _of(blueprint: str) -> actions.Filters:
    return actions.Filters(blueprints=(blueprint,))
