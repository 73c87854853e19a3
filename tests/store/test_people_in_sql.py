"""People and teams in SQL: one place of membership, names that are taken, and writers that meet."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlmodel import col, select

from domain.errors import IdentifierTaken, NotFound
from domain.permissions import Permissions
from domain.teams import Team
from domain.users import User
from store import actions, teams, users
from store.database import Database
from store.tables import ChangeRow
from tests.store.conftest import AT, make_action

LATER = AT + timedelta(days=1)
BY: dict[str, Any] = {"by": "user_0", "origin": "API"}


async def person(database: Database, email: str, *its_teams: str) -> User:
    """Somebody, stored."""
    user = User(id=f"user_{email}", email=email, teams=its_teams, created_at=AT, updated_at=AT)
    async with database.write() as session:
        await users.create(session, user, client_id=f"client {email}", client_secret=f"secret {email}", **BY)
    return user


async def team(database: Database, name: str, *members: str) -> Team:
    """A team, stored."""
    made = Team(id=f"team_{name}", name=name, created_at=AT, updated_at=AT)
    async with database.write() as session:
        await teams.create(session, made, members, **BY)
    return made


async def teams_of(database: Database, email: str) -> tuple[str, ...]:
    """What the person is in."""
    async with database.read() as session:
        return (await users.by_email(session, email)).teams


async def recorded(database: Database) -> list[tuple[str, Any]]:
    """The kinds and the actions of all changes."""
    async with database.read() as session:
        query = select(ChangeRow.resource_type, ChangeRow.document).order_by(col(ChangeRow.sequence))
        return [(kind, document["action"]) for kind, document in await session.exec(query)]


async def test_a_person_reads_back_as_they_were_written(database: Database) -> None:
    ada = await person(database, "Ada@example.com")
    changed = ada.revised(at=LATER, roles=("Admin",))
    async with database.write() as session:
        await users.replace(session, ada, ada, **BY)
        await users.replace(session, ada, changed, **BY)
    async with database.read() as session:
        assert await users.by_email(session, "ada@EXAMPLE.com") == changed
        assert await users.get(session, ada.id) == changed
    async with database.write() as session:
        await users.remove(session, changed, at=LATER, **BY)
    async with database.read() as session:
        assert await users.get(session, ada.id) is None
        with pytest.raises(NotFound, match="Ada"):
            await users.by_email(session, "Ada@example.com")
    assert await recorded(database) == [("user", "CREATE"), ("user", "UPDATE"), ("user", "DELETE")]


async def test_an_email_address_is_taken_in_any_case(database: Database) -> None:
    await person(database, "Ada@example.com")
    other = User(id="user_2", email="ADA@example.com", created_at=AT, updated_at=AT)
    with pytest.raises(IdentifierTaken, match="ADA"):
        async with database.write() as session:
            await users.create(session, other, client_id="c", client_secret="s", **BY)
    assert await recorded(database) == [("user", "CREATE")]


async def test_new_credentials_replace_the_old_ones(database: Database) -> None:
    ada = await person(database, "a@example.com")
    async with database.read() as session:
        assert await users.by_credentials(session, "client a@example.com", "secret a@example.com") == ada
    async with database.write() as session:
        await users.put_credentials(session, ada, client_id="new", client_secret="newer", at=LATER, **BY)
    async with database.read() as session:
        assert await users.by_credentials(session, "client a@example.com", "secret a@example.com") is None
        assert await users.by_credentials(session, "new", "secret a@example.com") is None
        assert await users.by_credentials(session, "new", "newer") == ada.model_copy(update={"updated_at": LATER})
    assert await recorded(database) == [("user", "CREATE"), ("user", "UPDATE")]


async def test_the_members_of_a_team_are_kept_with_the_people(database: Database) -> None:
    for name in ("a", "b"):
        await person(database, f"{name}@example.com", "web")
    sre = await team(database, "sre", "A@example.com")
    assert await teams_of(database, "a@example.com") == ("web", "sre")
    async with database.write() as session:
        renamed = sre.model_copy(update={"name": "ops"})
        ops, people = await teams.replace(session, sre, renamed, ["b@example.com"], at=LATER, **BY)
    assert (ops.updated_at, [one.email for one in ops.members(people)]) == (LATER, ["b@example.com"])
    assert await teams_of(database, "a@example.com") == ("web",)
    assert await teams_of(database, "b@example.com") == ("web", "ops")
    async with database.read() as session:
        assert await teams.get(session, "ops") == ops
        assert await teams.listed(session) == [ops]
        with pytest.raises(NotFound, match="sre"):
            await teams.get(session, "sre")
    async with database.write() as session:
        await teams.remove(session, ops, at=LATER, **BY)
    assert await teams_of(database, "b@example.com") == ("web",)


async def test_a_write_of_a_team_that_changes_nothing_is_no_change(database: Database) -> None:
    await person(database, "a@example.com")
    sre = await team(database, "sre", "a@example.com")
    before = await recorded(database)
    async with database.write() as session:
        kept, _ = await teams.replace(session, sre, sre, ["A@example.com"], at=LATER, **BY)
    assert kept.updated_at == AT
    assert await recorded(database) == before


@pytest.mark.parametrize(
    ("name", "members", "refusal"),
    [("new", ["a@example.com", "no@example.com"], NotFound), ("web", ["a@example.com"], IdentifierTaken)],
)
async def test_a_refused_team_leaves_everybody_as_they_were(
    database: Database, name: str, members: list[str], refusal: type[Exception]
) -> None:
    await person(database, "a@example.com")
    await team(database, "web")
    sre = await team(database, "sre")
    before = await recorded(database)
    other = Team(id="team_other", name=name, created_at=AT, updated_at=AT)
    with pytest.raises(refusal):
        async with database.write() as session:
            await teams.create(session, other, members, **BY)
    with pytest.raises(refusal):
        async with database.write() as session:
            await teams.replace(session, sre, sre.model_copy(update={"name": name}), members, at=LATER, **BY)
    assert await teams_of(database, "a@example.com") == ()
    assert await recorded(database) == before


async def test_two_teams_that_take_the_same_person_both_have_them(database: Database) -> None:
    await person(database, "a@example.com")
    names = [f"team{number}" for number in range(5)]
    await asyncio.gather(*(team(database, name, "a@example.com") for name in names))
    assert set(await teams_of(database, "a@example.com")) == set(names)


async def test_nobody_joins_a_team_while_it_is_deleted(database: Database) -> None:
    ada = await person(database, "a@example.com")
    sre = await team(database, "sre")
    deleting, joining = asyncio.Event(), asyncio.Event()

    async def delete() -> None:
        async with database.write() as session:
            await teams.get(session, "sre", to_change=True)
            deleting.set()
            await asyncio.wait_for(joining.wait(), 5)
            await asyncio.sleep(0.1)
            await teams.remove(session, sre, at=LATER, **BY)

    async def join(at: datetime) -> None:
        await deleting.wait()
        joining.set()
        async with database.write() as session:
            await teams.require(session, ["sre"])
            before = await users.by_email(session, ada.email, to_change=True)
            await users.replace(session, before, before.revised(at=at, teams=("sre",)), **BY)

    deleted, joined = await asyncio.gather(delete(), join(LATER), return_exceptions=True)
    assert deleted is None
    assert isinstance(joined, NotFound)
    assert await teams_of(database, "a@example.com") == ()


async def test_who_waited_for_another_writer_is_not_recorded_before_them(database: Database) -> None:
    sre = await team(database, "sre")
    async with database.write() as session:
        described = sre.model_copy(update={"description": "d"})
        later, _ = await teams.replace(session, sre, described, None, at=LATER, **BY)
        renamed, _ = await teams.replace(session, later, later.model_copy(update={"name": "ops"}), None, at=AT, **BY)
        assert await teams.get(session, "ops") == renamed
        await teams.remove(session, renamed, at=AT, **BY)
    assert renamed.updated_at > LATER
    async with database.read() as session:
        documents = await session.exec(select(ChangeRow.document).order_by(col(ChangeRow.sequence)))
        times = [document["at"] for document in documents]
    assert times == sorted(times)
    assert len(times) == 4


async def test_the_permissions_of_self_service_actions_are_read_at_once(database: Database) -> None:
    automation = {"type": "automation", "event": {"type": "ANY_RUN_CHANGE", "actionIdentifier": "deploy"}}
    async with database.write() as session:
        for action in (make_action("deploy"), make_action("build"), make_action("follow", trigger=automation)):
            await actions.create(session, action, origin="API")
    async with database.read() as session:
        found = dict(await actions.of_self_service(session))
    assert found == {"deploy": Permissions(), "build": Permissions()}
