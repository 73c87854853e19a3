"""Simulations: what an automation would do about changes of the past, without doing it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import JsonValue

from domain.actions import Action
from domain.automations import Caused, Judgement, caused, judge
from domain.documents import Document, canonical
from domain.errors import InterlockError, Unavailable
from domain.explanations import judged
from domain.jq import Evaluator
from domain.users import User
from runtime.rendering import rendered
from runtime.settings import Settings

LONGEST = timedelta(seconds=20)
"""How long a simulation takes at most; templates and conditions may be slow."""
LARGEST = 16 * 2**20
"""How many characters it answers with, give or take the last result."""
OVERRUNS = 3
"""After how many conditions in a row that overrun it ends: they would pause the automation."""


@dataclass(frozen=True)
class Past:
    """A change of the past."""

    change: Document
    event: Document
    actor: User | None
    """The person who made it."""


@dataclass(frozen=True)
class Simulation:
    """What would have happened."""

    results: list[JsonValue]
    """For each change that was looked at: whether it fires, why, and what would be sent."""
    fired: int
    stopped: str | None
    """Why not all were looked at; None when they were."""


@dataclass(frozen=True)
class Simulator:
    """Simulates automations of one organization."""

    evaluate: Evaluator
    settings: Settings
    organization: str
    now: Callable[[], datetime]

    async def __call__(self, action: Action, several: Sequence[Past]) -> Simulation:
        """What the automation would do about the changes, one after the other.

        Raises:
            Unavailable: no process could be had to run jq.
        """
        results: list[JsonValue] = []
        begun, fired, size, overran = self.now(), 0, 0, 0
        stopped: str | None = None
        for past in several:
            [judgement] = await judge([action], past.change, past.event, self.evaluate)
            result = await self._result(action, past, judgement)
            results.append(result)
            fired += judgement.fires
            size += len(canonical(result))
            overran = overran + 1 if judgement.overran else 0
            stopped = self._enough(begun, size, overran)
            if stopped:
                break
        return Simulation(results, fired, stopped if len(results) < len(several) else None)

    def _enough(self, begun: datetime, size: int, overran: int) -> str | None:
        if overran >= OVERRUNS:
            return f"its condition overran {overran} times in a row, which would pause the automation"
        if self.now() - begun > LONGEST:
            return f"it took longer than {LONGEST.total_seconds():.0f} seconds"
        return f"the answer is larger than {LARGEST} characters" if size > LARGEST else None

    async def _result(self, action: Action, past: Past, judgement: Judgement) -> Document:
        change, event = past.change, past.event
        result: Document = {
            "event": change["id"],
            "at": change["at"],
            "resourceType": change["resourceType"],
            "action": change["action"],
            "context": change["context"],
            **judged(judgement),
            "warnings": [],
        }
        if not judgement.fires:
            return result
        depth = change.get("depth")
        given = Caused(
            self.organization, self.now(), past.actor, causes=(), depth=depth if isinstance(depth, int) else 0
        )
        try:
            run, warnings = await rendered(
                caused(action, change, given), action, self.evaluate, self.settings, event=event
            )
        except Unavailable:
            raise
        except InterlockError as fault:
            return {**result, "error": str(fault)}
        return {**result, "payload": run.payload, "warnings": [*warnings]}
