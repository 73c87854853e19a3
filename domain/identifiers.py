"""Typed identifiers: a string with a pattern per kind, and how new ones look."""

import hashlib
import os
import string
from base64 import b64encode
from datetime import datetime
from functools import cache, lru_cache
from typing import Any, ClassVar, Self

import regex
from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema

from domain.shapes import shortened

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
"""In the order in which they sort."""
_PAIRS = [one + other for one in _ALPHABET for other in _ALPHABET]
_LONGEST = 100
"""How many characters a message repeats of what is no identifier."""
_LENGTH = 16
_HALF = _LENGTH // 2
_BYTES = 768
"""How many are asked for at a time: some hundred halves."""


class Identifier(str):
    """A string of one kind; making one that does not fit its pattern is a `ValueError`."""

    __slots__ = ()
    PATTERN: ClassVar[str]
    KIND: ClassVar[str] = "identifier"

    def __new__(cls, value: str) -> Self:
        """The identifier, if it fits the pattern of its kind."""
        if not _compiled(cls.PATTERN).fullmatch(value):
            shown = shortened(repr(value), _LONGEST)
            raise ValueError(f"{shown} is no {cls.KIND}: it must match {cls.PATTERN}")
        return super().__new__(cls, value)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Validated from a string, written as one; the pattern shows in JSON Schema."""
        return core_schema.no_info_after_validator_function(
            cls,
            core_schema.str_schema(metadata={"pydantic_js_extra": {"pattern": cls.PATTERN}}),
            serialization=core_schema.to_string_ser_schema(),
        )


class ActionId(Identifier):
    """Of an action, self-service or automation. `runs` is a route and therefore taken."""

    __slots__ = ()
    PATTERN = r"^(?!\.{1,2}$)(?!runs$)[\p{L}0-9@_.+:=-]{1,255}$"
    KIND = "action identifier"


class RunId(Identifier):
    """Also the Temporal workflow id of the run."""

    __slots__ = ()
    PATTERN = r"^r_[A-Za-z0-9]{16}$"
    KIND = "run id"


def new(prefix: str) -> str:
    """A fresh opaque id, `<prefix>_` and 16 letters or digits: 95 random bits."""
    return f"{prefix}_{_random()}{_random()}"


def successive(prefix: str, at: datetime) -> str:
    """The same, but ids of later milliseconds sort after earlier ones, so that indexes grow at their end.

    47 of its bits are random.
    """
    return f"{prefix}_{_instant(at)}{_random()}"


def derived(prefix: str, *parts: str) -> str:
    """The id that follows from the parts: always the same, and another one for any others. 95 bits of a digest."""
    digest = hashlib.sha256("".join(f"{len(part)}:{part}" for part in parts).encode()).digest()
    number, letters = int.from_bytes(digest), ""
    for _ in range(_LENGTH):
        number, place = divmod(number, len(_ALPHABET))
        letters += _ALPHABET[place]
    return f"{prefix}_{letters}"


@lru_cache(maxsize=64)
def _instant(at: datetime) -> str:
    number, pairs = int(at.timestamp() * 1000), []
    for _ in range(_HALF // 2):
        number, place = divmod(number, len(_PAIRS))
        pairs.append(_PAIRS[place])
    return "".join(reversed(pairs))


_drawn: list[str] = []
"""Random halves of ids that nobody has taken yet: asking the system for each costs more than all the rest of an id."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drawn.clear)  # or both processes would make the same ids


def _random() -> str:
    """Half of an id."""
    while True:
        try:
            return _drawn.pop()  # of several threads each gets another one
        except IndexError:
            # Base64 without its two signs leaves letters and digits alike often, and enough of them.
            letters = b64encode(os.urandom(_BYTES)).translate(None, b"+/").decode()
            _drawn.extend([letters[at : at + _HALF] for at in range(0, len(letters) - _HALF, _HALF)])


@cache
def _compiled(pattern: str) -> regex.Pattern[str]:
    return regex.compile(pattern)
