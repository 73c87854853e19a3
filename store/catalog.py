"""Writes to the catalog, each in the transaction it is given: everything is checked before anything is written."""

from dataclasses import dataclass

from sqlmodel.ext.asyncio.session import AsyncSession

from domain.blueprints import Blueprint
from domain.entities import Entity, EntityRequest, Kind, Target, Writing, bare, changed, created, targets
from domain.errors import HasDependents, IdentifierTaken, NotFound
from store import blueprints, entities
from store.entities import Stored, Writer


@dataclass(frozen=True)
class PutOptions:
    """How an entity is put into the catalog; the names are those of the query."""

    upsert: bool = False
    """Whether one that exists is changed."""
    merge: bool = False
    """Whether what is not sent stays as it is."""
    validation_only: bool = False
    """Whether everything is checked and nothing written."""
    create_missing_related_entities: bool = False
    """Whether entities that it relates to are created where there are none."""


async def put(
    session: AsyncSession,
    blueprint: Blueprint,
    request: EntityRequest,
    options: PutOptions,
    *,
    generated: str,
    writer: Writer,
) -> tuple[Entity, bool]:
    """Create the entity, or change it; the entity, and whether it is new.

    Raises:
        IdentifierTaken: it exists, and `upsert` was not asked for.
        NotFound: it relates to something that does not exist, and nobody asked to create that.
        InterlockError: see `domain.entities.created` and `changed`; nothing is written then.
        store.database.Raced: the transaction has to be done again.
    """
    kind = Kind(blueprint.identifier, blueprint.definition)
    before = await entities.find(session, kind.identifier, request.named, to_change=True) if request.named else None
    if before and not options.upsert:
        raise IdentifierTaken("Entity", before.entity.identifier)
    if before:
        how = Writing.MERGE if options.merge else Writing.REPLACE
        entity = changed(kind, before.entity, request, how=how, author=writer.author)
    else:
        entity = created(kind, request, generated=generated, author=writer.author)
    create_missing = options.create_missing_related_entities
    await _write(session, kind, before, entity, writer, create_missing, validation_only=options.validation_only)
    return entity, before is None


async def change(
    session: AsyncSession,
    blueprint: Blueprint,
    identifier: str,
    request: EntityRequest,
    *,
    how: Writing,
    writer: Writer,
    create_missing: bool = False,
) -> Entity:
    """Change an entity that exists; with another identifier in the request it gets that one.

    Raises:
        NotFound: there is none, or it relates to something that does not exist.
        IdentifierTaken: another one has the new identifier.
        InterlockError: see `domain.entities.changed`; nothing is written then.
        store.database.Raced: the transaction has to be done again.
    """
    kind = Kind(blueprint.identifier, blueprint.definition)
    before = await entities.get(session, kind.identifier, identifier, to_change=True)
    entity = changed(kind, before.entity, request, how=how, author=writer.author)
    if entity.identifier != identifier and await entities.find(session, kind.identifier, entity.identifier):
        raise IdentifierTaken("Entity", entity.identifier)
    await _write(session, kind, before, entity, writer, create_missing)
    return entity


async def remove(
    session: AsyncSession, blueprint: str, identifier: str, *, delete_dependents: bool, writer: Writer
) -> None:
    """Delete the entity, and who relates to it with `delete_dependents`; otherwise they forget it silently.

    Raises:
        NotFound: there is none.
        HasDependents: somebody must relate to it. Nothing is deleted then.
    """
    doomed: dict[str, Stored] = {}
    waiting = [await entities.get(session, blueprint, identifier, to_change=True)]
    while waiting:
        stored = waiting.pop()
        if stored.id in doomed:
            continue
        doomed[stored.id] = stored
        for referrer, relation in await entities.referrers(session, stored.entity):
            if delete_dependents:
                waiting.append(referrer)
            elif (await blueprints.get(session, referrer.entity.blueprint)).definition.relations[relation].required:
                dependent = f"{referrer.entity.blueprint} {referrer.entity.identifier!r}"
                raise HasDependents(f"{dependent} must relate to {blueprint} {identifier!r} (relations.{relation})")
    for stored in reversed(doomed.values()):
        found = await entities.find(session, stored.entity.blueprint, stored.entity.identifier)
        if found:
            await entities.remove(session, found, writer=writer)


async def _write(
    session: AsyncSession,
    kind: Kind,
    before: Stored | None,
    entity: Entity,
    writer: Writer,
    create_missing: bool,
    *,
    validation_only: bool = False,
) -> None:
    if before and entity is before.entity:
        return
    wanted = [target for target in targets(kind, entity) if (target.blueprint, target.identifier) != _name(entity)]
    absent = await entities.missing(session, wanted)
    if absent and not create_missing:
        raise NotFound(
            f"Entity of {absent[0].blueprint}, to which relations.{absent[0].relation} leads,", absent[0].identifier
        )
    if validation_only:
        return
    for target in absent:
        await _create_bare(session, target, writer)
    if before:
        await entities.replace(session, kind, before, entity, writer=writer)
    else:
        await entities.create(session, kind, entity, writer=writer)


async def _create_bare(session: AsyncSession, target: Target, writer: Writer) -> None:
    blueprint = await blueprints.get(session, target.blueprint)
    kind = Kind(blueprint.identifier, blueprint.definition)
    await entities.create(session, kind, bare(target.blueprint, target.identifier, author=writer.author), writer=writer)


def _name(entity: Entity) -> tuple[str, str]:
    return entity.blueprint, entity.identifier
