"""Telling a backend that nobody wants any more what it does for a run."""

import logging
from dataclasses import replace
from datetime import timedelta

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.attempts import Watch
from activities.deliveries import Deliveries
from activities.receipts import unexpected
from activities.services import Services
from backends.base import Reference
from domain.attempts import Kind
from domain.errors import BackendBusy, BackendUnavailable, InterlockError, Unavailable
from domain.runs import PLATFORM
from store import attempts, claims, runs
from store.claims import Handed
from workflows.calls import CANCEL_ATTEMPTS

log = logging.getLogger(__name__)

_LONGEST_PAUSE = timedelta(minutes=15)
"""How long a backend that is busy is waited for; what it does would have ended by then more often than not."""


class CancelActivity:
    """Cancels what was handed over. The run has ended before, and nothing that happens here changes it."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._deliveries = Deliveries.of(services)

    @activity.defn
    async def cancel_backend(self, run_id: str) -> str:
        """Have the backend stop what it does for a run that has ended; what became of it, in words.

        Safe to run twice: a backend that has stopped says so. What became of it is a line of the run's log.
        """
        async with self._services.database.read() as session:
            handed = await claims.handed(session, run_id)
        if handed is None:
            return "no backend has it"
        watch = Watch(Kind.CANCEL, self._services.now())
        line, fault = await self._asked(handed, watch)
        at, pause = self._services.now(), _pause(fault)
        async with self._services.database.write() as session:
            if fault or watch.last:
                again_at = at + pause if pause is not None else None
                made = watch.ended(watch.outcome(fault, None), str(fault) if fault else None, at=at, again_at=again_at)
                await attempts.record(session, run_id, made)
            if pause is None:
                await runs.log(session, run_id, line, by=PLATFORM, at=at)
        if pause is not None:
            raise ApplicationError(line, type=type(fault).__name__, next_retry_delay=pause)
        if fault:
            log.warning("backend was not stopped", extra={"run_id": run_id, "cause": line})
        return line

    async def _asked(self, handed: Handed, watch: Watch) -> tuple[str, InterlockError | None]:
        """What became of it, as it may be stored, and what was in the way.

        Raises:
            Unavailable: SQL does not answer.
        """
        run = handed.run
        try:
            method, using = await self._deliveries.handed_over(run, handed.action_id, self._services.resources, watch)
            reference = Reference(
                run_id=run.id, invoked_at=handed.invoked_at, external_run_id=handed.external_run_id, link=run.link
            )
            line = await method.cancel(reference, replace(using, observe=watch))
        except Unavailable:
            raise
        except InterlockError as fault:
            return watch.to_be_read.text(f"The backend was not stopped: {fault}"), fault
        except Exception as fault:
            return f"The backend was not stopped: {unexpected(fault, run.id).summary}", None
        if line is None:
            line = f"The backend cannot be stopped: nothing tells {method.type} that nobody waits for it any more"
        return watch.to_be_read.text(line), None


def _pause(fault: InterlockError | None) -> timedelta | None:
    """How long to wait before the backend is told again; None: it is not."""
    attempt = activity.info().attempt
    if not isinstance(fault, BackendUnavailable) or attempt >= CANCEL_ATTEMPTS:
        return None
    if not isinstance(fault, BackendBusy):
        return timedelta(seconds=3 ** (attempt - 1))
    return fault.retry_after if fault.retry_after <= _LONGEST_PAUSE else None
