"""People and teams: who is here, what they are, and the credentials they get tokens with.

They are written at the moment their turn came, not when it was asked: the times of what is recorded go forward.
"""

import secrets
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query
from pydantic import JsonValue
from sqlmodel.ext.asyncio.session import AsyncSession

from api.auth import AdminCaller, AuthenticatedRoute, Caller, CausedBy
from api.errors import responses
from api.services import ApiServices, Services, words
from domain import teams as team_values
from domain import users as user_values
from domain.documents import Document
from domain.errors import Forbidden, HasDependents, IdentifierTaken, InvalidRequest, NotFound
from domain.identifiers import new
from domain.runs import Source
from domain.shapes import shortened
from domain.teams import Team, TeamPatch, TeamRequest
from domain.times import not_before
from domain.users import Invitation, User, UserPatch, once
from store import people_lock, teams, users

router = APIRouter(route_class=AuthenticatedRoute, tags=["people"])

_Result = TypeVar("_Result")

Fields = Annotated[list[str] | None, Query(description="What to tell, repeated or joined by commas; all by default.")]

_LISTS = ("teams", "roles", "users")
"""Fields that clients also ask for in part, `roles.name`; they get them whole."""


@router.get("/v1/users", responses=responses())
async def list_users(caller: Caller, services: Services, fields: Fields = None) -> Document:
    """All people, by email address."""
    wanted = _wanted(fields, user_values.FIELDS)
    async with services.database.read() as session:
        people = await users.everybody(session)
    return {"ok": True, "users": _projected((one.shown(services.organization.id) for one in people), wanted)}


@router.post("/v1/users/invite", responses=responses(Forbidden, IdentifierTaken, NotFound))
async def invite_user(body: Invitation, caller: AdminCaller, services: Services) -> Document:
    """Make a person. They get no credentials by this: rotate them, and nobody is notified."""
    invitee = body.invitee
    client_id, client_secret = _credentials()

    async def work(session: AsyncSession) -> None:
        await teams.require(session, once(invitee.teams))
        at = services.now()
        user = User(
            id=new("user"),
            email=invitee.email,
            roles=once(invitee.roles),
            teams=once(invitee.teams),
            created_at=at,
            updated_at=at,
        )
        await users.create(
            session, user, client_id=client_id, client_secret=client_secret, by=caller.id, origin=Source.API
        )

    await _alone(services, work)
    return {"ok": True}


@router.get("/v1/users/{user_email}", responses=responses(NotFound))
async def get_user(user_email: str, caller: Caller, services: Services) -> Document:
    """One person."""
    async with services.database.read() as session:
        user = await users.by_email(session, user_email)
    return {"ok": True, "user": user.shown(services.organization.id)}


@router.patch("/v1/users/{user_email}", responses=responses(Forbidden, NotFound))
async def patch_user(user_email: str, patch: UserPatch, caller: AdminCaller, services: Services) -> Document:
    """Replace the roles or the teams of a person; what is not named stays."""
    said = patch.said()

    async def work(session: AsyncSession) -> User:
        await teams.require(session, said.get("teams", ()))
        before = await users.by_email(session, user_email, to_change=True)
        user = before.revised(at=services.now(), **said)
        await users.replace(session, before, user, by=caller.id, origin=Source.API)
        return user

    user = await _alone(services, work)
    return {"ok": True, "user": user.shown(services.organization.id)}


@router.delete("/v1/users/{user_email}", responses=responses(Forbidden, NotFound, HasDependents))
async def delete_user(user_email: str, caller: AdminCaller, services: Services) -> Document:
    """Delete a person. Their access tokens end with this; what they did stays on record."""

    async def work(session: AsyncSession) -> None:
        user = await users.by_email(session, user_email, to_change=True)
        at = not_before(services.now(), user.updated_at)
        await users.remove(session, user, at=at, by=caller.id, origin=Source.API)

    await _alone(services, work)
    return {"ok": True}


@router.post("/v1/rotate-credentials/{user_email}", responses=responses(Forbidden, NotFound))
async def rotate_credentials(user_email: str, caller: Caller, cause: CausedBy, services: Services) -> Document:
    """New credentials for a person, told this once; the old ones give no more tokens. People may rotate their own."""
    if cause.run_id:
        raise Forbidden(f"this access token was given to the backend of run {cause.run_id}, which may not do this")
    if not (caller.is_admin or (caller.user and caller.user.is_called(user_email))):
        raise Forbidden(f"only Admins and the organization's credentials may do this for others than {caller.name}")
    client_id, client_secret = _credentials()

    async def work(session: AsyncSession) -> None:
        user = await users.by_email(session, user_email, to_change=True)
        await users.put_credentials(
            session,
            user,
            client_id=client_id,
            client_secret=client_secret,
            at=not_before(services.now(), user.updated_at),
            by=caller.id,
            origin=Source.API,
        )

    await _alone(services, work)
    return {"ok": True, "credentials": {"clientId": client_id, "clientSecret": client_secret}}


@router.get("/v1/teams", responses=responses())
async def list_teams(caller: Caller, services: Services, fields: Fields = None) -> Document:
    """All teams, by name, with something about each of their users."""
    wanted = _wanted(fields, team_values.FIELDS)
    async with services.database.read() as session:
        found, people = await teams.listed(session), await users.everybody(session)
    return {"ok": True, "teams": _projected((team.shown(people) for team in found), wanted)}


@router.post("/v1/teams", responses=responses(Forbidden, IdentifierTaken, NotFound))
async def create_team(body: TeamRequest, caller: AdminCaller, services: Services) -> Document:
    """Make a team of these users. Without `users`, whoever bears its name already is in it."""

    async def work(session: AsyncSession) -> tuple[Team, list[User]]:
        at = services.now()
        team = Team(id=new("team"), name=body.name, description=body.description, created_at=at, updated_at=at)
        return team, await teams.create(session, team, body.members(), by=caller.id, origin=Source.API)

    team, people = await _alone(services, work)
    return {"ok": True, "team": team.written(people)}


@router.get("/v1/teams/{name}", responses=responses(NotFound))
async def get_team(name: str, caller: Caller, services: Services) -> Document:
    """One team, with something about each of its users."""
    async with services.database.read() as session:
        team, people = await teams.get(session, name), await users.everybody(session)
    return {"ok": True, "team": team.shown(people)}


@router.put("/v1/teams/{name}", responses=responses(Forbidden, IdentifierTaken, NotFound))
async def replace_team(name: str, body: TeamRequest, caller: AdminCaller, services: Services) -> Document:
    """Replace the team: without `users` nobody is in it any more. Another `name` renames it, also for its users."""
    said = {"name": body.name, "description": body.description}
    return await _revised(name, said, body.users, caller, services)


@router.patch("/v1/teams/{name}", responses=responses(Forbidden, IdentifierTaken, NotFound))
async def patch_team(name: str, patch: TeamPatch, caller: AdminCaller, services: Services) -> Document:
    """Change what is named of the team; the rest stays. Another `name` renames it, also for its users."""
    return await _revised(name, patch.said(), patch.members(), caller, services)


@router.delete("/v1/teams/{name}", responses=responses(Forbidden, NotFound, HasDependents))
async def delete_team(name: str, caller: AdminCaller, services: Services) -> Document:
    """Delete the team, and take it from its users."""

    async def work(session: AsyncSession) -> None:
        team = await teams.get(session, name, to_change=True)
        await teams.remove(session, team, at=services.now(), by=caller.id, origin=Source.API)

    await _alone(services, work)
    return {"ok": True}


async def _alone(services: ApiServices, work: Callable[[AsyncSession], Awaitable[_Result]]) -> _Result:
    """What `work` makes of a transaction in which nobody else writes people or teams."""

    async def locked(session: AsyncSession) -> _Result:
        await people_lock.take(session)
        return await work(session)

    return await services.database.transact(locked)


async def _revised(
    name: str,
    said: dict[str, str | None],
    members: list[str] | None,
    caller: AdminCaller,
    services: Services,
) -> Document:
    async def work(session: AsyncSession) -> tuple[Team, list[User]]:
        before = await teams.get(session, name, to_change=True)
        after = before.model_copy(update=said)
        return await teams.replace(session, before, after, members, at=services.now(), by=caller.id, origin=Source.API)

    team, people = await _alone(services, work)
    return {"ok": True, "team": team.written(people)}


def _credentials() -> tuple[str, str]:
    return secrets.token_urlsafe(24), secrets.token_urlsafe(48)


def _wanted(fields: list[str] | None, known: Collection[str]) -> set[str]:
    """The fields to tell.

    Raises:
        InvalidRequest: names those that there are not.
    """
    asked = {field: field.partition(".") for field in words(fields)}
    unknown = [field for field, (name, dot, _) in asked.items() if name not in known or (dot and name not in _LISTS)]
    if unknown:
        raise InvalidRequest(f"fields: there is no {shortened(', '.join(unknown))}, only {', '.join(known)}")
    return {name for name, _, _ in asked.values()} or set(known)


def _projected(shown: Iterable[Document], wanted: set[str]) -> list[JsonValue]:
    return [{name: value for name, value in one.items() if name in wanted} for one in shown]
