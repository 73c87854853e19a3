"""The recipes of docs/recipes.md: each is what its system accepts, and ends as that system reports by its own files."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.responses import Response
from temporalio.testing import WorkflowEnvironment

from cli.processes import create_user
from domain.jq import Evaluator
from tests.support.backend import Call, FakeBackend
from tests.support.counterparts import (
    OURS,
    RECIPES,
    CircleCI,
    CloudBuild,
    Counterpart,
    Jenkins,
    TerraformCloud,
    World,
)
from tests.support.product import Json, Product, running
from tests.support.script_runners import ArgoEvents, ArgoWorkflows, Windmill

PAGE = (RECIPES.parents[1] / "docs" / "recipes.md").read_text(encoding="utf-8")
GIVEN = {"service": "checkout", "version": "v1.4.2"}
REPORTING: dict[str, type[Counterpart]] = {
    "jenkins/action.json": Jenkins,
    "circleci/action.json": CircleCI,
    "cloud-build/action.json": CloudBuild,
    "terraform-cloud/action.json": TerraformCloud,
    "windmill/action.json": Windmill,
    "argo/workflow.json": ArgoWorkflows,
    "argo/event.json": ArgoEvents,
}
ANSWERING: dict[str, type[Counterpart]] = {"circleci/start.json": CircleCI, "windmill/wait.json": Windmill}
OTHERS = {
    "report.sh",
    "jenkins/Jenkinsfile",
    "circleci/config.yml",
    "cloud-build/trigger.yaml",
    "cloud-build/cloudbuild.yaml",
    "terraform-cloud/blueprint.json",
    "terraform-cloud/webhook.json",
    "terraform-cloud/automation.json",
    "windmill/script.sh",
    "argo/workflow-template.yaml",
    "argo/event-source.yaml",
    "argo/sensor.yaml",
}


@dataclass
class Stage:
    """The product, whose API can be called at its public address, and what the other system has of it."""

    product: Product
    world: World

    def definition(self, file: str, theirs: str = "") -> Json:
        """The definition in the file, with both hosts on loopback."""
        written = (RECIPES / file).read_text(encoding="utf-8")
        for origin, here in ((theirs, self.product.backend.url), (OURS, self.world.url)):
            if origin:
                written = written.replace(f"{origin}/", f"{here}/")
        document: Json = json.loads(written)
        return document

    async def create(self, path: str, document: Json) -> Json:
        """Create it."""
        answer = await self.product.api.post(path, json=document)
        assert answer.is_success, answer.text
        created: Json = answer.json()
        return created

    async def listening(self) -> None:
        """Take the notifications of Terraform Cloud, as the page says."""
        await self.create("/v1/blueprints", self.definition("terraform-cloud/blueprint.json"))
        hook = (await self.create("/v1/webhooks", self.definition("terraform-cloud/webhook.json")))["integration"]
        await self.create("/v1/actions", self.definition("terraform-cloud/automation.json"))

        async def hear(notification: Json) -> None:
            answer = await self.product.api.post(hook["url"], json=notification, headers={"Authorization": ""})
            assert answer.status_code == 202, answer.text

        self.world.hear = hear

    async def started(self, file: str, system: Counterpart, given: Json = GIVEN, secrets: Json | None = None) -> Json:
        """A run of the file's action, for which the system is there."""
        self.product.backend.answer = system.answer
        for name, value in (secrets or system.secrets).items():
            await self.create("/v1/organization/secrets", {"secretName": name, "secretValue": value})
        definition = self.definition(file, system.origin)
        assert definition["invocationMethod"]["url"].startswith(f"{self.product.backend.url}/")
        action = (await self.create("/v1/actions", definition))["action"]
        return await self.product.start(action["identifier"], given)


@pytest.fixture
async def stage(
    clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str, tmp_path: Path
) -> AsyncIterator[Stage]:
    """The product; a machine of its own reports for the other system."""
    async with FakeBackend() as door, running(clock, evaluate, sqlite_url, public_url=door.url) as product:

        async def forward(call: Call) -> Response:
            headers = {name: call.headers.get(name, "") for name in ("authorization", "content-type")}
            answer = await product.api.request(
                call.method, call.path, params=call.query, content=call.body, headers=headers
            )
            return Response(answer.content, answer.status_code, media_type=answer.headers["content-type"])

        door.answer = forward
        machine = await create_user(product.settings, "ci@example.com", roles=["Admin"])
        directory = tmp_path / "work"
        directory.mkdir()
        yield Stage(product, World(door.url, *machine, directory, product.backend.url))


async def hidden(stage: Stage, run: Json, system: Counterpart) -> None:
    """None of the system's secrets is told."""
    told = json.dumps([await stage.product.get(run["id"]), await stage.product.logs(run["id"])])
    for secret in system.secrets.values():
        assert secret not in told


@pytest.mark.parametrize("status", ["SUCCESS", "FAILURE"])
@pytest.mark.parametrize("file", REPORTING)
async def test_a_run_ends_as_the_other_system_reports(stage: Stage, file: str, status: str) -> None:
    system = REPORTING[file]()
    if isinstance(system, TerraformCloud):
        await stage.listening()
    run = await stage.started(file, system)
    await stage.product.backend.called()
    assert system.started == [{"run_id": system.started[0]["run_id"], **GIVEN}]
    assert re.findall(r"r_\w+", system.started[0]["run_id"]) == [run["id"]]
    assert (await stage.product.get(run["id"]))["status"] == "IN_PROGRESS"

    stage.world.prepare(succeeds=status == "SUCCESS")
    await system.work(stage.world, succeeds=status == "SUCCESS")
    ended = await stage.product.until(run["id"])
    assert ended["status"] == status
    [link] = ended["link"]
    assert link.startswith("https://")
    if isinstance(system, TerraformCloud):
        assert ended["statusLabel"] == ("applied" if status == "SUCCESS" else "canceled")
        params = {"action": "terraform_reported"}
        [by] = (await stage.product.api.get("/v1/actions/runs", params=params)).json()["runs"]
        assert (await stage.product.until(by["id"]))["status"] == "SUCCESS", "what was told twice is reported once"
    else:
        assert (stage.world.directory / "asked").read_text() == "checkout v1.4.2"
    await hidden(stage, run, system)


@pytest.mark.parametrize("file", [*REPORTING, *ANSWERING])
async def test_without_its_secret_nothing_is_started(stage: Stage, file: str) -> None:
    system = (REPORTING | ANSWERING)[file]()
    wrong = dict.fromkeys(system.secrets, "a wrong one")
    ended = await stage.product.until((await stage.started(file, system, secrets=wrong))["id"])
    assert ended["status"] == "FAILURE"
    assert system.denied in ended["summary"]
    assert not system.started


async def test_a_pipeline_of_circleci_is_the_response(stage: Stage) -> None:
    system = CircleCI()
    ended = await stage.product.until((await stage.started("circleci/start.json", system))["id"])
    assert ended["status"] == "SUCCESS"
    assert {"number", "state", "id", "created_at"} == set(ended["response"])
    assert system.started == [{"run_id": "-", **GIVEN}]
    stage.world.prepare(succeeds=True)
    system.started[0]["run_id"] = ""
    await system.work(stage.world, succeeds=True)  # it reports nothing: nobody has asked it to
    await hidden(stage, ended, system)


@pytest.mark.parametrize(("service", "status"), [("checkout", "SUCCESS"), ("unknown", "FAILURE")])
async def test_what_a_script_of_windmill_returns_is_the_response(stage: Stage, service: str, status: str) -> None:
    system = Windmill()
    ended = await stage.product.until(
        (await stage.started("windmill/wait.json", system, {**GIVEN, "service": service}))["id"]
    )
    assert ended["status"] == status
    if status == "SUCCESS":
        assert ended["response"] == {"healthy": True, **GIVEN}
    else:
        assert ended["response"]["error"]["message"] == "there is no service unknown"
        assert ended["summary"].startswith("Failed to invoke the webhook with status code: 500")


@pytest.mark.parametrize("status", ["SUCCESS", "FAILURE"])
async def test_the_two_calls_of_the_page_report(stage: Stage, status: str) -> None:
    run = await stage.started("jenkins/action.json", Jenkins())
    await stage.product.backend.called()
    [report] = re.findall(r"^<!-- sh: report -->\n```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    said = {"RUN_ID": run["id"], "STATUS": status, "BUILD_URL": "https://ci.example.com/42"}
    assert await stage.world.shell(f"set -eu\n{report}", {**stage.world.credentials, **said})
    ended = await stage.product.until(run["id"])
    assert (ended["status"], ended["link"]) == (status, ["https://ci.example.com/42"])


async def test_older_builds_report_with_a_message(stage: Stage) -> None:
    run = await stage.started("cloud-build/action.json", CloudBuild())
    await stage.product.backend.called()
    report = {"status": "SUCCESS", "message": {"text": "done"}}
    answer = await stage.product.api.patch(f"/v1/actions/runs/{run['id']}", json=report)
    assert answer.status_code == 200, answer.text
    assert (await stage.product.until(run["id"]))["status"] == "SUCCESS"


async def test_the_older_message_is_what_the_trigger_of_cloud_build_reads(stage: Stage) -> None:
    system = CloudBuild()
    definition = stage.definition("cloud-build/action.json", system.origin)
    del definition["invocationMethod"]["body"]
    stage.product.backend.answer = system.answer
    for name, value in system.secrets.items():
        await stage.create("/v1/organization/secrets", {"secretName": name, "secretValue": value})
    await stage.create("/v1/actions", definition)
    run = await stage.product.start("cloud_build_deploy", GIVEN)
    await stage.product.backend.called()
    assert system.started == [{"run_id": run["id"], **GIVEN}]


async def test_nothing_that_a_shell_would_read_gets_that_far(stage: Stage) -> None:
    for file in (*REPORTING, *ANSWERING):
        definition = stage.definition(file)
        await stage.create("/v1/actions", definition)
        for given in ("$(reboot)", "checkout; reboot", 'x"y', "-rf", "a\nb"):
            asked = {"properties": {**GIVEN, "service": given}}
            answer = await stage.product.api.post(f"/v1/actions/{definition['identifier']}/runs", json=asked)
            assert answer.status_code == 422, (file, given, answer.text)


def test_every_file_is_part_of_a_recipe_and_in_the_page() -> None:
    files = {str(file.relative_to(RECIPES)) for file in RECIPES.rglob("*") if file.is_file()}
    assert files == {*REPORTING, *ANSWERING, *OTHERS}
    for file in files:
        assert f"](../examples/recipes/{file})" in PAGE, file


@pytest.mark.parametrize("file", [*REPORTING, *ANSWERING])
def test_the_page_names_the_secrets_that_the_definition_reads(file: str) -> None:
    read = set(re.findall(r"\.secrets\.(\w+)", (RECIPES / file).read_text(encoding="utf-8")))
    assert read == set((REPORTING | ANSWERING)[file].secrets)
    [row] = [line for line in PAGE.splitlines() if line.startswith("|") and f"recipes/{file})" in line]
    assert {f"`{name}`" for name in read} <= {one.strip() for one in re.split(r"[|,]", row)}
