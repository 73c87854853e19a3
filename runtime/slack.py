"""Slack: whether a request is Slack's, who somebody is there, and what is told to them later."""

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import httpx
import regex
from pydantic import JsonValue
from slack_sdk.signature import Clock, SignatureVerifier
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from domain.documents import Document
from domain.errors import Forbidden, InvalidRequest, Unauthenticated, Unavailable
from runtime.chat_people import Remembered, asked

log = logging.getLogger(__name__)

TIMESTAMP, SIGNATURE = "x-slack-request-timestamp", "x-slack-signature"

_CLOUDS = ("slack.com", "slack-gov.com")
_USER = regex.compile(r"[UW][A-Z0-9]{2,30}")
_ATTEMPTS = 3
_OURS_TO_MEND = ("invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "missing_scope")


class Slack:
    """One workspace, through the app that is installed in it."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        signing_secret: str,
        bot_token: str,
        team_id: str | None,
        api_url: str,
        now: Callable[[], datetime],
    ) -> None:
        self._http = http
        self._verifier = SignatureVerifier(signing_secret, _Clock(now))
        self._authorization = {"Authorization": f"Bearer {bot_token}"}
        self._team_id = team_id
        self._api_url = api_url
        self._answers = _where_answers_go(httpx.URL(api_url))
        self._known = Remembered()

    def require_signature(self, headers: Mapping[str, str], body: bytes) -> datetime:
        """When Slack signed exactly these bytes, not more than five minutes ago.

        Raises:
            Unauthenticated: it did not.
        """
        timestamp, signature = headers.get(TIMESTAMP), headers.get(SIGNATURE)
        if timestamp is None or signature is None:
            raise Unauthenticated(
                "the request is not signed: X-Slack-Request-Timestamp and X-Slack-Signature are missing"
            )
        try:
            genuine = self._verifier.is_valid(body, timestamp, signature)
            signed_at = datetime.fromtimestamp(int(timestamp), UTC)
        except (ValueError, TypeError, OverflowError, OSError):  # no number, no UTF-8, no ASCII
            genuine = False
        if not genuine:
            raise Unauthenticated("the request is not signed by Slack, or was signed more than five minutes ago")
        return signed_at

    def require_answerable(self, response_url: str) -> None:
        """Nothing, if the address is one where Slack takes answers: whatever a payload says, we call nobody else.

        Raises:
            InvalidRequest: it is another one.
        """
        try:
            url = httpx.URL(response_url)
        except (httpx.InvalidURL, TypeError, ValueError):
            url = httpx.URL()
        if _origin(url) != self._answers or url.userinfo:
            raise InvalidRequest("response_url: is no address of Slack")

    async def email_of(self, user_id: str, team_id: str | None) -> str:
        """The confirmed email address of a person of the workspace, as Slack itself tells it.

        Raises:
            Forbidden: they are no such person.
            Unavailable: Slack does not say.
        """
        workspace = await self._workspace()
        if team_id is not None and team_id != workspace:
            raise Forbidden("only people of the connected Slack workspace may do this, and you are of another one")
        if not _USER.fullmatch(user_id):
            raise Forbidden("Slack does not know you")
        if (known := self._known.get(user_id)) is not None:
            return known
        answer = await self._asked("users.info", {"user": user_id})
        email = _confirmed(answer.get("user"), user_id, workspace)
        self._known.put(user_id, email)
        return email

    async def tell(self, response_url: str, message: Document) -> bool:
        """Send what is to be read where the request came from; whether Slack takes it. If not, the log tells why.

        Raises:
            InvalidRequest: the address is none of Slack's.
        """
        self.require_answerable(response_url)
        attempts = AsyncRetrying(
            retry=retry_if_exception_type(Unavailable),
            wait=wait_exponential(multiplier=0.2, max=2),
            stop=stop_after_attempt(_ATTEMPTS),
            reraise=True,
        )

        async def once() -> int:
            status, _ = await asked(self._http, "Slack", "POST", response_url, json=message)
            if status == 429 or status >= 500:
                raise Unavailable(f"Slack answers {status}")
            return status

        try:
            status: int = await attempts(once)
        except Unavailable as fault:
            log.warning("slack did not take an answer", extra={"cause": str(fault)})
            return False
        if status != 200:
            log.warning("slack did not take an answer", extra={"cause": f"status {status}"})
        return status == 200

    async def _workspace(self) -> str:
        if self._team_id is None:
            team_id = (await self._asked("auth.test", {})).get("team_id")
            if not isinstance(team_id, str) or not team_id:
                raise Unavailable("Slack does not say which workspace the bot token is of")
            self._team_id = team_id
        return self._team_id

    async def _asked(self, method: str, arguments: dict[str, str]) -> Document:
        status, answer = await asked(
            self._http, "Slack", "POST", f"{self._api_url}/{method}", data=arguments, headers=self._authorization
        )
        if not isinstance(answer, dict) or status != 200:
            raise Unavailable(f"Slack answers {status} to {method}; nothing was done, so try again")
        if answer.get("ok") is True:
            return answer
        error = str(answer.get("error"))[:100]
        if error in ("user_not_found", "user_not_visible", "users_not_found"):
            raise Forbidden("Slack does not know you")
        if error in _OURS_TO_MEND:
            log.error("slack refuses our bot token", extra={"call": method, "cause": error})
        raise Unavailable(f"Slack does not say who you are ({error}); nothing was done")


class _Clock(Clock):
    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now

    def now(self) -> float:
        return self._now().timestamp()


def _confirmed(user: JsonValue, user_id: str, workspace: str) -> str:
    """The email address in what Slack says about a user.

    Raises:
        Forbidden: the user is not one whose word counts. What Slack does not say counts as a no.
    """
    if not isinstance(user, dict) or user.get("id") != user_id:
        raise Forbidden("Slack does not know you")
    if user.get("team_id") != workspace or user.get("is_stranger") is True:
        raise Forbidden("only people of the connected Slack workspace may do this, and you are of another one")
    if user.get("deleted") is not False or user.get("is_bot") is not False or user.get("is_app_user") is True:
        raise Forbidden("only people with an active account may do this, no bots")
    if user.get("is_email_confirmed") is not True:
        raise Forbidden("your email address is not confirmed in Slack")
    profile = user.get("profile")
    email = profile.get("email") if isinstance(profile, dict) else None
    if not isinstance(email, str) or not email:
        raise Forbidden("Slack does not tell your email address: the app needs the scope users:read.email")
    return email


def _where_answers_go(api: httpx.URL) -> tuple[str, str, int | None]:
    """Where Slack takes answers; another API than Slack's (a proxy, a test) takes them at its own address."""
    for cloud in _CLOUDS:
        if api.host == cloud or api.host.endswith(f".{cloud}"):
            return "https", f"hooks.{cloud}", None
    return _origin(api)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
