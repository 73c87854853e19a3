"""Whatever goes wrong between us and a counterpart: how the run ends, with which words, and how often it was tried.

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
from datetime import UTC, datetime, timedelta
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
PATIENCE, LATER = timedelta(seconds=3), timedelta(hours=1)
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

    @property
    def place(self) -> str:
        """What is in every path that it calls."""
        return "/hook" if "url" in self.method else "acme"

    def expected(self, row: Row) -> tuple[str, str, int, int]:
        """Status, summary, the number of starts and of attempts."""
        status, summary = self.ends[row.way]
        times = {Way.UNREACHABLE: 0, Way.UNTRUSTED: 0, Way.LIMITED: REFUSALS}.get(row.way, 1)
        if row.way is Way.LIMITED and ("no more" not in summary or self.name == "GITHUB"):
            times = 1  # the others wait until they are told to come again; here no time passes, and GitHub is not asked
        attempts = {Way.UNREACHABLE: ATTEMPTS, Way.LIMITED: REFUSALS if "no more" in summary else 1}.get(row.way, 1)
        return status, summary.replace("{prefix}", self.prefix).replace("{cause}", self.words(row)), times, attempts


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
        servers = [Hostile(row, subject.reads, place=subject.place) for row in ROWS]
        for server in servers:
            tls = authority.listener() if server.row.where is Where.UNTRUSTED else None
            await stack.enter_async_context(listening(server, tls))

        async def came(number: int, server: Hostile) -> tuple[str, str, int, int]:
            url = _url(server, nobody.getsockname()[1], looked_up=subject.setting is not None)
            given = _given(product, evaluate, subject, url, http)
            if server.row.every:  # all others are answered at once, however slow this machine is at the moment
                given = dataclasses.replace(given, resources=dataclasses.replace(given.resources, timeout=PATIENCE))
            ended, attempts = await _over(product, given, await _asked(product, subject, f"row{number}", url))
            return ended["status"], ended.get("summary") or "", len(server.starts), attempts

        found = await asyncio.gather(*(came(number, server) for number, server in enumerate(servers)))
    wrong = {
        row.name: (is_, expected)
        for row, is_, expected in ((row, is_, subject.expected(row)) for row, is_ in zip(ROWS, found, strict=True))
        if (is_[0], *is_[2:]) != (expected[0], *expected[2:]) or not re.fullmatch(expected[1], is_[1], re.DOTALL)
    }
    assert wrong == {}


FORBIDDEN = {
    "allow_private": "leads to a private address, and this deployment does not call private addresses",
    "allow_loopback": "leads to a loopback address, and this deployment does not call its own machine",
    "never_allowed": "is a destination that this deployment never calls",
}


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
async def test_a_destination_that_is_forbidden_is_final_at_once(
    product: Product, evaluate: Evaluator, subject: Subject
) -> None:
    server = Hostile(ROWS[-1], subject.reads)
    async with backends.open_transport(httpx.create_ssl_context()) as http, listening(server):
        url = f"http://127.0.0.1:{server.port}"
        given = _given(product, evaluate, subject, url, http)
        for name, words in FORBIDDEN.items():
            rule: Json = {name: frozenset({"127.0.0.1"}) if name == "never_allowed" else False}
            forbidding = dataclasses.replace(given, resources=dataclasses.replace(given.resources, **rule))
            ended, attempts = await _over(product, forbidding, await _asked(product, subject, name, url))
            assert (ended["status"], attempts) == (ENDED, 1), ended
            assert re.fullmatch(f"{subject.prefix}127.0.0.1 {words}", ended["summary"])
    assert server.starts == []


@pytest.mark.parametrize(
    "subject", [one for one in SUBJECTS if one.name in ("GITHUB", "GITLAB")], ids=lambda one: one.name
)
async def test_what_is_in_the_way_of_asking_does_not_end_a_run_that_is_under_way(
    product: Product, evaluate: Evaluator, authority: "Authority", subject: Subject
) -> None:
    failed = next(row for row in ROWS if row.way is Way.BROKEN)
    here, untrusted = Hostile(failed, subject.reads), Hostile(failed, subject.reads)
    async with (
        backends.open_transport(httpx.create_ssl_context()) as http,
        listening(here),
        listening(untrusted, authority.listener()),
    ):
        url = f"http://127.0.0.1:{here.port}"
        given = _given(product, evaluate, subject, url, http)
        run_id = await _asked(product, subject, "deploy", url)
        await ActivityEnvironment().run(InvocationActivity(given).invoke_backend, run_id)
        forbidding = dataclasses.replace(given, resources=dataclasses.replace(given.resources, allow_private=False))
        distrusting = _given(product, evaluate, subject, f"https://127.0.0.1:{untrusted.port}", http)
        for services_, words in ((forbidding, "leads to a private address"), (distrusting, "does not verify")):
            await _looked_up_later(product, services_, run_id)
            run = await product.get(run_id)
            assert run["status"] == GOES_ON, run
            timeline = (await product.api.get(f"/v1/actions/runs/{run_id}/timeline")).json()["timeline"]
            attempt = next(one["attempt"] for one in reversed(timeline) if one["kind"] == "ATTEMPT")
            assert (attempt["kind"], attempt["outcome"]) == ("LOOK_UP", "REFUSED")
            assert words in attempt["said"]
            assert attempt["againAt"], "it is asked again"
        await _looked_up_later(product, given, run_id)
        run = await product.get(run_id)
        assert run["status"] == ENDED, run
        assert re.fullmatch(subject.ends[Way.BROKEN][1].replace("{prefix}", subject.prefix), run["summary"])
    assert len(here.starts) == 1


def _given(
    product: Product, evaluate: Evaluator, subject: Subject, url: str, http: httpx.AsyncBaseTransport
) -> Services:
    """What an activity has whose counterpart is there. Its clock stands still, so that no limit ends by itself."""
    settings = product.settings.model_copy(update={subject.setting: url} if subject.setting else {})
    given, at = services(settings, product.database, evaluate, product.organization, http), datetime.now(UTC)
    return dataclasses.replace(given, resources=dataclasses.replace(given.resources, now=lambda: at))


async def _asked(product: Product, subject: Subject, action: str, url: str) -> str:
    """A run that was asked for and that nobody has begun."""
    method = {
        key: value.replace("{url}", url) if isinstance(value, str) else value for key, value in subject.method.items()
    }
    await product.action(action, invocationMethod=method)
    run_id: str = (await product.start(action))["id"]
    return run_id


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


async def _over(product: Product, given: Services, run_id: str) -> tuple[Json, int]:
    """The run once it was tried as often as it is, and what may have come of it was looked for as long as it is.

    With the number of attempts.
    """
    work, number = InvocationActivity(given), 0
    for number in range(1, REFUSALS + ATTEMPTS + 1):
        environment = ActivityEnvironment()
        environment.info = dataclasses.replace(environment.info, attempt=number)
        try:
            await environment.run(work.invoke_backend, run_id)
            break
        except ApplicationError:
            continue  # Temporal would wait before it asks again
    await _looked_up_later(product, given, run_id)
    return await product.get(run_id), number


async def _looked_up_later(product: Product, given: Services, run_id: str) -> None:
    """Ask what has come of the run, if it goes on, when nothing is looked for any longer."""
    later = dataclasses.replace(
        given,
        now=lambda: given.now() + LATER,
        resources=dataclasses.replace(given.resources, now=lambda: given.resources.now() + LATER),
    )
    async with product.database.read() as session:
        found = await runs.find(session, run_id)
    if found.run.status is RunStatus.IN_PROGRESS:
        # About this run alone: those of other rows have another counterpart.
        await LookUpWork(later)._looked_up(Due(found.run, found.action_id, given.now()))
