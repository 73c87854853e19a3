"""Writes to the catalog, each in the transaction it is given: everything is checked before anything is written."""

from collections.abc import Sequence

from sqlmodel.ext.asyncio.session import AsyncSession

from domain.blueprints import Blueprint
from domain.entities import Entity, EntityRequest, Kind, Writing, changed
from domain.errors import HasDependents, IdentifierTaken, InterlockError, Unavailable
from domain.people_entities import MEMBERSHIP
from store import blueprint_permissions, blueprints, entities, people_entities, scorecards
from store.derived import Completing
from store.entities import Stored, Writer
from store.entity_batches import Batch, Put, PutOptions, resolved


async def put(
    session: AsyncSession,
    blueprint: Blueprint,
    request: EntityRequest,
    options: PutOptions,
    *,
    generated: str,
    writer: Writer,
    complete: Completing,
) -> Put:
    """Create the entity, or change it.

    Raises:
        IdentifierTaken: it exists, and `upsert` was not asked for.
        NotFound: it relates to something that does not exist, and nobody asked to create that.
        Forbidden: the writer may not do this.
        InterlockError: see `domain.entities.created` and `changed`; nothing is written then.
        store.database.Raced: the transaction has to be done again.
    """
    [answer] = await put_all(
        session, blueprint, [request], options, generated=[generated], writer=writer, complete=complete
    )
    if isinstance(answer, InterlockError):
        raise answer
    return answer


async def put_all(
    session: AsyncSession,
    blueprint: Blueprint,
    requests: Sequence[EntityRequest],
    options: PutOptions,
    *,
    generated: Sequence[str],
    writer: Writer,
    complete: Completing,
) -> list[Put | InterlockError]:
    """The same for several entities of a blueprint, one after the other: each, or why nothing of it was written.

    Raises:
        store.database.Raced: the transaction has to be done again.
        Unavailable: it cannot be done now.
    """
    several = Batch(session, blueprint, options, writer, complete)
    await several.look_up(requests)
    answers: list[Put | InterlockError] = []
    for request, identifier in zip(requests, generated, strict=True):
        try:
            answers.append(await several.put(request, identifier))
        except Unavailable:
            raise
        except InterlockError as refusal:
            answers.append(refusal)
    await several.write()
    return answers


async def change(
    session: AsyncSession,
    blueprint: Blueprint,
    identifier: str,
    request: EntityRequest,
    *,
    how: Writing,
    writer: Writer,
    complete: Completing,
    create_missing: bool = False,
) -> Entity:
    """Change an entity that exists; with another identifier in the request it gets that one.

    Raises:
        NotFound: there is none, or it relates to something that does not exist.
        IdentifierTaken: another one has the new identifier.
        Forbidden: the writer may not do this.
        InterlockError: see `domain.entities.changed`; nothing is written then.
        store.database.Raced: the transaction has to be done again.
    """
    kind = Kind(blueprint.identifier, blueprint.definition)
    before = await entities.get(session, kind.identifier, identifier, to_change=True)
    request = await resolved(session, blueprint, request, writer, complete)
    entity = changed(kind, before.entity, request, how=how, author=writer.author)
    await blueprint_permissions.require(session, kind.definition, writer, before.entity, entity)
    if entity.identifier != identifier and await entities.find(session, kind.identifier, entity.identifier):
        raise IdentifierTaken("Entity", entity.identifier)
    if entity is before.entity:
        return entity
    options = PutOptions(create_missing_related_entities=create_missing)
    several = Batch(session, blueprint, options, writer, complete)
    await several.ready(entity)
    settled = await people_entities.follow(session, before.entity, entity, writer=writer) or entity
    if settled is before.entity:
        return settled
    await entities.replace(session, kind, before, settled, writer=writer)
    await scorecards.settle(session, blueprint, before, settled, writer=writer, complete=complete)
    return settled


async def remove(
    session: AsyncSession, blueprint: str, identifier: str, *, delete_dependents: bool, writer: Writer
) -> None:
    """Delete the entity, and who relates to it with `delete_dependents`; otherwise they forget it silently.

    Raises:
        NotFound: there is none.
        Forbidden: the writer may not delete one of them. Nothing is deleted then.
        HasDependents: somebody must relate to it. Nothing is deleted then.
    """
    doomed: dict[str, Stored] = {}
    waiting = [await entities.get(session, blueprint, identifier, to_change=True)]
    kinds: dict[str, Blueprint] = {}
    while waiting:
        stored = waiting.pop()
        if stored.id in doomed:
            continue
        doomed[stored.id] = stored
        name = stored.entity.blueprint
        kinds[name] = kinds.get(name) or await blueprints.get(session, name)
        await blueprint_permissions.require(session, kinds[name].definition, writer, stored.entity, None)
        for referrer, relation in await entities.referrers(session, stored.entity):
            if (referrer.entity.blueprint, relation) == MEMBERSHIP:  # a team that goes takes nobody with it
                continue
            if delete_dependents:
                waiting.append(referrer)
            elif (await blueprints.get(session, referrer.entity.blueprint)).definition.relations[relation].required:
                dependent = f"{referrer.entity.blueprint} {referrer.entity.identifier!r}"
                raise HasDependents(f"{dependent} must relate to {blueprint} {identifier!r} (relations.{relation})")
    for stored in reversed(doomed.values()):
        found = await entities.find(session, stored.entity.blueprint, stored.entity.identifier)
        if found:
            await take_out(session, found, writer=writer)


async def take_out(session: AsyncSession, stored: Stored, *, writer: Writer) -> None:
    """Delete one entity, and what follows from it; whether that may be is for the caller to see."""
    await people_entities.follow(session, stored.entity, None, writer=writer)
    await entities.remove(session, stored, writer=writer)
    await scorecards.forget(session, stored, writer=writer)
