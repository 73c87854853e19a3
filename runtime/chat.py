"""The chats of this process: those that are configured, and what goes on after an answer."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import SecretStr

from domain.errors import NotConfigured, Unavailable
from runtime.chat_people import client
from runtime.clock import now as clock
from runtime.microsoft_teams import Teams
from runtime.settings import PREFIX, Settings
from runtime.slack import Slack

log = logging.getLogger(__name__)

T = TypeVar("T")

_MOST_UNDER_WAY = 200
_PATIENCE_SECONDS = 20.0


class Chat:
    """Slack and Microsoft Teams. What was begun is finished before this is closed."""

    def __init__(self, settings: Settings, *, now: Callable[[], datetime] = clock) -> None:
        self._settings = settings
        self._now = now
        self._http: httpx.AsyncClient | None = None
        self._slack: Slack | None = None
        self._teams: Teams | None = None
        self._under_way: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        """The chats; nothing is asked of them yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish what is under way."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=_PATIENCE_SECONDS)
        for task in (left := list(self._under_way)):
            task.cancel()
        if left:
            log.error("work for a chat was not finished in time", extra={"tasks": len(left)})
            await asyncio.wait(left)
        if self._http is not None:
            await self._http.aclose()

    @property
    def slack(self) -> Slack:
        """Slack.

        Raises:
            NotConfigured: names the settings that are missing.
        """
        if self._slack is None:
            values = self._required("Slack", "slack_signing_secret", "slack_bot_token")
            self._slack = Slack(
                self._client(),
                signing_secret=values["slack_signing_secret"],
                bot_token=values["slack_bot_token"],
                team_id=self._settings.slack_team_id,
                api_url=self._settings.slack_api_url,
                now=self._now,
            )
        return self._slack

    @property
    def teams(self) -> Teams:
        """Microsoft Teams.

        Raises:
            NotConfigured: names the settings that are missing.
        """
        if self._teams is None:
            names = ("teams_security_token", "teams_tenant_id", "teams_client_id", "teams_client_secret")
            values = self._required("Microsoft Teams", *names)
            self._teams = Teams(
                self._client(),
                **{name.removeprefix("teams_"): values[name] for name in names},
                login_url=self._settings.teams_login_url,
                graph_url=self._settings.teams_graph_url,
                now=self._now,
            )
        return self._teams

    def begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin something that may go on after the request was answered.

        Raises:
            Unavailable: too much is under way already.
        """
        if len(self._under_way) >= _MOST_UNDER_WAY:
            work.close()
            raise Unavailable("too much is asked for at once; nothing was done, so try again")
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("work for a chat failed unexpectedly", exc_info=error)

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            self._http = client(self._settings)
        return self._http

    def _required(self, whom: str, *names: str) -> dict[str, str]:
        given = {name: _text(getattr(self._settings, name)) for name in names}
        # A blank one is none: nothing is signed with it.
        if missing := [f"{PREFIX}{name}".upper() for name, value in given.items() if not value]:
            raise NotConfigured(f"{whom} is not connected: {' and '.join(missing)} {_verb(missing)} not set")
        return given


def _text(value: SecretStr | str | None) -> str:
    return (value.get_secret_value() if isinstance(value, SecretStr) else value or "").strip()


def _verb(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"
