"""Explanations: conditions judged once more for people, without taking jq away from those that run things."""

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime

from pydantic import JsonValue

from domain.actions import Action
from domain.automations import Judgement, judge
from domain.documents import Document
from domain.errors import Unavailable
from domain.jq import Evaluator, Outcome, Overran

LONGEST = 20.0
"""How many seconds the conditions of one explanation may take; those that are left then are not asked."""
PATIENCE = 10.0
"""How many seconds one explanation waits for others."""


class Explainer:
    """Judges conditions for people, one explanation at a time: anybody may ask for any number of them."""

    def __init__(self, evaluate: Evaluator) -> None:
        self._evaluate = evaluate
        self._turn = asyncio.Semaphore(1)

    async def __call__(self, actions: Sequence[Action], change: Document, event: Document) -> list[Judgement]:
        """Whether each of the actions has to run because of the change, as `domain.automations.judge` has it.

        Raises:
            Unavailable: others are explained for too long, or no process could be had to run jq.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                await self._turn.acquire()
        except TimeoutError:
            raise Unavailable("other changes are being explained, ask again in a moment") from None
        try:
            return await judge(actions, change, event, _within(self._evaluate, time.monotonic() + LONGEST))
        finally:
            self._turn.release()


def _within(evaluate: Evaluator, end: float) -> Evaluator:
    """The evaluator, for so long as there is time: what it has not answered by then has overrun."""

    async def evaluated(programs: Sequence[str], document: JsonValue, *, now: datetime | None = None) -> list[Outcome]:
        left = end - time.monotonic()
        if left > 0:
            try:
                async with asyncio.timeout(left):
                    return await evaluate(programs, document, now=now)
            except TimeoutError:
                pass  # said below
        return [Overran(f"all conditions together took longer than {LONGEST:g} s")] * len(programs)

    return evaluated
