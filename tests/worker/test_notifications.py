"""Approvers are told of runs that wait for them: by which channel, how often, what they read, and what they do not."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from starlette.responses import JSONResponse, Response
from temporalio.testing import WorkflowEnvironment

from activities.mailer import Mailer
from domain.jq import Evaluator
from domain.notifications import Undelivered
from domain.signatures import verify
from domain.smtp import SmtpServer, mailbox
from store.users import by_email, replace
from tests.support.backend import Call
from tests.support.mail import FakeMailbox
from tests.support.product import Product, running

Json = dict[str, Any]
ADA, BOB = "ada@example.com", "bob@example.com"
INPUTS: Json = {"env": {"type": "string"}, "key": {"type": "string", "encryption": "aes256-gcm"}}


@asynccontextmanager
async def with_mail(
    clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str, url: str
) -> AsyncIterator[Product]:
    """The product with an SMTP server."""
    sender = "Interlock <interlock@example.com>"
    async with running(clock, evaluate, sqlite_url, smtp_url=url, smtp_from=sender) as product:
        yield product


@pytest.fixture
async def mails() -> AsyncIterator[FakeMailbox]:
    """An SMTP server."""
    async with FakeMailbox() as mails:
        yield mails


@pytest.fixture
async def mailing(
    clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str, mails: FakeMailbox
) -> AsyncIterator[Product]:
    """The product with that server."""
    async with with_mail(clock, evaluate, sqlite_url, mails.url) as product:
        yield product


async def asked_for(product: Product, *people: str, notification: Json | None = None, **more: Any) -> Json:
    """A run that waits for these people, who are made."""
    for email in people:
        await product.person(email)
    if notification:
        more["approvalNotification"] = notification
    await product.action(inputs=INPUTS, requiredApproval=True, **more)
    answer = await product.api.patch(
        "/v1/actions/deploy/permissions", json={"approve": {"users": list(people), "roles": []}}
    )
    assert answer.status_code == 200, answer.text
    return await product.start(properties={"env": "prod", "key": "hunter2"})


def by_webhook(product: Product, format: str | None = None) -> Json:
    """A notification that goes to our backend."""
    return {"type": "webhook", "url": f"{product.backend.url}/asked"} | ({"format": format} if format else {})


async def logged(product: Product, run_id: str, text: str) -> list[str]:
    """The run's log, once a line holds the text."""
    async with asyncio.timeout(20):
        while text not in "\n".join(lines := await product.logs(run_id)):
            await asyncio.sleep(0.02)
    return lines


def answers(*statuses: int) -> Callable[[Call], Awaitable[Response]]:
    """A receiver that answers these, the last of them for ever."""
    left = list(statuses)

    async def answer(_: Call) -> Response:
        return JSONResponse({}, left.pop(0) if len(left) > 1 else left[0])

    return answer


async def later(product: Product, clock: WorkflowEnvironment, run_id: str, text: str) -> list[str]:
    """The same as `logged`, while the time between attempts is skipped."""
    async with asyncio.timeout(20):
        while text not in "\n".join(lines := await product.logs(run_id)):
            await clock.sleep(10)
    return lines


async def test_each_approver_gets_an_email_of_their_own(mailing: Product, mails: FakeMailbox) -> None:
    run = await asked_for(mailing, ADA, BOB)
    lines = await logged(mailing, run["id"], "told")
    assert lines == [f"Approvers were told by email: {ADA}, {BOB}"]
    assert sorted(mails.recipients) == [[ADA], [BOB]]
    assert mails.connections == 1
    for letter, (to,) in zip(mails.letters, mails.recipients, strict=True):
        assert letter["To"] == to
        assert letter["From"] == "Interlock <interlock@example.com>"
        assert letter["Subject"].strip() == f"Approval needed: Deploy, requested by {mailing.organization.client_id}"
        assert letter["Message-ID"].endswith("@example.com>")
        text, page = (part.get_content() for part in letter.iter_parts())
        for content in (text, page):
            assert f"http://interlock.test/approvals/{run['id']}" in content
            assert "prod" in content
            assert "hunter2" not in content
            assert str(run["properties"]["key"]) not in content
    assert len({letter["Message-ID"] for letter in mails.letters}) == 2


async def test_who_was_asked_is_on_the_run_and_in_the_audit_log(mailing: Product, mails: FakeMailbox) -> None:
    run = await asked_for(mailing, ADA)
    await logged(mailing, run["id"], "told")
    (asked,) = (await mailing.get(run["id"]))["interlock"]["asked"]
    told = {"userIds": run["interlock"]["approvers"], "channel": "email", "message": "request"}
    assert asked == {**told, "at": asked["at"]}
    audits = (await mailing.api.get(f"/v1/audit-log?run_id={run['id']}")).json()["audits"]
    (record,) = [record for record in audits if record["action"] == "UPDATE"]
    assert record["diff"]["after"]["updatedBy"] == "interlock"
    assert record["diff"]["before"]["interlock"]["asked"] == []
    assert record["diff"]["after"]["interlock"]["asked"] == [asked]
    assert (await mailing.get(run["id"]))["status"] == "WAITING_FOR_APPROVAL"


async def test_what_people_write_is_no_markup_and_no_header(mailing: Product, mails: FakeMailbox) -> None:
    await mailing.person(ADA)
    await mailing.action(
        title="Deploy\r\nBcc: eve@example.com <script>", inputs=INPUTS, requiredApproval={"type": "ANY"}
    )
    await mailing.api.patch("/v1/actions/deploy/permissions", json={"approve": {"users": [ADA], "roles": []}})
    run = await mailing.start(properties={"env": "<img src=x>\r\n.\r\nQUIT", "key": "x"})
    await logged(mailing, run["id"], "told")
    ((to,),) = mails.recipients
    (letter,) = mails.letters
    assert to == ADA
    assert letter["Bcc"] is None
    assert letter["Subject"].startswith("Approval needed: Deploy Bcc: eve@example.com <script>")
    text, page = (part.get_content() for part in letter.iter_parts())
    assert "&lt;img src=x&gt; . QUIT" in page
    assert "<img" not in page
    assert "<script>" not in page
    assert "<img src=x> . QUIT" in text


async def test_only_who_was_not_reached_is_told_again(
    mailing: Product, mails: FakeMailbox, clock: WorkflowEnvironment
) -> None:
    busy = [True, True]
    mails.answer = lambda address: "451 come again" if address == BOB and busy and busy.pop() else "250 OK"
    run = await asked_for(mailing, ADA, BOB)
    lines = await later(mailing, clock, run["id"], f"told by email: {BOB}")
    assert mails.recipients == [[ADA], [BOB]]
    why = "the SMTP server answered 451 come again"
    assert lines == [
        f"Approvers were told by email: {ADA}",
        f"Approvers could not be told by email, attempt 1 of 3, it is tried again: {why}",
        f"Approvers could not be told by email, attempt 2 of 3, it is tried again: {why}",
        f"Approvers were told by email: {BOB}",
    ]


async def test_an_address_that_does_not_exist_is_said_once_and_not_tried_again(
    mailing: Product, mails: FakeMailbox
) -> None:
    mails.answer = lambda address: "550 no such user" if address == ADA else "250 OK"
    run = await asked_for(mailing, ADA, BOB)
    lines = await logged(mailing, run["id"], "were told")
    assert lines == [
        f"{ADA} could not be told by email: the SMTP server answered 550 no such user",
        f"Approvers were told by email: {BOB}",
    ]


async def test_an_smtp_server_that_is_down_does_not_hold_up_the_run(
    clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str
) -> None:
    async with FakeMailbox() as gone:
        url = gone.url
    async with with_mail(clock, evaluate, sqlite_url, url) as product:
        run = await asked_for(product, ADA)
        lines = await later(product, clock, run["id"], "given up")
        assert len(lines) == 3
        assert "attempt 3 of 3, given up: the SMTP server cannot be used" in lines[-1]
        await product.api.patch(f"/v1/actions/runs/{run['id']}/approval", json={"status": "APPROVE"})
        assert (await product.until(run["id"]))["status"] == "SUCCESS"


async def test_a_run_decided_while_an_email_is_sent_keeps_that_it_was_and_goes_on(
    mailing: Product, mails: FakeMailbox
) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        arrived.set()
        await go_on.wait()

    mails.arrived = hold
    run = await asked_for(mailing, ADA)
    async with asyncio.timeout(10):
        await arrived.wait()
    await mailing.api.patch(f"/v1/actions/runs/{run['id']}/approval", json={"status": "DECLINE"})
    assert (await mailing.until(run["id"]))["status"] == "DECLINED"
    await mailing.temporal.get_workflow_handle(run["id"]).result()
    go_on.set()
    assert await logged(mailing, run["id"], "told") == [f"Approvers were told by email: {ADA}"]
    assert (await mailing.get(run["id"]))["interlock"]["asked"] == [], "a run that has ended does not change"


async def test_who_is_not_active_gets_no_email(mailing: Product, mails: FakeMailbox) -> None:
    await mailing.person(ADA)
    async with mailing.database.write() as session:
        ada = await by_email(session, ADA)
        await replace(session, ada, ada.model_copy(update={"status": "DISABLED"}), by="test", origin="API")
    await mailing.action(requiredApproval=True)
    await mailing.api.patch("/v1/actions/deploy/permissions", json={"approve": {"users": [ADA], "roles": []}})
    run = await mailing.start()
    assert await logged(mailing, run["id"], "Nobody is told") == [
        "Nobody can approve this run: the approve lists name nobody: only the organization's credentials can approve",
        "Nobody is told by email: no active person may approve",
    ]
    assert not mails.letters


async def test_many_approvers_are_told_over_few_connections(mailing: Product, mails: FakeMailbox) -> None:
    people = [f"user{n:02}@example.com" for n in range(25)]
    run = await asked_for(mailing, *people)
    async with asyncio.timeout(20):
        while len(mails.letters) < 25:
            await asyncio.sleep(0.02)
    await logged(mailing, run["id"], people[-1])
    assert mails.connections == 2
    asked = (await mailing.get(run["id"]))["interlock"]["asked"]
    assert [len(one["userIds"]) for one in asked] == [20, 5]
    assert sorted(to for (to,) in mails.recipients) == people


async def test_without_an_smtp_server_the_log_says_so_once(product: Product) -> None:
    run = await asked_for(product, ADA)
    line = "Nobody is told by email: INTERLOCK_SMTP_URL is not set"
    assert await logged(product, run["id"], "Nobody") == [line]
    await product.api.patch(f"/v1/actions/runs/{run['id']}/approval", json={"status": "APPROVE"})
    assert (await product.until(run["id"]))["status"] == "SUCCESS"
    assert await product.logs(run["id"]) == [line]


async def test_a_webhook_is_told_once_signed_and_without_secrets(product: Product) -> None:
    run = await asked_for(product, ADA, notification=by_webhook(product))
    assert await logged(product, run["id"], "told") == ["Approvers were told by the webhook at 127.0.0.1"]
    (call,) = product.backend.calls
    assert (call.method, call.path) == ("POST", "/asked")
    assert verify(product.organization.client_secret, call.body, call.headers, datetime.now(UTC))
    assert call.headers["idempotency-key"] == f"{run['id']}:approval"
    told = call.json
    assert (told["type"], told["run"]["id"], told["inputs"]) == (
        "APPROVAL_REQUEST",
        run["id"],
        {"env": "prod", "key": "********"},
    )
    assert str(run["properties"]["key"]) not in call.body.decode()
    (asked,) = (await product.get(run["id"]))["interlock"]["asked"]
    assert (asked["channel"], asked["userIds"]) == ("webhook", run["interlock"]["approvers"])


async def test_slack_is_told_in_its_words(product: Product) -> None:
    run = await asked_for(product, ADA, notification=by_webhook(product, "slack"))
    await logged(product, run["id"], "told")
    (call,) = product.backend.calls
    assert set(call.json) == {"text", "blocks"}
    assert f"http://interlock.test/approvals/{run['id']}" in call.body.decode()


async def test_a_webhook_that_is_out_of_order_is_told_later(product: Product, clock: WorkflowEnvironment) -> None:
    product.backend.answer = answers(503, 429, 200)
    run = await asked_for(product, ADA, notification=by_webhook(product))
    lines = await later(product, clock, run["id"], "were told")
    assert [line.partition(": ")[2] for line in lines[:2]] == ["the receiver answered 503", "the receiver answered 429"]
    assert len(product.backend.calls) == 3
    assert len({call.headers["idempotency-key"] for call in product.backend.calls}) == 1


@pytest.mark.parametrize("status", [302, 404])
async def test_a_webhook_that_refuses_is_not_asked_again(product: Product, status: int) -> None:
    product.backend.answer = answers(status)
    run = await asked_for(product, ADA, notification=by_webhook(product))
    lines = await logged(product, run["id"], "could not")
    assert lines == [f"Approvers could not be told by the webhook at 127.0.0.1: the receiver answered {status}"]
    assert len(product.backend.calls) == 1


async def test_a_decision_ends_the_attempts(product: Product, clock: WorkflowEnvironment) -> None:
    product.backend.answer = answers(503)
    run = await asked_for(product, ADA, notification=by_webhook(product))
    await logged(product, run["id"], "attempt 1")
    await product.api.patch(f"/v1/actions/runs/{run['id']}/approval", json={"status": "DECLINE"})
    await product.temporal.get_workflow_handle(run["id"]).result()
    await clock.sleep(600)
    assert len(product.backend.calls) == 1


async def test_addresses_that_are_never_called_are_not_told_either(
    clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str
) -> None:
    async with running(clock, evaluate, sqlite_url, never_destinations="127.0.0.0/8") as product:
        run = await asked_for(product, ADA, notification=by_webhook(product))
        (line,) = await logged(product, run["id"], "could not")
        assert line.startswith("Approvers could not be told by the webhook at 127.0.0.1: ")
        assert not product.backend.calls


@pytest.fixture
def certificate(tmp_path: Path) -> ssl.SSLContext:
    """A server's certificate that it made itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1))
    pem = made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    file = tmp_path / "server.pem"
    file.write_bytes(pem + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def letter(to: str = ADA) -> EmailMessage:
    """A small email."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "i@example.com", to, "x"
    message.set_content("x")
    return message


def mailer(url: str, **how: Any) -> Mailer:
    """The way to a server."""
    return Mailer(SmtpServer.parse(url), mailbox("i@example.com"), **how)


async def test_a_password_is_not_sent_without_tls(mails: FakeMailbox) -> None:
    mails.password = "hunter2"
    url = f"smtp://bot:hunter2@127.0.0.1:{mails.port}"
    (outcome,) = await mailer(url).send([letter()])
    assert isinstance(outcome, Undelivered)
    assert not outcome.final
    assert "STARTTLS" in outcome.cause
    assert await mailer(f"{url}?starttls=never").send([letter()]) == [None]


async def test_a_wrong_password_is_no_fault_of_the_emails(mails: FakeMailbox) -> None:
    mails.password = "hunter2"
    outcomes = await mailer(f"smtp://bot:hunter3@127.0.0.1:{mails.port}?starttls=never").send([letter(), letter(BOB)])
    assert all(outcome and not outcome.final and " 535 " in outcome.cause for outcome in outcomes)
    assert "hunter" not in str(outcomes)


async def test_a_server_that_leaves_off_has_taken_what_it_said_it_has(mails: FakeMailbox) -> None:
    mails.answer = lambda address: "421 going down" if address == BOB else "250 OK"
    first, second = await mailer(mails.url).send([letter(ADA), letter(BOB)])
    assert first is None
    assert second
    assert not second.final


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    mails: FakeMailbox, certificate: ssl.SSLContext
) -> None:
    mails.tls = certificate
    (outcome,) = await mailer(f"{mails.url}?starttls=always").send([letter()])
    assert outcome
    assert "certificate" in outcome.cause.lower()
    assert not mails.letters


async def test_a_server_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        hurried = mailer(f"smtp://127.0.0.1:{port}", answers_within=timedelta(seconds=0.2))
        (outcome,) = await hurried.send([letter()])
    assert outcome == Undelivered("the SMTP server did not answer in time", final=False)
