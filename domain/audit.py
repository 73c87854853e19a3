"""The audit log: changes as people and clients read them."""

from collections.abc import Collection
from enum import StrEnum

from pydantic import JsonValue

from domain.changes import Outcome
from domain.documents import Document
from domain.events import maker_of, moment_of
from domain.runs import Source, without_entity


class Resource(StrEnum):
    """What a record is about. The last eight are ours, the others those of the audit log's contract."""

    BLUEPRINT = "blueprint"
    ENTITY = "entity"
    RUN = "run"
    WEBHOOK = "webhook"
    SCORECARD = "scorecard"
    ACTION = "action"
    ACTION_PERMISSIONS = "action_permissions"
    BLUEPRINT_PERMISSIONS = "blueprint_permissions"
    SECRET = "secret"  # noqa: S105 - a kind, not a value
    USER = "user"
    TEAM = "team"
    INTEGRATION = "integration"
    ORGANIZATION = "organization"
    SCHEDULE = "schedule"


FOR_EVERYBODY = (
    Resource.ACTION,
    Resource.ACTION_PERMISSIONS,
    Resource.BLUEPRINT,
    Resource.BLUEPRINT_PERMISSIONS,
    Resource.ENTITY,
    Resource.SCHEDULE,
    Resource.SCORECARD,
)
"""What everybody may see, as it is and so also as it was. Who sees the run sees its records; others are for Admins."""

KEYS = ("identifier", "resourceType", "action", "status", "message", "trigger", "context", "diff", "additionalData")
"""What a record may hold, in this order."""

MAX_USER_AGENT = 500
"""How much is kept of what a program says it is."""

_PLACE = ("blueprint", "entity", "runId")
_PLACED = (Resource.ENTITY, Resource.RUN)


def origin_of(user_agent: str) -> str:
    """What a write to the catalog came by: integrations say who they are, everybody else is the API."""
    return user_agent[:MAX_USER_AGENT] if user_agent.startswith("port-ocean/") else Source.API


def record(change: Document, *, organization: str, only: Collection[str] = ()) -> Document:
    """The record of a change, from its document; with the keys in `only`, or all when there are none."""
    kind = change["resourceType"]
    told: Document = {
        "identifier": change["id"],
        "resourceType": kind,
        "action": change["action"],
        "status": change.get("status", Outcome.SUCCESS),  # what was kept before there were others has happened
        "message": change.get("message"),
        "trigger": {
            "by": maker_of(change, organization),
            "origin": change["origin"],
            "at": moment_of(change),
        },
        "context": _context(change["context"], placed=kind in _PLACED),
        "diff": {side: _told(kind, change[side]) for side in ("before", "after")},
        "additionalData": {},
    }
    return {key: told[key] for key in KEYS if not only or key in only}


def _told(kind: JsonValue, side: JsonValue) -> JsonValue:
    return without_entity(side) if kind == Resource.RUN and isinstance(side, dict) else side


def _context(context: JsonValue, *, placed: bool) -> Document:
    """What is known; of entities and runs also where they have no blueprint, entity or run."""
    known: Document = (
        {key: value for key, value in context.items() if value is not None} if isinstance(context, dict) else {}
    )
    if not placed:
        return known
    nowhere: Document = dict.fromkeys(_PLACE)
    return nowhere | known
