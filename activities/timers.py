"""What a timer's workflow asks for when it is time."""

from temporalio import activity

from activities.services import Services
from store import timers
from workflows.calls import TimerAnswer, TimerQuestion


class TimerActivities:
    """Short transactions about one timer; each is safe to run twice, because its row remembers what has happened."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @activity.defn
    async def warn_of_timer(self, question: TimerQuestion) -> TimerAnswer:
        """Record that the timer will expire soon, unless it is another one by now."""
        return await self._asked(timers.warn, question)

    @activity.defn
    async def expire_timer(self, question: TimerQuestion) -> TimerAnswer:
        """Record that the timer has expired, unless it is another one by now, or has before."""
        return await self._asked(timers.expire, question)

    async def _asked(self, ask: timers.Asking, question: TimerQuestion) -> TimerAnswer:
        at = self._services.now()
        answer = await self._services.database.transact(
            lambda session: ask(session, question.entity_id, question.property, question.due_at, at=at)
        )
        return TimerAnswer(outcome=answer.outcome, left=answer.left)
