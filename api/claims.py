"""Runs that others come for: execution agents and integrations claim them, and say which ones they take."""

import asyncio
import logging
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import ConfigDict, Field, JsonValue, StrictStr, model_validator

import backends
from activities.deliveries import Deliveries
from activities.receipts import failed, settle, unexpected
from api.auth import AuthenticatedRoute, Caller
from api.deciding import fingerprints
from api.errors import responses
from api.services import ApiServices, Services
from backends import InvocationMethod, Receipt
from domain.actions import Action
from domain.claims import INTEGRATION_ACTION, LONGEST_VISIBILITY, LONGEST_WAIT, MOST, VISIBILITY, queue
from domain.documents import Document
from domain.errors import BackendRefused, Forbidden, InterlockError, NotFound, RunTaken, Unavailable
from domain.models import Written
from domain.run_documents import without_entity
from domain.runs import Run
from domain.secrets import Redactor
from domain.times import iso
from domain.users import Caller as CallerValue
from store import actions, claims
from store.claims import Claimed
from store.database import Database, json_text

log = logging.getLogger(__name__)
router = APIRouter(route_class=AuthenticatedRoute, tags=["runs"])

_LOOK_SECONDS = 1.0
"""How often who waits looks by itself: for runs whose claimer has died, and for what nobody rang for."""
_MILLISECOND = timedelta(milliseconds=1)


class RunClaim(Written):
    """Who asks for runs, and for which. Other keys mean nothing."""

    model_config = ConfigDict(extra="ignore")

    installation_id: Annotated[StrictStr, Field(min_length=1)]
    invocation_method: StrictStr = INTEGRATION_ACTION
    """The type of the runs; agents say `WEBHOOK`."""
    limit: Annotated[int, Field(strict=True, ge=1, le=MOST)] = 100
    visibility_timeout_ms: Annotated[int, Field(strict=True, ge=1, le=LONGEST_VISIBILITY // _MILLISECOND)] = (
        VISIBILITY // _MILLISECOND
    )
    """How long the runs are the caller's; those not acknowledged by then are offered again."""
    exclude: Annotated[list[StrictStr], Field(max_length=MOST)] = []
    """Identifiers of actions whose runs are not wanted now."""
    wait_seconds: Annotated[float, Field(strict=True, ge=0, le=LONGEST_WAIT.total_seconds())] = 0
    """Long polling: how long to wait for a run if there is none."""


class RunAcknowledgement(Written):
    """Which claimed runs the caller takes: one, or several. Other keys mean nothing."""

    model_config = ConfigDict(extra="ignore")

    run_id: Annotated[StrictStr, Field(min_length=1)] = ""
    run_ids: Annotated[list[StrictStr], Field(max_length=MOST)] = []

    @model_validator(mode="after")
    def _one_form(self) -> "RunAcknowledgement":
        if len(self.model_fields_set & {"run_id", "run_ids"}) != 1:
            raise ValueError("must have either runId or runIds")
        return self


@router.post("/v1/actions/runs/claim-pending", responses=responses(Forbidden), response_model=Document)
async def claim_runs(body: RunClaim, caller: Caller, request: Request, services: Services) -> Response:
    """Claim runs that wait for the installation, oldest first. Until the visibility timeout nobody else gets them.

    Only what is acknowledged is taken. With `waitSeconds` the answer comes when there is a run, or after that time.
    """
    _require_machine(caller)
    waiting_in = queue(body.invocation_method, body.installation_id)
    ends = time.monotonic() + body.wait_seconds
    ear = services.database.claims.ear()
    while True:
        runs = await _claimed(body, waiting_in, services)
        left = ends - time.monotonic()
        if runs or left <= 0 or await _is_over(request):
            # Written here: FastAPI would look at each value of a thousand runs.
            return Response(json_text({"ok": True, "runs": runs}), media_type="application/json")
        await ear.wait(min(left, _LOOK_SECONDS))


@router.patch("/v1/actions/runs/ack", responses=responses(Forbidden, NotFound, RunTaken))
async def acknowledge_runs(body: RunAcknowledgement, caller: Caller, services: Services) -> Document:
    """Take claimed runs for good. The first who says so has the run: `ackedCount` is how many the caller has.

    For one run named by `runId` the answer is 409 when it is somebody else's, or has ended.
    """
    _require_machine(caller)
    if "run_id" in body.model_fields_set:
        await services.database.transact(lambda session: claims.acknowledge_one(session, body.run_id))
        return {"ok": True, "ackedCount": 1}
    count = await services.database.transact(lambda session: claims.acknowledge(session, body.run_ids))
    return {"ok": True, "ackedCount": count}


def _require_machine(caller: CallerValue) -> None:
    if caller.run_id is not None:
        raise Forbidden(f"this access token was given to the backend of run {caller.run_id}, which may not take others")
    if not caller.machine:
        raise Forbidden(f"only the organization's credentials may take runs, and {caller.name} is a person")


async def _is_over(request: Request) -> bool:
    """Whether nobody waits for the answer any more, or this process ends: then nothing may be claimed for it."""
    stop: asyncio.Event | None = getattr(request.app.state, "stop", None)
    return (stop is not None and stop.is_set()) or await request.is_disconnected()


async def _claimed(body: RunClaim, waiting_in: str, services: ApiServices) -> list[JsonValue]:
    """What there is to claim now, as the claimer reads it."""
    database, at = services.database, services.now()
    if database.is_sqlite:  # where who writes keeps others from writing, even if there is nothing to write
        async with database.read() as session:
            if not await claims.waiting(session, waiting_in, at=at, exclude=body.exclude):
                return []
    until = at + body.visibility_timeout_ms * _MILLISECOND
    found = await database.transact(
        lambda session: claims.claim(session, waiting_in, at=at, until=until, limit=body.limit, exclude=body.exclude)
    )
    if not found:
        return []
    handing = _Handing(services)
    shown = await handing.out(found)
    claimed: Document = {"pendingExecution": True, "claimedUntil": iso(until)}
    await handing.settle(until)
    return [
        {**without_entity(one.document), **claimed, "payload": payload}
        for one, payload in zip(found, shown, strict=True)
        if payload is not None
    ]


class _Handing:
    """Makes copies of claimed runs for their claimer. One that cannot be copied is nobody's problem but its own."""

    def __init__(self, services: ApiServices) -> None:
        self._services = services
        made = fingerprints(services)
        self._deliveries = Deliveries(
            services.database, services.evaluate, made.decrypt, made.key, services.organization.id
        )
        self._later: list[str] = []
        self._faulty: list[tuple[Run, Receipt]] = []

    async def out(self, found: Sequence[Claimed]) -> list[Document | None]:
        """The payload of each, secrets and all; None for those that cannot be given out."""
        async with self._services.database.read() as session:
            versions = [await actions.version(session, one.action_id, _version(one.document)) for one in found]
        known: dict[str, InvocationMethod] = {}
        shown = [_as_it_is(one.document, action, known) for one, action in zip(found, versions, strict=True)]
        others = [place for place, payload in enumerate(shown) if payload is None]
        made = await asyncio.gather(*(self._payload(found[place], versions[place]) for place in others))
        for place, payload in zip(others, made, strict=True):
            shown[place] = payload
        return shown

    async def _payload(self, one: Claimed, action: Action) -> Document | None:
        known: dict[str, str] = {}
        run = Run.model_validate(one.document)
        try:
            known |= await self._deliveries.secrets_of(action.template)
            method, _ = await self._deliveries.method_of(run, action, known)
            return method.handed_out(await self._deliveries.message_of(run, action))
        except Unavailable:
            self._later.append(run.id)
        except InterlockError as fault:
            told = Redactor(known.values()).text(str(fault))
            self._faulty.append((run, failed(BackendRefused(f"The run could not be handed out: {told}"))))
        except Exception as fault:
            self._faulty.append((run, unexpected(fault, run.id)))
        return None

    async def settle(self, until: datetime) -> None:
        """Offer again what could not be copied now, and end what never can be."""
        database: Database = self._services.database
        if self._later:
            async with database.write() as session:
                await claims.release(session, self._later, until=until)
        for run, receipt in self._faulty:
            log.warning("run cannot be handed out", extra={"run_id": run.id})
            async with database.write() as session:
                after = await settle(session, run, receipt, at=self._services.now(), by_driver=False)
            await self._services.driver.try_wake(after)


def _version(run: Document) -> int:
    """The version of the action that the run executes."""
    driving = run.get("interlock")
    return int(str(driving.get("actionVersion", 1))) if isinstance(driving, dict) else 1


def _as_it_is(run: Document, action: Action, known: dict[str, InvocationMethod]) -> Document | None:
    """The payload of a run that needs nothing but what is stored, as most do; None: it has to be rendered.

    Many runs have the same request but for its body: what is `known` of others is not read again.
    """
    payload = run.get("payload")
    if not isinstance(payload, dict) or action.template.secret_programs:
        return None
    if payload.get("type") != INTEGRATION_ACTION and "body" not in payload:
        return None
    head = {name: value for name, value in payload.items() if name != "body"}
    key = json_text(head)
    try:
        method = known.get(key) or known.setdefault(key, backends.parse_rendered(payload))
        if "body" in payload:
            method = method.model_copy(update={"body": payload["body"]})
        return method.handed_out({})
    except InterlockError:
        return None  # which is told where others are rendered
