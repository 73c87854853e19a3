"""Automations beyond their definition: what one would have done, why one ran or did not, and doing it after all."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field, StrictBool
from sqlmodel.ext.asyncio.session import AsyncSession

from api.actions import parsed, version_of
from api.audit import Moment
from api.auth import AdminCaller, AuthenticatedRoute, Caller
from api.errors import responses
from api.services import ApiServices, Now, Services
from api.visibility import viewer_of
from domain import explanations
from domain.actions import Action
from domain.automations import Judgement, Outcome, listens
from domain.documents import Document
from domain.errors import Forbidden, InvalidInputs, InvalidRequest, NotFound
from domain.models import Written
from domain.runs import Source
from domain.users import Caller as CallerValue
from domain.users import User
from runtime.simulation import Past, Simulator
from store import actions, audit, events, listeners, replays, timer_names, users
from store import explanations as known
from store.run_visibility import Viewer

router = APIRouter(route_class=AuthenticatedRoute, tags=["automations"])

MOST = 500
"""How many changes one simulation looks at."""


class SimulationRequest(Written):
    """What to simulate: the saved definition or another one, over the newest changes or over those of `events`."""

    definition: dict[str, Any] | None = None
    """An automation, saved or not, published or not."""
    since: Moment | None = Field(default=None, alias="from")
    until: Moment | None = Field(default=None, alias="to")
    events: Annotated[list[str], Field(max_length=MOST)] | None = None
    limit: Annotated[int, Field(strict=True, ge=1, le=MOST)] = 50
    """At most so many; of `events` all, unless it is said."""

    @property
    def most(self) -> int:
        """At most how many changes are looked at."""
        return MOST if self.events is not None and "limit" not in self.model_fields_set else self.limit


class ReplayRequest(Written):
    """Which changes to ask about again: those of a span with both its ends."""

    since: Moment = Field(alias="from")
    until: Moment | None = Field(default=None, alias="to")
    again: StrictBool = False
    """Whether changes that the automation has let pass before shall make another run."""


@router.post("/v1/actions/{action_id}/simulate", responses=responses(NotFound, Forbidden, InvalidInputs))
async def simulate(
    action_id: str, request: SimulationRequest, caller: AdminCaller, services: Services, now: Now
) -> Document:
    """What the automation would do about past changes, newest first: whether it fires, why, and what it would send.

    Nothing is written, started or sent.
    """
    action, event = await _to_simulate(action_id, request, caller, services, now)
    async with services.database.read() as session:
        if request.events is not None:
            changes = await known.named(session, request.events)
        else:
            changes = await known.past(session, event, since=request.since, until=request.until, limit=request.limit)
        past = await _past(session, changes[: request.most], organization=caller.organization)
    simulator = Simulator(services.evaluate, services.settings, caller.organization, services.now)
    simulation = await simulator(action, past)
    return {
        "ok": True,
        "results": simulation.results,
        "fired": simulation.fired,
        "examined": len(simulation.results),
        **({"stopped": simulation.stopped} if simulation.stopped else {}),
    }


@router.post("/v1/actions/{action_id}/replay", status_code=202, responses=responses(NotFound, Forbidden))
async def replay(action_id: str, request: ReplayRequest, caller: AdminCaller, services: Services, now: Now) -> Document:
    """Ask the automation about changes of the past, as if they happened now.

    Those that it has run for before are left out, unless `again` asks for another run of each.
    """
    until = min(request.until, now) if request.until else now
    if request.since > until:
        raise InvalidRequest("from: must be before to, and in the past")
    async with services.database.write() as session:
        action, _ = await actions.get(session, action_id, to_change=True)
        event = _event(action)
        if action.definition.publish is not True:
            raise InvalidRequest(f"automation {action.identifier} is not published, so it is asked about nothing")
        if await actions.paused(session, action):
            raise InvalidRequest(f"automation {action.identifier} is paused; resume it first")
        wish = replays.Wish(action, event, request.since, until, request.again)
        started = await replays.start(session, wish, by=caller.id, at=now, origin=Source.API)
    return {"ok": True, "replay": {"id": started.id, "changes": started.changes}}


@router.get("/v1/audit-log/{event_id}/automations", responses=responses(NotFound))
async def explain(event_id: str, caller: Caller, services: Services) -> dict[str, Any]:
    """Which automations ran because of a change and which did not, and why; the change as they saw it.

    Who may not see the record of the change gets 404.
    """
    viewer = await viewer_of(caller, services)
    async with services.database.read() as session:
        found = await audit.listed(session, audit.Filters(identifier=event_id, viewer=viewer, limit=1))
        if not found:
            raise NotFound("Event", event_id)
        [change] = found
        event = await events.of_document(session, change, organization=caller.organization)
        fates = await known.fates(session, event_id)
        settled = {fate.action_id for fate in fates if not fate.replay}
        others = [one for one in await known.listeners_of(session, change) if one.action.id not in settled]
        pending = await known.pending_for(session, event_id)
        change = await timer_names.by_any_name(session, await listeners.current(session), change)
    fates = [fate for fate in fates if _may_see(fate.action_id, fate.restricted, fate.created_by, caller, viewer)]
    others = [one for one in others if _may_see(one.action.id, one.restricted, None, caller, viewer)]
    versions = [fate.action for fate in fates if fate.ran or fate.paused is None]
    versions += [version for one in others if one.paused is None for version in (one.action, one.then)]
    asked = {(one.id, one.version): one for one in versions if one is not None}
    judged = await services.explain(list(asked.values()), change, event)
    judgements = dict(zip(asked, judged, strict=True))
    told = [_fate(fate, judgements) for fate in fates]
    told += [_not_run(one, change, judgements, pending) for one in others]
    return {"ok": True, "event": event, "automations": sorted(told, key=lambda one: str(one["identifier"]))}


async def _to_simulate(
    action_id: str, request: SimulationRequest, caller: CallerValue, services: ApiServices, now: datetime
) -> tuple[Action, Document]:
    definition = await parsed(request.definition, services) if request.definition is not None else None
    async with services.database.read() as session:
        try:
            saved, _ = await actions.get(session, action_id)
        except NotFound:
            if definition is None:
                raise
            saved = None
    if definition is not None:
        action = version_of(definition, of=saved, by=caller.id, at=now)
    elif saved is not None:
        action = saved
    return action, _event(action)


def _event(action: Action) -> Document:
    """What the automation listens to.

    Raises:
        InvalidRequest: it is none, or the clock starts it.
    """
    match action.document["trigger"]:
        case {"type": "automation", "event": {"type": "SCHEDULE"}}:
            raise InvalidRequest("trigger.event.type: SCHEDULE listens to the clock and to no changes")
        case {"type": "automation", "event": dict() as event}:
            return event
    raise InvalidRequest(f"trigger.type: {action.identifier} is self-service: people start it, and no change does")


async def _past(session: AsyncSession, changes: Sequence[Document], *, organization: str) -> list[Past]:
    actors: dict[str, User | None] = {}
    listening = await listeners.current(session)
    past = []
    for change in changes:
        by = str(change["by"])
        if by not in actors:
            actors[by] = await users.get(session, by)
        event = await events.of_document(session, change, organization=organization)
        change = await timer_names.by_present_name(session, listening, change)
        past.append(Past(change, event, actors[by]))
    return past


_Judgements = Mapping[tuple[str, int], Judgement]
"""Of each version that was asked, by the id of its action and its number. Conditions that are paused are not."""


def _may_see(
    action_id: str, restricted: bool, created_by: str | None, caller: CallerValue, viewer: Viewer | None
) -> bool:
    """Whether the caller may see the runs of the automation, or at least this one."""
    return viewer is None or not restricted or action_id in viewer.approvable or created_by == caller.id


def _fate(fate: known.Fate, judgements: _Judgements) -> Document:
    """What became of the change for an automation that let it pass."""
    action = fate.action
    judgement = judgements.get((action.id, action.version)) if action else None
    return {
        "identifier": action.identifier if action else None,
        "version": action.version if action else None,
        "outcome": fate.outcome,
        "runId": fate.run_id,
        "fired": fate.outcome == Outcome.RUN,
        "why": explanations.became(fate.outcome, judgement),
        "expressions": explanations.expressions(judgement) if judgement else [],
        "publishedThen": True,
        **({"replay": fate.replay} if fate.replay else {}),
    }


def _not_run(one: known.Listener, change: Document, judgements: _Judgements, pending: Collection[str]) -> Document:
    """Why an automation has no run, judged by the version that listened when the change was made, if one did."""
    then = one.then if one.then is not None and one.then.definition.publish is True else None
    listened = then is not None and listens(then, change)
    action = then if then is not None and listened else one.action
    waits = one.action.id in pending or (listened and "" in pending)
    key = action.id, action.version
    if one.paused is not None:
        why = explanations.paused(one.paused)
    else:
        why = explanations.not_run(judgements[key], listened=listened, pending=waits)
    return {
        "identifier": one.action.identifier,
        "version": action.version,
        "outcome": None,
        "runId": None,
        "fired": False,
        "why": why,
        "expressions": explanations.expressions(judgements[key]) if key in judgements else [],
        "publishedThen": listened,
        **({"paused": one.paused} if one.paused is not None else {}),
    }
