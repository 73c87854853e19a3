"""Records what becomes of changes that automations let pass: a run, or why there is none, within the limits."""

import logging
from datetime import datetime, timedelta

from sqlmodel.ext.asyncio.session import AsyncSession

from domain.automations import Outcome, chain_in_words, stopped
from domain.errors import NotFound
from domain.requests import MAX_DEPTH
from domain.runs import PLATFORM, Run, RunStatus
from domain.times import iso
from runtime.settings import Settings
from store import actions, firings, listeners, runs
from store.firings import Firing, Held
from worker.judging import Fired

log = logging.getLogger(__name__)

_MINUTE = timedelta(minutes=1)


class Recording:
    """What one transaction records of automations that fired; `finish` is its last word."""

    def __init__(self, session: AsyncSession, settings: Settings, at: datetime) -> None:
        self._session = session
        self._most = settings.automation_runs_per_minute
        self._most_recurring = settings.automation_recurrences_per_minute
        self._at = at
        self._to_pause: dict[str, tuple[str, str | None]] = {}
        self.started: list[Run] = []
        """Runs whose workflows have to be started."""

    async def record(self, fired: Fired) -> None:
        """Let the change make a run, or wait, or neither."""
        if await firings.exists(self._session, fired.change_id, fired.action.id, fired.replay):
            return
        if not await self._listens(fired.action.id):
            await self._note(fired, Outcome.STOPPED)  # it was paused since it was asked
            return
        limits = fired.action.definition.interlock
        if limits and limits.debounce:
            await self._note(fired, Outcome.HELD)
            due = self._at + limits.debounce.quiet
            held = Held(fired.action.id, fired.subject, fired.change_id, fired.replay, due)
            await firings.hold(self._session, held, at=self._at)
            return
        await self._run(fired)

    async def let_go(self, held: Held, fired: Fired | None) -> None:
        """Make the run of a change that was held until now; None where its automation does not want it any more."""
        if not await firings.let_go(self._session, held):
            return  # another change took its place, or another process was faster
        if fired and await self._listens(held.action_id):
            await self._run(fired)
            return
        firing = Firing(held.change_id, held.action_id, held.subject, Outcome.STOPPED, self._at, held.replay)
        await firings.record(self._session, firing)

    def pause(self, action_id: str, reason: str, run_id: str | None = None) -> None:
        """Let nobody ask the automation any more, until an Admin resumes it."""
        self._to_pause.setdefault(action_id, (reason, run_id))

    async def finish(self) -> None:
        """Pause whom too much was recorded of: last, because everybody who writes waits for it then."""
        for action_id, (reason, run_id) in self._to_pause.items():
            if await actions.pause(self._session, action_id, {"reason": reason, "at": iso(self._at), "runId": run_id}):
                log.warning("automation is paused", extra={"action_id": action_id, "cause": reason})

    async def _listens(self, action_id: str) -> bool:
        return action_id not in self._to_pause and action_id in (await listeners.current(self._session)).by_action

    async def _run(self, fired: Fired) -> None:
        action, limits = fired.action, fired.action.definition.interlock
        if limits and (throttle := limits.throttle):
            recent = await firings.ran(self._session, action.id, fired.subject, since=self._at - throttle.per)
            if recent >= throttle.runs:
                await self._note(fired, Outcome.THROTTLED)
                return
        recurs = any(link.action == action.identifier for link in fired.run.interlock.causes)
        reason = await self._too_much(fired, recurs=recurs)
        run = stopped(fired.run, reason, at=self._at) if reason else fired.run
        try:
            await runs.create(self._session, run, action_id=action.id, request=None)
        except NotFound:  # the automation has just been deleted
            await self._note(fired, Outcome.STOPPED)
            return
        for warning in fired.warnings:
            await runs.log(self._session, run.id, warning, by=PLATFORM, at=self._at)
        await self._note(fired, Outcome.STOPPED if reason else Outcome.RUN, run_id=run.id, recurs=recurs)
        if reason:
            self.pause(action.id, reason, run.id)
        if run.status is RunStatus.IN_PROGRESS:
            self.started.append(run)

    async def _too_much(self, fired: Fired, *, recurs: bool) -> str | None:
        """Why this run is one too many; None if it is not."""
        driving, since = fired.run.interlock, self._at - _MINUTE
        chain = chain_in_words(driving.causes, fired.action.identifier)
        if driving.depth > MAX_DEPTH:
            return f"It would be number {driving.depth + 1} of a chain of runs that cause each other: {chain}"
        of_all, recurring = await firings.counted(self._session, fired.action.id, since=since)
        if recurs and recurring >= self._most_recurring:
            return f"It has caused itself {recurring} times within a minute: {chain}"
        of_subject = await firings.ran(self._session, fired.action.id, fired.subject, since=since)
        if of_subject >= self._most_recurring:
            return f"It has run {of_subject} times within a minute for the same: {chain}"
        if of_all >= self._most:
            return f"It has run {of_all} times within a minute"
        return None

    async def _note(self, fired: Fired, outcome: Outcome, *, run_id: str | None = None, recurs: bool = False) -> None:
        firing = Firing(
            fired.change_id, fired.action.id, fired.subject, outcome, self._at, fired.replay, run_id, recurs
        )
        await firings.record(self._session, firing)
