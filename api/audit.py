"""The audit log: who changed what, and what was refused."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AfterValidator, AwareDatetime, BeforeValidator

from api.auth import AuthenticatedRoute, Caller
from api.errors import responses
from api.services import Services, words
from api.visibility import viewer_of
from domain.audit import KEYS, Resource, record
from domain.changes import Happening, Outcome
from domain.documents import Document
from domain.errors import InvalidRequest
from domain.shapes import shortened
from store import audit

router = APIRouter(route_class=AuthenticatedRoute, tags=["audit"])


def _not_a_number(value: object) -> object:
    if not isinstance(value, str) or value.strip().lstrip("+-").replace(".", "", 1).isdigit():
        raise ValueError("must be a date-time such as 2026-01-02T03:04:05Z")
    return value


def _in_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError("is too far away") from None


Moment = Annotated[AwareDatetime, BeforeValidator(_not_a_number), AfterValidator(_in_utc)]
"""A moment that somebody asks for, with its offset. A number is none, though pydantic would take it for seconds."""


def _one_of(known: Iterable[str]) -> str:
    return f"of {', '.join(known)}"


@router.get("/v1/audit-log", responses=responses())
async def list_audits(
    caller: Caller,
    services: Services,
    identifier: str | None = None,
    entity: str | None = None,
    blueprint: str | None = None,
    run_id: str | None = None,
    webhook_id: Annotated[str | None, Query(alias="webhookId")] = None,
    webhook_event_id: Annotated[str | None, Query(alias="webhookEventId")] = None,
    installation_id: Annotated[str | None, Query(alias="InstallationId")] = None,
    origin: Annotated[list[str] | None, Query()] = None,
    resources: Annotated[list[str] | None, Query(description=_one_of(Resource))] = None,
    includes: Annotated[list[str] | None, Query(description=f"the keys to answer with, {_one_of(KEYS)}")] = None,
    since: Annotated[Moment | None, Query(alias="from")] = None,
    until: Annotated[Moment | None, Query(alias="to")] = None,
    action: Annotated[str | None, Query(description=_one_of(Happening))] = None,
    status: Annotated[str | None, Query(description=_one_of(Outcome))] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Document:
    """What happened and what was refused, as far as the caller may see it: the records that pass every filter."""
    filters = audit.Filters(
        identifier=identifier,
        entity=entity,
        blueprint=blueprint,
        run_id=run_id,
        webhook_id=webhook_id,
        webhook_event_id=webhook_event_id,
        installation_id=installation_id,
        origins=words(origin),
        resources=_known("resources", words(resources), Resource),
        since=since,
        until=until,
        action=_known("action", (action,), Happening)[0] if action is not None else None,
        status=_known("status", (status,), Outcome)[0] if status is not None else None,
        limit=limit,
        viewer=await viewer_of(caller, services),
    )
    only = _known("includes", words(includes), KEYS)
    async with services.database.read() as session:
        found = await audit.listed(session, filters)
    return {"ok": True, "audits": [record(one, organization=caller.organization, only=only) for one in found]}


def _known(parameter: str, values: tuple[str, ...], known: Iterable[str]) -> tuple[str, ...]:
    if unknown := sorted(set(values) - set(known)):
        raise InvalidRequest(f"{parameter}: {shortened(', '.join(unknown))} is none of {', '.join(known)}")
    return values
