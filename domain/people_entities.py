"""People and teams as entities of `_user` and `_team`, and what a write of such an entity says about them.

What the entity does not say about the person or the team stays as it is, and what the blueprint has besides the system
part belongs to the entity alone. Everything here is pure.
"""

import hashlib
from collections.abc import Mapping
from typing import Final

import regex
from pydantic import JsonValue, TypeAdapter, ValidationError

from domain.documents import Document
from domain.entities import Author, Entity, EntityId, Kind
from domain.entity_schemas import defaults
from domain.errors import Forbidden, InvalidRequest
from domain.shapes import shortened
from domain.teams import MOST_DESCRIPTION, Team, TeamName
from domain.users import ADMIN, MEMBER, Caller, Email, Role, User

USER, TEAM = "_user", "_team"
MIRRORED: Final = frozenset({USER, TEAM})
"""The blueprints whose entities are people and teams."""
MEMBERSHIP: Final = (USER, "teams")
"""The relation that says in which teams somebody is."""

_STATUSES: Final = {"ACTIVE": "Active", "STAGED": "Staged", "INVITED": "Invited", "DISABLED": "Disabled"}
_TYPES: Final = {"STANDARD": "Standard", "SERVICE_ACCOUNT": "Service Account"}
_EMAIL, _TEAM_NAME, _ROLE = TypeAdapter[str](Email), TypeAdapter[str](TeamName), TypeAdapter[str](Role)
_FOREIGN = regex.compile(r"[^\p{L}0-9@_.+:\\/=-]")
_DIGEST = 10


def require_may_write(blueprint: str, caller: Caller | None) -> None:
    """Refuse a write of people and teams as entities to whom the routes of people refuse it; None is the product.

    Raises:
        Forbidden: the caller is no Admin, or the backend of a run.
    """
    if caller is None:
        return
    if caller.run_id:
        raise Forbidden(
            f"this access token was given to the backend of run {caller.run_id}, which may not write {blueprint}"
        )
    if not caller.is_admin:
        raise Forbidden(
            f"only Admins and the organization's credentials may write {blueprint}, and {caller.name} is neither"
        )


def identifier_of(name: str) -> EntityId:
    """The identifier of the entity of a person (by email address) or a team (by name): the name itself, if it can be.

    Otherwise what an identifier cannot have becomes `_`, and a digest of the name makes it unique.

    >>> str(identifier_of("Platform SRE"))
    'Platform_SRE-ee77faed1a'
    """
    try:
        return EntityId(name)
    except ValueError:
        digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST]
        return EntityId(f"{_FOREIGN.sub('_', name)}-{digest}")


def email_of(entity: Entity) -> str:
    """The email address of the person that the entity is."""
    return _real_name(entity, "port_email")


def name_of(entity: Entity) -> str:
    """The name of the team that the entity is."""
    return _real_name(entity, "port_name")


def title_of(user: User) -> str:
    """How the person is called."""
    return f"{user.first_name} {user.last_name}".strip() or user.email


def of_user(user: User, teams: Mapping[str, str], before: Entity | None, kind: Kind, author: Author) -> Entity:
    """The entity of the person; `before` itself when that is it already.

    `teams` are the teams there are by identifier of their entity: a person may bear names that no team has.
    """
    named = {name: identifier for identifier, name in teams.items()}
    return _entity(
        kind,
        before,
        author,
        identifier=identifier_of(user.email),
        title=title_of(user),
        properties={
            "port_email": user.email,
            "status": _STATUSES.get(user.status, user.status),
            "port_role": _role_of(user),
            "port_type": _TYPES.get(user.type, user.type),
        },
        relations={"teams": tuple(dict.fromkeys(named[name] for name in user.teams if name in named))},
    )


def of_team(team: Team, before: Entity | None, kind: Kind, author: Author, *, was: str) -> Entity:
    """The entity of the team, which was called `was`; `before` itself when that is it already.

    It keeps its title, unless that is only its name.
    """
    untitled = before is None or before.title in ("", before.identifier, was, identifier_of(was))
    properties: Document = {"port_name": team.name, "description": team.description}
    return _entity(
        kind,
        before,
        author,
        identifier=identifier_of(team.name),
        title=team.name if before is None or untitled else before.title,
        properties={key: value for key, value in properties.items() if value is not None},
        relations={},
        gone=() if team.description is not None else ("description",),
    )


def said_of_user(before: Entity | None, after: Entity, person: User | None) -> dict[str, str | tuple[str, ...]]:
    """What a write of the entity says about the person, besides teams; None before there is one.

    Raises:
        InvalidRequest: it says what nobody can be, or would give the person another email address.
    """
    email = email_of(before) if before else email_of(after)
    if after.identifier != identifier_of(email):
        raise InvalidRequest("identifier: a person keeps their email address")
    if (told := after.properties.get("port_email")) is not None and told != email:
        raise InvalidRequest(f"properties.port_email: must be {email}, which the identifier says")
    _valid(_EMAIL, email, "identifier", "is no email address")
    said: dict[str, str | tuple[str, ...]] = {} if person else {"email": email, "roles": (MEMBER,)}
    if (status := after.properties.get("status")) is not None:
        said["status"] = _key(_STATUSES, status, "status")
    if (kind := after.properties.get("port_type")) is not None:
        said["type"] = _key(_TYPES, kind, "port_type")
    role = after.properties.get("port_role")
    if role is not None and (person is None or role != _role_of(person)):
        said["roles"] = (_valid(_ROLE, role, "properties.port_role", f"is neither {ADMIN} nor {MEMBER}"),)
    if person is None or after.title != title_of(person):
        first, _, last = ("" if after.title in (after.identifier, email) else after.title.strip()).partition(" ")
        said |= {"first_name": first, "last_name": last}
    return said


def teams_said(after: Entity, person: User | None, teams: Mapping[str, str]) -> tuple[str, ...] | None:
    """The names of the person's teams as the entity says them; None when it says nothing new.

    `teams` are those there are by identifier. The names the person bears of teams that do not exist stay.
    """
    related = after.relations.get("teams")
    if not isinstance(related, tuple):
        return None
    known = set(teams.values())
    wanted = tuple(teams[identifier] for identifier in related if identifier in teams)
    borne = person.teams if person else ()
    if wanted == tuple(name for name in borne if name in known):
        return None
    return (*wanted, *(name for name in borne if name not in known))


def said_of_team(before: Entity | None, after: Entity) -> dict[str, str | None]:
    """The name, and the description if it says one, that a write of the entity gives the team.

    Raises:
        InvalidRequest: it is no name of a team, or another one than the identifier says.
    """
    known = name_of(before) if before else None
    told = after.properties.get("port_name")
    renamed = before is not None and after.identifier != before.identifier
    name: JsonValue
    if told is not None and told != known:
        name = told
    elif known is not None and not renamed:
        name = known
    else:
        name = str(after.identifier)
    where = "properties.port_name" if name == told else "identifier"
    text = _valid(
        _TEAM_NAME, name, where, "is no name of a team: 1 to 100 characters without a slash, not . and not .."
    )
    if identifier_of(text) != after.identifier:
        raise InvalidRequest(
            f"properties.port_name: {shortened(text)!r} is not what the identifier says; change that to rename the team"
        )
    said: dict[str, str | None] = {"name": text}
    if "description" in after.properties:
        description = after.properties["description"]
        if description is not None and not (isinstance(description, str) and len(description) <= MOST_DESCRIPTION):
            raise InvalidRequest(f"properties.description: must be text of at most {MOST_DESCRIPTION} characters")
        said["description"] = description
    return said


def _entity(
    kind: Kind,
    before: Entity | None,
    author: Author,
    *,
    identifier: EntityId,
    title: str,
    properties: Document,
    relations: dict[str, tuple[str, ...]],
    gone: tuple[str, ...] = (),
) -> Entity:
    kept = before.properties if before else defaults(kind.definition)
    after = Entity(
        identifier=identifier,
        title=title,
        icon=before.icon if before else None,
        blueprint=kind.identifier,
        team=before.team if before else (),
        properties={key: value for key, value in {**kept, **properties}.items() if key not in gone},
        relations={**(before.relations if before else {}), **relations},
        created_at=before.created_at if before else author.at,
        created_by=before.created_by if before else author.id,
        updated_at=author.at,
        updated_by=author.id,
        datasource=author.datasource,
    )
    return before if before and after.says_the_same(before) else after


def _real_name(entity: Entity, key: str) -> str:
    name = entity.properties.get(key)
    return name if isinstance(name, str) and identifier_of(name) == entity.identifier else str(entity.identifier)


def _role_of(user: User) -> str:
    return ADMIN if user.has_role(ADMIN) else next(iter(user.roles), MEMBER)


def _key(names: Mapping[str, str], value: JsonValue, where: str) -> str:
    for key, name in names.items():
        if name == value:
            return key
    raise InvalidRequest(f"properties.{where}: must be one of {', '.join(names.values())}")


def _valid(of: TypeAdapter[str], value: JsonValue, where: str, problem: str) -> str:
    try:
        return of.validate_python(value)
    except ValidationError:
        raise InvalidRequest(f"{where}: {shortened(repr(value))} {problem}") from None
