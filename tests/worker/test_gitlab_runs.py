"""Runs of GITLAB actions through the whole product: how each ends, and with which words, whatever GitLab does."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from domain.jq import Evaluator
from tests.support.gitlab import SIGNING_TOKEN, TOKEN, FakeGitLab, gitlab, refusal, signed, throttled
from tests.support.listening import Said
from tests.support.product import Product, running

Json = dict[str, Any]
START = "POST /projects/:id/pipeline"
PATH = "/v1/integrations/gitlab/webhook"
OURS = "Failed to trigger pipeline: "
HUGE = b'{"message":"' + b"x" * (2 * 1024 * 1024) + b'"}'
NAMED = {"RUN_ID": "{{ .run.id }}", "SERVICE": "{{ .inputs.service }}"}


@pytest.fixture
async def lab() -> AsyncIterator[FakeGitLab]:
    async with gitlab() as lab:
        yield lab


@pytest.fixture
async def product(
    clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str, lab: FakeGitLab
) -> AsyncIterator[Product]:
    async with over(clock, evaluate, sqlite_url, lab.url) as product:
        yield product


@asynccontextmanager
async def over(
    clock: WorkflowEnvironment, evaluate: Evaluator, database_url: str, url: str, **settings: str
) -> AsyncIterator[Product]:
    """The product, with GitLab at this address."""
    usual: dict[str, Any] = {"gitlab_url": url, "gitlab_token": TOKEN, "gitlab_webhook_secret": SIGNING_TOKEN}
    usual |= {"webhook_timeout": "1", "webhook_attempts": "2"}
    async with running(clock, evaluate, database_url, **usual | settings) as product:
        yield product


async def started(product: Product, **fields: Any) -> Json:
    """A run of a new action."""
    method = {"type": "GITLAB", "groupName": "acme/platform", "projectName": "infra", "pipelineVariables": NAMED}
    identifier = f"deploy{fields.pop('number', '')}"
    more = {"interlock": fields.pop("interlock")} if "interlock" in fields else {}
    await product.action(identifier, {"service": {"type": "string"}}, invocationMethod={**method, **fields}, **more)
    return await product.start(identifier, {"service": "cart"})


async def test_a_run_ends_when_its_pipeline_is_seen_to_have_ended(product: Product, lab: FakeGitLab) -> None:
    run = await product.linked(await started(product))
    [pipeline] = lab.pipelines
    assert pipeline.variables == {"RUN_ID": run["id"], "SERVICE": "cart"}
    assert (run["link"], run["externalRunId"]) == ([pipeline.link], "61")
    pipeline.status = "running"
    assert (await product.looked_up(run))["status"] == "IN_PROGRESS"
    pipeline.status = "success"
    ended = await product.looked_up(run)
    assert (ended["status"], ended["link"]) == ("SUCCESS", [pipeline.link])
    assert await product.logs(run["id"]) == ["Pipeline completed: success"]


async def test_a_webhook_ends_it_at_once_and_its_replays_change_nothing(product: Product, lab: FakeGitLab) -> None:
    run = await product.linked(await started(product))
    lab.pipelines[0].status = "failed"
    body = json.dumps(lab.webhook(lab.pipelines[0])).encode()
    answers = [await product.api.post(PATH, content=body, headers=signed(body)) for _ in range(2)]
    assert [(answer.status_code, answer.json()) for answer in answers] == [
        (202, {"ok": True, "runs": [run["id"]]}),
        (202, {"ok": True, "ignored": "no run waits for this pipeline"}),
    ]
    ended = await product.until(run["id"])
    assert ended["status"] == "FAILURE"
    assert await product.logs(run["id"]) == ["Pipeline completed: failed"]
    handle = product.temporal.get_workflow_handle(run["id"])
    assert await asyncio.wait_for(handle.result(), 20) == "FAILURE", "its workflow has been told"
    lab.pipelines[0].status = "success"  # somebody has retried it
    assert (await product.looked_up(run)) == ended


async def test_what_the_pipeline_has_said_is_kept(product: Product, lab: FakeGitLab) -> None:
    run = await product.linked(await started(product))
    said = {"summary": "deployed 1.2.3", "externalRunId": "mine"}
    await product.api.patch(f"/v1/actions/runs/{run['id']}", json=said)
    lab.pipelines[0].status = "canceled"
    ended = await product.looked_up(run)
    assert (ended["status"], ended["summary"], ended["externalRunId"]) == ("FAILURE", "deployed 1.2.3", "mine")


@pytest.mark.parametrize(
    ("said", "summary"),
    [
        (refusal(400, {"base": ["Reference not found"]}), "Reference not found"),
        (Said(500, HUGE), "status code 500. GitLab may have started it all the same; it is not started again"),
        (refusal(403, f"{TOKEN} may not"), "******** may not"),
    ],
)
async def test_a_start_that_fails_fails_the_run(product: Product, lab: FakeGitLab, said: Said, summary: str) -> None:
    lab.answers(START, said)
    ended = await product.until((await started(product, pipelineVariables={}))["id"])
    assert (ended["status"], ended["summary"][: len(OURS + summary)]) == ("FAILURE", OURS + summary)
    assert len(lab.operations(START)) == 1
    assert "externalRunId" not in ended


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (Said(raw=b"", after_all=True), "the connection was cut before the answer was complete"),
        (Said(502, b"<html>GitLab is not responding</html>", after_all=True), "status code 502"),
    ],
)
async def test_a_start_that_was_not_confirmed_is_found_and_never_repeated(
    product: Product, lab: FakeGitLab, said: Said, cause: str
) -> None:
    lab.answers(START, said)
    run = await started(product, interlock={"backend": {"retry": {"statuses": [502], "attempts": 5}}})
    async with asyncio.timeout(20):
        while (found := await product.looked_up(run)).get("externalRunId") is None:
            await asyncio.sleep(0.1)
    assert (found["status"], found["externalRunId"], found["link"]) == ("IN_PROGRESS", "61", [lab.pipelines[0].link])
    lab.pipelines[0].status = "success"
    assert (await product.looked_up(run))["status"] == "SUCCESS"
    lines = await product.logs(run["id"])
    assert lines == [
        f"GitLab did not confirm the pipeline: {cause}. It may have started it all the same, so it is looked for, "
        "5 minutes at most, and not started again",
        "The pipeline was found: it has the id of this run among its variables",
        "Pipeline completed: success",
    ]
    assert (len(lab.operations(START)), len(lab.pipelines)) == (1, 1)


async def test_a_webhook_before_the_answer_ends_the_run(product: Product, lab: FakeGitLab) -> None:
    lab.answers(START, Said(raw=b"", pause=0.8, after_all=True))
    run = await started(product)
    async with asyncio.timeout(20):
        while not lab.pipelines:
            await asyncio.sleep(0.02)
    lab.pipelines[0].status = "success"
    body = json.dumps(lab.webhook(lab.pipelines[0])).encode()
    answer = await product.api.post(PATH, content=body, headers=signed(body))
    assert answer.json() == {"ok": True, "runs": [run["id"]]}
    ended = await product.until(run["id"])
    assert (ended["status"], ended["externalRunId"]) == ("SUCCESS", "61")


async def test_a_pipeline_that_names_a_run_before_its_turn_does_not_end_it(product: Product, lab: FakeGitLab) -> None:
    alone = {"backend": {"budgets": [{"per": "ACTION", "concurrent": 1}]}}
    method = {"type": "GITLAB", "groupName": "acme/platform", "projectName": "infra", "pipelineVariables": NAMED}
    await product.action("alone", {"service": {"type": "string"}}, invocationMethod=method, interlock=alone)
    await product.linked(await product.start("alone", {"service": "cart"}))
    waits = await product.start("alone", {"service": "cart"})
    async with asyncio.timeout(20):
        while not str((await product.get(waits["id"])).get("statusLabel")).startswith("Waits for its turn"):
            await asyncio.sleep(0.02)
    pipeline = lab.begins(lab.pipelines[0].project, "main", {"RUN_ID": waits["id"]})
    pipeline.status = "success"
    body = json.dumps(lab.webhook(pipeline)).encode()
    answer = await product.api.post(PATH, content=body, headers=signed(body))
    assert answer.json() == {"ok": True, "ignored": "no run waits for this pipeline"}
    assert (await product.get(waits["id"]))["status"] == "IN_PROGRESS"


async def test_rate_limits_are_waited_for(product: Product, lab: FakeGitLab) -> None:
    lab.answers(START, *[throttled(0, Retry_After="1")] * 2)
    run = await product.linked(await started(product))
    assert (run["status"], len(lab.operations(START)), len(lab.pipelines)) == ("IN_PROGRESS", 3, 1)


async def test_the_token_of_the_organization_is_used_and_shown_nowhere(product: Product, lab: FakeGitLab) -> None:
    lab.token = "glpat-of-the-organization"
    answer = await product.api.post(
        "/v1/organization/secrets", json={"secretName": "GITLAB_TOKEN", "secretValue": lab.token}
    )
    assert answer.status_code in (200, 201), answer.text
    await product.linked(await started(product, number=1))
    lab.answers(START, refusal(400, f"what is {lab.token}"))
    ended = await product.until((await started(product, number=2))["id"])
    assert ended["summary"] == f"{OURS}what is ********"


@pytest.mark.parametrize(
    ("url", "settings", "summary"),
    [
        ("https://gitlab.invalid", {}, "gitlab.invalid has no address"),
        ("http://127.0.0.1:{nobody}", {}, "Connection refused"),
        ("http://127.0.0.1:{nobody}", {"allow_private_destinations": "false"}, "127.0.0.1 leads to a private address"),
    ],
)
async def test_a_gitlab_that_cannot_be_reached_fails_the_run(
    clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str, url: str, settings: dict[str, str], summary: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        where = url.format(nobody=taken.getsockname()[1])
        async with over(clock, evaluate, sqlite_url, where, **settings) as product:
            ended = await product.until((await started(product))["id"])
    assert ended["status"] == "FAILURE"
    assert ended["summary"].startswith(OURS + summary)
