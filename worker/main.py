"""The Temporal worker: it runs workflows and activities, and the relay and work on the catalog beside them."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from importlib.metadata import version

import httpx
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker, WorkflowRunner

import backends
from activities.cancelling import CancelActivity
from activities.changelog import ChangelogActivity
from activities.invocation import InvocationActivity
from activities.look_ups import LookUpWork
from activities.notifications import NotificationActivity
from activities.runs import RunActivities
from activities.schedules import ScheduleActivities
from activities.services import Mail, Services
from activities.timers import TimerActivities
from backends._topics import CHANGES, RUNS, topic
from backends.base import Producer
from domain.jq import Evaluator
from domain.smtp import SmtpServer, mailbox
from domain.users import Caller
from runtime.clock import now
from runtime.driver import RunDriver
from runtime.egress import open_transport
from runtime.jq_pool import jq_pool
from runtime.keys import KeyFault
from runtime.organization import Organization, wait_for_organization
from runtime.settings import Settings
from runtime.tasks import unless
from runtime.temporal import connect
from runtime.tokens import Claims, Tokens
from store.bell import CHANNEL, TURNS, across_processes
from store.database import Database
from worker.automations import Automations
from worker.catalog_migrations import CatalogMigrations
from worker.changelog import ChangeDeliveries
from worker.look_ups import LookUps
from worker.relay import Relay
from worker.resources import open_kafka, resources
from worker.schedules import Schedules
from worker.timers import TimerRelay
from worker.topics import Topics
from worker.turns import TurnCalls
from workflows.action_run import ActionRun
from workflows.calls import SILENCE
from workflows.change_delivery import ChangeDelivery
from workflows.entity_timer import EntityTimer
from workflows.scheduled_run import ScheduledRun

log = logging.getLogger(__name__)

_TOKEN_SPARE = timedelta(minutes=1)
_HEARTBEATS_AT_MOST_EVERY = timedelta(seconds=2)
_RETRY_SECONDS = 2.0


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """`interlock worker`: run until `stop` is set. Waits for SQL and Temporal instead of failing without them."""
    backends.tell()
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(settings.database_url))
        organization = await unless(stop, wait_for_organization(settings, database))
        client = await unless(stop, _connected(settings))
        if organization is None or client is None:
            return
        evaluate = await stack.enter_async_context(jq_pool(settings))
        driver = await stack.enter_async_context(RunDriver(client, database, settings))
        await work(settings, stop, client, database, evaluate, driver, organization)


async def work(
    settings: Settings,
    stop: asyncio.Event,
    client: Client,
    database: Database,
    evaluate: Evaluator,
    driver: RunDriver,
    organization: Organization,
    *,
    ready: asyncio.Event | None = None,
    alone: bool = False,
) -> None:
    """Poll the task queue and relay, with what the process has made, until `stop` is set.

    `alone` says that no other worker lives as long as this one does.
    """
    async with open_transport(settings) as http, open_kafka(settings) as kafka:
        given = services(settings, database, evaluate, organization, http, kafka)
        async with working(settings, client, given, alone=alone):
            looking = LookUps(LookUpWork(given), driver)
            topics = Topics(kafka, [topic(organization.id, name) for name in (RUNS, CHANGES)])
            beside = _beside(settings, client, database, driver, evaluate, organization, looking, topics)
            relay = asyncio.create_task(beside)
            log.info("worker started", extra={"task_queue": settings.task_queue})
            if ready:
                ready.set()
            stopped = asyncio.create_task(stop.wait())
            await asyncio.wait({relay, stopped}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            relay.cancel()
            if not stop.is_set():
                await relay  # it ended by itself, which only an error makes it do


async def _beside(
    settings: Settings,
    client: Client,
    database: Database,
    driver: RunDriver,
    evaluate: Evaluator,
    organization: Organization,
    looking: LookUps,
    topics: Topics,
) -> None:
    """What goes on beside workflows, until cancelled."""
    deliveries = ChangeDeliveries(client, database, settings, now)
    async with across_processes(database.url, {CHANNEL: database.bell, TURNS: database.turns}):
        await asyncio.gather(
            Relay(client, database, driver, now, retention=settings.audit_retention).run(),
            looking.run(),
            topics.run(),
            TurnCalls(database, driver, now).run(),
            CatalogMigrations(database, now, evaluate).run(),
            Schedules(client, database, now, task_queue=settings.task_queue).run(),
            TimerRelay(client, database, settings.task_queue, now).run(),
            deliveries.run(),
            Automations(database, driver, evaluate, deliveries, settings, organization.id, now).run(),
        )


def services(
    settings: Settings,
    database: Database,
    evaluate: Evaluator,
    organization: Organization,
    http: httpx.AsyncBaseTransport,
    kafka: Producer | None = None,
) -> Services:
    """What activities work with."""
    tokens = Tokens(settings.keys.token_keys, settings.access_token_lifetime)

    def access_token(run_id: str, depth: int) -> str:
        claims = Claims(organization.client_id, organization.id, machine=True, run_id=run_id, depth=depth)
        return tokens.issue(claims, at=now(), lifetime=settings.webhook_timeout + _TOKEN_SPARE)

    vault = settings.keys.vault

    def decrypt(closed: str) -> str | None:
        try:
            return vault.decrypt(closed)
        except KeyFault:
            return None

    return Services(
        database=database,
        evaluate=evaluate,
        resources=resources(settings, database, organization, http, decrypt, kafka),
        decrypt=decrypt,
        access_token=access_token,
        credentials=Caller(organization.id, organization.client_id, machine=True),
        attempts=settings.webhook_attempts,
        now=now,
        request_key=settings.keys.request_key,
        policy_fail_closed=settings.policy_fail_closed,
        public_url=settings.public_url,
        slack_buttons=settings.answers_slack,
        mail=_mail(settings),
    )


def _mail(settings: Settings) -> Mail | None:
    if settings.smtp_url is None or settings.smtp_from is None:
        return None
    from activities.mailer import Mailer  # only who sends emails loads the library

    return Mailer(SmtpServer.parse(settings.smtp_url.get_secret_value()), mailbox(settings.smtp_from))


@asynccontextmanager
async def working(
    settings: Settings,
    client: Client,
    services: Services,
    *,
    alone: bool = False,
    workflow_runner: WorkflowRunner | None = None,
) -> AsyncIterator[Worker]:
    """A worker that knows every workflow and activity. It ends when what it has begun is recorded.

    Tests run workflow code in the SDK's sandbox, which refuses what is not deterministic. Production does not: the
    sandbox executes the workflow's module again for every run, and finds nothing that the tests have not found.
    """
    of_runs, of_timers = RunActivities(services), TimerActivities(services)
    invocation = InvocationActivity(services, alone=alone)
    worker = Worker(
        client,
        task_queue=settings.task_queue,
        workflows=[ActionRun, ScheduledRun, ChangeDelivery, EntityTimer],
        activities=[
            invocation.begin_invocation,
            invocation.invoke_backend,
            NotificationActivity(services).ask_approvers,
            of_runs.close_approval,
            of_runs.close_run,
            CancelActivity(services).cancel_backend,
            of_runs.hear_operator,
            ScheduleActivities(services).fire_schedule,
            ChangelogActivity(services).deliver_change,
            of_timers.warn_of_timer,
            of_timers.expire_timer,
        ],
        workflow_runner=workflow_runner or UnsandboxedWorkflowRunner(),
        build_id=f"interlock@{version('interlock')}",  # else the SDK reads all modules there are, to make one up
        max_cached_workflows=settings.max_cached_workflows,
        # Workflow code runs in the event loop then: it takes less time than to hand it to a thread and back.
        debug_mode=True,
        max_workflow_task_external_storage_concurrency=1,  # payloads are not stored elsewhere
        # A delivery under way is finished first: nobody else should think that it has to be sent again.
        graceful_shutdown_timeout=settings.webhook_timeout + SILENCE,
        max_heartbeat_throttle_interval=_HEARTBEATS_AT_MOST_EVERY,
    )
    try:
        async with worker:
            yield worker
    finally:
        await invocation.finish()  # workflows do not always wait for what they have begun


async def _connected(settings: Settings) -> Client:
    while True:
        try:
            return await connect(settings)
        except RuntimeError as error:
            log.warning("worker waits for temporal", extra={"cause": str(error)[:200]})
            await asyncio.sleep(_RETRY_SECONDS)
