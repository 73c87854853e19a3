"""What other systems have said of themselves, and need not be asked for every run: in memory, and not for long."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

_MOST = 1000
_CLOCKS_DIFFER = timedelta(seconds=1)
_ONE_AFTER_THE_OTHER = timedelta(seconds=1)


@dataclass
class _Limit:
    until: datetime
    waiting: int = 0
    """How many were told to come again after it."""


@dataclass
class Known:
    """By system and key. Each process has its own.

    That a system has answered lately also says that it works. So whoever finds out that it does not forgets all that it
    has said: those who come next ask it first, for something that may be asked twice.
    """

    lifetime: timedelta = timedelta(minutes=1)
    """How long it is taken to be still so."""
    _learned: dict[str, dict[Hashable, tuple[datetime, Any]]] = field(default_factory=dict, repr=False)
    _limits: dict[tuple[str, Hashable], _Limit] = field(default_factory=dict, repr=False)

    def get(self, system: str, key: Hashable, at: datetime) -> Any:
        """What it has said, if that is not long ago; else None."""
        learned = self._learned.get(system, {}).get(key)
        if learned is None or not timedelta(0) <= at - learned[0] < self.lifetime:
            return None
        return learned[1]

    def learn(self, system: str, key: Hashable, value: Any, at: datetime) -> None:
        """It has said so."""
        learned = self._learned.setdefault(system, {})
        if key not in learned and len(learned) >= _MOST:
            learned.clear()
        learned[key] = at, value

    def forget(self, system: str) -> None:
        """It was not so, or the system does not answer as it should."""
        self._learned.pop(system, None)

    def limited(self, system: str, caller: Hashable, wait: timedelta, at: datetime) -> None:
        """It takes nothing from this caller for so long."""
        if len(self._limits) >= _MOST:
            self._limits = {key: limit for key, limit in self._limits.items() if at < limit.until}
        # A little less, so that whoever has heard it does come at that time.
        until = at + wait - _CLOCKS_DIFFER
        limit = self._limits.setdefault((system, caller), _Limit(until))
        limit.until = max(limit.until, until)

    def limit(self, system: str, caller: Hashable, at: datetime) -> timedelta | None:
        """When to come again, if it takes nothing from this caller now: each who asks a second after the one before."""
        limit = self._limits.get((system, caller))
        if limit is None or at >= limit.until:
            self._limits.pop((system, caller), None)
            return None
        limit.waiting += 1
        return limit.until - at + _CLOCKS_DIFFER + limit.waiting * _ONE_AFTER_THE_OTHER
