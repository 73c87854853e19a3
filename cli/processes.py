"""What the commands run: the embedded product in one process, and the chores."""

import asyncio
import secrets
import socket
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta

from pydantic import TypeAdapter, ValidationError

import backends
from api.app import create_app
from api.serve import api_services, listen
from cli.errors import CannotStart
from domain.expectations import expected
from domain.identifiers import new
from domain.shapes import shortened
from domain.teams import TeamName
from domain.users import Email, User
from runtime.chat import Chat
from runtime.clock import now
from runtime.driver import RunDriver
from runtime.jq_pool import jq_pool
from runtime.organization import ensure_organization
from runtime.setting_types import Retention
from runtime.settings import Settings
from runtime.temporal import connect
from store import audit, users
from store.bell import CLAIMS, across_processes
from store.database import Database
from worker.main import work


async def embedded(
    settings: Settings,
    *,
    sockets: Sequence[socket.socket],
    stop: asyncio.Event,
    on_ready: Callable[[], None],
) -> None:
    """API, worker and relay in one loop with one Temporal client, which lets runs start without a detour."""
    backends.tell()
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(settings.database_url))
        organization = await ensure_organization(settings, database)
        client = await connect(settings)
        evaluate = await stack.enter_async_context(jq_pool(settings))
        driver = await stack.enter_async_context(RunDriver(client, database, settings, eager=True))
        working = asyncio.Event()
        worker = asyncio.create_task(
            work(settings, stop, client, database, evaluate, driver, organization, ready=working, alone=True)
        )
        chat = await stack.enter_async_context(Chat(settings))
        await stack.enter_async_context(across_processes(database.url, {CLAIMS: database.claims}))
        app = create_app(api_services(settings, database, client, driver, evaluate, organization, chat))
        serving = asyncio.create_task(listen(app, settings, sockets=sockets, stop=stop))
        ready = asyncio.create_task(working.wait())
        await asyncio.wait({worker, serving, ready}, return_when=asyncio.FIRST_COMPLETED)
        if working.is_set():
            on_ready()
        try:
            await asyncio.gather(worker, serving)
        finally:
            stop.set()
            ready.cancel()


async def credentials(settings: Settings) -> tuple[str, str]:
    """The organization's client id and secret; made if there are none."""
    async with Database(settings.database_url) as database:
        organization = await ensure_organization(settings, database)
    return organization.client_id, organization.client_secret


async def create_user(
    settings: Settings,
    email: str,
    *,
    roles: Sequence[str],
    teams: Sequence[str] = (),
    first_name: str = "",
    last_name: str = "",
) -> tuple[str, str]:
    """Make a person; their client id and secret, which nobody can read back later.

    Raises:
        CannotStart: it is no email address, or a team cannot be called so.
        IdentifierTaken: somebody has the email address.
    """
    at = now()
    user = User(
        id=new("user"),
        email=_email(email),
        first_name=first_name,
        last_name=last_name,
        roles=tuple(roles),
        teams=tuple(map(_team, teams)),
        created_at=at,
        updated_at=at,
    )
    client_id, client_secret = secrets.token_urlsafe(24), secrets.token_urlsafe(48)
    async with Database(settings.database_url) as database, database.write() as session:
        await users.create(session, user, client_id=client_id, client_secret=client_secret)
    return client_id, client_secret


def _email(value: str) -> str:
    try:
        return TypeAdapter[str](Email).validate_python(value)
    except ValidationError:
        raise CannotStart(f"{value} is no email address; write one such as ada@example.com.") from None


def _team(value: str) -> str:
    try:
        return TypeAdapter[str](TeamName).validate_python(value)
    except ValidationError as faults:
        raise CannotStart(
            f"--team {shortened(value)} is no name of a team: it {expected(faults.errors()[0])}."
        ) from None


def duration(option: str, value: str) -> timedelta:
    """The duration that an option of the command line names.

    Raises:
        CannotStart: it is none.
    """
    try:
        return TypeAdapter[timedelta](Retention).validate_python(value)
    except ValidationError:
        raise CannotStart(f"{option} {value} is no duration; write one in ISO 8601, such as P90D or PT12H.") from None


async def purge_audit(settings: Settings, *, older_than: timedelta) -> int:
    """Delete the audit records that are older; how many there were."""
    async with Database(settings.database_url) as database:
        return await audit.purge(database, before=now() - older_than)
