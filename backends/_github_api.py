"""GitHub's API for one repository: with which credentials, how often, and what its refusals mean."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Self

import httpx
import jwt
import regex
from pydantic import JsonValue

from backends._accounts import GitHubAccount
from backends._rest import Rest, RestAnswer, repeatable, segment
from backends.base import Resources
from domain.errors import BackendBusy, BackendRefused, BackendUnavailable
from domain.foreign import is_id, moment
from domain.secrets import Redactor

_HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
_UNAUTHORIZED, _NOT_FOUND = 401, 404
_SERVER = "x-github-enterprise-version"
"""What an Enterprise Server says in every answer; github.com does not."""
_VERSION = regex.compile(r"(?<![0-9.])(?P<major>[0-9]{1,4})\.(?P<minor>[0-9]{1,4})")
_NAMES_RUNS = (3, 21)
"""The first version of an Enterprise Server that says which workflow run it has dispatched."""
_PERMISSIONS: dict[str, JsonValue] = {"actions": "write", "metadata": "read"}
"""All that an App is asked for: to start, see and cancel workflow runs, and to read a repository's default branch."""

_JWT_LIFETIME, _CLOCKS_DIFFER = timedelta(minutes=10), timedelta(minutes=1)
_SPARE = timedelta(minutes=1)
"""How long before its end a token of an App is not used any more."""
_MOST_INSTALLATIONS = 1000

_MISSING = (
    "no credentials for GitHub: save the organization secret {secret}, or configure INTERLOCK_GITHUB_TOKEN, "
    "or a GitHub App"
)


@dataclass(slots=True)
class _Installation:
    """The App where it is installed, and its newest token. One at a time asks for another."""

    token: str = field(default="", repr=False)
    expires_at: datetime | None = None
    asking: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    def fresh(self, at: datetime) -> str | None:
        """The token, if it is still good."""
        return self.token if self.expires_at and at < self.expires_at - _SPARE else None


_INSTALLATIONS: dict[tuple[GitHubAccount, str], _Installation] = {}
"""By App and owner. Only what can be asked for again; each worker has its own."""


@dataclass(frozen=True, slots=True)
class Repository:
    """What has to be known of a repository to dispatch a workflow of it."""

    default_branch: str
    id: JsonValue = None
    owner_id: JsonValue = None
    remembered: bool = False
    """Whether this is what was so within the last minute, and may be out of date."""


@dataclass(slots=True)
class GitHubApi:
    """One repository, as one caller."""

    using: Resources = field(repr=False)
    org: str
    repo: str
    _token: str = field(default="", repr=False)
    _of_app: bool = False

    @classmethod
    async def opened(cls, using: Resources, org: str, repo: str) -> Self:
        """The repository, with the credentials that come first: the organization's secret, our token, our App.

        Raises:
            BackendFault: there are none, or GitHub gives no token for the App.
        """
        api = cls(using, org, repo)
        account = using.github
        if token := await using.secret(account.token_secret) or account.token:
            api._token = token.strip()
        elif account.app_id and account.app_private_key:
            api._token, api._of_app = await api._installation_token(), True
        else:
            raise BackendRefused(_MISSING.format(secret=account.token_secret))
        return api

    @property
    def path(self) -> str:
        """Where the repository is."""
        return f"/repos/{segment(self.org)}/{segment(self.repo)}"

    async def repository(self) -> Repository:
        """The repository as GitHub told of it within the last minute, else as it is now.

        Raises:
            BackendUnavailable: GitHub does not tell at the moment, or says when to ask again.
            BackendRefused: it is none of ours, or GitHub never can be asked.
        """
        known, system = self.using.known, self.using.github.api_url
        key = self.org.lower(), self.repo.lower(), self._token
        remembered: Repository | None = known.get(system, key, self.using.now())
        if remembered:
            return remembered
        answer = await self.get("")
        if not answer.accepted:
            raise BackendRefused(self.cause(answer))
        if not isinstance(answer.value, dict):  # somebody's page
            raise BackendRefused(
                "the answer tells of no repository; is INTERLOCK_GITHUB_API_URL the address of the API?"
            )
        branch = str(answer.get("default_branch") or "main")
        found = Repository(branch, answer.get("id"), answer.get("owner", "id"))
        known.learn(system, key, replace(found, remembered=True), self.using.now())
        return found

    def forget(self) -> None:
        """Ask GitHub before the next dispatch: something is not as it was, or GitHub does not answer as it should."""
        self.using.known.forget(self.using.github.api_url)

    async def get(self, path: str, **query: str | int) -> RestAnswer:
        """Ask for what is below the repository. It can be asked again, whatever happened.

        Raises:
            BackendUnavailable: GitHub does not tell at the moment, or says when to ask again.
            BackendRefused: it never can be asked.
        """
        return await self._repeatable("GET", f"{self.path}{path}", query)

    async def cancel(self, number: int) -> RestAnswer:
        """Ask for the end of a workflow run. That can be asked again as well.

        Raises:
            BackendUnavailable: GitHub does not say that it has heard it.
            BackendRefused: it never can be asked.
        """
        return await self._repeatable("POST", f"{self.path}/actions/runs/{number}/cancel")

    async def post(self, path: str, document: JsonValue = None) -> RestAnswer:
        """Send something below the repository.

        Raises:
            BackendUnavailable: GitHub has done nothing.
            Unconfirmed: it may have.
            BackendRefused: it cannot be asked.
        """
        return await self._request("POST", f"{self.path}{path}", document=document)

    async def actor(self) -> str | None:
        """As whom we start workflows; None if GitHub does not tell, as for tokens that are no person's.

        Raises:
            BackendUnavailable: it does not tell at the moment.
            BackendRefused: it never can be asked.
        """
        if self._of_app:
            slug = (await self._as_app("GET", "/app")).get("slug")
            return f"{slug}[bot]" if isinstance(slug, str) else None
        login = (await self._repeatable("GET", "/user")).get("login")
        return login if isinstance(login, str) else None

    @staticmethod
    def names_runs(answer: RestAnswer) -> bool:
        """Whether whoever has answered this says which workflow run comes of a dispatch."""
        found = _VERSION.search(answer.headers.get(_SERVER, ""))
        return found is None or (int(found["major"]), int(found["minor"])) >= _NAMES_RUNS

    def cause(self, answer: RestAnswer) -> str:
        """Why GitHub refused, in its own words, without the token."""
        text = answer.broken if answer.accepted and answer.broken else answer.cause
        if 300 <= answer.status < 400:
            text += " (redirects are not followed: write the present names of owner and repository into the action)"
        return Redactor([self._token]).text(text)

    async def _repeatable(self, method: str, path: str, query: Mapping[str, str | int] | None = None) -> RestAnswer:
        with repeatable():
            answer = await self._request(method, path, query=query)
        if answer.status >= 500 or (answer.accepted and answer.broken):
            raise BackendUnavailable(self.cause(answer))
        return answer

    async def _request(
        self, method: str, path: str, *, document: JsonValue = None, query: Mapping[str, str | int] | None = None
    ) -> RestAnswer:
        answer = await self._unless_limited(method, path, document, query)
        if answer.status != _UNAUTHORIZED or not self._of_app:
            return answer
        # Revoked, or suspended meanwhile. Nothing was done, so it may be said again.
        self._token = await self._installation_token(instead_of=self._token)
        return await self._rest(self._token).request(method, path, document=document, query=query)

    async def _unless_limited(
        self, method: str, path: str, document: JsonValue, query: Mapping[str, str | int] | None
    ) -> RestAnswer:
        """The answer; nothing is sent while a limit holds: GitHub bans who goes on asking.

        Source: "Best practices for using the REST API": a limit is for all requests of a caller, and those that follow
        it come one after the other.
        """
        known, system, now = self.using.known, self.using.github.api_url, self.using.now
        if wait := known.limit(system, self._token, now()):
            host, seconds = httpx.URL(system).host, round(wait.total_seconds())
            raise BackendBusy(f"{host} allows no more requests for {seconds} s", wait)
        try:
            return await self._rest(self._token).request(method, path, document=document, query=query)
        except BackendBusy as busy:
            known.limited(system, self._token, busy.retry_after, now())
            raise

    def _rest(self, token: str) -> Rest:
        headers = {**_HEADERS, "Authorization": f"Bearer {token}"}
        return Rest(url=self.using.github.api_url, using=self.using, headers=headers)

    async def _installation_token(self, *, instead_of: str | None = None) -> str:
        """A token of the App for the owner: the one of before as long as it is good, and is not the one refused."""
        key = (self.using.github, self.org.lower())
        if key not in _INSTALLATIONS and len(_INSTALLATIONS) >= _MOST_INSTALLATIONS:
            _INSTALLATIONS.clear()
        installation = _INSTALLATIONS.setdefault(key, _Installation())
        async with installation.asking:
            known = installation.fresh(self.using.now())
            if known is None or known == instead_of:
                installation.token, installation.expires_at = await self._issued()
            return installation.token

    async def _issued(self) -> tuple[str, datetime]:
        where = await self._as_app("GET", f"{self.path}/installation")
        number = where.get("id")
        if where.status == _NOT_FOUND or not is_id(number):
            raise BackendRefused(f"the GitHub App is not installed for {self.org}/{self.repo}")
        asked: JsonValue = {"permissions": _PERMISSIONS}
        answer = await self._as_app("POST", f"/app/installations/{number}/access_tokens", asked)
        until = moment(answer.get("expires_at"))
        match answer.get("token"):
            case str(token) if token and until and answer.accepted:
                return token, until
        raise BackendRefused(f"GitHub gives no token for the App: {answer.cause}")

    async def _as_app(self, method: str, path: str, document: JsonValue = None) -> RestAnswer:
        """Ask as the App itself. Whatever is asked here may be asked again."""
        signed = self._signed()
        with repeatable():
            answer = await self._rest(signed).request(method, path, document=document)
        cause = Redactor([signed]).text(answer.broken or answer.cause)
        if answer.status >= 500 or (answer.accepted and answer.broken):
            raise BackendUnavailable(cause)
        if answer.status == _UNAUTHORIZED:
            raise BackendRefused(f"GitHub does not accept the App: {cause}")
        return answer

    def _signed(self) -> str:
        """Who the App is, signed by it, for ten minutes from a minute ago: clocks differ."""
        account = self.using.github
        issued = self.using.now() - _CLOCKS_DIFFER
        claims: dict[str, Any] = {"iss": account.app_id, "iat": issued, "exp": issued + _JWT_LIFETIME}
        try:
            return jwt.encode(claims, account.app_private_key or "", algorithm="RS256")
        except (jwt.InvalidKeyError, ValueError, TypeError):
            raise BackendRefused(
                "the private key of the GitHub App cannot be read: it must be PEM of an RSA key"
            ) from None
