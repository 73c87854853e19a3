"""Who calls: access tokens, and the caller behind one."""

import hmac
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Security
from fastapi.security import APIKeyHeader
from pydantic import JsonValue

from api.errors import responses
from api.services import ApiServices, Now, Services, StrictRoute, services_of
from domain.causes import Cause as Cause
from domain.documents import Document
from domain.errors import Forbidden, Unauthenticated
from domain.models import Written
from domain.users import Caller as CallerValue
from runtime.tokens import Claims
from store import actions, users

router = APIRouter(route_class=StrictRoute, tags=["auth"])


class Credentials(Written):
    """A client id and its secret, of the organization or of a person."""

    client_id: str
    client_secret: str


@router.post("/v1/auth/access_token", responses=responses())
async def create_access_token(credentials: Credentials, services: Services, now: Now) -> Document:
    """A token for the credentials; send it as `Authorization: Bearer <accessToken>`."""
    organization = services.organization
    if credentials.client_id == organization.client_id:
        known = hmac.compare_digest(
            credentials.client_secret.encode(errors="replace"), organization.client_secret.encode()
        )
        claims = Claims(organization.client_id, organization.id, machine=True) if known else None
    else:
        async with services.database.read() as session:
            user = await users.by_credentials(session, credentials.client_id, credentials.client_secret)
        claims = Claims(user.id, organization.id, machine=False) if user else None
    if claims is None:
        raise Unauthenticated("no such client id and secret")
    return {
        "ok": True,
        "accessToken": services.tokens.issue(claims, at=now),
        "expiresIn": int(services.tokens.lifetime.total_seconds()),
        "tokenType": "Bearer",
    }


class AuthenticatedRoute(StrictRoute):
    """A route for callers with an access token; without one nothing of the body is read."""

    def admit(self, request: Request) -> None:
        """Check the access token.

        Raises:
            Unauthenticated: there is none that we accept.
        """
        services = services_of(request)
        request.state.claims = _read(request.headers.get("authorization", ""), services)


def _read(authorization: str, services: ApiServices) -> Claims:
    scheme, _, token = authorization.strip().partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("no access token: send the header Authorization: Bearer <accessToken>")
    claims = services.tokens.read(token.strip())
    if claims.organization != services.organization.id:
        raise Unauthenticated("the access token is not one of ours: it is of another organization")
    return claims


_header = APIKeyHeader(
    name="Authorization", scheme_name="accessToken", description="`Bearer <accessToken>`", auto_error=False
)


def cause_of(request: Request, services: ApiServices) -> Cause:
    """The run whose backend sent the request, where anybody may send one and says who they are if they like."""
    try:
        claims = _read(request.headers.get("authorization", ""), services)
    except Unauthenticated:
        return Cause()
    return Cause(claims.run_id, claims.depth)


async def _caller(request: Request, _: Annotated[str | None, Security(_header)]) -> CallerValue:
    services = services_of(request)
    claims: Claims = request.state.claims
    if claims.machine:
        if claims.subject != services.organization.client_id:
            raise Unauthenticated("the access token is not one of ours: its credentials are gone")
        return CallerValue(claims.organization, claims.subject, machine=True, run_id=claims.run_id)
    async with services.database.read() as session:
        user = await users.get(session, claims.subject)
    if user is None or user.status != "ACTIVE":
        raise Unauthenticated("the person this access token was given to is not active any more")
    return CallerValue(claims.organization, claims.subject, user=user, run_id=claims.run_id)


async def _cause(request: Request) -> Cause:
    claims: Claims = request.state.claims
    return Cause(claims.run_id, claims.depth)


Caller = Annotated[CallerValue, Depends(_caller)]
CausedBy = Annotated[Cause, Depends(_cause)]
"""The run on whose behalf a request was made, when the token was given to its backend."""


async def _admin(caller: Caller, cause: CausedBy) -> CallerValue:
    if cause.run_id:
        # A template may lead a backend's call astray; it must not end up changing definitions or secrets.
        raise Forbidden(f"this access token was given to the backend of run {cause.run_id}, which may not do this")
    if not caller.is_admin:
        raise Forbidden(f"only Admins and the organization's credentials may do this, and {caller.name} is neither")
    return caller


AdminCaller = Annotated[CallerValue, Depends(_admin)]


async def list_permissions(caller: Caller, services: Services) -> Document:
    """The actions the caller may execute, as `execute:actions:<identifier>`.

    It is `execute:team_entities:actions:<identifier>` where they may on the entities of their teams only.
    """
    async with services.database.read() as session:
        found = await actions.of_self_service(session)
    scopes = (rules.scope(identifier, caller) for identifier, rules in found)
    return {"ok": True, "permissions": list[JsonValue](sorted(filter(None, scopes)))}


router.add_api_route(
    "/v1/auth/permissions",
    list_permissions,
    methods=["GET"],
    responses=responses(),
    route_class_override=AuthenticatedRoute,  # the other route of this router is what tokens come from
)
