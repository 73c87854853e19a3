"""A random catalog with odd values, in memory and in SQL, and what a query finds in each."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from pydantic import JsonValue
from sqlmodel.ext.asyncio.session import AsyncSession

from domain import candidates
from domain.blueprints import Blueprint, BlueprintId
from domain.candidates import Reference
from domain.derived import Definitions
from domain.documents import Document
from domain.entities import Author, Entity, EntityId, Kind, Related
from domain.matching import matches
from domain.rules import BLUEPRINT_SEARCH, SEARCH, parsed
from domain.users import Caller, User
from store import blueprints, entities, search
from store.catalog_tables import ScorecardResultRow
from store.database import Database
from store.entities import Writer

AT = datetime(2026, 3, 15, 12, tzinfo=UTC)
WRITER = Writer(Author("user_1", AT, "tests"), "API")
USER = User(id="user_1", email="ada@x.io", teams=("sre", "web"), created_at=AT, updated_at=AT)
ADA, MACHINE = Caller("org", "user_1", user=USER), Caller("org", "client", machine=True)
NOW, SAME = "2026-03-15T12:00:00Z", "2026-03-15T14:00:00.000000+02:00"
LATER, FAR, FARTHER = "2026-03-15T12:00:00.001Z", "9000-01-01T00:00:00.000001Z", "9000-01-01T00:00:00.000002Z"
EDGE = "9999-12-31T23:59:59-14:00"
LONG, LONGER, OTHER = "ä" * 200, "ä" * 201, "ä" * 200 + "b"
TEXTS = (
    "",
    "a",
    "A",
    "ab",
    "a%b",
    "a_b",
    "a\\b",
    "%",
    "_",
    "'",
    '"',
    "日本語",
    "ß",
    "x'; DROP TABLE entities; --",
    "sre",
)
INSTANTS = (NOW, SAME, LATER, FAR, FARTHER, EDGE, "2026-03-15T11:59:59.999999999Z")
NUMBERS = (0, -0.0, 1, 1.0, -2, 0.1, 0.30000000000000004, 1e300, 5e-324, 2**53, 2**53 + 1, 2**1024 - 1, 1 - 2**1024)
SCALARS: tuple[JsonValue, ...] = (None, True, False, *TEXTS, *INSTANTS, *NUMBERS, LONG, LONGER, OTHER)


def _definition(identifier: str, **more: Any) -> Document:
    properties: Document = {
        "s": {"type": "string"},
        "n": {"type": "number"},
        "t": {"type": "string", "format": "timer"},
        "l": {"type": "array", "items": {"type": "string"}},
        "o": {"type": "object"},
    }
    return {
        "identifier": identifier,
        "title": identifier,
        "schema": {"properties": properties},
        "relations": {
            "one": {"target": "b"},
            "must": {"target": "a", "required": False},
            "many": {"target": identifier, "many": True},
        },
        **more,
    }


DEFINITIONS = (
    _definition("a"),
    _definition("b", relations={"one": {"target": "b"}, "must": {"target": "a", "required": True}}),
    _definition("c", mirrorProperties={"s": {"path": "one.s"}}, schema={"properties": {"t": {"type": "string"}}}),
    _definition("d", ownership={"type": "Inherited", "path": "one"}),
    {"identifier": "_user", "title": "User", "schema": {"properties": {}}},
    {"identifier": "_team", "title": "Team", "schema": {"properties": {}}},
)
BLUEPRINTS = tuple(
    Blueprint(BlueprintId(one["identifier"]), one, AT, "user_1", AT, "user_1")  # type: ignore[arg-type]
    for one in DEFINITIONS
)
KNOWN = Definitions({one.identifier: one.definition for one in BLUEPRINTS})


@dataclass
class Graph:
    """A catalog in memory."""

    rows: Sequence[Entity]
    scorecards: Mapping[Reference, Mapping[str, JsonValue]] = field(default_factory=dict)

    @cached_property
    def by_name(self) -> Mapping[Reference, Entity]:
        return {Reference(row.blueprint, row.identifier): row for row in self.rows}

    @cached_property
    def arrows(self) -> Sequence[tuple[Reference, str, bool, Reference]]:
        return [
            (Reference(row.blueprint, row.identifier), name, relation.required, Reference(relation.target, one))
            for row in self.rows
            for name, value in row.relations.items()
            if (definition := KNOWN.get(row.blueprint)) and (relation := definition.relations.get(name))
            for one in ((value,) if isinstance(value, str) else value or ())
        ]

    def targets(self, of: Reference, *, relation: str | None = None, required: bool | None = None) -> Any:
        return [
            end
            for start, name, must, end in self.arrows
            if start == of and relation in (None, name) and required in (None, must)
        ]

    def sources(self, of: Reference, *, relation: str | None = None, required: bool | None = None) -> Any:
        return [
            start
            for start, name, must, end in self.arrows
            if end == of and relation in (None, name) and required in (None, must)
        ]

    def titles(self, of: Reference, relation: str) -> Mapping[str, str | None]:
        return {one.identifier: self.by_name[one].title for one in self.targets(of, relation=relation)}

    def user(self, caller: Caller) -> candidates.Entity | None:
        found = self.by_name.get(Reference("_user", caller.user.email)) if caller.user else None
        return self.whole(found) if found else None

    def teams(self, caller: Caller) -> Sequence[candidates.Entity]:
        names = caller.user.teams if caller.user else ()
        return [self.whole(found) for name in names if (found := self.by_name.get(Reference("_team", name)))]

    def whole(self, entity: Entity) -> candidates.Entity:
        """What a search sees of the entity, what is derived in this catalog included."""
        properties, team = dict(entity.properties), entity.team
        one = entity.relations.get("one")
        other = self.by_name.get(Reference("b", one)) if isinstance(one, str) else None
        if entity.blueprint == "c":
            properties["s"] = other.properties.get("s") if other else None
        if entity.blueprint == "d":
            team = other.team if other else ()
        return candidates.Entity(
            entity.identifier, entity.blueprint, entity.created_at, entity.updated_at, entity.title, entity.icon,
            team, properties,
            {name: list(value) if isinstance(value, tuple) else value for name, value in entity.relations.items()},
            self.scorecards.get(Reference(entity.blueprint, entity.identifier), {}),
            entity.created_by, entity.updated_by, entity.datasource, KNOWN.schemas(entity.blueprint),
        )  # fmt: skip

    async def complete(
        self, session: AsyncSession, entities: Sequence[Entity], *, wanted: Callable[[str], bool] = lambda name: True
    ) -> Sequence[candidates.Entity]:
        whole = [self.whole(row) for row in entities]
        # What nobody wants is not there, so a search that wants too little would show.
        return [
            replace(
                one,
                properties={
                    name: value
                    for name, value in one.properties.items()
                    if one.blueprint != "c" or name != "s" or wanted("s")
                },
                team=one.team if one.blueprint != "d" or wanted("$team") else (),
            )
            for one in whole
        ]


def _value(chance: random.Random) -> JsonValue:
    kind = chance.random()
    if kind < 0.6:
        return chance.choice(SCALARS)
    if kind < 0.92:
        return [_value(chance) for _ in range(chance.randrange(4))]
    return {"a": chance.choice(SCALARS)}


def random_properties(chance: random.Random) -> Document:
    """Some properties with any values."""
    names = ("s", "n", "t", "l", "o", "loose", "x" * 300)
    return {name: _value(chance) for name in names if chance.random() < 0.7}


def random_catalog(seed: int) -> Graph:
    """Entities of all blueprints with odd values, and relations among them, in circles too."""
    chance = random.Random(seed)  # noqa: S311
    names = {blueprint: [f"{blueprint}{number}" for number in range(5)] for blueprint in "abcd"}
    names["a"][0] = NOW
    names |= {"_user": ["ada@x.io"], "_team": ["web", "sre"]}
    rows: list[Entity] = []
    for blueprint, identifiers in names.items():
        definition = KNOWN.get(blueprint)
        assert definition
        for identifier in identifiers:
            relations: dict[str, Related] = {}
            for name, relation in definition.relations.items():
                there = names[relation.target]
                if relation.many:
                    relations[name] = tuple(chance.sample(there, chance.randrange(3)))
                elif relation.required or chance.random() < 0.7:
                    relations[name] = chance.choice([*there, *([] if relation.required else [None])])
            written = datetime(2026, 3, chance.randrange(13, 17), 12, 0, 0, chance.choice([0, 999, 1000, 1999]), UTC)
            rows.append(
                Entity(
                    identifier=EntityId(identifier),
                    title=chance.choice([identifier, *TEXTS, *INSTANTS]),
                    icon=chance.choice([None, "a", "", NOW]),
                    blueprint=blueprint,
                    team=tuple(chance.sample(["sre", "web", "ops", NOW, SAME, LONGER], chance.randrange(4))),
                    properties=random_properties(chance),
                    relations=relations,
                    created_at=written,
                    created_by=chance.choice(["user_1", "a"]),
                    updated_at=written,
                    updated_by="user_1",
                    datasource=chance.choice(["", "ocean/a%b", NOW]),
                )
            )
    levels = [{"level": level, "rules": [{"identifier": "r", "status": "SUCCESS"}]} for level in ("Gold", "Basic")]
    scorecards = {Reference(row.blueprint, row.identifier): {"ready": chance.choice(levels)} for row in rows[::2]}
    return Graph(rows, scorecards)  # type: ignore[arg-type]


async def fill(database: Database, graph: Graph) -> None:
    """Write the catalog down."""
    async with database.write() as session:
        for kind in BLUEPRINTS:
            await blueprints.create(session, kind, origin="API")
        for row in graph.rows:
            definition = KNOWN.get(row.blueprint)
            assert definition
            await entities.create(session, Kind(row.blueprint, definition), row, writer=WRITER)
        for (blueprint, identifier), cards in graph.scorecards.items():
            stored = await entities.get(session, blueprint, identifier)
            for name, card in cards.items():
                session.add(ScorecardResultRow(entity_id=stored.id, scorecard=name, document=card))  # type: ignore[arg-type]


Names = list[tuple[str, str]]


async def found(
    database: Database, graph: Graph, written: JsonValue, *, by: Caller = ADA, of: str | None = None, limit: int = 7
) -> Names:
    """What SQL finds, page by page."""
    query = parsed(written, dialect=BLUEPRINT_SEARCH if of else SEARCH)
    names: Names = []
    async with database.read() as session:
        asked = await search.prepared(session, query, at=AT, caller=by, complete=graph.complete, blueprint=of)
        page = await asked.page(session, limit=limit)
        while True:
            assert len(page.found) <= limit
            names += [(one.entity.blueprint, str(one.entity.identifier)) for one in page.found]
            if page.next is None:
                return names
            page = await asked.page(session, after=page.next, limit=limit)


def expected(graph: Graph, written: JsonValue, *, by: Caller = ADA, of: str | None = None) -> Names:
    """What the predicate finds."""
    query = parsed(written, dialect=BLUEPRINT_SEARCH if of else SEARCH)
    return [
        (row.blueprint, str(row.identifier))
        for row in graph.rows
        if of in (None, row.blueprint)
        # As it is read back: times have milliseconds then.
        and matches(
            query, graph.whole(Entity.model_validate(row.model_dump(mode="json"))), at=AT, caller=by, catalog=graph
        )
    ]


def group(*rules: JsonValue, combinator: str = "and") -> dict[str, JsonValue]:
    """A group of the rules."""
    return {"combinator": combinator, "rules": list(rules)}
