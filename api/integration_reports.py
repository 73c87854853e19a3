"""What integrations report, at addresses of their own: who knows the address needs no access token."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Body

from api.errors import responses
from api.services import ApiServices, Services, StrictRoute
from domain.documents import Document
from domain.errors import NotFound
from domain.integrations import Logs, Reported, SyncMetric, SyncMetrics, bounded
from store import integrations

router = APIRouter(route_class=StrictRoute, tags=["integrations"])

Anything = Annotated[dict[str, Any], Body(description="Any JSON object.")]


@router.post("/v1/ingest/logs/{key}", status_code=202, responses=responses(NotFound))
async def report_logs(key: str, body: Logs, services: Services) -> Document:
    """Keep lines of the integration's log."""
    return await _kept(services, key, Reported.LOG, body.logs)


@router.post("/v1/ingest/metrics/{key}", status_code=202, responses=responses(NotFound))
async def report_measurements(key: str, body: Anything, services: Services) -> Document:
    """Keep measurements of any shape."""
    return await _kept(services, key, Reported.METRIC, [body])


@router.post("/v1/ingest/metrics/{key}/syncMetrics", status_code=202, responses=responses(NotFound))
async def report_resync(key: str, body: SyncMetrics, services: Services) -> Document:
    """Keep the measurements of a resync, one for each kind of resource."""
    return await _kept(services, key, Reported.METRIC, body.sync_kinds_metrics)


@router.put(
    "/v1/ingest/metrics/{key}/syncMetrics/resync/{event}/kind/{kind:path}",
    status_code=202,
    responses=responses(NotFound),
)
async def report_kind(key: str, event: str, kind: str, body: SyncMetric, services: Services) -> Document:
    """Keep the measurements of one kind of resource in a resync."""
    return await _kept(services, key, Reported.METRIC, [body.sync_kind_metrics])


@router.post("/v1/ingest/data/{key}", status_code=202, responses=responses(NotFound))
async def report_data(key: str, body: Anything, services: Services) -> Document:
    """Keep what the integration read, as it came."""
    return await _kept(services, key, Reported.DATA, [body])


@router.post("/v1/ingest/data/{key}/{place:path}", status_code=202, responses=responses(NotFound))
async def report_data_of(key: str, place: str, body: Anything, services: Services) -> Document:
    """Keep what the integration read, as it came, and the rest of the path it was sent to."""
    return await _kept(services, key, Reported.DATA, [{"path": place, "body": bounded(body)}])


async def _kept(services: ApiServices, key: str, sort: Reported, records: Sequence[Document]) -> Document:
    at = services.now()
    await services.database.transact(lambda session: integrations.report(session, key, sort, records, at=at))
    return {"ok": True}
