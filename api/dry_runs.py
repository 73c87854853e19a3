"""Dry runs: what a request for a run would do, and who would decide about it, without doing anything."""

from dataclasses import replace
from datetime import datetime

from pydantic import JsonValue

import backends
from api import queues
from api.errors import status_of
from api.requesting import Asking, Prepared, acting, prepare
from api.services import ApiServices
from api.visibility import viewer_of
from domain import budgets
from domain.actions import Action
from domain.approval_terms import terms
from domain.backend_rules import Per
from domain.documents import Document
from domain.dry_runs import NO_RUN, Calling, differences, masked, replaced, sealed
from domain.errors import InterlockError, InvalidInvocation, NotFound, Unavailable
from domain.runs import Run, RunStatus
from domain.templating import MASK
from domain.times import iso
from domain.users import Caller
from runtime import rendering
from store import actions, run_lists
from store.standing import foreseen


async def dry_run(asking: Asking, run_as: str | None, services: ApiServices) -> Document:
    """What would come of the request; nothing is recorded, and nobody is told.

    Raises:
        Unavailable: the database, or a process to run templates and policies, cannot be had.
    """
    so_far, refusal = Prepared(), None
    try:
        asking = await acting(replace(asking, run_id=NO_RUN), run_as, services)
        await prepare(asking, services, so_far)
    except Unavailable:
        raise
    except InterlockError as error:
        refusal = error
    action, run, warnings = so_far.action, so_far.run, list(so_far.warnings)
    if refusal is None and action and run and run.status is RunStatus.WAITING_FOR_APPROVAL:
        run = await _as_approved(run, action, services, warnings)
    shown: Document = {
        "run": None,
        "inputs": None,
        "request": None,
        "warnings": list[JsonValue](warnings),
        "decisions": [one.model_dump(mode="json") for one in so_far.rulings],
        "approvers": [one.model_dump(mode="json") for one in so_far.approvers],
        "approval": _approval(so_far.run),
        "queue": None,
        "backend": None,
        "differences": [],
    }
    if action and run:
        document = run.answer()
        del document["id"]
        shown |= {"run": document, "inputs": run.properties, "request": run.payload}
        if refusal is None:
            shown |= await _turn(run, action, asking.caller, services, at=asking.at)
        shown = _masked(shown, sealed(run, action))
        shown |= await _compared(shown, action, asking.caller, services)
    if refusal is not None:
        shown["refusal"] = refused(refusal)
    return shown


def _approval(run: Run | None) -> Document | None:
    """What would be required before it goes on; None where nobody has to approve."""
    if run is None or run.status is not RunStatus.WAITING_FOR_APPROVAL:
        return None
    driving = run.interlock
    return terms(run.required_approval, driving.gate, driving.approval_time_limit)


def refused(refusal: InterlockError) -> Document:
    """The refusal as the request would be answered with."""
    return {"error": refusal.code, "statusCode": int(status_of(refusal)), "message": str(refusal)}


async def _as_approved(run: Run, action: Action, services: ApiServices, warnings: list[str]) -> Run:
    """With what would be sent when it is approved; what cannot be rendered then is no refusal now."""
    try:
        approved, told = await rendering.rendered(run, action, services.evaluate, services.settings)
    except Unavailable:
        raise
    except InterlockError as fault:
        warnings.append(f"once approved, the run would fail: {fault}")
        return run
    warnings += told
    return approved


async def _turn(run: Run, action: Action, caller: Caller, services: ApiServices, *, at: datetime) -> Document:
    """Whether it would wait for its turn if its backend was to be called now, and how that would be called."""
    rules, settings = action.definition.backend_rules, services.settings
    calling = Calling.of(run, rules, time_limit=settings.webhook_timeout, attempts=settings.webhook_attempts)
    where = _counterpart(run)
    wanted = budgets.wanted(run, action.id, rules, where)
    viewer = await viewer_of(caller, services)
    async with services.database.read() as session:
        stands = await foreseen(session, run.id, wanted, viewer, at=at)
    obstacle, waits_for = stands.obstacle, None
    if obstacle:
        positions = {str(line.key): line.position or 0 for line in stands.lines}
        waits_for = budgets.in_words(run, obstacle.waits_on, positions.get(obstacle.waits_on, 0))
    untold = [one for one in rules.budgets if where is None and one.per is Per.BACKEND]
    queue: Document = {
        **queues.queue(stands, rules, run, untold),
        "waitsFor": waits_for,
        "until": iso(obstacle.until) if obstacle and obstacle.until else None,
    }
    return {"queue": queue, "backend": calling.model_dump(mode="json")}


def _counterpart(run: Run) -> str | None:
    """Where its delivery would go; None where a secret says that, or nothing could be rendered."""
    if run.payload is None:
        return None
    try:
        where = backends.parse_rendered(run.payload).counterpart()
    except InvalidInvocation:
        return None
    return None if MASK in where else where


async def _compared(shown: Document, action: Action, caller: Caller, services: ApiServices) -> Document:
    """The last run of the same action that the caller may see, and where this one differs from it."""
    viewer = await viewer_of(caller, services)
    async with services.database.read() as session:
        found = await run_lists.listed(session, run_lists.Filters(action=action.identifier, limit=1, viewer=viewer))
        if not found:
            return {"lastRun": None}
        [last] = found
        try:
            then = await actions.version(session, action.id, last.interlock.action_version)
        except NotFound:
            then = action
    secrets = sealed(last, action, then)
    inputs = masked(last.properties, secrets)
    differing = list(differences(inputs, shown["inputs"], ("inputs",)))
    if last.payload is not None and shown["request"] is not None:
        request = replaced(last.payload, dict.fromkeys(secrets, MASK) | {last.id: NO_RUN})
        differing += differences(request, shown["request"], ("request",))
    return {"lastRun": last.id, "differences": list[JsonValue](differing)}


def _masked(document: Document, secrets: list[str]) -> Document:
    return {key: masked(value, secrets) for key, value in document.items()}
