"""What routes are handed: everything impure, as arguments."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.routing import APIRoute
from starlette.responses import Response
from temporalio.client import Client

from domain import documents
from domain.identifiers import RunId, new
from domain.jq import Evaluator
from runtime.chat import Chat
from runtime.driver import RunDriver
from runtime.explanations import Explainer
from runtime.keys import Vault
from runtime.organization import Organization
from runtime.settings import Settings
from runtime.tokens import Tokens
from runtime.turns import Turns
from store.database import Database


@dataclass(frozen=True)
class ApiServices:
    """Made once per process, by `api/serve.py` or a test."""

    settings: Settings
    database: Database
    temporal: Client
    driver: RunDriver
    evaluate: Evaluator
    organization: Organization
    tokens: Tokens
    vault: Vault
    now: Callable[[], datetime]
    explain: Explainer
    form_turns: Turns
    """For forms that are shown; those that runs are asked for with take none."""
    chat: Chat
    request_key: bytes
    """Makes fingerprints of what runs would send."""


HIDDEN_SLASH = "\x00"
"""Stands for a `%2F` of the path until the router has taken it apart; no path that comes in has it."""


class StrictRoute(APIRoute):
    """A route whose JSON body is read by our own rules: no NaN, no NUL, no half characters, no deep nesting.

    An identifier in its path may have a slash, if the client sends it as `%2F`.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, behind the check of the body."""
        handle = super().get_route_handler()

        async def checked(request: Request) -> Response:
            named = request.scope["path_params"]
            request.scope["path_params"] = {part: with_slashes(value) for part, value in named.items()}
            self.admit(request)
            if body := await request.body():
                # Where Starlette keeps what it has parsed, so that it is not parsed again by looser rules.
                request._json = documents.parse(body)
            return await handle(request)

        return checked

    def admit(self, request: Request) -> None:
        """Refuse a request before its body is read."""


def with_slashes(value: str) -> str:
    """A path, or a part of one, with the slashes that `api.middleware.Door` has hidden from the router."""
    return value.replace(HIDDEN_SLASH, "/")


def services_of(request: Request) -> ApiServices:
    """What the application was made with, for whoever has only the request."""
    services: ApiServices = request.app.state.services
    return services


async def _services(request: Request) -> ApiServices:
    return services_of(request)


# Dependencies are coroutines because FastAPI runs plain functions in a thread, which costs more than they do. Those of
# every route take what they need from the request: for each that a dependency names, FastAPI goes through all again.
Services = Annotated[ApiServices, Depends(_services)]


async def _now(request: Request) -> datetime:
    return services_of(request).now()


async def _run_id() -> RunId:
    return RunId(new("r"))


Now = Annotated[datetime, Depends(_now)]
NewRunId = Annotated[RunId, Depends(_run_id)]


def words(values: list[str] | None) -> tuple[str, ...]:
    """A list in the query: repeated, joined by commas, or both."""
    return tuple(word for value in values or () for word in value.split(",") if word)
