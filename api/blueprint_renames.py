"""Another key for a property, a mirror or a relation of a blueprint."""

from datetime import datetime

from fastapi import APIRouter
from sqlmodel.ext.asyncio.session import AsyncSession

from api.auth import AdminCaller, AuthenticatedRoute
from api.errors import responses
from api.services import ApiServices, Now, Services
from domain.blueprint_renames import MirrorRename, Part, PropertyRename, RelationRename, Rename
from domain.documents import Document
from domain.errors import Forbidden, IdentifierTaken, NotFound
from domain.runs import Source
from domain.users import Caller as CallerValue
from store import blueprint_renames

router = APIRouter(route_class=AuthenticatedRoute, tags=["blueprints"])

_RENAMING = responses(NotFound, Forbidden, IdentifierTaken)


@router.patch("/v1/blueprints/{blueprint}/properties/{property}/rename", responses=_RENAMING)
async def rename_property(
    blueprint: str, property: str, body: PropertyRename, caller: AdminCaller, services: Services, now: Now
) -> Document:
    """Give the property another identifier; entities, permissions, mirrors, aggregations and scorecards follow."""
    return await _renamed(blueprint, Rename(Part.PROPERTY, property, body.new), caller, services, now)


@router.patch("/v1/blueprints/{blueprint}/mirror/{property}/rename", responses=_RENAMING)
async def rename_mirror_property(
    blueprint: str, property: str, body: MirrorRename, caller: AdminCaller, services: Services, now: Now
) -> Document:
    """Give the mirror property another identifier; what mirrors or aggregates it follows, and scorecards."""
    return await _renamed(blueprint, Rename(Part.MIRROR, property, body.new), caller, services, now)


@router.patch("/v1/blueprints/{blueprint}/relations/{relation}/rename", responses=_RENAMING)
async def rename_relation(
    blueprint: str, relation: str, body: RelationRename, caller: AdminCaller, services: Services, now: Now
) -> Document:
    """Give the relation another identifier; entities, permissions, scorecards and every path through it follow."""
    return await _renamed(blueprint, Rename(Part.RELATION, relation, body.new), caller, services, now)


async def _renamed(blueprint: str, what: Rename, caller: CallerValue, services: ApiServices, now: datetime) -> Document:
    async def work(session: AsyncSession) -> Document:
        after = await blueprint_renames.rename(session, blueprint, what, by=caller.id, at=now, origin=Source.API)
        return after.echo()

    return {"ok": True, "blueprint": await services.database.transact(work)}
