"""Who sees a run, and who may report about it."""

from api.services import ApiServices
from domain.errors import Forbidden, NotFound
from domain.runs import Run, Source
from domain.users import Caller
from store import actions, runs
from store.run_visibility import Viewer


async def visible(run_id: str, caller: Caller, services: ApiServices) -> runs.Found:
    """The run, if the caller may see it.

    Raises:
        NotFound: there is none, or none for this caller.
    """
    async with services.database.read() as session:
        found = await runs.find(session, run_id)
        if not found.restricted or caller.is_admin or found.run.created_by == caller.id:
            return found
        gate = found.run.interlock.gate
        if gate and caller.id in {*gate.delegates, *gate.escalated_to}:
            return found
        permissions = await actions.permissions(session, found.action_id)
    if permissions is None or not permissions.shows_runs(caller, found.run.interlock.approvers):
        raise NotFound("Run", run_id)
    return found


async def viewer_of(caller: Caller, services: ApiServices) -> Viewer | None:
    """The caller, as somebody who may not see everything; None for those who may."""
    if caller.is_admin:
        return None
    async with services.database.read() as session:
        restricted = await actions.restricted(session)
    approvable = tuple(key for key, permissions in restricted if permissions.shows_runs(caller))
    judged = tuple(key for key, one in restricted if one.approve.policy is not None and key not in approvable)
    return Viewer(caller.id, approvable, judged)


def require_reporter(run: Run, caller: Caller, what: str = "report about") -> None:
    """Refuse a caller who may not say anything about the run, nor do `what` is meant to be done to it.

    Raises:
        Forbidden: says who may.
    """
    # Who made the change that started an automation has asked for nothing.
    asked = run.source is not Source.AUTOMATION and caller.id == run.created_by
    if caller.machine or caller.is_admin or asked or caller.run_id == run.id:
        return
    who = "the organization's credentials, Admins and the requester"
    if run.source is Source.AUTOMATION:
        who = "the organization's credentials, Admins and its own access token"
    raise Forbidden(f"only {who} may {what} run {run.id}, and {caller.name} is none of them")
