"""Commands that people write in a chat: what they mean, and what the values in them are."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeAlias

from pydantic import JsonValue

from domain.approvals import Decision, DecisionState, Word
from domain.documents import Document, parse, refuse_unfaithful
from domain.encryption import Encryption
from domain.errors import InvalidInputs, InvalidRequest
from domain.inputs import Input, UserInputs
from domain.runs import Run, RunStatus
from domain.shapes import MAX_PROBLEMS, one_line, shortened

USAGE = (
    "help",
    "request <action> [on <entity>] [input=value ...]",
    "status <run>",
    "approve <run> [reason]",
    "decline <run> [reason]",
)
_LONGEST = 10_000
_LONGEST_WORD = 80
_PAIRS = {
    '"': '"”',
    "“": '"”',
    "”": '"”',
    "'": "'",
    "\N{LEFT SINGLE QUOTATION MARK}": "\N{RIGHT SINGLE QUOTATION MARK}'",
    "„": '“”"',
    "\N{SINGLE LOW-9 QUOTATION MARK}": "\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}'",
    "«": "»",
    "»": "«",
}
"""What opens a quotation, and what closes it: telephones write curly ones, each in the way of its language."""
_TRUTH: Mapping[str, bool] = {"true": True, "yes": True, "false": False, "no": False}


@dataclass(frozen=True)
class Help:
    """What can be written."""


@dataclass(frozen=True)
class Ask:
    """Ask for a run of an action."""

    action: str
    entity: str | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    """As they were written."""


@dataclass(frozen=True)
class Status:
    """Tell how a run stands."""

    run_id: str


@dataclass(frozen=True)
class Decide:
    """Approve or decline a run."""

    run_id: str
    word: Word
    reason: str | None = None


Command: TypeAlias = Help | Ask | Status | Decide


def command(text: str) -> Command:
    """What somebody wrote.

    >>> command('request rollback on checkout reason="too slow" to=3')
    Ask(action='rollback', entity='checkout', inputs={'reason': 'too slow', 'to': '3'})
    >>> command("decline r_0123456789abcdef don't")
    Decide(run_id='r_0123456789abcdef', word=<Word.DECLINE: 'DECLINE'>, reason="don't")

    Raises:
        InvalidRequest: it is none of the commands; says what is missing.
    """
    text = text.strip()
    if len(text) > _LONGEST:
        raise InvalidRequest(f"a command has at most {_LONGEST} characters")
    verb, rest = _first(text)
    match verb.lower():
        case "" | "help":
            return Help()
        case "request":
            return _ask(_words(rest))
        case "status":
            run_id, more = _first(rest)
            return Status(_run(run_id, "status", more))
        case "approve" | "decline" as said:
            run_id, reason = _first(rest)
            return Decide(_run(run_id, said), Word(said.upper()), reason or None)
    raise InvalidRequest(f"{_quoted(verb)} is no command; there are help, request, status, approve and decline")


def properties(form: UserInputs, written: Mapping[str, str]) -> Document:
    """The values of the inputs, each read by the type of its input.

    Raises:
        InvalidInputs: values that cannot be read, inputs that the form does not have, and secret ones, which do not
            belong into a chat.
    """
    read: Document = {}
    problems: list[str] = []
    for name, text in written.items():
        try:
            read[name] = _value(form.properties.get(name), form.encrypted.get(name), text)
        except ValueError as problem:
            problems.append(f"/{shortened(name, _LONGEST_WORD)} {problem}")
    if problems:
        raise InvalidInputs(*islice(problems, MAX_PROBLEMS))
    return read


def said_in_words(decision: Decision) -> str:
    """Who said what, and why."""
    verb = "Approved" if decision.state is DecisionState.APPROVED else "Declined"
    why = f": {one_line(decision.description)}" if decision.description else ""
    void = " (void, because what would be sent has changed)" if decision.void_at else ""
    return f"{verb} by {one_line(decision.name)}{why}{void}"


def standing(run: Run) -> str:
    """How the run stands, in one sentence."""
    if run.status is RunStatus.WAITING_FOR_APPROVAL:
        return "It waits for a decision."
    return f"The run is {run.status}."


def _value(each: Input | None, encryption: Encryption | None, text: str) -> JsonValue:
    if each is None:
        raise ValueError("is no input of the action")
    if encryption is not None:
        raise ValueError("is secret, and secrets do not belong into a chat: ask for the run through the API")
    if each.type != "array":
        return _read(each.type, text)
    if text.lstrip().startswith("["):
        return _json(text, list, "an array, as in [1, 2]")
    items = each.document.get("items")
    kind = items.get("type") if isinstance(items, dict) else None
    return [_read(kind, part.strip()) for part in text.split(",")] if text else []


def _read(kind: JsonValue, text: str) -> JsonValue:
    match kind:
        case "boolean":
            if (truth := _TRUTH.get(text.lower())) is None:
                raise ValueError("must be true or false")
            return truth
        case "number" | "integer":
            number = _json(text, (int, float), "a number, as in 3 or 2.5")
            if isinstance(number, bool):
                raise ValueError("must be a number, as in 3 or 2.5")
            return number
        case "object":
            return _json(text, dict, """an object, as in '{"a": 1}'""")
    refuse_unfaithful(text, 0)
    return text


def _json(text: str, kind: type | tuple[type, ...], expected: str) -> JsonValue:
    try:
        value = parse(text.encode())
    except (InvalidRequest, UnicodeEncodeError):
        value = None
    if not isinstance(value, kind):
        raise ValueError(f"must be {expected}")
    return value


def _ask(words: Sequence[str]) -> Ask:
    if not words or "=" in words[0]:
        raise InvalidRequest(f"say which action: {USAGE[1]}")
    action, *rest = words
    entity = None
    if rest and rest[0].lower() == "on":
        if len(rest) < 2:
            raise InvalidRequest(f"say on which entity: {USAGE[1]}")
        _, entity, *rest = rest
    inputs: dict[str, str] = {}
    for word in rest:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise InvalidRequest(f"{_quoted(word)} is no input=value; what has spaces goes into quotes")
        if name in inputs:
            raise InvalidRequest(f"the input {_quoted(name)} is there twice")
        inputs[name] = value
    return Ask(action, entity, inputs)


def _run(run_id: str, verb: str, more: str = "") -> str:
    if not run_id or more:
        raise InvalidRequest(f"say which run: {next(line for line in USAGE if line.startswith(verb))}")
    return run_id


def _first(text: str) -> tuple[str, str]:
    """The first word, and what comes after it."""
    word, *rest = text.split(maxsplit=1) or [""]
    return word, rest[0].strip() if rest else ""


def _words(text: str) -> list[str]:
    """Words; quotation marks count at the beginning of one and after its first `=`, so that `don't` is a word."""
    return list(_scanned(text))


def _scanned(text: str) -> Iterator[str]:
    place = 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        word, may_open, named = "", True, False
        while place < len(text) and not text[place].isspace():
            if may_open and text[place] in _PAIRS:
                inside, place = _quotation(text, place)
                word += inside
                if place < len(text) and not text[place].isspace():
                    raise InvalidRequest(f"after the quotation {_quoted(inside)} there must be a space")
                break
            may_open = text[place] == "=" and not named and word != ""
            named = named or text[place] == "="
            word += text[place]
            place += 1
        yield word


def _quotation(text: str, place: int) -> tuple[str, int]:
    """What is between the quotation marks, and where the text goes on. In double ones a backslash escapes."""
    closing, inside, start = _PAIRS[text[place]], "", place
    escapes = '"' in closing
    place += 1
    while place < len(text):
        if escapes and text[place] == "\\" and text[place + 1 : place + 2] in (*closing, "\\"):
            inside += text[place + 1]
            place += 2
        elif text[place] in closing:
            return inside, place + 1
        else:
            inside += text[place]
            place += 1
    raise InvalidRequest(f"the quotation that begins with {_quoted(text[start : start + 20])} does not end")


def _quoted(text: str) -> str:
    return json.dumps(shortened(text, _LONGEST_WORD), ensure_ascii=False)
