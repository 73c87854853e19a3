"""Turns: what runs that share something wait for, in which line, and when they look again; and circuits of backends."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Self

from domain.backend_rules import BackendRules, Budget, CircuitBreaker, Per
from domain.runs import Run

_LONGEST = 500
"""Characters of what is counted; databases do not look for longer ones."""
_CIRCUIT = "CIRCUIT"
SOONEST_LOOK = timedelta(minutes=1)
LATEST_LOOK = timedelta(hours=1)


@dataclass(frozen=True, order=True)
class Key:
    """What a budget is counted for: all runs with the same key share it."""

    per: Per
    of: str

    def __str__(self) -> str:
        """As it is stored.

        >>> str(Key(Per.ENTITY, "service checkout"))
        'ENTITY service checkout'
        """
        return f"{self.per} {self.of}"

    @classmethod
    def read(cls, stored: str) -> Self:
        """The key that is stored like this."""
        per, _, of = stored.partition(" ")
        return cls(Per(per), of)


@dataclass(frozen=True)
class Wanted:
    """What a run needs before its backend is called: room in every line, and a backend that answers."""

    budgets: Mapping[Key, tuple[Budget, ...]] = field(default_factory=dict)
    backend: str = ""
    """Where the delivery goes."""
    breaker: CircuitBreaker | None = None

    @property
    def circuit(self) -> str | None:
        """The name of its circuit. None: it has none."""
        return circuit_of(self.backend) if self.breaker else None

    def __bool__(self) -> bool:
        """Whether it needs anything."""
        return bool(self.budgets or self.breaker)


def wanted(run: Run, action_id: str, rules: BackendRules, counterpart: str | None) -> Wanted:
    """What the run needs by the rules of its action; `counterpart` is where its delivery goes.

    None: that is not known. Then what is counted for its backend is left out, and so is its circuit.
    """
    backend, breaker = counterpart, rules.circuit_breaker
    if backend is not None and len(backend) > _LONGEST:
        backend = hashlib.sha256(backend.encode()).hexdigest()
    of = {Per.ACTION: action_id, Per.ENTITY: _entity(run), Per.BACKEND: backend}
    keys: dict[Key, tuple[Budget, ...]] = {}
    for budget in rules.budgets:
        if counted := of[budget.per]:
            key = Key(budget.per, counted)
            keys[key] = (*keys.get(key, ()), budget)
    return Wanted(dict(sorted(keys.items())), backend or "", None if backend is None else breaker)


def _entity(run: Run) -> str | None:
    """Identifiers have no spaces in them, so this is what no other entity has."""
    if run.entity is None:
        return None
    named = f"{run.blueprint.identifier if run.blueprint else ''} {run.entity.identifier}"
    return named if len(named) <= _LONGEST else hashlib.sha256(named.encode()).hexdigest()


def circuit_of(backend: str) -> str:
    """The name of the circuit of a backend."""
    return f"{_CIRCUIT} {backend}"


def backend_of(circuit: str) -> str | None:
    """The backend whose circuit has this name; None if it is the name of something else."""
    kind, _, backend = circuit.partition(" ")
    return backend if kind == _CIRCUIT else None


@dataclass(frozen=True)
class Circuit:
    """What is known of a backend: how often in a row it has failed, and whether it is left alone."""

    failures: int = 0
    open_until: datetime | None = None
    """It is left alone until then, and after that until a run has tried it. None: it is called."""
    probe: str | None = None
    """The run that tries it."""

    def lets(self, run_id: str, *, at: datetime) -> bool:
        """Whether the run may call the backend, trying it if it was left alone."""
        if self.open_until is None or self.probe == run_id:
            return True
        return self.probe is None and at >= self.open_until

    def tried(self, run_id: str) -> Self:
        """Once the run may try it."""
        return replace(self, probe=run_id)

    def worked(self) -> Self:
        """Once it has answered: nothing is held against it any more."""
        return replace(self, failures=0, open_until=None, probe=None)

    def failed(self, run_id: str, rules: CircuitBreaker, *, at: datetime) -> Self:
        """Once it has not, by the rules of the run that called it.

        Calls that were under way when it was found to fail do not prolong it.
        """
        failures = self.failures + 1
        opens = self.probe == run_id or (self.open_until is None and failures >= rules.failures)
        if not opens:
            return replace(self, failures=failures)
        return replace(self, failures=failures, open_until=at + rules.open, probe=None)

    def abandoned(self, run_id: str) -> Self:
        """Once the run has ended: if it was to try the backend, another one does."""
        return replace(self, probe=None) if self.probe == run_id else self


def look_again(since: datetime, *, at: datetime, until: datetime | None = None) -> datetime:
    """When a run that waits since then looks by itself, although it is called when its turn has come.

    First after a minute, then after as long as it has waited, at last every hour: whoever waits for 60 days looks 1,500
    times. A look is about 11 events in the history of its workflow, which may have 51,200.
    """
    healing = at + min(max(at - since, SOONEST_LOOK), LATEST_LOOK)
    return min(healing, until) if until and until > at else healing


def ordinal(number: int) -> str:
    """A place in a line, in words.

    >>> [ordinal(number) for number in (1, 2, 3, 4, 11, 12, 13, 21, 102, 111)]
    ['1st', '2nd', '3rd', '4th', '11th', '12th', '13th', '21st', '102nd', '111th']
    """
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def in_words(run: Run, waits_on: str, position: int) -> str:
    """What the run waits for.

    `waits_on` is the key of the line it stands in at that position, or the name of a circuit.
    """
    backend = backend_of(waits_on)
    if backend is not None:
        return f"Waits until {backend} answers again"
    key = Key.read(waits_on)
    named = {
        Per.ACTION: f"action {run.action.identifier}",
        Per.ENTITY: f"entity {run.entity.identifier if run.entity else key.of}",
        Per.BACKEND: key.of,
    }
    return f"Waits for its turn: {ordinal(position)} for {named[key.per]}"
