"""The backend of docs/adding-a-backend.md, installed as the page says: it is checked, documented, and run."""

import asyncio
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response
from temporalio.testing import WorkflowEnvironment

import backends
from domain.jq import Evaluator
from tests.support.backend import Call
from tests.support.product import Json, Product, running

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding-a-backend.md").read_text(encoding="utf-8")
TOKEN = "a token of the job runner"


def block(kind: str, name: str) -> str:
    """The block of the page that a comment names."""
    [found] = re.findall(rf"^<!-- {kind}: {name} -->\n```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


ACTION: Json = json.loads(block("json", "action"))


def install(directory: Path) -> None:
    """What pip makes of the page's package."""
    project = tomllib.loads(block("toml", "pyproject"))
    [module] = project["tool"]["setuptools"]["py-modules"]
    (directory / f"{module}.py").write_text(block("python", module), encoding="utf-8")
    name, version = project["project"]["name"], project["project"]["version"]
    info = directory / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    [(group, points)] = project["project"]["entry-points"].items()
    lines = [f"[{group}]", *(f"{point} = {value}" for point, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def installed(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package is there, as if the process had started with it."""
    directory = tmp_path_factory.mktemp("installed")
    install(directory)
    monkeypatch.syspath_prepend(str(directory))
    before = set(sys.modules)
    found = backends.discover()
    monkeypatch.setattr(backends, "METHODS", found.methods)
    monkeypatch.setattr(backends, "REFUSED", found.refused)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
async def product(
    installed: None, clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str
) -> AsyncIterator[Product]:
    async with running(clock, evaluate, sqlite_url) as product:
        yield product


@dataclass
class JobRunner:
    """Acme's job runner: takes what its backend sends and nothing else."""

    url: str
    jobs: dict[str, Json] = field(default_factory=dict)
    states: dict[str, tuple[str, str]] = field(default_factory=dict)

    async def answer(self, call: Call) -> Response:
        """Answer one request."""
        if call.headers.get("authorization") != f"Bearer {TOKEN}":
            return JSONResponse({"message": "who are you?"}, 401)
        match call.method, call.path.split("/")[1:]:
            case "POST", ["jobs"]:
                if set(call.json) != {"job", "arguments", "key"}:
                    return JSONResponse({"message": "job, arguments and key are wanted"}, 400)
                if call.json["job"] != "reindex":
                    return JSONResponse({"message": f"there is no job {call.json['job']}"}, 404)
                number = str(len(self.jobs) + 1)
                self.jobs[number], self.states[number] = call.json, ("running", "")
                return JSONResponse({"id": number, "page": f"{self.url}/pages/{number}"}, 201)
            case "GET", ["jobs", number] if number in self.states:
                state, message = self.states[number]
                return JSONResponse({"id": number, "state": state, "message": message})
            case "DELETE", ["jobs", number] if number in self.states:
                self.states[number] = ("stopped", "somebody stopped it")
                return JSONResponse({"id": number, "state": "stopped"})
        return JSONResponse({"message": "there is no such thing here"}, 404)


@pytest.fixture
async def runner(product: Product) -> JobRunner:
    """The job runner at the product's backend, whose token is a secret of the organization."""
    runner = JobRunner(product.backend.url)
    product.backend.answer = runner.answer
    secret = {"secretName": "ACME_JOBS_TOKEN", "secretValue": TOKEN}
    answer = await product.api.post("/v1/organization/secrets", json=secret)
    assert answer.status_code == 200, answer.text
    return runner


def action(product: Product, **changes: Any) -> Json:
    """The action of the page, whose job runner is on loopback."""
    method = {**ACTION["invocationMethod"], "url": product.backend.url, **changes}
    return {**ACTION, "invocationMethod": method}


async def begun(product: Product, **changes: Any) -> Json:
    """A run of the page's action, once the backend has answered."""
    answer = await product.api.post("/v1/actions", json=action(product, **changes))
    assert answer.status_code == 200, answer.text
    run = await product.start("reindex", {"index": "orders"})
    async with asyncio.timeout(20):
        while not (now := await product.get(run["id"])).get("externalRunId") and now["status"] == "IN_PROGRESS":
            await asyncio.sleep(0.02)
    return now


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"jobb": "x"}, "invocationMethod.jobb: is not a field of ACME_JOBS"),
        ({"job": 3}, "invocationMethod.job: must be a string"),
        ({"arguments": []}, "invocationMethod.arguments: must be an object"),
        ({"type": "ACME_JOB"}, "invocationMethod.type: must be one of ACME_JOBS, AZURE_DEVOPS, "),
    ],
)
async def test_a_definition_that_is_wrong_is_refused_with_the_path(
    product: Product, changes: Json, message: str
) -> None:
    answer = await product.api.post("/v1/actions", json=action(product, **changes))
    assert answer.status_code == 422
    assert message in answer.json()["message"]


async def test_the_openapi_document_describes_it(product: Product) -> None:
    document = (await product.api.get("/openapi.json")).json()
    method = document["components"]["schemas"]["Action"]["properties"]["invocationMethod"]
    place = "#/components/schemas/acme_jobs.AcmeJobs"
    assert {"$ref": place} in method["oneOf"]
    assert method["discriminator"]["mapping"]["ACME_JOBS"] == place
    schema = document["components"]["schemas"]["acme_jobs.AcmeJobs"]
    assert schema["description"] == "Starts a job, and ends as the job ends."
    assert schema["required"] == ["type", "url", "job"]
    assert schema["properties"]["type"]["const"] == "ACME_JOBS"
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize(("state", "status"), [("done", "SUCCESS"), ("failed", "FAILURE")])
async def test_a_run_ends_as_its_job_ends(product: Product, runner: JobRunner, state: str, status: str) -> None:
    run = await begun(product)
    assert runner.jobs == {"1": {"job": "reindex", "arguments": {"index": "orders"}, "key": run["id"]}}
    assert (run["externalRunId"], run["link"]) == ("1", [f"{runner.url}/pages/1"])
    assert (await product.looked_up(run))["status"] == "IN_PROGRESS"
    runner.states["1"] = (state, "3 million orders")
    ended = await product.looked_up(run)
    assert (ended["status"], ended["summary"]) == (status, "3 million orders")


async def test_a_refusal_ends_the_run_with_the_words_of_the_other_system(product: Product, runner: JobRunner) -> None:
    run = await begun(product, job="index")
    assert (run["status"], run["summary"]) == ("FAILURE", "The job was not started: there is no job index")
    assert not runner.jobs


async def test_without_its_secret_nothing_is_sent(product: Product) -> None:
    run = await begun(product)
    assert (run["status"], run["summary"]) == ("FAILURE", "There is no organization secret ACME_JOBS_TOKEN")
    assert not product.backend.calls


async def test_a_job_can_be_stopped(product: Product, runner: JobRunner) -> None:
    run = await begun(product)

    async def secret(name: str) -> str | None:
        return TOKEN if name == "ACME_JOBS_TOKEN" else None

    using = backends.Resources(signing_secret="s", secret=secret)
    reference = backends.Reference(run["id"], datetime.now(UTC), run["externalRunId"])
    method = backends.parse_rendered(run["payload"])
    assert await method.cancel(reference, using) == "Job 1 was stopped"
    assert (await product.looked_up(run))["summary"] == "somebody stopped it"


def test_a_process_that_starts_has_it(tmp_path: Path) -> None:
    install(tmp_path)
    program = "import backends; print(*backends.METHODS, backends.METHODS['ACME_JOBS'].__module__, backends.REFUSED)"
    said = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert said.stdout.split()[-3:] == ["ACME_JOBS", "acme_jobs", "()"]
    assert not said.stderr
