"""What templates of an invocation method see: a pure function of the run and the definition it executes.

Because nothing else goes in, what was checked at the request, previewed by an approver and sent are the same.
"""

from pydantic import JsonValue

from domain.actions import Action
from domain.documents import Document
from domain.runs import Run, Source
from domain.users import Caller


def trigger_of(caller: Caller, action: Action, *, source: Source, at: str) -> Document:
    """Who asked for a run, how and when, as it will be kept with the run."""
    by: Document = {"orgId": caller.organization, "userId": caller.id}
    if caller.user:
        by["user"] = caller.user.as_trigger()
    return {"by": by, "origin": source, "at": at, "operation": action.operation}


def of_run(run: Run, action: Action, event: Document | None = None) -> Document:
    """The context of a run, for an automation's with its event. Secrets are added only where a template names them."""
    if not action.is_self_service:
        return {
            "inputs": None,
            "trigger": run.interlock.trigger,
            "event": event,
            "entity": None,
            "action": {"identifier": run.action.identifier},
            "run": {"id": run.id},
        }
    return {
        "inputs": {**run.properties, **(run.interlock.inputs or {})},
        "trigger": run.interlock.trigger,
        "event": None,
        "entity": _entity(run),
        "action": {
            "identifier": run.action.identifier,
            "blueprint": action.blueprint,
            "encryptedProperties": list[JsonValue](action.encrypted_inputs),
        },
        "run": {"id": run.id},
    }


def legacy_message(run: Run, action: Action, rendered: Document, event: Document | None = None) -> Document:
    """The message that webhooks get when the definition configures no body.

    For an automation's run it is about the entity of the event, if it has one, and the event is part of the payload.

    Source: the payload of version 1 actions, with `payload.action.identifier` for receivers of its oldest form.
    """
    trigger, identifier = run.interlock.trigger, run.action.identifier
    entity, blueprint = run.entity.identifier if run.entity else None, action.blueprint
    name = identifier.removeprefix(f"{blueprint}_") if blueprint else identifier
    of_event: Document = {}
    if not action.is_self_service:
        name, of_event = identifier, {"event": event}
        entity, blueprint = _subject(event)
    return {
        "action": name,
        "resourceType": "run",
        "status": "TRIGGERED",
        "trigger": {key: trigger.get(key) for key in ("by", "origin", "at")},
        "context": {"entity": entity, "blueprint": blueprint, "runId": run.id},
        "payload": {
            "entity": _entity(run) or None,
            "action": {
                "identifier": identifier,
                "invocationMethod": {
                    key: value for key, value in rendered.items() if key not in ("headers", "body", "payload")
                },
                "trigger": action.operation,
            },
            "properties": run.properties,
            "censoredProperties": list[JsonValue](action.encrypted_inputs),
            **of_event,
        },
    }


def _subject(event: Document | None) -> tuple[str | None, str | None]:
    """The entity and the blueprint that the event is about, if it is about one."""
    context = (event or {}).get("context")
    named = context if isinstance(context, dict) else {}
    entity, blueprint = named.get("entityIdentifier"), named.get("blueprintIdentifier")
    return (str(entity), str(blueprint)) if entity and blueprint else (None, None)


def _entity(run: Run) -> Document:
    if run.interlock.entity is not None:
        return run.interlock.entity
    if run.entity is None:
        return {}
    return {  # a run from before there was a catalog
        "identifier": run.entity.identifier,
        "title": run.entity.title or run.entity.identifier,
        "icon": run.entity.icon,
        "blueprint": run.blueprint.identifier if run.blueprint else None,
        "team": [],
        "properties": {},
        "relations": {},
    }
