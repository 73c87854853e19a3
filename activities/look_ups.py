"""Asking backends what became of runs that nobody has reported about."""

import asyncio
import dataclasses
import logging
from datetime import timedelta

from activities.deliveries import Deliveries
from activities.receipts import redacted, settle, unexpected
from activities.services import Services
from backends.base import InvocationMethod, Receipt, Reference
from domain.claims import next_look_up
from domain.errors import BackendBusy, InterlockError, Unavailable
from domain.runs import Run, RunStatus
from domain.secrets import Redactor
from store import actions, claims
from store.claims import Due

log = logging.getLogger(__name__)

_BATCH = 50
_AT_ONCE = 8
_SPARE = timedelta(seconds=30)


class LookUpWork:
    """Looks up the runs that are due. Several processes may: each run is asked about by one at a time."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._deliveries = Deliveries(
            services.database,
            services.evaluate,
            services.decrypt,
            services.request_key,
            services.credentials.organization,
        )

    async def look_up(self) -> tuple[list[Run], bool]:
        """Ask about a few that are due; those that have ended by it, and whether there may be more.

        Raises:
            Unavailable: SQL does not answer. Whoever was not asked about is once the lease ends.
        """
        at = self._services.now()
        # Each is asked by then, even if all of a turn take as long as they may.
        lease = self._services.resources.timeout * (_BATCH // _AT_ONCE + 1) + _SPARE
        async with self._services.database.write() as session:
            due = await claims.due(session, at=at, leased_until=at + lease, limit=_BATCH)
        answers = await asyncio.gather(*map(self._looked_up, due), return_exceptions=True)
        ended = [run for run in answers if isinstance(run, Run) and run.status.is_terminal]
        for answer in answers:
            if isinstance(answer, BaseException) and not ended:
                raise answer
        return ended, len(due) == _BATCH

    async def _looked_up(self, one: Due) -> Run | None:
        """The run after its backend was asked; None if it goes on."""
        if one.run.status is not RunStatus.IN_PROGRESS:
            return None
        async with self._turn:
            receipt, again = await self._asked(one)
        if receipt is not None:  # what it says about later is said here, not in its place
            again = receipt.look_up_after or again
            receipt = dataclasses.replace(receipt, claim=None, look_up_after=None)
        at = self._services.now()
        async with self._services.database.write() as session:
            after = await settle(session, one.run, receipt, at=at, by_driver=False) if receipt else None
            if after is None or not after.status.is_terminal:
                await claims.look_at(session, [one.run.id], at + again)
        return after

    async def _asked(self, one: Due) -> tuple[Receipt | None, timedelta]:
        """What the backend says, if anything, and when to ask it again."""
        again = next_look_up(self._services.now() - one.invoked_at)
        known: set[str] = set()
        try:
            receipt = await self._answer(one, known)
        except Unavailable:
            raise
        except BackendBusy as busy:
            return None, max(busy.retry_after, again)
        except InterlockError as fault:
            cause = Redactor(known).text(str(fault))
            log.warning("backend was asked in vain", extra={"run_id": one.run.id, "cause": cause})
            return None, again
        except Exception as fault:
            unexpected(fault, one.run.id)  # which logs it; the run goes on, somebody may report
            return None, again
        return (redacted(receipt, Redactor(known)) if receipt else None), again

    async def _answer(self, one: Due, known: set[str]) -> Receipt | None:
        run = one.run
        async with self._services.database.read() as session:
            action = await actions.version(session, one.action_id, run.interlock.action_version)
        plaintexts = await self._deliveries.secrets_of(action.template)
        known.update(plaintexts.values())
        method: InvocationMethod = await self._deliveries.method_of(run, action, plaintexts)

        async def secret(name: str) -> str | None:
            found = await self._services.resources.secret(name)
            known.update({found} if found else ())
            return found

        reference = Reference(
            run_id=run.id, invoked_at=one.invoked_at, external_run_id=run.external_run_id, link=run.link
        )
        return await method.look_up(reference, dataclasses.replace(self._services.resources, secret=secret))
