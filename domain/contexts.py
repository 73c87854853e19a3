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


def of_run(run: Run, action: Action) -> Document:
    """The context of a self-service run. Secrets are added only where a template names them."""
    return {
        "inputs": run.properties,
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


def legacy_message(run: Run, action: Action, rendered: Document) -> Document:
    """The message that webhooks get when the definition configures no body.

    Source: the payload of version 1 actions, with `payload.action.identifier` for receivers of its oldest form.
    """
    trigger = run.interlock.trigger
    blueprint = action.blueprint
    identifier = run.action.identifier
    entity = _entity(run)
    return {
        "action": identifier.removeprefix(f"{blueprint}_") if blueprint else identifier,
        "resourceType": "run",
        "status": "TRIGGERED",
        "trigger": {key: trigger.get(key) for key in ("by", "origin", "at")},
        "context": {"entity": run.entity.identifier if run.entity else None, "blueprint": blueprint, "runId": run.id},
        "payload": {
            "entity": entity or None,
            "action": {
                "identifier": identifier,
                "invocationMethod": {
                    key: value for key, value in rendered.items() if key not in ("headers", "body", "payload")
                },
                "trigger": action.operation,
            },
            "properties": run.properties,
            "censoredProperties": list[JsonValue](action.encrypted_inputs),
        },
    }


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
