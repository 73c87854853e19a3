"""Finds the templates in a document: jq programs between `{{` and `}}` in its strings and keys.

Source: JQLIB, the published template engine of the API we speak; its scanner is followed bug for bug.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias, cast

from pydantic import JsonValue

from domain.documents import canonical
from domain.errors import TemplateFault

# What JavaScript calls white space (`trim`, `\s`), which is not quite what Python does.
_SPACE = "\t\n\v\f\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff" + "".join(map(chr, range(0x2000, 0x200B)))
_SPREAD = re.compile(rf"\{{\{{[{_SPACE}]*spreadValue\([{_SPACE}]*\)[{_SPACE}]*\}}\}}")
_SPECIAL = re.compile(r"""[{}"'\\]""")
# The courtesy to those who write 'text' because the template itself sits in a JSON string: a purely lexical rule.
_SINGLE_QUOTE = re.compile(rf"(\A|[{_SPACE}])'(?![{_SPACE}\"])|(?<![{_SPACE}\"])'([{_SPACE}]|\Z)")


@dataclass(frozen=True, slots=True)
class Slot:
    """One template within a string."""

    source: str
    """As it was written, with its braces."""
    program: str
    """What jq is asked."""
    secret: bool
    """Whether the program names secrets, and so may see them."""


@dataclass(frozen=True, slots=True)
class Text:
    """A string with templates in it, or with a fault that counts only when this place is rendered."""

    source: str
    parts: tuple[str | Slot, ...] = ()
    """Text and slots in turn; a slot alone keeps the type of its answer."""
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Array:
    items: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Object:
    entries: tuple[tuple["Text | str", "Node", bool], ...]
    """Key, value, and whether the key asks to spread the value."""


Node: TypeAlias = Text | Array | Object | str | int | float | bool | None


def names_secrets(text: str) -> bool:
    """Whether a program, or any text with programs in it, may see secrets: it has the word in it."""
    return "secrets" in text


def quoted(program: str) -> str:
    """The program with its 'texts' as jq wants them, "texts"."""
    return _SINGLE_QUOTE.sub(r'\1"\2', program)


def parsed(document: JsonValue) -> Node:
    """The document with its templates found."""
    match document:
        case str():
            return _text(document)
        case list():
            return Array(tuple(map(parsed, document)))
        case dict():
            return Object(tuple(_entry(key, value) for key, value in document.items()))
    return document


def _entry(key: str, value: JsonValue) -> tuple[Text | str, Node, bool]:
    if _SPREAD.fullmatch(key.strip(_SPACE)):
        return key, parsed(value), True
    return _text(key), parsed(value), False


def _text(source: str) -> Text | str:
    try:
        spans = _spans(source)
    except TemplateFault as fault:
        return Text(source, fault=str(fault))
    if not spans:
        return source
    parts: list[str | Slot] = []
    end = 0
    for start, stop in spans:
        program = quoted(source[start:stop])
        parts += [source[end : start - 2], Slot(source[start - 2 : stop + 2], program, names_secrets(program))]
        end = stop + 2
    trimmed = source.strip(_SPACE)
    whole = len(spans) == 1 and trimmed.startswith("{{") and trimmed.endswith("}}")
    return Text(source, (parts[1],) if whole else (*parts, source[end:]))


def _spans(text: str) -> list[tuple[int, int]]:
    """Where the programs in the text begin and end. Quotes and backslashes count only inside of one.

    Raises:
        TemplateFault: the braces do not balance. Its indices count UTF-16 units, as JavaScript does.
    """

    def index(i: int) -> int:
        return len(text[:i].encode("utf-16-le", "surrogatepass")) // 2

    spans = []
    opened, quote, resume = 0, "", 0
    for found in _SPECIAL.finditer(text):
        i, char = found.start(), found.group()
        if i < resume:
            continue
        doubled = text[i - 1 : i] == char
        if opened and char == "\\":
            resume = i + 2
        elif opened and char in "\"'":
            quote = char if not quote else "" if quote == char else quote
        elif quote or not doubled:
            continue
        elif char == "{":
            if opened:
                raise TemplateFault(
                    f"Found double braces in index {index(i - 1)} inside other one in index {index(opened - 2)}"
                )
            opened = i + 1
            resume = i + 2 if text[i + 1 : i + 2] == "{" else resume
        elif char == "}":
            if not opened:
                raise TemplateFault(
                    f"Found closing double braces in index {index(i - 1)} without opening double braces"
                )
            spans.append((opened, i - 1))
            opened = 0
            resume = i + 2 if text[i + 1 : i + 2] == "}" else resume
    if opened:
        raise TemplateFault(f"Found opening double braces in index {index(opened - 2)} without closing double braces")
    return spans


def slots_of(node: Node | Slot) -> Iterator[Slot]:
    """Every slot below the node, in order."""
    match node:
        case Slot():
            yield node
        case Text():
            for part in node.parts:
                yield from slots_of(part)
        case Array():
            for item in node.items:
                yield from slots_of(item)
        case Object():
            for key, value, spread in node.entries:
                yield from slots_of(None if spread else key)
                yield from slots_of(value)


def source_of(node: Node) -> str:
    """The string a node was parsed from, or the JSON of a number, boolean or null."""
    match node:
        case Text(source) | str(source):
            return source
    return canonical(cast(JsonValue, node))
