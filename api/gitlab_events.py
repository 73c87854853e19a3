"""The door for GitLab: its webhooks tell how the pipelines end that belong to runs of ours."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request

from api.backend_events import header, ignored, told_runs
from api.errors import responses
from api.services import Services
from domain import documents, gitlab
from domain.documents import Document
from domain.errors import InvalidRequest, NotConfigured
from domain.gitlab import ID, PIPELINE, SIGNATURE, TIMESTAMP, TOKEN, Pipeline, pipeline_number
from domain.runs import PLATFORM, Run, RunStatus
from domain.templating import MASK

router = APIRouter(tags=["webhooks of backends"])


_SCHEMA: dict[str, Any] = {
    "parameters": [
        header(TOKEN, "the secret token of the webhook, where that is what is configured"),
        header(SIGNATURE, "`v1,<base64>`, by the signing token of the webhook, where that is what is configured"),
        header(ID, "the id of the delivery, which is signed"),
        header(TIMESTAMP, "the time in seconds since 1970, which is signed"),
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "object", "description": "An event, as GitLab sends it."}},
        },
    },
}


@router.post(
    "/v1/integrations/gitlab/webhook",
    status_code=202,
    responses=responses(NotConfigured),
    openapi_extra=_SCHEMA,
)
async def gitlab_event(request: Request, services: Services) -> Document:
    """Take an event of GitLab. It proves to be GitLab's; there is no access token.

    A pipeline that has ended ends the run that it belongs to, if that goes on. Everything else is ignored, and said to
    be.
    """
    secret = services.settings.gitlab_webhook_secret
    if secret is None:
        raise NotConfigured("GitLab's webhooks need INTERLOCK_GITLAB_WEBHOOK_SECRET")
    body = await request.body()
    gitlab.require_genuine(secret.get_secret_value(), request.headers, body, services.now())
    event = documents.parse(body)
    if not isinstance(event, dict):
        raise InvalidRequest("the event must be a JSON object")
    if event.get("object_kind") != PIPELINE:
        return ignored(f"only events of the kind {PIPELINE} are of interest")
    pipeline = Pipeline.told(event)
    if pipeline is None:
        raise InvalidRequest("object_attributes: is no pipeline of a project")
    if (outcome := pipeline.outcome) is None:
        return ignored("the pipeline goes on")
    at = services.now()
    ended = await told_runs(
        services,
        external_run_id=pipeline.external_run_id,
        named=pipeline.run_ids,
        concerns=lambda run: _of(pipeline, run),
        said=lambda run: _ended(run, pipeline, outcome, at),
        last_line=pipeline.last_line,
    )
    return {"ok": True, "runs": [*ended]} if ended else ignored("no run waits for this pipeline")


def _of(pipeline: Pipeline, run: Run) -> bool:
    """Whether the run goes on, is one of this project, and belongs to no other pipeline."""
    payload = run.payload or {}
    if payload.get("type") != "GITLAB" or run.status is not RunStatus.IN_PROGRESS:
        return False
    project = f"{payload.get('groupName')}/{payload.get('projectName')}"
    if pipeline_number(project, run.external_run_id, run.link) not in (None, pipeline.id):
        return False
    # A project that was renamed meanwhile is known by the page of the pipeline.
    return project.lower() == pipeline.project.lower() or pipeline.link in run.link or MASK in project


def _ended(run: Run, pipeline: Pipeline, outcome: RunStatus, at: datetime) -> Run:
    said: dict[str, Any] = {} if run.external_run_id else {"external_run_id": pipeline.external_run_id}
    if not run.link and pipeline.link:
        said["link"] = (pipeline.link,)
    return run.moved(outcome, at=at, by=PLATFORM, **said)
