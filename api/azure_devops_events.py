"""The door for Azure DevOps: its service hooks tell how the builds stand that belong to runs of ours."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request

from api.backend_events import header, ignored, told_runs
from api.errors import responses
from api.services import Services
from domain import azure_devops, documents
from domain.azure_devops import BUILD_COMPLETED, RUN_STATE_CHANGED, SECRET_HEADER, Build
from domain.documents import Document
from domain.errors import InvalidRequest, NotConfigured
from domain.runs import PLATFORM, Run, RunStatus
from domain.templating import MASK

router = APIRouter(tags=["webhooks of backends"])

_EVENTS = (BUILD_COMPLETED, RUN_STATE_CHANGED)
_UNCLEAR = "the event does not say which build it is about: let its subscription send all details of the resource"

_SCHEMA: dict[str, Any] = {
    "parameters": [
        header(SECRET_HEADER, "The secret of the service hook, unless it is the password of HTTP Basic"),
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
        return ignored(f"only events {' and '.join(_EVENTS)} are of interest")
    build = Build.of_event(event)
    if build is None:
        return ignored(_UNCLEAR)
    at = services.now()
    told = await told_runs(
        services,
        external_run_id=build.external_run_id,
        named=build.run_ids,
        concerns=lambda run: _of(build, run),
        said=lambda run: _told(run, build, at),
        last_line=build.last_line,
    )
    return {"ok": True, "runs": [*told]} if told else ignored("no run waits for this build")


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


def _told(run: Run, build: Build, at: datetime) -> Run:
    said: dict[str, Any] = {} if run.external_run_id else {"external_run_id": build.external_run_id}
    if not run.link and build.link:
        said["link"] = (build.link,)
    if build.outcome is None:
        return run.changed(at=at, by=PLATFORM, **said)
    return run.moved(build.outcome, at=at, by=PLATFORM, **said)
