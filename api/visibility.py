"""Who sees a run, and who may report about it."""

from api.services import ApiServices
from domain.errors import Forbidden, NotFound
from domain.runs import Run
from domain.users import Caller
from store import actions, runs


async def visible(run_id: str, caller: Caller, services: ApiServices) -> runs.Found:
    """The run, if the caller may see it.

    Raises:
        NotFound: there is none, or none for this caller.
    """
    async with services.database.read() as session:
        found = await runs.find(session, run_id)
        if not found.restricted or caller.is_admin or found.run.created_by == caller.id:
            return found
        permissions = await actions.permissions(session, found.action_id)
    if permissions is None or not permissions.may_approve(caller):
        raise NotFound("Run", run_id)
    return found


def require_reporter(run: Run, caller: Caller) -> None:
    """Refuse a caller who may not say anything about the run.

    Raises:
        Forbidden: says who may.
    """
    if not (caller.machine or caller.is_admin or caller.id == run.created_by):
        raise Forbidden(
            f"only the organization's credentials, Admins and the requester may report about run {run.id}, "
            f"and {caller.name} is none of them"
        )
