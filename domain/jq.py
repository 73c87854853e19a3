"""jq as the rules see it: programs go in, outcomes come out; who runs them is handed in.

The binding holds the GIL and cannot be interrupted, so no process that serves runs jq itself:
`runtime/jq_pool.py` has an `Evaluator` made of warm processes with limits.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Protocol

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


_PATH = re.compile(r"(?a:\s*(?:\.[A-Za-z_]\w*)+\s*)")
_EXACT = 2**53
"""Up to here a number is the same to jq and to Python."""


def followed(programs: Sequence[str], document: JsonValue) -> list[Outcome] | None:
    """What jq would answer if each program only follows a path to a plain value, as most templates do; None otherwise.

    It spares the trip to a process. Whatever could differ in the least is left to jq: lists and objects, fractions,
    large numbers, text that is no Unicode, and paths through what is no object.
    """
    outcomes: list[Outcome] = []
    for program in programs:
        keys = _path(program)
        if keys is None:
            return None
        value = document
        for key in keys:
            if isinstance(value, dict):
                value = value.get(key)
            elif value is not None:
                return None
        if not _is_plain(value):
            return None
        outcomes.append(Value(value))
    return outcomes


@lru_cache(maxsize=4096)
def _path(program: str) -> tuple[str, ...] | None:
    return tuple(program.strip().split(".")[1:]) if _PATH.fullmatch(program) else None


def _is_plain(value: JsonValue) -> bool:
    if isinstance(value, str):
        return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)
    return value is None or isinstance(value, bool) or (isinstance(value, int) and -_EXACT < value < _EXACT)
