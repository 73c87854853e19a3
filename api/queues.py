"""Queues: what a run waits for before its backend is called, who is before it, and who has it."""

from collections.abc import Iterable

from fastapi import APIRouter
from pydantic import JsonValue

from api.auth import AuthenticatedRoute, Caller
from api.errors import responses
from api.services import Services
from api.visibility import viewer_of, visible
from domain.backend_rules import BackendRules, Budget, Per
from domain.documents import Document
from domain.errors import NotFound
from domain.runs import Run
from domain.times import iso
from store import actions
from store.standing import Line, Standing, standing

router = APIRouter(route_class=AuthenticatedRoute, tags=["runs"])


@router.get("/v1/actions/runs/{run_id}/queue", responses=responses(NotFound))
async def get_queue(run_id: str, caller: Caller, services: Services) -> Document:
    """What the run waits for: its place for each budget of its action, the runs that have their turn, and the circuit.

    Of the runs that have their turn those are named that the caller may see. A run that needs no turn, has not asked
    for it yet, or has ended, waits for nothing.
    """
    found = await visible(run_id, caller, services)
    viewer = await viewer_of(caller, services)
    async with services.database.read() as session:
        stands = await standing(session, run_id, viewer)
        action = await actions.version(session, found.action_id, found.run.interlock.action_version)
    rules = action.definition.backend_rules if stands.lines else BackendRules()
    return {"ok": True, "queue": queue(stands, rules, found.run)}


def queue(stands: Standing, rules: BackendRules, run: Run, untold: Iterable[Budget] = ()) -> Document:
    """Where the run stands, by the rules of its action, as clients read it.

    Of the budgets that are `untold` nobody knows what they are counted for.
    """
    keys = [_shown(line, one, run) for line in stands.lines for one in rules.budgets if one.per is line.key.per]
    keys += [{**_limits(one), "key": None, "position": None, "ahead": None, "holders": []} for one in untold]
    circuit: Document | None = None
    if stands.circuit:
        open_until = stands.circuit.open_until
        circuit = {"openUntil": iso(open_until) if open_until else None, "failures": stands.circuit.failures}
    return {
        "waiting": stands.waiting,
        "since": iso(stands.since) if stands.since else None,
        "keys": list[JsonValue](keys),
        "circuit": circuit,
    }


def _limits(budget: Budget) -> Document:
    limits: Document = budget.model_dump(mode="json", include={"per", "concurrent", "starts", "within"})
    return limits


def _shown(line: Line, budget: Budget, run: Run) -> Document:
    return {
        **_limits(budget),
        "key": run.action.identifier if line.key.per is Per.ACTION else line.key.of,
        "position": line.position,
        "ahead": line.position - 1 if line.position else None,
        "holders": list[JsonValue](line.holders),
    }
