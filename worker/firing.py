"""Records what becomes of changes that automations let pass: a run, or why there is none, within the limits."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel.ext.asyncio.session import AsyncSession

from domain.actions import Action
from domain.automations import Outcome, chain_in_words, stopped
from domain.errors import NotFound
from domain.requests import MAX_DEPTH
from domain.runs import PLATFORM, Run, RunStatus
from domain.times import iso
from runtime.settings import Settings
from store import actions, firings, listeners, runs
from store.firings import Firing, Held

log = logging.getLogger(__name__)

_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Fired:
    """An automation that wants a run for a change, and the run, not recorded yet."""

    pending_id: int
    change_id: str
    subject: str
    replay: str
    action: Action
    run: Run
    warnings: tuple[str, ...]
    """Lines for the log of the run."""


class Recorder:
    """Writes down, in the transaction it is given, what follows from each automation that fired."""

    def __init__(self, settings: Settings) -> None:
        self._most = settings.automation_runs_per_minute
        self._most_recurring = settings.automation_recurrences_per_minute

    async def record(self, session: AsyncSession, fired: Fired, *, at: datetime) -> Run | None:
        """The run, if there is one now whose workflow has to be started."""
        if await firings.exists(session, fired.change_id, fired.action.id, fired.replay):
            return None
        if fired.action.id not in (await listeners.current(session)).by_action:
            await self._note(session, fired, Outcome.STOPPED, at=at)  # it was paused since it was asked
            return None
        limits = fired.action.definition.interlock
        if limits and limits.debounce:
            await self._note(session, fired, Outcome.HELD, at=at)
            due = at + limits.debounce.quiet
            held = Held(fired.action.id, fired.subject, fired.change_id, fired.replay, due)
            await firings.hold(session, held, at=at)
            return None
        return await self._run(session, fired, at=at)

    async def let_go(self, session: AsyncSession, held: Held, fired: Fired, *, at: datetime) -> Run | None:
        """The run of a change that was held until now."""
        if not await firings.let_go(session, held):
            return None  # another change took its place, or another process was faster
        return await self._run(session, fired, at=at)

    async def give_up(self, session: AsyncSession, held: Held, *, at: datetime) -> None:
        """There is no run for a change that was held: its automation does not listen any more."""
        if await firings.let_go(session, held):
            firing = Firing(held.change_id, held.action_id, held.subject, Outcome.STOPPED, at, held.replay)
            await firings.record(session, firing)

    async def _run(self, session: AsyncSession, fired: Fired, *, at: datetime) -> Run | None:
        action, limits = fired.action, fired.action.definition.interlock
        if limits and (throttle := limits.throttle):
            recent = await firings.ran(session, action.id, fired.subject, since=at - throttle.per)
            if recent >= throttle.runs:
                await self._note(session, fired, Outcome.THROTTLED, at=at)
                return None
        chain = fired.run.interlock.causes
        recurs = any(link.action == action.identifier for link in chain) or bool(
            await firings.ran(session, action.id, fired.subject, since=at - _MINUTE)
        )
        reason = await self._too_much(session, fired, recurs=recurs, at=at)
        run = stopped(fired.run, reason, at=at) if reason else fired.run
        try:
            await runs.create(session, run, action_id=action.id, request=None)
        except NotFound:
            return None  # the automation has just been deleted
        for warning in fired.warnings:
            await runs.log(session, run.id, warning, by=PLATFORM, at=at)
        outcome = Outcome.STOPPED if reason else Outcome.RUN
        await self._note(session, fired, outcome, run_id=run.id, recurs=recurs, at=at)
        if reason:
            await pause(session, action.id, reason, run_id=run.id, at=at)
        return run if run.status is RunStatus.IN_PROGRESS else None

    async def _too_much(self, session: AsyncSession, fired: Fired, *, recurs: bool, at: datetime) -> str | None:
        """Why this run is one too many; None if it is not."""
        driving = fired.run.interlock
        if driving.depth > MAX_DEPTH:
            chain = chain_in_words(driving.causes, fired.action.identifier)
            return f"It would be number {driving.depth + 1} of a chain of runs that cause each other: {chain}"
        of_all, recurring = await firings.counted(session, fired.action.id, since=at - _MINUTE)
        if recurs and recurring >= self._most_recurring:
            chain = chain_in_words(driving.causes, fired.action.identifier)
            return f"It has run again and again, {recurring} times within a minute: {chain}"
        if of_all >= self._most:
            return f"It has run {of_all} times within a minute"
        return None

    async def _note(
        self,
        session: AsyncSession,
        fired: Fired,
        outcome: Outcome,
        *,
        at: datetime,
        run_id: str | None = None,
        recurs: bool = False,
    ) -> None:
        firing = Firing(fired.change_id, fired.action.id, fired.subject, outcome, at, fired.replay, run_id, recurs)
        await firings.record(session, firing)


async def pause(session: AsyncSession, action_id: str, reason: str, *, at: datetime, run_id: str | None = None) -> None:
    """Let nobody ask the automation any more, until an Admin resumes it."""
    if await actions.pause(session, action_id, {"reason": reason, "at": iso(at), "runId": run_id}):
        log.warning("automation is paused", extra={"action_id": action_id, "cause": reason})
