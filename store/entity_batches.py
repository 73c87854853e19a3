"""Entities on their way into the catalog: each checked after the one before, all read and written together."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlmodel.ext.asyncio.session import AsyncSession

from domain.blueprints import Blueprint
from domain.entities import (
    Entity,
    EntityRequest,
    Kind,
    Target,
    Writing,
    bare,
    changed,
    checked,
    created,
    named_targets,
    targets,
)
from domain.errors import IdentifierTaken, InterlockError, InvalidRequest, NotFound
from domain.people_entities import MIRRORED
from domain.scorecard_entities import allowed, require_makeable
from domain.users import Caller
from store import blueprint_permissions, blueprints, entities, people_entities, people_lock, references, scorecards
from store.derived import Completing
from store.entities import EntityRows, Stored, Writer
from store.sqlite_writing import is_with_others, own


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


class Put(NamedTuple):
    """An entity that was put into the catalog."""

    entity: Entity
    is_new: bool
    is_changed: bool
    """Whether it says something else than before; it does when it is new."""


class Batch:
    """Writes of entities of one blueprint, in one transaction."""

    def __init__(
        self, session: AsyncSession, blueprint: Blueprint, options: PutOptions, writer: Writer, complete: Completing
    ) -> None:
        self._session, self._options, self._writer, self._complete = session, options, writer, complete
        self._kind = Kind(blueprint.identifier, blueprint.definition)
        self._blueprint = blueprint
        self._has_scorecards: bool | None = None
        self._found: dict[str, Stored | None] = {}
        self._exists: dict[tuple[str, str], bool] = {}
        self._new_rows()

    def _new_rows(self) -> None:
        self._rows = EntityRows(self._writer)
        self._written: list[tuple[Blueprint, Stored | None, Entity]] = []
        self._names: set[str] = set()

    async def look_up(self, requests: Sequence[EntityRequest]) -> None:
        """Read what these requests are about.

        Raises:
            store.sqlite_writing.WithOthers: see there; said before there is much to be done again.
        """
        if is_with_others() and await self._is_judged(self._kind.identifier):
            own()  # what is derived for them is read besides
        await people_lock.take_for(self._session, self._kind.identifier)
        if self._may_invite:
            named = (target for request in requests for target in named_targets(self._kind, request))
            await people_lock.take_to_invite(self._session, named)
        names = {request.identifier for request in requests if isinstance(request.identifier, str)}
        found = await entities.find_all(self._session, self._kind.identifier, names)
        self._found = dict.fromkeys(names) | {stored.entity.identifier: stored for stored in found}
        await self._see(target for request in requests for target in named_targets(self._kind, request))

    async def put(self, request: EntityRequest, generated: str | None) -> Put:
        """One of them; `generated` as in `store.catalog.put`."""
        if request.searches:
            await self.write()  # so that what came before is found
            request = await resolved(self._session, self._blueprint, request, self._writer, self._complete)
        name = request.named
        if name in self._names:
            await self.write()
        before = await self._find(name) if name else None
        if before and not self._options.upsert:
            definition = self._kind.definition
            await blueprint_permissions.require(self._session, definition, self._writer, None, before.entity)
            raise IdentifierTaken("Entity", before.entity.identifier)
        author, was = self._writer.author, before.entity if before else None
        how = Writing.MERGE if self._options.merge else Writing.REPLACE
        request = allowed(self._kind, was, request, how=how)
        if was:
            entity = changed(self._kind, was, request, how=how, author=author)
            if self._options.validation_only:  # what nothing changes may not fit any more
                checked(self._kind, entity)
        else:
            entity = created(self._kind, request, generated=generated, author=author)
        await blueprint_permissions.require(self._session, self._kind.definition, self._writer, was, entity)
        if entity is not was:
            await self._add(before, entity)
        return Put(self._found_as(entity), before is None, entity is not was)

    async def ready(self, entity: Entity) -> None:
        """Create what the entity relates to and does not exist.

        Raises:
            NotFound: there is such, and it is not to be created.
        """
        await self._create_bare(await self._creatable(entity))
        await self.write()

    async def write(self) -> None:
        """Write what was added so far, and what follows from it."""
        await self._rows.write(self._session)
        written = self._written
        self._new_rows()
        names = {blueprint.identifier for blueprint, _, _ in written}
        judged = {name for name in names if await self._is_judged(name)}
        for blueprint, before, after in written:
            if blueprint.identifier in judged:
                await scorecards.settle(
                    self._session, blueprint, before, after, writer=self._writer, complete=self._complete
                )

    async def _is_judged(self, blueprint: str) -> bool:
        """Whether the blueprint has scorecards. The first of one that is in use here is not written meanwhile."""
        if blueprint != self._kind.identifier:
            return await scorecards.defined(self._session, blueprint)
        if self._has_scorecards is None:
            self._has_scorecards = await scorecards.defined(self._session, blueprint)
        return self._has_scorecards

    async def _add(self, before: Stored | None, entity: Entity) -> None:
        absent = await self._creatable(entity) if entity.relations else []
        was = before.entity if before else None
        await people_entities.require(self._session, was, entity, writer=self._writer)
        if self._options.validation_only:
            for _, one in await self._bare(absent):
                self._exists[one.blueprint, one.identifier] = True
            self._exists[entity.blueprint, entity.identifier] = True
            self._found[entity.identifier] = before or Stored("", entity)
        elif entity.blueprint in MIRRORED or any(target.blueprint in MIRRORED for target in absent):
            await self._keep_people(before, entity, absent)
        else:
            if absent:
                await self._create_bare(absent)
            await self._keep(self._blueprint, before, entity)

    async def _keep_people(self, before: Stored | None, entity: Entity, absent: Sequence[Target]) -> None:
        """One that may yet be refused when people or teams it relates to have been made: then nobody is made."""
        await self.write()
        await people_lock.take(self._session)  # not in the savepoint, with which it would go
        exists, found = dict(self._exists), dict(self._found)
        try:
            async with self._session.begin_nested():
                await self._create_bare(absent)
                await self._keep(self._blueprint, before, entity)
                await self.write()
        except InterlockError:
            self._exists, self._found = exists, found
            self._new_rows()
            raise

    @property
    def _may_invite(self) -> bool:
        """Whether people and teams that relations name may be created."""
        if not self._options.create_missing_related_entities or self._options.validation_only or self._writer.webhook:
            return False
        return self._writer.caller is None or self._writer.caller.administers

    async def _create_bare(self, absent: Sequence[Target]) -> None:
        for blueprint, other in await self._bare(absent):
            await self._keep(blueprint, None, other)

    async def _bare(self, absent: Sequence[Target]) -> list[tuple[Blueprint, Entity]]:
        """The entities to create for what relations name.

        Raises:
            Forbidden: the writer may not create one of them, or nobody may.
            NotFound: it is somebody whom an event named; events invite nobody.
            InvalidRequest, IdentifierTaken: it is nobody that can be.
        """
        for target in absent:
            require_makeable(target.blueprint)
        kinds = {target.blueprint: await blueprints.get(self._session, target.blueprint) for target in absent}
        added = [bare(target.blueprint, target.identifier, author=self._writer.author) for target in absent]
        for target, other in zip(absent, added, strict=True):
            definition = kinds[other.blueprint].definition
            await blueprint_permissions.require(self._session, definition, self._writer, None, other)
            if self._writer.webhook and other.blueprint in MIRRORED:
                raise NotFound(f"Entity of {other.blueprint}", other.identifier)
            try:
                await people_entities.require(self._session, None, other, writer=self._writer)
            except InvalidRequest as refusal:
                why = str(refusal).removeprefix("identifier: ")
                raise InvalidRequest(f"relations.{target.relation}: {why}") from None
        return [(kinds[other.blueprint], other) for other in added]

    async def _keep(self, blueprint: Blueprint, before: Stored | None, entity: Entity) -> None:
        was = before.entity if before else None
        if blueprint.identifier in MIRRORED:
            await self.write()  # a person and their entity are written side by side, in order
            settled = await people_entities.follow(self._session, was, entity, writer=self._writer)
            entity = settled or entity
        if entity is was:
            return
        kind = self._kind if blueprint is self._blueprint else Kind(blueprint.identifier, blueprint.definition)
        stored = self._rows.replace(kind, before, entity) if before else self._rows.create(kind, entity)
        self._exists[entity.blueprint, entity.identifier] = True
        self._written.append((blueprint, before, entity))
        if blueprint.identifier == self._kind.identifier:
            self._names.add(entity.identifier)
            self._found[entity.identifier] = stored

    async def _find(self, name: str) -> Stored | None:
        if name not in self._found:
            self._found[name] = await entities.find(self._session, self._kind.identifier, name, to_change=True)
        return self._found[name]

    def _found_as(self, entity: Entity) -> Entity:
        """The entity as it was stored, which may differ from what was asked for where people are concerned."""
        stored = self._found.get(entity.identifier)
        return stored.entity if stored and not self._options.validation_only else entity

    async def _creatable(self, entity: Entity) -> list[Target]:
        """What the entity relates to and does not exist.

        Raises:
            NotFound: there is such, and it is not to be created.
        """
        wanted = {
            (target.blueprint, target.identifier): target
            for target in targets(self._kind, entity)
            if (target.blueprint, target.identifier) != (entity.blueprint, entity.identifier)
        }
        await self._see(wanted.values())
        absent = [target for name, target in wanted.items() if not self._exists[name]]
        if absent and not self._options.create_missing_related_entities:
            where = f"Entity of {absent[0].blueprint}, to which relations.{absent[0].relation} leads,"
            raise NotFound(where, absent[0].identifier)
        return absent

    async def _see(self, wanted: Iterable[Target]) -> None:
        """Find out which of the targets exist. Nobody deletes those until the transaction ends."""
        unknown = {
            (target.blueprint, target.identifier): target
            for target in wanted
            if (target.blueprint, target.identifier) not in self._exists
        }
        if unknown:
            absent = await entities.missing(self._session, unknown.values())
            self._exists |= dict.fromkeys(unknown, True) | {
                (target.blueprint, target.identifier): False for target in absent
            }


async def resolved(
    session: AsyncSession, blueprint: Blueprint, request: EntityRequest, writer: Writer, complete: Completing
) -> EntityRequest:
    """The request with identifiers where it has search queries.

    Raises:
        NotFound: a query that must find something finds nothing.
        InvalidRequest: one that must find one entity finds several, or is no query.
    """
    if not request.searches:
        return request
    kind = Kind(blueprint.identifier, blueprint.definition)
    caller = writer.caller or Caller(organization="", client=writer.author.id, machine=True)
    return await references.resolved(session, kind, request, at=writer.author.at, caller=caller, complete=complete)
