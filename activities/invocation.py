"""The one activity that does the work: render, send, and record what came of it."""

import asyncio
import contextlib
import dataclasses
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any
from urllib.parse import unquote

import httpx
from temporalio import activity
from temporalio.exceptions import ApplicationError
from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential

from activities.receipts import failed, redacted, settle, unexpected
from activities.services import Services
from activities.upserts import upsert
from backends import parse_rendered
from backends.base import Delivery, EntityWrite, InvocationMethod, Receipt
from domain import contexts
from domain.actions import Action
from domain.documents import Document
from domain.errors import BackendRefused, BackendUnavailable, InterlockError, InvalidInvocation, Unavailable
from domain.fingerprints import fingerprint
from domain.runs import Run, RunStatus
from domain.secrets import Redactor
from domain.templating import Template
from store import actions, approvals, events, runs, secrets
from workflows.calls import Progress

_HEARTBEAT_SECONDS = 3
_CHANGED = "What would be sent has changed since it was approved, and an earlier attempt may have been sent already"
_SAID = {"body", "payload"}
"""The keys of methods that say what is sent; without them it is the message that older receivers expect."""


class InvocationActivity:
    """Delivers runs to their backends, each once, as long as this process lives."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._under_way: dict[str, asyncio.Task[Progress]] = {}
        self._failures: Counter[str] = Counter()
        """How often each run could not reach its backend; a worker that starts again counts anew, which is harmless."""

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
        if run.status is not RunStatus.IN_PROGRESS or found.delivered:
            self._failures.pop(run_id, None)
            return await self._record(run, Receipt())
        redactor, lines = Redactor(()), list[str]()
        try:
            plaintexts = await self._secrets(action.template)
            redactor = Redactor(plaintexts.values())
            method, run = await self._rendered(run, action, plaintexts, lines)
            if method is None or run.status is not RunStatus.IN_PROGRESS:
                return await self._record(run, Receipt())  # it has ended meanwhile, or waits for approval again
            redactor = Redactor([*plaintexts.values(), *_made_of(method)] if plaintexts else ())
            if write := method.writes():
                return await self._upserted(run, write, lines)
            receipt = await self._sent(method, run, action)
        except BackendUnavailable as fault:
            self._failures[run_id] += 1
            if self._failures[run_id] < self._services.attempts:
                raise ApplicationError(redactor.text(str(fault)), type="BackendUnavailable") from None
            receipt = failed(fault)
        except Unavailable:
            raise
        except InterlockError as fault:
            receipt = failed(fault)
        self._failures.pop(run_id, None)
        return await self._record(run, redacted(receipt, redactor), lines=tuple(map(redactor.text, lines)))

    async def _secrets(self, template: Template) -> dict[str, str]:
        """The plaintext of every secret, if the template names any.

        Raises:
            BackendRefused: one that the template seems to name cannot be decrypted.
        """
        if not template.secret_programs:
            return {}
        async with self._services.database.read() as session:
            encrypted = await secrets.encrypted(session)
        decrypted = {name: self._services.decrypt(value) for name, value in encrypted.items()}
        for name, plaintext in decrypted.items():
            if plaintext is None and any(name in program for program in template.secret_programs):
                raise BackendRefused(f"The secret {name} cannot be decrypted with the configured keys")
        return {name: plaintext for name, plaintext in decrypted.items() if plaintext is not None}

    async def _rendered(
        self, run: Run, action: Action, plaintexts: dict[str, str], lines: list[str]
    ) -> tuple[InvocationMethod | None, Run]:
        """The method to invoke, secrets and all; the run with its payload, which has none; what to log, in `lines`.

        No method if it is not what was approved; the run waits for approval again then.
        """
        template = action.template
        if run.payload is not None and not template.secret_programs:
            return parse_rendered(run.payload), run  # what was checked at the request is what is sent
        context = contexts.of_run(run, action, await self._event(run))
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

    async def _event(self, run: Run) -> Document | None:
        """What started the run of an automation.

        Raises:
            NotFound: it was deleted, which does not happen while the run goes on.
        """
        if run.interlock.cause is None:
            return None
        async with self._services.database.read() as session:
            return await events.of_change(session, run.interlock.cause, self._services.credentials.organization)

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

    async def _sent(self, method: InvocationMethod, run: Run, action: Action) -> Receipt:
        if run.status.is_terminal:  # settled while it was rendered
            return Receipt()
        token = self._services.access_token(run.id, run.interlock.depth)
        using = dataclasses.replace(self._services.resources, access_token=token)
        payload = run.payload or {}
        event = None if payload.keys() & _SAID else await self._event(run)
        message = contexts.legacy_message(run, action, payload, event)
        try:
            return await method.invoke(Delivery(run_id=run.id, legacy_message=message), using)
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
