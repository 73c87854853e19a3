"""Microsoft Teams: whether a request is of our outgoing webhook, and who somebody is in the tenant."""

import hmac
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import datetime, timedelta
from urllib.parse import quote

import httpx
import regex
from pydantic import JsonValue

from domain.errors import Forbidden, Unauthenticated, Unavailable
from runtime.chat_people import Remembered, asked

TOLERANCE = timedelta(minutes=5)

_OBJECT_ID = regex.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_FIELDS = "id,mail,userPrincipalName,accountEnabled,userType"
_EARLY_SECONDS = 60.0
"""How long before its end a token counts as old."""


class Teams:
    """One outgoing webhook, and the tenant that it is in."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        security_token: str,
        tenant_id: str,
        client_id: str,
        client_secret: str,
        login_url: str,
        graph_url: str,
        now: Callable[[], datetime],
    ) -> None:
        self._http = http
        self._key = b64decode(security_token)
        self._tenant_id = tenant_id
        self._credentials = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": client_secret,
            "scope": f"{_origin(graph_url)}/.default",
        }
        self._token_url = f"{login_url}/{quote(tenant_id, safe='')}/oauth2/v2.0/token"
        self._graph_url = graph_url
        self._now = now
        self._token, self._token_until = "", 0.0
        self._known = Remembered()

    def require_signature(self, authorization: str, body: bytes) -> None:
        """Nothing, if the header signs exactly these bytes with the webhook's security token.

        Raises:
            Unauthenticated: it does not.
        """
        scheme, _, signature = authorization.strip().partition(" ")
        expected = b64encode(hmac.digest(self._key, body, "sha256"))
        if scheme.upper() != "HMAC" or not hmac.compare_digest(expected, signature.strip().encode(errors="replace")):
            raise Unauthenticated("the request is not signed by the outgoing webhook: Authorization: HMAC <signature>")

    def require_recent(self, sent_at: datetime) -> None:
        """Nothing, if what was signed is not more than five minutes old.

        Raises:
            Unauthenticated: it is.
        """
        if abs(self._now() - sent_at) > TOLERANCE:
            raise Unauthenticated("the request was sent more than five minutes ago")

    async def email_of(self, object_id: str, tenants: frozenset[str]) -> str:
        """The email address of a member of the tenant, as Microsoft Graph tells it.

        Args:
            object_id: of the user in Entra ID, as the signed message has it.
            tenants: every tenant that the message names; there must be one.

        Raises:
            Forbidden: they are no such person.
            Unavailable: Graph does not say.
        """
        if {tenant.casefold() for tenant in tenants} != {self._tenant_id.casefold()}:
            raise Forbidden("only people of the connected tenant may do this, and you are of another one")
        if not _OBJECT_ID.fullmatch(object_id):
            raise Forbidden("Microsoft Graph does not know you")
        object_id = object_id.lower()
        if (known := self._known.get(object_id)) is not None:
            return known
        email = _member(await self._user(object_id), object_id)
        self._known.put(object_id, email)
        return email

    async def _user(self, object_id: str) -> JsonValue:
        status, answer = await asked(
            self._http,
            "Microsoft Graph",
            "GET",
            f"{self._graph_url}/users/{object_id}",
            params={"$select": _FIELDS},
            headers={"Authorization": f"Bearer {await self._access_token()}"},
        )
        if status == 404:
            raise Forbidden("Microsoft Graph does not know you")
        if status != 200:
            if status == 401:
                self._token_until = 0.0
            raise Unavailable(f"Microsoft Graph does not say who you are (status {status}); nothing was done")
        return answer

    async def _access_token(self) -> str:
        if time.monotonic() < self._token_until:
            return self._token
        status, answer = await asked(self._http, "Microsoft's login", "POST", self._token_url, data=self._credentials)
        token = answer.get("access_token") if isinstance(answer, dict) else None
        lifetime = answer.get("expires_in") if isinstance(answer, dict) else None
        if status != 200 or not isinstance(token, str) or not isinstance(lifetime, int | float):
            raise Unavailable(f"Microsoft's login gives no token (status {status}); nothing was done")
        self._token, self._token_until = token, time.monotonic() + lifetime - _EARLY_SECONDS
        return token


def _member(user: JsonValue, object_id: str) -> str:
    """The email address in what Graph says about a user.

    Raises:
        Forbidden: the user is not one whose word counts. What Graph does not say counts as a no.
    """
    if not isinstance(user, dict) or str(user.get("id")).lower() != object_id:
        raise Forbidden("Microsoft Graph does not know you")
    if user.get("accountEnabled") is not True:
        raise Forbidden("only people with an active account may do this")
    if user.get("userType") != "Member":  # the address of a guest is the word of another tenant
        raise Forbidden("only members of the connected tenant may do this, and you are a guest there")
    email = user.get("mail") or user.get("userPrincipalName")
    if not isinstance(email, str):
        raise Forbidden("Microsoft Graph does not tell your email address")
    return email


def _origin(url: str) -> str:
    parsed = httpx.URL(url)
    return f"{parsed.scheme}://{parsed.netloc.decode()}"
