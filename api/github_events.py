"""The door for GitHub: its webhooks tell how the workflow runs end that runs of ours have dispatched."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request

from api.backend_events import header, ignored, told_runs
from api.errors import responses
from api.services import Services
from domain import documents, github
from domain.documents import Document
from domain.errors import InvalidRequest, NotConfigured
from domain.github import EVENT, SIGNATURE, WORKFLOW_RUN, WorkflowRun, run_number
from domain.runs import PLATFORM, Run, RunStatus

router = APIRouter(tags=["webhooks of backends"])

_SCHEMA: dict[str, Any] = {
    "parameters": [
        header(SIGNATURE, "`sha256=<hexadecimal digits>`, of the body with the secret of the webhook", required=True),
        header(EVENT, "`workflow_run`; others are ignored"),
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

    `workflow_run` with `completed` ends the run that dispatched the workflow, or that its name names, if that goes on
    and has `reportWorkflowStatus`. Everything else is ignored, and said to be.
    """
    secret = services.settings.github_webhook_secret
    if secret is None:
        raise NotConfigured("GitHub's webhooks need INTERLOCK_GITHUB_WEBHOOK_SECRET")
    body = await request.body()
    github.require_signature(secret.get_secret_value(), request.headers.get(SIGNATURE), body)
    if request.headers.get(EVENT) != WORKFLOW_RUN:
        return ignored(f"only events {WORKFLOW_RUN} are of interest")
    sent = documents.posted(body, request.headers.get("content-type", ""))
    if not isinstance(sent, dict):
        raise InvalidRequest("the event must be a JSON object")
    workflow_run = WorkflowRun.read(sent.get("workflow_run"))
    if workflow_run is None:
        raise InvalidRequest("workflow_run: is no run of a workflow")
    if sent.get("action") != "completed" or (outcome := workflow_run.outcome) is None:
        return ignored("the workflow run goes on")
    at = services.now()
    ended = await told_runs(
        services,
        external_run_id=workflow_run.external_run_id,
        named=workflow_run.run_ids,
        concerns=lambda run: _ends_with_it(run, workflow_run),
        said=lambda run: _ended(run, workflow_run, outcome, at),
        last_line=workflow_run.last_line,
    )
    return {"ok": True, "runs": [*ended]} if ended else ignored("no run waits for this workflow run")


def _ends_with_it(run: Run, workflow_run: WorkflowRun) -> bool:
    """Whether we have dispatched it ourselves, and it ends as its workflow ends."""
    payload = run.payload or {}
    reports = payload.get("reportWorkflowStatus", True) in (True, "true", None)
    if payload.get("type") != "GITHUB" or not reports or run.status is not RunStatus.IN_PROGRESS:
        return False
    if run.external_run_id == workflow_run.external_run_id:
        return True
    # It names the run, which may not know yet which workflow run is its own.
    repository = f"{payload.get('org')}/{payload.get('repo')}"
    if run_number(repository, run.external_run_id, run.link) not in (None, workflow_run.id):
        return False
    return workflow_run.comes_of(repository, str(payload.get("workflow")))


def _ended(run: Run, workflow_run: WorkflowRun, outcome: RunStatus, at: datetime) -> Run:
    said: dict[str, Any] = {} if run.external_run_id else {"external_run_id": workflow_run.external_run_id}
    if not run.link and workflow_run.link:
        said["link"] = (workflow_run.link,)
    return run.moved(outcome, at=at, by=PLATFORM, **said)
