"""The relay of automations: asks them about each change in order, and makes exactly one run for each that wants it."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio.service import RPCError

from domain.actions import Action
from domain.automations import Caused, caused, judge, stopped
from domain.changes import key_of
from domain.documents import Document
from domain.errors import InterlockError, NotFound, Unavailable
from domain.identifiers import new
from domain.jq import Evaluator
from domain.runs import Link, Run
from runtime.driver import RunDriver
from runtime.rendering import rendered
from runtime.settings import Settings
from store import actions, changes, events, firings, listeners, pending_changes, runs, users
from store.database import Database
from store.firings import Held
from store.listeners import Listening
from store.pending_changes import Pending
from worker.changelog import ChangeDeliveries
from worker.firing import Fired, Recorder, pause

log = logging.getLogger(__name__)

_BATCH = 100
_AT_ONCE = 4
_LEASE = timedelta(seconds=60)
_POLL_SECONDS = 1.0
_RETRY_SECONDS = 2.0
_STRIKES = 3
"""How often in a row a condition may run into its limits before its automation is paused."""


@dataclass(frozen=True)
class _Question:
    """A pending change, the event it is, and whom to ask about it."""

    pending: Pending
    change: Document
    event: Document
    automations: Sequence[Action]


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
        self._evaluate = evaluate
        self._deliveries = deliveries
        self._settings = settings
        self._organization = organization
        self._now = now
        self._recorder = Recorder(settings)
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._strikes: Counter[str] = Counter()

    async def run(self) -> None:
        """Work until cancelled. An outage of SQL or Temporal only costs time."""
        while True:
            wait = _RETRY_SECONDS
            try:
                while await self.once():
                    await self.let_go()
                await self.let_go()
                wait = await self._until_next()
            except Unavailable:
                pass
            except RPCError as error:
                log.warning("automations wait for temporal", extra={"cause": error.status.name})
            except Exception:
                # Nobody else does this work, so it goes on, and says what happened.
                log.exception("asking automations failed, and goes on")
            await self._database.bell.wait(wait)

    async def once(self) -> bool:
        """Ask about the changes that have waited longest; whether there may be more of them."""
        async with self._database.read() as session:
            if not await pending_changes.waiting(session):
                return False
        lease = new("lease")
        async with self._database.write() as session:
            taken = await pending_changes.take(session, lease, at=self._now(), span=_LEASE, limit=_BATCH)
        if not taken:
            return False
        try:
            await self._answer(taken, lease)
        except BaseException:
            async with self._database.write() as session:
                await pending_changes.release(session, lease)
            raise
        return True

    async def let_go(self) -> None:
        """Make the runs of changes whose subjects have calmed down."""
        while True:
            async with self._database.read() as session:
                due = await firings.due(session, at=self._now(), limit=_BATCH)
                listening = await listeners.current(session)
            for held in due:
                await self._let_go(held, listening)
            if len(due) < _BATCH:
                return

    async def _until_next(self) -> float:
        async with self._database.read() as session:
            next_due = await firings.next_due(session)
        left = (next_due - self._now()).total_seconds() if next_due else _POLL_SECONDS
        return min(_POLL_SECONDS, max(0.0, left))

    async def _answer(self, taken: Sequence[Pending], lease: str) -> None:
        async with self._database.read() as session:
            listening = await listeners.current(session)
            questions = [await self._question(session, listening, pending) for pending in taken]
        answers = await asyncio.gather(*map(self._fired, questions))
        await self._deliveries.start([one.change_id for one in taken if _delivered(one, listening)])
        answered = {pending.id: fired for pending, fired in zip(taken, answers, strict=True) if fired is not None}
        struck_out = [action_id for action_id, strikes in self._strikes.items() if strikes >= _STRIKES]

        async def record(session: AsyncSession) -> list[Run]:
            started: list[Run] = []
            ours = await pending_changes.done(session, lease, answered)
            for pending_id in sorted(ours):
                for fired in answered[pending_id]:
                    run = await self._recorder.record(session, fired, at=self._now())
                    started += [run] if run else []
            for action_id in struck_out:
                await pause(session, action_id, f"Its condition overran {_STRIKES} times in a row", at=self._now())
            return started

        started = await self._database.transact(record)
        for action_id in struck_out:
            self._strikes.pop(action_id, None)
        await asyncio.gather(*map(self._driver.try_start, started))  # the relay of runs starts what this cannot

    async def _question(self, session: AsyncSession, listening: Listening, pending: Pending) -> _Question | None:
        change = pending.change
        if change is None:
            return None
        if pending.action_id:
            only = listening.by_action.get(pending.action_id)
            asked = [only] if only else []
        else:
            key = key_of(change)
            found = listening.by_key.get(key, ()) if key else ()
            asked = [listener for listener in found if listener.since <= pending.listening]
        found_ones = [await actions.version(session, one.action_id, one.version) for one in asked]
        automations = [one for one in found_ones if self._strikes[one.id] < _STRIKES and _readable(one)]
        if not automations:
            return None
        event = await events.of_document(session, change, organization=self._organization)
        return _Question(pending, change, event, automations)

    async def _fired(self, question: _Question | None) -> list[Fired] | None:
        """What follows from the change; None when that cannot be told now: then it is asked again later."""
        if question is None:
            return []
        try:
            return await self._judged(question)
        except Unavailable:
            raise
        except Exception:
            # Others go on. This change, and those of its subject after it, wait until the lease is over.
            log.exception("a change cannot be answered now", extra={"change": question.pending.change_id})
            return None

    async def _judged(self, question: _Question) -> list[Fired]:
        async with self._turn:
            automations = [one for one in question.automations if self._strikes[one.id] < _STRIKES]
            # Who has overrun before is asked alone, so that nobody waits for it again and again.
            together = [one for one in automations if not self._strikes[one.id]]
            groups = [together, *([one] for one in automations if self._strikes[one.id])]
            judged = [
                judgement
                for group in groups
                for judgement in await judge(group, question.change, question.event, self._evaluate)
            ]
            for judgement in judged:
                struck = self._strikes.pop(judgement.action.id, 0)
                if judgement.overran:
                    self._strikes[judgement.action.id] = struck + 1
            wanting = [judgement.action for judgement in judged if judgement.fires]
            if not wanting:
                return []
            given = await self._circumstances(question.change, question.pending.replay)
            return [await self._ready(action, question, given) for action in wanting]

    async def _circumstances(self, change: Document, replay: str) -> Caused:
        by, cause = str(change["by"]), change.get("causedBy")
        async with self._database.read() as session:
            actor = await users.get(session, by)
            causes: tuple[Link, ...] = ()
            if isinstance(cause, str):
                try:
                    run = await runs.get(session, cause)
                    causes = (*run.interlock.causes, Link(run=run.id, action=run.action.identifier))
                except NotFound:
                    pass  # its token was given to nobody that we know: the depth still counts
        depth = change.get("depth")
        return Caused(
            organization=self._organization,
            at=self._now(),
            actor=actor,
            causes=causes,
            depth=depth if isinstance(depth, int) else 0,
            replay=replay,
        )

    async def _ready(self, action: Action, question: _Question, given: Caused) -> Fired:
        """The run that follows, as it will be recorded: with what will be sent, or with why nothing can be."""
        run = caused(action, question.change, given)
        warnings: tuple[str, ...] = ()
        try:
            run, warnings = await rendered(run, action, self._evaluate, self._settings, event=question.event)
        except Unavailable:
            raise
        except InterlockError as fault:
            run = stopped(run, str(fault), at=given.at)
        pending = question.pending
        return Fired(pending.id, pending.change_id, pending.subject, pending.replay, action, run, warnings)

    async def _let_go(self, held: Held, listening: Listening) -> None:
        async with self._database.read() as session:
            listener = listening.by_action.get(held.action_id)
            change = await changes.get(session, held.change_id)
            if listener and change:
                action = await actions.version(session, listener.action_id, listener.version)
                event = await events.of_document(session, change, organization=self._organization)
        if not listener or not change:
            async with self._database.write() as session:
                await self._recorder.give_up(session, held, at=self._now())
            return
        pending = Pending(0, held.change_id, change, held.subject, 0, held.action_id, held.replay)
        question = _Question(pending, change, event, [action])
        fired = await self._ready(action, question, await self._circumstances(change, held.replay))
        async with self._database.write() as session:
            run = await self._recorder.let_go(session, held, fired, at=self._now())
        if run:
            await self._driver.try_start(run)


def _readable(action: Action) -> bool:
    """Whether its definition can be read; one that an older version took keeps nobody else from running."""
    try:
        return action.definition.automation is not None
    except InterlockError as fault:
        log.error("automation cannot be read", extra={"action": action.identifier, "cause": str(fault)})
        return False


def _delivered(pending: Pending, listening: Listening) -> bool:
    # What is asked of one automation only is told already, or no change of the catalog.
    return pending.change is not None and not pending.action_id and listening.delivers(pending.change)
