"""Asking backends what became of runs that nobody has reported about."""

import asyncio
import dataclasses
import logging
from datetime import timedelta

from activities.attempts import Watch
from activities.deliveries import Deliveries
from activities.receipts import redacted, settle, unexpected
from activities.services import Services
from backends.base import Receipt, Reference
from domain.attempts import Attempt, Kind
from domain.claims import next_look_up
from domain.errors import BackendBusy, InterlockError, Unavailable
from domain.runs import Run, RunStatus
from store import attempts, claims
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
        self._deliveries = Deliveries.of(services)

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
            receipt, again, made = await self._asked(one)
        if receipt is not None:  # what it says about later is said here, not in its place
            again = receipt.look_up_after or again
            receipt = dataclasses.replace(receipt, claim=None, look_up_after=None)
        at = self._services.now()
        async with self._services.database.write() as session:
            after = await settle(session, one.run, receipt, at=at, by_driver=False) if receipt else None
            if after is None or not after.status.is_terminal:
                await claims.look_at(session, [one.run.id], at + again)
            if made:
                await (attempts.record if receipt and receipt.status else attempts.record_news)(
                    session, one.run.id, made
                )
        return after

    async def _asked(self, one: Due) -> tuple[Receipt | None, timedelta, Attempt | None]:
        """What the backend says, if anything, when to ask it again, and what there is to keep of the attempt."""
        again = next_look_up(self._services.now() - one.invoked_at)
        watch = Watch(Kind.LOOK_UP, self._services.now())
        try:
            receipt = await self._answer(one, watch)
        except Unavailable:
            raise
        except BackendBusy as busy:
            again = max(busy.retry_after, again)
            return None, again, self._failed(watch, busy, again)
        except InterlockError as fault:
            cause = watch.to_be_read.text(str(fault))
            log.warning("backend was asked in vain", extra={"run_id": one.run.id, "cause": cause})
            return None, again, self._failed(watch, fault, again)
        except Exception as fault:
            unexpected(fault, one.run.id)  # which logs it; the run goes on, somebody may report
            return None, again, None
        if receipt is None:
            return None, again, None
        made = watch.ended(watch.outcome(None, receipt), None, at=self._services.now())
        return redacted(receipt, watch), again, made

    def _failed(self, watch: Watch, fault: InterlockError, again: timedelta) -> Attempt:
        at = self._services.now()
        return watch.ended(watch.outcome(fault, None), str(fault), at=at, again_at=at + again)

    async def _answer(self, one: Due, watch: Watch) -> Receipt | None:
        run = one.run
        method, using = await self._deliveries.handed_over(run, one.action_id, self._services.resources, watch)
        using = dataclasses.replace(using, observe=watch)
        reference = Reference(
            run_id=run.id, invoked_at=one.invoked_at, external_run_id=run.external_run_id, link=run.link
        )
        return await method.look_up(reference, using)
