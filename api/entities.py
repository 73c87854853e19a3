"""Entities: create, change, read and delete what the catalog holds."""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Response
from fastapi.responses import StreamingResponse
from pydantic import Field, JsonValue
from sqlmodel.ext.asyncio.session import AsyncSession

from api import readable, refusals
from api.auth import AuthenticatedRoute, Caller
from api.catalog import CatalogWriter, written
from api.completing import completing_written
from api.errors import responses, status_of
from api.reading import Reading, ReadingOptions, shown
from api.services import ApiServices, Services
from domain.blueprints import Blueprint
from domain.documents import Document
from domain.entities import Entity, EntityPatch, EntityRequest, Writing, parsed_request
from domain.errors import (
    BlueprintSchemaMismatch,
    EntityRunExhausted,
    Forbidden,
    HasDependents,
    IdentifierTaken,
    InterlockError,
    InvalidRequest,
    NotFound,
    RelationManyViolation,
    RequiredRelation,
    TeamInheritanceEnabled,
)
from domain.models import Written
from store import blueprints, catalog, entities
from store.database import json_text
from store.entity_batches import Put, PutOptions

router = APIRouter(route_class=AuthenticatedRoute, tags=["entities"])

_MOST_AT_ONCE = 50
_MOST_DELETED = 100
_WRITING = responses(
    NotFound, Forbidden, EntityRunExhausted, IdentifierTaken, BlueprintSchemaMismatch, RequiredRelation,
    RelationManyViolation, TeamInheritanceEnabled,
)  # fmt: skip
_UPDATED: dict[int | str, dict[str, Any]] = {200: {"description": "It existed, and is changed; or all is valid."}}
_PARTLY: dict[int | str, dict[str, Any]] = {207: {"description": "Some could not be written; `errors` says why."}}
_DELETING = responses(NotFound, Forbidden, EntityRunExhausted, HasDependents)

Json = Annotated[dict[str, Any], Body(description="An entity: identifier, title, icon, team, properties, relations.")]


async def _options(
    upsert: bool = False,
    merge: bool = False,
    validation_only: bool = False,
    create_missing_related_entities: bool = False,
) -> PutOptions:
    return PutOptions(upsert, merge, validation_only, create_missing_related_entities)


Options = Annotated[PutOptions, Depends(_options)]


class Bulk(Written):
    """Several entities of one blueprint."""

    entities: list[Any] = Field(min_length=1, max_length=_MOST_AT_ONCE)


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

    async def write(session: AsyncSession, writer: CatalogWriter) -> tuple[Blueprint, Put]:
        found = await blueprints.get(session, blueprint, to_use=True)
        done = await catalog.put(session, found, request, options, writer=writer, complete=completing_written(services))
        return found, done

    found, done = await written(services, writer, write, together=True)
    if options.validation_only or not done.is_new:
        response.status_code = 200
    if options.validation_only:
        return {"ok": True}
    return {"ok": True, "entity": await _told(services, found, done.entity)}


# Its answer is JSON as we made it, and long: nobody looks through it again.
@router.post("/v1/blueprints/{blueprint}/entities/bulk", responses=_WRITING | _PARTLY, response_model=dict[str, Any])
async def create_entities(
    blueprint: str,
    bulk: Bulk,
    writer: CatalogWriter,
    services: Services,
    response: Response,
    options: Options,
) -> Document:
    """The same for up to 50 entities, each for itself: 207 when some could not be written."""
    requests, failed = _parsed(bulk.entities)

    async def write(session: AsyncSession, writer: CatalogWriter) -> list[Put | InterlockError]:
        found = await blueprints.get(session, blueprint, to_use=True)
        return await catalog.put_all(
            session,
            found,
            list(requests.values()),
            options,
            writer=writer,
            complete=completing_written(services),
        )

    done: list[JsonValue] = []
    for index, answer in zip(requests, await written(services, writer, write, together=True), strict=True):
        if isinstance(answer, InterlockError):
            failed[index] = answer
        else:
            identifier = answer.entity.identifier
            done.append({"identifier": identifier, "index": index, "created": answer.is_new, "additionalData": {}})
    if failed:
        response.status_code = 207
        if not options.validation_only:
            refused = [(bulk.entities[index], failed[index]) for index in sorted(failed)]
            await refusals.record_entities(services, writer, blueprint, refused)
    errors: list[JsonValue] = [_failed(bulk.entities[index], index, failed[index]) for index in sorted(failed)]
    return {"ok": bool(done), "entities": done, "errors": errors}


@router.get("/v1/blueprints/{blueprint}/entities", responses=responses(NotFound))
async def list_entities(
    blueprint: str, caller: Caller, services: Services, reading: ReadingOptions
) -> StreamingResponse:
    """All entities of the blueprint, by identifier, as they are read."""
    async with services.database.read() as session:
        found = await blueprints.get(session, blueprint)
        portion = await readable.portions(services, session, caller, blueprint, at=services.now())
    pieces = _streamed(services, found, reading, portion)
    return StreamingResponse(pieces, media_type="application/json")


@router.get("/v1/blueprints/{blueprint}/entities/{entity:path}", responses=responses(NotFound))
async def get_entity(
    blueprint: str, entity: str, caller: Caller, services: Services, reading: ReadingOptions
) -> Document:
    """One entity, with what is derived."""
    async with services.database.read() as session:
        found = await blueprints.get(session, blueprint)
        stored = (await entities.get(session, blueprint, entity)).entity
        await readable.require(services, session, caller, stored, at=services.now())
        [document] = await shown(services, session, [stored], reading, known=[found])
    return {"ok": True, "entity": document}


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
    async def write(session: AsyncSession, writer: CatalogWriter) -> tuple[Blueprint, Entity]:
        found = await blueprints.get(session, blueprint, to_use=True)
        entity = await catalog.change(
            session,
            found,
            identifier,
            request,
            how=how,
            writer=writer,
            complete=completing_written(services),
            create_missing=create_missing,
        )
        return found, entity

    found, entity = await written(services, writer, write, together=True)
    return {"ok": True, "entity": await _told(services, found, entity)}


async def _told(services: ApiServices, blueprint: Blueprint, entity: Entity) -> Document:
    """The entity with what is derived of it, now that it is committed."""
    async with services.database.read() as session:
        [document] = await shown(services, session, [entity], known=[blueprint])
    return document


def _parsed(documents: Sequence[JsonValue]) -> tuple[dict[int, EntityRequest], dict[int, InterlockError]]:
    """What has the shape of an entity, and why the others have not, by place."""
    requests: dict[int, EntityRequest] = {}
    failed: dict[int, InterlockError] = {}
    for index, document in enumerate(documents):
        try:
            requests[index] = parsed_request(document)
        except InvalidRequest as refusal:
            failed[index] = refusal
    return requests, failed


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
        deleted = await catalog.remove_all(
            session, blueprint, identifiers, delete_dependents=delete_dependents, writer=writer
        )
        if not deleted and not absent_is_fine:
            raise NotFound("Entity", identifiers[0])
        return deleted

    return await written(services, writer, write)


async def _streamed(
    services: ApiServices, blueprint: Blueprint, reading: Reading, portion: readable.Portion
) -> AsyncIterator[bytes]:
    # Each portion is read in a session of its own: a slow client keeps no connection to the database.
    after, separator = "", b""
    yield b'{"ok":true,"entities":['
    while True:
        async with services.database.read() as session:
            found = await portion(session, after)
            documents = await shown(services, session, found, reading, known=[blueprint])
        if not found:
            break
        yield separator + b",".join(json_text(document).encode() for document in documents)
        after, separator = found[-1].identifier, b","
    yield b"]}"


def _failed(document: JsonValue, index: int, refusal: InterlockError) -> Document:
    identifier = document.get("identifier") if isinstance(document, dict) else None
    return {
        "identifier": identifier if isinstance(identifier, str) else "unknown",
        "index": index,
        "statusCode": int(status_of(refusal)),
        "error": refusal.code,
        "message": str(refusal),
    }
