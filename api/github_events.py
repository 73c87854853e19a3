"""The door for GitHub: its webhooks tell how the workflow runs end that runs of ours have dispatched."""

import logging
from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Request

from api.errors import responses
from api.services import ApiServices, Services
from domain import documents, github
from domain.documents import Document
from domain.errors import InvalidRequest, NotConfigured
from domain.github import EVENT, SIGNATURE, WORKFLOW_RUN, WorkflowRun
from domain.runs import PLATFORM, Run, RunStatus, Source
from store import run_lists, runs

router = APIRouter(tags=["webhooks of backends"])
log = logging.getLogger(__name__)

_SCHEMA: dict[str, Any] = {
    "parameters": [
        {
            "in": "header",
            "name": SIGNATURE,
            "required": True,
            "schema": {"type": "string"},
            "description": "`sha256=<hexadecimal digits>`, of the body with the secret of the webhook",
        },
        {
            "in": "header",
            "name": EVENT,
            "schema": {"type": "string"},
            "description": "`workflow_run`; others are ignored",
        },
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "object", "description": "An event, as GitHub sends it."}},
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "properties": {"payload": {"type": "string", "description": "The same as JSON."}},
                    "required": ["payload"],
                }
            },
        },
    },
}


@router.post(
    "/v1/integrations/github/webhook",
    status_code=202,
    responses=responses(NotConfigured),
    openapi_extra=_SCHEMA,
)
async def github_event(request: Request, services: Services) -> Document:
    """Take an event of GitHub. Signed by GitHub; there is no access token.

    `workflow_run` with `completed` ends the run that dispatched the workflow, if it goes on and has
    `reportWorkflowStatus`. Everything else is ignored, and said to be.
    """
    secret = services.settings.github_webhook_secret
    if secret is None:
        raise NotConfigured("GitHub's webhooks need INTERLOCK_GITHUB_WEBHOOK_SECRET")
    body = await request.body()
    github.require_signature(secret.get_secret_value(), request.headers.get(SIGNATURE), body)
    if request.headers.get(EVENT) != WORKFLOW_RUN:
        return _ignored(f"only events {WORKFLOW_RUN} are of interest")
    sent = documents.posted(body, request.headers.get("content-type", ""))
    if not isinstance(sent, dict):
        raise InvalidRequest("the event must be a JSON object")
    workflow_run = WorkflowRun.read(sent.get("workflow_run"))
    if workflow_run is None:
        raise InvalidRequest("workflow_run: is no run of a workflow")
    if sent.get("action") != "completed" or (outcome := workflow_run.outcome) is None:
        return _ignored("the workflow run goes on")
    ended = await _ended(workflow_run, outcome, services)
    return {"ok": True, "runs": list(ended)} if ended else _ignored("no run waits for this workflow run")


async def _ended(workflow_run: WorkflowRun, outcome: RunStatus, services: ApiServices) -> list[str]:
    """The ids of the runs that end with it: one, or none."""
    async with services.database.read() as session:
        filters = run_lists.Filters(external_run_id=workflow_run.external_run_id, active=True)
        waiting = list(_dispatched(await run_lists.listed(session, filters)))
    at, ended = services.now(), list[Run]()

    def move(current: Run) -> Run:
        if current.status is not RunStatus.IN_PROGRESS:
            return current
        return current.moved(outcome, at=at, by=PLATFORM)

    for run in waiting:
        async with services.database.write() as session:
            before, after = await runs.change(session, run.id, move, origin=Source.API)
            if after is not before:
                await runs.log(session, run.id, workflow_run.last_line, by=PLATFORM, at=at)
        if after is not before:
            await services.driver.try_wake(after)
            ended.append(after)
    return [run.id for run in ended]


def _dispatched(found: list[Run]) -> Iterator[Run]:
    """Those that we have dispatched ourselves, and that end as their workflow ends."""
    for run in found:
        payload = run.payload or {}
        reports = payload.get("reportWorkflowStatus", True) in (True, "true", None)
        if payload.get("type") == "GITHUB" and reports and run.status is RunStatus.IN_PROGRESS:
            yield run


def _ignored(why: str) -> Document:
    return {"ok": True, "ignored": why}
