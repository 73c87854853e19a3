"""Deleting all entities of a blueprint, which takes its time: asked for here, and looked after."""

from fastapi import APIRouter
from sqlmodel.ext.asyncio.session import AsyncSession

from api.auth import AdminCaller, AuthenticatedRoute, Caller
from api.catalog import CatalogWriter, written
from api.errors import responses
from api.services import Services
from domain.catalog_migrations import CatalogMigration
from domain.documents import Document
from domain.errors import EntityRunExhausted, Forbidden, NotFound
from domain.identifiers import new
from domain.system_blueprints import is_system
from store import blueprints, catalog_migrations

router = APIRouter(route_class=AuthenticatedRoute, tags=["blueprints"])


@router.delete("/v1/blueprints/{blueprint}/all-entities", responses=responses(NotFound, Forbidden, EntityRunExhausted))
async def delete_all_entities(
    blueprint: str, caller: AdminCaller, writer: CatalogWriter, services: Services, delete_blueprint: bool = False
) -> Document:
    """Have all entities deleted in the background, and then the blueprint; `GET /v1/migrations/{id}` tells how far."""
    if is_system(blueprint):
        raise Forbidden(f"{blueprint} is a system blueprint: its entities are not deleted all at once")

    async def work(session: AsyncSession, writer: CatalogWriter) -> str:
        found = await blueprints.get(session, blueprint, to_change=True)
        migration = CatalogMigration(
            id=new("migration"),
            actor=writer.author.id,
            source_blueprint=found.identifier,
            delete_blueprint=delete_blueprint,
            run_id=writer.run_id or None,
            caused_by=writer.cause.run_id,
            depth=writer.cause.depth,
            origin=writer.origin,
            datasource=writer.author.datasource,
            created_at=writer.author.at,
        )
        return (await catalog_migrations.start(session, migration)).id

    return {"ok": True, "migrationId": await written(services, writer, work)}


@router.get("/v1/migrations/{migration}", responses=responses(NotFound))
async def get_migration(migration: str, caller: Caller, services: Services) -> Document:
    """How far the work on all entities of a blueprint has come."""
    async with services.database.read() as session:
        found = await catalog_migrations.get(session, migration)
    return {"ok": True, "migration": found.document()}
