"""Causes: which run makes somebody change something, and how long the chain of runs is that led there."""

from dataclasses import dataclass
from typing import Final

from domain.runs import Run


@dataclass(frozen=True)
class Cause:
    """The run on whose behalf something is changed; None when a person or a program does so by itself."""

    run_id: str | None = None
    depth: int = 0
    """How many runs caused each other before that one."""

    @classmethod
    def of_run(cls, run: Run) -> "Cause":
        """The run as a cause."""
        return cls(run.id, run.interlock.depth)

    @property
    def next_depth(self) -> int:
        """How many runs caused each other before what it causes, itself included."""
        return self.depth + 1 if self.run_id else 0


NO_RUN: Final = Cause()
"""Somebody does it by themselves."""
