"""Explaining a run: which rules let it pass, who was asked to approve it and why, and what they said."""

from fastapi import APIRouter

from api.auth import AdminCaller, AuthenticatedRoute
from api.errors import responses
from api.services import Services
from domain.documents import Document
from domain.errors import Forbidden, NotFound
from store import approvals, runs

router = APIRouter(route_class=AuthenticatedRoute, tags=["runs"])


@router.get("/v1/actions/runs/{run_id}/explain", responses=responses(NotFound, Forbidden))
async def explain_run(run_id: str, caller: AdminCaller, services: Services) -> Document:
    """Why the run was let through: each rule with what it looked at, who was asked to approve, and who decided."""
    async with services.database.read() as session:
        run = await runs.get(session, run_id)
        known = await runs.explanation(session, run_id)
        said = await approvals.decisions(session, run_id)
    explanation: Document = {
        "runId": run.id,
        **known.model_dump(mode="json"),
        "votes": [one.model_dump(mode="json") for one in said],
    }
    return {"ok": True, "explanation": explanation}
