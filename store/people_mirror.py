"""People and teams are also entities, of `_user` and `_team`: a write of one writes the other, in one transaction.

Where there are no such blueprints nothing happens: `store/system_blueprints.py` catches up when it makes them.
"""

from collections.abc import Collection
from datetime import datetime

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.causes import NO_RUN, Cause
from domain.entities import Author, Entity, Kind
from domain.errors import IdentifierTaken, NotFound
from domain.people_entities import MEMBERSHIP, TEAM, USER, email_of, identifier_of, name_of, of_team, of_user
from domain.teams import Team
from domain.times import not_before
from domain.users import User
from store import blueprints, entities, relations, scorecards
from store.entities import Writer
from store.tables import TeamRow

_DATASOURCE = "interlock"


def writer(*, at: datetime, by: str, origin: str, cause: Cause = NO_RUN) -> Writer:
    """On whose behalf an entity follows its person or team: who changed that, and the run that made them."""
    return Writer(Author(by, at, _DATASOURCE), origin, cause=cause)


async def put_user(session: AsyncSession, user: User, *, writer: Writer) -> None:
    """Make the entity what the person is; nothing happens when it is.

    Raises:
        IdentifierTaken: somebody else, of an address that no identifier can be, has that identifier.
    """
    kind = await kind_of(session, USER)
    if kind is None:
        return
    stored = await entities.find(session, USER, identifier_of(user.email), to_change=True)
    if stored and email_of(stored.entity) != user.email:
        raise IdentifierTaken("User", user.email)
    teams = await teams_called(session, user.teams)
    before = stored.entity if stored else None
    after = of_user(user, teams, before, kind, _following(writer.author, before))
    if stored:
        await entities.replace(session, kind, stored, after, writer=writer)
    else:
        await entities.create(session, kind, after, writer=writer)


async def remove_user(session: AsyncSession, user: User, *, writer: Writer) -> None:
    """Delete the entity of the person, if there is one.

    Raises:
        HasDependents: another entity must relate to it.
    """
    await _remove(session, USER, user.email, writer)


async def put_team(session: AsyncSession, before: Team | None, team: Team, *, writer: Writer) -> None:
    """Make the entity what the team is, which was `before`; nothing happens when it is.

    Raises:
        IdentifierTaken: another team, of a name that no identifier can be, has that identifier.
    """
    kind = await kind_of(session, TEAM)
    if kind is None:
        return
    stored = await entities.find(session, TEAM, identifier_of(before.name if before else team.name), to_change=True)
    if before and before.name != team.name:
        other = await entities.find(session, TEAM, identifier_of(team.name))
        taken = other is not None and (stored is None or other.id != stored.id)
    else:
        taken = stored is not None and name_of(stored.entity) != team.name
    if taken:
        raise IdentifierTaken("Team", team.name)
    known = stored.entity if stored else None
    was = before.name if before else team.name
    after = of_team(team, known, kind, _following(writer.author, known), was=was)
    if stored:
        await entities.replace(session, kind, stored, after, writer=writer)
    else:
        await entities.create(session, kind, after, writer=writer)


async def remove_team(session: AsyncSession, team: Team, *, writer: Writer) -> None:
    """Delete the entity of the team, if there is one.

    Raises:
        HasDependents: another entity must relate to it, besides those of people.
    """
    await _remove(session, TEAM, team.name, writer)


async def kind_of(session: AsyncSession, blueprint: str) -> Kind | None:
    """The blueprint as it stays until the transaction ends; None where there is none."""
    try:
        found = await blueprints.get(session, blueprint, to_use=True)
    except NotFound:
        return None
    return Kind(found.identifier, found.definition)


async def teams_called(session: AsyncSession, names: Collection[str]) -> dict[str, str]:
    """The names of those teams that there are, by the identifier of their entity."""
    if not names:
        return {}
    rows = await session.exec(select(TeamRow.name).where(col(TeamRow.name).in_(sorted(set(names)))))
    return {identifier_of(name): name for name in rows}


async def all_teams(session: AsyncSession) -> dict[str, str]:
    """The names of all teams, by the identifier of their entity."""
    return {identifier_of(name): name for name in await session.exec(select(TeamRow.name))}


def _following(author: Author, before: Entity | None) -> Author:
    """Who writes, after the entity was last written: they may have waited for that."""
    return author._replace(at=not_before(author.at, before.updated_at)) if before else author


async def _remove(session: AsyncSession, blueprint: str, name: str, writer: Writer) -> None:
    if await kind_of(session, blueprint) is None:
        return
    if stored := await entities.find(session, blueprint, identifier_of(name), to_change=True):
        for referrer, relation in await entities.referrers(session, stored.entity):
            if (referrer.entity.blueprint, relation) != MEMBERSHIP:
                await relations.require_free(session, stored.entity, referrer.entity, relation)
        await entities.remove(session, stored, writer=writer)
        await scorecards.forget(session, stored, writer=writer)
