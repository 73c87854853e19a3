"""Entities with what is derived from others: mirrors, calculations, aggregations and inherited teams.

The definitions are followed, not the entities: each derived property is made for all entities that are asked for at a
time, so the number of statements depends on what the blueprints say, and not on how many entities there are.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, Protocol

from pydantic import JsonValue
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain import candidates
from domain.blueprints import Blueprint
from domain.candidates import Reference
from domain.computed_properties import Aggregation, Calculation, Mirror
from domain.derived import MAX_DEPTH, TEAM, Definitions, Node, mirrored, program, typed
from domain.documents import Document
from domain.entities import Entity
from domain.jq import Evaluator, Outcome, Overran
from store import aggregations
from store.catalog_tables import EntityRow
from store.definitions import about

_AT_ONCE: Final = 500
_EVALUATED_AT_ONCE: Final = 4
_OVERRUNS: Final = 3
"""How often a calculation may run into a limit before the other entities that are read with it do without."""


class Completing(Protocol):
    """Gives entities with what is derived of them, in their order: `complete` with its arguments settled."""

    async def __call__(
        self, session: AsyncSession, entities: Sequence[Entity], *, wanted: Callable[[str], bool] = ...
    ) -> Sequence[candidates.Entity]:
        """The entities; derived properties that are not wanted need not be there."""
        ...


async def complete(
    session: AsyncSession,
    entities: Sequence[Entity],
    *,
    evaluate: Evaluator,
    at: datetime,
    calculated: bool = True,
    wanted: Callable[[str], bool] = lambda name: True,
    known: Collection[Blueprint] = (),
    named_mirrors: bool = False,
) -> list[candidates.Entity]:
    """The entities, in their order, with what is derived. The session only reads.

    Args:
        session: where the entities were read.
        entities: of any blueprints; a few hundred at a time.
        evaluate: runs the calculations.
        at: the moment that `now` is.
        calculated: False leaves out mirrors, calculations and aggregations; inherited teams are there.
        wanted: whether somebody asks for the derived property, or for `$team`; others are left out.
        known: blueprints that were read already; if they are those of the entities and derive nothing, no
            statement runs.
        named_mirrors: whether what mirrors a `$title` is `{"identifier", "title"}` of the entity it is of.

    Raises:
        Unavailable: no process could be had to run the calculations.
    """
    of = {entity.blueprint for entity in entities}
    definitions = await about(session, of, known)
    names = {
        blueprint: [name for name in (TEAM, *definitions.derived(blueprint)) if wanted(name)]
        if calculated
        else [TEAM] * wanted(TEAM)
        for blueprint in of
    }
    reading = _Reading(session, definitions, evaluate, at)
    return await reading.completed(entities, names, named_mirrors=named_mirrors)


class _Reading:
    """One reading: what is fetched or made for one entity is there for all."""

    def __init__(self, session: AsyncSession, definitions: Definitions, evaluate: Evaluator, at: datetime) -> None:
        self._session, self._definitions, self._evaluate, self._at = session, definitions, evaluate, at
        self._entities: dict[Reference, Entity | None] = {}
        self._values: defaultdict[Node, dict[str, JsonValue]] = defaultdict(dict)
        self._calculations: dict[str, list[str]] = {}
        self._overruns: defaultdict[str, int] = defaultdict(int)
        self._depth = 0

    async def completed(
        self, entities: Sequence[Entity], names: Mapping[str, Collection[str]], *, named_mirrors: bool = False
    ) -> list[candidates.Entity]:
        """The entities with these of their derived values."""
        by_blueprint: defaultdict[str, list[str]] = defaultdict(list)
        for entity in entities:
            self._entities[Reference(entity.blueprint, entity.identifier)] = entity
            by_blueprint[entity.blueprint].append(entity.identifier)
        asked = [Node(blueprint, name) for blueprint in by_blueprint for name in names.get(blueprint, ())]
        nodes = [node for node in asked if self._definitions.is_derived(node)]
        self._plan(nodes)
        found = {node: await self._of(node, by_blueprint[node.blueprint]) for node in nodes}
        if named_mirrors:
            for node in nodes:
                kind = self._definitions.derived(node.blueprint).get(node.name)
                if isinstance(kind, Mirror) and kind.path.endswith(".$title"):
                    found[node] = await self._named(node, kind, by_blueprint[node.blueprint])
        return [self._candidate(entity, found) for entity in entities]

    def _plan(self, nodes: Collection[Node]) -> None:
        """Find out which calculations there will be to make, so that those of an entity are made together."""
        for blueprint, name in sorted(self._definitions.closure(nodes)):
            if isinstance(self._definitions.derived(blueprint).get(name), Calculation):
                planned = self._calculations.setdefault(blueprint, [])
                planned += [name] if name not in planned else []

    def _candidate(self, entity: Entity, found: Mapping[Node, Mapping[str, JsonValue]]) -> candidates.Entity:
        blueprint = entity.blueprint
        kinds = self._definitions.derived(blueprint)
        made = {key: found[node].get(entity.identifier) for key in kinds if (node := Node(blueprint, key)) in found}
        whole = candidates.as_stored(entity, schemas=self._definitions.schemas(blueprint))
        stored = {key: value for key, value in entity.properties.items() if key not in kinds} if kinds else {}
        if kinds:
            whole = replace(whole, properties=stored | made)
        if (node := Node(blueprint, TEAM)) in found:
            whole = replace(whole, team=_texts(found[node].get(entity.identifier)))
        return whole

    async def _of(self, node: Node, identifiers: Collection[str]) -> Mapping[str, JsonValue]:
        """The value of at least these entities of the blueprint, by identifier."""
        values = self._values[node]
        absent = [one for one in dict.fromkeys(identifiers) if one not in values]
        if not absent:
            return values
        if self._depth >= MAX_DEPTH:
            return {**values, **dict.fromkeys(absent)}
        self._depth += 1
        try:
            await self._make(node, absent, values)
        finally:
            self._depth -= 1
        return values

    async def _make(self, node: Node, identifiers: Sequence[str], values: dict[str, JsonValue]) -> None:
        definition = self._definitions.get(node.blueprint)
        if node.name == TEAM and definition and definition.inherited_from:
            path = tuple(definition.inherited_from.split("."))
            values.update(await self._inherited(node, path, identifiers))
            return
        match kind := self._definitions.derived(node.blueprint).get(node.name):
            case Mirror():
                values.update(await self._mirrored(node, kind, identifiers))
            case Calculation():
                await self._calculate(node.blueprint, identifiers)
            case Aggregation():
                values.update(
                    await aggregations.of(
                        self._session, self._definitions, node, identifiers, at=self._at, completed=self._asked(node)
                    )
                )
            case None:
                await self._fetch(node.blueprint, identifiers)
                for one in identifiers:
                    entity = self._entities[Reference(node.blueprint, one)]
                    values[one] = candidates.as_stored(entity).value(node.name) if entity else None

    def _asked(self, node: Node) -> aggregations.Completed:
        """What an aggregation can ask of the entities it is made of."""

        async def completed(entities: Sequence[Entity], names: Collection[str]) -> list[candidates.Entity]:
            blueprint = entities[0].blueprint if entities else ""
            allowed = [name for name in names if not self._definitions.is_circular(node, Node(blueprint, name))]
            return await self.completed(entities, {blueprint: allowed})

        return completed

    async def _mirrored(self, node: Node, mirror: Mirror, identifiers: Sequence[str]) -> dict[str, JsonValue]:
        relations, name = mirrored(mirror)
        end = self._definitions.end(node.blueprint, relations)
        if end is None:
            return dict.fromkeys(identifiers)
        blueprint, many = end
        ends = await self._ends(node.blueprint, relations, identifiers)
        part = Node(blueprint, name)
        there: Mapping[str, JsonValue] = {}
        if not self._definitions.is_circular(node, part):
            there = await self._of(part, [one for several in ends.values() for one in several])
        if not many:
            return {one: there.get(several[0]) if several else None for one, several in ends.items()}
        return {one: _flat(there.get(other) for other in several) for one, several in ends.items()}

    async def _named(self, node: Node, mirror: Mirror, identifiers: Sequence[str]) -> dict[str, JsonValue]:
        relations, _ = mirrored(mirror)
        end = self._definitions.end(node.blueprint, relations)
        if end is None:
            return dict.fromkeys(identifiers)
        ends = await self._ends(node.blueprint, relations, identifiers)
        titles = await self._of(Node(end[0], "$title"), [one for several in ends.values() for one in several])
        named = {
            one: [{"identifier": other, "title": titles[other]} for other in several if titles[other] is not None]
            for one, several in ends.items()
        }
        if end[1]:
            return {one: list[JsonValue](several) for one, several in named.items()}
        return {one: dict[str, JsonValue](several[0]) if several else None for one, several in named.items()}

    async def _inherited(self, node: Node, path: tuple[str, ...], identifiers: Sequence[str]) -> dict[str, JsonValue]:
        end = self._definitions.end(node.blueprint, path)
        part = Node(end[0], TEAM) if end else node
        if self._definitions.is_circular(node, part):
            return dict.fromkeys(identifiers)
        ends = await self._ends(node.blueprint, path, identifiers)
        teams = await self._of(part, [one for several in ends.values() for one in several])
        return {one: _flat(dict.fromkeys(_united(teams, several))) or None for one, several in ends.items()}

    async def _ends(
        self, blueprint: str, relations: tuple[str, ...], identifiers: Sequence[str]
    ) -> dict[str, list[str]]:
        """The entities to which these relations lead from each entity, in the order of the relations, each once."""
        here = {one: [one] for one in identifiers}
        for relation in relations:
            await self._fetch(blueprint, [one for several in here.values() for one in several])
            here = {
                one: list(dict.fromkeys(end for other in several for end in self._related(blueprint, other, relation)))
                for one, several in here.items()
            }
            end = self._definitions.end(blueprint, [relation])
            blueprint = end[0] if end else blueprint
        return here

    def _related(self, blueprint: str, identifier: str, relation: str) -> tuple[str, ...]:
        entity = self._entities[Reference(blueprint, identifier)]
        value = entity.relations.get(relation) if entity else None
        return (value,) if isinstance(value, str) else value or ()

    async def _fetch(self, blueprint: str, identifiers: Collection[str]) -> None:
        """Have the entities there; None stands for one that does not exist."""
        absent = [one for one in dict.fromkeys(identifiers) if Reference(blueprint, one) not in self._entities]
        for start in range(0, len(absent), _AT_ONCE):
            some = absent[start : start + _AT_ONCE]
            self._entities.update(dict.fromkeys(Reference(blueprint, one) for one in some))
            rows = await self._session.exec(
                select(EntityRow.document).where(EntityRow.blueprint == blueprint, col(EntityRow.identifier).in_(some))
            )
            for entity in map(Entity.model_validate, rows):
                self._entities[Reference(blueprint, entity.identifier)] = entity

    async def _calculate(self, blueprint: str, identifiers: Sequence[str]) -> None:
        """Make every calculation of the blueprint that is planned, with one question for each entity."""
        kinds = self._definitions.derived(blueprint)
        names = self._calculations[blueprint]
        seen = [TEAM, *(name for name, kind in kinds.items() if not isinstance(kind, Calculation))]
        await self._fetch(blueprint, identifiers)
        there = [entity for one in identifiers if (entity := self._entities[Reference(blueprint, one)])]
        whole = await self.completed(there, {blueprint: seen})
        programs = {name: program(kind.calculation) for name in names if isinstance(kind := kinds[name], Calculation)}
        turns = asyncio.Semaphore(_EVALUATED_AT_ONCE)

        async def calculate(entity: candidates.Entity) -> None:
            async with turns:
                outcomes = await self._evaluated(list(programs.values()), seen_by_jq(entity))
            for name in programs:
                kind = kinds[name]
                if isinstance(kind, Calculation):
                    value = typed(kind, outcomes[programs[name]])
                    self._values[Node(blueprint, name)][entity.identifier] = value

        for name in names:
            self._values[Node(blueprint, name)].update(dict.fromkeys(identifiers))
        try:
            async with asyncio.TaskGroup() as group:
                for candidate in whole:
                    group.create_task(calculate(candidate))
        except ExceptionGroup as several:
            raise several.exceptions[0] from None

    async def _evaluated(self, programs: Collection[str], document: Document) -> dict[str, Outcome]:
        """The outcome of each program. One that has run into a limit too often is not asked again."""
        given_up = Overran("it ran into a limit for other entities")
        asked = [one for one in dict.fromkeys(programs) if self._overruns[one] < _OVERRUNS]
        outcomes = await self._evaluate(asked, document, now=self._at) if asked else []
        for one, outcome in zip(asked, outcomes, strict=True):
            self._overruns[one] += isinstance(outcome, Overran)
        return dict.fromkeys(programs, given_up) | dict(zip(asked, outcomes, strict=True))


def seen_by_jq(entity: candidates.Entity) -> Document:
    """The entity as calculations see it."""
    names = ("identifier", "title", "icon", "blueprint", "team", "createdAt", "createdBy", "updatedAt", "updatedBy")
    return {
        **{name: entity.meta(f"${name}") for name in names},
        "team": list(entity.team),
        "properties": dict(entity.properties),
        "relations": dict(entity.relations),
    }


def _flat(values: Iterable[JsonValue]) -> list[JsonValue]:
    """One array of all; what is null is left out."""
    flat: list[JsonValue] = []
    for value in values:
        if isinstance(value, list):
            flat += (one for one in value if one is not None)
        elif value is not None:
            flat.append(value)
    return flat


def _united(teams: Mapping[str, JsonValue], several: Iterable[str]) -> list[str]:
    return [team for one in several for team in _texts(teams.get(one))]


def _texts(value: JsonValue) -> tuple[str, ...]:
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()
