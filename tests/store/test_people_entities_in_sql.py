"""People and teams are entities as well: whichever side is written, both say the same, and the log says both."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import JsonValue
from sqlalchemy import text
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.blueprints import Blueprint, BlueprintId
from domain.causes import Cause
from domain.documents import Document
from domain.entities import Author, Entity, Kind, Writing, changed, created, parsed_request
from domain.errors import Forbidden, IdentifierTaken, InterlockError, InvalidRequest, NotFound
from domain.people_entities import TEAM, USER, identifier_of, of_team, of_user
from domain.system_blueprints import structure, system_blueprints
from domain.teams import Team
from domain.users import Caller, User
from store import blueprints, entities, people_entities, people_lock, teams, users
from store import system_blueprints as ensured
from store.catalog_tables import EntityRelationRow
from store.database import Database
from store.entities import Writer
from store.tables import ChangeRow
from tests.store.conftest import AT

LATER = AT + timedelta(days=1)
BY: dict[str, Any] = {"by": "user_0", "origin": "API"}
WRITER = Writer(Author("user_9", LATER, "tests"), "API")


@pytest.fixture
async def catalog(database: Database) -> Database:
    """A database with the system blueprints."""
    await ensure(database)
    return database


async def ensure(database: Database) -> None:
    """Put the system blueprints into it."""
    await database.transact(lambda session: ensured.ensure(session, at=AT))


async def person(database: Database, email: str, *its_teams: str, **values: Any) -> User:
    """Somebody, stored."""
    user = User(
        **{"id": f"user_{email}", "email": email, "teams": its_teams, "created_at": AT, "updated_at": AT, **values}
    )
    await database.transact(
        lambda session: users.create(session, user, client_id=f"c {email}", client_secret=f"s {email}", **BY)
    )
    return user


async def team(database: Database, name: str, *members: str, **values: Any) -> Team:
    """A team, stored."""
    made = Team(**{"id": f"team_{name}", "name": name, "created_at": AT, "updated_at": AT, **values})
    await database.transact(lambda session: teams.create(session, made, members, **BY))
    return made


async def put(
    database: Database, blueprint: str, document: JsonValue, *, writer: Writer = WRITER, how: Writing = Writing.MERGE
) -> Entity:
    """An entity after an upsert, written as the catalog writes it."""
    request = parsed_request(document)

    async def work(session: AsyncSession) -> Entity:
        found = await blueprints.get(session, blueprint, to_use=True)
        kind = Kind(found.identifier, found.definition)
        await people_lock.take_for(session, blueprint)
        before = await entities.find(session, blueprint, str(request.named), to_change=True)
        if before is None:
            made = created(kind, request, generated="e", author=writer.author)
            entity = await people_entities.follow(session, None, made, writer=writer)
            assert entity
            await entities.create(session, kind, entity, writer=writer)
        else:
            made = changed(kind, before.entity, request, how=how, author=writer.author)
            entity = await people_entities.follow(session, before.entity, made, writer=writer)
            assert entity
            await entities.replace(session, kind, before, entity, writer=writer)
        return entity

    return await database.transact(work)


async def rename(database: Database, identifier: str, other: str, *, writer: Writer = WRITER) -> None:
    """Give the entity of a team another identifier."""

    async def work(session: AsyncSession) -> None:
        found = await blueprints.get(session, TEAM, to_use=True)
        kind = Kind(found.identifier, found.definition)
        await people_lock.take_for(session, TEAM)
        before = await entities.get(session, TEAM, identifier, to_change=True)
        request = parsed_request({"identifier": other})
        made = changed(kind, before.entity, request, how=Writing.MERGE, author=writer.author)
        entity = await people_entities.follow(session, before.entity, made, writer=writer)
        assert entity
        if other != identifier and await entities.find(session, TEAM, other):
            raise IdentifierTaken("Entity", other)
        await entities.replace(session, kind, before, entity, writer=writer)

    await database.transact(work)


async def delete(database: Database, blueprint: str, identifier: str, *, writer: Writer = WRITER) -> None:
    """Delete an entity as the catalog does."""

    async def work(session: AsyncSession) -> None:
        await people_lock.take_for(session, blueprint)
        stored = await entities.get(session, blueprint, identifier, to_change=True)
        assert await people_entities.follow(session, stored.entity, None, writer=writer) is None
        await entities.remove(session, stored, writer=writer)

    await database.transact(work)


async def entity_of(database: Database, blueprint: str, name: str) -> Entity:
    """The entity of a person or a team."""
    async with database.read() as session:
        return (await entities.get(session, blueprint, identifier_of(name))).entity


async def changes_of(database: Database) -> list[dict[str, Any]]:
    """Every change that is no blueprint's, in order."""
    async with database.read() as session:
        query = select(ChangeRow.document).where(ChangeRow.resource_type != "blueprint")
        return [dict(row) for row in await session.exec(query.order_by(col(ChangeRow.sequence)))]


async def recorded(database: Database) -> list[tuple[str, str, str | None]]:
    """The kind, the action and the entity of every change that is no blueprint's."""
    async with database.read() as session:
        query = select(ChangeRow.resource_type, ChangeRow.document, ChangeRow.entity).order_by(col(ChangeRow.sequence))
        rows = [(kind, str(document["action"]), entity) for kind, document, entity in await session.exec(query)]
    return [row for row in rows if row[0] != "blueprint"]


async def agree(database: Database) -> tuple[list[User], list[Team]]:
    """Everybody and all teams, which the catalog says no more and no less than."""
    async with database.read() as session:
        people, groups = await users.everybody(session), await teams.listed(session)
        found = {
            blueprint: {one.identifier: one.entity for one in await entities.portion(session, blueprint, after="")}
            for blueprint in (USER, TEAM)
        }
        kinds = {name: Kind(name, (await blueprints.get(session, name)).definition) for name in (USER, TEAM)}
        rows = (await session.exec(select(EntityRelationRow.target).where(EntityRelationRow.relation == "teams"))).all()
    assert set(found[USER]) == {identifier_of(one.email) for one in people}
    assert set(found[TEAM]) == {identifier_of(one.name) for one in groups}
    named = {str(identifier_of(one.name)): one.name for one in groups}
    for user in people:
        entity = found[USER][identifier_of(user.email)]
        assert of_user(user, named, entity, kinds[USER], WRITER.author) is entity
    for one in groups:
        entity = found[TEAM][identifier_of(one.name)]
        assert of_team(one, entity, kinds[TEAM], WRITER.author, was=one.name) is entity
    related = [name for entity in found[USER].values() for name in entity.relations["teams"] or ()]
    assert sorted(rows) == sorted(related)
    assert set(rows) <= set(found[TEAM])
    return people, groups


async def test_a_person_is_an_entity_from_the_first_moment_to_the_last(catalog: Database) -> None:
    await team(catalog, "sre")
    ada = await person(catalog, "Ada@example.com", "sre", "ghosts", first_name="Ada")
    entity = await entity_of(catalog, USER, ada.email)
    assert (entity.title, entity.created_by, entity.relations) == ("Ada", "user_0", {"teams": ("sre",)})
    assert entity.properties == {
        "port_email": "Ada@example.com", "status": "Active", "port_role": "Member", "port_type": "Standard",
    }  # fmt: skip
    admin = ada.revised(at=LATER, roles=("Admin",), teams=())
    async with catalog.write() as session:
        await users.replace(session, ada, admin, **BY)
        await users.replace(session, admin, admin, **BY)
    entity = await entity_of(catalog, USER, ada.email)
    assert (entity.properties["port_role"], entity.relations, entity.updated_at) == ("Admin", {"teams": ()}, LATER)
    await agree(catalog)
    async with catalog.write() as session:
        await users.remove(session, admin, at=LATER, **BY)
    await agree(catalog)
    assert (await recorded(catalog))[2:] == [
        (kind, action, "Ada@example.com" if kind == "entity" else None)
        for action in ("CREATE", "UPDATE", "DELETE")
        for kind in ("user", "entity")
    ]


async def test_a_team_is_an_entity_and_its_people_relate_to_it(catalog: Database) -> None:
    await person(catalog, "a@b", "sre")
    await person(catalog, "o'brien@b")
    sre = await team(catalog, "sre", "a@b", "o'brien@b", description="d")
    await put(catalog, TEAM, {"identifier": "sre", "title": "Reliability"})
    renamed = sre.model_copy(update={"name": "The SREs"})
    async with catalog.write() as session:
        await teams.replace(session, sre, renamed, None, at=LATER, **BY)
    people, _ = await agree(catalog)
    assert [one.teams for one in people] == [("The SREs",), ("The SREs",)]
    entity = await entity_of(catalog, TEAM, "The SREs")
    assert (entity.title, entity.properties) == ("Reliability", {"description": "d", "port_name": "The SREs"})
    assert (await entity_of(catalog, USER, "o'brien@b")).relations == {"teams": (entity.identifier,)}
    async with catalog.write() as session:
        await teams.remove(session, renamed, at=LATER, **BY)
    assert (await agree(catalog))[1] == []


async def test_who_bears_a_name_relates_to_the_team_that_gets_it(catalog: Database) -> None:
    await person(catalog, "a@b", "sre")
    assert (await entity_of(catalog, USER, "a@b")).relations == {"teams": ()}
    async with catalog.write() as session:
        ada = await users.by_email(session, "a@b")
        made = Team(id="t", name="sre", created_at=AT, updated_at=AT)
        await teams.create(session, made, None, **BY)
        assert await users.by_email(session, "a@b") == ada
    assert (await entity_of(catalog, USER, "a@b")).relations == {"teams": ("sre",)}
    await agree(catalog)


async def test_an_entity_makes_changes_and_deletes_a_person(catalog: Database) -> None:
    await team(catalog, "sre")
    document: Document = {
        "identifier": "a@b",
        "title": " Ada  King ",
        "properties": {"status": "Invited", "port_role": "admin", "mine": 1},
        "relations": {"teams": ["sre"]},
    }
    entity = await put(catalog, USER, document)
    assert entity == await entity_of(catalog, USER, "a@b")
    assert (entity.title, entity.datasource) == ("Ada  King", "tests")
    assert entity.properties == {
        "status": "Invited", "port_role": "Admin", "port_type": "Standard", "port_email": "a@b", "mine": 1,
    }  # fmt: skip
    [ada], _ = await agree(catalog)
    assert (ada.status, ada.roles, ada.teams, ada.first_name) == ("INVITED", ("Admin",), ("sre",), "Ada")
    assert (await recorded(catalog))[2:] == [("user", "CREATE", None), ("entity", "CREATE", "a@b")]
    await put(catalog, USER, document)
    await put(catalog, USER, {"identifier": "a@b"}, how=Writing.MERGE)
    assert len(await recorded(catalog)) == 4, "what changes nothing is no change"

    await put(catalog, USER, {"identifier": "a@b", "properties": {"other": 2}}, how=Writing.REPLACE)
    [ada], _ = await agree(catalog)
    assert (ada.status, ada.roles, ada.teams, ada.first_name) == ("INVITED", ("Admin",), ("sre",), "")
    assert "mine" not in (await entity_of(catalog, USER, "a@b")).properties
    await put(catalog, USER, {"identifier": "a@b", "properties": {"status": "Disabled"}, "relations": {"teams": []}})
    [ada], _ = await agree(catalog)
    assert (ada.status, ada.teams) == ("DISABLED", ())
    assert (await entity_of(catalog, USER, "a@b")).properties["other"] == 2
    await delete(catalog, USER, "a@b")
    assert (await agree(catalog))[0] == []


async def test_an_invited_person_is_active_with_their_credentials(catalog: Database) -> None:
    await put(catalog, USER, {"identifier": "a@b", "properties": {"status": "Invited"}})
    async with catalog.write() as session:
        ada = await users.by_email(session, "a@b", to_change=True)
        await users.put_credentials(session, ada, client_id="c", client_secret="s", at=LATER, **BY)
    [ada], _ = await agree(catalog)
    assert ada.status == "ACTIVE"


async def test_an_entity_makes_renames_and_deletes_a_team(catalog: Database) -> None:
    await person(catalog, "a@b", "sre")
    entity = await put(catalog, TEAM, {"identifier": "sre", "properties": {"description": "d"}})
    assert (entity.title, entity.properties) == ("sre", {"description": "d", "port_name": "sre"})
    [ada], [sre] = await agree(catalog)
    assert (sre.name, sre.description, ada.teams) == ("sre", "d", ("sre",))
    await rename(catalog, "sre", "ops")
    [ada], [ops] = await agree(catalog)
    assert (ops.name, ops.id, ada.teams) == ("ops", sre.id, ("ops",))
    assert (await entity_of(catalog, TEAM, "ops")).title == "ops"
    await put(catalog, TEAM, {"identifier": "ops", "properties": {"description": None}})
    _, [ops] = await agree(catalog)
    assert ops.description is None
    await delete(catalog, TEAM, "ops")
    [ada], groups = await agree(catalog)
    assert (ada.teams, groups) == ((), [])


@pytest.mark.parametrize(
    ("blueprint", "document", "refusal"),
    [
        (USER, {"identifier": "nobody"}, InvalidRequest),
        (USER, {"identifier": "A@B"}, IdentifierTaken),
        (USER, {"identifier": "a@b", "properties": {"port_role": "Owner"}}, InvalidRequest),
        (USER, {"identifier": "x@y", "relations": {"teams": ["nowhere"]}}, NotFound),
        (USER, {"identifier": "a@b", "relations": {"teams": ["sre", "nowhere"]}}, NotFound),
        (TEAM, {"identifier": "a/b"}, InvalidRequest),
        (TEAM, {"identifier": "sre", "properties": {"port_name": "ops"}}, InvalidRequest),
    ],
)
async def test_what_nobody_can_be_is_refused_and_leaves_the_transaction_as_it_was(
    catalog: Database, blueprint: str, document: JsonValue, refusal: type[InterlockError]
) -> None:
    await person(catalog, "a@b")
    await team(catalog, "sre")
    before = await recorded(catalog)
    request = parsed_request(document)
    async with catalog.write() as session:
        found = await blueprints.get(session, blueprint, to_use=True)
        kind = Kind(found.identifier, found.definition)
        stored = await entities.find(session, blueprint, str(request.named), to_change=True)
        known = stored.entity if stored else None
        made = (
            changed(kind, known, request, how=Writing.MERGE, author=WRITER.author)
            if known
            else created(kind, request, generated="e", author=WRITER.author)
        )
        with pytest.raises(refusal):
            await people_entities.follow(session, known, made, writer=WRITER)
    assert await recorded(catalog) == before
    people, groups = await agree(catalog)
    assert (len(people), len(groups)) == (1, 1)


async def test_times_never_go_back_whichever_side_is_written(catalog: Database) -> None:
    earlier = Writer(Author("user_9", AT, "tests"), "API")
    await team(catalog, "sre")
    await person(catalog, "ada@x.io")
    await put(catalog, USER, {"identifier": "ada@x.io", "title": "Ada"})
    await put(catalog, TEAM, {"identifier": "sre", "properties": {"description": "d"}})
    await put(catalog, USER, {"identifier": "ada@x.io", "relations": {"teams": ["sre"]}}, writer=earlier)
    await put(catalog, TEAM, {"identifier": "sre", "properties": {"description": "e"}}, writer=earlier)
    [ada], [sre] = await agree(catalog)
    assert min(ada.updated_at, sre.updated_at) > LATER
    async with catalog.write() as session:
        await users.replace(session, ada, ada.revised(at=AT, roles=("Admin",)), **BY)
        await teams.replace(session, sre, sre.model_copy(update={"name": "ops"}), None, at=AT, **BY)
    of_ada, of_ops = await entity_of(catalog, USER, "ada@x.io"), await entity_of(catalog, TEAM, "ops")
    assert of_ada.updated_at > ada.updated_at
    assert of_ops.updated_at > sre.updated_at
    await delete(catalog, USER, "ada@x.io", writer=earlier)
    async with catalog.read() as session:
        query = select(ChangeRow.resource_type, ChangeRow.document).order_by(col(ChangeRow.sequence))
        told = [(kind, document["at"]) for kind, document in await session.exec(query)]
    for kind, count in (("user", 6), ("team", 4)):
        times = [at for its, at in told if its == kind]
        assert times == sorted(times)
        assert len(times) == count


async def test_the_lock_does_not_go_with_a_part_that_is_undone(database: Database) -> None:
    taken = text("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
    async with database.write() as session:
        if session.get_bind().dialect.name != "postgresql":
            await people_lock.take(session)  # nothing happens
            return
        part = await session.begin_nested()
        await people_lock.take(session)
        await part.rollback()
        assert (await session.exec(taken)).all() == []  # type: ignore[call-overload]
        await people_lock.take(session)
        part = await session.begin_nested()
        await people_lock.take(session)
        await part.rollback()
        assert (await session.exec(taken)).all() == [(1,)]  # type: ignore[call-overload]


async def test_only_admins_write_people_as_entities(catalog: Database) -> None:
    ada = await person(catalog, "a@b")
    member = Writer(WRITER.author, "API", caller=Caller("org", "c", user=ada))
    with pytest.raises(Forbidden):
        await put(catalog, USER, {"identifier": "a@b", "properties": {"port_role": "Admin"}}, writer=member)
    with pytest.raises(Forbidden):
        await put(catalog, TEAM, {"identifier": "sre"}, writer=member)
    admin = Writer(WRITER.author, "API", caller=Caller("org", "c", user=ada.revised(at=AT, roles=("Admin",))))
    await put(catalog, USER, {"identifier": "a@b", "properties": {"port_role": "Admin"}}, writer=admin)
    [ada], groups = await agree(catalog)
    assert (ada.roles, groups) == (("Admin",), [])


async def test_all_that_a_write_of_a_team_leads_to_says_which_run_made_it(catalog: Database) -> None:
    await person(catalog, "a@b")
    await person(catalog, "b@b", "sre")
    await team(catalog, "sre", "a@b", "b@b")
    first = await changes_of(catalog)
    assert {(one["causedBy"], one["depth"]) for one in first} == {(None, 0)}
    because = WRITER.because_of(Cause("r_1", 2))
    await rename(catalog, "sre", "ops", writer=because)
    await put(catalog, USER, {"identifier": "c@b", "relations": {"teams": ["ops"]}}, writer=because)
    await put(catalog, USER, {"identifier": "a@b", "properties": {"port_role": "Admin"}}, writer=because)
    await delete(catalog, TEAM, "ops", writer=because)
    await delete(catalog, USER, "c@b", writer=because)
    await agree(catalog)
    since = (await changes_of(catalog))[len(first) :]
    assert [str(one["context"][key]) for one in since if (key := str(one["resourceType"])) == "entity"] == [
        "a@b", "b@b", "ops", "c@b", "a@b", "a@b", "b@b", "c@b", "ops", "c@b",
    ]  # fmt: skip
    assert {one["resourceType"] for one in since} == {"entity", "user", "team"}
    assert {(one["causedBy"], one["depth"]) for one in since} == {("r_1", 3)}


async def test_without_the_blueprints_people_are_only_people(database: Database) -> None:
    await team(database, "sre")
    await person(database, "a@b", "sre")
    await person(database, "o'brien@b", "ghosts")
    assert await recorded(database) == [("team", "CREATE", None), ("user", "CREATE", None), ("user", "CREATE", None)]
    async with database.read() as session:
        assert not await ensured.complete(session)
    await ensure(database)
    people, groups = await agree(database)
    assert (len(people), len(groups)) == (2, 1)
    async with database.read() as session:
        assert await ensured.complete(session)
        assert [one.identifier for one in await blueprints.listed(session)] == sorted(
            str(document["identifier"]) for document in system_blueprints()
        )
    before = await recorded(database)
    await ensure(database)
    assert await recorded(database) == before


async def test_somebody_whom_an_earlier_version_made_is_caught_up_with(catalog: Database) -> None:
    ada = User(id="user_1", email="a@b", created_at=AT, updated_at=AT)
    async with catalog.write() as session:
        await users.create(session, ada, client_id="c", client_secret="s", mirrored=False, **BY)
    async with catalog.read() as session:
        assert not await ensured.complete(session)
    await ensure(catalog)
    await agree(catalog)
    async with catalog.read() as session:
        assert await ensured.complete(session)


async def test_an_earlier_version_of_a_system_blueprint_gains_what_it_lacks(database: Database) -> None:
    old: Any = structure(TEAM)
    del old["schema"]["properties"]["port_name"]
    old["schema"]["properties"]["cost"] = {"type": "number", "default": 3}
    async with database.write() as session:
        await blueprints.create(session, Blueprint(BlueprintId(TEAM), old, AT, "user_1", AT, "user_1"), origin="API")
    await team(database, "sre")
    await ensure(database)
    async with database.read() as session:
        found = await blueprints.get(session, TEAM)
    assert list(found.definition.properties) == ["description", "cost", "port_name"]
    assert (found.created_by, found.updated_by) == ("user_1", "interlock")
    assert (await entity_of(database, TEAM, "sre")).properties == {"cost": 3, "port_name": "sre"}
    await agree(database)


EMAILS = ("a@b", "o'brien@b", "Eve@b", "nobody", "EVE@b")
NAMES = ("sre", "web", "The SREs", "a&b", "a/b")


async def _step(database: Database, chance: random.Random) -> None:
    """One random write of either side; refusals are part of life."""
    email, name, other = chance.choice(EMAILS), chance.choice(NAMES), chance.choice(NAMES)
    some = chance.sample(NAMES, chance.randrange(3))
    at = AT + timedelta(seconds=chance.randrange(10_000))

    async def patch_user(session: AsyncSession) -> None:
        await teams.require(session, some)
        before = await users.by_email(session, email, to_change=True)
        roles = chance.choice([("Admin",), ("Member",), ("Member", "Admin")])
        await users.replace(session, before, before.revised(at=at, roles=roles, teams=tuple(some)), **BY)

    async def remove_user(session: AsyncSession) -> None:
        await users.remove(session, await users.by_email(session, email, to_change=True), at=at, **BY)

    async def replace_team(session: AsyncSession) -> None:
        before = await teams.get(session, name, to_change=True)
        members = chance.choice([None, [], ["a@b"], ["a@b", "o'brien@b"]])
        after = before.model_copy(update={"name": other, "description": chance.choice([None, "d"])})
        await teams.replace(session, before, after, members, at=at, **BY)

    async def remove_team(session: AsyncSession) -> None:
        await teams.remove(session, await teams.get(session, name, to_change=True), at=at, **BY)

    said: Any = {
        "identifier": identifier_of(email),
        "title": chance.choice(["Ada", "Ada King", email, " x "]),
        "properties": chance.choice([{}, {"status": "Invited"}, {"port_role": "admin"}, {"status": None, "mine": 1}]),
        **chance.choice([{}, {"relations": {"teams": [identifier_of(one) for one in some]}}]),
    }
    if "'" in email:
        said["properties"] = {"port_email": email}
    group: Any = {
        "identifier": identifier_of(name),
        "properties": chance.choice([{"port_name": name}, {"port_name": name, "description": "e"}, {}]),
    }
    how = chance.choice(list(Writing))
    steps: list[Callable[[], Awaitable[object]]] = [
        lambda: person(database, email, *some, id=f"user_{chance.random()}"),
        lambda: team(database, name, *chance.choice([(), ("a@b",), ("Eve@b",)]), id=f"team_{chance.random()}"),
        lambda: database.transact(patch_user),
        lambda: database.transact(replace_team),
        lambda: put(database, USER, said, how=how),
        lambda: put(database, TEAM, group, how=how),
        lambda: rename(database, identifier_of(name), identifier_of(other)),
    ]
    rare: list[Callable[[], Awaitable[object]]] = [
        lambda: database.transact(remove_user),
        lambda: database.transact(remove_team),
        lambda: delete(database, USER, identifier_of(email)),
        lambda: delete(database, TEAM, identifier_of(name)),
    ]
    try:
        await chance.choice(steps if chance.random() < 0.85 else rare)()
    except (IdentifierTaken, InvalidRequest, NotFound):
        return


@pytest.mark.parametrize("seed", [1, 2])
async def test_both_sides_agree_after_anything(catalog: Database, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a repeatable story, not a secret
    most = 0
    for _ in range(12):
        for _ in range(10):
            await _step(catalog, chance)
        people, groups = await agree(catalog)
        most = max(most, min(len(people), len(groups)))
    assert most >= 2, "the story had people and teams"


async def test_both_sides_agree_after_writers_at_once(catalog: Database) -> None:
    await team(catalog, "sre")
    await team(catalog, "web")
    await person(catalog, "a@b")
    stories = [random.Random(seed) for seed in range(6)]  # noqa: S311 - see above

    async def tell(chance: random.Random) -> None:
        for _ in range(8):
            await _step(catalog, chance)

    await asyncio.gather(*map(tell, stories))
    people, groups = await agree(catalog)
    assert people or groups
