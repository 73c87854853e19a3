"""The API process: make what routes need, serve, stop cleanly."""

import asyncio
import contextlib
import socket
from collections.abc import Generator, Sequence
from contextlib import AsyncExitStack

import uvicorn
from fastapi import FastAPI
from temporalio.client import Client

import backends
from api.app import create_app
from api.form_options import form_turns
from api.services import ApiServices
from domain.jq import Evaluator
from runtime.chat import Chat
from runtime.clock import now
from runtime.driver import RunDriver
from runtime.explanations import Explainer
from runtime.jq_pool import jq_pool
from runtime.organization import Organization, wait_for_organization
from runtime.settings import Settings
from runtime.tasks import unless
from runtime.temporal import connect
from runtime.tokens import Tokens
from store.bell import CLAIMS, across_processes
from store.database import Database


async def serve(settings: Settings, *, sockets: Sequence[socket.socket] | None = None, stop: asyncio.Event) -> None:
    """`interlock api`: serve until `stop` is set. Waits for SQL; works without Temporal, which is told later."""
    backends.tell()
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(settings.database_url))
        organization = await unless(stop, wait_for_organization(settings, database))
        if organization is None:
            return
        client = await connect(settings, lazy=True)
        evaluate = await stack.enter_async_context(jq_pool(settings))
        driver = await stack.enter_async_context(RunDriver(client, database, settings))
        chat = await stack.enter_async_context(Chat(settings))
        await stack.enter_async_context(across_processes(database.url, {CLAIMS: database.claims}))
        services = api_services(settings, database, client, driver, evaluate, organization, chat)
        await listen(create_app(services), settings, sockets=sockets, stop=stop)


def api_services(
    settings: Settings,
    database: Database,
    client: Client,
    driver: RunDriver,
    evaluate: Evaluator,
    organization: Organization,
    chat: Chat,
) -> ApiServices:
    """What routes are handed."""
    return ApiServices(
        settings=settings,
        database=database,
        temporal=client,
        driver=driver,
        evaluate=evaluate,
        organization=organization,
        tokens=Tokens(settings.keys.token_keys, settings.access_token_lifetime),
        vault=settings.keys.vault,
        now=now,
        explain=Explainer(evaluate),
        form_turns=form_turns(settings.jq_processes),
        chat=chat,
        request_key=settings.keys.request_key,
    )


async def listen(
    app: FastAPI, settings: Settings, *, sockets: Sequence[socket.socket] | None, stop: asyncio.Event
) -> None:
    """Serve the app until `stop` is set, then finish the requests under way."""
    config = uvicorn.Config(
        app, host=settings.host, port=settings.port, loop="none", http="httptools", ws="none", lifespan="off",
        log_config=None, access_log=False, timeout_graceful_shutdown=10, server_header=False,
        timeout_keep_alive=75,  # longer than load balancers keep theirs, so that it is never us who hang up
    )  # fmt: skip
    server = _Server(config)
    app.state.stop = stop  # whoever waits for something to tell ends by it

    async def end() -> None:
        await stop.wait()
        server.should_exit = True

    ending = asyncio.create_task(end())
    try:
        await server.serve(sockets=list(sockets) if sockets else None)
    finally:
        ending.cancel()
        stop.set()


class _Server(uvicorn.Server):
    """A server that leaves signals to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture none."""
        yield
