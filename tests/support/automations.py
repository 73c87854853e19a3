"""Automations and changes for tests of what becomes of them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import JsonValue

from domain.actions import Action
from domain.changes import Change, Happening
from domain.documents import Document
from domain.runs import Ref, Run, RunStatus

AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
LATER = AT + timedelta(seconds=1)
ORGANIZATION = "org_0123456789abcdef"


def action(document: Document, **more: Any) -> Action:
    """An action as it is stored."""
    stored: dict[str, Any] = {
        "id": "action_0123456789abcdef",
        "version": 3,
        "created_at": AT,
        "created_by": "user_1",
        "updated_at": AT,
        "updated_by": "user_2",
    }
    identifier: Any = document["identifier"]
    return Action(**stored | {"identifier": identifier, "document": document} | more)


def automation(
    *expressions: str,
    combinator: str | None = None,
    event: Document | None = None,
    identifier: str = "notify",
    action_id: str = "action_0123456789abcdef",
    **more: Any,
) -> Action:
    """An automation, by default one that listens to every change of an entity of `service`."""
    condition: Document = {"type": "JQ", "expressions": list[JsonValue](expressions)}
    if combinator:
        condition["combinator"] = combinator
    return action(
        {
            "identifier": identifier,
            "title": "Notify",
            "trigger": {
                "type": "automation",
                "event": event or {"type": "ANY_ENTITY_CHANGE", "blueprintIdentifier": "service"},
                **({"condition": condition} if expressions or combinator else {}),
            },
            "invocationMethod": {"type": "WEBHOOK", "url": "https://example.org/{{ .run.id }}"},
            "publish": True,
            **more,
        },
        id=action_id,
    )


def entity(**more: Any) -> dict[str, Any]:
    """An entity as changes tell it."""
    return {
        "identifier": "cart",
        "title": "Cart",
        "icon": None,
        "blueprint": "service",
        "team": ["Rocket"],
        "properties": {"tier": "1", "ttl": "2026-01-02T05:04:00+02:00"},
        "relations": {"uses": "payments"},
        "createdAt": "2026-01-01T00:00:00.000Z",
        "createdBy": "user_1",
        "updatedAt": "2026-01-02T03:04:05.678Z",
        "updatedBy": "user_1",
        **more,
    }


def entity_change(
    before: Document | None, after: Document | None, *, happening: Happening | None = None, **more: Any
) -> Document:
    """A change of an entity, as it is recorded."""
    happens = Happening.CREATE if before is None else Happening.DELETE if after is None else Happening.UPDATE
    return change(
        resource_type="entity",
        action=happening or happens,
        context={"blueprint": "service", "entity": "cart", "runId": None},
        before=before,
        after=after,
        subject="entity_1",
        **more,
    )


def timer_change(happening: Happening = Happening.TIMER_EXPIRED, **context: str) -> Document:
    """A change that a timer makes."""
    return change(
        resource_type="entity",
        action=happening,
        context={"blueprint": "service", "entity": "cart", "property": "ttl", **context},
        before=None,
        after=entity(),
        by="interlock",
    )


def run_change(before: Run | None, after: Run) -> Document:
    """A change of a run."""
    return Change.of_run(before.document() if before else None, after.document(), after, origin="API").document() | {
        "id": "event_0123456789abcdef"
    }


def change(**more: Any) -> Document:
    """A change, as it is recorded."""
    given: dict[str, Any] = {"id": "event_0123456789abcdef", "at": AT, "by": "user_1", "origin": "UI"} | more
    return Change(**given).document()


def run(**more: Any) -> Run:
    """A run of `deploy`."""
    given: dict[str, Any] = {
        "id": "r_0123456789abcdef",
        "status": RunStatus.IN_PROGRESS,
        "action": Ref(identifier="deploy", title="Deploy"),
        "created_at": AT,
        "created_by": "user_1",
        "updated_at": AT,
        "updated_by": "user_1",
    }
    return Run(**given | more)
