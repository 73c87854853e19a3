"""Refused writes are recorded in the audit log; here is which, and as what."""

import logging
from http import HTTPStatus

from fastapi import Request

from api.services import ApiServices
from domain.audit import Resource
from domain.changes import Change, Happening
from domain.errors import InterlockError
from domain.runs import Source
from runtime.tokens import Claims
from store import changes

log = logging.getLogger(__name__)

WRITES = {
    ("POST", "/v1/actions"): (Resource.ACTION, Happening.CREATE),
    ("PUT", "/v1/actions/{action_id}"): (Resource.ACTION, Happening.UPDATE),
    ("DELETE", "/v1/actions/{action_id}"): (Resource.ACTION, Happening.DELETE),
    ("PATCH", "/v1/actions/{action_id}/permissions"): (Resource.ACTION_PERMISSIONS, Happening.UPDATE),
    ("POST", "/v1/organization/secrets"): (Resource.SECRET, Happening.CREATE),
    ("PATCH", "/v1/organization/secrets/{name}"): (Resource.SECRET, Happening.UPDATE),
    ("DELETE", "/v1/organization/secrets/{name}"): (Resource.SECRET, Happening.DELETE),
    ("POST", "/v1/actions/{action_id}/runs"): (Resource.RUN, Happening.CREATE),
    ("PATCH", "/v1/actions/runs/{run_id}/approval"): (Resource.RUN, Happening.UPDATE),
}
"""The routes whose refusals are recorded, and what they would have changed."""

_STATUSES = (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY)
_NAMED = {"action_id": "action", "run_id": "runId", "name": "secret"}
"""What the parts of a path are called in the context of a change."""
_LONGEST_NAME, _LONGEST_MESSAGE = 255, 4000
"""Whoever is refused has not shown that what they send is of a sensible size."""


async def record(request: Request, status: int, message: str) -> None:
    """Record that the write was refused, if it is one of those. When SQL does not take it, only the log tells.

    Only routes that know the caller have come as far as these statuses, so there are claims.
    """
    template = getattr(request.scope.get("route"), "path", "")
    would = WRITES.get((request.method, template))
    if would is None or status not in _STATUSES:
        return
    services: ApiServices = request.app.state.services
    claims: Claims = request.state.claims
    resource, action = would
    change = Change.refused(
        resource,
        action,
        message if len(message) <= _LONGEST_MESSAGE else message[: _LONGEST_MESSAGE - 1] + "…",
        context={_NAMED[name]: value[:_LONGEST_NAME] for name, value in request.path_params.items()},
        at=services.now(),
        by=claims.subject,
        origin=Source.API,
    )
    try:
        async with services.database.write() as session:
            await changes.append(session, change)
    except InterlockError as error:
        log.warning("a refusal is not in the audit log", extra={"path": template, "cause": error.code})
