"""Refused writes are recorded in the audit log; here is which, and as what."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from http import HTTPStatus

from fastapi import Request
from pydantic import JsonValue

from api.services import ApiServices, services_of
from domain.audit import Resource, origin_of
from domain.changes import Change, Happening
from domain.errors import InterlockError
from domain.runs import Source
from runtime.tokens import Claims
from store import changes
from store.entities import Writer

log = logging.getLogger(__name__)

WRITES = {
    ("POST", "/v1/actions"): (Resource.ACTION, Happening.CREATE),
    ("PUT", "/v1/actions/{action_id}"): (Resource.ACTION, Happening.UPDATE),
    ("DELETE", "/v1/actions/{action_id}"): (Resource.ACTION, Happening.DELETE),
    ("POST", "/v1/actions/{action_id}/resume"): (Resource.ACTION, Happening.UPDATE),
    ("POST", "/v1/actions/{action_id}/replay"): (Resource.ACTION, Happening.UPDATE),
    ("PATCH", "/v1/actions/{action_id}/permissions"): (Resource.ACTION_PERMISSIONS, Happening.UPDATE),
    ("POST", "/v1/actions/{action_id}/runs"): (Resource.RUN, Happening.CREATE),
    ("POST", "/v1/actions/runs/{run_id}/cancel"): (Resource.RUN, Happening.UPDATE),
    ("PATCH", "/v1/actions/runs/{run_id}/approval"): (Resource.RUN, Happening.UPDATE),
    ("POST", "/v1/actions/runs/{run_id}/approval/delegation"): (Resource.RUN, Happening.UPDATE),
    ("DELETE", "/v1/actions/runs/{run_id}/approval/delegation"): (Resource.RUN, Happening.UPDATE),
    ("POST", "/v1/blueprints"): (Resource.BLUEPRINT, Happening.CREATE),
    ("PUT", "/v1/blueprints/{blueprint}"): (Resource.BLUEPRINT, Happening.UPDATE),
    ("PATCH", "/v1/blueprints/{blueprint}"): (Resource.BLUEPRINT, Happening.UPDATE),
    ("DELETE", "/v1/blueprints/{blueprint}"): (Resource.BLUEPRINT, Happening.DELETE),
    ("PATCH", "/v1/blueprints/{blueprint}/properties/{property}/rename"): (Resource.BLUEPRINT, Happening.UPDATE),
    ("PATCH", "/v1/blueprints/{blueprint}/mirror/{property}/rename"): (Resource.BLUEPRINT, Happening.UPDATE),
    ("PATCH", "/v1/blueprints/{blueprint}/relations/{relation}/rename"): (Resource.BLUEPRINT, Happening.UPDATE),
    ("PATCH", "/v1/blueprints/{blueprint}/permissions"): (Resource.BLUEPRINT_PERMISSIONS, Happening.UPDATE),
    ("POST", "/v1/blueprints/{blueprint}/entities"): (Resource.ENTITY, Happening.CREATE),
    ("POST", "/v1/blueprints/{blueprint}/entities/bulk"): (Resource.ENTITY, Happening.CREATE),
    ("PUT", "/v1/blueprints/{blueprint}/entities/{entity:path}"): (Resource.ENTITY, Happening.UPDATE),
    ("PATCH", "/v1/blueprints/{blueprint}/entities/{entity:path}"): (Resource.ENTITY, Happening.UPDATE),
    ("DELETE", "/v1/blueprints/{blueprint}/entities/{entity:path}"): (Resource.ENTITY, Happening.DELETE),
    ("DELETE", "/v1/blueprints/{blueprint}/bulk/entities"): (Resource.ENTITY, Happening.DELETE),
    ("POST", "/v1/blueprints/{blueprint}/bulk/entities/delete"): (Resource.ENTITY, Happening.DELETE),
    ("DELETE", "/v1/blueprints/{blueprint}/all-entities"): (Resource.ENTITY, Happening.DELETE),
    ("POST", "/v1/blueprints/{blueprint}/scorecards"): (Resource.SCORECARD, Happening.CREATE),
    ("PUT", "/v1/blueprints/{blueprint}/scorecards"): (Resource.SCORECARD, Happening.UPDATE),
    ("PUT", "/v1/blueprints/{blueprint}/scorecards/{scorecard:path}"): (Resource.SCORECARD, Happening.UPDATE),
    ("DELETE", "/v1/blueprints/{blueprint}/scorecards/{scorecard:path}"): (Resource.SCORECARD, Happening.DELETE),
    ("POST", "/v1/organization/secrets"): (Resource.SECRET, Happening.CREATE),
    ("PATCH", "/v1/organization/secrets/{name}"): (Resource.SECRET, Happening.UPDATE),
    ("DELETE", "/v1/organization/secrets/{name}"): (Resource.SECRET, Happening.DELETE),
    ("PUT", "/v1/organization"): (Resource.ORGANIZATION, Happening.UPDATE),
    ("PATCH", "/v1/organization"): (Resource.ORGANIZATION, Happening.UPDATE),
    ("POST", "/v1/users/invite"): (Resource.USER, Happening.CREATE),
    ("PATCH", "/v1/users/{user_email}"): (Resource.USER, Happening.UPDATE),
    ("DELETE", "/v1/users/{user_email}"): (Resource.USER, Happening.DELETE),
    ("POST", "/v1/rotate-credentials/{user_email}"): (Resource.USER, Happening.UPDATE),
    ("POST", "/v1/teams"): (Resource.TEAM, Happening.CREATE),
    ("PUT", "/v1/teams/{name}"): (Resource.TEAM, Happening.UPDATE),
    ("PATCH", "/v1/teams/{name}"): (Resource.TEAM, Happening.UPDATE),
    ("DELETE", "/v1/teams/{name}"): (Resource.TEAM, Happening.DELETE),
    ("POST", "/v1/webhooks"): (Resource.WEBHOOK, Happening.CREATE),
    ("PUT", "/v1/webhooks/{identifier}"): (Resource.WEBHOOK, Happening.UPDATE),
    ("PATCH", "/v1/webhooks/{identifier}"): (Resource.WEBHOOK, Happening.UPDATE),
    ("DELETE", "/v1/webhooks/{identifier}"): (Resource.WEBHOOK, Happening.DELETE),
    ("POST", "/v1/integration"): (Resource.INTEGRATION, Happening.CREATE),
    ("PATCH", "/v1/integration/{identifier}"): (Resource.INTEGRATION, Happening.UPDATE),
    ("PATCH", "/v1/integration/{identifier}/config"): (Resource.INTEGRATION, Happening.UPDATE),
    ("PATCH", "/v1/integration/{identifier}/resync-state"): (Resource.INTEGRATION, Happening.UPDATE),
    ("DELETE", "/v1/integration/{identifier}"): (Resource.INTEGRATION, Happening.DELETE),
}
"""The routes whose refusals are recorded, and what they would have changed."""

_STATUSES = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)
_TO_TRY = {
    (Resource.ENTITY, Happening.CREATE): "validation_only",
    (Resource.RUN, Happening.CREATE): "dry_run",
}
"""What is only a question with an option of the query."""
_YES = ("true", "1", "yes", "on", "t", "y")
_PLACES = {
    "action_id": "action",
    "run_id": "runId",
    "blueprint": "blueprint",
    "entity": "entity",
    "scorecard": "scorecard",
    "user_email": "user",
}
"""What the parts of a path are called in the context of a change."""
_OWN = {
    Resource.ACTION: ("action", "identifier"),
    Resource.BLUEPRINT: ("blueprint", "identifier"),
    Resource.ENTITY: ("entity", "identifier"),
    Resource.SCORECARD: ("scorecard", "identifier"),
    Resource.SECRET: ("secret", "secretName"),
    Resource.TEAM: ("team", "name"),
    Resource.WEBHOOK: ("webhookId", "identifier"),
    Resource.INTEGRATION: ("installationId", "installationId"),
}
"""What a thing is called in the context of its changes, and in the body that creates it."""
_LONGEST_NAME, _LONGEST_MESSAGE = 1000, 4000
"""Whoever is refused has not shown that what they send is of a sensible size."""


async def record(request: Request, status: int, message: str) -> None:
    """Record that the write was refused, if it is one of those. When SQL does not take it, only the log tells.

    Only routes that know the caller have come as far as these statuses, so there are claims.
    """
    would = WRITES.get((request.method, getattr(request.scope.get("route"), "path", "")))
    if would is None or status not in _STATUSES:
        return
    if (option := _TO_TRY.get(would)) and request.query_params.get(option, "").lower() in _YES:
        return
    resource, action = would
    claims: Claims = request.state.claims
    services = services_of(request)
    change = Change.refused(
        resource,
        action,
        _cut(message),
        context=dict(_context(request, resource, action)),
        at=services.now(),
        by=claims.subject,
        origin=origin_of(request.headers.get("user-agent", "")) if resource is Resource.ENTITY else Source.API,
    )
    await _append(services, [change])


async def record_entities(
    services: ApiServices, writer: Writer, blueprint: str, refused: Iterable[tuple[JsonValue, InterlockError]]
) -> None:
    """The same for the entities of a bulk that could not be written, while others could."""
    several = [
        Change.refused(
            Resource.ENTITY,
            Happening.CREATE,
            _cut(str(refusal)),
            context={"blueprint": blueprint, "entity": _named(document, "identifier"), "runId": writer.run_id},
            at=services.now(),
            by=writer.author.id,
            origin=writer.origin,
        )
        for document, refusal in refused
    ]
    await _append(services, several)


async def record_run(
    services: ApiServices, action: Happening, refusal: InterlockError, *, by: str, origin: str, context: dict[str, str]
) -> None:
    """The same for a run that was asked for, or decided about, elsewhere than in the request that is answered."""
    change = Change.refused(
        Resource.RUN,
        action,
        _cut(str(refusal)),
        context={name: value[:_LONGEST_NAME] for name, value in context.items()},
        at=services.now(),
        by=by,
        origin=origin,
    )
    await _append(services, [change])


async def _append(services: ApiServices, refused: Sequence[Change]) -> None:
    try:
        async with services.database.write() as session:
            await changes.append_all(session, refused)
    except InterlockError as error:
        kinds = sorted({change.resource_type for change in refused})
        log.warning("a refusal is not in the audit log", extra={"resources": kinds, "cause": error.code})


def _context(request: Request, resource: Resource, action: Happening) -> Iterator[tuple[str, str]]:
    """What the write was about, as far as the request names it."""
    own, key = _OWN.get(resource, (None, ""))
    body: JsonValue = getattr(request, "_json", None)  # where `StrictRoute` keeps it
    if own and action is Happening.CREATE and (name := _named(body, key)):
        yield own, name
    if resource is Resource.ENTITY and (run_id := request.query_params.get("run_id")):
        yield "runId", run_id[:_LONGEST_NAME]
    for part, value in request.path_params.items():
        # `name` and `identifier` say whose by the route alone; what else a path names is part of the thing.
        place = own if part in ("name", "identifier") else _PLACES.get(part)
        if place:
            yield place, str(value)[:_LONGEST_NAME]


def _named(document: JsonValue, key: str) -> str | None:
    name = document.get(key) if isinstance(document, dict) else None
    return name[:_LONGEST_NAME] if isinstance(name, str) else None


def _cut(message: str) -> str:
    return message if len(message) <= _LONGEST_MESSAGE else message[: _LONGEST_MESSAGE - 1] + "…"
