"""What Slack sends when somebody writes a command or presses a button, and what it is answered."""

from typing import Literal
from urllib.parse import parse_qs

import regex
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from domain.approvals import Decision, Word
from domain.chat import said_in_words, standing
from domain.documents import Document, parse, refuse_unfaithful
from domain.errors import InvalidRequest
from domain.runs import Run, RunStatus
from domain.shapes import refused, shortened

APPROVE, DECLINE = "interlock_approve", "interlock_decline"
"""The ids of our buttons."""

_BLOCK = "interlock_decision"
_WORDS = {APPROVE: Word.APPROVE, DECLINE: Word.DECLINE}
_MOST_FIELDS = 100
_LONGEST_VALUE, _LONGEST_TEXT, _MOST_SAID = 2000, 3000, 20

_REFERENCE = regex.compile(
    r"<(?P<kind>[@#!])(?P<id>[^<>|]+)(?:\|(?P<name>[^<>|]*))?>"
    r"|<(?P<link>[a-z][a-z0-9+.-]*:[^<>|\s]+)(?:\|(?P<label>[^<>|]*))?>"
)
_ENTITY = regex.compile(r"&(amp|lt|gt);")
_ENTITIES = {"amp": "&", "lt": "<", "gt": ">"}


class _Sent(BaseModel):
    """Slack adds keys as it likes."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class SlashCommand(_Sent):
    """Somebody wrote `/interlock <text>`."""

    user_id: str
    team_id: str | None = None
    text: str = ""
    """As Slack sends it."""
    trigger_id: str
    response_url: str

    @property
    def command(self) -> str:
        """What was written."""
        return unescaped(self.text)


class _User(_Sent):
    id: str
    team_id: str | None = None


class _Action(_Sent):
    action_id: str
    value: str = ""


class _BlockActions(_Sent):
    type: Literal["block_actions"]
    user: _User
    trigger_id: str
    response_url: str
    actions: list[_Action]


class Press(_Sent):
    """Somebody pressed one of our buttons."""

    user_id: str
    team_id: str | None
    trigger_id: str
    response_url: str
    run_id: str
    word: Word


def slash_command(body: bytes) -> SlashCommand:
    """The command in the body of a request, a form.

    Raises:
        InvalidRequest: there is none.
    """
    fields: Document = {**_form(body)}
    refuse_unfaithful(fields)
    try:
        return SlashCommand.model_validate(fields)
    except ValidationError as faults:
        raise refused(faults, fields) from None


def press(body: bytes) -> Press | None:
    """The press of a button in the body of a request; None where it is none of our buttons.

    Raises:
        InvalidRequest: it is something else than the press of a button.
    """
    payload = _form(body).get("payload")
    if not payload:
        raise InvalidRequest("payload: is required, and must be JSON")
    document = parse(payload.encode())
    try:
        sent = _BlockActions.model_validate(document)
    except ValidationError as faults:
        raise refused(faults, document) from None
    ours = [action for action in sent.actions if action.action_id in _WORDS]
    if not ours:
        return None
    return Press(
        user_id=sent.user.id,
        team_id=sent.user.team_id,
        trigger_id=sent.trigger_id,
        response_url=sent.response_url,
        run_id=ours[0].value,
        word=_WORDS[ours[0].action_id],
    )


def _form(body: bytes) -> dict[str, str]:
    try:
        fields = parse_qs(
            body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict", strict_parsing=True
        )
    except ValueError as fault:
        raise InvalidRequest(f"the body is no form in UTF-8: {fault}") from None
    if repeated := [name for name, values in fields.items() if len(values) > 1]:
        raise InvalidRequest(f"{shortened(repeated[0])}: is there twice")
    return {name: values[0] for name, values in fields.items()}


def buttons(run_id: str) -> JsonValue:
    """The block with which somebody decides about the run."""
    return {
        "type": "actions",
        "block_id": _BLOCK,
        "elements": [
            _button(APPROVE, "Approve", "primary", run_id),
            _button(DECLINE, "Decline", "danger", run_id),
        ],
    }


def _button(action_id: str, text: str, style: str, run_id: str) -> JsonValue:
    return {
        "type": "button",
        "action_id": action_id,
        "style": style,
        "text": {"type": "plain_text", "text": text},
        "value": run_id[:_LONGEST_VALUE],
    }


def only_you(text: str, url: str | None = None) -> Document:
    """What only the person reads who wrote or pressed something."""
    blocks: list[JsonValue] = [{"type": "section", "text": _plain(text)}]
    if url:
        blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": f"<{url}|Open the run>"}})
    return {
        "response_type": "ephemeral",
        "replace_original": False,
        "text": escaped(shortened(text, _LONGEST_TEXT - 1)),
        "blocks": blocks,
    }


def decided(asked: Document, run: Run, said: list[Decision]) -> Document:
    """The message that asked for a decision, as it reads once somebody has said something.

    Args:
        asked: the message, written anew; nothing of what is shown comes from the payload.
        run: as it stands now.
        said: everybody's last word about it.
    """
    blocks = asked.get("blocks")
    waits = run.status is RunStatus.WAITING_FOR_APPROVAL
    lines = [*(said_in_words(one) for one in said[-_MOST_SAID:]), standing(run)]
    context: JsonValue = {"type": "context", "elements": [_plain("\n".join(lines))]}
    kept = [
        block
        for block in (blocks if isinstance(blocks, list) else [])
        if waits or not (isinstance(block, dict) and block.get("block_id") == _BLOCK)
    ]
    return {"replace_original": True, "text": asked.get("text"), "blocks": [*kept, context]}


def escaped(text: str) -> str:
    """The text where Slack reads markup: nobody is mentioned by it, and it is no link.

    Source: Slack, formatting of text: `&`, `<` and `>` have to be escaped.
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def unescaped(text: str) -> str:
    """What somebody wrote, of what Slack made of it; the very same where Slack has not escaped it.

    >>> unescaped("a &lt; b &amp;&amp; <@U123|ada> <mailto:a@b.io|a@b.io> <https://x.io/?a=1&amp;b=2>")
    'a < b && @ada a@b.io https://x.io/?a=1&b=2'
    >>> unescaped("a < b && c &amp; d")
    'a < b && c &amp; d'

    Source: Slack, slash commands, "Escape channels, users, and links", and formatting of text.
    """
    rest = _ENTITY.sub("", _REFERENCE.sub("", text))
    if any(mark in rest for mark in "<>&") or any("&" in _ENTITY.sub("", one[0]) for one in _REFERENCE.finditer(text)):
        return text
    return _ENTITY.sub(lambda found: _ENTITIES[found[1]], _REFERENCE.sub(_referred, text))


def _referred(found: "regex.Match[str]") -> str:
    if link := found["link"]:
        return str(found["label"] or link.removeprefix("mailto:"))
    name = str(found["name"] or found["id"]).removeprefix("@")
    return f"{'#' if found['kind'] == '#' else '@'}{name}"


def _plain(text: str) -> JsonValue:
    return {"type": "plain_text", "text": shortened(text, _LONGEST_TEXT - 1), "emoji": False}
