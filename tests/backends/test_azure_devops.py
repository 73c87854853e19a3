"""Azure DevOps: what is posted is signed as incoming webhooks want it, and what a build says decides its run."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from pydantic import JsonValue

import backends
from backends._accounts import AzureDevOpsAccount
from backends.base import Remembered, Unconfirmed
from domain.errors import BackendBusy, BackendFault, BackendRefused, BackendUnavailable, InvalidInvocation
from domain.runs import RunStatus
from tests.backends.conftest import SECRET
from tests.support.azure_devops import PROJECT, SIGN_IN, TOKEN, FakeAzureDevOps, Webhook, azure_devops, fault
from tests.support.listening import Said, listening
from tests.support.processes import free_ports

if TYPE_CHECKING:
    from tests.backends.conftest import Authority, Invoke

RUN = "r_0123456789abcdef"
NOW = datetime(2026, 5, 1, tzinfo=UTC)
CUT = Said(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{")


@pytest.fixture
async def azure() -> AsyncIterator[FakeAzureDevOps]:
    async with azure_devops(webhook=Webhook(secret=SECRET)) as azure:
        yield azure


def method(**fields: JsonValue) -> dict[str, JsonValue]:
    return {"type": "AZURE_DEVOPS", "org": "acme", "webhook": "port_trigger", **fields}


def account(azure: FakeAzureDevOps, **more: Any) -> AzureDevOpsAccount:
    return AzureDevOpsAccount(url=azure.url, **{"token": TOKEN, **more})


def way_out() -> httpx.AsyncBaseTransport:
    return backends.open_transport(roots())


@cache
def roots() -> ssl.SSLContext:
    """What a transport has by default; read once, as it takes longer than most tests."""
    return httpx.create_ssl_context()


Trigger = Callable[..., Awaitable[backends.Receipt]]


@pytest.fixture
def trigger(azure: FakeAzureDevOps, invoke: "Invoke") -> Trigger:
    async def trigger(document: dict[str, JsonValue] | None = None, **more: Any) -> backends.Receipt:
        return await invoke(document or method(), **{"azure_devops": account(azure), "http": way_out(), **more})

    return trigger


def using(azure: FakeAzureDevOps, **more: Any) -> backends.Resources:
    said = {"signing_secret": SECRET, "azure_devops": account(azure), "http": way_out(), **more}
    return backends.Resources(**said)


def reference(external: str | None = None, *link: str) -> backends.Reference:
    return backends.Reference(RUN, datetime.now(UTC), external, link)


async def looked_up(azure: FakeAzureDevOps, about: backends.Reference, **more: Any) -> backends.Receipt | None:
    return await backends.parse_rendered(method()).look_up(about, using(azure, **more))


async def cancelled(azure: FakeAzureDevOps, about: backends.Reference, **more: Any) -> str | None:
    return await backends.parse_rendered(method()).cancel(about, using(azure, **more))


async def test_the_payload_is_posted_and_signed(azure: FakeAzureDevOps, trigger: Trigger) -> None:
    payload: dict[str, JsonValue] = {"name": "küche", "n": 5.0, "port_context": {"runId": RUN}}
    receipt = await trigger(method(payload=payload), now=lambda: NOW)
    assert receipt == backends.Receipt(look_up_after=timedelta(seconds=15))
    [build] = azure.builds
    assert build.payload == payload
    [asked] = azure.asked
    assert asked.path == "/acme/_apis/public/distributedtask/webhooks/port_trigger"
    assert asked.headers["x-port-signature"].startswith("sha1=")
    assert asked.headers["x-port-timestamp"] == str(int(NOW.timestamp()))


async def test_a_signature_that_anybody_can_compute_again(azure: FakeAzureDevOps, trigger: Trigger) -> None:
    azure.webhook.secret = "key"
    await trigger(method(payload={"a": "é"}), azure_devops=account(azure, signing_key="key"))
    # printf '{"a":"é"}' | openssl dgst -sha1 -hmac key
    assert azure.asked[0].headers["x-port-signature"] == "sha1=defcf5a8fe2708c1548f6e368b74f2ff01da987f"


async def test_without_a_payload_it_is_the_message_of_before(azure: FakeAzureDevOps, trigger: Trigger) -> None:
    await trigger()
    await trigger(default_body="empty")
    await trigger(method(payload={}))
    await trigger(method(payload=[1]))
    assert [build.payload for build in azure.builds] == [{"action": "legacy", "trägt": [1]}, {}, {}, [1]]


async def test_the_form_and_the_header_of_the_signature_can_be_told(azure: FakeAzureDevOps, trigger: Trigger) -> None:
    azure.webhook = Webhook(secret="theirs", header="X-Hub-Signature", written="hex")
    said = {"signing_key": "theirs", "signature_header": "X-Hub-Signature", "signature_format": "hex"}
    await trigger(azure_devops=account(azure, **said))
    assert len(azure.builds) == 1
    assert "x-port-signature" not in azure.asked[0].headers


async def test_the_organizations_secret_signs_before_anything_else(azure: FakeAzureDevOps, trigger: Trigger) -> None:
    azure.webhook.secret = "of the organization"

    async def secret(name: str) -> str | None:
        return {"AZURE_DEVOPS_SIGNING_KEY": "of the organization\n"}.get(name)

    await trigger(secret=secret, azure_devops=account(azure, signing_key="of the deployment"))
    assert len(azure.builds) == 1


async def test_without_a_token_nothing_is_looked_up(azure: FakeAzureDevOps, trigger: Trigger) -> None:
    without = account(azure, token=None)
    receipt = await trigger(azure_devops=without)
    assert receipt == backends.Receipt()
    about = reference(azure.builds[0].external_run_id)
    assert await looked_up(azure, about, azure_devops=without) is None
    assert await cancelled(azure, about, azure_devops=without) is None
    assert len(azure.asked) == 1


async def test_a_server_has_something_before_the_collection(invoke: "Invoke") -> None:
    async with azure_devops(below="/tfs", webhook=Webhook(secret=SECRET)) as azure:
        await invoke(method(), azure_devops=account(azure), http=way_out())
        assert len(azure.builds) == 1


async def test_a_name_never_leads_to_another_place(azure: FakeAzureDevOps, trigger: Trigger) -> None:
    azure.org, azure.webhook.name = "ac/me", "../x?y#z"
    await trigger(method(org="ac/me", webhook="../x?y#z"))
    assert azure.asked[0].path == "/ac%2Fme/_apis/public/distributedtask/webhooks/..%2Fx%3Fy%23z"
    assert len(azure.builds) == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"org": ""}, "invocationMethod.org: '' is no name"),
        ({"webhook": ".."}, "invocationMethod.webhook: '..' is no name"),
        ({"payload": "text"}, "invocationMethod.payload: must be an object or an array once it is rendered"),
        ({"payload": None}, "invocationMethod.payload: must be an object or an array"),
    ],
)
def test_what_cannot_be_sent_is_refused_once_it_is_rendered(fields: dict[str, JsonValue], words: str) -> None:
    with pytest.raises(InvalidInvocation, match=words):
        backends.parse_rendered(method(**fields))


def test_what_is_masked_is_left_for_later() -> None:
    assert backends.parse_rendered(method(payload="********")).type == "AZURE_DEVOPS"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"webhook": "gone"}, "No web hook found with name gone"),
        ({"org": "gone"}, "status code 404"),
    ],
)
async def test_what_is_not_there_fails_the_run(
    azure: FakeAzureDevOps, trigger: Trigger, fields: dict[str, JsonValue], words: str
) -> None:
    with pytest.raises(BackendRefused) as refused:
        await trigger(method(**fields))
    assert str(refused.value) == f"Error triggering pipeline: {words}"
    assert azure.builds == []


async def test_another_secret_fails_the_run(azure: FakeAzureDevOps, trigger: Trigger) -> None:
    with pytest.raises(BackendRefused, match="does not match its signature"):
        await trigger(azure_devops=account(azure, signing_key="another"))
    azure.webhook.header = "X-Other"
    with pytest.raises(BackendRefused, match="RequiredHeaderSignatureNotFound"):
        await trigger()
    assert azure.builds == []


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (fault("The request is invalid.", 400), "The request is invalid."),
        (Said(401, SIGN_IN), "Azure DevOps wants somebody to sign in (status code 401)"),
        (Said(203, SIGN_IN), "Azure DevOps wants somebody to sign in (status code 203)"),
        (Said(302, b"", {"Location": "/_signin"}), "Azure DevOps wants somebody to sign in (status code 302)"),
        (Said(404, b"<html>no</html>"), "status code 404"),
        (fault("TF400733: The request has been cancelled."), "TF400733: The request has been cancelled."),
        (
            Said(307, b"", {"Location": "http://169.254.169.254/"}),
            "Azure DevOps wants somebody to sign in (status code 307)",
        ),
    ],
)
async def test_a_no_is_final(azure: FakeAzureDevOps, trigger: Trigger, said: Said, words: str) -> None:
    azure.scripted.append(said)
    with pytest.raises(BackendFault) as refused:
        await trigger()
    assert (type(refused.value), str(refused.value)) == (BackendRefused, f"Error triggering pipeline: {words}")
    assert len(azure.asked) == 1


PERHAPS = "Azure DevOps may have started pipelines all the same; the webhook is not called again"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (Said(500, b"<html>no</html>"), "status code 500"),
        (Said(500, {"message": "no"}), "no"),
        (Said(502, b"<html>no</html>"), "status code 502"),
        (fault("The gateway lost its server.", 502), "The gateway lost its server."),
        (Said(503, b""), "status code 503"),
        (Said(504, b""), "status code 504"),
        (Said(303, b"", {"Location": "/x"}), "Azure DevOps wants somebody to sign in (status code 303)"),
        (Said(raw=b""), "the connection was cut before the answer was complete"),
        (Said(raw=b"not HTTP\r\n\r\n"), "the answer is not valid HTTP"),
        (Said(200, pause=2), "no answer within 1 s"),
    ],
)
async def test_what_may_have_started_something_is_never_sent_again(
    azure: FakeAzureDevOps, trigger: Trigger, said: Said, words: str
) -> None:
    noted = Remembered()
    azure.scripted.append(said)
    with pytest.raises(Unconfirmed) as refused:
        await trigger(timeout=timedelta(seconds=1), reservations=noted)
    assert str(refused.value).removesuffix(f". {PERHAPS}") == f"Error triggering pipeline: {words}".removesuffix(".")
    with pytest.raises(BackendRefused, match=r"may have started pipelines; the webhook is not called again$"):
        await trigger(reservations=noted)
    assert len(azure.asked) == 1


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (fault("TF400733", 429, Retry_After="7"), 7),
        (fault("TF400733", 503, Retry_After="7"), 7),
        (fault("TF400733", 429), 60),
    ],
)
async def test_limits_say_when_to_try_again(azure: FakeAzureDevOps, trigger: Trigger, said: Said, seconds: int) -> None:
    azure.scripted.append(said)
    with pytest.raises(BackendBusy, match=r"^Error triggering pipeline: 127.0.0.1 allows no more requests") as busy:
        await trigger()
    assert busy.value.retry_after == timedelta(seconds=seconds)


async def test_what_was_not_reached_may_be_tried_again(azure: FakeAzureDevOps, trigger: Trigger) -> None:
    [port] = free_ports(1)
    nobody = AzureDevOpsAccount(url=f"http://127.0.0.1:{port}")
    with pytest.raises(BackendUnavailable, match=r"^Error triggering pipeline: .*refused"):
        await trigger(azure_devops=nobody)


async def test_what_a_dead_worker_may_have_started_is_not_started_again(
    azure: FakeAzureDevOps, trigger: Trigger
) -> None:
    noted = Remembered()
    azure.scripted += [Said(raw=b"")]
    with pytest.raises(BackendRefused, match="cut"):
        await trigger(reservations=noted)
    with pytest.raises(BackendRefused, match=r"^Error triggering pipeline: a worker died .* not called again$"):
        await trigger(reservations=noted)
    assert len(azure.asked) == 1


@pytest.mark.parametrize("said", [fault("Busy", 429), fault("No web hook found"), Said(503, b"", {"Retry-After": "1"})])
async def test_what_azure_devops_refused_may_be_posted_again(
    azure: FakeAzureDevOps, trigger: Trigger, said: Said
) -> None:
    noted = Remembered()
    azure.scripted.append(said)
    with pytest.raises(BackendFault):
        await trigger(reservations=noted)
    await trigger(reservations=noted)
    assert len(azure.builds) == 1


async def test_an_answer_that_breaks_off_was_one(azure: FakeAzureDevOps, trigger: Trigger) -> None:
    azure.scripted.append(CUT)
    assert (await trigger()).status is None


@pytest.mark.parametrize(
    ("result", "status"),
    [
        ("succeeded", RunStatus.SUCCESS),
        ("partiallySucceeded", RunStatus.FAILURE),
        ("failed", RunStatus.FAILURE),
        ("canceled", RunStatus.FAILURE),
    ],
)
async def test_a_run_ends_as_its_build_ends(
    azure: FakeAzureDevOps, trigger: Trigger, result: str, status: RunStatus
) -> None:
    await trigger()
    [build] = azure.builds
    about = reference(build.external_run_id)
    assert await looked_up(azure, about) is None
    azure.conclude(build, result)
    receipt = await looked_up(azure, about)
    assert receipt == backends.Receipt(
        status=status, log=(f"Pipeline completed: {result}",), external_run_id=build.external_run_id
    )
    assert azure.asked[-1].path == f"/acme/{PROJECT}/_apis/build/builds/{build.id}"


async def test_a_build_that_is_known_by_its_link_is_known_by_its_id_from_then_on(
    azure: FakeAzureDevOps, trigger: Trigger
) -> None:
    await trigger()
    [build] = azure.builds
    link = f"https://dev.azure.com/acme/My%20Web/_build/results?buildId={build.id}&view=results"
    about = reference("mine", "https://example.com", link)
    assert await looked_up(azure, about) == backends.Receipt(external_run_id=build.external_run_id)
    assert azure.asked[-1].path == f"/acme/My%20Web/_apis/build/builds/{build.id}"


async def test_a_build_that_nobody_has_named_is_not_asked_about(azure: FakeAzureDevOps) -> None:
    for about in (reference(), reference("gh_1_2_3"), reference(None, "https://dev.azure.com/acme/web/_build")):
        assert await looked_up(azure, about) is None
        assert await cancelled(azure, about) is None
    assert azure.asked == []


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        (Said(401, SIGN_IN), BackendRefused, "Azure DevOps wants somebody to sign in (status code 401)"),
        (Said(203, SIGN_IN), BackendRefused, "Azure DevOps wants somebody to sign in (status code 203)"),
        (fault(f"what is {TOKEN}", 400), BackendRefused, "what is ********"),
        (fault("The build could not be found.", 404), BackendRefused, "The build could not be found."),
        (fault("Server Error", 500), BackendUnavailable, "Server Error"),
        (Said(200, SIGN_IN), BackendRefused, "the answer is none of its API"),
        (CUT, BackendUnavailable, "the connection was cut before the answer was complete"),
        (Said(raw=b""), BackendUnavailable, "the connection was cut before the answer was complete"),
        (fault("later", 429, Retry_After="7"), BackendBusy, "127.0.0.1 allows no more requests for 7 s"),
    ],
)
async def test_a_look_up_in_vain_says_why(
    azure: FakeAzureDevOps, said: Said, kind: type[BackendFault], words: str
) -> None:
    azure.scripted.append(said)
    with pytest.raises(BackendFault) as why:
        await looked_up(azure, reference(f"ado_{PROJECT}_12_345"))
    assert type(why.value) is kind
    assert str(why.value).endswith(words)


PRIVATE = "127.0.0.1 leads to a private address, and this deployment does not call private addresses"


async def test_what_never_can_be_called_is_final_at_once(azure: FakeAzureDevOps, trigger: Trigger) -> None:
    noted = Remembered()
    with pytest.raises(BackendFault) as refused:
        await trigger(allow_private=False, reservations=noted)
    assert (type(refused.value), str(refused.value)) == (BackendRefused, f"Error triggering pipeline: {PRIVATE}")
    assert (azure.asked, noted.begun) == ([], {})


async def test_a_build_that_never_can_be_asked_about_says_why(azure: FakeAzureDevOps, trigger: Trigger) -> None:
    await trigger()
    about = reference(azure.builds[0].external_run_id)
    for ask, prefix in ((looked_up, ""), (cancelled, "Error cancelling pipeline: ")):
        with pytest.raises(BackendFault) as why:
            await ask(azure, about, allow_private=False)
        assert (type(why.value), str(why.value)) == (BackendRefused, prefix + PRIVATE)
    assert len(azure.asked) == 1


async def test_a_certificate_that_does_not_verify_is_final_and_changes_nothing_about_what_was_started(
    authority: "Authority", invoke: "Invoke"
) -> None:
    words = "the certificate of 127.0.0.1 does not verify: "
    trusting = backends.open_transport(authority.client())
    azure = FakeAzureDevOps(webhook=Webhook(secret=SECRET))
    async with listening(azure, authority.listener()):
        secure = AzureDevOpsAccount(url=azure.url.replace("http:", "https:"), token=TOKEN)
        with pytest.raises(BackendFault) as refused:
            await invoke(method(), azure_devops=secure, http=way_out())
        assert type(refused.value) is BackendRefused
        assert str(refused.value).startswith(f"Error triggering pipeline: {words}")

        await invoke(method(), azure_devops=secure, http=trusting)
        azure.conclude(azure.builds[0], "succeeded")
        about = reference(azure.builds[0].external_run_id)
        for ask, prefix in ((looked_up, ""), (cancelled, "Error cancelling pipeline: ")):
            with pytest.raises(BackendFault) as refused:
                await ask(
                    azure, about, azure_devops=secure
                )  # the run goes on, and it is asked again; a cancellation is not said again
            assert type(refused.value) is BackendRefused
            assert str(refused.value).startswith(prefix + words)
        ended = await looked_up(azure, about, azure_devops=secure, http=trusting)
        assert ended
        assert ended.status is RunStatus.SUCCESS


async def test_the_answer_about_another_build_does_not_count(azure: FakeAzureDevOps, trigger: Trigger) -> None:
    await trigger()
    azure.conclude(azure.builds[0], "succeeded")
    azure.scripted.append(Said(200, azure.document(azure.builds[0])))
    with pytest.raises(BackendRefused, match="does not tell of build 9"):
        await looked_up(azure, reference(f"ado_{PROJECT}_12_9"))


async def test_the_organizations_token_comes_first_and_entras_are_bearers(
    azure: FakeAzureDevOps, trigger: Trigger
) -> None:
    await trigger()
    azure.token = "eyJ0.eyJh.c2ln"

    async def secret(name: str) -> str | None:
        return {"AZURE_DEVOPS_TOKEN": "eyJ0.eyJh.c2ln"}.get(name)

    assert await looked_up(azure, reference(azure.builds[0].external_run_id), secret=secret) is None
    assert azure.asked[-1].headers["authorization"] == "Bearer eyJ0.eyJh.c2ln"


async def test_a_build_is_cancelled(azure: FakeAzureDevOps, trigger: Trigger) -> None:
    await trigger()
    [build] = azure.builds
    about = reference(build.external_run_id)
    assert await cancelled(azure, about) == f"Azure DevOps was asked to cancel build {build.id}"
    assert build.status == "cancelling"
    assert await looked_up(azure, about) is None, "it goes on until it has ended"
    azure.conclude(build, "canceled")
    told = await cancelled(azure, about)
    assert told == f"Azure DevOps did not cancel build {build.id}: it has ended already (canceled)"
    assert [asked.method for asked in azure.asked] == ["POST", "GET", "PATCH", "GET", "GET"]


async def test_a_build_that_cannot_be_cancelled_says_why(azure: FakeAzureDevOps, trigger: Trigger) -> None:
    await trigger()
    build = Said(200, azure.document(azure.builds[0]))
    azure.scripted += [build, fault("TF215106: Access denied.", 403)]
    with pytest.raises(BackendRefused, match=r"^Error cancelling pipeline: TF215106: Access denied\.$"):
        await cancelled(azure, reference(azure.builds[0].external_run_id))
