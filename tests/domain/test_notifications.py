"""What approvers are told, and where emails are handed over."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.actions import Action
from domain.identifiers import ActionId, RunId
from domain.notifications import Request
from domain.runs import Driving, Ref, Run, RunStatus
from domain.smtp import SmtpServer, mailbox

AT = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
CIPHERTEXT = "AAECAwQFBgcICQoLDA0OD2xbwNyjhbSgJJaeMKCeNWxYQAfFZgFP"


def request(title: str = "Deploy", properties: dict[str, Any] | None = None, **values: Any) -> Request:
    """What approvers are told of a run."""
    definition: dict[str, Any] = {
        "identifier": "deploy",
        "trigger": {
            "type": "self-service",
            "operation": "CREATE",
            "userInputs": {
                "properties": {"env": {"type": "string"}, "key": {"type": "string", "encryption": "aes256-gcm"}},
                "required": [],
            },
        },
        "invocationMethod": {"type": "WEBHOOK", "url": "https://example.com"},
    }
    action = Action("action_1", ActionId("deploy"), 1, definition, AT, "user_1", AT, "user_1")
    given = {"env": "prod", "key": CIPHERTEXT} if properties is None else properties
    run = Run(
        id=RunId("r_0123456789abcdef"),
        status=RunStatus.WAITING_FOR_APPROVAL,
        action=Ref(identifier="deploy", title=title),
        properties=given,
        raw_properties=given,
        created_at=AT,
        created_by="user_1",
        updated_at=AT,
        updated_by="user_1",
        interlock=Driving(
            trigger={"by": {"user": {"email": "ada@example.com"}}}, approval_time_limit=timedelta(hours=4)
        ),
    ).model_copy(update=values)
    return Request.about(run, action, public_url="https://interlock.example.com")


def test_a_webhook_gets_the_run_without_what_is_ours_and_without_secrets() -> None:
    message = request(entity=Ref(identifier="cart", title="Cart")).as_json()
    assert {key: value for key, value in message.items() if key != "run"} == {
        "type": "APPROVAL_REQUEST",
        "action": {"identifier": "deploy", "title": "Deploy"},
        "requestedBy": {"email": "ada@example.com"},
        "approveUrl": "https://interlock.example.com/approvals/r_0123456789abcdef",
        "inputs": {"env": "prod", "key": "********"},
    }
    run: Any = message["run"]
    assert (run["id"], run["status"], run["entity"]["identifier"]) == (
        "r_0123456789abcdef",
        "WAITING_FOR_APPROVAL",
        "cart",
    )
    assert run["properties"] == run["rawProperties"] == {"env": "prod", "key": "********"}
    assert "interlock" not in run
    assert CIPHERTEXT not in json.dumps(message)


def test_a_machine_has_no_email_address() -> None:
    asked = request(interlock=Driving())
    assert asked.as_json()["requestedBy"] == {"email": None}
    assert "requested by user_1" in asked.summary


def test_slack_gets_text_in_which_nobody_can_write_markup() -> None:
    asked = request("Deploy <!channel>", {"env": "<https://evil.example|here> & now"})
    message: Any = asked.as_slack()
    text = json.dumps(message, ensure_ascii=False)
    assert "<!channel>" not in json.dumps([message["text"], *message["blocks"][1:]])
    assert "&lt;https://evil.example|here&gt; &amp; now" in text
    assert f"<{asked.url}|" in text
    assert CIPHERTEXT not in json.dumps(request().as_slack())


def test_slack_gets_no_more_than_it_takes() -> None:
    blocks: Any = request("D" * 500, {f"input{n}": "<" * 5000 for n in range(50)}).as_slack()["blocks"]
    assert len(blocks[0]["text"]["text"]) <= 150
    assert all(len(field["text"]) <= 2000 for field in blocks[1]["fields"])
    assert all(len(block["text"]["text"]) <= 3000 for block in blocks[2:])


def test_a_subject_is_one_short_line_whatever_it_is_made_of() -> None:
    subject = request("Deploy\r\nBcc: eve@example.com\u2028\u202e" + "x" * 500).subject
    assert subject.isprintable()
    assert subject.startswith("Approval needed: Deploy Bcc: eve@example.com")
    assert len(subject) <= 151


def test_when_it_is_declined_is_told_where_there_is_a_limit() -> None:
    assert request().until == "2026-11-22T12:00:00.000Z"
    assert request(interlock=Driving()).until == ""


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtps://bot:p%40ss@mail.example.com", SmtpServer("mail.example.com", 465, "bot", "p@ss", True, False)),
        ("smtp://[::1]:2525?starttls=never", SmtpServer("::1", 2525, None, None, False, False)),
        ("smtp://bot:x@mail?starttls=if-offered", SmtpServer("mail", 587, "bot", "x", False, None)),
        ("smtp://mail/", SmtpServer("mail", 25, None, None, False, None)),
    ],
)
def test_the_url_says_how_an_smtp_server_is_reached(url: str, server: SmtpServer) -> None:
    assert SmtpServer.parse(url) == server


@pytest.mark.parametrize(
    "url",
    [
        "mail.example.com",
        "http://mail",
        "smtp://",
        "smtp://mail:x25",
        "smtp://mail/path",
        "smtp://hunter2@mail",
        "smtp://mail?starttls=perhaps",
        "smtp://mail?starttls=never&starttls=always",
        "smtp://mail?timeout=5",
        "smtp://bot:hunter2@[::1",
    ],
)
def test_another_url_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="must") as refusal:
        SmtpServer.parse(url)
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("text", ["", "x", "a b@x", "a@b, c@d", "Ada\n <a@b>", "a@b\r\nBcc: c@d", "<@x>", "ü@x.de"])
def test_what_is_no_mailbox_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be an email address"):
        mailbox(text)
