"""Approvals: see what is asked, decide about it, leave it to somebody else, and see who said what."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Header, Response
from pydantic import StrictStr

from api.auth import AuthenticatedRoute, Caller, CausedBy
from api.deciding import fingerprints, say
from api.errors import responses
from api.policies import policies
from api.runs import Version, _shaped
from api.services import ApiServices, Now, Services
from api.visibility import visible
from domain import approval_views
from domain.actions import Action
from domain.approvals import Decision, DecisionState, Gate, Word, is_required
from domain.deciders import requesters
from domain.documents import Document
from domain.dry_runs import masked, sealed
from domain.errors import Forbidden, InvalidRequest, NotFound, RequestChanged, RunNotWaitingForApproval
from domain.models import Written
from domain.runs import RunStatus, Source
from domain.users import Caller as CallerValue
from store import actions, approvals, delegations, users
from store.deciders import as_of_now, judged
from store.runs import Found

router = APIRouter(route_class=AuthenticatedRoute, tags=["approvals"])


class ApprovalRequest(Written):
    """One person's word."""

    status: Word
    description: StrictStr | None = None
    """Why."""


class DelegationRequest(Written):
    """To whom a person leaves their decision."""

    to: StrictStr
    """An email address."""
    description: StrictStr | None = None
    """Why."""


@router.get("/v1/actions/runs/{run_id}/approval", responses=responses(NotFound, Forbidden, RunNotWaitingForApproval))
async def get_approval(run_id: str, caller: Caller, services: Services, now: Now, response: Response) -> Document:
    """What would be sent, secrets masked, and what its approval needs; for who decides, asked for it, or is an Admin.

    `ETag` is the fingerprint of what would be sent: a decision that has it as `If-Match` counts for nothing else.
    """
    found = await visible(run_id, caller, services)
    run, action = found.run, await _readable(found, caller, services, at=now)
    if not is_required(run.required_approval):
        raise RunNotWaitingForApproval(f"run {run.id} needs no approval")
    approved = run.interlock.gate.request if run.interlock.gate else None
    if run.status is RunStatus.WAITING_FOR_APPROVAL or approved is None:
        approved = await fingerprints(services).of(services.database, run, action)
    request, fault = masked(run.payload, sealed(run, action)), None
    if request is None:
        request, fault = await fingerprints(services).shown(run, action)
    async with services.database.read() as session:
        said = await approvals.decisions(session, run_id)
        if run.status is RunStatus.WAITING_FOR_APPROVAL:
            said = await as_of_now(session, policies(services), run_id, said, at=now)
        names = {user.id: user.email for user in await users.everybody(session)}
    response.headers["ETag"] = f'"{approved}"'
    shown = approval_views.view(run, said, names, request=request, request_hash=approved, fault=fault)
    return {"ok": True, "approval": shown}


@router.patch(
    "/v1/actions/runs/{run_id}/approval",
    status_code=201,
    responses=responses(NotFound, Forbidden, RunNotWaitingForApproval, RequestChanged),
)
async def decide(
    run_id: str,
    request: ApprovalRequest,
    caller: Caller,
    cause: CausedBy,
    services: Services,
    now: Now,
    version: Version = "v2",
    if_match: Annotated[str | None, Header(description="the `ETag` of what is decided about")] = None,
) -> Document:
    """Approve or decline. It counts the moment this answers; what follows from all decisions is in the run.

    With `If-Match` it is only recorded if this is still what would be sent.
    """
    expected = _tags(if_match)
    found = await visible(run_id, caller, services)
    decision = Decision(
        user_id=caller.id,
        name=caller.name,
        state=DecisionState.of(request.status),
        description=request.description,
        machine=caller.user is None,
        at=now,
    )
    after = await say(services, found.run, caller, decision, expected=expected, cause=cause)
    return {"ok": True, "run": _shaped(after, version)}


@router.post(
    "/v1/actions/runs/{run_id}/approval/delegation",
    status_code=201,
    responses=responses(NotFound, Forbidden, RunNotWaitingForApproval),
)
async def delegate(
    run_id: str,
    request: DelegationRequest,
    caller: Caller,
    cause: CausedBy,
    services: Services,
    now: Now,
    version: Version = "v2",
) -> Document:
    """Leave the decision to somebody else, who may decide as long as the caller may."""
    await visible(run_id, caller, services)
    after = await delegations.leave(
        services.database,
        policies(services),
        run_id,
        caller,
        to=request.to,
        description=request.description,
        at=now,
        origin=Source.API,
        cause=cause,
    )
    await services.driver.try_wake(after)
    return {"ok": True, "run": _shaped(after, version)}


@router.delete(
    "/v1/actions/runs/{run_id}/approval/delegation", responses=responses(NotFound, Forbidden, RunNotWaitingForApproval)
)
async def take_back(
    run_id: str, caller: Caller, cause: CausedBy, services: Services, now: Now, version: Version = "v2"
) -> Document:
    """Take back what was left to somebody else; what they have said in the caller's place counts no more."""
    await visible(run_id, caller, services)
    after = await delegations.take_back(services.database, run_id, caller, at=now, origin=Source.API, cause=cause)
    await services.driver.try_wake(after)
    return {"ok": True, "run": _shaped(after, version)}


@router.get("/v1/actions/runs/{run_id}/approvers", responses=responses(NotFound))
async def list_approvers(
    run_id: str, caller: Caller, services: Services, include_pending_approvers: bool = False
) -> Document:
    """Who has decided what and, if asked for, who was asked and has not said anything that counts."""
    found = await visible(run_id, caller, services)
    async with services.database.read() as session:
        said = approval_views.standing(await approvals.decisions(session, run_id))
    approvers: list[Document] = [
        {"userId": one.user_id, "state": one.state, "description": one.description} for one in said
    ]
    if include_pending_approvers:
        gate = found.run.interlock.gate or Gate()
        silent = {*found.run.interlock.approvers, *gate.delegates} - {one.user_id for one in said}
        approvers += [
            {"userId": user_id, "state": DecisionState.PENDING, "description": None} for user_id in sorted(silent)
        ]
    return {"ok": True, "approvers": list(approvers)}


async def _readable(found: Found, caller: CallerValue, services: ApiServices, *, at: datetime) -> Action:
    """The definition that a run executes, for a caller who may see what it would send.

    Raises:
        Forbidden: they are no Admin, have not asked for it and may not decide about it.
    """
    run = found.run
    async with services.database.read() as session:
        if caller.is_admin or caller.id in requesters(run):
            return await actions.version(session, found.action_id, run.interlock.action_version)
        return (await judged(session, policies(services), run.id, caller, at=at, waiting=False)).action


def _tags(if_match: str | None) -> tuple[str, ...]:
    """The fingerprints that the header names; none where any will do.

    Raises:
        InvalidRequest: it names none, and is not `*`.
    """
    if if_match is None or if_match.strip() == "*":
        return ()
    tags = tuple(tag.strip().strip('"') for tag in if_match.split(","))
    if not all(tags):
        raise InvalidRequest('If-Match: must be the ETag of what is decided about, such as "0f3c..."')
    return tags
