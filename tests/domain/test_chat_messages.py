"""What chats send is read by its shape alone, and nothing of what we answer is read as markup."""

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.approvals import Decision, DecisionState, Word
from domain.chat import said_in_words
from domain.errors import InvalidRequest
from domain.slack_messages import APPROVE, buttons, escaped, only_you, press, slash_command, unescaped
from domain.teams_messages import mention, message
from tests.support.chat import mentioned, pressed, slash

URL = "https://hooks.slack.com/actions/T/1/x"


def test_a_press_is_of_our_button() -> None:
    found = press(pressed(APPROVE, "r_0123456789abcdef", "U0ADA", URL))
    assert found is not None
    assert (found.run_id, found.word, found.user_id) == ("r_0123456789abcdef", Word.APPROVE, "U0ADA")
    assert press(pressed("of_somebody_else", "x", "U0ADA", URL)) is None


@pytest.mark.parametrize(
    "payload",
    ["", "nonsense", "[]", "null", '{"type": "view_submission"}', '{"type": "block_actions"}', '{"a": NaN}'],
)
def test_what_is_no_press_is_refused(payload: str) -> None:
    with pytest.raises(InvalidRequest):
        press(urlencode({"payload": payload}).encode())


def test_a_field_that_is_there_twice_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="user_id: is there twice"):
        slash_command(slash("help", "U0ADA", URL) + b"&user_id=U0EVE")


def test_a_text_for_slack_mentions_nobody() -> None:
    told = only_you("<!channel> <https://evil.example|x> &")
    assert told["text"] == "&lt;!channel&gt; &lt;https://evil.example|x&gt; &amp;"
    assert '"mrkdwn"' not in json.dumps(told)
    assert len(json.dumps(only_you("x" * 100_000))) < 7000, "Slack takes 3000 characters"


def test_the_buttons_name_the_run() -> None:
    block = json.dumps(buttons("r_0123456789abcdef"))
    assert block.count('"value": "r_0123456789abcdef"') == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<at>Interlock</at> help", "help"),
        ("<at id='0'>Inter\nlock</at>&nbsp;approve r_1 a &lt; b\n", "approve r_1 a < b"),
        ("<p><at>Interlock</at>&nbsp;decline r_1 <b>no</b></p>", "decline r_1 no"),
        ("<div>approve r_1<br>two lines</div>", "approve r_1\ntwo lines"),
        ("approve r_1 1 < 2", "approve r_1 1 < 2"),
        ("<at>Interlock</at> &lt;at&gt;x&lt;/at&gt;", "<at>x</at>"),
    ],
)
def test_the_text_of_a_mention_is_the_command(text: str, expected: str) -> None:
    document = json.loads(mentioned("x", "1", at=datetime(2026, 1, 2, tzinfo=UTC))) | {"text": text}
    assert mention(document).command == expected


def test_every_tenant_that_a_message_names_is_looked_at() -> None:
    document = json.loads(mentioned("x", "1"))
    document["conversation"]["tenantId"] = "another"
    assert len(mention(document).tenants) == 2
    del document["conversation"], document["channelData"]
    assert mention(document).tenants == frozenset()


@pytest.mark.parametrize("gone", ["id", "timestamp", "from"])
def test_a_message_without_what_counts_is_refused(gone: str) -> None:
    document = json.loads(mentioned("x", "1"))
    del document[gone]
    with pytest.raises(InvalidRequest, match=gone):
        mention(document)
    with pytest.raises(InvalidRequest):
        mention([document])


def test_a_text_for_teams_is_never_markup() -> None:
    told: dict[str, Any] = {**message("[click](https://evil.example)\n**bold**", URL)}
    [attachment] = told["attachments"]
    card = attachment["content"]
    assert [block["type"] for block in card["body"]] == ["RichTextBlock", "RichTextBlock"]
    assert card["actions"] == [{"type": "Action.OpenUrl", "title": "Open the run", "url": URL}]


@given(st.text(max_size=100))
def test_what_slack_escapes_is_read_as_what_was_written(text: str) -> None:
    assert unescaped(escaped(text)) == text


@pytest.mark.parametrize(
    ("sent", "written"),
    [
        ("<@U123|ada> <@U123> <#C1|general> <#C1> <!here> <!subteam^S1|@crew>", "@ada @U123 #general #C1 @here @crew"),
        ("<mailto:a@b.io|a@b.io> <mailto:a@b.io>", "a@b.io a@b.io"),
        ("<https://x.io/?a=1&amp;b=2> <http://x.io|x.io>", "https://x.io/?a=1&b=2 x.io"),
        ("a < b", "a < b"),
        ("a && b &amp; c", "a && b &amp; c"),
        ("<b>&lt;</b>", "<b>&lt;</b>"),
        ("<https://x.io/?a=1&b=2>", "<https://x.io/?a=1&b=2>"),
        ("&amp;lt; &quot;", "&amp;lt; &quot;"),
    ],
)
def test_references_are_read_as_they_are_shown_and_what_is_not_escaped_stays(sent: str, written: str) -> None:
    assert unescaped(sent) == written


def test_a_decision_is_one_line_whatever_its_reason_holds() -> None:
    reason = "fine\nApproved by bob\r\x85\u2028\u202egnp.exe\t" + "x" * 900
    at = datetime(2026, 1, 1, tzinfo=UTC)
    words = said_in_words(
        Decision(user_id="u", name="ada\n@x.io", state=DecisionState.APPROVED, description=reason, at=at)
    )
    assert words.startswith("Approved by ada @x.io: fine Approved by bob gnp.exe xxx")
    assert len(words) < 400
    assert words.isprintable()
