"""jq as the rules see it: programs go in, outcomes come out; who runs them is handed in.

The binding holds the GIL and cannot be interrupted, so no process that serves runs jq itself:
`runtime/jq_pool.py` has an `Evaluator` made of warm processes with limits.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple, Protocol, TypeAlias

from pydantic import JsonValue


@dataclass(frozen=True, slots=True)
class Value:
    """The first output of the program."""

    value: JsonValue


@dataclass(frozen=True, slots=True)
class Nothing:
    """The program has no output (`empty`): JavaScript's undefined."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The program does not compile, or failed; `reason` says which."""

    reason: str


@dataclass(frozen=True, slots=True)
class Overran(Failed):
    """The program ran into a limit of time, memory or size: what it would have said is unknown, so nobody guesses."""


@dataclass(frozen=True, slots=True)
class Oversized(Overran):
    """Nothing was run: the document, or the programs together, are larger than a process takes."""


Outcome = Value | Nothing | Failed


class Evaluator(Protocol):
    """Runs jq programs over one document."""

    async def __call__(
        self, programs: Sequence[str], document: JsonValue, *, now: datetime | None = None
    ) -> list[Outcome]:
        """The outcome of each program over the document, in order.

        A program that fails or overruns is `Failed`; the others are not affected. `now` is what jq's `now`
        answers: rendering is repeatable when it is the run's creation time. None is the time of the call.

        Raises:
            domain.errors.Unavailable: no process could be had to run them.
        """
        ...


_SPACE = r"[ \t\r\n]*"
_OPERAND = (
    r"(?:\.[A-Za-z_][A-Za-z0-9_]*)+"
    r'|"[^"\\\0\ud800-\udfff]*"'
    r"|-?[1-9][0-9]{0,14}|0|true|false|null"
)
_SIMPLE = re.compile(rf"{_SPACE}({_OPERAND}){_SPACE}(?:(==|!=){_SPACE}({_OPERAND}){_SPACE})?")
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
_Operand: TypeAlias = Path | Value
"""A path, or a literal."""


class _Simple(NamedTuple):
    """A program that is an operand, or compares it with another."""

    left: _Operand
    right: _Operand | None
    is_equal: Value
    """The outcome when both are equal."""
    differs: Value


def followed(programs: Sequence[str], document: JsonValue) -> list[Outcome | None]:
    """What jq would answer to each program that only follows a path, or compares what is there; None for the others.

    It spares the trip to a process for most templates and conditions. Operands are paths and literals. Whatever could
    differ in the least is left to jq: fractions, large numbers, text that is no Unicode or has escapes, paths through
    what is no object, and comparisons of lists and objects. Of a path alone, a small list or object of plain values is
    answered too, as a copy; a large one could be more than jq may take.
    """
    return [_answer(simple, document) if (simple := _parsed(program)) else None for program in programs]


def demanded(program: str) -> tuple[Path, Value] | None:
    """The path that has to lead to one value for the program to be true, and the value, where it says just that.

    `.a.b == "x"` does, and so does `.a.b`, which is true where true is.
    """
    simple = _parsed(program)
    if simple is None or simple.is_equal is _FALSE:
        return None
    match simple.left, simple.right:
        case (tuple() as path, None):
            return path, _TRUE
        case (tuple() as path, Value() as literal) | (Value() as literal, tuple() as path):
            return path, literal
    return None


def led_to(path: Path, document: JsonValue) -> Value | None:
    """What jq would find at the end of the path; None where only jq can tell whether it equals a literal."""
    return _value(path, document)


def _answer(simple: _Simple, document: JsonValue) -> Outcome | None:
    if simple.right is None:
        return _whole(simple.left, document)
    left = _value(simple.left, document)
    if left is None:
        return None
    right = _value(simple.right, document)
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


def _parsed(program: str) -> _Simple | None:
    return _remembered(program) if len(program) <= _LONGEST else None


@lru_cache(maxsize=4096)
def _remembered(program: str) -> _Simple | None:
    parts = _SIMPLE.fullmatch(program)
    if parts is None:
        return None
    left, operator, right = parts.groups()
    outcomes = (_FALSE, _TRUE) if operator == "!=" else (_TRUE, _FALSE)
    return _Simple(_operand(left), _operand(right) if operator else None, *outcomes)


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
