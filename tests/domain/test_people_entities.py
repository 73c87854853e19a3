"""People and teams as entities, what an entity says about them, and how far system blueprints can be extended."""

import copy
from datetime import UTC, datetime
from typing import Any

import pytest

from domain.blueprints import parsed
from domain.documents import Document
from domain.entities import Author, Entity, EntityId, Kind
from domain.errors import Forbidden, InvalidRequest
from domain.people_entities import (
    TEAM,
    USER,
    identifier_of,
    name_of,
    of_team,
    of_user,
    require_may_write,
    said_of_team,
    said_of_user,
    teams_said,
    title_of,
)
from domain.system_blueprints import (
    extended,
    is_system,
    require_deletable,
    require_own_name,
    structure,
    system_blueprints,
    upgraded,
)
from domain.teams import Team
from domain.users import Caller, User

AT = datetime(2026, 1, 2, tzinfo=UTC)
AUTHOR = Author("user_0", AT, "tests")
NAMES = [document["identifier"] for document in system_blueprints()]


def kind(identifier: str) -> Kind:
    """The blueprint, not extended."""
    return Kind(identifier, parsed(structure(identifier)))


def somebody(**values: Any) -> User:
    """A person."""
    return User(**{"id": "user_1", "email": "ada@example.com", "created_at": AT, "updated_at": AT, **values})


def written(blueprint: str, identifier: str, title: str = "", **values: Any) -> Entity:
    """An entity as somebody writes it."""
    return Entity(
        **{
            "identifier": EntityId(identifier),
            "title": title or identifier,
            "blueprint": blueprint,
            "properties": {},
            "relations": {},
            "created_at": AT,
            "created_by": "user_0",
            "updated_at": AT,
            "updated_by": "user_0",
            **values,
        }
    )


@pytest.mark.parametrize("name", ["sre", "Ada@example.com", "ä.b-c", "a+b", "Plattform/1"])
def test_a_name_that_can_be_an_identifier_is_one(name: str) -> None:
    assert identifier_of(name) == name


@pytest.mark.parametrize("name", ["Platform SRE", "Platform_SRE ", "o'brien@example.com", ".", "..", "a&b", "a b"])
def test_another_name_has_an_identifier_of_its_own(name: str) -> None:
    made = identifier_of(name)
    assert made == identifier_of(name)
    assert made != name
    assert len({identifier_of(other) for other in (name, f"{name}!", f"{name}?", name.replace(" ", "_"))}) >= 3
    assert name_of(written(TEAM, made, properties={"port_name": name})) == name
    assert name_of(written(TEAM, made, properties={"port_name": "other"})) == made, "it says another name"


@pytest.mark.parametrize(
    ("values", "title", "properties"),
    [
        ({}, "ada@example.com", {"status": "Active", "port_role": "Member", "port_type": "Standard"}),
        ({"first_name": "Ada", "roles": ("Member", "Admin")}, "Ada", {"port_role": "Admin"}),
        ({"first_name": "Ada", "last_name": "Lovelace", "status": "INVITED"}, "Ada Lovelace", {"status": "Invited"}),
        ({"type": "SERVICE_ACCOUNT", "status": "DISABLED"}, "ada@example.com", {"port_type": "Service Account"}),
    ],
)
def test_a_person_as_an_entity_says_the_person_again(values: Document, title: str, properties: Document) -> None:
    user = somebody(teams=("sre", "ghosts"), **values)
    teams = {"sre": "sre", "web": "web"}
    entity = of_user(user, teams, None, kind(USER), AUTHOR)
    assert (entity.identifier, entity.title) == ("ada@example.com", title)
    assert entity.properties | properties == entity.properties
    assert entity.relations == {"teams": ("sre",)}, "of a team that does not exist there is no entity"
    said = said_of_user(entity, entity, user)
    assert user.model_copy(update=said) == user
    assert teams_said(entity, user, teams) is None
    assert of_user(user, teams, entity, kind(USER), AUTHOR) is entity


def test_what_an_entity_says_makes_a_person() -> None:
    entity = written(USER, "a@b", "Ada King Lovelace", properties={"port_role": "aDMIN", "status": "Invited"})
    said = said_of_user(None, entity, None)
    names = ("Ada", "King Lovelace")
    assert said == {
        "email": "a@b",
        "roles": ("Admin",),
        "status": "INVITED",
        "first_name": names[0],
        "last_name": names[1],
    }
    assert title_of(somebody(first_name=names[0], last_name=names[1])) == entity.title
    assert said_of_user(None, written(USER, "a@b"), None)["first_name"] == ""


def test_what_an_entity_does_not_say_stays() -> None:
    user = somebody(status="DISABLED", roles=("Admin",), teams=("sre", "ghosts"))
    bare = written(USER, user.email, properties={"status": None})
    assert user.model_copy(update=said_of_user(bare, bare, user)) == user
    assert teams_said(bare, user, {"sre": "sre"}) is None
    emptied = bare.model_copy(update={"relations": {"teams": ()}})
    assert teams_said(emptied, user, {"sre": "sre"}) == ("ghosts",)


@pytest.mark.parametrize(
    ("identifier", "properties", "path"),
    [
        ("ada", {}, "identifier"),
        ("a@b@c", {}, "identifier"),
        ("a@b", {"port_role": "Owner"}, "properties.port_role"),
        ("a@b", {"port_role": ["Admin"]}, "properties.port_role"),
        ("a@b", {"status": "ACTIVE"}, "properties.status"),
        ("a@b", {"status": {}}, "properties.status"),
        ("a@b", {"port_type": "Robot"}, "properties.port_type"),
        ("a@b", {"port_email": "c@d"}, "properties.port_email"),
    ],
)
def test_an_entity_that_can_be_nobody_is_refused(identifier: str, properties: Document, path: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^{path}: "):
        said_of_user(None, written(USER, identifier, properties=properties), None)
    if identifier == "a@b":
        assert said_of_user(None, written(USER, identifier), None)["email"] == "a@b"


def test_a_person_keeps_their_email_address() -> None:
    before = of_user(somebody(), {}, None, kind(USER), AUTHOR)
    renamed = before.model_copy(update={"identifier": EntityId("eve@example.com")})
    with pytest.raises(InvalidRequest, match="identifier: a person keeps"):
        said_of_user(before, renamed, somebody())


@pytest.mark.parametrize("name", ["sre", "Platform SRE"])
def test_a_team_as_an_entity_says_the_team_again(name: str) -> None:
    team = Team(id="team_1", name=name, description="d", created_at=AT, updated_at=AT)
    entity = of_team(team, None, kind(TEAM), AUTHOR, was=name)
    assert (entity.identifier, entity.title) == (identifier_of(name), name)
    assert said_of_team(entity, entity) == {"name": name, "description": "d"}
    assert of_team(team, entity, kind(TEAM), AUTHOR, was=name) is entity
    undescribed = of_team(team.model_copy(update={"description": None}), entity, kind(TEAM), AUTHOR, was=name)
    assert undescribed.properties == {"port_name": name}


def test_a_renamed_team_keeps_a_title_of_its_own() -> None:
    team = Team(id="team_1", name="ops", created_at=AT, updated_at=AT)
    for title, expected in (("sre", "ops"), ("Reliability", "Reliability")):
        before = written(TEAM, "sre", title, properties={"port_name": "sre", "mine": 1})
        after = of_team(team, before, kind(TEAM), AUTHOR, was="sre")
        assert (after.title, after.identifier, after.properties) == (expected, "ops", {"port_name": "ops", "mine": 1})


def test_another_identifier_renames_the_team() -> None:
    before = written(TEAM, "sre", properties={"port_name": "sre"})
    after = before.model_copy(update={"identifier": EntityId("ops")})
    assert said_of_team(before, after) == {"name": "ops"}
    mapped = identifier_of("The Ops")
    after = written(TEAM, mapped, properties={"port_name": "The Ops"})
    assert said_of_team(before, after) == {"name": "The Ops"}


@pytest.mark.parametrize(
    ("identifier", "properties", "path"),
    [
        ("a/b", {}, "identifier"),
        ("n" * 101, {}, "identifier"),
        (identifier_of(".."), {"port_name": ".."}, "properties.port_name"),
        ("sre", {"port_name": "ops"}, "properties.port_name"),
        ("sre", {"port_name": 1}, "properties.port_name"),
        ("sre", {"description": "d" * 1001}, "properties.description"),
        ("sre", {"description": 1}, "properties.description"),
    ],
)
def test_an_entity_that_can_be_no_team_is_refused(identifier: str, properties: Document, path: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^{path}: "):
        said_of_team(None, written(TEAM, identifier, properties=properties))


def test_only_admins_write_people_as_entities() -> None:
    admin = somebody(roles=("Admin",))
    for allowed in (None, Caller("org", "c", machine=True), Caller("org", "c", user=admin)):
        require_may_write(USER, allowed)
    for refused in (Caller("org", "c", user=somebody()), Caller("org", "c", machine=True, run_id="r_1")):
        with pytest.raises(Forbidden, match="_user"):
            require_may_write(USER, refused)


@pytest.mark.parametrize("identifier", NAMES)
def test_a_system_blueprint_is_extended_and_keeps_what_is_the_systems(identifier: str) -> None:
    shipped = structure(identifier)
    assert shipped is not None
    assert extended(shipped) is shipped
    assert upgraded(shipped) is shipped
    mine: Document = {"type": "number", "title": "Mine"}
    bare: Document = {"identifier": identifier, "title": "Other", "schema": {"properties": {"mine": mine}}}
    made = extended(bare)
    parsed(made)
    assert made["title"] == "Other"
    assert extended(made) is made
    for part in ("relations", "mirrorProperties", "calculationProperties", "aggregationProperties"):
        assert made[part] == shipped[part]
    assert made["schema"].get("required", []) == shipped["schema"]["required"]  # type: ignore[index, union-attr, call-overload]
    properties = made["schema"]["properties"]  # type: ignore[index, call-overload]
    assert properties == {"mine": mine, **shipped["schema"]["properties"]}  # type: ignore[index, call-overload, dict-item]
    assert bare["schema"] == {"properties": {"mine": mine}}, "what was handed in is as it was"


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"schema": {"properties": {"status": {"type": "number"}}}}, "schema.properties.status.type"),
        ({"schema": {"properties": {"status": {"enum": ["Active"]}}}}, "schema.properties.status.enum"),
        ({"schema": {"properties": {"status": {"pattern": "x"}}}}, "schema.properties.status.pattern"),
        ({"schema": {"properties": {"status": None}}}, "schema.properties.status"),
        ({"relations": {"teams": {"target": "service"}}}, "relations.teams.target"),
        ({"relations": {"teams": {"many": False}}}, "relations.teams.many"),
        ({"relations": {"teams": {"required": True}}}, "relations.teams.required"),
    ],
)
def test_the_system_part_cannot_change(change: Document, path: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^{path}: is a part of the system blueprint"):
        extended({"identifier": USER, **change})
    assert extended({**change, "identifier": "service"}) == {**change, "identifier": "service"}


def test_how_the_system_part_looks_can_change() -> None:
    looks: Document = {"title": "State", "icon": "X", "description": "d", "enumColors": {"Active": "lime"}}
    document: Document = {
        "identifier": USER,
        "schema": {"properties": {"status": {**looks, "type": "string", "pattern": None}}},
        "relations": {"teams": {"title": "Squads", "target": "_team"}},
    }
    made: Any = extended(document)
    assert made["schema"]["properties"]["status"] | looks == made["schema"]["properties"]["status"]
    assert made["relations"]["teams"] == {"title": "Squads", "target": "_team", "required": False, "many": True}
    assert upgraded(made) is made, "and stays when the product is started again"


def test_an_upgrade_takes_the_keys_that_are_the_systems_now() -> None:
    stored: Any = copy.deepcopy(structure(USER))
    del stored["schema"]["properties"]["port_email"], stored["relations"]["teams"]
    stored["schema"]["properties"]["status"] = {"type": "number", "title": "Mine"}
    stored["mirrorProperties"] = {"port_email": {"path": "x.y"}, "other": {"path": "teams.$title"}}
    stored["schema"]["properties"]["cost"] = {"type": "number"}
    made: Any = upgraded(stored)
    shipped: Any = structure(USER)
    parsed(made)
    expected = shipped["schema"]["properties"] | {"cost": {"type": "number"}}
    expected["status"] |= {"title": "Mine"}
    assert made["schema"]["properties"] == expected
    assert made["relations"] == shipped["relations"]
    assert made["mirrorProperties"] == {"other": {"path": "teams.$title"}}
    assert upgraded(made) is made


@pytest.mark.parametrize("document", [{}, {"identifier": 1}, {"identifier": ["_user"]}, {"identifier": "service"}])
def test_what_is_no_system_blueprint_stays_as_it_is(document: Document) -> None:
    assert extended(document) is document
    assert upgraded(document) is document


@pytest.mark.parametrize("schema", [1, [], {"properties": []}, {"properties": {"x": 1}}])
def test_what_is_no_blueprint_is_left_to_the_parser(schema: Any) -> None:
    with pytest.raises(InvalidRequest, match="schema"):
        parsed(extended({"identifier": USER, "schema": schema}))


def test_names_that_begin_with_an_underscore_are_the_systems() -> None:
    for name in ("service", "a_b", *map(str, NAMES)):
        require_own_name(name)
    with pytest.raises(InvalidRequest, match="identifier: must not begin with _"):
        require_own_name("_mine")
    require_deletable("service")
    for name in map(str, NAMES):
        assert is_system(name)
        with pytest.raises(Forbidden, match=name):
            require_deletable(name)
