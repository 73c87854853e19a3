"""A write of an entity of `_user` or `_team` is a write of the person or the team, in one transaction."""

import secrets
from typing import Any, TypedDict

from sqlmodel.ext.asyncio.session import AsyncSession

from domain.causes import Cause
from domain.entities import Author, Entity
from domain.errors import IdentifierTaken, NotFound
from domain.identifiers import new
from domain.people_entities import (
    MIRRORED,
    TEAM,
    USER,
    email_of,
    name_of,
    of_team,
    of_user,
    require_may_write,
    said_of_team,
    said_of_user,
    teams_said,
)
from domain.teams import Team
from domain.times import not_before
from domain.users import User
from store import people_lock, people_mirror, teams, users
from store.database import Raced
from store.entities import Writer


class _By(TypedDict):
    """Who writes a person or a team, and why; not to be mirrored, because their entity is what is written."""

    by: str
    origin: str
    cause: Cause
    mirrored: bool


async def require(session: AsyncSession, before: Entity | None, after: Entity, *, writer: Writer) -> None:
    """Refuse an entity that no person or team can be; nothing is written. Of other blueprints everything may be.

    Raises:
        Forbidden: the writer may not write people and teams.
        InvalidRequest: it says what nobody can be; the message names the path.
        IdentifierTaken: somebody else has the email address, or another team the name.
    """
    if after.blueprint in MIRRORED:
        require_may_write(after.blueprint, writer.caller)
    if after.blueprint == USER:
        person = await _person(session, before)
        said_of_user(before, after, person)
        if person is None and await _somebody(session, email_of(after)):
            raise IdentifierTaken("User", email_of(after))
    elif after.blueprint == TEAM:
        team, name = await _team(session, before), str(said_of_team(before, after)["name"])
        if (team is None or team.name != name) and await _called(session, name):
            raise IdentifierTaken("Team", name)


async def follow(
    session: AsyncSession, before: Entity | None, after: Entity | None, *, writer: Writer
) -> Entity | None:
    """Write what the entity says to its person or team; the entity as it has to be stored then.

    To be called before the entity itself is written; when it is deleted, `after` is None. The answer is `before` itself
    when nothing is to be written, and `after` itself where the blueprint is not one of people or teams.

    Raises:
        Forbidden, InvalidRequest, IdentifierTaken: see `require`; nothing is written then.
        NotFound: it names a team that does not exist; nothing is written then.
        store.database.Raced: somebody else has just taken the email address or the name.
    """
    known = after or before
    if known is None or known.blueprint not in MIRRORED:
        return after
    await people_lock.take(session)  # unless whoever locked the entity has: they should, before that
    if after is None:
        require_may_write(known.blueprint, writer.caller)
        await _remove(session, known, writer)
        return None
    await require(session, before, after, writer=writer)
    try:
        write = _write_user if after.blueprint == USER else _write_team
        settled = await write(session, before, after, writer)
    except IdentifierTaken as taken:
        raise Raced(f"others write {taken.identifier!r} all the time; ask again") from None
    return before if before and settled.says_the_same(before) else settled


async def _write_user(session: AsyncSession, before: Entity | None, after: Entity, writer: Writer) -> Entity:
    author, by = _author(after, writer), _by(writer)
    person = await _person(session, before, to_change=True)
    values: dict[str, Any] = dict(said_of_user(before, after, person))
    there = await people_mirror.all_teams(session)
    related = after.relations.get("teams") or ()
    if unknown := [one for one in related if one not in there]:
        raise NotFound("Team", unknown[0])
    names = teams_said(after, person, there)
    if names is not None:
        await teams.require(session, set(names) & set(there.values()))
        values["teams"] = names
    if person is None:
        user = User(id=new("user"), created_at=author.at, updated_at=author.at, **values)
        # Nobody is told these credentials: an Admin rotates them, and hands those over.
        client_id, client_secret = secrets.token_urlsafe(24), secrets.token_urlsafe(48)
        await users.create(session, user, client_id=client_id, client_secret=client_secret, **by)
    else:
        user = person.revised(at=author.at, **values)
        await users.replace(session, person, user, **by)
    kind = await people_mirror.kind_of(session, USER)
    return of_user(user, there, after, kind, author) if kind else after


async def _write_team(session: AsyncSession, before: Entity | None, after: Entity, writer: Writer) -> Entity:
    author, by = _author(after, writer), _by(writer)
    known = await _team(session, before, to_change=True)
    values: dict[str, Any] = dict(said_of_team(before, after))
    if known is None:
        team = Team(id=new("team"), created_at=author.at, updated_at=author.at, **values)
        await teams.create(session, team, None, **by)
    else:
        wanted = known.model_copy(update=values)
        team, _ = await teams.replace(session, known, wanted, None, at=author.at, **by)
    kind = await people_mirror.kind_of(session, TEAM)
    was = known.name if known else team.name
    return of_team(team, after, kind, author, was=was) if kind else after


async def _remove(session: AsyncSession, entity: Entity, writer: Writer) -> None:
    at, by = writer.author.at, _by(writer)
    if entity.blueprint == USER:
        if person := await _person(session, entity, to_change=True):
            await users.remove(session, person, at=not_before(at, person.updated_at), **by)
    elif team := await _team(session, entity, to_change=True):
        await teams.remove(session, team, at=at, **by)


def _author(after: Entity, writer: Writer) -> Author:
    """Who writes, at the moment the entity says: that is later where they waited for another writer of it."""
    return writer.author._replace(at=max(writer.author.at, after.updated_at))


def _by(writer: Writer) -> _By:
    return {"by": writer.author.id, "origin": writer.origin, "cause": writer.cause, "mirrored": False}


async def _person(session: AsyncSession, entity: Entity | None, *, to_change: bool = False) -> User | None:
    """The person that the entity is; an address in another case is another entity's."""
    found = await _somebody(session, email_of(entity), to_change=to_change) if entity else None
    return found if found and entity and found.email == email_of(entity) else None


async def _team(session: AsyncSession, entity: Entity | None, *, to_change: bool = False) -> Team | None:
    return await _called(session, name_of(entity), to_change=to_change) if entity else None


async def _somebody(session: AsyncSession, email: str, *, to_change: bool = False) -> User | None:
    try:
        return await users.by_email(session, email, to_change=to_change)
    except NotFound:
        return None


async def _called(session: AsyncSession, name: str, *, to_change: bool = False) -> Team | None:
    try:
        return await teams.get(session, name, to_change=to_change)
    except NotFound:
        return None
