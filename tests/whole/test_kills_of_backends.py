"""SIGKILL to everything while backends that report later are told, work, and are asked: each run ends once."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Sized
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from store import claims, organizations
from store.database import Database
from tests.support import azure_devops as of_azure
from tests.support import gitlab as of_gitlab
from tests.support.azure_devops import FakeAzureDevOps, Webhook, azure_devops
from tests.support.github import SECRET, TOKEN, FakeGitHub, github
from tests.support.gitlab import FakeGitLab, gitlab
from tests.support.kafka import Broker
from tests.support.listening import Said
from tests.support.outcome import ANSWERED, Json, Observer, observing
from tests.support.processes import Dev, eventually

pytestmark = [pytest.mark.whole, pytest.mark.timeout(180)]

DISPATCH, LOOK_UP = "/dispatches", "/actions/runs/{run_id}"
START, PIPELINE = "POST /projects/:id/pipeline", "GET /projects/:id/pipelines/:pipeline_id"
FAILED = ("IN_PROGRESS", "FAILURE")
KEY = "the secret of the service connection"
NEVER = Said(raw=b"", pause=120)
WEBHOOK, INTEGRATION = "WEBHOOK", "INTEGRATION_ACTION"
CLAIMS: dict[str, Json] = {
    WEBHOOK: {"installationId": "_PORT_EXEC_AGENT", "invocationMethod": WEBHOOK},
    INTEGRATION: {"installationId": "mine"},
}
METHODS: dict[str, Json] = {
    "github": {
        "type": "GITHUB",
        "org": "acme",
        "repo": "infra",
        "workflow": "deploy.yml",
        "workflowInputs": {"context": "{{ .run.id }}"},
    },
    "gitlab": {
        "type": "GITLAB",
        "groupName": "acme/platform",
        "projectName": "infra",
        "pipelineVariables": {"RUN_ID": "{{ .run.id }}"},
    },
    "azure": {"type": "AZURE_DEVOPS", "org": "acme", "webhook": "port_trigger", "payload": {"runId": "{{ .run.id }}"}},
    "kafka": {"type": "KAFKA", "payload": {"runId": "{{ .run.id }}"}},
    WEBHOOK: {"type": WEBHOOK, "url": "http://127.0.0.1:1/hook", "agent": True, "body": {"runId": "{{ .run.id }}"}},
    INTEGRATION: {
        "type": INTEGRATION,
        "installationId": "mine",
        "integrationActionType": "x",
        "integrationActionExecutionProperties": {},
    },
}


@dataclass
class World:
    """The product as one process tree, and the systems around it, which stay alive."""

    stack: Dev
    observer: Observer
    hub: FakeGitHub
    lab: FakeGitLab
    azure: FakeAzureDevOps
    broker: Broker
    taken: list[str] = field(default_factory=list)
    """The runs that who claims them has acknowledged."""

    async def run(self, kind: str, ends: tuple[str, ...] = ANSWERED) -> str:
        """A new run, which must succeed in the end, or as it is said."""
        answer = await self.observer.call("POST", f"/v1/actions/{kind.lower()}/runs", json={"properties": {}})
        assert answer.status_code == 202, answer.text
        run_id: str = answer.json()["run"]["id"]
        self.observer.promised[run_id] = ends
        return run_id

    async def get(self, run_id: str) -> Json:
        """The run."""
        answer = await self.observer.until_answered("GET", f"/v1/actions/runs/{run_id}")
        run: Json = answer.json()["run"]
        return run

    async def logs(self, run_id: str) -> list[str]:
        """The lines of its log."""
        answer = await self.observer.until_answered("GET", f"/v1/actions/runs/{run_id}/logs")
        return [line["message"] for line in answer.json()["runLogs"]]

    async def linked(self, run_id: str) -> str:
        """The external id of the run, once it is known."""

        async def known() -> str | None:
            found: str | None = (await self.get(run_id)).get("externalRunId")
            return found

        return await eventually(f"it is known what was started for {run_id}", known)

    async def pending(self, run_id: str) -> None:
        """Wait until the run is to be had."""

        async def waits() -> bool | None:
            return (await self.get(run_id))["pendingExecution"] or None

        await eventually(f"{run_id} waits to be claimed", waits)

    async def claimed(self, kind: str, *, visible_ms: int = 60_000) -> list[str]:
        """The runs that an agent or an integration gets now."""
        body = {**CLAIMS[kind], "visibilityTimeoutMs": visible_ms}
        answer = await self.observer.until_answered("POST", "/v1/actions/runs/claim-pending", json=body)
        return [run["id"] for run in answer.json()["runs"]]

    async def taken_all(self, kind: str, run_ids: set[str]) -> None:
        """Claim and acknowledge as agents and integrations do, until these are taken, and report about each."""

        async def take() -> bool | None:
            for run_id in await self.claimed(kind):
                answer = await self.observer.until_answered("PATCH", "/v1/actions/runs/ack", json={"runId": run_id})
                assert answer.status_code == 200, answer.text
                self.taken.append(run_id)
                await self.observer.report(run_id)
            return True if run_ids <= set(self.taken) else None

        await eventually(f"{sorted(run_ids)} are claimed", take)

    async def concluded(self, run_id: str) -> None:
        """The workflow run of the run succeeds, and GitHub says so."""
        external = await self.linked(run_id)
        [of_this] = [one for one in self.hub.runs if one.external_run_id == external]
        self.hub.conclude(of_this, "success")
        told = self.hub.told(self.hub.webhook(of_this))
        assert await self._event("github", told.content, told.headers) == {"ok": True, "runs": [run_id]}

    async def pipeline_ends(self, run_id: str) -> None:
        """The pipeline of the run succeeds, and GitLab says so."""
        external = await self.linked(run_id)
        [pipeline] = [one for one in self.lab.pipelines if str(one.id) == external]
        pipeline.status = "success"
        body = json.dumps(self.lab.webhook(pipeline)).encode()
        assert await self._event("gitlab", body, of_gitlab.with_token()) == {"ok": True, "runs": [run_id]}

    async def build_names(self, run_id: str) -> None:
        """The build of the run says which run that is."""

        async def begun() -> bool | None:
            return bool(self.azure.builds) or None

        await eventually("a build begins", begun)
        self.azure.builds[0].number = f"Deploy {run_id}"
        secret = b64encode(f"azure:{of_azure.SECRET}".encode()).decode()
        body = json.dumps(self.azure.state_changed(self.azure.builds[0])).encode()
        said = await self._event("azure-devops", body, {"Authorization": f"Basic {secret}"})
        assert said == {"ok": True, "runs": [run_id]}

    async def _event(self, whose: str, body: bytes, headers: dict[str, str]) -> Json:
        """What is answered to an event."""
        path = f"/v1/integrations/{whose}/webhook"
        answer = await self.observer.until_answered("POST", path, content=body, headers=headers)
        said: Json = answer.json()
        return said

    async def messages(self, run_id: str) -> list[bytes]:
        """What was published for the run by now."""
        async with Database(self.stack.database_url) as database, database.read() as session:
            organization = await organizations.get(session)
        assert organization
        topic = f"{organization.id}.runs"
        there = await self.broker.received(topic, await self.broker.count(topic))
        return [one.value for one in there if one.key == run_id]

    async def published(self, run_id: str) -> list[bytes]:
        """The same, once there is something."""

        async def some() -> list[bytes] | None:
            return await self.messages(run_id) or None

        return await eventually(f"{run_id} is published", some)

    async def look_up_now(self, run_id: str) -> None:
        """Its backend is asked at once, as if the time had passed that it takes, or that a dead worker had for it."""
        async with Database(self.stack.database_url) as database, database.write() as session:
            await claims.look_at(session, [run_id], datetime.now(UTC) - timedelta(seconds=1))

    async def asked(self, operation: str, times: int = 1) -> None:
        """Wait until GitHub was asked that."""
        await self.many(f"GitHub is asked {operation}", lambda: self.hub.operations(operation), times)

    async def many(self, what: str, look: Callable[[], Sized], times: int = 1) -> None:
        """Wait until there are so many."""

        async def looked() -> bool | None:
            return len(look()) >= times or None

        await eventually(what, looked)


@asynccontextmanager
async def around(directory: Path) -> AsyncIterator[World]:
    """Everything running, with an action for each backend."""
    async with (
        github() as hub,
        gitlab() as lab,
        azure_devops(webhook=Webhook(secret=KEY)) as azure,
        Broker(directory) as broker,
    ):
        hub.repositories[0].run_name = "Deploy {context}"
        settings: dict[str, Any] = {"github_api_url": hub.url, "github_token": TOKEN, "github_webhook_secret": SECRET}
        settings |= {"gitlab_url": lab.url, "gitlab_token": of_gitlab.TOKEN, "gitlab_webhook_secret": of_gitlab.SECRET}
        settings |= {"azure_devops_url": azure.url, "azure_devops_token": of_azure.TOKEN}
        settings |= {"azure_devops_signing_key": KEY, "azure_devops_webhook_secret": of_azure.SECRET}
        settings |= {"webhook_timeout": "3", **broker.settings}
        async with Dev(directory, **settings) as stack, observing(stack) as observer:
            for kind, method in METHODS.items():
                trigger = {"type": "self-service", "operation": "CREATE", "userInputs": {"properties": {}}}
                action = {"identifier": kind.lower(), "trigger": trigger, "invocationMethod": method}
                made = await observer.call("POST", "/v1/actions", json=action)
                assert made.status_code == 200, made.text
            yield World(stack, observer, hub, lab, azure, broker)


async def test_a_kill_while_backends_are_told_dispatches_nothing_twice_in_silence(tmp_path: Path) -> None:
    async with around(tmp_path) as world:
        told_before = await world.run("kafka")  # so that the next one's message is on its way when its broker stops
        assert len(await world.published(told_before)) == 1
        world.hub.answers("GET /repos/{owner}/{repo}", NEVER)
        not_yet = await world.run("github")
        await world.asked("GET /repos/{owner}/{repo}")
        world.hub.answers(DISPATCH, Said(200, {}, after_all=True, pause=120))
        dispatched = await world.run("github")
        await world.asked(DISPATCH)
        world.lab.answers(START, Said(201, {}, after_all=True, pause=120))
        started = await world.run("gitlab")
        world.azure.scripted.append(NEVER)
        triggered = await world.run("azure", FAILED)
        await world.many("GitLab is asked", lambda: world.lab.operations(START))
        await world.many("Azure DevOps is asked", lambda: world.azure.asked)
        world.broker.freeze()
        published = await world.run("kafka")
        to_claim = {kind: await world.run(kind) for kind in CLAIMS}
        await world.stack.kill("dev")
        world.broker.thaw()
        await world.stack.start("dev")

        for kind, run_id in to_claim.items():
            await world.taken_all(kind, {run_id})
        for run_id in (not_yet, dispatched):
            await world.concluded(run_id)
        await world.pipeline_ends(started)
        await world.published(published)
        for run_id in (told_before, published):
            await world.observer.report(run_id)
        await world.observer.all_ended_once()

        messages = await world.messages(published)
        assert len(world.hub.operations(DISPATCH)) == len(world.hub.runs) == 2, "each workflow once"
        line = "A worker died while it dispatched the workflow. It was not dispatched again, its run was found"
        assert line in await world.logs(dispatched)
        assert line not in await world.logs(not_yet)
        assert len(world.lab.operations(START)) == len(world.lab.pipelines) == 1, "the pipeline once"
        line = "A worker died while it triggered the pipeline. It was not triggered again, it was found"
        assert line in await world.logs(started)
        assert len(world.azure.asked) == 1, "which cannot be asked what has come of it"
        summary = (await world.get(triggered))["summary"]
        assert summary.endswith("may have started pipelines; the webhook is not called again")
        assert 1 <= len(messages) <= 2, "a worker that dies during the call makes another one publish again"
        assert len(set(messages)) == 1, "the very same, for whoever knows it by its key"
        assert sorted(world.taken) == sorted(to_claim.values())


async def test_a_kill_while_backends_work_and_are_asked_loses_and_repeats_nothing(tmp_path: Path) -> None:
    async with around(tmp_path) as world:
        dispatched, published = await world.run("github"), await world.run("kafka")
        started, triggered = await world.run("gitlab"), await world.run("azure")
        acknowledged, claimed, free = [{kind: await world.run(kind) for kind in CLAIMS} for _ in range(3)]
        for kind in CLAIMS:
            for runs in (acknowledged, claimed, free):
                await world.pending(runs[kind])
            found = await world.claimed(kind, visible_ms=1000)
            assert set(found) >= {acknowledged[kind], claimed[kind]}
            answer = await world.observer.call("PATCH", "/v1/actions/runs/ack", json={"runId": acknowledged[kind]})
            assert answer.status_code == 200, answer.text
        for run_id in (dispatched, started):
            await world.linked(run_id)
        await world.build_names(triggered)
        assert len(await world.published(published)) == 1
        world.hub.answers(LOOK_UP, NEVER)
        world.lab.answers(PIPELINE, NEVER)
        world.azure.scripted.append(NEVER)
        for run_id in (dispatched, started, triggered):
            await world.look_up_now(run_id)
        await world.asked(LOOK_UP)
        await world.many("GitLab is asked how it goes", lambda: world.lab.operations(PIPELINE))
        await world.many("Azure DevOps is asked how it goes", lambda: world.azure.asked, 2)
        await world.stack.kill("dev")
        await world.stack.start("dev")

        world.hub.conclude(world.hub.runs[0], "success")
        world.lab.pipelines[0].status = "success"
        world.azure.conclude(world.azure.builds[0], "succeeded")
        for run_id in (dispatched, started, triggered):
            await world.look_up_now(run_id)
        for kind in CLAIMS:
            await world.observer.report(acknowledged[kind])
            await world.taken_all(kind, {claimed[kind], free[kind]})
        await world.observer.report(published)
        await world.observer.all_ended_once()

        assert len(world.hub.operations(DISPATCH)) == 1
        assert await world.logs(dispatched) == ["Workflow completed: success"]
        assert (len(world.lab.operations(START)), len(world.azure.builds)) == (1, 1)
        assert await world.logs(started) == ["Pipeline completed: success"]
        assert await world.logs(triggered) == ["Pipeline completed: succeeded"]
        assert len(await world.messages(published)) == 1
        taken = [run_id for kind in CLAIMS for run_id in (claimed[kind], free[kind])]
        assert sorted(world.taken) == sorted(taken)
