"""The turn of a run: asked for before its backend is called, and what the call says about the backend."""

import logging
from datetime import timedelta

from sqlmodel.ext.asyncio.session import AsyncSession

from activities.attempts import Watch
from activities.services import Services
from backends import parse_rendered
from backends.base import InvocationMethod
from domain import budgets
from domain.actions import Action
from domain.attempts import Outcome
from domain.budgets import SOONEST_LOOK, Wanted
from domain.documents import Document
from domain.errors import InvalidInvocation, Unavailable
from domain.fingerprints import fingerprint
from domain.runs import PLATFORM, Run
from store import circuits, runs, turns
from store.runs import Found
from workflows.calls import Progress

_TOO_MANY = 429
_BROKEN = range(500, 600)
_FAILED = frozenset({Outcome.UNREACHABLE, Outcome.BUSY, Outcome.ANSWER_LOST})
_DIGITS = 16
_SHORTEST = timedelta(seconds=1)

log = logging.getLogger(__name__)


class Turns:
    """Lines and circuits, as deliveries meet them."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def wanted(self, found: Found, action: Action, method: InvocationMethod, masked: Document | None) -> Wanted:
        """What the run needs before its rendered method is invoked. `masked` is that without its secrets."""
        section = action.document.get("interlock")
        if not isinstance(section, dict) or not section.get("backend"):
            return Wanted()  # without reading the whole definition
        rules = action.definition.backend_rules
        if not rules.budgets and not rules.circuit_breaker:
            return Wanted()
        where = method.counterpart()
        if action.template.secret_programs and (masked is None or not _shows(masked, where)):
            where = f"{method.type} {fingerprint({'goesTo': where}, self._services.request_key)[:_DIGITS]}"
        return budgets.wanted(found.run, found.action_id, rules, where)

    async def take(self, found: Found, wanted: Wanted) -> Progress | None:
        """Ask for the turn of the run. None: it has it, or needs none. Else where it stands, queued or ended.

        A run whose action has neither budgets nor a circuit breaker costs nothing here; with a circuit breaker alone,
        one query as long as the backend answers.
        """
        if not wanted and found.turn is None:
            return None
        if not wanted.budgets and found.turn is None and wanted.circuit:
            async with self._services.database.read() as session:
                if (await circuits.find(session, wanted.circuit)).open_until is None:
                    return None
        at = self._services.now()

        async def work(session: AsyncSession) -> tuple[turns.Turn, str]:
            turn = await turns.take(session, found.run.id, wanted, at=at)
            words = ""
            if turn.obstacle:
                [run] = await turns.labelled(session, [found.run.model_copy(update={"queued": True})])
                words = run.status_label or ""
            if turn.is_news and (line := await _line(session, found.run, wanted, turn, words)):
                await runs.log(session, found.run.id, line, by=PLATFORM, at=at)
            return turn, words

        turn, words = await self._services.database.transact(work)
        if turn.granted:
            return None
        if turn.obstacle is None:
            async with self._services.database.read() as session:
                return Progress.of(await runs.get(session, found.run.id))
        return Progress(
            status=found.run.status,
            starts_at=turn.look_at,
            queued=True,
            look_after=max(turn.look_at - at, _SHORTEST) if turn.look_at else SOONEST_LOOK,
            waits_for=words,
        )

    @staticmethod
    def worked(watch: Watch, outcome: Outcome) -> bool | None:
        """Whether the backend has answered a call. None: it was not called, or somebody else does that."""
        status = watch.final_status
        if outcome in _FAILED or status == _TOO_MANY or status in _BROKEN:
            return False
        return True if watch.last else None

    async def is_news(self, wanted: Wanted, worked: bool | None) -> bool:
        """Whether that has to be noted: that a backend answers which nothing is held against is none. Never fails."""
        if worked is False or wanted.circuit is None:
            return wanted.circuit is not None
        try:
            async with self._services.database.read() as session:
                return await circuits.find(session, wanted.circuit) != circuits.UNSUSPECTED
        except Unavailable:
            return True

    async def note(self, session: AsyncSession, run: Run, wanted: Wanted, worked: bool | None) -> None:
        """Note in a transaction whether the backend has answered."""
        circuit = await turns.heard_of(session, run.id, wanted, worked=worked, at=self._services.now())
        if circuit and circuit.open_until:
            log.warning("backend fails and is left alone", extra={"backend": wanted.backend, "run_id": run.id})
        elif circuit:
            log.info("backend answers again", extra={"backend": wanted.backend, "run_id": run.id})


def _shows(masked: Document, where: str) -> bool:
    """Whether the place that a delivery goes to is the same without secrets, so that everybody may read it."""
    try:
        return parse_rendered(masked).counterpart() == where
    except InvalidInvocation:
        return False


async def _line(session: AsyncSession, run: Run, wanted: Wanted, turn: turns.Turn, words: str) -> str | None:
    """What the log says of it: nothing while a run tries a dead backend and waits for it again, all the time."""
    if words:
        return words if words != await runs.last_logged(session, run.id) else None
    tries = wanted.circuit and (await circuits.find(session, wanted.circuit)).probe == run.id
    return None if tries else f"Its turn has come, after {_seconds(turn)}"


def _seconds(turn: turns.Turn) -> str:
    return str(turn.waited).partition(".")[0]
