"""Templates: any JSON document whose strings and keys may hold jq programs between `{{` and `}}`.

Rendering has two phases, so that one round trip to the evaluator answers everything: `Template.parse` finds the
programs, `Template.render` puts their outcomes in place. A program in a part that is dropped is evaluated in vain,
which is harmless, because a program can do nothing but answer.

The secrets boundary: a program sees `.secrets` only if its text contains the word `secrets`. Every other program runs
over a context that has no such key, so `{{ . }}` or `{{ .["sec" + "rets"] }}` cannot reach it however they are
spelled. What names secrets is evaluated only for delivery; the copy that is stored, shown and logged has `MASK` there.

Source: JQLIB, the published template engine of the API we speak.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Final, TypeAlias

from pydantic import JsonValue

from domain.documents import canonical
from domain.errors import TemplateFault
from domain.jq import Evaluator, Failed, Nothing, Outcome, Overran, Value
from domain.template_scanner import Array, Node, Object, Slot, Text, parsed, slots_of, source_of
from domain.template_scanner import names_secrets as names_secrets  # for whoever needs the boundary's rule

MASK: Final = "********"
"""What stands for a secret wherever it is not being delivered."""

MAX_RENDERED: Final = 8 * 1024 * 1024
"""How many characters of answers one document may take in: a small one can repeat a large answer very often."""

Path: TypeAlias = tuple[str | int, ...]
"""Where something is in a document: keys and indices from the root."""


class _Undefined(Enum):
    """JavaScript's undefined: an entry with it disappears, an array has null in its place."""

    UNDEFINED = "undefined"


_UNDEFINED: Final = _Undefined.UNDEFINED
_Tree: TypeAlias = "JsonValue | _Undefined | list[_Tree] | dict[str, _Tree]"


@dataclass(frozen=True, slots=True)
class Rendering:
    """A rendered document."""

    value: JsonValue
    undefined: bool = False
    """The whole document is a template without an answer; `value` is None then."""
    warnings: tuple[str, ...] = ()
    """One sentence for each template that failed and so became null. No secrets in it."""
    masked_paths: tuple[Path, ...] = ()
    """Where this (masked) copy has `MASK` in place of something that names secrets."""
    made: frozenset[str] = field(default=frozenset(), repr=False)
    """What programs that name secrets have made of them, every text and number: not to be told either."""


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed document."""

    root: Node
    programs: tuple[str, ...]
    """The distinct programs that name no secrets, to be evaluated over a context without `secrets`."""
    secret_programs: tuple[str, ...]
    """The distinct programs that name secrets, to be evaluated over a context with them."""

    @classmethod
    def parse(cls, document: JsonValue) -> "Template":
        """The template in the document. Never raises: a fault is remembered, and raised if its place is rendered."""
        root = parsed(document)
        slots = tuple(slots_of(root))
        return cls(
            root,
            programs=tuple(dict.fromkeys(slot.program for slot in slots if not slot.secret)),
            secret_programs=tuple(dict.fromkeys(slot.program for slot in slots if slot.secret)),
        )

    def render(self, outcomes: Mapping[str, Outcome], *, secret_outcomes: Mapping[str, Outcome] | None) -> Rendering:
        """The document with each template replaced by the outcome of its program.

        Args:
            outcomes: of every one of `programs`.
            secret_outcomes: of every one of `secret_programs`; None makes the masked copy.

        Raises:
            TemplateFault: unbalanced braces, a key that is no string, a spread of no object, a program that ran
                into a limit, or too much text.
        """
        renderer = _Renderer(outcomes, secret_outcomes)
        tree = renderer.render(self.root, ())
        return Rendering(
            value=None if tree is _UNDEFINED else _serialised(tree),
            undefined=tree is _UNDEFINED,
            warnings=tuple(renderer.warnings),
            masked_paths=tuple(renderer.masked),
            made=frozenset(text for program in self.secret_programs for text in renderer.made_by(program)),
        )

    async def rendered(
        self,
        context: Mapping[str, JsonValue],
        evaluate: Evaluator,
        *,
        secrets: Mapping[str, str] | None,
        now: datetime | None = None,
    ) -> Rendering:
        """The document rendered over the context: for delivery with `secrets`, or the masked copy with None.

        Raises:
            TemplateFault: see `render`.
            Unavailable: no process could be had to run the programs.
        """
        public: dict[str, JsonValue] = {name: value for name, value in context.items() if name != "secrets"}

        async def outcomes(programs: tuple[str, ...], over: dict[str, JsonValue]) -> dict[str, Outcome]:
            return dict(zip(programs, await evaluate(programs, over, now=now), strict=True)) if programs else {}

        answers = await outcomes(self.programs, public)
        if secrets is None:
            return self.render(answers, secret_outcomes=None)
        secret_answers = await outcomes(self.secret_programs, public | {"secrets": dict(secrets)})
        return self.render(answers, secret_outcomes=secret_answers)


@dataclass(slots=True)
class _Renderer:
    """One rendering: what it is given, and what it notices on its way."""

    outcomes: Mapping[str, Outcome]
    secret_outcomes: Mapping[str, Outcome] | None
    warnings: dict[str, None] = field(default_factory=dict)
    masked: dict[Path, None] = field(default_factory=dict)
    answers: dict[str, tuple[JsonValue | _Undefined, str]] = field(default_factory=dict)
    """Of each program met so far: its value, and its text."""
    secrets_met: int = 0
    size: int = 0

    def render(self, node: Node, path: Path) -> _Tree:
        match node:
            case Text():
                before = self.secrets_met
                value = self._string(node)
                self._note(path, before)
                return value
            case Array():
                return [self.render(item, (*path, i)) for i, item in enumerate(node.items)]
            case Object():
                return self._object(node, path)
        return node

    def _object(self, node: Object, path: Path) -> dict[str, _Tree]:
        entries: dict[str, _Tree] = {}
        for key, value, spread in node.entries:
            if spread:
                entries.update(self._spread(key, value, path))
            elif name := self._key(key, path):
                entries[name] = self.render(value, (*path, name))
        return entries

    def _key(self, key: Text | str, path: Path) -> str | None:
        """The rendered key, or None when it drops its entry."""
        before = self.secrets_met
        name = self._string(key) if isinstance(key, Text) else key
        if isinstance(name, str):
            self._note((*path, name), before)
            return name
        if name is None or name is _UNDEFINED:
            return None
        raise TemplateFault(
            "Evaluated object key should be undefined, null or string. "
            f"Original key: {source_of(key)}, evaluated to: {self._shown(name, before)}"
        )

    def _spread(self, key: Text | str, node: Node, path: Path) -> dict[str, _Tree]:
        if isinstance(node, Array):
            node = Object(tuple((str(i), item, False) for i, item in enumerate(node.items)))
        if isinstance(node, Object):
            return self._object(node, path)
        before = self.secrets_met
        value = self._string(node) if isinstance(node, Text) else node
        if isinstance(node, Text) and len(node.parts) == 1 and self._note((*path, MASK), before):
            return {MASK: MASK}
        match value:
            case dict():
                return dict(value)
            case list():
                return {str(i): item for i, item in enumerate(value)}
        raise TemplateFault(
            f"Evaluated value should be an object if the key is {source_of(key)}. "
            f"Original value: {source_of(node)}, evaluated to: {self._shown(value, before)}"
        )

    def _note(self, path: Path, before: int) -> bool:
        """Remember the path if something was masked there since `before`; whether it was."""
        masked = self.secret_outcomes is None and self.secrets_met > before
        if masked:
            self.masked[path] = None
        return masked

    def _shown(self, value: JsonValue | _Undefined, before: int) -> str:
        """The value for a message, unless a secret went into it."""
        if self.secrets_met > before:
            return MASK
        return "undefined" if value is _UNDEFINED else canonical(value)

    def made_by(self, program: str) -> Iterator[str]:
        """What a program has answered, if it was met: the whole where it has parts, every text, and every number."""
        value, text = self.answers.get(program, (None, ""))
        if isinstance(value, list | dict):
            yield text
        yield from _texts(value)

    def _string(self, node: Text) -> JsonValue | _Undefined:
        if node.fault is not None:
            raise TemplateFault(node.fault)
        match node.parts:
            case (Slot() as slot,):
                return self._answer(slot)[0]
        return "".join(part if isinstance(part, str) else self._answer(part)[1] for part in node.parts)

    def _answer(self, slot: Slot) -> tuple[JsonValue | _Undefined, str]:
        """The slot's value, and the text it is within other text."""
        self.secrets_met += slot.secret
        outcomes = self.secret_outcomes if slot.secret else self.outcomes
        if outcomes is None:
            return MASK, MASK
        outcome = outcomes[slot.program]
        if isinstance(outcome, Overran):
            raise TemplateFault(f"The template {slot.source} cannot be evaluated: {outcome.reason}", overran=True)
        if isinstance(outcome, Failed):
            # What jq says may quote the values it was given.
            reason = "" if slot.secret else f": {outcome.reason}"
            self.warnings[f"the template {slot.source} failed and was rendered as null{reason}"] = None
        if slot.program not in self.answers:
            self.answers[slot.program] = _value_and_text(outcome)
        answer = self.answers[slot.program]
        self.size += len(answer[1])
        if self.size > MAX_RENDERED:
            raise TemplateFault(f"The rendered document is larger than {MAX_RENDERED} characters")
        return answer


def _texts(value: JsonValue | _Undefined) -> Iterator[str]:
    """The texts and numbers in the value; it may be large, and deep."""
    rest = [value]
    while rest:
        match rest.pop():
            case str() as text:
                yield text
            case int() | float() as number if not isinstance(number, bool):
                yield str(number)
            case list() as items:
                rest += items
            case dict() as members:
                rest += (*members, *members.values())


def _value_and_text(outcome: Outcome) -> tuple[JsonValue | _Undefined, str]:
    match outcome:
        case Nothing():
            return _UNDEFINED, "undefined"
        case Value(str() as text):
            return text, text
        case Value(value):
            text = canonical(value)
            # Read back, it has ints for integral floats.
            return json.loads(text), text
    return None, "null"


def _serialised(tree: _Tree) -> JsonValue:
    """The tree as `JSON.stringify` leaves it: an undefined entry is gone, an undefined element is null."""
    match tree:
        case dict():
            return {key: _serialised(value) for key, value in tree.items() if value is not _UNDEFINED}
        case list():
            return [_serialised(item) for item in tree]
    return None if tree is _UNDEFINED else tree
