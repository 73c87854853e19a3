"""The one activity that does the work: render, send, and record what came of it."""

import asyncio
import contextlib
import dataclasses
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import httpx
from temporalio import activity
from temporalio.exceptions import ApplicationError
from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential

from activities.deliveries import Deliveries
from activities.receipts import failed, redacted, settle, unexpected
from activities.services import Services
from activities.upserts import upsert
from backends import parse_rendered
from backends.base import Delivery, EntityWrite, InvocationMethod, Receipt
from domain import contexts
from domain.actions import Action
from domain.errors import (
    BackendBusy,
    BackendRefused,
    BackendUnavailable,
    InterlockError,
    InvalidInvocation,
    Unavailable,
)
from domain.fingerprints import fingerprint
from domain.runs import Run, RunStatus
from domain.secrets import Redactor
from store import actions, approvals, runs
from workflows.calls import Progress

_HEARTBEAT_SECONDS = 3
_CHANGED = "What would be sent has changed since it was approved, and an earlier attempt may have been sent already"
_MOST_REFUSALS = 20
"""How often a backend may say that it is busy; it says itself when to ask again, up to an hour later."""


class InvocationActivity:
    """Delivers runs to their backends, each once, as long as this process lives."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._under_way: dict[str, asyncio.Task[Progress]] = {}
        self._failures: Counter[str] = Counter()
        """How often each run could not reach its backend; a worker that starts again counts anew, which is harmless."""
        self._refusals: Counter[str] = Counter()
        """How often its backend was busy."""
        self._deliveries = Deliveries(
            services.database,
            services.evaluate,
            services.decrypt,
            services.request_key,
            services.credentials.organization,
        )

    @activity.defn
    async def invoke_backend(self, run_id: str) -> Progress:
        """Render, send, and record what came of it; a run that has ended is left alone.

        One that would send something else than what was approved is not sent: it waits for approval again.

        Safe to run twice. When Temporal lost sight of a worker that lives and asks again, the second attempt joins the
        first, or finds in the row what became of it. Only when the worker died during the call is it repeated, with
        the run id as its idempotency key, as in every delivery.
        """
        task = self._under_way.get(run_id)
        if task is None:
            task = self._under_way[run_id] = asyncio.create_task(self._deliver(run_id))
            task.add_done_callback(lambda done: self._ended(run_id, done))
        async with _heartbeat():
            # Shielded: what was sent cannot be taken back, so it is recorded even if nobody waits for it any more.
            return await asyncio.shield(task)

    def _ended(self, run_id: str, task: asyncio.Task[Progress]) -> None:
        del self._under_way[run_id]
        if not task.cancelled():
            task.exception()  # seen, even if the attempt that waited for it was given up

    async def _deliver(self, run_id: str) -> Progress:
        async with self._services.database.read() as session:
            found = await runs.find(session, run_id)
            run = found.run
            action = await actions.version(session, found.action_id, run.interlock.action_version)
        if run.status is RunStatus.WAITING_FOR_APPROVAL:
            return Progress(status=run.status)
        if run.status is not RunStatus.IN_PROGRESS or found.delivered:
            self._failures.pop(run_id, None)
            return await self._record(run, Receipt())
        if starts_at := _too_early(run):
            return Progress(status=run.status, starts_at=starts_at)
        known, lines = set[str](), list[str]()
        try:
            plaintexts = await self._deliveries.secrets_of(action.template)
            known |= set(plaintexts.values())
            method, run = await self._rendered(run, action, plaintexts, lines)
            if method is None:
                # Not as it stands by now: approved again, it would look as if this attempt had sent it.
                return Progress(status=run.status)
            if run.status is not RunStatus.IN_PROGRESS:
                return await self._record(run, Receipt())  # it has ended meanwhile
            known |= set(_made_of(method) if plaintexts else ())
            if write := method.writes():
                return await self._upserted(run, write, lines)
            receipt = await self._sent(method, run, action, known)
        except BackendUnavailable as fault:
            failures = self._refusals if isinstance(fault, BackendBusy) else self._failures
            failures[run_id] += 1
            most = _MOST_REFUSALS if isinstance(fault, BackendBusy) else self._services.attempts
            if failures[run_id] < most:
                raise ApplicationError(
                    Redactor(known).text(str(fault)),
                    type=type(fault).__name__,
                    next_retry_delay=fault.retry_after if isinstance(fault, BackendBusy) else None,
                ) from None
            receipt = failed(fault)
        except Unavailable:
            raise
        except InterlockError as fault:
            receipt = failed(fault)
        self._failures.pop(run_id, None)
        self._refusals.pop(run_id, None)
        redactor = Redactor(known)
        return await self._record(run, redacted(receipt, redactor), lines=tuple(map(redactor.text, lines)))

    async def _rendered(
        self, run: Run, action: Action, plaintexts: dict[str, str], lines: list[str]
    ) -> tuple[InvocationMethod | None, Run]:
        """The method to invoke, secrets and all; the run with its payload, which has none; what to log, in `lines`.

        No method if it is not what was approved; the run waits for approval again then.
        """
        template = action.template
        if run.payload is not None and not template.secret_programs:
            return parse_rendered(run.payload), run  # what was checked at the request is what is sent
        context = contexts.of_run(run, action, await self._deliveries.event_of(run))
        delivery = await template.rendered(context, self._services.evaluate, secrets=plaintexts, now=run.created_at)
        lines += delivery.warnings
        if not isinstance(delivery.value, dict):
            raise InvalidInvocation("invocationMethod: is no object any more")
        if run.interlock.gate:
            request = fingerprint(delivery.value, self._services.request_key)
            if not run.approves(request):
                return None, await self._reopened(run, request)
        method = parse_rendered(delivery.value)
        if template.secret_programs and method.writes():
            raise InvalidInvocation("invocationMethod: names secrets, and what is written to the catalog is not secret")
        payload = run.payload
        if payload is None:  # it waited for approval
            masked = await template.rendered(context, self._services.evaluate, secrets=None, now=run.created_at)
            payload = masked.value if isinstance(masked.value, dict) else None
        if payload != run.payload or method.synchronous() != run.interlock.synchronous:
            run = await self._released(run, payload, synchronous=method.synchronous())
        return method, run

    async def _released(self, run: Run, payload: Any, *, synchronous: bool) -> Run:
        at = self._services.now()
        async with self._services.database.write() as session:
            _, after = await runs.change(
                session,
                run.id,
                lambda current: current.begun(payload, synchronous=synchronous, at=at),
                origin="API",
                by_driver=True,
            )
        return after

    async def _reopened(self, run: Run, request: str) -> Run:
        """The run once it waits for approval again.

        Raises:
            BackendRefused: it cannot, because an earlier attempt may have sent what was approved.
            ApplicationError: another attempt, of a worker that was believed dead, has just begun to send.
        """
        async with self._services.database.write() as session:
            after = await approvals.reopen(session, run.id, request=request, at=self._services.now())
        if after.status is not RunStatus.IN_PROGRESS:
            return after
        if run.payload is None:
            raise ApplicationError("another attempt was faster", type="Overtaken")  # the next one finds what it did
        raise BackendRefused(_CHANGED)

    async def _upserted(self, run: Run, write: EntityWrite, lines: Sequence[str]) -> Progress:
        try:
            after = await upsert(self._services, run, write, lines=lines)
        except InterlockError:
            raise
        except Exception as fault:
            return await self._record(run, unexpected(fault, run.id), lines=lines)
        return Progress(status=after.status)

    async def _sent(self, method: InvocationMethod, run: Run, action: Action, known: set[str]) -> Receipt:
        """What came of it. The secrets that the method asks for are added to those that are known."""
        if run.status.is_terminal:  # settled while it was rendered
            return Receipt()
        token = self._services.access_token(run.id, run.interlock.depth)

        async def secret(name: str) -> str | None:
            found = await self._services.resources.secret(name)
            known.update({found} if found else ())
            return found

        using = dataclasses.replace(self._services.resources, access_token=token, secret=secret)
        message = await self._deliveries.message_of(run, action)
        try:
            return await method.invoke(
                Delivery(run_id=run.id, legacy_message=message, action=run.action.identifier), using
            )
        except InterlockError:
            raise
        except Exception as fault:
            return unexpected(fault, run.id)  # something may have been sent, so it is not repeated

    async def _record(self, run: Run, receipt: Receipt, *, lines: Sequence[str] = ()) -> Progress:
        """Settle the run by the receipt, unless it has ended meanwhile.

        What was sent cannot be taken back, so this goes on until SQL answers instead of failing the activity,
        which would send again.
        """
        at = self._services.now()
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(Unavailable), wait=wait_exponential(multiplier=0.2, max=5), reraise=True
        ):
            with attempt:
                async with self._services.database.write() as session:
                    after = await settle(session, run, receipt, lines=lines, at=at)
        return Progress(status=after.status)


def _too_early(run: Run) -> datetime | None:
    """When the run may begin, if that is after its workflow has asked for this; None: it may.

    Then it was approved again, for a later time, since the workflow waited for its time.
    """
    starts_at = run.interlock.gate.starts_at if run.held and run.interlock.gate else None
    return starts_at if starts_at and starts_at > activity.info().scheduled_time else None


def _made_of(method: InvocationMethod) -> Iterator[str]:
    """What we make of a method ourselves, and a backend may echo: the credentials of its URL as a header."""
    credentials = httpx.URL(method.destination() or "").userinfo
    if credentials:
        user, _, password = credentials.decode().partition(":")
        yield b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()


@contextlib.asynccontextmanager
async def _heartbeat() -> AsyncIterator[None]:
    """Tell Temporal that this worker is alive, and learn from it whether the run still wants an answer."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(_HEARTBEAT_SECONDS)
            activity.heartbeat()

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()
