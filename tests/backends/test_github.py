"""GitHub Actions: what is sent is what GitHub's description of its API takes, and what GitHub says decides the run."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from pydantic import JsonValue

import backends
from backends._accounts import GitHubAccount
from backends.base import Remembered, Unconfirmed
from domain.errors import BackendBusy, BackendFault, BackendRefused, BackendUnavailable, InvalidInvocation
from domain.runs import RunStatus
from tests.support.github import (
    APP_ID,
    TOKEN,
    FakeGitHub,
    Repository,
    github,
    private_key,
    refusal,
)
from tests.support.listening import Said

if TYPE_CHECKING:
    from tests.backends.conftest import Authority, Invoke

RUN = "r_0123456789abcdef"
DISPATCH = "/dispatches"
LIST = "/workflows/{workflow_id}/runs"
CUT = Said(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{")
NOT_SAID = backends.Receipt(
    look_up_after=timedelta(seconds=2),
    log=("GitHub has not said which workflow run it is, so its workflow run is looked for, 10 minutes at most",),
)


@pytest.fixture
async def hub() -> AsyncIterator[FakeGitHub]:
    async with github() as hub:
        yield hub


@pytest.fixture
async def enterprise() -> AsyncIterator[FakeGitHub]:
    async with github(enterprise=True) as hub:
        yield hub


def soon() -> datetime:
    """When it is known which workflow runs belong to other dispatches."""
    return datetime.now(UTC) + timedelta(seconds=50)


def method(**fields: JsonValue) -> dict[str, JsonValue]:
    return {"type": "GITHUB", "org": "acme", "repo": "infra", "workflow": "deploy.yml", **fields}


def account(hub: FakeGitHub, **more: Any) -> GitHubAccount:
    return GitHubAccount(api_url=hub.url, **{"token": TOKEN, **more})


def app(hub: FakeGitHub, **more: Any) -> GitHubAccount:
    return account(hub, **{"token": None, "app_id": APP_ID, "app_private_key": private_key(), **more})


@cache
def roots() -> ssl.SSLContext:
    """What a transport has by default; read once, as it takes longer than most tests."""
    return httpx.create_ssl_context()


def using(hub: FakeGitHub, **more: Any) -> backends.Resources:
    http = backends.open_transport(roots())
    return backends.Resources(**{"signing_secret": "s", "github": account(hub), "http": http, **more})


def reference(external: str | None = None, link: tuple[str, ...] = (), **ago: float) -> backends.Reference:
    return backends.Reference(RUN, datetime.now(UTC) - timedelta(**ago), external, link)


async def looked_up(
    hub: FakeGitHub, about: backends.Reference, fields: dict[str, JsonValue] | None = None, **more: Any
) -> backends.Receipt | None:
    return await backends.parse_rendered(method(**fields or {})).look_up(about, using(hub, **{"now": soon, **more}))


async def cancelled(hub: FakeGitHub, about: backends.Reference, **more: Any) -> str | None:
    return await backends.parse_rendered(method()).cancel(about, using(hub, **{"now": soon, **more}))


Dispatch = Callable[..., Awaitable[backends.Receipt]]


@pytest.fixture
def dispatch(hub: FakeGitHub, invoke: "Invoke") -> Dispatch:
    async def dispatch(document: dict[str, JsonValue] | None = None, **more: Any) -> backends.Receipt:
        http = backends.open_transport(roots())
        return await invoke(document or method(), **{"github": account(hub), "http": http, **more})

    return dispatch


async def test_a_workflow_is_dispatched_on_the_default_branch(hub: FakeGitHub, dispatch: Dispatch) -> None:
    context: dict[str, JsonValue] = {"runId": RUN, "entity": None, "tags": ["ü"]}
    receipt = await dispatch(method(workflowInputs={"env": "prod", "context": context}))
    [run] = hub.runs
    assert receipt == backends.Receipt(
        link=(run.link,), external_run_id="gh_583231_1296269_30433642", look_up_after=timedelta(seconds=15)
    )
    [asked] = hub.operations(DISPATCH)
    assert asked.path == "/repos/acme/infra/actions/workflows/deploy.yml/dispatches"
    assert asked.body == {
        "ref": "trunk",
        "inputs": {"env": "prod", "context": '{"runId":"r_0123456789abcdef","entity":null,"tags":["ü"]}'},
        "return_run_details": True,
    }
    assert asked.headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("ref", ["release/1", "refs/heads/release/1", "v1"])
async def test_ref_is_a_branch_or_tag_and_no_input(hub: FakeGitHub, dispatch: Dispatch, ref: str) -> None:
    await dispatch(method(workflowInputs={"env": "prod", "ref": ref}))
    [asked] = hub.operations(DISPATCH)
    assert (asked.body["ref"], asked.body["inputs"]) == (ref, {"env": "prod"})


@pytest.mark.parametrize("ref", [None, ""])
async def test_no_ref_is_the_default_branch(hub: FakeGitHub, dispatch: Dispatch, ref: str | None) -> None:
    await dispatch(method(workflowInputs={"ref": ref}))
    assert hub.runs[0].ref == "trunk"


async def test_inputs_that_are_no_texts_are_sent_as_json(hub: FakeGitHub, dispatch: Dispatch) -> None:
    hub.repositories[0].workflows["7"] = set("abcde")
    values: dict[str, JsonValue] = {"a": 5.0, "b": True, "c": None, "d": [1], "e": ""}
    await dispatch(method(workflow=7, workflowInputs=values))
    assert hub.runs[0].inputs == {"a": "5", "b": "true", "c": "null", "d": "[1]", "e": ""}


async def test_a_run_that_reports_itself_is_not_looked_up(hub: FakeGitHub, dispatch: Dispatch) -> None:
    receipt = await dispatch(method(reportWorkflowStatus="false"))
    assert (receipt.external_run_id, receipt.look_up_after) == (hub.runs[0].external_run_id, None)
    about = reference(receipt.external_run_id, receipt.link)
    hub.conclude(hub.runs[0], "failure")
    asked = len(hub.asked)
    assert await looked_up(hub, about, {"reportWorkflowStatus": False}) is None
    assert len(hub.asked) == asked


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"org": ""}, "invocationMethod.org: '' is no name"),
        ({"repo": ".."}, "invocationMethod.repo: '..' is no name"),
        ({"workflow": "."}, "invocationMethod.workflow: '.' is no name"),
        ({"workflow": True}, "workflow"),
        ({"workflowInputs": {"ref": 5}}, "workflowInputs.ref: must be the name of a branch or tag"),
        ({"reportWorkflowStatus": "perhaps"}, "reportWorkflowStatus: must be true or false"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_once_it_is_rendered(fields: dict[str, JsonValue], words: str) -> None:
    with pytest.raises(InvalidInvocation, match=words):
        backends.parse_rendered(method(**fields))


async def test_a_name_never_leads_to_another_place(hub: FakeGitHub, dispatch: Dispatch) -> None:
    hub.repositories.append(Repository("ac/me", "in?fra", workflows={"de/ploy#.yml": set()}))
    await dispatch(method(org="ac/me", repo="in?fra", workflow="de/ploy#.yml"))
    assert hub.runs[0].workflow == "de/ploy#.yml"
    assert hub.operations(DISPATCH)[0].path == "/repos/ac%2Fme/in%3Ffra/actions/workflows/de%2Fploy%23.yml/dispatches"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"workflow": "gone.yml"}, "Not Found"),
        ({"repo": "gone"}, "Not Found"),
        ({"workflowInputs": {"env": "x", "zone": "y"}}, 'Unexpected inputs provided: ["zone"]'),
        ({"workflowInputs": {"ref": "gone"}}, "No ref found for: gone"),
        ({}, "Required input 'env' not provided"),
    ],
)
async def test_what_github_refuses_fails_the_run_in_githubs_words(
    hub: FakeGitHub, dispatch: Dispatch, fields: dict[str, JsonValue], message: str
) -> None:
    hub.repositories[0].required = {"env"}
    with pytest.raises(BackendRefused) as fault:
        await dispatch(method(**fields))
    assert str(fault.value) == f"Error dispatching workflow: {message}"
    assert hub.runs == []


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (refusal(403, "Resource not accessible by integration"), "Resource not accessible by integration"),
        (refusal(401, "Bad credentials"), "Bad credentials"),
        (refusal(400, f"what is {TOKEN}"), "what is ********"),
        (refusal(307, "Moved", Location="http://169.254.169.254/"), "Moved (redirects are not followed: write the"),
    ],
)
async def test_a_no_is_final(hub: FakeGitHub, dispatch: Dispatch, said: Said, words: str) -> None:
    hub.answers(DISPATCH, said)
    with pytest.raises(BackendFault) as fault:
        await dispatch()
    assert type(fault.value) is BackendRefused
    assert str(fault.value).startswith(f"Error dispatching workflow: {words}")
    assert len(hub.operations(DISPATCH)) == 1


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (replace(refusal(500, "Server Error"), after_all=True), "Server Error"),
        (Said(502, b"<html>no</html>", after_all=True), "status code 502"),
        (Said(503, b"", after_all=True), "status code 503"),
        (Said(504, b"", after_all=True), "status code 504"),
        (Said(303, b"", {"Location": "/runs"}, after_all=True), "status code 303 (redirects are not followed: write"),
        (Said(raw=b"", after_all=True), "the connection was cut before the answer was complete"),
        (Said(raw=b"HTTP/1.1 200 OK\r\n", pause=2, after_all=True), "no answer within 1 s"),
    ],
)
async def test_what_github_has_not_confirmed_is_looked_for_and_never_dispatched_again(
    hub: FakeGitHub, dispatch: Dispatch, said: Said, cause: str
) -> None:
    noted = Remembered()
    hub.answers(DISPATCH, said)
    receipt = await dispatch(timeout=timedelta(seconds=1), reservations=noted)
    assert (receipt.status, receipt.external_run_id, receipt.look_up_after) == (None, None, timedelta(seconds=2))
    [line] = receipt.log
    assert line.startswith(f"GitHub did not confirm the dispatch: {cause}")
    assert list(noted.begun) == [RUN], "it is not dispatched again, whoever tries"
    hub.runs[0].title = f"Deploy {RUN}"
    assert line.endswith(
        ". It may have started the workflow all the same, so its workflow run is looked for, 10 minutes at most, and "
        "none is dispatched again"
    )
    found = await looked_up(hub, reference(), now=lambda: datetime.now(UTC))
    assert found == backends.Receipt(
        link=(hub.runs[0].link,),
        external_run_id=hub.runs[0].external_run_id,
        log=("The workflow run was found: its name has the id of this run",),
    )
    assert len(hub.operations(DISPATCH)) == 1


async def test_a_guess_waits_until_it_is_known_what_belongs_to_others(hub: FakeGitHub, dispatch: Dispatch) -> None:
    await dispatch()
    [run] = hub.runs
    within: dict[str, Any] = {"timeout": timedelta(seconds=5)}
    assert await looked_up(hub, reference(), now=lambda: run.created_at + timedelta(seconds=14), **within) is None
    with pytest.raises(BackendBusy, match="it cannot be told yet which workflow run it is") as busy:
        await cancelled(hub, reference(), now=lambda: run.created_at + timedelta(seconds=14), **within)
    assert timedelta(0) < busy.value.retry_after < timedelta(seconds=2)
    assert run.conclusion is None
    assert await looked_up(hub, reference(), now=lambda: run.created_at + timedelta(seconds=15), **within)


@pytest.mark.parametrize(
    "odd",
    [
        {"id": "30433642"},
        {"id": True},
        {"id": -1},
        {"id": 10**30},
        {"created_at": "yesterday"},
        {"created_at": "2026-05-01T10:00:00"},
        {"created_at": None},
        {"repository": None},
        {"status": 5},
    ],
)
async def test_odd_workflow_runs_in_a_list_hide_no_other(hub: FakeGitHub, dispatch: Dispatch, odd: Any) -> None:
    await dispatch()
    whole = hub._run(hub.runs[0])
    hub.answers(LIST, Said(200, {"total_count": 3, "workflow_runs": [{**whole, **odd}, odd, 7, whole]}))
    found = await looked_up(hub, reference())
    assert found
    assert found.external_run_id == hub.runs[0].external_run_id


@pytest.mark.parametrize("odd", ["30433642", True, -1, 0, 10**30, 1.5, None, {}])
async def test_a_workflow_run_without_an_id_is_looked_for(hub: FakeGitHub, dispatch: Dispatch, odd: Any) -> None:
    hub.answers(DISPATCH, Said(200, {"workflow_run_id": odd, "html_url": "https://github.com/x"}))
    assert await dispatch() == NOT_SAID


@pytest.mark.parametrize("odd", ["javascript:alert(1)", "//x", "", 7, None, "https://x.test/" + "x" * 3000])
async def test_a_page_that_no_browser_should_open_is_no_link(hub: FakeGitHub, dispatch: Dispatch, odd: Any) -> None:
    hub.answers(DISPATCH, Said(200, {"workflow_run_id": 5, "html_url": odd}))
    receipt = await dispatch()
    assert (receipt.link, receipt.external_run_id) == ((), "gh_583231_1296269_5")


@pytest.mark.parametrize(
    "said", [refusal(502, "no"), Said(raw=b""), Said(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")]
)
async def test_what_fails_before_the_dispatch_may_be_tried_again(
    hub: FakeGitHub, dispatch: Dispatch, said: Said
) -> None:
    hub.answers("GET /repos/{owner}/{repo}", said)
    with pytest.raises(BackendUnavailable, match=r"^Error dispatching workflow: "):
        await dispatch()
    assert hub.operations(DISPATCH) == []
    assert (await dispatch()).external_run_id


PRIVATE = "127.0.0.1 leads to a private address, and this deployment does not call private addresses"
NO_HEADER = "a header of the request holds a line break or control character"


@pytest.mark.parametrize("of_app", [False, True])
async def test_what_never_can_be_asked_is_final_at_once(hub: FakeGitHub, dispatch: Dispatch, of_app: bool) -> None:
    noted = Remembered()
    given: dict[str, Any] = {"allow_private": False, "reservations": noted, "github": (app if of_app else account)(hub)}
    with pytest.raises(BackendFault) as fault:
        await dispatch(**given)
    assert (type(fault.value), str(fault.value)) == (BackendRefused, f"Error dispatching workflow: {PRIVATE}")
    assert (hub.asked, noted.begun) == ([], {})


async def test_a_token_that_no_header_can_hold_is_final_at_once(hub: FakeGitHub, dispatch: Dispatch) -> None:
    with pytest.raises(BackendFault) as fault:
        await dispatch(github=account(hub, token="two\nlines"))
    assert (type(fault.value), str(fault.value)) == (BackendRefused, f"Error dispatching workflow: {NO_HEADER}")


@pytest.mark.parametrize("said", [Said(200, b"<html>Sign in</html>"), Said(200, b""), Said(200, [])])
async def test_an_address_that_is_not_githubs_is_final_at_once(hub: FakeGitHub, dispatch: Dispatch, said: Said) -> None:
    hub.answers("GET /repos/{owner}/{repo}", said)
    with pytest.raises(
        BackendRefused, match=r"^Error dispatching workflow: the answer tells of no repository; is INTER"
    ):
        await dispatch()
    assert hub.operations(DISPATCH) == [], "what nobody would ever tell of is not dispatched"


async def test_what_cannot_be_written_is_final_at_once(hub: FakeGitHub, dispatch: Dispatch) -> None:
    noted = Remembered()
    with pytest.raises(BackendRefused, match=r"workflow: what would be sent cannot be written as JSON$"):
        await dispatch(method(workflowInputs={"env": "\ud800"}), reservations=noted)
    assert (hub.operations(DISPATCH), noted.begun) == ([], {})


async def test_a_certificate_that_does_not_verify_is_final_at_once(authority: "Authority", invoke: "Invoke") -> None:
    async with github(tls=authority.listener()) as hub:
        for who in (account(hub), app(hub)):
            with pytest.raises(BackendFault) as fault:
                await invoke(method(), github=who, http=backends.open_transport(roots()))
            assert type(fault.value) is BackendRefused
            words = "Error dispatching workflow: the certificate of 127.0.0.1 does not verify: "
            assert str(fault.value).startswith(words)
        trusting = backends.open_transport(authority.client())
        assert (await invoke(method(), github=account(hub), http=trusting)).external_run_id


async def test_a_certificate_that_does_not_verify_any_more_changes_nothing_about_what_was_dispatched(
    authority: "Authority", invoke: "Invoke"
) -> None:
    async with github(tls=authority.listener()) as hub:
        trusting: dict[str, Any] = {"http": backends.open_transport(authority.client())}
        receipt = await invoke(method(), github=account(hub), **trusting)
        hub.conclude(hub.runs[0], "success")
        for about in (reference(receipt.external_run_id), reference(), reference(minutes=11)):
            with pytest.raises(BackendRefused, match=r"^the certificate of 127.0.0.1 does not verify: "):
                await looked_up(hub, about)  # so the run goes on, and it is asked again
        with pytest.raises(BackendFault) as fault:
            await cancelled(hub, reference(receipt.external_run_id))
        assert type(fault.value) is BackendRefused, "it is not told again and again"
        assert str(fault.value).startswith("Error cancelling workflow: the certificate of 127.0.0.1 does not verify: ")
        ended = await looked_up(hub, reference(receipt.external_run_id), **trusting)
        assert ended
        assert ended.status is RunStatus.SUCCESS


async def test_a_token_of_an_app_that_cannot_be_renewed_hides_no_dispatch(hub: FakeGitHub, dispatch: Dispatch) -> None:
    noted = Remembered()
    await dispatch(github=app(hub))
    hub.revoked = set(hub.issued)
    hub.answers(DISPATCH, refusal(401, "Bad credentials"))
    hub.answers("/access_tokens", Said(raw=b""))
    with pytest.raises(BackendFault) as fault:
        await dispatch(github=app(hub), reservations=noted)
    assert type(fault.value) is BackendUnavailable, "GitHub has dispatched nothing, and may be asked again"
    assert noted.begun == {}


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        ("GET /repos/{owner}/{repo}", Said(404)),
        ("GET /repos/{owner}/{repo}", Said(raw=b"")),
        ("GET /user", Said(502)),
        (LIST, refusal(403, "Resource not accessible")),
        (LIST, Said(502)),
        ("", None),
    ],
)
async def test_while_it_cannot_be_told_what_a_dead_worker_has_dispatched_the_run_goes_on(
    hub: FakeGitHub, dispatch: Dispatch, operation: str, said: Said | None
) -> None:
    noted = Remembered()
    receipt = await dispatch(reservations=noted)
    [since] = noted.begun.values()
    in_the_way: dict[str, Any] = {} if said else {"allow_private": False}
    for minutes, kind, words in (
        (1, BackendBusy, "cannot be told yet: "),
        (11, Unconfirmed, "is not started again, and"),
    ):
        if said:
            hub.answers(operation, said)
        at = partial(since.__add__, timedelta(minutes=minutes))
        with pytest.raises(BackendFault, match=rf"^Error dispatching workflow: a worker died .*{words}") as fault:
            await dispatch(reservations=noted, now=at, **in_the_way)
        assert type(fault.value) is kind
        if isinstance(fault.value, BackendBusy):
            assert fault.value.retry_after == timedelta(seconds=30), "so that refusals do not run out too soon"
    found = await dispatch(reservations=noted, now=soon)
    assert found.external_run_id == receipt.external_run_id
    assert len(hub.operations(DISPATCH)) == 1


async def test_a_repository_that_was_renamed_is_named_so(hub: FakeGitHub, dispatch: Dispatch) -> None:
    hub.answers("GET /repos/{owner}/{repo}", refusal(301, "Moved Permanently", Location=f"{hub.url}/repositories/1"))
    with pytest.raises(BackendRefused, match=r"workflow: Moved Permanently .*write the present names"):
        await dispatch()


LIMITS = [
    (refusal(403, "API rate limit exceeded", X_RateLimit_Remaining="0", X_RateLimit_Reset="{reset}"), 90),
    (refusal(429, "API rate limit exceeded", X_RateLimit_Remaining="0", X_RateLimit_Reset="{reset}"), 90),
    (refusal(403, "You have exceeded a secondary rate limit.", Retry_After="7"), 7),
    (refusal(429, "Slow down", Retry_After="7"), 7),
    (refusal(403, "You have exceeded a secondary rate limit."), 60),
]


@pytest.mark.parametrize("where", [DISPATCH, "GET /repos/{owner}/{repo}"])
@pytest.mark.parametrize(("said", "seconds"), LIMITS)
async def test_rate_limits_say_when_to_try_again(
    hub: FakeGitHub, dispatch: Dispatch, said: Said, seconds: int, where: str
) -> None:
    now = datetime(2026, 5, 1, tzinfo=UTC)
    reset = str(int(now.timestamp()) + 90)
    headers = {name: value.format(reset=reset) for name, value in said.headers.items()}
    hub.answers(where, Said(said.status, said.body, headers))
    with pytest.raises(
        BackendBusy, match=r"^Error dispatching workflow: 127.0.0.1 allows no more requests for \d+ s$"
    ) as busy:
        await dispatch(now=lambda: now)
    assert busy.value.retry_after == timedelta(seconds=seconds)
    assert hub.runs == []


async def test_an_answer_that_breaks_off_after_the_dispatch_is_found_out_by_looking(
    hub: FakeGitHub, dispatch: Dispatch
) -> None:
    hub.answers(DISPATCH, CUT)
    assert await dispatch() == NOT_SAID


@pytest.mark.parametrize(
    ("conclusion", "status"),
    [
        ("success", RunStatus.SUCCESS),
        ("skipped", RunStatus.SUCCESS),
        ("neutral", RunStatus.SUCCESS),
        ("failure", RunStatus.FAILURE),
        ("cancelled", RunStatus.FAILURE),
        ("timed_out", RunStatus.FAILURE),
        ("action_required", RunStatus.FAILURE),
        ("stale", RunStatus.FAILURE),
        ("startup_failure", RunStatus.FAILURE),
    ],
)
async def test_the_run_ends_as_its_workflow_ends(
    hub: FakeGitHub, dispatch: Dispatch, conclusion: str, status: RunStatus
) -> None:
    receipt = await dispatch()
    about = reference(receipt.external_run_id, receipt.link)
    assert await looked_up(hub, about) is None
    hub.begin(hub.runs[0])
    assert await looked_up(hub, about) is None
    hub.conclude(hub.runs[0], conclusion)
    ended = await looked_up(hub, about)
    assert ended == backends.Receipt(status=status, log=(f"Workflow completed: {conclusion}",))


async def test_an_external_id_of_somebody_else_leaves_the_link(hub: FakeGitHub, dispatch: Dispatch) -> None:
    receipt = await dispatch()
    hub.conclude(hub.runs[0], "success")
    elsewhere = receipt.link[0].replace("infra", "other").replace("30433642", "1")
    ended = await looked_up(hub, reference("mine", ("https://ci.example.test", elsewhere, f"{receipt.link[0]}/job/5")))
    assert ended is not None
    assert ended.status is RunStatus.SUCCESS


async def test_a_workflow_run_that_github_does_not_tell_of_changes_nothing(hub: FakeGitHub) -> None:
    with pytest.raises(BackendRefused, match=r"^GitHub does not tell of workflow run 5: Not Found$"):
        await looked_up(hub, reference("gh_1_2_5"))
    hub.answers("/actions/runs/{run_id}", refusal(503, "Unavailable"))
    with pytest.raises(BackendUnavailable):
        await looked_up(hub, reference("gh_1_2_5"))


async def test_an_old_enterprise_server_names_no_run_and_it_is_found(enterprise: FakeGitHub, invoke: "Invoke") -> None:
    hub = enterprise
    receipt = await invoke(method(workflowInputs={"ref": "refs/heads/release/1"}), github=account(hub))
    assert receipt == NOT_SAID
    assert [sorted(asked.body) for asked in hub.operations(DISPATCH)] == [
        ["inputs", "ref", "return_run_details"],
        ["inputs", "ref"],
    ]
    inputs: dict[str, JsonValue] = {"workflowInputs": {"ref": "refs/heads/release/1"}}
    hub.invisible = True
    assert await looked_up(hub, reference(), inputs) is None
    hub.invisible = False
    found = await looked_up(hub, reference(), inputs, now=lambda: datetime.now(UTC))
    assert found == backends.Receipt(
        link=(hub.runs[0].link,),
        external_run_id=hub.runs[0].external_run_id,
        log=("The workflow run was found: the nearest in time that is nobody else's",),
    )
    [*_, asked] = hub.operations(LIST)
    assert (asked.query["branch"], asked.query["actor"], asked.query["event"]) == (
        "release/1", "octocat", "workflow_dispatch",
    )  # fmt: skip


async def test_the_run_that_names_ours_is_the_one_else_the_nearest_in_time(hub: FakeGitHub, dispatch: Dispatch) -> None:
    for _ in range(3):
        await dispatch()
    now = datetime.now(UTC)
    for run, seconds in zip(hub.runs, (50, 10, 30), strict=True):
        run.created_at = now - timedelta(seconds=seconds)
    nearest = await looked_up(hub, reference(seconds=10))
    hub.runs[2].title = f"Deploy for {RUN}"
    named = await looked_up(hub, reference(seconds=10))
    assert nearest
    assert named
    assert (nearest.external_run_id, named.external_run_id) == (
        hub.runs[1].external_run_id,
        hub.runs[2].external_run_id,
    )


async def test_a_workflow_run_that_names_another_run_is_not_ours(hub: FakeGitHub, dispatch: Dispatch) -> None:
    await dispatch()
    hub.runs[0].title = "Deploy r_fedcba9876543210"
    assert await looked_up(hub, reference()) is None
    with pytest.raises(BackendUnavailable, match="does not list"):
        await cancelled(hub, reference())
    assert "cannot be told" in str(await cancelled(hub, reference(minutes=11)))
    assert hub.runs[0].conclusion is None
    hub.runs[0].title = f"Deploy {RUN} for r_fedcba9876543210"
    assert await looked_up(hub, reference())


@pytest.mark.parametrize("said", [Said(502, b"<html>"), CUT, Said(raw=b"")])
async def test_nobodys_workflow_run_is_taken_while_github_does_not_say_who_we_are(
    hub: FakeGitHub, dispatch: Dispatch, said: Said
) -> None:
    await dispatch()
    hub.runs[0].actor = "somebody"
    for ask in (looked_up, cancelled):
        hub.answers("GET /user", said)
        with pytest.raises(BackendUnavailable):
            await ask(hub, reference())
    assert hub.runs[0].conclusion is None


async def test_runs_of_before_and_of_others_are_not_ours(hub: FakeGitHub, dispatch: Dispatch) -> None:
    await dispatch()
    await dispatch()
    hub.runs[0].created_at = datetime.now(UTC) - timedelta(minutes=5)
    hub.runs[1].actor = "somebody"
    assert await looked_up(hub, reference()) is None
    hub.runs[1].actor = "octocat"
    assert await looked_up(hub, reference())


async def test_a_workflow_run_belongs_to_one_run_only(hub: FakeGitHub, dispatch: Dispatch) -> None:
    await dispatch()
    await dispatch()
    now = datetime.now(UTC)
    for run, seconds in zip(hub.runs, (10, 20), strict=True):
        run.created_at = now - timedelta(seconds=seconds)
    others = Remembered({hub.runs[0].external_run_id: "r_fedcba9876543210"})
    for _ in range(2):
        found = await looked_up(hub, reference(seconds=10), reservations=others)
        assert found
        assert found.external_run_id == hub.runs[1].external_run_id
    others.owners[hub.runs[1].external_run_id] = "r_0000000000000000"
    assert await looked_up(hub, reference(seconds=10), reservations=others) is None


async def test_two_that_are_looked_for_at_once_find_two(hub: FakeGitHub, dispatch: Dispatch) -> None:
    await dispatch()
    await dispatch()
    method_ = backends.parse_rendered(method())
    now = datetime.now(UTC)
    both = [backends.Reference(f"r_{letter * 16}", now) for letter in "ab"]
    shared = Remembered()
    both_using = using(hub, reservations=shared, now=soon)
    found = await asyncio.gather(*(method_.look_up(one, both_using) for one in both))
    assert {one.external_run_id for one in found if one} == {run.external_run_id for run in hub.runs}


async def test_a_run_that_never_comes_fails_in_the_end(hub: FakeGitHub) -> None:
    assert await looked_up(hub, reference(minutes=9)) is None
    ended = await looked_up(hub, reference(minutes=10))
    assert ended
    assert (ended.status, ended.summary) == (
        RunStatus.FAILURE,
        "Error dispatching workflow: GitHub has not said which workflow run it is, "
        "and none came of it within 10 minutes",
    )
    assert await looked_up(hub, reference(minutes=10), {"reportWorkflowStatus": False}) is None


async def test_how_long_is_looked_is_a_setting(hub: FakeGitHub, dispatch: Dispatch) -> None:
    patient: dict[str, Any] = {"github": account(hub, patience=timedelta(seconds=90)), "now": lambda: datetime.now(UTC)}
    hub.answers(DISPATCH, Said(502, b""))
    [line] = (await dispatch(**patient)).log
    assert "its workflow run is looked for, 90 s at most" in line
    assert await looked_up(hub, reference(seconds=80), **patient) is None
    ended = await looked_up(hub, reference(seconds=91), **patient)
    assert ended
    assert str(ended.summary).endswith("and none came of it within 90 s")
    noted = Remembered(begun={RUN: datetime.now(UTC) - timedelta(seconds=91)})
    with pytest.raises(BackendRefused, match="within 90 s"):
        await dispatch(reservations=noted, **patient)


async def test_a_token_that_is_no_persons_looks_without_an_actor(hub: FakeGitHub, dispatch: Dispatch) -> None:
    await dispatch()
    hub.answers("GET /user", refusal(403, "Resource not accessible by integration"))
    assert await looked_up(hub, reference())
    assert "actor" not in hub.operations(LIST)[0].query


async def test_cancelling_reaches_the_workflow_run(hub: FakeGitHub, dispatch: Dispatch) -> None:
    receipt = await dispatch()
    about = reference(receipt.external_run_id)
    assert await cancelled(hub, about) == "GitHub was asked to cancel workflow run 30433642"
    assert hub.runs[0].conclusion == "cancelled"
    assert await cancelled(hub, about) == (
        "GitHub did not cancel workflow run 30433642: Cannot cancel a workflow run that is completed."
    )
    with pytest.raises(BackendRefused, match=r"^Error cancelling workflow: Not Found$"):
        await cancelled(hub, reference("gh_1_2_5"))


@pytest.mark.parametrize("said", [Said(502, b"<html>"), Said(raw=b""), CUT])
async def test_a_cancellation_that_got_no_answer_may_be_said_again(
    hub: FakeGitHub, dispatch: Dispatch, said: Said
) -> None:
    receipt = await dispatch()
    hub.answers("/cancel", said)
    with pytest.raises(BackendUnavailable, match=r"^Error cancelling workflow: "):
        await cancelled(hub, reference(receipt.external_run_id))


async def test_cancelling_finds_the_workflow_run_that_github_has_not_named(hub: FakeGitHub, dispatch: Dispatch) -> None:
    with pytest.raises(BackendUnavailable, match=r"^Error cancelling workflow: GitHub does not list .* yet$"):
        await cancelled(hub, reference())
    assert "cannot be told" in str(await cancelled(hub, reference(minutes=11)))
    await dispatch()
    assert await cancelled(hub, reference()) == "GitHub was asked to cancel workflow run 30433642"
    assert hub.runs[0].conclusion == "cancelled"


async def test_of_several_workflow_runs_only_one_that_names_the_run_is_cancelled(
    hub: FakeGitHub, dispatch: Dispatch
) -> None:
    await dispatch()
    await dispatch()
    assert "cannot be told" in str(await cancelled(hub, reference()))
    hub.runs[0].title = f"Deploy ({RUN})"
    assert await cancelled(hub, reference()) == f"GitHub was asked to cancel workflow run {hub.runs[0].id}"
    assert [run.conclusion for run in hub.runs] == ["cancelled", None]


async def test_what_a_dead_worker_has_dispatched_is_found_and_not_dispatched_again(
    hub: FakeGitHub, dispatch: Dispatch
) -> None:
    noted = Remembered()
    await dispatch(reservations=noted)
    hub.invisible = True
    with pytest.raises(BackendBusy, match="is looked for") as busy:
        await dispatch(reservations=noted)
    assert busy.value.retry_after == timedelta(seconds=2)
    hub.invisible = False
    receipt = await dispatch(reservations=noted, now=soon)
    assert (receipt.external_run_id, receipt.look_up_after) == (hub.runs[0].external_run_id, timedelta(seconds=15))
    assert receipt.log == (
        "A worker died while it dispatched the workflow. It was not dispatched again, its run was found",
    )
    assert len(hub.operations(DISPATCH)) == 1


async def test_what_a_dead_worker_has_not_dispatched_fails_in_the_end(hub: FakeGitHub, dispatch: Dispatch) -> None:
    noted = Remembered(begun={RUN: datetime.now(UTC) - timedelta(minutes=11)})
    with pytest.raises(BackendRefused, match=r"^Error dispatching workflow: a worker died .* within 10 minutes$"):
        await dispatch(reservations=noted)
    assert hub.operations(DISPATCH) == []


@pytest.mark.parametrize(
    "said", [refusal(422, "No ref found"), refusal(429, "Slow down"), refusal(403, "secondary rate limit"), Said(404)]
)
async def test_what_github_refused_may_be_dispatched_again(hub: FakeGitHub, dispatch: Dispatch, said: Said) -> None:
    noted = Remembered()
    hub.answers(DISPATCH, said)
    with pytest.raises(BackendFault):
        await dispatch(reservations=noted)
    assert (await dispatch(reservations=noted)).external_run_id == hub.runs[0].external_run_id


async def test_what_a_dead_worker_has_dispatched_is_asked_for_until_the_search_is_over(
    hub: FakeGitHub, dispatch: Dispatch
) -> None:
    began = datetime.now(UTC)
    noted, at = Remembered(begun={RUN: began}), began + timedelta(milliseconds=50)
    refusals = 0
    while at - began < timedelta(minutes=10):
        with pytest.raises(BackendBusy) as busy:
            await dispatch(reservations=noted, now=lambda: at)  # noqa: B023 - it is called at once
        at += busy.value.retry_after
        refusals += 1
    with pytest.raises(BackendRefused, match="no workflow run came of it within 10 minutes"):
        await dispatch(reservations=noted, now=lambda: at)
    assert refusals < 20, "as often as a backend may say that it is busy"


async def test_an_app_asks_for_a_token_that_can_only_do_this_and_keeps_it(hub: FakeGitHub, dispatch: Dispatch) -> None:
    for _ in range(3):
        await dispatch(github=app(hub))
    assert [run.actor for run in hub.runs] == ["octoapp[bot]"] * 3
    assert [asked.path for asked in hub.operations("/installation")] == ["/repos/acme/infra/installation"]
    [asked] = hub.operations("/access_tokens")
    assert (asked.path, asked.body) == (
        "/app/installations/77/access_tokens",
        {"permissions": {"actions": "write", "metadata": "read"}},
    )


async def test_an_app_that_lists_is_its_bot(hub: FakeGitHub, dispatch: Dispatch) -> None:
    await dispatch(github=app(hub))
    assert await looked_up(hub, reference(), github=app(hub))
    assert hub.operations(LIST)[0].query["actor"] == "octoapp[bot]"


async def test_a_token_of_an_app_is_renewed_before_it_ends(hub: FakeGitHub, dispatch: Dispatch) -> None:
    began, issued = datetime.now(UTC), list[int]()
    for minutes in (0, 58, 59.5):
        hub.now = partial(began.__add__, timedelta(minutes=minutes))
        await dispatch(github=app(hub), now=hub.now)
        issued.append(len(hub.issued))
    assert issued == [1, 1, 2]


async def test_a_token_of_an_app_that_is_refused_is_renewed_once(hub: FakeGitHub, dispatch: Dispatch) -> None:
    await dispatch(github=app(hub))
    hub.revoked = set(hub.issued)
    assert (await dispatch(github=app(hub))).external_run_id
    assert (len(hub.issued), len(hub.runs)) == (2, 2)
    hub.answers("GET /repos/{owner}/{repo}", refusal(401, "Bad credentials"), refusal(401, "Bad credentials"))
    with pytest.raises(BackendRefused, match=r"^Error dispatching workflow: Bad credentials$"):
        await dispatch(github=app(hub))


async def test_an_app_that_github_does_not_know_is_told_in_words(hub: FakeGitHub, dispatch: Dispatch) -> None:
    with pytest.raises(BackendRefused, match=r"workflow: GitHub does not accept the App: 'Issuer' claim"):
        await dispatch(github=app(hub, app_id="1"))
    hub.installed = False
    with pytest.raises(BackendRefused, match=r"workflow: the GitHub App is not installed for acme/infra$"):
        await dispatch(github=app(hub))
    for key in ("", "no key", "-----BEGIN RSA PRIVATE KEY-----\nno\n-----END RSA PRIVATE KEY-----"):
        with pytest.raises(BackendRefused, match=r"(the private key of the GitHub App cannot be read|no credentials)"):
            await dispatch(github=GitHubAccount(api_url=hub.url, app_id=APP_ID, app_private_key=key))
    hub.installed = True
    hub.answers("/access_tokens", refusal(422, "The permissions requested are not granted to this installation."))
    with pytest.raises(BackendRefused, match=r"no token for the App: The permissions requested are not granted"):
        await dispatch(github=app(hub))
    hub.answers("/installation", refusal(403, "You have exceeded a secondary rate limit", Retry_After="5"))
    with pytest.raises(BackendBusy):
        await dispatch(github=app(hub))


async def test_the_secret_of_the_organization_comes_first_then_the_token_then_the_app(
    hub: FakeGitHub, dispatch: Dispatch
) -> None:
    secrets = {"GITHUB_TOKEN": "of the organization", "OTHER": "another"}

    async def secret(name: str) -> str | None:
        return secrets.get(name)

    for known, chosen in (
        ({"secret": secret}, "of the organization"),
        ({"secret": secret, "github": account(hub, token_secret="OTHER")}, "another"),
        ({"secret": secret, "github": account(hub, token_secret="NONE", app_id=APP_ID)}, TOKEN),
    ):
        hub.token = chosen
        await dispatch(**known)
        assert hub.asked[-1].headers["authorization"] == f"Bearer {chosen}"


async def test_without_credentials_a_run_says_what_is_missing(hub: FakeGitHub, dispatch: Dispatch) -> None:
    with pytest.raises(BackendRefused) as fault:
        await dispatch(github=account(hub, token=None))
    assert str(fault.value) == (
        "Error dispatching workflow: no credentials for GitHub: save the organization secret GITHUB_TOKEN, "
        "or configure INTERLOCK_GITHUB_TOKEN, or a GitHub App"
    )
    assert hub.asked == []


async def test_no_credentials_are_shown(hub: FakeGitHub) -> None:
    shown = repr(using(hub, github=app(hub)))
    assert APP_ID in shown, "the search can find what is there"
    assert "PRIVATE KEY" not in shown + repr(using(hub))
    assert TOKEN not in repr(using(hub))
