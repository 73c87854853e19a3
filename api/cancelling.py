"""Cancelling a run: it ends at once, and its backend is told where there is a way to."""

from fastapi import APIRouter
from pydantic import StrictStr

from api.auth import AuthenticatedRoute, Caller, CausedBy
from api.errors import responses
from api.services import Now, Services
from api.visibility import require_reporter, visible
from domain.documents import Document
from domain.errors import Forbidden, NotFound, RunExhausted
from domain.models import Written
from domain.runs import Run, Source
from store import runs

router = APIRouter(route_class=AuthenticatedRoute, tags=["runs"])


class RunCancellation(Written):
    """Why a run is cancelled, for whoever reads of it."""

    reason: StrictStr | None = None


@router.post("/v1/actions/runs/{run_id}/cancel", responses=responses(NotFound, Forbidden, RunExhausted))
async def cancel_run(
    run_id: str,
    caller: Caller,
    cause: CausedBy,
    services: Services,
    now: Now,
    body: RunCancellation | None = None,
) -> Document:
    """Stop the run: it is a FAILURE from now on, whatever it waited for.

    What was handed to a backend is cancelled there if the backend can; the run's log tells what became of it.
    """
    found = await visible(run_id, caller, services)
    require_reporter(found.run, caller, "cancel")
    reason = f"Cancelled by {caller.name}" + (f": {body.reason}" if body and body.reason else "")

    def move(run: Run) -> Run:
        if run.status.is_terminal:
            raise RunExhausted(f"run {run.id} has ended with {run.status}")
        return run.cancelled(reason, at=now, by=caller.id)

    async with services.database.write() as session:
        _, after = await runs.change(session, run_id, move, origin=Source.API, cause=cause)
    await services.driver.try_wake(after)
    return {"ok": True, "run": after.answer()}
