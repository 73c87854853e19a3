"""Whatever goes wrong between us and a counterpart: how the run ends, with which words, and how often it was told.

Every backend that is spoken to by HTTP is one line of `SUBJECTS`, and has all rows of `tests/support/hostile.py`. The
runs go through the real activity, over real SQL and real connections; only the time between attempts is left out.
"""

import asyncio
import dataclasses
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

import backends
from activities.invocation import InvocationActivity
from activities.look_ups import LookUpWork
from activities.services import Services
from domain.jq import Evaluator
from domain.runs import RunStatus
from store import runs
from store.claims import Due
from tests.support.chat import without_temporal
from tests.support.hostile import ROWS, Hostile, Row, Way, Where
from tests.support.listening import listening
from tests.support.product import Product
from worker.main import services

if TYPE_CHECKING:
    from tests.backends.conftest import Authority

Json = dict[str, Any]
NOWHERE = "http://nowhere.invalid"
ENDED, GOES_ON = "FAILURE", "IN_PROGRESS"
PATIENCE = timedelta(seconds=3)
ATTEMPTS, REFUSALS = 2, 20
"""How often a backend is tried in all, and how often one may say that it is busy."""
BY_ANOTHER_PROTOCOL = {"KAFKA"}
"""Its table is in `tests/backends/test_kafka_failure_table.py`, with a real broker."""
CALL_NOBODY = {"UPSERT_ENTITY", "INTEGRATION_ACTION"}


@dataclass(frozen=True)
class Subject:
    """A backend, and what becomes of its runs by the ways in which a call fails."""

    name: str
    method: Json
    """`{url}` stands for the address of the counterpart, unless a setting has it."""
    setting: str | None
    prefix: str
    ends: dict[Way, tuple[str, str]]
    """Status and summary, a regular expression in which `{cause}` stands for the row's."""
    reads: Callable[[str], Any] = lambda path: {}
    words: Callable[[Row], str] = lambda row: row.cause
    """What it makes of the cause of a row."""

    def expected(self, row: Row) -> tuple[str, str, int]:
        """Status, summary and the number of starts."""
        status, summary = self.ends[row.way]
        times = {Way.UNREACHABLE: 0, Way.UNTRUSTED: 0, Way.LIMITED: REFUSALS}.get(row.way, 1)
        if row.way is Way.LIMITED and ("no more" not in summary or self.name == "GITHUB"):
            times = 1  # the others wait until they are told to come again; here no time passes, and GitHub is not asked
        return status, summary.replace("{prefix}", self.prefix).replace("{cause}", self.words(row)), times


FINAL = (ENDED, "{prefix}{cause}.*")
GONE = (
    ENDED,
    "Error dispatching workflow: GitHub has not said which workflow run it is, and none came of it within 10 .*",
)
LOST_PIPELINE = (ENDED, "{prefix}GitLab did not confirm it, and no pipeline came of it within 5 minutes")
PERHAPS = (ENDED, r"{prefix}{cause}\. .* may have started .* all the same; .* again")
NO_MORE = (ENDED, r"{prefix}127\.0\.0\.1 allows no more requests for \d+ s")
OF_STATUS = (ENDED, "Failed to invoke the webhook with status code: {cause}")
WEBHOOK = {
    **dict.fromkeys((Way.UNREACHABLE, Way.UNTRUSTED, Way.LOST, Way.HALF), FINAL),
    **dict.fromkeys((Way.REFUSED, Way.LIMITED, Way.BROKEN), OF_STATUS),
    Way.ODD: ("SUCCESS", ""),
}
REST = dict.fromkeys((Way.UNREACHABLE, Way.UNTRUSTED, Way.REFUSED), FINAL) | {Way.LIMITED: NO_MORE}
TO_URL: Json = {"url": "{url}/hook", "synchronized": True, "body": {"text": "x"}}
PIPELINE: Json = {"type": "GITLAB", "groupName": "acme", "projectName": "infra"}


def _status(row: Row) -> str:
    return f"{row.status}. Response: .*" if row.status else row.cause


def _signing_in(row: Row) -> str:
    return "Azure DevOps wants somebody to sign in" if row.status in (301, 307, 401) else row.cause


def _github(path: str) -> Any:
    return {"id": 1, "owner": {"id": 2}, "default_branch": "main", "login": "octocat", "workflow_runs": []}


def _gitlab(path: str) -> Any:
    return [] if path.endswith("/pipelines") else {"default_branch": "main"}


SUBJECTS = (
    Subject("WEBHOOK", {"type": "WEBHOOK", **TO_URL}, None, "Failed to invoke the webhook with error: ", WEBHOOK,
            words=_status),
    Subject("WEBHOOK, reporting later", {"type": "WEBHOOK", **TO_URL, "synchronized": False}, None,
            "Failed to invoke the webhook with error: ",
            WEBHOOK | {Way.HALF: (GOES_ON, ""), Way.ODD: (GOES_ON, "")}, words=_status),
    Subject("SLACK", {"type": "SLACK", **TO_URL}, None, "Failed to invoke the webhook with error: ",
            WEBHOOK | {Way.LIMITED: (ENDED, r"Slack takes no more messages for \d+ s")}, words=_status),
    Subject("GITHUB", {"type": "GITHUB", "org": "acme", "repo": "infra", "workflow": "deploy.yml"}, "github_api_url",
            "Error dispatching workflow: ",
            REST | dict.fromkeys((Way.BROKEN, Way.LOST, Way.HALF, Way.ODD), GONE), _github),
    Subject("GITLAB", {**PIPELINE, "pipelineVariables": {"RUN": "{{ .run.id }}"}}, "gitlab_url",
            "Failed to trigger pipeline: ",
            REST | dict.fromkeys((Way.BROKEN, Way.LOST, Way.HALF, Way.ODD), LOST_PIPELINE), _gitlab),
    Subject("GITLAB, not telling its run", {**PIPELINE, "pipelineVariables": {}}, "gitlab_url",
            "Failed to trigger pipeline: (it did not say which one it has started: )?",
            REST | dict.fromkeys((Way.BROKEN, Way.LOST, Way.HALF, Way.ODD), PERHAPS), _gitlab,
            words=lambda row: "its answer is none of its API" if row.way is Way.ODD else row.cause),
    Subject("AZURE_DEVOPS", {"type": "AZURE_DEVOPS", "org": "acme", "webhook": "hook", "payload": {}},
            "azure_devops_url", "Error triggering pipeline: ",
            REST | dict.fromkeys((Way.BROKEN, Way.LOST), PERHAPS)
            | dict.fromkeys((Way.HALF, Way.ODD), (GOES_ON, "")), words=_signing_in),
)  # fmt: skip


def test_every_backend_is_in_the_table() -> None:
    known = {subject.method["type"] for subject in SUBJECTS}
    assert known | BY_ANOTHER_PROTOCOL | CALL_NOBODY == set(backends.METHODS)
    assert all(set(subject.ends) == set(Way) for subject in SUBJECTS)
    assert {row.way for row in ROWS} == set(Way)


@pytest.fixture
async def product(evaluate: Evaluator, sqlite_url: str) -> AsyncIterator[Product]:
    settings: Json = {"github_token": "t", "gitlab_token": "t", "azure_devops_token": "t"}
    settings |= {"webhook_attempts": str(ATTEMPTS)}
    async with without_temporal(evaluate, sqlite_url, **settings) as product:
        answer = await product.api.post(
            "/v1/organization/secrets", json={"secretName": "NOWHERE", "secretValue": NOWHERE}
        )
        assert answer.is_success, answer.text
        yield product


@pytest.mark.timeout(120)
@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
async def test_each_failure_ends_as_it_should(
    product: Product, evaluate: Evaluator, authority: "Authority", subject: Subject
) -> None:
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(backends.open_transport(httpx.create_ssl_context()))
        nobody = stack.enter_context(socket.socket())
        nobody.bind(("127.0.0.1", 0))
        servers = [Hostile(row, subject.reads) for row in ROWS]
        for server in servers:
            tls = authority.listener() if server.row.where is Where.UNTRUSTED else None
            await stack.enter_async_context(listening(server, tls))

        async def came(number: int, server: Hostile) -> tuple[str, str, int]:
            url = _url(server, nobody.getsockname()[1], looked_up=subject.setting is not None)
            method = {key: value.replace("{url}", url) if isinstance(value, str) else value
                      for key, value in subject.method.items()}  # fmt: skip
            await product.action(f"row{number}", invocationMethod=method)
            run = await product.start(f"row{number}")
            settings = product.settings.model_copy(update={subject.setting: url} if subject.setting else {})
            given = services(settings, product.database, evaluate, product.organization, http)
            if server.row.every:  # all others are answered at once, however slow this machine is at the moment
                given = dataclasses.replace(given, resources=dataclasses.replace(given.resources, timeout=PATIENCE))
            ended = await _over(product, given, run["id"])
            return ended["status"], ended.get("summary") or "", len(server.starts)

        found = await asyncio.gather(*(came(number, server) for number, server in enumerate(servers)))
    wrong = {
        row.name: (is_, expected)
        for row, is_, expected in ((row, is_, subject.expected(row)) for row, is_ in zip(ROWS, found, strict=True))
        if (is_[0], is_[2]) != (expected[0], expected[2]) or not re.fullmatch(expected[1], is_[1], re.DOTALL)
    }
    assert wrong == {}


def _url(server: Hostile, nobody: int, *, looked_up: bool) -> str:
    match server.row.where:
        case Where.NO_NAME:
            # Written out it would be looked up, and refused, when the run is asked for.
            return NOWHERE if looked_up else "{{ .secrets.NOWHERE }}"
        case Where.NOBODY:
            return f"http://127.0.0.1:{nobody}"
        case Where.UNTRUSTED | Where.NO_TLS:
            return f"https://127.0.0.1:{server.port}"
    return f"http://127.0.0.1:{server.port}"


async def _over(product: Product, given: Services, run_id: str) -> Json:
    """The run once it was tried as often as it is, and what may have come of it was looked for as long as it is."""
    work = InvocationActivity(given)
    for number in range(1, REFUSALS + ATTEMPTS + 1):
        environment = ActivityEnvironment()
        environment.info = dataclasses.replace(environment.info, attempt=number)
        try:
            await environment.run(work.invoke_backend, run_id)
            break
        except ApplicationError:
            continue  # Temporal would wait before it asks again
    later = dataclasses.replace(
        given,
        now=lambda: given.now() + timedelta(minutes=11),
        resources=dataclasses.replace(given.resources, now=lambda: given.resources.now() + timedelta(minutes=11)),
    )
    async with product.database.read() as session:
        found = await runs.find(session, run_id)
    if found.run.status is RunStatus.IN_PROGRESS:
        # About this run alone: those of other rows have another counterpart.
        await LookUpWork(later)._looked_up(Due(found.run, found.action_id, given.now()))
    return await product.get(run_id)
