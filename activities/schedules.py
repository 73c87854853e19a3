"""What a time of a schedule leads to: a change that its automation is asked about."""

from temporalio import activity

from activities.services import Services
from store import schedules
from workflows.calls import ScheduledTime


class ScheduleActivities:
    """Short transactions about one time of one schedule; the second for the same time changes nothing."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @activity.defn
    async def fire_schedule(self, time: ScheduledTime) -> bool:
        """Record that the time has come, for the automation to be asked about; whether that was news."""
        return await self._services.database.transact(
            lambda session: schedules.fire(
                session,
                time.action_id,
                cron=time.cron,
                timezone=time.timezone,
                scheduled_at=time.scheduled_at,
                at=self._services.now(),
            )
        )
