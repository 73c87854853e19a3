"""Nodes of workflows, which we do not have: agents and integrations ask for their runs and must be told so."""

from fastapi import APIRouter
from pydantic import ConfigDict

from api.auth import AuthenticatedRoute, Caller
from api.errors import responses
from domain.documents import Document
from domain.shapes import Closed

router = APIRouter(route_class=AuthenticatedRoute, tags=["workflows"])


class Claim(Closed):
    """Who asks for runs, and for how many. What else they say makes no difference: there are none."""

    model_config = ConfigDict(extra="ignore")

    installation_id: str
    limit: int | None = None


class Acknowledgement(Closed):
    """Which run of a node is taken; clients name one, or several."""

    model_config = ConfigDict(extra="ignore")

    node_run_identifier: str | None = None
    node_run_identifiers: list[str] | None = None


@router.post("/v1/workflows/runs/claim-pending", responses=responses())
async def claim_node_runs(body: Claim, caller: Caller) -> Document:
    """The runs of nodes that wait for somebody: none."""
    return {"ok": True, "nodeRuns": []}


@router.patch("/v1/workflows/runs/ack", responses=responses())
async def acknowledge_node_run(body: Acknowledgement, caller: Caller) -> Document:
    """Whether the run of a node is the caller's now: never, as there is none."""
    return {"ok": True, "acked": False, "ackedCount": 0}


@router.get("/v1/workflows/nodes/runs", responses=responses())
async def list_node_runs(caller: Caller) -> Document:
    """The runs of nodes: none."""
    return {"ok": True, "nodeRuns": []}
