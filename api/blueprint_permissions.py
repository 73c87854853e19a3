"""Who may do what with the entities of a blueprint."""

from fastapi import APIRouter
from sqlmodel.ext.asyncio.session import AsyncSession

from api.auth import AdminCaller, AuthenticatedRoute, Caller
from api.errors import responses
from api.services import Now, Services
from domain.blueprint_permissions import BlueprintPermissionsPatch
from domain.documents import Document
from domain.errors import Forbidden, NotFound
from domain.runs import Source
from store import blueprint_permissions, blueprints

router = APIRouter(route_class=AuthenticatedRoute, tags=["blueprints"])


@router.get("/v1/blueprints/{blueprint}/permissions", responses=responses(NotFound))
async def get_blueprint_permissions(blueprint: str, caller: Caller, services: Services) -> Document:
    """Who may create, change and delete entities of the blueprint, and change each property and relation."""
    async with services.database.read() as session:
        found = await blueprints.get(session, blueprint)
        permissions = await blueprint_permissions.get(session, found.definition)
    return {"ok": True, "permissions": permissions.document()}


@router.patch("/v1/blueprints/{blueprint}/permissions", responses=responses(NotFound, Forbidden))
async def patch_blueprint_permissions(
    blueprint: str, patch: BlueprintPermissionsPatch, caller: AdminCaller, services: Services, now: Now
) -> Document:
    """Replace the lists that are named; the others stay. `"policy": null` drops a policy."""

    async def work(session: AsyncSession) -> Document:
        found = await blueprints.get(session, blueprint, to_change=True)
        before = await blueprint_permissions.get(session, found.definition)
        after = before.patched(patch)
        await blueprint_permissions.put(
            session, found.definition, before, after, by=caller.id, at=now, origin=Source.API
        )
        return after.document()

    return {"ok": True, "permissions": await services.database.transact(work)}
