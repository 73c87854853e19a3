"""`ChangeDelivery`: one change on its way to the address or the topic that its blueprint names."""

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from workflows.calls import DELIVER_RETRIES, DELIVER_TIME_LIMIT, SILENCE, ChangeDeliveryInput, deliver_change

GIVEN_UP = "given up"


@workflow.defn(name="ChangeDelivery")
class ChangeDelivery:
    """Sends until the receiver has answered for good, or a day is over."""

    @workflow.run
    async def run(self, start: ChangeDeliveryInput) -> str:
        """Deliver the change; what became of it, in words."""
        try:
            return await workflow.execute_activity(
                deliver_change,
                start.change_id,
                start_to_close_timeout=start.delivery_time_limit + SILENCE,
                schedule_to_close_timeout=DELIVER_TIME_LIMIT,
                retry_policy=DELIVER_RETRIES,
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            workflow.logger.warning(
                "change was not delivered and is given up",
                extra={"change_id": start.change_id, "cause": str(error.cause)},
            )
            return GIVEN_UP
