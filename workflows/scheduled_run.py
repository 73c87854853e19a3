"""`ScheduledRun`: one time of a schedule that came; Temporal's schedule starts it, and it records the time."""

from temporalio import workflow
from temporalio.common import SearchAttributeKey

with workflow.unsafe.imports_passed_through():
    from workflows.calls import RECORD, ScheduledRunInput, ScheduledTime, fire_schedule

_SCHEDULED_AT = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")


@workflow.defn(name="ScheduledRun")
class ScheduledRun:
    """Records the time that was meant, however late it is, and nothing else: automations are asked like for others."""

    @workflow.run
    async def run(self, start: ScheduledRunInput) -> bool:
        """Record the time; whether that was news."""
        info = workflow.info()
        time = ScheduledTime(
            action_id=start.action_id,
            cron=start.cron,
            timezone=start.timezone,
            # An operator may start it by hand, and then means now.
            scheduled_at=info.typed_search_attributes.get(_SCHEDULED_AT) or info.start_time,
        )
        return await workflow.execute_local_activity(fire_schedule, time, **RECORD)
