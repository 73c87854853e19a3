"""The door for Azure DevOps: its service hooks tell how the builds stand that belong to runs of ours."""

import logging
from typing import Any

from fastapi import APIRouter, Request
from pydantic import JsonValue
from sqlmodel.ext.asyncio.session import AsyncSession

from api.errors import responses
from api.services import ApiServices, Services
from domain import azure_devops, documents
from domain.azure_devops import BUILD_COMPLETED, RUN_STATE_CHANGED, SECRET_HEADER, Build
from domain.documents import Document
from domain.errors import InvalidRequest, NotConfigured, NotFound
from domain.runs import PLATFORM, Run, RunStatus, Source
from domain.templating import MASK
from store import run_lists, runs

router = APIRouter(tags=["webhooks of backends"])
log = logging.getLogger(__name__)

_EVENTS = (BUILD_COMPLETED, RUN_STATE_CHANGED)
_UNCLEAR = "the event does not say which build it is about: let its subscription send all details of the resource"

_SCHEMA: dict[str, Any] = {
    "parameters": [
        {
            "in": "header",
            "name": SECRET_HEADER,
            "schema": {"type": "string"},
            "description": "The secret of the service hook, unless it is the password of HTTP Basic",
        },
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "object", "description": "An event, as Azure DevOps sends it."}},
        },
    },
}


@router.post(
    "/v1/integrations/azure-devops/webhook",
    status_code=202,
    responses=responses(NotConfigured),
    openapi_extra=_SCHEMA,
)
async def azure_devops_event(request: Request, services: Services) -> Document:
    """Take an event of a service hook. It proves itself by a secret; there is no access token.

    `build.complete` and `ms.vss-pipelines.run-state-changed-event` end the run that the build belongs to, or link it
    to the build as long as that goes on. Everything else is ignored, and said to be.
    """
    secret = services.settings.azure_devops_webhook_secret
    if secret is None:
        raise NotConfigured("service hooks of Azure DevOps need INTERLOCK_AZURE_DEVOPS_WEBHOOK_SECRET")
    headers = request.headers
    azure_devops.require_secret(secret.get_secret_value(), headers.get("authorization"), headers.get(SECRET_HEADER))
    event = documents.parse(await request.body())
    if not isinstance(event, dict) or not isinstance(event.get("eventType"), str):
        raise InvalidRequest("eventType: is required, and the event must be a JSON object")
    if event["eventType"] not in _EVENTS:
        return _ignored(f"only events {' and '.join(_EVENTS)} are of interest")
    build = Build.of_event(event)
    if build is None:
        return _ignored(_UNCLEAR)
    told: list[JsonValue] = [run.id for run in await _waiting(build, services) if await _told(run.id, build, services)]
    return {"ok": True, "runs": told} if told else _ignored("no run waits for this build")


async def _waiting(build: Build, services: ApiServices) -> list[Run]:
    """The runs that wait for the build: who knows it by its id, and those that it names and that know no other."""
    async with services.database.read() as session:
        filters = run_lists.Filters(external_run_id=build.external_run_id, active=True)
        found = {run.id: run for run in await run_lists.listed(session, filters)}
        for run_id in build.run_ids:
            if run := await _run(session, run_id):
                found[run.id] = run
    return [run for run in found.values() if _of(build, run)]


async def _run(session: AsyncSession, run_id: str) -> Run | None:
    try:
        return await runs.get(session, run_id)
    except NotFound:
        return None


def _of(build: Build, run: Run) -> bool:
    """Whether it is ours to settle: it was handed to this organization of Azure DevOps, and to no other build."""
    payload = run.payload or {}
    if payload.get("type") != "AZURE_DEVOPS" or run.status is not RunStatus.IN_PROGRESS:
        return False
    organization = str(payload.get("org"))
    elsewhere = build.organization is not None and build.organization.lower() != organization.lower()
    if elsewhere and MASK not in organization:
        return False
    return run.external_run_id == build.external_run_id or not azure_devops.is_build(run.external_run_id)


async def _told(run_id: str, build: Build, services: ApiServices) -> bool:
    """Whether the run has changed by what the event says; what somebody has reported about it stays."""
    at = services.now()

    def move(current: Run) -> Run:
        if not _of(build, current):
            return current
        said: dict[str, Any] = {}
        if not current.external_run_id:
            said["external_run_id"] = build.external_run_id
        if not current.link and build.link:
            said["link"] = (build.link,)
        if build.outcome is None:
            return current.changed(at=at, by=PLATFORM, **said)
        return current.moved(build.outcome, at=at, by=PLATFORM, **said)

    async with services.database.write() as session:
        before, after = await runs.change(session, run_id, move, origin=Source.API)
        ended = after.status is not before.status
        if ended:
            await runs.log(session, run_id, build.last_line, by=PLATFORM, at=at)
    if ended:
        await services.driver.try_wake(after)
    return after is not before


def _ignored(why: str) -> Document:
    return {"ok": True, "ignored": why}
