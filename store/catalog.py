"""Writes to the catalog, each in the transaction it is given: everything is checked before anything is written."""

from collections.abc import Sequence
from itertools import repeat

from sqlmodel.ext.asyncio.session import AsyncSession

from domain.blueprints import Blueprint
from domain.entities import Entity, EntityRequest, Kind, Writing, changed
from domain.errors import IdentifierTaken, InterlockError, NotFound, Unavailable
from domain.people_entities import MEMBERSHIP
from domain.scorecard_blueprints import NAMES
from domain.scorecard_entities import allowed, goes_with, require_deletable
from store import blueprint_permissions, blueprints, entities, people_entities, people_lock, relations, scorecards
from store.derived import Completing
from store.entities import Stored, Writer
from store.entity_batches import Batch, Put, PutOptions, resolved


async def put(
    session: AsyncSession,
    blueprint: Blueprint,
    request: EntityRequest,
    options: PutOptions,
    *,
    generated: str | None = None,
    writer: Writer,
    complete: Completing,
) -> Put:
    """Create the entity, or change it. `generated` is the identifier of a new one that the request does not name.

    Raises:
        IdentifierTaken: it exists, and `upsert` was not asked for.
        NotFound: it relates to something that does not exist, and nobody asked to create that.
        Forbidden: the writer may not do this, or scorecards alone may.
        InterlockError: see `domain.entities.created` and `changed`; nothing is written then.
        store.database.Raced: the transaction has to be done again.
    """
    [answer] = await put_all(
        session,
        blueprint,
        [request],
        options,
        generated=[generated] if generated else None,
        writer=writer,
        complete=complete,
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
    generated: Sequence[str] | None = None,
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
    for request, identifier in zip(requests, generated or repeat(None, len(requests)), strict=True):
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
        Forbidden: the writer may not do this, or scorecards alone may.
        InterlockError: see `domain.entities.changed`; nothing is written then.
        store.database.Raced: the transaction has to be done again.
    """
    kind = Kind(blueprint.identifier, blueprint.definition)
    await people_lock.take_for(session, kind.identifier)
    before = await entities.get(session, kind.identifier, identifier, to_change=True)
    request = await resolved(session, blueprint, request, writer, complete)
    request = allowed(kind, before.entity, request, how=how)
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
        Forbidden: the writer may not delete one of them, or scorecards alone may. Nothing is deleted then.
        HasDependents: somebody must relate to it. Nothing is deleted then.
    """
    if not await remove_all(session, blueprint, [identifier], delete_dependents=delete_dependents, writer=writer):
        raise NotFound("Entity", identifier)


async def remove_all(
    session: AsyncSession, blueprint: str, identifiers: Sequence[str], *, delete_dependents: bool, writer: Writer
) -> list[str]:
    """The same for several entities of a blueprint, whatever their order: those of them that there were.

    Who must relate to one of them is no obstacle when it is among them. Who relates goes before what it relates to, so
    that its change record still has the relation; only of those that relate to each other one goes first. What shows
    what scorecards say goes with what it is about, and otherwise not because it relates to something.

    Raises:
        Forbidden: the writer may not delete one of them, or scorecards alone may. Nothing is deleted then.
        HasDependents: somebody else must relate to one of them. Nothing is deleted then.
    """
    names = dict.fromkeys(identifiers)
    await people_lock.take_for(session, blueprint)
    # Found in one order for everybody, so that nobody waits in a circle; the last to wait here is looked at first.
    found = {name: await entities.find(session, blueprint, name, to_change=True) for name in sorted(names)}
    waiting = [(stored, False) for name in reversed(names) if (stored := found[name])]
    for stored, _ in waiting:
        require_deletable(stored.entity)
    kinds: dict[str, Blueprint] = {}
    met: set[str] = set()
    doomed: list[Stored] = []
    while waiting:
        stored, is_next = waiting.pop()
        if is_next:  # whoever relates to it is before it
            doomed.append(stored)
            continue
        if stored.id in met:
            continue
        met.add(stored.id)
        waiting.append((stored, True))
        of = stored.entity.blueprint
        kinds[of] = kinds.get(of) or await blueprints.get(session, of)
        await blueprint_permissions.require(session, kinds[of].definition, writer, stored.entity, None)
        for referrer, relation in await entities.referrers(session, stored.entity):
            name, kind = referrer.entity.identifier, referrer.entity.blueprint
            if (kind, relation) == MEMBERSHIP:  # a team that goes takes nobody with it
                continue
            follows = delete_dependents and (kind not in NAMES or goes_with(referrer.entity, stored.entity))
            if follows or (kind == blueprint and name in names):
                waiting.append((referrer, False))
            else:
                await relations.require_free(session, stored.entity, referrer.entity, relation)
    for stored in doomed:
        there = await entities.find(session, stored.entity.blueprint, stored.entity.identifier)
        if there:
            await take_out(session, there, writer=writer)
    gone = {stored.entity.identifier for stored in doomed if stored.entity.blueprint == blueprint}
    return [name for name in names if name in gone]


async def take_out(session: AsyncSession, stored: Stored, *, writer: Writer) -> None:
    """Delete one entity, and what follows from it; whether that may be is for the caller to see."""
    await people_entities.follow(session, stored.entity, None, writer=writer)
    await entities.remove(session, stored, writer=writer)
    await scorecards.forget(session, stored, writer=writer)
