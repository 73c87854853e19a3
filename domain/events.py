"""What automations see of a change: the root of their conditions, and `.event` in their templates."""

from pydantic import JsonValue

from domain.actions import Action
from domain.changes import Happening
from domain.documents import Document
from domain.runs import PLATFORM

_OF_TIMERS = (Happening.TIMER_EXPIRED, Happening.TIMER_WARNING)


def event_of(change: Document, *, organization: str, action: Action | None = None) -> Document:
    """The event of a change, as `Change.document()` has it.

    Args:
        change: of an entity, of a run, or a schedule that came to its time.
        organization: whose id goes with whoever made the change.
        action: the definition that the run executes. Without it the event knows no more than its name.

    Source: the event objects of automations; `TIMER_WARNING` and schedules are our own.
    """
    parts = {"run": _of_run, "schedule": _of_schedule}.get(str(change["resourceType"]))
    context, before, after = parts(change, action) if parts else _of_entity(change)
    return {
        "id": change["id"],
        "action": change["action"],
        "resourceType": change["resourceType"],
        "trigger": {"by": maker_of(change, organization), "origin": change["origin"], "at": moment_of(change)},
        "context": context,
        "diff": {"before": before, "after": after},
    }


def maker_of(change: Document, organization: str) -> Document:
    """Who made the change, as events say it."""
    if change["by"] == PLATFORM:
        return {"orgId": organization, "byPort": True}
    return {"orgId": organization, "userId": change["by"]}


def _of_entity(change: Document) -> tuple[Document, JsonValue, JsonValue]:
    named = _object(change["context"])
    context: Document = {
        "blueprintIdentifier": named.get("blueprint"),
        "entityIdentifier": named.get("entity"),
        "propertyIdentifier": named.get("property"),
    }
    if extend := named.get("extendAction"):
        context["extendActionIdentifier"] = extend
    before = None if change["action"] in _OF_TIMERS else _entity(change["before"])
    return context, before, _entity(change["after"])


def _of_run(change: Document, action: Action | None) -> tuple[Document, JsonValue, JsonValue]:
    echo: Document = action.echo() if action else {"identifier": _object(change["context"]).get("action")}
    return {"action": echo}, _run(change["before"]), _run(change["after"])


def _of_schedule(change: Document, _: Action | None) -> tuple[Document, JsonValue, JsonValue]:
    return {"actionIdentifier": _object(change["context"]).get("action")}, None, change["after"]


def moment_of(change: Document) -> JsonValue:
    """When it happened; for a timer the time it was set to, exactly as it was written."""
    if change["action"] == Happening.TIMER_EXPIRED:
        properties = _object(_object(change["after"]).get("properties"))
        return properties.get(str(_object(change["context"]).get("property"))) or change["at"]
    return change["at"]


def _entity(entity: JsonValue) -> JsonValue:
    """The entity with its teams as an array, however few they are."""
    if not isinstance(entity, dict):
        return None
    team = entity.get("team")
    if isinstance(team, list):
        return entity
    return {**entity, "team": [team] if isinstance(team, str) else []}


def _run(run: JsonValue) -> JsonValue:
    """The run without our own section: it is no part of the API, and chains would nest in it."""
    return {key: value for key, value in run.items() if key != "interlock"} if isinstance(run, dict) else None


def _object(value: JsonValue) -> Document:
    return value if isinstance(value, dict) else {}
