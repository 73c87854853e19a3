"""Runs: ask for one, read them, report about them."""

import hmac
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Response
from pydantic import Field, JsonValue, StrictStr

from api import clearing, dry_runs
from api.auth import AuthenticatedRoute, Caller, CausedBy
from api.errors import responses
from api.recording import recorded
from api.requesting import Asking, acting
from api.services import ApiServices, NewRunId, Now, Services, words
from api.visibility import require_reporter, viewer_of, visible
from domain import documents
from domain.documents import Document
from domain.errors import (
    EntityFailsCondition,
    Forbidden,
    IdempotencyKeyReused,
    InvalidInputs,
    InvalidInvocation,
    InvalidRequest,
    MissingEntity,
    NotFound,
    NotSelfService,
    PrivateDestination,
    RunExhausted,
    RunSynchronized,
    TemplateFault,
    UnresolvableDestination,
)
from domain.models import Written
from domain.requests import RunRequest
from domain.runs import Report, Run, RunStatus, Source, v1
from domain.shapes import shortened
from domain.users import Caller as CallerValue
from store import run_lists, runs, turns, users

router = APIRouter(route_class=AuthenticatedRoute, tags=["runs"])

Version = Annotated[Literal["v1", "v2"], Query(description="the shape of runs in the answer")]


class RunPatch(Written):
    """What a backend says about a run; every key replaces what was said before."""

    status: Literal["SUCCESS", "FAILURE", "IN_PROGRESS"] | None = None
    status_label: StrictStr | None = None
    link: StrictStr | list[StrictStr] | None = None
    summary: StrictStr | None = None
    external_run_id: StrictStr | None = None
    message: Document | None = Field(default=None, json_schema_extra={"deprecated": True})

    def report(self) -> Report:
        """The same, to apply to a run; IN_PROGRESS says nothing new."""
        ended = self.status if self.status != "IN_PROGRESS" else None
        return Report(
            status=RunStatus(ended) if ended else None,
            status_label=self.status_label,
            link=(self.link,) if isinstance(self.link, str) else tuple(self.link) if self.link is not None else None,
            summary=self.summary,
            external_run_id=self.external_run_id,
        )


class RunResponse(Written):
    """What the backend answered, as whoever called it reports it."""

    response: JsonValue


class NewLogLine(Written):
    """A line for the run's log; with a `terminationStatus` it is the last one."""

    message: StrictStr
    termination_status: Literal["SUCCESS", "FAILURE"] | None = None
    status_label: StrictStr | None = None


@router.post(
    "/v1/actions/{action_id}/runs",
    status_code=202,
    responses={
        200: {"description": "What the request would do, with `dry_run=true`"},
        **responses(
            NotFound, Forbidden, NotSelfService, MissingEntity, EntityFailsCondition, InvalidInputs, TemplateFault,
            InvalidInvocation, PrivateDestination, UnresolvableDestination, IdempotencyKeyReused,
        ),
    },
)  # fmt: skip
async def create_run(
    action_id: str,
    request: RunRequest,
    caller: Caller,
    cause: CausedBy,
    services: Services,
    run_id: NewRunId,
    now: Now,
    response: Response,
    run_as: str | None = None,
    dry_run: bool = False,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> Document:
    """Start a run of the action. It can be read back as soon as this answers, and nothing loses it from then on.

    With an `Idempotency-Key` the same request can be sent again: it answers with the same run. With `dry_run=true`
    nothing is changed, and the answer (200) says what would come of the request, and what decides about it.
    """
    asking = Asking(action_id, request, caller, cause, run_id, now)
    if dry_run:
        response.status_code = 200
        return {"ok": True, "dryRun": await dry_runs.dry_run(asking, run_as, services)}
    asking = await acting(asking, run_as, services)
    caller = asking.caller
    repeatable = _repeatable(action_id, request, caller, idempotency_key, services)
    if repeatable:
        async with services.database.read() as session:
            known = await runs.by_key(session, repeatable.key)
        if known:
            return _repeated(known, repeatable)
    try:
        run = await recorded(asking, services, repeatable)
    except runs.KeyTaken:  # the same request came twice at the same time
        async with services.database.read() as session:
            known = await runs.by_key(session, repeatable.key) if repeatable else None
        if known is None or repeatable is None:
            raise
        return _repeated(known, repeatable)
    await services.driver.try_start(run)  # the relay starts what this cannot
    return {"ok": True, "run": run.answer()}


@router.get("/v1/actions/runs", responses=responses())
async def list_runs(
    caller: Caller,
    services: Services,
    entity: str | None = None,
    blueprint: str | None = None,
    action: str | None = None,
    active: bool | None = None,
    user_email: str | None = None,
    user_id: str | None = None,
    source: Annotated[list[str] | None, Query()] = None,
    external_run_id: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    version: Version = "v2",
) -> Document:
    """The runs that pass every filter, newest first."""
    sources = words(source)
    if unknown := set(sources) - set(Source):
        raise InvalidRequest(f"source: {shortened(', '.join(sorted(unknown)))} is none of {', '.join(Source)}")
    viewer = await viewer_of(caller, services)
    async with services.database.read() as session:
        of_user = {user_id} if user_id is not None else None
        if user_email is not None:
            try:
                asked = {(await users.by_email(session, user_email)).id}
            except NotFound:
                asked = set()
            of_user = asked if of_user is None else asked & of_user
        filters = run_lists.Filters(
            viewer=viewer,
            entity=entity,
            blueprint=blueprint,
            action=action,
            active=active,
            user_ids=tuple(of_user) if of_user is not None else None,
            sources=sources or None,
            external_run_id=external_run_id,
            limit=limit,
        )
        found = await turns.labelled(session, await run_lists.listed(session, filters))
    return {"ok": True, "runs": [_shaped(run, version) for run in found]}


@router.get("/v1/actions/runs/{run_id}", responses=responses(NotFound))
async def get_run(run_id: str, caller: Caller, services: Services, version: Version = "v2") -> Document:
    """One run."""
    run = (await visible(run_id, caller, services)).run
    if run.queued:
        async with services.database.read() as session:
            [run] = await turns.labelled(session, [run])
    return {"ok": True, "run": _shaped(run, version)}


@router.patch("/v1/actions/runs/{run_id}", responses=responses(NotFound, Forbidden, RunExhausted, RunSynchronized))
async def patch_run(
    run_id: str,
    patch: RunPatch,
    caller: Caller,
    cause: CausedBy,
    services: Services,
    now: Now,
    version: Version = "v2",
) -> Document:
    """Report about the run, as often as there is something to say, until it has ended."""
    found = await visible(run_id, caller, services)
    require_reporter(found.run, caller)
    async with services.database.write() as session:
        clear = await clearing.redactor(session, found, services)
        report = clearing.cleared(patch.report(), clear)
        before, after = await runs.change(
            session, run_id, lambda run: run.reported(report, at=now, by=caller.id), origin=Source.API, cause=cause
        )
        if patch.message:
            message = documents.canonical(clear.value(patch.message))
            await runs.log(session, run_id, message, by=caller.id, at=now)
    await _wake(before, after, services)
    return {"ok": True, "run": _shaped(after, version)}


@router.patch(
    "/v1/actions/runs/{run_id}/response", responses=responses(NotFound, Forbidden, RunExhausted, RunSynchronized)
)
async def patch_response(
    run_id: str, body: RunResponse, caller: Caller, cause: CausedBy, services: Services, now: Now
) -> Document:
    """Keep what the backend answered, for callers that invoked it on our behalf."""
    found = await visible(run_id, caller, services)
    require_reporter(found.run, caller)
    async with services.database.write() as session:
        answer = (await clearing.redactor(session, found, services)).value(body.response)
        _, after = await runs.change(
            session,
            run_id,
            lambda run: run.answered(answer, at=now, by=caller.id),
            origin=Source.API,
            cause=cause,
        )
    return {"ok": True, "run": after.answer()}


@router.post(
    "/v1/actions/runs/{run_id}/logs",
    status_code=201,
    responses=responses(NotFound, Forbidden, RunExhausted, RunSynchronized),
)
async def create_log(
    run_id: str, line: NewLogLine, caller: Caller, cause: CausedBy, services: Services, now: Now
) -> Document:
    """Add a line to the run's log; `terminationStatus` ends the run with it."""
    found = await visible(run_id, caller, services)
    require_reporter(found.run, caller)
    said = Report(
        status=RunStatus(line.termination_status) if line.termination_status else None,
        status_label=line.status_label,
    )
    async with services.database.write() as session:
        clear = await clearing.redactor(session, found, services)
        report = clearing.cleared(said, clear)
        before, after = await runs.change(
            session, run_id, lambda run: run.reported(report, at=now, by=caller.id), origin=Source.API, cause=cause
        )
        added = await runs.log(session, run_id, clear.text(line.message), by=caller.id, at=now)
    await _wake(before, after, services)
    return {"ok": True, "runLog": added.model_dump(mode="json")}


@router.get("/v1/actions/runs/{run_id}/logs", responses=responses(NotFound))
async def list_logs(
    run_id: str,
    caller: Caller,
    services: Services,
    limit: Annotated[int, Query(ge=1, le=50)] = 50,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> Document:
    """The lines of the run's log, oldest first."""
    await visible(run_id, caller, services)
    async with services.database.read() as session:
        lines = await runs.logs(session, run_id, limit=limit, offset=offset)
    return {"ok": True, "runLogs": list[JsonValue](lines)}


def _repeatable(
    action_id: str, request: RunRequest, caller: CallerValue, key: str | None, services: ApiServices
) -> runs.Request | None:
    if key is None:
        return None
    asked = documents.canonical([action_id, request.model_dump(mode="json", exclude_unset=True)])
    # Keyed, because the request may hold a short secret that a plain digest would let somebody guess.
    secret = services.organization.client_secret.encode()
    return runs.Request(
        key=hmac.digest(secret, "\0".join((caller.client, caller.id, key)).encode(), "sha256").hex(),
        digest=hmac.digest(secret, asked.encode(), "sha256").hex(),
    )


def _repeated(known: tuple[Run, str], asked: runs.Request) -> Document:
    run, digest = known
    if digest != asked.digest:
        raise IdempotencyKeyReused(f"the Idempotency-Key was used for run {run.id}, which was asked for differently")
    return {"ok": True, "run": run.answer()}


async def _wake(before: Run, after: Run, services: ApiServices) -> None:
    if after.status is not before.status:
        await services.driver.try_wake(after)


def _shaped(run: Run, version: str) -> Document:
    return v1(run.answer()) if version == "v1" else run.answer()
