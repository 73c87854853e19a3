"""What histories of runs tell."""

import json

from temporalio.client import WorkflowHistory


def is_answered(history: WorkflowHistory) -> bool:
    """Whether the workflow knows what came of calling the backend."""
    return any(event.HasField("activity_task_completed_event_attributes") for event in history.events) or any(
        began["activity_type"] == "begin_invocation" and not result["begun"]
        for began, result in _local_activities(history)
    )


def invocations(history: WorkflowHistory) -> set[str]:
    """The ids of the invocations that the workflow has asked for."""
    scheduled = [event.activity_task_scheduled_event_attributes for event in history.events]
    later = {one.activity_id for one in scheduled if one.activity_type.name == "invoke_backend"}
    at_once = [began for began, _ in _local_activities(history) if began["activity_type"] == "begin_invocation"]
    return later.union(began["activity_id"] for began in at_once)


def _local_activities(history: WorkflowHistory) -> list[tuple[dict[str, str], dict[str, object]]]:
    """Of each that has ended well: what Temporal's client has kept of it, and its result."""
    markers = [event.marker_recorded_event_attributes.details for event in history.events]
    return [
        (json.loads(details["data"].payloads[0].data), json.loads(details["result"].payloads[0].data))
        for details in markers
        if "data" in details and "result" in details
    ]
