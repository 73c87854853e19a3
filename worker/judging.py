"""Judging changes: who has to be asked, what they answer, and the runs that follow, ready to be recorded."""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel.ext.asyncio.session import AsyncSession

from domain.actions import Action
from domain.automations import Caused, caused, stopped, verdict
from domain.changes import key_of
from domain.documents import Document
from domain.errors import InterlockError, NotFound, TemplateFault, Unavailable
from domain.jq import Evaluator
from domain.runs import Link, Run
from runtime.rendering import rendered
from runtime.settings import Settings
from store import actions, changes, events, runs, timer_names, users
from store.database import Database
from store.firings import Held
from store.listeners import Listening
from store.pending_changes import Pending

log = logging.getLogger(__name__)

_JUDGING = 4
_RENDERING = 32
"""How many runs are made ready at a time: mostly they wait for jq, and for names of hosts."""
_LONG_SECONDS = 10.0
STRIKES = 3
"""How often in a row an automation may run into the limits of jq before it is paused."""


@dataclass(frozen=True)
class Question:
    """A change, the event it is, and whom to ask about it."""

    change_id: str
    subject: str
    replay: str
    change: Document
    event: Document
    automations: Sequence[Action]
    at: datetime
    """When it was put: runs are made in the order of questions."""


@dataclass(frozen=True)
class Fired:
    """An automation that wants a run for a change, and the run, not recorded yet."""

    change_id: str
    subject: str
    replay: str
    action: Action
    run: Run
    warnings: tuple[str, ...]
    """Lines for the log of the run."""


class Judging:
    """Asks automations about changes. It writes nothing."""

    def __init__(
        self,
        database: Database,
        evaluate: Evaluator,
        settings: Settings,
        organization: str,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._evaluate = evaluate
        self._settings = settings
        self._organization = organization
        self._now = now
        self._judging = asyncio.Semaphore(_JUDGING)
        self._rendering = asyncio.Semaphore(_RENDERING)
        self._strikes: Counter[str] = Counter()

    async def question(self, session: AsyncSession, listening: Listening, pending: Pending) -> Question | None:
        """What to ask about the change; None when there is nobody to ask."""
        change = pending.change
        if change is None:
            return None
        if pending.action_id:
            listener = listening.by_action.get(pending.action_id)
            asked, event = [listener] if listener else [], None
        else:
            key = key_of(change)
            if key is None or key not in listening.by_key:
                return None
            event = await events.of_document(session, change, organization=self._organization)
            asked = [one for one in listening.possible(key, event) if one.since <= pending.listening]
        if not asked:
            return None
        automations = [await actions.version(session, one.action_id, one.version) for one in asked]
        change = await timer_names.by_present_name(session, listening, change)
        return await self._about(
            session, pending.change_id, pending.subject, pending.replay, change, automations, event
        )

    async def held(self, session: AsyncSession, listening: Listening, held: Held) -> Question | None:
        """What to ask about a change that was held: the automation as it is now; None when it does not listen."""
        listener, change = listening.by_action.get(held.action_id), await changes.get(session, held.change_id)
        if listener is None or change is None:
            return None
        action = await actions.version(session, listener.action_id, listener.version)
        change = await timer_names.by_present_name(session, listening, change)
        return await self._about(session, held.change_id, held.subject, held.replay, change, [action])

    async def answer(self, question: Question) -> list[Fired]:
        """The runs that follow.

        Raises:
            Unavailable: SQL does not answer, or jq is too busy.
        """
        async with self._judging:
            automations = [one for one in question.automations if self._strikes[one.id] < STRIKES]
            # Who has overrun before is asked alone, so that nobody waits for it again and again.
            together = [one for one in automations if not self._strikes[one.id]]
            groups = [together, *([one] for one in automations if self._strikes[one.id])]
            wanting: list[Action] = []
            for group in groups:
                with self._suspecting(group):
                    found = await verdict(group, question.change, question.event, self._evaluate)
                for action in found.overran:
                    self._strikes[action.id] += 1
                if self._strikes:  # of those that fire, rendering has to end first
                    kept = {action.id for action in (*found.overran, *found.fires)}
                    self.forget(action.id for action in group if action.id not in kept)
                wanting += found.fires
            given = await self._circumstances(question) if wanting else None
        if given is None:
            return []
        return await asyncio.gather(*(self._ready(action, question, given) for action in wanting))

    def struck_out(self) -> list[str]:
        """The ids of automations that have to be paused."""
        return [action_id for action_id, strikes in self._strikes.items() if strikes >= STRIKES]

    def forget(self, action_ids: Iterable[str]) -> None:
        """These are paused."""
        for action_id in action_ids:
            self._strikes.pop(action_id, None)

    async def _about(
        self,
        session: AsyncSession,
        change_id: str,
        subject: str,
        replay: str,
        change: Document,
        asked: Sequence[Action],
        event: Document | None = None,
    ) -> Question | None:
        automations = [one for one in asked if self._strikes[one.id] < STRIKES and _readable(one)]
        if not automations:
            return None
        if event is None:
            event = await events.of_document(session, change, organization=self._organization)
        return Question(change_id, subject, replay, change, event, automations, self._now())

    @contextlib.contextmanager
    def _suspecting(self, group: Sequence[Action]) -> Iterator[None]:
        """Whoever is asked for so long that nobody waits any more is asked alone the next time, to see who it is."""
        began = time.monotonic()
        try:
            yield
        except asyncio.CancelledError:
            if time.monotonic() - began > _LONG_SECONDS:
                for one in group:
                    self._strikes[one.id] += 1
            raise

    async def _circumstances(self, question: Question) -> Caused:
        change = question.change
        by, cause, depth = str(change["by"]), change.get("causedBy"), change.get("depth")
        async with self._database.read() as session:
            actor = await users.get(session, by)
            causes: tuple[Link, ...] = ()
            if isinstance(cause, str):
                try:
                    run = await runs.get(session, cause)
                    causes = (*run.interlock.causes, Link(run=run.id, action=run.action.identifier))
                except NotFound:
                    pass  # its token was given to nobody that we know: the depth still counts
        return Caused(
            organization=self._organization,
            at=question.at,
            actor=actor,
            causes=causes,
            depth=depth if isinstance(depth, int) else 0,
            replay=question.replay,
        )

    async def _ready(self, action: Action, question: Question, given: Caused) -> Fired:
        """The run that follows, as it will be recorded: with what will be sent, or with why nothing can be."""
        run = caused(action, question.change, given)
        warnings: tuple[str, ...] = ()
        async with self._rendering:
            try:
                with self._suspecting([action]):
                    run, warnings = await rendered(run, action, self._evaluate, self._settings, event=question.event)
                overran = False
            except Unavailable:
                raise
            except InterlockError as fault:
                overran = isinstance(fault, TemplateFault) and fault.overran
                run = stopped(run, str(fault), at=given.at)
        if overran:
            self._strikes[action.id] += 1
        else:
            self._strikes.pop(action.id, None)
        return Fired(question.change_id, question.subject, question.replay, action, run, warnings)


def _readable(action: Action) -> bool:
    """Whether its definition can be read; one that an older version took keeps nobody else from running."""
    try:
        return action.definition.automation is not None
    except InterlockError as fault:
        log.error("automation cannot be read", extra={"action": action.identifier, "cause": str(fault)})
        return False
