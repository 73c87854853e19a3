"""What GitHub and GitLab say of a repository is asked once a minute, and at once where it may not be so any more."""

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pydantic import JsonValue

import backends
from backends._accounts import GitHubAccount, GitLabAccount
from backends._known import Known
from domain.errors import BackendBusy, BackendFault, BackendRefused, BackendUnavailable
from tests.support import github as hubs
from tests.support import gitlab as labs
from tests.support.listening import Said

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
METHODS: dict[str, dict[str, JsonValue]] = {
    "GITHUB": {"type": "GITHUB", "org": "acme", "repo": "infra", "workflow": "deploy.yml"},
    "GITLAB": {
        "type": "GITLAB", "groupName": "acme/platform", "projectName": "infra", "pipelineVariables": {"RUN": "{{}}"},
    },
}  # fmt: skip
ASKS = {"GITHUB": "GET /repos/{owner}/{repo}", "GITLAB": "GET /projects/:id"}
STARTS = {"GITHUB": "/dispatches", "GITLAB": "POST /projects/:id/pipeline"}
REFUSALS = {"GITHUB": hubs.refusal(404, "Not Found"), "GITLAB": labs.refusal(404, "404 Project Not Found")}


@dataclass
class Told:
    """A process that starts one run after the other."""

    kind: str
    server: Any
    using: backends.Resources
    at: datetime = NOW
    started: int = field(default=0)

    async def start(self, **more: JsonValue) -> backends.Receipt:
        """Start the next one."""
        self.started += 1
        run_id = f"r_{self.started:016d}"
        method = backends.parse_rendered({**METHODS[self.kind], **more})
        return await method.invoke(backends.Delivery(run_id, {}), replace(self.using, now=lambda: self.at))

    @property
    def asked(self) -> int:
        """How often it was asked about the repository."""
        return len(self.server.operations(ASKS[self.kind]))

    @property
    def refs(self) -> list[str]:
        """Where it was told to start something."""
        return [one.body["ref"] for one in self.server.operations(STARTS[self.kind])]

    def answers(self, said: Said) -> None:
        """What it answers to the next start."""
        self.server.answers(STARTS[self.kind], said)

    def renamed(self, branch: str) -> None:
        """Its default branch is another one, and the one of before is gone."""
        if self.kind == "GITHUB":
            place = self.server.repositories[0]
            place.branches = {branch}
        else:
            place = self.server.projects[0]
            place.refs = {branch}
        place.default_branch = branch


@pytest.fixture(params=["GITHUB", "GITLAB"])
async def told(request: pytest.FixtureRequest) -> AsyncIterator[Told]:
    """Either of them."""
    http = backends.open_transport(httpx.create_ssl_context())
    usual: dict[str, Any] = {"signing_secret": "s", "http": http}
    if request.param == "GITHUB":
        async with hubs.github() as hub:
            account = GitHubAccount(api_url=hub.url, token=hubs.TOKEN)
            yield Told("GITHUB", hub, backends.Resources(**usual, github=account))
    else:
        async with labs.gitlab() as lab:
            yield Told("GITLAB", lab, backends.Resources(**usual, gitlab=GitLabAccount(url=lab.url, token=labs.TOKEN)))


async def test_a_repository_is_asked_about_once_a_minute(told: Told) -> None:
    for _ in range(3):
        await told.start()
    assert (told.asked, len(told.refs)) == (1, 3)
    told.at += timedelta(seconds=59)
    await told.start()
    assert told.asked == 1
    told.at += timedelta(seconds=1)
    await told.start()
    assert told.asked == 2
    told.at -= timedelta(hours=1)  # somebody has set the clock
    await told.start()
    assert told.asked == 3


async def test_what_is_remembered_makes_no_difference_to_the_receipt(told: Told) -> None:
    first, second = await told.start(), await told.start()
    assert first.external_run_id
    assert second.external_run_id
    assert first.external_run_id != second.external_run_id
    assert first.external_run_id.rpartition("_")[0] == second.external_run_id.rpartition("_")[0]


async def test_a_default_branch_that_was_renamed_is_noticed(told: Told) -> None:
    await told.start()
    told.renamed("next")
    assert (await told.start()).external_run_id
    assert (told.asked, told.refs[1:]) == (2, [told.refs[0], "next"])
    await told.start()
    assert (told.asked, told.refs[3:]) == (2, ["next"])


async def test_a_no_that_has_another_reason_is_a_no(told: Told) -> None:
    await told.start()
    told.answers(labs.refusal(400, "no") if told.kind == "GITLAB" else hubs.refusal(422, "no"))
    with pytest.raises(BackendRefused, match=r"no$"):
        await told.start()
    assert (told.asked, len(told.refs)) == (2, 2), "it was asked whether the branch is another one, and it is not"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (Said(502, b"<html>no</html>"), BackendFault),
        (Said(raw=b""), BackendFault),
        (Said(429, b"", {"Retry-After": "7"}), BackendBusy),
    ],
)
async def test_who_does_not_answer_as_it_should_is_asked_before_it_is_told_again(
    told: Told, said: Said, kind: type[BackendFault]
) -> None:
    await told.start()
    told.answers(said)
    with suppress(kind):
        assert (await told.start()).external_run_id is None
    told.at += timedelta(seconds=10)
    told.server.answers(ASKS[told.kind], Said(502, b"<html>no</html>"))
    with pytest.raises(BackendUnavailable):
        await told.start()
    assert (told.asked, len(told.refs)) == (2, 2), "nothing was started, so it may be tried again"


async def test_other_credentials_ask_for_themselves(told: Told) -> None:
    await told.start()

    async def secret(name: str) -> str | None:
        return "another-token" if name.endswith("_TOKEN") else None

    told.using = replace(told.using, secret=secret)
    told.server.answers(ASKS[told.kind], REFUSALS[told.kind])
    with pytest.raises(BackendRefused):
        await told.start()
    assert told.asked == 2


@pytest.mark.parametrize("told", ["GITHUB"], indirect=True)
@pytest.mark.parametrize(
    "said",
    [
        hubs.refusal(429, "Slow down", Retry_After="30"),
        hubs.refusal(403, "You have exceeded a secondary rate limit", Retry_After="30"),
        hubs.refusal(403, "x", X_RateLimit_Remaining="0", X_RateLimit_Reset=str(int(NOW.timestamp()) + 30)),
    ],
)
async def test_a_limit_of_github_is_one_for_all_runs(told: Told, said: Said) -> None:
    await told.start()
    told.answers(said)
    waits = []
    for _ in range(4):
        with pytest.raises(BackendBusy, match=r"allows no more requests for \d+ s$") as busy:
            await told.start()
        waits.append(busy.value.retry_after)
        told.at += timedelta(seconds=5)
    assert len(told.server.asked) == 3, "one was told, and the others have not asked"
    whole, *others = (wait + number * timedelta(seconds=5) for number, wait in enumerate(waits))
    assert whole == timedelta(seconds=30)
    assert others == [timedelta(seconds=30 + later) for later in (1, 2, 3)], "they come one after the other"
    with pytest.raises(BackendBusy):
        await backends.parse_rendered(METHODS["GITHUB"]).look_up(
            backends.Reference("r_1", NOW, "gh_1_2_3"), replace(told.using, now=lambda: told.at)
        )
    assert len(told.server.asked) == 3, "nor is it asked how runs go"
    told.at = NOW + timedelta(seconds=30)
    assert (await told.start()).external_run_id


@pytest.mark.parametrize("told", ["GITHUB"], indirect=True)
async def test_a_limit_of_one_caller_is_not_one_of_another(told: Told) -> None:
    told.server.answers(ASKS["GITHUB"], hubs.refusal(429, "Slow down", Retry_After="30"))
    with pytest.raises(BackendBusy):
        await told.start()
    told.server.token = "another-token"
    account = replace(told.using.github, token="another-token")
    told.using = replace(told.using, github=account)
    assert (await told.start()).external_run_id


def test_limits_that_are_over_are_forgotten() -> None:
    known = Known()
    for number in range(2500):
        known.limited("here", number, timedelta(seconds=2), NOW + timedelta(seconds=number))
    assert len(known._limits) <= 1000


def test_it_does_not_grow_without_end() -> None:
    known = Known()
    for number in range(2500):
        known.learn("here", number, number, NOW)
        assert known.get("here", number, NOW) == number
    assert sum(known.get("here", number, NOW) is not None for number in range(2500)) <= 1000


def test_what_one_system_has_said_is_forgotten_without_the_others() -> None:
    known = Known()
    for system in ("here", "there"):
        known.learn(system, "x", system, NOW)
    known.forget("here")
    known.forget("nowhere")
    assert (known.get("here", "x", NOW), known.get("there", "x", NOW)) == (None, "there")
