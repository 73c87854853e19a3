"""GitLab: what is sent is what GitLab takes, and what GitLab says decides the run."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from pydantic import JsonValue

import backends
from backends._accounts import GitLabAccount
from backends.base import Remembered, Unconfirmed
from domain.errors import BackendBusy, BackendFault, BackendRefused, BackendUnavailable, InvalidInvocation
from domain.runs import RunStatus
from tests.support.gitlab import TOKEN, TRIGGER, FakeGitLab, Project, gitlab, refusal, throttled
from tests.support.listening import Said, listening
from tests.support.port_agent import order_of_run

if TYPE_CHECKING:
    from tests.backends.conftest import Authority

RUN = "r_0123456789abcdef"
SECRET = "0123456789abcdef0123456789abcdef"
PROJECT = "GET /projects/:id"
START = "POST /projects/:id/pipeline"
TRIGGERED = "POST /projects/:id/trigger/pipeline"
LIST = "GET /projects/:id/pipelines"
PIPELINE = "GET /projects/:id/pipelines/:pipeline_id"
VARIABLES = "GET /projects/:id/pipelines/:pipeline_id/variables"
CANCEL = "POST /projects/:id/pipelines/:pipeline_id/cancel"
OURS = "Failed to trigger pipeline: "
MISSING = (
    "no credentials for GitLab: save the organization secret GITLAB_TOKEN, or acme_platform_infra with a trigger token "
    "of the project, or configure INTERLOCK_GITLAB_TOKEN"
)
NAMES_ITSELF: dict[str, JsonValue] = {"pipelineVariables": {"RUN_ID": RUN}}

Json = dict[str, Any]
Start = Callable[..., Awaitable[backends.Receipt]]


@pytest.fixture
async def lab() -> AsyncIterator[FakeGitLab]:
    async with gitlab() as lab:
        yield lab


@cache
def roots() -> ssl.SSLContext:
    """What a transport has by default; read once, as it takes longer than most tests."""
    return httpx.create_ssl_context()


def method(**fields: JsonValue) -> dict[str, JsonValue]:
    return {"type": "GITLAB", "groupName": "acme/platform", "projectName": "infra", **fields}


def using(lab: FakeGitLab, secrets: dict[str, str] | None = None, **more: Any) -> backends.Resources:
    async def secret(name: str) -> str | None:
        return (secrets or {}).get(name)

    account = GitLabAccount(url=lab.url, token=TOKEN)
    http = backends.open_transport(roots())
    return backends.Resources(
        **{"signing_secret": SECRET, "gitlab": account, "http": http, "secret": secret, "organization": "org_1", **more}
    )


def tokenless(lab: FakeGitLab) -> GitLabAccount:
    return GitLabAccount(url=lab.url)


def message(**inputs: JsonValue) -> dict[str, JsonValue]:
    said: dict[str, JsonValue] = {"entity": None, "action": {"trigger": "CREATE"}, "properties": inputs}
    return {"action": "deploy", "context": {"runId": RUN, "entity": None}, "payload": said}


def reference(external: str | None = "61", link: tuple[str, ...] = (), **ago: float) -> backends.Reference:
    return backends.Reference(RUN, datetime.now(UTC) - timedelta(**ago), external, link)


async def looked_up(
    lab: FakeGitLab, about: backends.Reference, fields: dict[str, JsonValue] | None = None, **more: Any
) -> backends.Receipt | None:
    return await backends.parse_rendered(method(**fields or {})).look_up(about, using(lab, **more))


async def cancelled(lab: FakeGitLab, about: backends.Reference, **more: Any) -> str | None:
    return await backends.parse_rendered(method()).cancel(about, using(lab, **more))


@pytest.fixture
def start(lab: FakeGitLab) -> Start:
    async def start(document: Json | None = None, inputs: Json | None = None, **more: Any) -> backends.Receipt:
        delivery = backends.Delivery(RUN, message(**inputs or {}), "deploy")
        return await backends.parse_rendered(document or method()).invoke(delivery, using(lab, **more))

    return start


# Starting a pipeline.


async def test_a_pipeline_is_started_with_its_variables_as_texts(lab: FakeGitLab, start: Start) -> None:
    variables: Json = {"SERVICE": "ü", "A": 5.0, "B": True, "C": None, "D": [1], "E": {"a": "b"}, "F": ""}
    receipt = await start(method(defaultRef="release/1", pipelineVariables=variables))
    [pipeline] = lab.pipelines
    assert receipt == backends.Receipt(link=(pipeline.link,), external_run_id="61", look_up_after=timedelta(seconds=15))
    assert pipeline.ref == "release/1"
    assert pipeline.variables == {
        "SERVICE": "ü", "A": "5", "B": "true", "C": "null", "D": "[1]", "E": '{"a":"b"}', "F": "",
    }  # fmt: skip
    [asked] = lab.operations(START)
    assert asked.path == "/api/v4/projects/acme%2Fplatform%2Finfra/pipeline"
    assert asked.headers["authorization"] == f"Bearer {TOKEN}"


async def test_without_variables_the_inputs_are_sent(lab: FakeGitLab, start: Start) -> None:
    await start(inputs={"service": "cart", "replicas": 2})
    await start(method(pipelineVariables={}), inputs={"service": "cart"})
    assert [pipeline.variables for pipeline in lab.pipelines] == [{"service": "cart", "replicas": "2"}, {}]
    assert "variables" not in lab.operations(START)[1].body


@pytest.mark.parametrize(
    ("fields", "inputs", "ref"),
    [
        ({"defaultRef": "main", "pipelineVariables": {"ref": "v1"}}, {"ref": "release/1"}, "v1"),
        ({"defaultRef": "main", "pipelineVariables": {"A": "b"}}, {"ref": "release/1"}, "release/1"),
        ({"defaultRef": "main"}, {"ref": "release/1"}, "release/1"),
        ({"defaultRef": "main", "pipelineVariables": {"ref": None}}, {"ref": ""}, "main"),
        ({"defaultRef": "main", "pipelineVariables": {"ref": False}}, {}, "main"),
        ({}, {}, "trunk"),
        ({"defaultRef": ""}, {}, "trunk"),
        ({"defaultRef": None, "pipelineVariables": None}, {}, "trunk"),
    ],
)
async def test_the_ref_is_the_one_that_is_asked_for_then_the_default_then_the_projects(
    lab: FakeGitLab, start: Start, fields: Json, inputs: Json, ref: str
) -> None:
    await start(method(**fields), inputs=inputs)
    assert lab.pipelines[0].ref == ref


async def test_a_project_without_a_default_branch_has_main(lab: FakeGitLab, start: Start) -> None:
    lab.projects[0].default_branch = None
    await start()
    assert lab.pipelines[0].ref == "main"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"groupName": ""}, "invocationMethod.groupName: '' is no name"),
        ({"groupName": "acme//infra"}, "invocationMethod.groupName: '' is no name"),
        ({"groupName": "acme/../other"}, "invocationMethod.groupName: '..' is no name"),
        ({"projectName": "."}, "invocationMethod.projectName: '.' is no name"),
        ({"projectName": 5}, "projectName"),
        ({"pipelineVariables": {"ref": 5}}, "pipelineVariables.ref: must be the name of a branch or tag"),
        ({"pipelineVariables": "text"}, "pipelineVariables"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_once_it_is_rendered(fields: dict[str, JsonValue], words: str) -> None:
    with pytest.raises(InvalidInvocation, match=words):
        backends.parse_rendered(method(**fields))


async def test_an_input_that_is_no_ref_is_refused_in_words(lab: FakeGitLab, start: Start) -> None:
    with pytest.raises(BackendRefused, match=rf"^{OURS}ref: must be the name of a branch or tag$"):
        await start(inputs={"ref": {"identifier": "x"}})
    assert lab.asked == []


async def test_a_name_never_leads_to_another_place(lab: FakeGitLab, start: Start) -> None:
    lab.projects.append(Project("ac me/in?fra#1/x%2fy"))
    await start(method(groupName="ac me/in?fra#1", projectName="x%2fy"))
    assert lab.operations(START)[0].path == "/api/v4/projects/ac%20me%2Fin%3Ffra%231%2Fx%252fy/pipeline"


async def test_a_gitlab_below_a_path_is_spoken_to_there() -> None:
    async with gitlab(root="/gitlab") as below:
        delivery = backends.Delivery(RUN, message())
        receipt = await backends.parse_rendered(method()).invoke(delivery, using(below))
        assert receipt.external_run_id == "61"


# What GitLab refuses.


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"projectName": "gone"}, "404 Project Not Found"),
        ({"defaultRef": "gone"}, "Reference not found"),
        (
            {"pipelineVariables": {"not-a-key": "x"}},
            "variables.key can contain only letters, digits and '_'.",
        ),
    ],
)
async def test_what_gitlab_refuses_fails_the_run_in_gitlabs_words(
    lab: FakeGitLab, start: Start, fields: Json, words: str
) -> None:
    with pytest.raises(BackendRefused) as fault:
        await start(method(**fields))
    assert str(fault.value) == OURS + words
    assert lab.pipelines == []


async def test_a_project_that_lets_nobody_set_variables_says_so(lab: FakeGitLab, start: Start) -> None:
    lab.projects[0].restricted = True
    with pytest.raises(BackendRefused, match=rf"^{OURS}Insufficient permissions to set pipeline variables$"):
        await start(inputs={"A": "b"})
    assert (await start()).external_run_id


async def test_a_project_that_was_moved_says_so(lab: FakeGitLab, start: Start) -> None:
    lab.projects[0].moved = True
    with pytest.raises(BackendRefused, match=rf"^{OURS}Non GET methods are not allowed for moved projects$"):
        await start()
    lab.answers(PROJECT, Said(301, {"message": "301 Moved Permanently"}, {"Location": f"{lab.url}/api/v4/projects/15"}))
    with pytest.raises(BackendRefused, match=r"301 Moved Permanently \(redirects are not followed: write the present"):
        await start()


INVALID_TOKEN = {"error": "invalid_token", "error_description": "Token was revoked. You have to re-authorize."}
SCOPE = {"error": "insufficient_scope", "error_description": "The request requires higher privileges.", "scope": "api"}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (refusal(401, "401 Unauthorized"), "401 Unauthorized"),
        (Said(401, INVALID_TOKEN), "invalid_token: Token was revoked. You have to re-authorize."),
        (Said(403, SCOPE), "insufficient_scope: The request requires higher privileges."),
        (refusal(403, "403 Forbidden"), "403 Forbidden"),
        (refusal(404, "404 Not Found"), "404 Not Found"),
        (Said(400, {"error": "ref is missing"}), "ref is missing"),
        (refusal(400, {"base": ["Missing CI config file", "x"], "ref": [{"a": 1}]}),
         'Missing CI config file, x; ref {"a":1}'),
        (refusal(400, ["a", "b"]), "a, b"),
        (refusal(400, f"what is {TOKEN}"), "what is ********"),
        (Said(200, b"<html>Sign in</html>"), "the answer tells of no pipeline; is INTERLOCK_GITLAB_URL the address of "
         "GitLab?"),
    ],
)  # fmt: skip
async def test_a_no_is_final(lab: FakeGitLab, start: Start, said: Said, words: str) -> None:
    lab.answers(START, said)
    with pytest.raises(BackendFault) as fault:
        await start(method(**NAMES_ITSELF))
    assert (type(fault.value), str(fault.value)) == (BackendRefused, OURS + words)
    assert len(lab.operations(START)) == 1


FOUND = "The pipeline was found: it has the id of this run among its variables"
WHICH = "it did not say which one it has started: "
CUT = "the connection was cut before the answer was complete"
UNCONFIRMED = [
    (refusal(500, "500 Internal Server Error"), "500 Internal Server Error"),
    (Said(502, b"<html>GitLab is not responding</html>"), "status code 502"),
    (Said(503, b""), "status code 503"),
    (Said(504, b""), "status code 504"),
    (Said(303, b"", {"Location": "/x"}), "status code 303 (redirects are not followed: write the present path"),
    (Said(raw=b""), CUT),
    (Said(raw=b"HTTP/1.1 201 Created\r\n", pause=2), "no answer within 1 s"),
    (Said(raw=b"HTTP/1.1 201 Created\r\nContent-Length: 99\r\n\r\n{\"id\":6"), WHICH + CUT),
    (Said(201, b""), WHICH + "its answer is none of its API"),
    *((Said(201, {"id": odd, "status": "created"}), WHICH + "its answer is none of its API")
      for odd in ("61", True, -61, 0, 10**30, None)),
    (Said(201, [{"id": 61, "status": "created"}]), WHICH + "its answer is none of its API"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "words"), UNCONFIRMED)
async def test_a_start_that_may_have_worked_is_never_sent_again(
    lab: FakeGitLab, start: Start, said: Said, words: str
) -> None:
    kept = Remembered()
    lab.answers(START, said)
    with pytest.raises(Unconfirmed) as fault:
        await start(timeout=timedelta(seconds=1), reservations=kept)
    assert str(fault.value).startswith(OURS + words)
    assert str(fault.value).endswith(". GitLab may have started it all the same; it is not started again")
    with pytest.raises(BackendRefused, match="may have started it; it is not started again"):
        await start(reservations=kept)
    assert len(lab.operations(START)) == 1


@pytest.mark.parametrize(("said", "words"), UNCONFIRMED)
async def test_what_gitlab_has_not_confirmed_is_looked_for(
    lab: FakeGitLab, start: Start, said: Said, words: str
) -> None:
    lab.answers(START, replace(said, after_all=True))
    receipt = await start(method(**NAMES_ITSELF), timeout=timedelta(seconds=1))
    assert (receipt.status, receipt.external_run_id, receipt.look_up_after) == (None, None, timedelta(seconds=2))
    assert receipt.log[0].startswith(f"GitLab did not confirm the pipeline: {words}")
    found = await looked_up(lab, reference(None), NAMES_ITSELF)
    assert found == backends.Receipt(link=(lab.pipelines[0].link,), external_run_id="61", log=(FOUND,))
    assert len(lab.operations(START)) == 1


@pytest.mark.parametrize("odd", ["javascript:alert(1)", "//x", "", 7, None, "https://x.test/" + "x" * 3000])
async def test_a_page_that_no_browser_should_open_is_no_link(lab: FakeGitLab, start: Start, odd: Any) -> None:
    lab.answers(START, Said(201, {"id": 61, "status": "created", "web_url": odd}))
    receipt = await start()
    assert (receipt.link, receipt.external_run_id) == ((), "61")


@pytest.mark.parametrize(
    "said", [refusal(502, "no"), Said(raw=b""), Said(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")]
)
async def test_what_fails_before_the_start_may_be_tried_again(lab: FakeGitLab, start: Start, said: Said) -> None:
    lab.answers(PROJECT, said)
    with pytest.raises(BackendUnavailable, match=rf"^{OURS}"):
        await start()
    assert lab.operations(START) == []
    assert (await start()).external_run_id


PRIVATE = "127.0.0.1 leads to a private address, and this deployment does not call private addresses"
NO_HEADER = "a header of the request holds a line break or control character"


async def test_what_never_can_be_asked_is_final_at_once(lab: FakeGitLab, start: Start) -> None:
    for secrets in ({}, {"acme_platform_infra": TRIGGER}):
        kept = Remembered()
        with pytest.raises(BackendFault) as fault:
            await start(allow_private=False, reservations=kept, secrets=secrets)
        assert (type(fault.value), str(fault.value)) == (BackendRefused, OURS + PRIVATE)
        assert (lab.asked, kept.begun) == ([], {})


async def test_a_token_that_no_header_can_hold_is_final_at_once(lab: FakeGitLab, start: Start) -> None:
    with pytest.raises(BackendFault) as fault:
        await start(gitlab=GitLabAccount(url=lab.url, token="two\nlines"))
    assert (type(fault.value), str(fault.value)) == (BackendRefused, OURS + NO_HEADER)


async def test_a_certificate_that_does_not_verify_is_final_and_changes_nothing_about_what_was_started(
    authority: "Authority",
) -> None:
    words = "the certificate of 127.0.0.1 does not verify: "
    lab = FakeGitLab()
    async with listening(lab, authority.listener()):
        secure: Json = {"gitlab": GitLabAccount(url=lab.url.replace("http:", "https:"), token=TOKEN)}
        trusting = {**secure, "http": backends.open_transport(authority.client())}
        starting, delivery = backends.parse_rendered(method()).invoke, backends.Delivery(RUN, message())
        with pytest.raises(BackendFault) as fault:
            await starting(delivery, using(lab, **secure))
        assert type(fault.value) is BackendRefused
        assert str(fault.value).startswith(OURS + words)

        assert (await starting(delivery, using(lab, **trusting))).external_run_id == "61"
        lab.pipelines[0].status = "success"
        for external, minutes in (("61", 0), (None, 0), (None, 6)):
            with pytest.raises(BackendRefused, match=f"^{words}"):
                await looked_up(
                    lab, reference(external, minutes=minutes), NAMES_ITSELF, **secure
                )  # so it is asked again
        with pytest.raises(BackendFault) as fault:
            await cancelled(lab, reference("61"), **secure)
        assert type(fault.value) is BackendRefused, "it is not told again and again"
        assert str(fault.value).startswith(f"Failed to cancel pipeline: {words}")
        ended = await looked_up(lab, reference("61"), **trusting)
        assert ended
        assert ended.status is RunStatus.SUCCESS


@pytest.mark.parametrize(
    ("operation", "said"),
    [(PROJECT, Said(404)), (PROJECT, Said(raw=b"")), (LIST, Said(403)), (LIST, Said(502)), ("", None)],
)
async def test_while_it_cannot_be_told_what_a_dead_worker_has_started_the_run_goes_on(
    lab: FakeGitLab, start: Start, operation: str, said: Said | None
) -> None:
    kept = Dying()
    document = method(**NAMES_ITSELF)
    assert (await start(document, reservations=kept)).external_run_id == "61"
    [since] = kept.begun.values()
    in_the_way: Json = {} if said else {"allow_private": False}
    for minutes, kind, words in (
        (1, BackendBusy, "cannot be told yet: "),
        (6, Unconfirmed, "is not started again, and"),
    ):
        if said:
            lab.answers(operation, said)
        at = partial(since.__add__, timedelta(minutes=minutes))
        with pytest.raises(BackendFault, match=rf"^{OURS}a worker died meanwhile, .*{words}") as fault:
            await start(document, reservations=kept, now=at, **in_the_way)
        assert type(fault.value) is kind
    with pytest.raises(Unconfirmed, match="is not started again"):  # which pipeline it is could never be told
        await start(reservations=kept, allow_private=False)
    assert (await start(document, reservations=kept)).external_run_id == "61"
    assert len(lab.operations(START)) == 1


async def test_half_an_answer_names_the_pipeline(lab: FakeGitLab, start: Start) -> None:
    half = b'HTTP/1.1 201 Created\r\nContent-Length: 99\r\n\r\n{"id":61,"iid":'
    lab.answers(START, Said(raw=half, after_all=True))
    receipt = await start()
    assert receipt == backends.Receipt(external_run_id="61", look_up_after=timedelta(seconds=15))
    assert await looked_up(lab, reference("61")) == backends.Receipt(link=(lab.pipelines[0].link,))


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (throttled(1777593690), 90),
        (throttled(1777593690, Retry_After="7"), 7),
        (refusal(429, {"error": "This endpoint has been requested too many times. Try again later."}), 60),
        (refusal(400, {"base": ["Too many pipelines created in the last minute. Try again later."]}), 60),
    ],
)
async def test_rate_limits_say_when_to_try_again(lab: FakeGitLab, start: Start, said: Said, seconds: int) -> None:
    lab.answers(START, said)
    with pytest.raises(BackendBusy, match=rf"^{OURS}(127.0.0.1 allows no more requests|Too many pipelines)") as busy:
        await start(now=lambda: datetime.fromtimestamp(1777593600, UTC))
    assert busy.value.retry_after == timedelta(seconds=seconds)
    assert lab.pipelines == []


# A start that GitLab has not confirmed.

LOST = [
    Said(raw=b"", after_all=True),
    Said(raw=b"HTTP/1.1 201 Created\r\n", pause=1.5, after_all=True),
    Said(raw=b"HTTP/1.1 201 Created\r\nContent-Length: 99\r\n\r\n{", after_all=True),
]


@pytest.mark.parametrize("said", LOST)
async def test_a_pipeline_that_has_the_id_of_its_run_is_found_and_not_started_again(
    lab: FakeGitLab, start: Start, said: Said
) -> None:
    lab.begins(lab.projects[0], "main", {"RUN_ID": "r_ffffffffffffffff"})
    lab.answers(START, said)
    receipt = await start(method(**NAMES_ITSELF), timeout=timedelta(seconds=1))
    assert (receipt.status, receipt.external_run_id) == (None, None)
    assert receipt.look_up_after == timedelta(seconds=2)
    [line] = receipt.log
    assert line.startswith("GitLab did not ")
    assert line.endswith(
        ". It may have started it all the same, so it is looked for, 5 minutes at most, and not started again"
    )
    lab.begins(lab.projects[0], "main", {})
    found = await looked_up(lab, reference(None), NAMES_ITSELF)
    assert found == backends.Receipt(link=(lab.pipelines[1].link,), external_run_id="62", log=(FOUND,))
    assert len(lab.operations(START)) == 1


async def test_pipelines_of_others_and_of_before_are_not_ours(lab: FakeGitLab) -> None:
    project = lab.projects[0]
    lab.begins(project, "main", {"RUN_ID": RUN}).created_at -= timedelta(minutes=10)
    lab.begins(project, "main", {"RUN_ID": RUN}, source="parent_pipeline")
    lab.begins(project, "main", {"RUN_ID": "r_ffffffffffffffff"})
    assert await looked_up(lab, reference(None), NAMES_ITSELF) is None
    ours = lab.begins(project, "main", {"SAID": f'{{"run":"{RUN}"}}'})

    async def taken(_backend: str, external_run_id: str) -> bool:
        return external_run_id == str(ours.id)

    assert await looked_up(lab, reference(None), NAMES_ITSELF, taken=taken) is None
    found = await looked_up(lab, reference(None), NAMES_ITSELF)
    assert found
    assert found.external_run_id == str(ours.id)


async def test_a_pipeline_that_never_comes_fails_in_the_end(lab: FakeGitLab) -> None:
    assert await looked_up(lab, reference(None, minutes=4), NAMES_ITSELF) is None
    ended = await looked_up(lab, reference(None, minutes=5), NAMES_ITSELF)
    assert ended
    assert (ended.status, ended.summary) == (
        RunStatus.FAILURE,
        f"{OURS}GitLab did not confirm it, and no pipeline came of it within 5 minutes",
    )


async def test_how_long_is_looked_is_a_setting(lab: FakeGitLab) -> None:
    patient = {"gitlab": GitLabAccount(url=lab.url, token=TOKEN, patience=timedelta(minutes=1))}
    assert await looked_up(lab, reference(None, seconds=50), NAMES_ITSELF, **patient) is None
    ended = await looked_up(lab, reference(None, seconds=61), NAMES_ITSELF, **patient)
    assert ended
    assert str(ended.summary).endswith("no pipeline came of it within 1 minute")


async def test_a_list_that_gitlab_does_not_give_changes_nothing(lab: FakeGitLab) -> None:
    lab.answers(LIST, refusal(403, "403 Forbidden"), refusal(500, "500 Internal Server Error"))
    with pytest.raises(BackendRefused, match=r"^GitLab does not tell of the pipelines of acme/platform/infra: 403"):
        await looked_up(lab, reference(None, minutes=9), NAMES_ITSELF)
    with pytest.raises(BackendUnavailable):
        await looked_up(lab, reference(None, minutes=9), NAMES_ITSELF)


async def test_without_the_id_in_its_variables_nothing_is_looked_for(lab: FakeGitLab) -> None:
    assert await looked_up(lab, reference(None)) is None
    assert lab.asked == []


async def test_a_pipeline_that_is_not_known_yet_is_found_and_cancelled(lab: FakeGitLab) -> None:
    cancelling = backends.parse_rendered(method(**NAMES_ITSELF)).cancel
    with pytest.raises(BackendUnavailable, match=r"^Failed to cancel pipeline: GitLab does not list the pipeline yet$"):
        await cancelling(reference(None), using(lab))
    told = await cancelling(reference(None, minutes=5), using(lab))
    assert told == "GitLab was not asked to cancel anything: which pipeline it is cannot be told"
    lab.begins(lab.projects[0], "main", {"RUN_ID": RUN})
    assert await cancelling(reference(None), using(lab)) == "GitLab was asked to cancel pipeline 61"
    assert lab.pipelines[0].status == "canceled"


# A worker that dies while it starts one.


@dataclass
class Dying(Remembered):
    """Reservations that outlive workers, which die before they say what has come of what they began."""

    async def undo(self, run_id: str) -> None:
        raise AssertionError("what may have been started is not undone")


@pytest.mark.parametrize("secrets", [{}, {"acme_platform_infra": TRIGGER}])
async def test_after_a_worker_died_the_pipeline_is_found_and_not_started_again(
    lab: FakeGitLab, start: Start, secrets: dict[str, str]
) -> None:
    kept = Dying()
    document = method(**NAMES_ITSELF)
    assert (await start(document, reservations=kept, secrets=secrets)).external_run_id == "61"
    again = await start(document, reservations=kept, secrets=secrets)
    assert (again.external_run_id, again.link) == ("61", (lab.pipelines[0].link,))
    assert again.log == ("A worker died while it triggered the pipeline. It was not triggered again, it was found",)
    assert len(lab.pipelines) == 1


async def test_what_a_dead_worker_has_not_started_is_looked_for_and_then_given_up(
    lab: FakeGitLab, start: Start
) -> None:
    for minutes, kind, words in (
        (1, BackendBusy, "a worker died meanwhile, and what came of it is looked for"),
        (6, BackendRefused, "a worker died meanwhile, and no pipeline came of it within 5 minutes"),
    ):
        kept = Dying(begun={RUN: datetime.now(UTC) - timedelta(minutes=minutes)})
        with pytest.raises(BackendFault) as fault:
            await start(method(**NAMES_ITSELF), reservations=kept)
        assert (type(fault.value), str(fault.value)) == (kind, OURS + words)
    assert lab.operations(START) == []


@pytest.mark.parametrize("agent", [False, True])
async def test_what_cannot_be_told_from_others_is_not_started_again(lab: FakeGitLab, start: Start, agent: bool) -> None:
    kept, kafka = Dying(begun={RUN: datetime.now(UTC)}), Remembering()
    agents: Json = {"gitlab": tokenless(lab), "kafka": kafka, "streamer": _reads_topics} if agent else {}
    with pytest.raises(
        BackendRefused, match=rf"^{OURS}a worker died meanwhile, and .* it is not (told|started) again$"
    ):
        await start(reservations=kept, **agents)
    assert (lab.operations(START), kafka.taken) == ([], [])


@pytest.mark.parametrize(
    "said", [refusal(400, {"base": ["Reference not found"]}), throttled(0, Retry_After="1"), refusal(404, "no")]
)
async def test_what_gitlab_has_not_started_may_be_started_again(lab: FakeGitLab, start: Start, said: Said) -> None:
    kept = Remembered()
    lab.answers(START, said)
    with pytest.raises(BackendFault):
        await start(reservations=kept)
    assert kept.begun == {}
    assert (await start(reservations=kept)).external_run_id == "61"
    assert list(kept.begun) == [RUN]


# How it ends.


@pytest.mark.parametrize(
    ("gitlabs", "status"),
    [
        ("created", None),
        ("waiting_for_resource", None),
        ("preparing", None),
        ("waiting_for_callback", None),
        ("pending", None),
        ("running", None),
        ("canceling", None),
        ("manual", None),
        ("scheduled", None),
        ("something new", None),
        ("success", RunStatus.SUCCESS),
        ("failed", RunStatus.FAILURE),
        ("canceled", RunStatus.FAILURE),
        ("skipped", RunStatus.FAILURE),
    ],
)
async def test_the_run_ends_as_its_pipeline_ends(
    lab: FakeGitLab, start: Start, gitlabs: str, status: RunStatus | None
) -> None:
    receipt = await start()
    about = reference(receipt.external_run_id, receipt.link)
    lab.pipelines[0].status = gitlabs
    ended = backends.Receipt(status=status, log=(f"Pipeline completed: {gitlabs}",)) if status else None
    assert await looked_up(lab, about) == ended


async def test_a_link_to_another_pipeline_of_the_project_is_not_followed(lab: FakeGitLab, start: Start) -> None:
    receipt = await start()
    other = lab.begins(lab.projects[0], "main", {})
    other.status = "success"
    about = reference(receipt.external_run_id, (other.link, *receipt.link))
    assert await looked_up(lab, about) is None
    other.status = "running"
    assert await cancelled(lab, about) == "GitLab was asked to cancel pipeline 61"
    assert [one.status for one in lab.pipelines] == ["canceled", "running"]


async def test_a_link_says_which_pipeline_it_is_where_nothing_else_does(lab: FakeGitLab, start: Start) -> None:
    receipt = await start()
    lab.pipelines[0].status = "success"
    elsewhere = "https://gitlab.example.com/acme/other/-/pipelines/7"
    for external in ("mine", None):
        ended = await looked_up(lab, reference(external, ("https://ci.example.test", elsewhere, *receipt.link)))
        assert ended is not None
        assert ended.status is RunStatus.SUCCESS


async def test_a_pipeline_that_gitlab_does_not_tell_of_changes_nothing(lab: FakeGitLab) -> None:
    with pytest.raises(BackendRefused, match=r"^GitLab does not tell of pipeline 5: 404 Not found$"):
        await looked_up(lab, reference("5"))
    lab.answers(PIPELINE, refusal(503, "Unavailable"), throttled(0, Retry_After="9"), Said(200, b"<html>"))
    with pytest.raises(BackendUnavailable):
        await looked_up(lab, reference("5"))
    with pytest.raises(BackendBusy) as busy:
        await looked_up(lab, reference("5"))
    assert busy.value.retry_after == timedelta(seconds=9)
    with pytest.raises(BackendRefused, match="does not tell of pipeline 5: status code 200"):
        await looked_up(lab, reference("5"))


@pytest.mark.parametrize("said", [Said(502, b"<html>"), Said(raw=b"")])
async def test_a_cancellation_that_got_no_answer_may_be_said_again(lab: FakeGitLab, start: Start, said: Said) -> None:
    await start()
    lab.answers(CANCEL, said)
    with pytest.raises(BackendUnavailable, match=r"^Failed to cancel pipeline: "):
        await cancelled(lab, reference())


async def test_cancelling_reaches_the_pipeline(lab: FakeGitLab, start: Start) -> None:
    receipt = await start()
    about = reference(receipt.external_run_id)
    assert await cancelled(lab, about) == "GitLab was asked to cancel pipeline 61"
    assert lab.pipelines[0].status == "canceled"
    lab.pipelines[0].status = "success"
    assert await cancelled(lab, about) == "GitLab did not cancel pipeline 61: it had ended before (success)"
    nothing = "GitLab was not asked to cancel anything: which pipeline it is cannot be told"
    assert await cancelled(lab, reference(None)) == nothing
    with pytest.raises(BackendRefused, match=r"^Failed to cancel pipeline: 404 Not found$"):
        await cancelled(lab, reference("5"))
    lab.answers(CANCEL, refusal(403, "403 Forbidden"))
    with pytest.raises(BackendRefused, match=r"^Failed to cancel pipeline: 403 Forbidden$"):
        await cancelled(lab, about)


# Credentials.


async def test_the_secret_of_the_organization_comes_before_the_token(lab: FakeGitLab, start: Start) -> None:
    secrets = {"GITLAB_TOKEN": " of the organization\n", "OTHER": "another"}
    for secret, chosen in (("GITLAB_TOKEN", "of the organization"), ("OTHER", "another"), ("NONE", TOKEN)):
        lab.token = chosen
        await start(secrets=secrets, gitlab=GitLabAccount(url=lab.url, token=TOKEN, token_secret=secret))
        assert lab.asked[-1].headers["authorization"] == f"Bearer {chosen}"


async def test_without_credentials_a_run_says_what_is_missing(lab: FakeGitLab, start: Start) -> None:
    with pytest.raises(BackendRefused) as fault:
        await start(gitlab=tokenless(lab))
    assert str(fault.value) == OURS + MISSING
    assert await looked_up(lab, reference(), gitlab=tokenless(lab)) is None
    assert await cancelled(lab, reference(), gitlab=tokenless(lab)) is None
    assert lab.asked == []


async def test_no_credentials_are_shown(lab: FakeGitLab) -> None:
    shown = repr(using(lab))
    assert lab.url in shown, "the search can find what is there"
    assert TOKEN not in shown


TRIGGERS = {"acme_platform_infra": TRIGGER}


async def test_a_trigger_token_of_the_project_starts_it_as_the_agent_would(lab: FakeGitLab, start: Start) -> None:
    document = method(pipelineVariables={"ref": "v1", "A": 5})
    receipt = await start(document, secrets=TRIGGERS, gitlab=tokenless(lab))
    [pipeline] = lab.pipelines
    assert receipt == backends.Receipt(link=(pipeline.link,), external_run_id="61")
    assert (pipeline.ref, pipeline.variables, pipeline.source) == ("v1", {"ref": "v1", "A": "5"}, "trigger")
    assert pipeline.payload["port_payload"] == message()
    assert [asked.operation for asked in lab.asked] == [TRIGGERED]
    assert lab.asked[0].path == "/api/v4/projects/acme%2Fplatform%2Finfra/trigger/pipeline"


async def test_a_trigger_token_alone_runs_on_main(lab: FakeGitLab, start: Start) -> None:
    await start(secrets=TRIGGERS, gitlab=tokenless(lab))
    assert lab.pipelines[0].ref == "main"


async def test_a_trigger_token_starts_and_the_other_token_looks(lab: FakeGitLab, start: Start) -> None:
    receipt = await start(secrets=TRIGGERS)
    assert receipt.look_up_after == timedelta(seconds=15)
    assert (lab.pipelines[0].ref, lab.pipelines[0].source) == ("trunk", "trigger")
    lab.pipelines[0].status = "success"
    ended = await looked_up(lab, reference(receipt.external_run_id, receipt.link))
    assert ended
    assert ended.status is RunStatus.SUCCESS


async def test_a_trigger_token_that_is_wrong_is_not_shown(lab: FakeGitLab, start: Start) -> None:
    with pytest.raises(BackendRefused, match=rf"^{OURS}404 Not Found$"):
        await start(secrets={"acme_platform_infra": "glptt-other"})
    lab.answers(TRIGGERED, refusal(400, f"what is {TRIGGER}"), Said(raw=b"", after_all=True))
    with pytest.raises(BackendRefused, match=rf"^{OURS}what is \*+$"):
        await start(secrets=TRIGGERS)
    with pytest.raises(BackendRefused, match="the connection was cut"):
        await start(method(**NAMES_ITSELF), secrets=TRIGGERS, gitlab=tokenless(lab))
    assert len(lab.operations(TRIGGERED)) == 3


async def test_a_pipeline_that_was_triggered_and_not_confirmed_is_found(lab: FakeGitLab, start: Start) -> None:
    lab.answers(TRIGGERED, Said(raw=b"", after_all=True))
    assert (await start(method(**NAMES_ITSELF), secrets=TRIGGERS)).look_up_after == timedelta(seconds=2)
    found = await looked_up(lab, reference(None), NAMES_ITSELF, secrets=TRIGGERS)
    assert found == backends.Receipt(link=(lab.pipelines[0].link,), external_run_id="61", log=(FOUND,))


async def test_the_api_token_of_a_project_that_is_called_like_its_secret_is_no_trigger_token(
    lab: FakeGitLab, start: Start
) -> None:
    lab.projects.append(Project("GITLAB/TOKEN"))
    await start(method(groupName="GITLAB", projectName="TOKEN"), secrets={"GITLAB_TOKEN": TOKEN})
    assert lab.pipelines[0].source == "api"


# The execution agent.


@dataclass
class Remembering:
    """Takes messages, or fails as it is told to."""

    fault: BackendFault | None = None
    taken: list[bytes] = field(default_factory=list)

    async def publish(self, topic: str, message: bytes, *, key: str | None = None, headers: Any = None) -> None:
        assert (topic, key, headers["runId"]) == ("org_1.runs", RUN, RUN)
        if self.fault:
            raise self.fault
        self.taken.append(message)


async def _reads_topics() -> str:
    return "KAFKA"


@pytest.mark.parametrize(
    ("fields", "inputs", "said", "properties"),
    [
        ({"defaultRef": "main"}, {"ref": "dev", "SERVICE": "ä"}, {"defaultRef": "dev"}, {"ref": "dev", "SERVICE": "ä"}),
        (
            {"defaultRef": "main", "pipelineVariables": {"A": 5}},
            {"b": 1},
            {"defaultRef": "main", "pipelineVariables": {"A": 5}},
            {"A": 5},
        ),
        ({"pipelineVariables": {}}, {"ref": "dev"}, {"defaultRef": "dev", "pipelineVariables": {}}, {}),
        ({}, {}, {}, {}),
    ],
)
async def test_without_credentials_the_agent_that_reads_topics_starts_it(
    lab: FakeGitLab, start: Start, fields: Json, inputs: Json, said: Json, properties: Json
) -> None:
    kafka = Remembering()
    agents: Json = {"gitlab": tokenless(lab), "kafka": kafka, "streamer": _reads_topics}
    assert await start(method(**fields), inputs, **agents) == backends.Receipt()
    [published] = kafka.taken
    order = order_of_run(published, SECRET)
    assert order is not None, "the agent believes it"
    names = {"type": "GITLAB", "projectName": "infra", "groupName": "acme/platform", "agent": True}
    assert order.body["payload"]["action"]["invocationMethod"] == {**names, **said}
    assert order.body["payload"]["properties"] == properties
    assert order.run_id == RUN
    assert lab.asked == []
    assert await looked_up(lab, reference(), gitlab=tokenless(lab)) is None


async def test_credentials_of_ours_come_before_the_agent(lab: FakeGitLab, start: Start) -> None:
    kafka = Remembering()
    assert (await start(kafka=kafka, streamer=_reads_topics)).external_run_id == "61"
    assert kafka.taken == []


@pytest.mark.parametrize("fault", [Unconfirmed("nobody knows"), BackendUnavailable("no broker")])
async def test_what_becomes_of_the_message_decides(lab: FakeGitLab, start: Start, fault: BackendFault) -> None:
    agents: Json = {"gitlab": tokenless(lab), "kafka": Remembering(fault), "streamer": _reads_topics}
    with pytest.raises(type(fault), match=rf"^{OURS}{fault}$"):
        await start(**agents)


async def test_an_agent_that_polls_cannot_start_it(lab: FakeGitLab, start: Start) -> None:
    async def polls() -> str:
        return "POLLING"

    with pytest.raises(BackendRefused, match="no credentials for GitLab"):
        await start(gitlab=tokenless(lab), kafka=Remembering(), streamer=polls)
