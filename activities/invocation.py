"""The activities that do the work: render, send, and record what came of it."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio import activity
from temporalio.exceptions import ApplicationError
from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential

from activities.attempts import Watch
from activities.deliveries import Deliveries, made_of, telling
from activities.receipts import failed, redacted, settle, unexpected
from activities.retrying import Retrying
from activities.services import Services
from activities.turns import Turns
from activities.under_way import UnderWay
from activities.upserts import upsert
from backends import parse_rendered
from backends.base import Delivery, EntityWrite, InvocationMethod, Receipt, Unconfirmed
from domain import contexts
from domain.actions import Action
from domain.attempts import Attempt, Kind, Outcome
from domain.budgets import Wanted
from domain.documents import Document
from domain.errors import BackendRefused, BackendUnavailable, InterlockError, InvalidInvocation, Unavailable
from domain.fingerprints import fingerprint
from domain.runs import Run, RunStatus
from store import actions, approvals, attempts, runs
from store.runs import Found
from workflows.calls import INVOKE_TIME_LIMIT, SILENCE, Begun, Progress

_HEARTBEAT_SECONDS = 3
_AT_ONCE_SECONDS = 1.0
"""How long a workflow's task waits for an invocation. Meanwhile it hears nothing else, and has one of few places."""
_LOOK_SECONDS = 1.0
_MOST_UNDER_WAY = 100
"""As many as there are places for activities: more of them wait for such a place."""
_LATER = timedelta(seconds=15)
"""When to ask about what somebody has said to have come of a call that was not confirmed."""
_CHANGED = "What would be sent has changed since it was approved, and an earlier attempt may have been sent already"
_Result = TypeVar("_Result")


class InvocationActivity:
    """Delivers runs to their backends, each once, as long as this process lives."""

    def __init__(self, services: Services, *, alone: bool = False) -> None:
        self._services = services
        self._alone = alone
        """Whether there is no other worker while this one lives."""
        self._under_way = UnderWay()
        self._turns = Turns(services)
        self._deliveries = Deliveries.of(services)

    @activity.defn
    async def begin_invocation(self, run_id: str, asked_at: datetime) -> Progress:
        """Begin what `invoke_backend` does, and wait a moment for its end; else it is for that activity (`begun`).

        Most backends answer in that moment, and nothing has to be asked of Temporal before or after. Where there are
        other workers nothing is begun: one that is asked to go on could not know whether the first is still at it.
        """
        until = self._services.now()
        if self._alone and len(self._under_way) < _MOST_UNDER_WAY:
            task = self._under_way.joined(run_id, partial(self._deliver, run_id, asked_at, at_once=True))
            await asyncio.wait({task}, timeout=_AT_ONCE_SECONDS)
            if not task.done():
                until += INVOKE_TIME_LIMIT
            elif (fault := task.exception()) is None:
                return task.result()
            elif not isinstance(fault, ApplicationError | Unavailable):
                activity.logger.warning("invocation failed, and is tried again", exc_info=fault)
        return Progress(status=RunStatus.IN_PROGRESS, begun=Begun(by=self._under_way.worker, until=until))

    @activity.defn
    async def invoke_backend(self, run_id: str, begun: Begun | None = None) -> Progress:
        """Render, send, and record what came of it; a run that has ended is left alone.

        One that would send something else than what was approved is not sent: it waits for approval again.

        Safe to run twice. When Temporal lost sight of a worker that lives and asks again, the second attempt joins the
        first, or finds in the row what became of it. Only when the worker died during the call is it repeated, with
        the run id as its idempotency key, as in every delivery.
        """
        async with _heartbeat():
            if begun and begun.by != self._under_way.worker and not self._alone:
                await self._recorded(run_id, begun.until)
            # Shielded: what was sent cannot be taken back, so it is recorded even if nobody waits for it any more.
            deliver = partial(self._deliver, run_id, activity.info().scheduled_time, at_once=begun is not None)
            return await asyncio.shield(self._under_way.joined(run_id, deliver))

    async def finish(self) -> None:
        """Wait until what is under way is recorded, no longer than a delivery may take."""
        await self._under_way.ended(self._services.resources.timeout + SILENCE)

    async def _recorded(self, run_id: str, until: datetime) -> None:
        """Wait until the row says what became of what another worker has begun, or that worker must be dead."""
        while self._services.now() < until:
            async with self._services.database.read() as session:
                found = await runs.find(session, run_id)
            if found.run.status is not RunStatus.IN_PROGRESS or found.delivered:
                return
            await asyncio.sleep(_LOOK_SECONDS)

    async def _deliver(self, run_id: str, asked_at: datetime, *, at_once: bool) -> Progress:
        async with self._services.database.read() as session:
            found = await runs.find(session, run_id)
            run = found.run
            action = await actions.version(session, found.action_id, run.interlock.action_version)
            tried = self._under_way.tried(run_id)
            again = at_once or tried.first > 1
            before = await attempts.before(session, run_id, tried.activity) if again else attempts.Before()
        if run.status is RunStatus.WAITING_FOR_APPROVAL:
            return Progress(status=run.status)
        if run.status is not RunStatus.IN_PROGRESS or found.delivered:
            return await self._record(run, Receipt())
        if starts_at := _too_early(run, asked_at):
            return Progress(status=run.status, starts_at=starts_at)
        watch = Watch(Kind.INVOKE, self._services.now())
        if tried.first == 1 and before.latest and (left := before.latest.left(watch.started_at)):
            # It was begun within the workflow's task, and Temporal, which waits between attempts, does not count that.
            raise ApplicationError(before.latest.said or before.latest.outcome, next_retry_delay=left)
        fault: InterlockError | None = None
        write: EntityWrite | None = None
        wanted = Wanted()
        try:
            plaintexts = await self._deliveries.secrets_of(action.template)
            watch.known |= set(plaintexts.values())
            method, run, payload = await self._rendered(run, action, plaintexts, watch)
            if method is None:
                # Not as it stands by now: approved again, it would look as if this attempt had sent it.
                return Progress(status=run.status)
            wanted = self._turns.wanted(found, action, method, payload)
            if progress := await self._turns.take(found, wanted):
                return progress  # it waits for its turn, or has ended meanwhile
            run = await self._released(run, payload, synchronous=method.synchronous())
            if run.status is not RunStatus.IN_PROGRESS:
                return await self._record(run, Receipt())  # it has ended meanwhile
            watch.known |= set(made_of(method, plaintexts.values()) if plaintexts else ())
            if write := method.writes():
                return await self._upserted(run, write, watch.lines)
            receipt = await self._sent(method, run, action, watch)
        except Unavailable:
            raise
        except InterlockError as failure:
            fault, receipt = failure, failed(failure)
        receipt = redacted(receipt, watch)
        lines = list(map(watch.to_be_read.text, watch.lines))
        if write:  # nobody was called
            return await self._record(run, receipt, lines=lines)
        queued = await self._queued(found, wanted, watch, fault, receipt)
        if queued and queued.starts_at:
            made = watch.ended(watch.outcome(fault, receipt), receipt.summary, at=self._services.now())
            made = made.model_copy(update={"again_at": queued.starts_at})
            # Whoever tries a backend that is dead for weeks would fill tables with what is always the same.
            tried = self._under_way.tried(run_id)
            await self._until_sql_answers(lambda session: attempts.record_news(session, run.id, made, tried))
            return queued
        made = self._made(watch, fault, receipt, Retrying(lambda: action.definition, self._services.attempts, before))
        if made.again_at:
            await self._until_sql_answers(
                lambda session: attempts.record(session, run.id, made, self._under_way.tried(run_id))
            )
            raise ApplicationError(
                made.said or made.outcome,
                type=type(fault).__name__ if fault else made.outcome,
                next_retry_delay=made.again_at - made.ended_at,
            )
        return await self._record(run, receipt, lines=lines, made=made)

    async def _queued(
        self, found: Found, wanted: Wanted, watch: Watch, fault: InterlockError | None, receipt: Receipt
    ) -> Progress | None:
        """Note what the call says about the backend. With how the run stands, if that has made it wait again.

        It is the circuit it waits for then, so this was no failure of its own. What may have arrived is not repeated.
        """
        if wanted.breaker is None:
            return None
        worked = self._turns.worked(watch, watch.outcome(fault, receipt))
        if await self._turns.is_news(wanted, worked):
            await self._until_sql_answers(lambda session: self._turns.note(session, found.run, wanted, worked))
        progress = await self._turns.take(found, wanted) if isinstance(fault, BackendUnavailable) else None
        return progress if progress and progress.queued else None

    def _made(self, watch: Watch, fault: InterlockError | None, receipt: Receipt, retrying: Retrying) -> Attempt:
        """The attempt, and when it is made again."""
        at, outcome = self._services.now(), watch.outcome(fault, receipt)
        if outcome is Outcome.ACCEPTED:
            return watch.ended(outcome, None, at=at)
        pause = retrying.pause(fault, receipt, watch, at)
        said = receipt.summary or "\n".join(receipt.log)  # one that is looked for has no summary yet
        return watch.ended(outcome, said, at=at, again_at=at + pause if pause is not None else None)

    async def _rendered(
        self, run: Run, action: Action, plaintexts: dict[str, str], watch: Watch
    ) -> tuple[InvocationMethod | None, Run, Document | None]:
        """The method to invoke, secrets and all; the run; its payload, which has none. `watch` learns what it must.

        No method if it is not what was approved; the run waits for approval again then.
        """
        template = action.template
        if run.payload is not None and not template.secret_programs:
            return parse_rendered(run.payload), run, run.payload  # what was checked at the request is what is sent
        context = contexts.of_run(run, action, await self._deliveries.event_of(run))
        delivery = await template.rendered(context, self._services.evaluate, secrets=plaintexts, now=run.created_at)
        watch.lines += delivery.warnings
        watch.made |= delivery.made
        if not isinstance(delivery.value, dict):
            raise InvalidInvocation("invocationMethod: is no object any more")
        if run.interlock.gate:
            request = fingerprint(delivery.value, self._services.request_key)
            if not run.approves(request):
                return None, await self._reopened(run, request), None
        method = parse_rendered(delivery.value)
        if template.secret_programs and method.writes():
            raise InvalidInvocation("invocationMethod: names secrets, and what is written to the catalog is not secret")
        payload = run.payload
        if payload is None:  # it waited for approval
            masked = await template.rendered(context, self._services.evaluate, secrets=None, now=run.created_at)
            payload = masked.value if isinstance(masked.value, dict) else None
        return method, run, payload

    async def _released(self, run: Run, payload: Document | None, *, synchronous: bool) -> Run:
        if payload == run.payload and synchronous == run.interlock.synchronous:
            return run
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

    async def _sent(self, method: InvocationMethod, run: Run, action: Action, watch: Watch) -> Receipt:
        """What came of it. The secrets that the method asks for are added to those that are known."""
        token = partial(self._services.access_token, run.id, run.interlock.depth)
        using = dataclasses.replace(telling(self._services.resources, watch.known), access_token=token, observe=watch)
        watch.message = message = await self._deliveries.message_of(run, action)
        watch.started_at = self._services.now()
        delivery = Delivery(run_id=run.id, legacy_message=message, action=run.action.identifier)
        try:
            return await method.invoke(delivery, using)
        except Unconfirmed as fault:
            if receipt := await self._evident(method, run, fault):
                return receipt
            raise
        except InterlockError:
            raise
        except Exception as fault:
            return unexpected(fault, run.id)  # something may have been sent, so it is not repeated

    async def _evident(self, method: InvocationMethod, run: Run, fault: Unconfirmed) -> Receipt | None:
        """What follows if somebody has said by now what has come of a call that was not confirmed; else None.

        The answer of a synchronous backend is the only thing that tells how its run ended.
        """
        now = await self._until_sql_answers(lambda session: runs.get(session, run.id))
        if now.external_run_id is None or now.interlock.synchronous:
            return None
        asks = type(method).look_up is not InvocationMethod.look_up
        line = f"The backend did not confirm it, but {now.external_run_id} is known to have come of it: {fault}"
        return Receipt(look_up_after=_LATER if asks else None, log=(line,))

    async def _record(
        self, run: Run, receipt: Receipt, *, lines: Sequence[str] = (), made: Attempt | None = None
    ) -> Progress:
        """Settle the run by the receipt, unless it has ended meanwhile, and keep the attempt that was made."""
        at = self._services.now()

        async def work(session: AsyncSession) -> Run:
            after = await settle(session, run, receipt, lines=lines, at=at)
            if made:
                await attempts.record(session, run.id, made, self._under_way.tried(run.id))
            return after

        return Progress.of(await self._until_sql_answers(work))

    async def _until_sql_answers(self, work: Callable[[AsyncSession], Awaitable[_Result]]) -> _Result:
        """What the transaction gives.

        What was sent cannot be taken back, so this goes on until SQL answers instead of failing the activity,
        which would send again.
        """

        async def once() -> _Result:
            async with self._services.database.write() as session:
                return await work(session)

        with contextlib.suppress(Unavailable):
            return await once()
        wait = wait_exponential(multiplier=0.2, max=5)
        return await AsyncRetrying(retry=retry_if_exception_type(Unavailable), wait=wait, reraise=True)(once)


def _too_early(run: Run, asked_at: datetime) -> datetime | None:
    """When the run may begin, if that is after its workflow has asked for this; None: it may.

    Then it was approved again, for a later time, since the workflow waited for its time.
    """
    starts_at = run.interlock.gate.starts_at if run.held and run.interlock.gate else None
    return starts_at if starts_at and starts_at > asked_at else None


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
