"""The door for GitLab: its webhooks tell how the pipelines end that belong to runs of ours."""

from typing import Any

from fastapi import APIRouter, Request

from api.errors import responses
from api.services import ApiServices, Services
from domain import documents, gitlab
from domain.documents import Document
from domain.errors import InvalidRequest, NotConfigured, NotFound
from domain.gitlab import ID, PIPELINE, SIGNATURE, TIMESTAMP, TOKEN, Pipeline, pipeline_number
from domain.runs import PLATFORM, Run, RunStatus, Source
from domain.templating import MASK
from store import run_lists, runs

router = APIRouter(tags=["webhooks of backends"])


def _header(name: str, description: str) -> dict[str, Any]:
    return {"in": "header", "name": name, "schema": {"type": "string"}, "description": description}


_SCHEMA: dict[str, Any] = {
    "parameters": [
        _header(TOKEN, "the secret token of the webhook, where that is what is configured"),
        _header(SIGNATURE, "`v1,<base64>`, by the signing token of the webhook, where that is what is configured"),
        _header(ID, "the id of the delivery, which is signed"),
        _header(TIMESTAMP, "the time in seconds since 1970, which is signed"),
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
        return _ignored(f"only events of the kind {PIPELINE} are of interest")
    pipeline = Pipeline.told(event)
    if pipeline is None:
        raise InvalidRequest("object_attributes: is no pipeline of a project")
    if pipeline.outcome is None:
        return _ignored("the pipeline goes on")
    ended = [run.id for run in await _waiting(pipeline, services) if await _ended(run.id, pipeline, services)]
    return {"ok": True, "runs": list(ended)} if ended else _ignored("no run waits for this pipeline")


async def _waiting(pipeline: Pipeline, services: ApiServices) -> list[Run]:
    """The runs that wait for it: those that know it, and those that it names and that do not know yet which it is."""
    async with services.database.read() as session:
        filters = run_lists.Filters(external_run_id=pipeline.external_run_id, active=True)
        found = {run.id: run for run in await run_lists.listed(session, filters)}
        for run_id in sorted(pipeline.run_ids):
            try:
                run = await runs.get(session, run_id)
            except NotFound:
                continue  # a text that looks like one
            found[run.id] = run
    return [run for run in found.values() if _of(pipeline, run)]


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


async def _ended(run_id: str, pipeline: Pipeline, services: ApiServices) -> bool:
    """Whether the run has ended by it; what somebody has reported about it stays."""
    at, outcome = services.now(), pipeline.outcome

    def move(current: Run) -> Run:
        if outcome is None or not _of(pipeline, current):
            return current
        said: dict[str, Any] = {} if current.external_run_id else {"external_run_id": pipeline.external_run_id}
        if not current.link and pipeline.link:
            said["link"] = (pipeline.link,)
        return current.moved(outcome, at=at, by=PLATFORM, **said)

    async with services.database.write() as session:
        before, after = await runs.change(session, run_id, move, origin=Source.API)
        if after is not before:
            await runs.log(session, run_id, pipeline.last_line, by=PLATFORM, at=at)
    if after is not before:
        await services.driver.try_wake(after)
    return after is not before


def _ignored(why: str) -> Document:
    return {"ok": True, "ignored": why}
