"""Integrations: they say what they are, ask what they should do, and are looked at."""

import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query
from sqlmodel.ext.asyncio.session import AsyncSession

from api.auth import AdminCaller, AuthenticatedRoute, Caller
from api.errors import responses
from api.services import ApiServices, Now, Services
from domain.documents import Document
from domain.errors import Forbidden, IdentifierTaken, NotFound
from domain.integrations import (
    ConfigPatch,
    Examples,
    Integration,
    Kind,
    Reported,
    ResyncState,
    example,
    parsed,
    written,
)
from domain.runs import Source
from domain.users import Caller as CallerValue
from store import integrations
from store.integrations import Stored

router = APIRouter(route_class=AuthenticatedRoute, tags=["integrations"])

Written = Annotated[dict[str, Any], Body(description="An integration; it is stored and echoed as received.")]
Part = Annotated[
    dict[str, Any], Body(description="Some top-level keys of an integration; the others stay. None asks for a resync.")
]
State = Annotated[ResyncState, Body(description="Some keys of the state; the others stay.")]
KindOf = Annotated[Kind, Path()]
Limit = Annotated[int, Query(ge=1, le=1000)]


@router.get("/v1/integration", responses=responses())
async def list_integrations(caller: Caller, services: Services) -> Document:
    """All integrations, by installation id."""
    async with services.database.read() as session:
        found = await integrations.listed(session)
    return {"ok": True, "integrations": [_echo(stored, caller, services) for stored in found]}


@router.post("/v1/integration", status_code=201, responses=responses(Forbidden, IdentifierTaken))
async def create_integration(document: Written, caller: AdminCaller, services: Services, now: Now) -> Document:
    """Register an integration, under the installation id it gives itself. Nothing is deployed."""
    definition = parsed(written(document))
    integration = Integration(
        identifier=definition.installation_id,
        document=definition.document,
        created_at=now,
        created_by=caller.id,
        updated_at=now,
        updated_by=caller.id,
    )
    async with services.database.write() as session:
        stored = await integrations.create(session, integration, secrets.token_urlsafe(32), origin=Source.API)
    return {"ok": True, "integration": _echo(stored, caller, services)}


@router.get("/v1/integration/provision-enabled", responses=responses())
async def list_provisioned(caller: Caller) -> Document:
    """The types of integrations whose blueprints and mappings we make for them: none, they bring their own."""
    return {"ok": True, "integrations": []}


@router.get("/v1/integration/{identifier}", responses=responses(NotFound))
async def get_integration(identifier: str, caller: Caller, services: Services) -> Document:
    """One integration. Admins and machines also see the addresses it reports to."""
    async with services.database.read() as session:
        stored = await integrations.get(session, identifier)
    return {"ok": True, "integration": _echo(stored, caller, services)}


@router.patch("/v1/integration/{identifier}", responses=responses(NotFound, Forbidden))
async def patch_integration(
    identifier: str, caller: AdminCaller, services: Services, part: Part | None = None
) -> Document:
    """Replace the top-level keys that are named; the others stay. With none the integration is asked to resync."""

    def change(before: Integration, at: datetime) -> Integration:
        if not part:
            return before.asked_to_resync(at=at, by=caller.id)
        return before.patched(part, at=at, by=caller.id)

    return await _changed(identifier, change, caller, services)


@router.patch("/v1/integration/{identifier}/config", responses=responses(NotFound, Forbidden))
async def patch_config(identifier: str, body: ConfigPatch, caller: AdminCaller, services: Services) -> Document:
    """Replace the mapping."""
    part: Document = {"config": body.config}
    return await _changed(identifier, lambda before, at: before.patched(part, at=at, by=caller.id), caller, services)


@router.patch("/v1/integration/{identifier}/resync-state", responses=responses(NotFound, Forbidden))
async def patch_resync_state(identifier: str, state: State, caller: AdminCaller, services: Services) -> Document:
    """Say how far the resync is; what is not named stays. One that is `running` answers the request for it."""
    said = state.model_dump(by_alias=True, exclude_unset=True)
    return await _changed(identifier, lambda before, at: before.resynced(said, at=at), caller, services)


@router.get("/v1/integration/{identifier}/resync-request", responses=responses(NotFound))
async def get_resync_request(identifier: str, caller: Caller, services: Services) -> Document:
    """Who asked for a resync that has not begun, and when; null when nobody did."""
    async with services.database.read() as session:
        stored = await integrations.get(session, identifier)
    return {"ok": True, "request": stored.integration.resync_request}


@router.delete("/v1/integration/{identifier}", responses=responses(NotFound, Forbidden))
async def delete_integration(identifier: str, caller: AdminCaller, services: Services) -> Document:
    """Forget the integration and all that it reported. What it wrote to the catalog stays."""

    async def work(session: AsyncSession) -> None:
        stored = await integrations.get(session, identifier, to_change=True)
        await integrations.remove(session, stored, by=caller.id, at=services.now(), origin=Source.API)

    await services.database.transact(work)
    return {"ok": True}


@router.post("/v1/integration/{identifier}/kinds/{kind:path}/examples", responses=responses(NotFound, Forbidden))
async def keep_examples(
    identifier: str, kind: KindOf, body: Examples, caller: AdminCaller, services: Services, now: Now
) -> Document:
    """Keep examples of what the integration reads; the newest 20 of each kind stay."""
    await services.database.transact(
        lambda session: integrations.keep_examples(session, identifier, kind, body.examples, at=now)
    )
    return {"ok": True}


@router.get("/v1/integration/{identifier}/kinds/{kind:path}/examples", responses=responses(NotFound, Forbidden))
async def list_examples(identifier: str, kind: KindOf, caller: AdminCaller, services: Services) -> Document:
    """The examples of a kind, newest first."""
    return await _records("examples", identifier, example(kind), services)


@router.get("/v1/integration/{identifier}/logs", responses=responses(NotFound, Forbidden))
async def list_logs(identifier: str, caller: AdminCaller, services: Services, limit: Limit = 100) -> Document:
    """What the integration logged, newest first."""
    return await _records("logs", identifier, Reported.LOG, services, limit)


@router.get("/v1/integration/{identifier}/metrics", responses=responses(NotFound, Forbidden))
async def list_metrics(identifier: str, caller: AdminCaller, services: Services, limit: Limit = 100) -> Document:
    """What the integration measured of its resyncs, newest first."""
    return await _records("metrics", identifier, Reported.METRIC, services, limit)


@router.get("/v1/integration/{identifier}/data", responses=responses(NotFound, Forbidden))
async def list_data(identifier: str, caller: AdminCaller, services: Services, limit: Limit = 100) -> Document:
    """What else the integration sent, newest first."""
    return await _records("data", identifier, Reported.DATA, services, limit)


async def _records(key: str, identifier: str, sort: str, services: ApiServices, limit: int = 1000) -> Document:
    async with services.database.read() as session:
        found = await integrations.records(session, identifier, sort, limit=limit)
    return {"ok": True, key: [*found]}


async def _changed(
    identifier: str, change: Callable[[Integration, datetime], Integration], caller: CallerValue, services: ApiServices
) -> Document:
    async def work(session: AsyncSession) -> Stored:
        before = await integrations.get(session, identifier, to_change=True)
        at = services.now()
        after = change(before.integration, at)
        return await integrations.replace(session, before, after, by=caller.id, at=at, origin=Source.API)

    return {"ok": True, "integration": _echo(await services.database.transact(work), caller, services)}


def _echo(stored: Stored, caller: CallerValue, services: ApiServices) -> Document:
    told: Document = {"_id": stored.id, **stored.integration.echo()}
    if not caller.administers:
        return told  # whoever knows an address can report to it
    base = f"{services.settings.public_url}/v1/ingest"
    return {
        **told,
        "logAttributes": {"ingestUrl": f"{base}/logs/{stored.key}"},
        "metricAttributes": {"ingestUrl": f"{base}/metrics/{stored.key}"},
        "ingestAttributes": {"ingestUrl": f"{base}/data/{stored.key}"},
    }
