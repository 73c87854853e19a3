"""The product for tests: the real API over ASGI, a real worker, real SQL, a real Temporal, a real backend."""

import asyncio
import functools
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import httpx
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from activities.look_ups import LookUpWork
from api.app import create_app
from api.serve import api_services
from backends import open_transport
from cli.processes import create_user
from domain.jq import Evaluator
from runtime.chat import Chat
from runtime.clock import now
from runtime.driver import RunDriver
from runtime.organization import Organization, ensure_organization
from runtime.settings import Settings
from store import claims
from store.database import Database
from tests.support.backend import FakeBackend
from tests.support.sandbox import Sandbox
from worker.automations import Automations
from worker.changelog import ChangeDeliveries
from worker.look_ups import LookUps
from worker.main import services, working
from worker.relay import Relay
from worker.resources import open_kafka

Json = dict[str, Any]

WATCHERS: list[Callable[[httpx.Response], Awaitable[None]]] = []
"""Told of every answer of the products that are made from now on."""


@dataclass
class Product:
    """Everything of one test. `api` is authenticated with the organization's credentials."""

    settings: Settings
    database: Database
    temporal: Client
    driver: RunDriver
    relay: Relay
    organization: Organization
    backend: FakeBackend
    api: httpx.AsyncClient
    look_ups: LookUps | None = None
    """Does nothing by itself; None without a worker."""

    async def token(self, client_id: str, client_secret: str) -> str:
        """An access token."""
        answer = await self.api.post(
            "/v1/auth/access_token", json={"clientId": client_id, "clientSecret": client_secret}
        )
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["accessToken"]
        return token

    async def person(self, email: str, *roles: str, teams: tuple[str, ...] = ()) -> httpx.Headers:
        """A new person; the headers they call with."""
        client_id, client_secret = await create_user(self.settings, email, roles=roles or ("Member",), teams=teams)
        return httpx.Headers({"Authorization": f"Bearer {await self.token(client_id, client_secret)}"})

    def automations(self, evaluate: Evaluator) -> Automations:
        """A relay of automations."""
        deliveries = ChangeDeliveries(self.temporal, self.database, self.settings, now)
        organization = self.organization.id
        return Automations(self.database, self.driver, evaluate, deliveries, self.settings, organization, now)

    def webhook(self, **more: Any) -> Json:
        """A synchronized WEBHOOK to the backend."""
        return {"type": "WEBHOOK", "url": f"{self.backend.url}/hook", "synchronized": True, "body": {}, **more}

    async def action(self, identifier: str = "deploy", inputs: Json | None = None, **more: Any) -> Json:
        """A new self-service action; by default one that calls the backend and waits for its answer."""
        document = {
            "identifier": identifier,
            "title": identifier.title(),
            "trigger": {
                "type": "self-service",
                "operation": "CREATE",
                "userInputs": {"properties": inputs or {}, "required": []},
            },
            "invocationMethod": self.webhook(),
            **more,
        }
        answer = await self.api.post("/v1/actions", json=document)
        assert answer.status_code == 200, answer.text
        action: Json = answer.json()["action"]
        return action

    async def entity(self, identifier: str = "cart", blueprint: str = "service", **more: Any) -> Json:
        """A new entity; its blueprint is made if it is missing."""
        path = f"/v1/blueprints/{blueprint}"
        if (await self.api.get(path)).status_code == 404:
            body: Json = {"identifier": blueprint, "title": blueprint.title(), "schema": {"properties": {}}}
            answer = await self.api.post("/v1/blueprints", json=body)
            assert answer.status_code == 201, answer.text
        answer = await self.api.post(f"{path}/entities", json={"identifier": identifier, **more})
        assert answer.status_code == 201, answer.text
        entity: Json = answer.json()["entity"]
        return entity

    async def start(self, action: str = "deploy", properties: Json | None = None, **how: Any) -> Json:
        """A new run."""
        answer = await self.api.post(f"/v1/actions/{action}/runs", json={"properties": properties or {}}, **how)
        assert answer.status_code == 202, answer.text
        run: Json = answer.json()["run"]
        return run

    async def get(self, run_id: str) -> Json:
        """The run as it stands."""
        answer = await self.api.get(f"/v1/actions/runs/{run_id}")
        assert answer.status_code == 200, answer.text
        run: Json = answer.json()["run"]
        return run

    async def until(self, run_id: str, *statuses: str, within: float = 20) -> Json:
        """The run, once it has one of the statuses; any that ends it by default."""
        wanted = statuses or ("SUCCESS", "FAILURE", "DECLINED")
        async with asyncio.timeout(within):
            while (run := await self.get(run_id))["status"] not in wanted:
                await asyncio.sleep(0.02)
        return run

    async def linked(self, run: Json) -> Json:
        """The run, once it is known what belongs to it at its backend."""
        async with asyncio.timeout(20):
            while not (now := await self.get(run["id"])).get("externalRunId"):
                assert now["status"] == "IN_PROGRESS", now
                await asyncio.sleep(0.02)
        return now

    async def looked_up(self, run: Json) -> Json:
        """The run, after its backend was asked about it."""
        async with self.database.write() as session:
            await claims.look_at(session, [run["id"]], datetime.now(UTC) - timedelta(seconds=1))
        assert self.look_ups
        await self.look_ups.look_up_all()
        return await self.get(run["id"])

    async def logs(self, run_id: str) -> list[str]:
        """The messages of the run's log."""
        answer = await self.api.get(f"/v1/actions/runs/{run_id}/logs")
        return [line["message"] for line in answer.json()["runLogs"]]


@asynccontextmanager
async def running(
    environment: WorkflowEnvironment,
    evaluate: Evaluator,
    database_url: str,
    *,
    worker: bool | Literal["alone"] = True,
    **settings: str,
) -> AsyncIterator[Product]:
    """The product over a Temporal; without a worker, runs are accepted and wait. One alone is in one process."""
    async with AsyncExitStack() as stack:
        backend = await stack.enter_async_context(FakeBackend())
        configured = Settings.from_environment(
            {
                "INTERLOCK_DATABASE_URL": database_url,
                "INTERLOCK_SECRET_KEY": "a master key for tests, long enough",
                "INTERLOCK_PUBLIC_URL": "http://interlock.test",
                "INTERLOCK_ALLOW_LOOPBACK_DESTINATIONS": "true",
                **{f"INTERLOCK_{name.upper()}": value for name, value in settings.items()},
            }
        )
        database = await stack.enter_async_context(Database(configured.database_url))
        organization = await ensure_organization(configured, database)
        client = environment.client
        driver = await stack.enter_async_context(RunDriver(client, database, configured, eager=worker == "alone"))
        chat = await stack.enter_async_context(Chat(configured))
        app = create_app(api_services(configured, database, client, driver, evaluate, organization, chat))
        transport = httpx.ASGITransport(app)
        api = await stack.enter_async_context(
            httpx.AsyncClient(
                transport=transport, base_url="http://interlock.test", event_hooks={"response": list(WATCHERS)}
            )
        )
        product = Product(
            configured,
            database,
            client,
            driver,
            Relay(client, database, driver, now),
            organization,
            backend,
            api,
        )
        token = await product.token(organization.client_id, organization.client_secret)
        api.headers["Authorization"] = f"Bearer {token}"
        if worker:
            http = await stack.enter_async_context(open_transport(_usual_roots()))
            kafka = await stack.enter_async_context(open_kafka(configured))
            given = services(configured, database, evaluate, organization, http, kafka)
            product.look_ups = LookUps(LookUpWork(given), driver)
            await stack.enter_async_context(
                working(configured, client, given, alone=worker == "alone", workflow_runner=Sandbox())
            )
            await stack.enter_async_context(_beside(product.automations(evaluate).run()))
        yield product


@functools.cache
def _usual_roots() -> ssl.SSLContext:
    """What a transport has by default; read once, as it takes longer than most tests."""
    return httpx.create_ssl_context()


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
