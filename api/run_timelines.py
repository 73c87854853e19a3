"""The timeline of a run: everything that happened to it, each call of its backend among it."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.auth import AuthenticatedRoute, Caller
from api.errors import responses
from api.services import Services
from api.visibility import visible
from domain.errors import NotFound
from domain.run_timelines import RunTimeline
from store import run_timelines

router = APIRouter(route_class=AuthenticatedRoute, tags=["runs"])


@router.get("/v1/actions/runs/{run_id}/timeline", responses=responses(NotFound), response_model_exclude_none=True)
async def get_timeline(
    run_id: str,
    caller: Caller,
    services: Services,
    limit: Annotated[int, Query(ge=1, le=100)] = 100,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> RunTimeline:
    """What happened to the run, oldest first: its approval, each call of its backend, reports, its log, its end."""
    run = (await visible(run_id, caller, services)).run
    async with services.database.read() as session:
        return RunTimeline(timeline=await run_timelines.page(session, run, limit=limit, offset=offset))
