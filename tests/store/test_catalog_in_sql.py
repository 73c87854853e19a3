"""The catalog in SQL: writers at once, and a change log from which the catalog can be built again."""

import asyncio
import random
from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from pydantic import JsonValue
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.blueprints import Blueprint, BlueprintId
from domain.documents import Document
from domain.entities import Author, Entity, EntityRequest, Writing, parsed_request
from domain.errors import HasDependents, IdentifierTaken, InterlockError, NotFound
from domain.identifiers import new
from store import blueprints, catalog, entities
from store.catalog_tables import EntityRelationRow, EntityRow
from store.database import Database
from store.entities import Writer
from store.entity_batches import PutOptions
from store.tables import ChangeRow
from tests.store.conftest import AT, never

WRITER = Writer(Author("user_1", AT, "tests"), "API")


def make_blueprint(identifier: str = "service", **more: Any) -> Blueprint:
    document: Document = {
        "identifier": identifier,
        "title": identifier,
        "schema": {"properties": {"n": {"type": "number"}}},
        "relations": {"uses": {"target": "service", "many": True}, "of": {"target": "service"}},
        **more,
    }
    return Blueprint(BlueprintId(identifier), document, AT, "user_1", AT, "user_1")


@pytest.fixture
async def blueprint(database: Database) -> Blueprint:
    made = make_blueprint()
    async with database.write() as session:
        await blueprints.create(session, made, origin="API")
    return made


async def put(database: Database, blueprint: Blueprint, document: JsonValue, **how: Any) -> Any:
    """An entity as it is after an upsert."""
    request = parsed_request(document)
    options = PutOptions(**{"upsert": True, "merge": True, **how})
    return await database.transact(
        lambda session: catalog.put(
            session, blueprint, request, options, generated=new("e"), writer=WRITER, complete=never
        )
    )


async def everything(database: Database) -> dict[str, Entity]:
    """All entities of the blueprint `service`."""
    async with database.read() as session:
        found = await entities.portion(session, "service", after="", limit=10_000)
    return {one.identifier: one.entity for one in found}


async def test_of_those_who_create_the_same_entity_one_does(database: Database, blueprint: Blueprint) -> None:
    made = await asyncio.gather(
        *(put(database, blueprint, {"identifier": "x", "properties": {"n": n}}) for n in range(20))
    )
    assert sum(one.is_new for one in made) == 1
    with pytest.raises(IdentifierTaken):
        await put(database, blueprint, {"identifier": "x"}, upsert=False)
    async with database.read() as session:
        rows = (await session.exec(select(ChangeRow.document).where(ChangeRow.resource_type == "entity"))).all()
    assert len(rows) == 20


async def test_a_target_is_not_deleted_while_somebody_relates_to_it(database: Database, blueprint: Blueprint) -> None:
    required = make_blueprint("env", relations={"of": {"target": "service", "required": True}})
    async with database.write() as session:
        await blueprints.create(session, required, origin="API")
    for number in range(20):
        await put(database, blueprint, {"identifier": f"s{number}"})

    async def relate(number: int) -> bool:
        try:
            await put(database, required, {"identifier": f"e{number}", "relations": {"of": f"s{number}"}})
        except NotFound:
            return False
        return True

    async def delete(number: int) -> bool:
        async def work(session: AsyncSession) -> None:
            await catalog.remove(session, "service", f"s{number}", delete_dependents=False, writer=WRITER)

        try:
            await database.transact(work)
        except HasDependents:
            return False
        return True

    outcomes = await asyncio.gather(*(do(number) for number in range(20) for do in (relate, delete)))
    for related, deleted in zip(outcomes[::2], outcomes[1::2], strict=True):
        assert related != deleted, "exactly one of them"


async def chained(database: Database) -> Blueprint:
    """A blueprint of entities that must relate to a parent: `tip` -> `ch` -> `root`, which is its own."""
    required = make_blueprint("node", relations={"parent": {"target": "node", "required": True}})
    async with database.write() as session:
        await blueprints.create(session, required, origin="API")
    for identifier, parent in (("root", "root"), ("ch", "root"), ("tip", "ch")):
        await put(database, required, {"identifier": identifier, "relations": {"parent": parent}})
    return required


async def deletions(database: Database) -> list[tuple[Any, Any]]:
    """Of the deleted entities `node`, in the order of the change log: the identifier, and the parent it had."""
    async with database.read() as session:
        rows = await session.exec(
            select(ChangeRow.document).where(ChangeRow.resource_type == "entity").order_by(col(ChangeRow.sequence))
        )
        befores = [change["before"] for change in rows if change["after"] is None]
    return [
        (one["identifier"], one["relations"]["parent"])
        for one in befores
        if isinstance(one, dict) and one["blueprint"] == "node" and isinstance(one["relations"], dict)
    ]


async def remaining(database: Database) -> list[str]:
    async with database.read() as session:
        return [one.identifier for one in await entities.portion(session, "node", after="")]


@pytest.mark.parametrize("delete_dependents", [False, True])
@pytest.mark.parametrize("names", list(permutations(["root", "ch", "tip"])))
async def test_several_that_must_relate_to_each_other_go_in_any_order(
    database: Database, names: tuple[str, ...], delete_dependents: bool
) -> None:
    await chained(database)
    gone = await database.transact(
        lambda session: catalog.remove_all(
            session, "node", [*names, "nobody", "root"], delete_dependents=delete_dependents, writer=WRITER
        )
    )
    assert (gone, await remaining(database)) == (list(names), [])
    expected = [("tip", "ch"), ("ch", "root"), ("root", "root")]
    assert await deletions(database) == expected, "one record each, with what it related to"


@pytest.mark.parametrize("names", [["a", "b"], ["b", "a"]])
async def test_two_that_must_relate_to_each_other_go_together_or_not_at_all(
    database: Database, names: list[str]
) -> None:
    node = await chained(database)
    for identifier, parent in (("a", "root"), ("b", "a"), ("a", "b")):
        await put(database, node, {"identifier": identifier, "relations": {"parent": parent}})

    async def remove(*these: str) -> list[str]:
        return await database.transact(
            lambda session: catalog.remove_all(session, "node", these, delete_dependents=False, writer=WRITER)
        )

    with pytest.raises(HasDependents, match=f"'{names[1]}' must relate to node '{names[0]}'"):
        await remove(names[0])
    assert await remove(*names) == names
    assert await remaining(database) == ["ch", "root", "tip"]
    assert sorted(identifier for identifier, _ in await deletions(database)) == ["a", "b"]


@pytest.mark.parametrize("names", [["root", "ch"], ["ch", "root"]])
async def test_whoever_is_not_among_those_that_go_keeps_all_of_them(database: Database, names: list[str]) -> None:
    await chained(database)
    with pytest.raises(HasDependents, match=r"^node 'tip' must relate to node 'ch' \(relations\.parent\)$"):
        await database.transact(
            lambda session: catalog.remove_all(session, "node", names, delete_dependents=False, writer=WRITER)
        )
    # One of another blueprint is not among them just because its name is.
    env = make_blueprint("env", relations={"of": {"target": "node", "required": True}})
    async with database.write() as session:
        await blueprints.create(session, env, origin="API")
    await put(database, env, {"identifier": "ch", "relations": {"of": "root"}})
    with pytest.raises(HasDependents, match="env 'ch' must relate to node 'root'"):
        await database.transact(
            lambda session: catalog.remove_all(session, "node", [*names, "tip"], delete_dependents=False, writer=WRITER)
        )
    assert await remaining(database) == ["ch", "root", "tip"]
    assert await deletions(database) == []


async def test_a_new_blueprint_of_an_old_name_is_new(database: Database, blueprint: Blueprint) -> None:
    async with database.write() as session:
        assert (await blueprints.get(session, "service", to_change=True)).document == blueprint.document
        await blueprints.remove(session, blueprint, by="user_1", at=AT, origin="API")
    other = make_blueprint(title="Other")
    async with database.write() as session:
        await blueprints.create(session, other, origin="API")
    async with database.read() as session:
        assert (await blueprints.get(session, "service")).document == other.document


async def _step(database: Database, blueprint: Blueprint, chance: random.Random) -> None:
    """One random write; refusals are part of life."""
    name, other = f"s{chance.randrange(12)}", f"s{chance.randrange(12)}"
    writer = Writer(Author("user_1", AT + timedelta(seconds=chance.randrange(1000)), "tests"), "API")
    document: JsonValue = {
        "identifier": name,
        "properties": {"n": chance.randrange(3)},
        "relations": {"uses": [other], "of": chance.choice([None, other, name])},
    }
    request, what = parsed_request(document), chance.randrange(10)

    async def work(session: AsyncSession) -> None:
        if what < 5:
            options = PutOptions(upsert=True, merge=what < 3, create_missing_related_entities=what < 4)
            await catalog.put(session, blueprint, request, options, generated=new("e"), writer=writer, complete=never)
        elif what < 7:
            renamed = EntityRequest(identifier=other)
            await catalog.change(session, blueprint, name, renamed, how=Writing.MERGE, writer=writer, complete=never)
        else:
            await catalog.remove(session, "service", name, delete_dependents=what == 9, writer=writer)

    try:
        await database.transact(work)
    except InterlockError:
        return


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_the_catalog_is_what_its_rows_say_whoever_writes_at_once(
    database: Database, blueprint: Blueprint, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    for _ in range(15):
        await asyncio.gather(*(_step(database, blueprint, random.Random(chance.random())) for _ in range(10)))  # noqa: S311

    catalog_now = await everything(database)
    async with database.read() as session:
        rows = (await session.exec(select(EntityRow.id, EntityRow.identifier))).all()
        related = (await session.exec(select(EntityRelationRow))).all()
        log = (
            await session.exec(
                select(ChangeRow.document).where(ChangeRow.resource_type == "entity").order_by(col(ChangeRow.sequence))
            )
        ).all()
    names = dict(rows)
    expected = {
        (name, relation, target)
        for name, entity in catalog_now.items()
        for relation, value in entity.relations.items()
        for target in ((value,) if isinstance(value, str) else value or ())
    }
    assert {(names[row.source_id], row.relation, row.target) for row in related} == expected
    assert {target for _, _, target in expected} <= set(catalog_now), "nothing relates to what is not there"

    replayed: dict[str, Any] = {}
    for change in log:
        before, after = change["before"], change["after"]
        if isinstance(before, dict):
            known = replayed.pop(str(before["identifier"]))
            assert (known["properties"], known["title"]) == (before["properties"], before["title"])
        if isinstance(after, dict):
            assert after["identifier"] not in replayed
            replayed[str(after["identifier"])] = after
    # Relations that followed a name are derived and in no record; everything else is.
    assert {name: one["properties"] for name, one in replayed.items()} == {
        name: one.properties for name, one in catalog_now.items()
    }
