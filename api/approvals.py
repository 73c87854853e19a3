"""Approvals: decide about a run, and see who was asked and what they said."""

from fastapi import APIRouter
from pydantic import StrictStr

from api.auth import AuthenticatedRoute, Caller, CausedBy
from api.errors import responses
from api.policies import policies
from api.runs import Version, _shaped
from api.services import Now, Services
from api.visibility import visible
from domain.approvals import Decision, DecisionState, Word
from domain.documents import Document
from domain.errors import Forbidden, NotFound, RunNotWaitingForApproval
from domain.models import Written
from domain.runs import Source
from store import approvals

router = APIRouter(route_class=AuthenticatedRoute, tags=["approvals"])


class ApprovalRequest(Written):
    """One person's word."""

    status: Word
    description: StrictStr | None = None
    """Why."""


@router.patch(
    "/v1/actions/runs/{run_id}/approval",
    status_code=201,
    responses=responses(NotFound, Forbidden, RunNotWaitingForApproval),
)
async def decide(
    run_id: str,
    request: ApprovalRequest,
    caller: Caller,
    cause: CausedBy,
    services: Services,
    now: Now,
    version: Version = "v2",
) -> Document:
    """Approve or decline. It counts the moment this answers; what follows from all decisions is in the run."""
    found = await visible(run_id, caller, services)
    decision = Decision(
        user_id=caller.id,
        name=caller.name,
        state=DecisionState.of(request.status),
        description=request.description,
        machine=caller.user is None,
        at=now,
    )
    after = await approvals.speak(
        services.database, policies(services), run_id, caller, decision, origin=Source.API, cause=cause
    )
    if after.status is not found.run.status:
        await services.driver.try_wake(after)
    return {"ok": True, "run": _shaped(after, version)}


@router.get("/v1/actions/runs/{run_id}/approvers", responses=responses(NotFound))
async def list_approvers(
    run_id: str, caller: Caller, services: Services, include_pending_approvers: bool = False
) -> Document:
    """Who has decided what and, if asked for, who was asked and has not said anything."""
    found = await visible(run_id, caller, services)
    async with services.database.read() as session:
        said = await approvals.decisions(session, run_id)
    approvers: list[Document] = [
        {"userId": one.user_id, "state": one.state, "description": one.description} for one in said
    ]
    if include_pending_approvers:
        silent = set(found.run.interlock.approvers) - {one.user_id for one in said}
        approvers += [
            {"userId": user_id, "state": DecisionState.PENDING, "description": None} for user_id in sorted(silent)
        ]
    return {"ok": True, "approvers": list(approvers)}
