"""jq as the rules see it: programs go in, outcomes come out; who runs them is handed in.

The binding holds the GIL and cannot be interrupted, so no process that serves runs jq itself:
`runtime/jq_pool.py` has an `Evaluator` made of warm processes with limits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
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
