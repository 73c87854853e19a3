"""Entities: create, change, read and delete what the catalog holds."""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import Field, JsonValue
from sqlmodel.ext.asyncio.session import AsyncSession

from api.auth import AuthenticatedRoute, Caller
from api.catalog import CatalogWriter, written
from api.errors import responses, status_of
from api.services import ApiServices, Services, words
from domain.documents import Document
from domain.entities import EntityPatch, EntityRequest, Writing, parsed_request, projected
from domain.errors import (
    BlueprintSchemaMismatch,
    EntityRunExhausted,
    Forbidden,
    HasDependents,
    IdentifierTaken,
    InterlockError,
    NotFound,
    RelationManyViolation,
    RequiredRelation,
    Unavailable,
)
from domain.identifiers import new
from domain.models import Written
from store import blueprints, catalog, entities

router = APIRouter(route_class=AuthenticatedRoute, tags=["entities"])

_MOST_AT_ONCE = 50
_MOST_DELETED = 100
_WRITING = responses(
    NotFound, Forbidden, EntityRunExhausted, IdentifierTaken, BlueprintSchemaMismatch, RequiredRelation,
    RelationManyViolation,
)  # fmt: skip
_UPDATED: dict[int | str, dict[str, Any]] = {200: {"description": "It existed, and is changed; or all is valid."}}
_PARTLY: dict[int | str, dict[str, Any]] = {207: {"description": "Some could not be written; `errors` says why."}}
_DELETING = responses(NotFound, Forbidden, EntityRunExhausted, HasDependents)

Json = Annotated[dict[str, Any], Body(description="An entity: identifier, title, icon, team, properties, relations.")]
Names = Annotated[list[str] | None, Query()]
Options = Annotated[catalog.PutOptions, Depends()]


class Bulk(Written):
    """Several entities of one blueprint."""

    entities: list[JsonValue] = Field(min_length=1, max_length=_MOST_AT_ONCE)


class BulkNames(Written):
    """The identifiers of several entities of one blueprint."""

    entities: list[str] = Field(min_length=1, max_length=_MOST_DELETED)


@router.post("/v1/blueprints/{blueprint}/entities", status_code=201, responses=_WRITING | _UPDATED)
async def create_entity(
    blueprint: str,
    document: Json,
    writer: CatalogWriter,
    services: Services,
    response: Response,
    options: Options,
) -> Document:
    """Create an entity (201); with `upsert` change the one that exists (200), with `merge` only the keys sent."""
    request = parsed_request(document)

    async def write(session: AsyncSession, writer: CatalogWriter) -> tuple[Document, bool]:
        found = await blueprints.get(session, blueprint, to_use=True)
        entity, is_new = await catalog.put(session, found, request, options, generated=new("e"), writer=writer)
        return entity.document(), is_new

    entity, is_new = await written(services, writer, write)
    if options.validation_only or not is_new:
        response.status_code = 200
    return {"ok": True} if options.validation_only else {"ok": True, "entity": entity}


@router.post("/v1/blueprints/{blueprint}/entities/bulk", responses=_WRITING | _PARTLY)
async def create_entities(
    blueprint: str,
    bulk: Bulk,
    writer: CatalogWriter,
    services: Services,
    response: Response,
    options: Options,
) -> Document:
    """The same for up to 50 entities, each for itself: 207 when some could not be written."""

    async def write(session: AsyncSession, writer: CatalogWriter) -> tuple[list[JsonValue], list[JsonValue]]:
        found = await blueprints.get(session, blueprint, to_use=True)
        done: list[JsonValue] = []
        failed: list[JsonValue] = []
        for index, document in enumerate(bulk.entities):
            try:
                # All of an entity is checked before any of it is written, so a refusal leaves nothing behind.
                entity, is_new = await catalog.put(
                    session, found, parsed_request(document), options, generated=new("e"), writer=writer
                )
                done.append({"identifier": entity.identifier, "index": index, "created": is_new, "additionalData": {}})
            except Unavailable:
                raise
            except InterlockError as refusal:
                failed.append(_failed(document, index, refusal))
        return done, failed

    done, failed = await written(services, writer, write)
    if failed:
        response.status_code = 207
    return {"ok": bool(done), "entities": done, "errors": failed}


@router.get("/v1/blueprints/{blueprint}/entities", responses=responses(NotFound))
async def list_entities(
    blueprint: str, caller: Caller, services: Services, include: Names = None, exclude: Names = None
) -> StreamingResponse:
    """All entities of the blueprint, by identifier, as they are read."""
    async with services.database.read() as session:
        found = await blueprints.get(session, blueprint)
    pieces = _streamed(services, found.identifier, words(include), words(exclude))
    return StreamingResponse(pieces, media_type="application/json")


@router.get("/v1/blueprints/{blueprint}/entities/{entity:path}", responses=responses(NotFound))
async def get_entity(
    blueprint: str, entity: str, caller: Caller, services: Services, include: Names = None, exclude: Names = None
) -> Document:
    """One entity."""
    async with services.database.read() as session:
        await blueprints.get(session, blueprint)
        found = (await entities.get(session, blueprint, entity)).entity
    return {"ok": True, "entity": projected(found.document(), words(include), words(exclude))}


@router.put("/v1/blueprints/{blueprint}/entities/{entity:path}", responses=_WRITING)
async def replace_entity(
    blueprint: str,
    entity: str,
    document: Json,
    writer: CatalogWriter,
    services: Services,
    create_missing_related_entities: bool = False,
) -> Document:
    """Replace the entity. With another `identifier` it is renamed, and who relates to it follows."""
    request = parsed_request(document)
    return await _changed(
        blueprint, entity, request, Writing.REPLACE, writer, services, create_missing_related_entities
    )


@router.patch("/v1/blueprints/{blueprint}/entities/{entity:path}", responses=_WRITING)
async def patch_entity(
    blueprint: str,
    entity: str,
    document: Json,
    writer: CatalogWriter,
    services: Services,
    create_missing_related_entities: bool = False,
) -> Document:
    """Change the keys that are sent, properties and relations each for itself; the others stay."""
    request = parsed_request(document, EntityPatch)
    return await _changed(blueprint, entity, request, Writing.MERGE, writer, services, create_missing_related_entities)


@router.delete("/v1/blueprints/{blueprint}/entities/{entity:path}", responses=_DELETING)
async def delete_entity(
    blueprint: str, entity: str, writer: CatalogWriter, services: Services, delete_dependents: bool = False
) -> Document:
    """Delete the entity, and with `delete_dependents` all that relate to it; otherwise they forget it."""
    await _deleted(blueprint, [entity], writer, services, delete_dependents)
    return {"ok": True}


@router.delete("/v1/blueprints/{blueprint}/bulk/entities", responses=_DELETING)
async def delete_entities(
    blueprint: str, bulk: BulkNames, writer: CatalogWriter, services: Services, delete_dependents: bool = False
) -> Document:
    """Delete up to 100 entities, all or none. Those that do not exist are not told back."""
    found = await _deleted(blueprint, bulk.entities, writer, services, delete_dependents, absent_is_fine=True)
    return {"ok": True, "deletedEntities": list[JsonValue](found)}


@router.post("/v1/blueprints/{blueprint}/bulk/entities/delete", responses=_DELETING)
async def delete_entities_by_post(
    blueprint: str, bulk: BulkNames, writer: CatalogWriter, services: Services, delete_dependents: bool = False
) -> Document:
    """The same, for clients that cannot send a body with DELETE."""
    return await delete_entities(blueprint, bulk, writer, services, delete_dependents)


async def _changed(
    blueprint: str,
    identifier: str,
    request: EntityRequest,
    how: Writing,
    writer: CatalogWriter,
    services: ApiServices,
    create_missing: bool,
) -> Document:
    async def write(session: AsyncSession, writer: CatalogWriter) -> Document:
        found = await blueprints.get(session, blueprint, to_use=True)
        entity = await catalog.change(
            session, found, identifier, request, how=how, writer=writer, create_missing=create_missing
        )
        return entity.document()

    return {"ok": True, "entity": await written(services, writer, write)}


async def _deleted(
    blueprint: str,
    identifiers: Sequence[str],
    writer: CatalogWriter,
    services: ApiServices,
    delete_dependents: bool,
    *,
    absent_is_fine: bool = False,
) -> list[str]:
    async def write(session: AsyncSession, writer: CatalogWriter) -> list[str]:
        await blueprints.get(session, blueprint)
        deleted = []
        for identifier in dict.fromkeys(identifiers):
            if absent_is_fine and not await entities.find(session, blueprint, identifier):
                continue
            await catalog.remove(session, blueprint, identifier, delete_dependents=delete_dependents, writer=writer)
            deleted.append(identifier)
        return deleted

    return await written(services, writer, write)


async def _streamed(
    services: ApiServices, blueprint: str, include: tuple[str, ...], exclude: tuple[str, ...]
) -> AsyncIterator[bytes]:
    # Each portion is read in a session of its own: a slow client keeps no connection to the database.
    after, separator = "", b""
    yield b'{"ok":true,"entities":['
    while True:
        async with services.database.read() as session:
            found = await entities.portion(session, blueprint, after=after)
        if not found:
            break
        documents = (projected(entity.document(), include, exclude) for entity in found)
        yield separator + b",".join(_json(document) for document in documents)
        after, separator = found[-1].identifier, b","
    yield b"]}"


def _json(document: Document) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _failed(document: JsonValue, index: int, refusal: InterlockError) -> Document:
    identifier = document.get("identifier") if isinstance(document, dict) else None
    return {
        "identifier": identifier if isinstance(identifier, str) else "unknown",
        "index": index,
        "statusCode": int(status_of(refusal)),
        "error": refusal.code,
        "message": str(refusal),
    }
