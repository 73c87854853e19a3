"""Renames and the deletion of all entities in SQL: everything follows, and nothing is half done."""

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from pydantic import JsonValue
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.blueprint_permissions import BlueprintPermissions, BlueprintPermissionsPatch
from domain.blueprint_renames import Part, Rename
from domain.blueprints import Blueprint, BlueprintId
from domain.catalog_migrations import CatalogMigration, MigrationStatus
from domain.entities import Author, Entity, parsed_request
from domain.errors import IdentifierTaken, InterlockError, InvalidRequest, NotFound
from domain.identifiers import new
from store import blueprint_permissions, blueprint_renames, blueprints, catalog, catalog_migrations, entities
from store.catalog_tables import BlueprintPermissionsRow, EntityRelationRow, EntityRow, EntityValueRow
from store.database import Database
from store.entities import Writer
from store.entity_batches import PutOptions
from store.tables import ChangeRow
from tests.store.conftest import AT, never, no_jq
from worker.catalog_migrations import CatalogMigrations

WRITER = Writer(Author("user_1", AT, "tests"), "API")
LATER = AT + timedelta(minutes=1)

TEAM: dict[str, Any] = {"properties": {"mail": {"type": "string"}}}
SERVICE: dict[str, Any] = {
    "properties": {"tier": {"type": "number"}, "cost": {"type": "number"}},
    "required": ["tier"],
    "relations": {"uses": {"target": "service", "many": True}, "team": {"target": "squad"}},
    "mirrorProperties": {"mail": {"path": "team.mail"}},
    "aggregationProperties": {
        "spent": {
            "target": "service",
            "calculationSpec": {"calculationBy": "property", "func": "sum", "property": "cost"},
            "query": {"combinator": "and", "rules": [{"property": "tier", "operator": "=", "value": 1}]},
            "pathFilter": [{"path": ["uses"]}],
        }
    },
}
ENV: dict[str, Any] = {
    "relations": {"of": {"target": "service", "required": True}},
    "mirrorProperties": {
        "tier": {"path": "of.tier"},
        "mail": {"path": "of.mail"},
        "far": {"path": "of.uses.team.$title"},
    },
    "ownership": {"type": "Inherited", "path": "of.team"},
    "aggregationProperties": {
        "n": {
            "target": "service",
            "calculationSpec": {"calculationBy": "entities", "func": "count"},
            "pathFilter": [{"path": ["of", "uses"]}],
        }
    },
}


def blueprint(identifier: str, *, properties: Any = None, required: Any = (), **more: Any) -> Blueprint:
    schema: dict[str, Any] = {"properties": properties or {}, "required": list(required)}
    document = {"identifier": identifier, "title": identifier, "schema": schema, **more}
    return Blueprint(BlueprintId(identifier), document, AT, "user_1", AT, "user_1")


@pytest.fixture
async def catalogued(database: Database) -> Database:
    """A database with three blueprints and an entity of each."""
    for made in (blueprint("squad", **TEAM), blueprint("service", **SERVICE), blueprint("env", **ENV)):
        async with database.write() as session:
            await blueprints.require_references(session, made.definition)
            await blueprints.create(session, made, origin="API")
    await put(database, "squad", {"identifier": "sre", "properties": {"mail": "a@x.io"}})
    await put(
        database,
        "service",
        {
            "identifier": "cart",
            "properties": {"tier": 1, "cost": 5, "rank": "undeclared"},
            "relations": {"uses": ["cart"], "team": "sre"},
        },
    )
    await put(database, "env", {"identifier": "dev", "relations": {"of": "cart"}})
    return database


async def put(database: Database, name: str, document: JsonValue) -> None:
    async def work(session: AsyncSession) -> None:
        found = await blueprints.get(session, name, to_use=True)
        request = parsed_request(document)
        await catalog.put(
            session, found, request, PutOptions(upsert=True), generated=new("e"), writer=WRITER, complete=never
        )

    await database.transact(work)


async def entity(database: Database, name: str, identifier: str) -> Entity:
    async with database.read() as session:
        return (await entities.get(session, name, identifier)).entity


async def document(database: Database, name: str) -> Any:
    async with database.read() as session:
        return (await blueprints.get(session, name)).document


async def rename(database: Database, name: str, part: Part, old: str, new: str) -> Any:
    async def work(session: AsyncSession) -> Any:
        what = Rename(part, old, new)
        return (await blueprint_renames.rename(session, name, what, by="user_2", at=LATER, origin="API")).document

    return await database.transact(work)


async def recorded(database: Database, kind: str) -> list[Any]:
    async with database.read() as session:
        query = select(ChangeRow.document).where(ChangeRow.resource_type == kind, ChangeRow.at == LATER)
        return list(await session.exec(query.order_by(col(ChangeRow.sequence))))


async def test_a_property_is_renamed_wherever_it_is_named(catalogued: Database) -> None:
    after = await rename(catalogued, "service", Part.PROPERTY, "tier", "rank")
    assert list(after["schema"]["properties"]) == ["rank", "cost"], "in its place"
    assert after["schema"]["required"] == ["rank"]
    assert after["aggregationProperties"]["spent"]["query"]["rules"][0]["property"] == "rank"
    env = await document(catalogued, "env")
    assert env["mirrorProperties"] == {**ENV["mirrorProperties"], "tier": {"path": "of.rank"}}
    cart = await entity(catalogued, "service", "cart")
    assert cart.properties == {"rank": 1, "cost": 5}
    assert list(cart.properties) == ["rank", "cost"]
    assert (await entity(catalogued, "service", "cart")).updated_at == AT, "derived: nobody wrote it"
    async with catalogued.read() as session:
        values = await session.exec(
            select(EntityValueRow.name, EntityValueRow.number)
            .join(EntityRow, col(EntityRow.id) == col(EntityValueRow.entity_id))
            .where(EntityRow.blueprint == "service", col(EntityValueRow.name).in_(["tier", "rank"]))
        )
        assert values.all() == [("rank", 1.0)]
    assert [one["context"]["blueprint"] for one in await recorded(catalogued, "blueprint")] == ["env", "service"]
    assert await recorded(catalogued, "entity") == []


async def test_an_aggregated_property_is_followed(catalogued: Database) -> None:
    after = await rename(catalogued, "service", Part.PROPERTY, "cost", "price")
    assert after["aggregationProperties"]["spent"]["calculationSpec"]["property"] == "price"
    assert [one["context"]["blueprint"] for one in await recorded(catalogued, "blueprint")] == ["service"]


async def test_a_mirror_is_renamed_where_it_is_mirrored(catalogued: Database) -> None:
    after = await rename(catalogued, "service", Part.MIRROR, "mail", "contact")
    assert after["mirrorProperties"] == {"contact": {"path": "team.mail"}}
    env = await document(catalogued, "env")
    assert env["mirrorProperties"] == {**ENV["mirrorProperties"], "mail": {"path": "of.contact"}}
    assert (await document(catalogued, "squad"))["schema"]["properties"].keys() == {"mail"}, "another one of that name"


async def test_a_relation_is_renamed_in_every_path_and_in_entities(catalogued: Database) -> None:
    after = await rename(catalogued, "service", Part.RELATION, "uses", "needs")
    assert list(after["relations"]) == ["needs", "team"]
    assert after["aggregationProperties"]["spent"]["pathFilter"] == [{"path": ["needs"]}]
    env = await document(catalogued, "env")
    assert env["mirrorProperties"]["far"] == {"path": "of.needs.team.$title"}
    assert env["aggregationProperties"]["n"]["pathFilter"] == [{"path": ["of", "needs"]}]
    await rename(catalogued, "service", Part.RELATION, "team", "squad")
    env = await document(catalogued, "env")
    assert env["ownership"]["path"] == "of.squad"
    assert env["mirrorProperties"]["far"] == {"path": "of.needs.squad.$title"}
    assert (await entity(catalogued, "service", "cart")).relations == {"needs": ("cart",), "squad": "sre"}
    async with catalogued.read() as session:
        rows = (await session.exec(select(EntityRelationRow.relation, EntityRelationRow.target))).all()
    assert sorted(rows) == [("needs", "cart"), ("of", "cart"), ("squad", "sre")]


@pytest.mark.parametrize(
    ("part", "old", "wanted", "refusal"),
    [
        (Part.PROPERTY, "uses", "x", NotFound),
        (Part.MIRROR, "tier", "x", NotFound),
        (Part.RELATION, "none", "x", NotFound),
        (Part.PROPERTY, "tier", "cost", IdentifierTaken),
        (Part.PROPERTY, "tier", "mail", IdentifierTaken),
        (Part.MIRROR, "mail", "spent", IdentifierTaken),
        (Part.RELATION, "uses", "tier", IdentifierTaken),
    ],
)
async def test_what_is_not_there_or_taken_is_refused(
    catalogued: Database, part: Part, old: str, wanted: str, refusal: type[InterlockError]
) -> None:
    before = await document(catalogued, "service")
    with pytest.raises(refusal):
        await rename(catalogued, "service", part, old, wanted)
    assert await document(catalogued, "service") == before
    assert await rename(catalogued, "service", Part.PROPERTY, "tier", "tier") == before
    assert await recorded(catalogued, "blueprint") == []


async def test_permissions_follow_renames_and_go_with_the_blueprint(catalogued: Database) -> None:
    said = {"updateProperties": {"tier": {"users": ["a@x.io"]}}, "updateRelations": {"team": {"users": ["b@x.io"]}}}
    async with catalogued.write() as session:
        definition = (await blueprints.get(session, "service", to_change=True)).definition
        before = await blueprint_permissions.get(session, definition)
        assert before == BlueprintPermissions().of(definition)
        after = before.patched(BlueprintPermissionsPatch.model_validate({"entities": said}))
        for one, two in ((before, after), (after, after)):
            await blueprint_permissions.put(session, definition, one, two, by="u", at=LATER, origin="API")
    await rename(catalogued, "service", Part.PROPERTY, "tier", "rank")
    await rename(catalogued, "service", Part.RELATION, "team", "squad")
    async with catalogued.read() as session:
        found = await blueprint_permissions.get(session, (await blueprints.get(session, "service")).definition)
    assert found.entities.update_properties["rank"].users == ("a@x.io",)
    assert found.entities.update_relations["squad"].users == ("b@x.io",)
    assert len(await recorded(catalogued, "blueprint_permissions")) == 1

    for name in ("env", "service"):
        await ended(catalogued, name, delete_blueprint=True)
    async with catalogued.read() as session:
        assert (await session.exec(select(BlueprintPermissionsRow.blueprint))).all() == []


async def test_renames_and_writers_do_not_get_in_each_others_way(catalogued: Database) -> None:
    async def write(number: int) -> None:
        relations: dict[str, JsonValue] = {"uses": ["cart", "hub"], "team": "sre"}
        properties: dict[str, JsonValue] = {"tier": number}
        document: JsonValue = {"identifier": f"s{number}", "properties": properties, "relations": relations}
        with contextlib.suppress(NotFound):  # of the relation, or of the hub
            await put(catalogued, "service", document)

    async def forget() -> None:
        async def work(session: AsyncSession) -> None:
            await catalog.remove(session, "service", "hub", delete_dependents=False, writer=WRITER)

        await catalogued.transact(work)

    await put(catalogued, "service", {"identifier": "hub", "properties": {"tier": 1}})
    await asyncio.gather(*map(write, range(5)))
    await asyncio.gather(
        *map(write, range(5, 10)), rename(catalogued, "service", Part.RELATION, "uses", "needs"), forget()
    )
    async with catalogued.read() as session:
        found = [one.entity for one in await entities.portion(session, "service", after="")]
        rows = (
            await session.exec(
                select(EntityRow.identifier, EntityRelationRow.relation, EntityRelationRow.target)
                .join(EntityRow, col(EntityRow.id) == col(EntityRelationRow.source_id))
                .where(EntityRow.blueprint == "service")
            )
        ).all()
    named: set[tuple[str, str, str]] = set()
    for one in found:
        assert "uses" not in one.relations
        for relation, value in one.relations.items():
            targets: Iterable[str] = (value,) if isinstance(value, str) else value or ()
            named |= {(one.identifier, relation, target) for target in targets}
    assert set(rows) == named, "rows and documents say the same"
    assert not any(target == "hub" for _, _, target in named)


def counting(target: str, path: Sequence[str], *start: str) -> dict[str, Any]:
    way = {"path": list(path), **({"fromBlueprint": start[0]} if start else {})}
    spec = {"calculationBy": "entities", "func": "count"}
    return {"aggregationProperties": {"n": {"target": target, "calculationSpec": spec, "pathFilter": [way]}}}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"mirrorProperties": {"m": {"path": "of.nowhere.x"}}}, "mirrorProperties.m.path: service has no relation"),
        ({"mirrorProperties": {"m": {"path": "of.team.x.y"}}}, "mirrorProperties.m.path: squad has no relation 'x'"),
        ({"ownership": {"type": "Inherited", "path": "of.tier"}}, "ownership.path: service has no relation 'tier'"),
        ({"teamInheritance": {"path": "self.self.x"}}, "teamInheritance.path: box has no relation 'x'"),
        (counting("squad", ["of", "nowhere"]), r"n.pathFilter\[0\].path: service has no relation 'nowhere'"),
        (counting("squad", ["of"]), r"n.pathFilter\[0\].path: leads from box to service, and not to squad"),
        (counting("env", ["of"], "env"), r"n.pathFilter\[0\].path: leads from env to service, and not to box"),
        (counting("squad", ["of", "team"], "squad"), r"n.pathFilter\[0\].path: squad has no relation 'of'"),
    ],
)
async def test_a_path_leads_through_relations_there_are(catalogued: Database, more: Any, said: str) -> None:
    relations = {"of": {"target": "service"}, "self": {"target": "box"}}
    made = blueprint("box", relations=relations, **more).definition
    async with catalogued.read() as session:
        await blueprints.require_references(
            session, blueprint("box", relations=relations, mirrorProperties={"m": {"path": "of.team.any"}}).definition
        )
        for right in (counting("squad", ["of", "team"]), counting("box", ["self", "self"], "box")):
            await blueprints.require_references(session, blueprint("box", relations=relations, **right).definition)
        with pytest.raises(InvalidRequest, match=said):
            await blueprints.require_references(session, made)
        await blueprints.require_references(session, made, made)


async def asked(database: Database, name: str, **how: Any) -> CatalogMigration:
    migration = CatalogMigration(id=new("migration"), actor="user_2", source_blueprint=name, created_at=LATER, **how)

    async def work(session: AsyncSession) -> CatalogMigration:
        await blueprints.get(session, name, to_change=True)
        return await catalog_migrations.start(session, migration)

    return await database.transact(work)


async def read(database: Database, identifier: str) -> CatalogMigration:
    async with database.read() as session:
        return await catalog_migrations.get(session, identifier)


async def ended(database: Database, name: str, **how: Any) -> CatalogMigration:
    """All entities of the blueprint are asked to go, and the work is done."""
    identifier = (await asked(database, name, **how)).id
    worker = CatalogMigrations(database, lambda: LATER, no_jq)
    while await worker.work_once():
        pass
    return await read(database, identifier)


async def test_all_entities_go_in_portions_each_with_its_change(
    catalogued: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_migrations, "PORTION", 2)
    for number in range(4):
        relations: dict[str, JsonValue] = {"of": "cart"}
        await put(catalogued, "env", {"identifier": f"e{number}", "relations": relations})
    migration = await asked(catalogued, "env", run_id="r_1")
    assert migration.status is MigrationStatus.PENDING
    worker = CatalogMigrations(catalogued, lambda: LATER, no_jq)
    assert await worker.work_once()
    half = await read(catalogued, migration.id)
    assert (half.status, half.success_count, half.done_to) == (MigrationStatus.RUNNING, 2, "e0")
    assert len(await recorded(catalogued, "entity")) == 2, "what is counted is what is gone"

    other = CatalogMigrations(catalogued, lambda: LATER, no_jq)  # as after the process was killed
    while await other.work_once():
        pass
    done = await read(catalogued, migration.id)
    assert (done.status, done.success_count, done.failure_count) == (MigrationStatus.COMPLETED, 5, 0)
    changes = await recorded(catalogued, "entity")
    assert [one["context"]["entity"] for one in changes] == ["dev", "e0", "e1", "e2", "e3"]
    assert {(one["action"], one["by"], one["context"]["runId"]) for one in changes} == {("DELETE", "user_2", "r_1")}
    assert (await document(catalogued, "env"))["identifier"] == "env"


async def test_what_others_must_relate_to_stays_and_the_work_fails_with_the_reason(catalogued: Database) -> None:
    properties: dict[str, JsonValue] = {"tier": 1}
    await put(catalogued, "service", {"identifier": "a", "properties": properties, "relations": {"uses": ["cart"]}})
    found = await ended(catalogued, "service", delete_blueprint=True)
    assert (found.status, found.success_count, found.failure_count) == (MigrationStatus.FAILURE, 1, 1)
    assert found.message == "env 'dev' must relate to service 'cart' (relations.of)"
    assert (await entity(catalogued, "service", "cart")).identifier == "cart"

    assert (await ended(catalogued, "env")).status is MigrationStatus.COMPLETED
    found = await ended(catalogued, "service", delete_blueprint=True)
    assert (found.status, found.success_count) == (MigrationStatus.FAILURE, 1)
    assert found.message == "Blueprint 'service' is the target of env.of"
    assert (await ended(catalogued, "env", delete_blueprint=True)).status is MigrationStatus.COMPLETED
    assert (await ended(catalogued, "service", delete_blueprint=True)).status is MigrationStatus.COMPLETED
    with pytest.raises(NotFound):
        await document(catalogued, "service")


async def test_chains_and_circles_of_required_relations_within_the_blueprint_go_whole(catalogued: Database) -> None:
    node = blueprint("node", relations={"next": {"target": "node", "required": True}})
    async with catalogued.write() as session:
        await blueprints.create(session, node, origin="API")
    for name, to in (("x", "x"), ("a", "x"), ("b", "a"), ("y", "y"), ("z", "y"), ("y", "z")):
        await put(catalogued, "node", {"identifier": name, "relations": {"next": to}})
    found = await ended(catalogued, "node", delete_blueprint=True)
    assert (found.status, found.success_count, found.failure_count) == (MigrationStatus.COMPLETED, 5, 0)
    assert len(await recorded(catalogued, "entity")) == 5


async def test_asking_twice_is_asking_once_and_the_second_wish_counts(catalogued: Database) -> None:
    first, second = await asyncio.gather(asked(catalogued, "env"), asked(catalogued, "env", delete_blueprint=True))
    assert first.id == second.id
    assert (await asked(catalogued, "service")).id != first.id
    worker = CatalogMigrations(catalogued, lambda: LATER, no_jq)
    while await worker.work_once():
        pass
    assert (await read(catalogued, first.id)).delete_blueprint
    with pytest.raises(NotFound):
        await document(catalogued, "env")
    assert (await asked(catalogued, "service")).id != first.id, "what has ended is not what is asked now"


async def test_what_is_created_meanwhile_goes_before_the_blueprint(catalogued: Database) -> None:
    migration = await asked(catalogued, "env", delete_blueprint=True)
    worker = CatalogMigrations(catalogued, lambda: LATER, no_jq)
    assert await worker.work_once()
    relations: dict[str, JsonValue] = {"of": "cart"}
    await put(catalogued, "env", {"identifier": "a-late-one", "relations": relations})
    while await worker.work_once():
        pass
    found = await read(catalogued, migration.id)
    assert (found.status, found.success_count) == (MigrationStatus.COMPLETED, 2)


async def test_several_workers_share_the_work(catalogued: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_migrations, "PORTION", 3)
    properties: dict[str, JsonValue] = {"tier": 1}
    for number in range(20):
        await put(catalogued, "service", {"identifier": f"s{number}", "properties": properties})
    await ended(catalogued, "env")
    found = await asked(catalogued, "service")

    async def work() -> None:
        worker = CatalogMigrations(catalogued, lambda: LATER, no_jq)
        async with asyncio.timeout(20):
            while (await read(catalogued, found.id)).status is not MigrationStatus.COMPLETED:
                if not await worker.work_once():
                    await asyncio.sleep(0.01)

    await asyncio.gather(*(work() for _ in range(4)))
    assert (await read(catalogued, found.id)).success_count == 21
    assert len(await recorded(catalogued, "entity")) == 22


async def test_what_cannot_be_worked_on_is_given_up_and_the_next_begins(
    catalogued: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = await asked(catalogued, "env")
    good = await asked(catalogued, "squad")
    advance = catalog_migrations.advance

    async def stumble(session: AsyncSession, migration: CatalogMigration, **how: Any) -> CatalogMigration:
        if migration.id == broken.id:
            raise ValueError("a bug")
        return await advance(session, migration, **how)

    monkeypatch.setattr(catalog_migrations, "advance", stumble)
    worker = CatalogMigrations(catalogued, lambda: LATER, no_jq)
    while await worker.work_once():
        pass
    failed = await read(catalogued, broken.id)
    assert (failed.status, failed.message) == (MigrationStatus.FAILURE, "something went wrong on our side")
    assert (await read(catalogued, good.id)).status is MigrationStatus.COMPLETED
