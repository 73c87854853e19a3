"""The relay of automations: asks them about each change in order, and makes exactly one run for each that wants it."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from sqlmodel.ext.asyncio.session import AsyncSession

from domain.errors import Unavailable
from domain.identifiers import new
from domain.jq import Evaluator
from domain.runs import Run
from runtime.driver import RunDriver
from runtime.settings import Settings
from store import firings, listeners, pending_changes, replays
from store.database import Database
from store.firings import Held
from store.listeners import Listening
from store.pending_changes import Pending
from worker.changelog import ChangeDeliveries
from worker.firing import Recording
from worker.judging import STRIKES, Fired, Judging
from worker.loops import again, every

log = logging.getLogger(__name__)

_BATCH = 100
_LEASE = timedelta(seconds=60)
_PATIENCE_SECONDS = 20.0
"""How long a batch is waited for: what is not answered by then is given back, long before its lease is over."""
_MOST_RUNS = 100
"""How many runs one transaction records, a change more or less: others want to write as well."""
_POLL_SECONDS = 1.0
_RETRY_SECONDS = 2.0

Answers = Mapping[int, Sequence[Fired]]
"""By pending row: what follows from its change."""


class Automations:
    """Asks automations about pending changes. Several may work at once: the changes of a subject are one's at a time.

    A process that dies in between leaves what it had taken to others, who take it when its lease is over.
    """

    def __init__(
        self,
        database: Database,
        driver: RunDriver,
        evaluate: Evaluator,
        deliveries: ChangeDeliveries,
        settings: Settings,
        organization: str,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._driver = driver
        self._deliveries = deliveries
        self._settings = settings
        self._now = now
        self._judging = Judging(database, evaluate, settings, organization, now)

    async def run(self) -> None:
        """Work until cancelled. An outage of SQL or Temporal only costs time."""
        await asyncio.gather(
            again("asking automations", self._ask_all, self._rung, retry=_RETRY_SECONDS),
            again("going on with replays", self.go_on, every(_POLL_SECONDS), retry=_RETRY_SECONDS),
            again("letting go of held changes", self.let_go, self._until_next_is_due, retry=_RETRY_SECONDS),
        )

    async def _ask_all(self) -> None:
        while await self.once():
            pass

    async def _rung(self) -> None:
        await self._database.bell.wait(_POLL_SECONDS)

    async def once(self) -> bool:
        """Ask about the changes that have waited longest; whether any was answered, so that there may be more."""
        async with self._database.read() as session:
            if not await pending_changes.waiting(session):
                return False
        lease = new("lease")

        async def take(session: AsyncSession) -> list[Pending]:
            return await pending_changes.take(session, lease, at=self._now(), span=_LEASE, limit=_BATCH)

        taken = await self._database.transact(take)
        if not taken:
            return False
        answers: Answers = {}
        broken: Sequence[int] = ()
        try:
            async with self._database.read() as session:
                listening = await listeners.current(session)
            answers, broken = await self._answered(taken, listening)
            await self._deliveries.start(
                [one.change_id for one in taken if one.id in answers and self._delivered(one, listening)]
            )
            started = await self._recorded(lease, answers)
        except BaseException:
            await self._given_back(lease, [pending.id for pending in taken])
            raise
        if left := [pending.id for pending in taken if pending.id not in answers and pending.id not in broken]:
            await self._given_back(lease, left)
        await asyncio.gather(*map(self._driver.try_start, started))  # the relay of runs starts what this cannot
        return bool(answers)

    async def _answered(self, taken: Sequence[Pending], listening: Listening) -> tuple[Answers, list[int]]:
        """What follows from the changes, as far as it is known in time; and those that are broken, to be asked later.

        Changes of a subject are answered in order, so that one that is not holds up those after it.
        """
        async with self._database.read() as session:
            questions = [await self._judging.question(session, listening, pending) for pending in taken]
        tasks = {
            pending.id: asyncio.create_task(self._judging.answer(question))
            for pending, question in zip(taken, questions, strict=True)
            if question
        }
        try:
            if tasks:
                await asyncio.wait(tasks.values(), timeout=_PATIENCE_SECONDS)
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
        answers: dict[int, Sequence[Fired]] = {}
        broken: list[int] = []
        waiting: set[str] = set()
        for pending in taken:
            if pending.subject in waiting:
                continue
            if pending.id not in tasks:
                answers[pending.id] = ()
                continue
            task = tasks[pending.id]
            if task.cancelled() or isinstance(fault := task.exception(), Unavailable):
                waiting.add(pending.subject)
            elif fault is not None:
                log.error("a change cannot be answered now", extra={"change": pending.change_id}, exc_info=fault)
                waiting.add(pending.subject)
                broken.append(pending.id)
            else:
                answers[pending.id] = task.result()
        return answers, broken

    def _delivered(self, pending: Pending, listening: Listening) -> bool:
        if pending.change is None or pending.action_id:
            return False  # what is asked of one automation only is told already, or no change of the catalog
        destination = listening.destination(pending.change)
        return destination is not None and self._deliveries.reaches(destination)

    async def _recorded(self, lease: str, answers: Answers) -> list[Run]:
        """Record what follows, in transactions of some size; the runs whose workflows have to be started."""
        started: list[Run] = []
        for some in _portions(answers):
            struck_out = self._judging.struck_out()

            async def record(session: AsyncSession, some: Answers = some, out: Sequence[str] = struck_out) -> list[Run]:
                recording = Recording(session, self._settings, self._now())
                ours = await pending_changes.done(session, lease, some)
                for pending_id in sorted(ours):
                    for fired in some[pending_id]:
                        await recording.record(fired)
                for action_id in out:
                    recording.pause(action_id, f"It ran into the limits of jq {STRIKES} times in a row")
                await recording.finish()
                return recording.started

            started += await self._database.transact(record)
            self._judging.forget(struck_out)
        return started

    async def _given_back(self, lease: str, ids: Sequence[int]) -> None:
        """Let others take what was not answered; what is broken waits until its lease is over."""

        async def release(session: AsyncSession) -> None:
            await pending_changes.release(session, lease, ids)

        await self._database.transact(release)

    async def go_on(self) -> None:
        """Make the changes of large replays pending, a portion at a time and a transaction each."""
        while True:
            async with self._database.read() as session:
                if not await replays.under_way(session):
                    return
            if not await self._database.transact(replays.go_on):
                return

    async def let_go(self) -> None:
        """Make the runs of changes whose subjects have calmed down."""
        while True:
            async with self._database.read() as session:
                due = await firings.due(session, at=self._now(), limit=_BATCH)
                listening = await listeners.current(session)
            done = await asyncio.gather(*(self._let_go(held, listening) for held in due))
            if len(due) < _BATCH or not any(done):
                return

    async def _let_go(self, held: Held, listening: Listening) -> bool:
        try:
            async with self._database.read() as session:
                question = await self._judging.held(session, listening, held)
            fired = await self._judging.answer(question) if question else []
        except Unavailable:
            return False
        except Exception:
            log.exception("a change that was held cannot be answered now", extra={"change": held.change_id})
            return False

        async def record(session: AsyncSession) -> list[Run]:
            recording = Recording(session, self._settings, self._now())
            await recording.let_go(held, fired[0] if fired else None)
            await recording.finish()
            return recording.started

        for run in await self._database.transact(record):
            await self._driver.try_start(run)
        return True

    async def _until_next_is_due(self) -> None:
        async with self._database.read() as session:
            next_due = await firings.next_due(session)
        left = (next_due - self._now()).total_seconds() if next_due else _POLL_SECONDS
        await asyncio.sleep(min(_POLL_SECONDS, max(0.05, left)))


def _portions(answers: Answers) -> Iterator[Answers]:
    """The answers, as many at a time as one transaction should have."""
    some: dict[int, Sequence[Fired]] = {}
    runs = 0
    for pending_id, fired in answers.items():
        some[pending_id] = fired
        runs += len(fired)
        if runs >= _MOST_RUNS:
            yield some
            some, runs = {}, 0
    if some:
        yield some
