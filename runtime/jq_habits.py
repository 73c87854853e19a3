"""What is asked again and again: calls of the jq pool whose programs are worth joining into few."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

TRIED: Final = 3
"""How often programs are evaluated one by one, quickly and within all limits, before they are joined."""
_SHUNNED: Final = 1_000
"""How often more when joining them has gone wrong."""
_MOST: Final = 256
_LONGEST: Final = 8 * 2**20
"""How many calls are remembered, and how many characters their programs have together, as they are and as JSON."""


@dataclass(slots=True)
class _Habit:
    size: int
    texts: bytes | None = None
    times: int = 0
    overran: bool = False
    """Whether it ran into a limit when it was made last."""


class Habits:
    """Remembers calls by their programs; where there are too many, those that were not made for the longest time go."""

    def __init__(self) -> None:
        self._habits: dict[tuple[str, ...], _Habit] = {}
        self._size = 0

    def joined(self, programs: tuple[str, ...]) -> bytes | None:
        """The programs as JSON if they are to be joined."""
        habit = self._habits.get(programs)
        if habit is None or habit.times < TRIED or len(programs) < 2:
            return None
        texts = habit.texts or encoded(programs)
        self._keep(habit, texts)
        self._used(programs)
        return texts

    def overran(self, programs: tuple[str, ...]) -> bool:
        """Whether they ran into a limit when they were evaluated last."""
        habit = self._habits.get(programs)
        return habit is not None and habit.overran

    def went_well(self, programs: tuple[str, ...]) -> None:
        """They were evaluated, quickly and within all limits."""
        habit = self._used(programs)
        habit.times += 1
        habit.overran = False

    def went_wrong(self, programs: tuple[str, ...]) -> None:
        """One of them ran into a limit, or joining them ended their process."""
        habit = self._used(programs)
        habit.times, habit.overran = -_SHUNNED, True
        self._keep(habit, None)

    def _keep(self, habit: _Habit, texts: bytes | None) -> None:
        more = len(texts or b"") - len(habit.texts or b"")
        habit.texts = texts
        habit.size += more
        self._size += more

    def _used(self, programs: tuple[str, ...]) -> _Habit:
        habit = self._habits.pop(programs, None)
        if habit is None:
            habit = _Habit(sum(map(len, programs)))
            self._size += habit.size
        self._habits[programs] = habit
        while len(self._habits) > 1 and (len(self._habits) > _MOST or self._size > _LONGEST):
            self._size -= self._habits.pop(next(iter(self._habits))).size
        return habit


def encoded(programs: Sequence[str]) -> bytes:
    """Programs as a process reads them."""
    return json.dumps(list(programs)).encode()
