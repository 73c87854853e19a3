"""Recording a run that was asked for: as what was judged, or not at all."""

from dataclasses import replace

from sqlmodel.ext.asyncio.session import AsyncSession

from api.requesting import Asking, Prepared, prepare
from api.services import ApiServices
from domain.actions import Action
from domain.errors import Unauthenticated, Unavailable
from domain.runs import PLATFORM, Run
from store import actions, runs, users

ATTEMPTS = 3
"""How often a request is judged again because what it was judged by has changed meanwhile."""


async def recorded(asking: Asking, services: ApiServices, request: runs.Request | None) -> Run:
    """The run, recorded; its workflow has still to be started.

    The action, its permissions and the person are read before policies are asked and templates rendered, which takes
    time. Where one of them is not the same when the run is recorded, everything is judged again, so nobody slips
    through while something is taken away from them.

    Raises:
        NotFound, NotSelfService, MissingEntity, Forbidden, EntityFailsCondition, InvalidInputs: the request is refused.
        TemplateFault, InvalidInvocation, PrivateDestination, UnresolvableDestination: it cannot be sent.
        InvalidRequest: see `prepare`.
        KeyTaken: the idempotency key has made a run meanwhile.
        Unauthenticated: the person is not active any more.
        Unavailable: no process could be had to judge it, or what it is judged by changed every time.
    """
    for _ in range(ATTEMPTS):
        prepared = Prepared()
        action, run = await prepare(asking, services, prepared)
        explanation = prepared.explanation()
        async with services.database.write() as session:
            now = await _as_they_are(session, asking)
            if now == asking and await _is_still(session, action, prepared):
                await runs.create(session, run, action_id=action.id, request=request, explanation=explanation)
                for warning in prepared.warnings:
                    await runs.log(session, run.id, warning, by=PLATFORM, at=asking.at)
                return run
        asking = now
    raise Unavailable(f"action {asking.action_id!r}, or who may run it, was changed again and again: ask again")


async def _is_still(session: AsyncSession, action: Action, judged: Prepared) -> bool:
    return await actions.current(session, action.id) == (action.version, judged.permissions)


async def _as_they_are(session: AsyncSession, asking: Asking) -> Asking:
    """The request by the person as they are now.

    Raises:
        Unauthenticated: they are not active any more.
    """
    if asking.caller.user is None:
        return asking
    judged = asking.caller.user
    user = await users.get(session, judged.id)
    if user is None or (user.status != judged.status and user.status != "ACTIVE"):
        raise Unauthenticated(f"{judged.email} is not active any more")
    return asking if user == judged else replace(asking, caller=replace(asking.caller, user=user))
