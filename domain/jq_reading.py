"""Programs that are simple enough to be read without jq: what they answer, and what they demand of a document."""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import islice, product
from typing import Final, NamedTuple, TypeAlias

from pydantic import JsonValue

from domain.jq import Outcome, Value

_SPACE = r"[ \t\r\n]*"
_OPERAND = (
    r"(?:\.[A-Za-z_][A-Za-z0-9_]*)+"
    r'|"[^"\\\0\ud800-\udfff]*"'
    r"|-?[1-9][0-9]{0,14}|0|true|false|null"
)
_SIMPLE = re.compile(rf"{_SPACE}({_OPERAND}){_SPACE}(?:(==|!=){_SPACE}({_OPERAND}){_SPACE})?")
_TOKEN = re.compile(
    r"""
    (?P<text>"[^"\\]*")
  | (?P<field>\.[A-Za-z_][A-Za-z0-9_]*)
  | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
  | (?P<sign>==|!=|<=|>=|\?//=?|//=?|[|+*/%-]=|\.\.|[][(){}<>+*/%.?|,;=:$@-])
  | (?P<blank>[ \t\r\n]+)
  | (?P<unknown>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_BRACKETS: Final = {"(": ")", "[": "]", "{": "}"}
_LOOSE: Final = frozenset(
    {"|", ",", ";", "=", ":", "$", "@", "//", "?//", "|=", "+=", "-=", "*=", "/=", "%=", "//=", "?//="}
)
_CLAUSES: Final = frozenset(
    (
        *("def", "reduce", "foreach", "if", "then", "elif", "else", "end", "as", "try", "catch", "label", "import"),
        *("include", "module", "__loc__"),
    )
)
_BLANK: Final = " \t\r\n"
_CHOICES: Final = 16
"""How many ways are looked at in which one of several programs could be true."""
_LONGEST = 1_000
"""How many characters a program has at most that is looked at here: those that are known are kept."""
_EXACT = 2**53
"""Up to here a number is the same to jq and to Python."""
_MOST = 50_000
"""How many values and characters a list or an object has at most that is copied here."""
_DEEPEST = 50
_CONSTANTS: dict[str, JsonValue] = {"true": True, "false": False, "null": None}
_TRUE, _FALSE = Value(True), Value(False)

Path: TypeAlias = tuple[str, ...]
"""The keys of a path that leads into a document: `.a.b` has two."""
Demand: TypeAlias = tuple[Path, Value]
"""A path, and the value it has to lead to."""
_Operand: TypeAlias = Path | Value
"""A path, or a literal."""


class _Simple(NamedTuple):
    """A program that is an operand, or compares it with another."""

    left: _Operand
    right: _Operand | None
    is_equal: Value
    """The outcome when both are equal."""
    differs: Value


class _Joined(NamedTuple):
    """A program that joins others by `and`, or by `or`; of what is None only jq can tell."""

    every: bool
    parts: tuple["_Program", ...]
    is_known: bool
    """Whether jq is needed for no part: what does not compile spoils the parts before it, too."""


_Program: TypeAlias = _Simple | _Joined | None


def followed(programs: Sequence[str], document: JsonValue) -> list[Outcome | None]:
    """What jq would answer to each program that only follows a path, or compares what is there; None for the others.

    It spares the trip to a process for most templates and conditions. Operands are paths and literals; comparisons may
    be joined by `and` and `or`. Whatever could differ in the least is left to jq: fractions, large numbers, text that
    is no Unicode or has escapes, paths through what is no object, and comparisons of lists and objects. Of a path
    alone, a small list or object of plain values is answered too, as a copy; a large one could be more than jq may
    take.
    """
    return [_answer(read, document) if (read := _parsed(program)) else None for program in programs]


def demands(programs: Sequence[str], *, every: bool) -> list[frozenset[Demand]]:
    """What a document must have for every program, or for any of them, to be true: something of each of these.

    `.a.b == "x"` demands "x" at its path, and `.a.b` alone that true is there. Nothing, if only jq can tell.
    """
    return _joined(every, [_demanded(_parsed(program)) for program in programs])


def _joined(every: bool, several: Sequence[list[frozenset[Demand]]]) -> list[frozenset[Demand]]:
    if every:
        return [one for demanded in several for one in demanded]
    if not several:
        return []
    return [frozenset[Demand]().union(*some) for some in islice(product(*several), _CHOICES)]


def _demanded(program: _Program, *, alone: bool = True) -> list[frozenset[Demand]]:
    match program:
        case _Joined(every, parts, _):
            return _joined(every, [_demanded(part, alone=False) for part in parts])
        case _Simple(_, _, is_equal, _) if is_equal is _FALSE:
            return []
        case _Simple(tuple() as path, None) if alone:  # as a part, whatever is not null or false would do
            return [frozenset({(path, _TRUE)})]
        case _Simple(tuple() as path, Value() as literal) | _Simple(Value() as literal, tuple() as path):
            return [frozenset({(path, literal)})]
    return []


def led_to(path: Path, document: JsonValue) -> Value | None:
    """What jq would find at the end of the path; None where only jq can tell whether it equals a literal."""
    return _value(path, document)


def _answer(program: _Simple | _Joined, document: JsonValue) -> Value | None:
    if isinstance(program, _Joined):
        return _decided(program, document) if program.is_known else None
    if program.right is None:
        return _whole(program.left, document)
    return _compared(program, program.right, document)


def _decided(joined: _Joined, document: JsonValue) -> Value | None:
    """What its parts say together; as in jq, those behind the one that decides do not matter."""
    for part in joined.parts:
        is_true = _is_true(part, document)
        if is_true is None:
            return None
        if is_true is not joined.every:
            return Value(is_true)
    return Value(joined.every)


def _is_true(program: _Program, document: JsonValue) -> bool | None:
    found: Value | None
    match program:
        case None:
            return None
        case _Simple(tuple() as path, None):
            found = _end(path, document)
        case _:
            found = _answer(program, document)
    return None if found is None else found.value is not None and found.value is not False


def _compared(simple: _Simple, other: _Operand, document: JsonValue) -> Value | None:
    left = _value(simple.left, document)
    if left is None:
        return None
    right = _value(other, document)
    if right is None:
        return None
    # 1 is true to Python.
    same = left.value == right.value and isinstance(left.value, bool) is isinstance(right.value, bool)
    return simple.is_equal if same else simple.differs


def _value(operand: _Operand, document: JsonValue) -> Value | None:
    if isinstance(operand, Value):
        return operand
    found = _end(operand, document)
    return found if found is not None and _is_plain(found.value) else None


def _whole(operand: _Operand, document: JsonValue) -> Value | None:
    """The same; what is found may also be a list or an object."""
    if isinstance(operand, Value):
        return operand
    found = _end(operand, document)
    if found is None or _is_plain(found.value):
        return found
    if not isinstance(found.value, dict | list):
        return None
    try:
        return Value(_Copy().of(found.value))
    except _Unsure:
        return None


def _end(path: Path, document: JsonValue) -> Value | None:
    """Whatever is at the end of the path; None where jq would say how it fails."""
    value = document
    for key in path:
        if isinstance(value, dict):
            value = value.get(key)
        elif value is not None:
            return None
    return Value(value)


class _Unsure(Exception):
    """Only jq can tell what it answers."""


class _Copy:
    """One copy of a list or an object. What is found belongs to the document, and an answer of jq never does."""

    def __init__(self) -> None:
        self._left = _MOST

    def of(self, value: JsonValue, depth: int = 0) -> JsonValue:
        """The value, copied.

        Raises:
            _Unsure: something in it is not plain, or it is too large, or nests too deep.
        """
        self._left -= 1
        if isinstance(value, str):
            self._left -= len(value)
        if self._left < 0 or depth > _DEEPEST:
            raise _Unsure
        if isinstance(value, dict):
            return {self._key(key): self.of(one, depth + 1) for key, one in value.items()}
        if isinstance(value, list):
            return [self.of(one, depth + 1) for one in value]
        if not _is_plain(value) or (isinstance(value, str) and "\0" in value):
            raise _Unsure
        return value

    def _key(self, key: str) -> str:
        self.of(key)
        return key


def _parsed(program: str) -> _Program:
    return _remembered(program) if len(program) <= _LONGEST else None


@lru_cache(maxsize=4096)
def _remembered(program: str) -> _Program:
    return _read(program)


def _read(text: str, depth: int = 0) -> _Program:
    if parts := _SIMPLE.fullmatch(text):
        left, operator, right = parts.groups()
        outcomes = (_FALSE, _TRUE) if operator == "!=" else (_TRUE, _FALSE)
        return _Simple(_operand(left), _operand(right) if operator else None, *outcomes)
    split = _split(text) if depth < _DEEPEST else None
    if split is None:
        return None
    if split == [[text]]:
        inner = text.strip(_BLANK)
        return _read(inner[1:-1], depth + 1) if inner.startswith("(") and inner.endswith(")") else None
    return _join(False, [_join(True, [_read(part, depth + 1) for part in parts]) for parts in split])


def _join(every: bool, parts: Sequence[_Program]) -> _Program:
    if len(parts) == 1:
        return parts[0]
    is_known = all(isinstance(part, _Simple) or (part is not None and part.is_known) for part in parts)
    return _Joined(every, tuple(parts), is_known)


def _split(text: str) -> list[list[str]] | None:
    """The parts that `or` joins, each as the parts that `and` joins; None where that cannot be told.

    What binds less tightly than these two, or has parts of its own without brackets, is not split.
    """
    split, begun, closing = [[""]], 0, list[str]()
    for token in _TOKEN.finditer(text):
        is_word, word = token.lastgroup == "word", token[0]
        if token.lastgroup == "unknown":
            return None
        if word in _BRACKETS:
            closing.append(_BRACKETS[word])
        elif word in _BRACKETS.values():
            if not closing or closing.pop() != word:
                return None
        elif closing:
            continue
        elif is_word and word in ("and", "or"):
            split[-1][-1] = text[begun : token.start()]
            begun = token.end()
            split.append([""]) if word == "or" else split[-1].append("")
        elif word in _LOOSE if not is_word else word in _CLAUSES:
            return None
    split[-1][-1] = text[begun:]
    return None if closing else split


def _operand(text: str) -> _Operand:
    if text.startswith("."):
        return tuple(text.split(".")[1:])
    if text.startswith('"'):
        return Value(text[1:-1])
    return Value(_CONSTANTS[text] if text in _CONSTANTS else int(text))


def _is_plain(value: JsonValue) -> bool:
    if isinstance(value, str):
        return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)
    return value is None or isinstance(value, bool) or (isinstance(value, int) and -_EXACT < value < _EXACT)
