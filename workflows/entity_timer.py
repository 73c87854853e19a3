"""`EntityTimer`: one moment that a timer property of an entity holds, from the day it is set to the day it is over."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from domain.errors import InterlockError
    from domain.timers import Outcome
    from workflows.calls import RECORD, EntityTimerInput, TimerAnswer, TimerQuestion, expire_timer, warn_of_timer

_LONGEST = timedelta(days=3650)
"""How long it waits without looking; servers count only so far."""
_SHORTEST = timedelta(milliseconds=10)


@workflow.defn(name="EntityTimer", failure_exception_types=[InterlockError])
class EntityTimer:
    """The row of the timer is the fact. This asks it to warn and to expire when it is time, and goes by the answer.

    It is started with a delay, so that it costs no worker anything before there is something to do.
    """

    @workflow.run
    async def run(self, start: EntityTimerInput) -> Outcome:
        """Warn if that is wanted, then expire; what came of it."""
        outcome = Outcome.DONE
        if start.warn_at is not None:
            workflow.set_current_details(f"Warns that **{start.value}** is near.")
            outcome = await self._ask(warn_of_timer, start, "until the warning")
        if outcome is not Outcome.STALE:
            workflow.set_current_details(f"Waits until **{start.value}**.")
            left = start.due_at - workflow.now()
            if left > timedelta(0):
                await self._sleep(left, "until it expires")
            outcome = await self._ask(expire_timer, start, "until it expires by our clock")
        workflow.set_current_details(
            "The entity holds another value now." if outcome is Outcome.STALE else "It expired."
        )
        return outcome

    async def _ask(self, activity: Callable[[TimerQuestion], Any], start: EntityTimerInput, why: str) -> Outcome:
        question = TimerQuestion(entity_id=start.entity_id, property=start.property, due_at=start.due_at)
        while True:
            answer: TimerAnswer = await workflow.execute_local_activity(activity, question, **RECORD)
            if answer.outcome is not Outcome.EARLY:
                return answer.outcome
            await self._sleep(answer.left, why)

    async def _sleep(self, left: timedelta, why: str) -> None:
        await workflow.sleep(min(max(left, _SHORTEST), _LONGEST), summary=why)
