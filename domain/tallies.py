"""Numbers and counts made of entities one by one, so that nobody has to hold all of them."""

from collections import Counter
from datetime import datetime
from math import fsum, nan
from typing import Final

from pydantic import JsonValue

from domain.aggregations import Measured, result, timed_by
from domain.computed_properties import CalculationSpec
from domain.documents import canonical
from domain.errors import InvalidRequest

MAX_VALUES: Final = 10_000
"""How many different values may be counted."""

_FOLDED: Final = 1_000


class Tally:
    """A number made of entities one by one: the one `domain.aggregations` makes of all of them at once."""

    def __init__(self, spec: CalculationSpec, *, at: datetime) -> None:
        self._spec, self._at, self._timed = spec, at, timed_by(spec) is not None
        self._by_property = spec.calculation_by == "property"
        self._count, self._earliest = 0, at
        self._numbers: list[float] = []

    def add(self, one: Measured) -> None:
        """Count one more."""
        number = one.number if self._by_property else 0
        if number is None or (self._timed and one.at is None):
            return
        self._earliest = one.at if one.at and (not self._count or one.at < self._earliest) else self._earliest
        self._count += 1
        if self._by_property:
            self._numbers.append(number)
            if self._spec.func != "median" and len(self._numbers) == _FOLDED:
                self._numbers = [self._folded()]

    def result(self) -> JsonValue:
        """The number; null where there is none, or one too large."""
        spec = self._spec
        if not self._count:
            return result(spec, (), at=self._at)
        match spec.func:
            case "count":
                return self._count
            case "median":
                return result(spec, [Measured(number) for number in self._numbers], at=self._at)
            case "average":
                amount = self._folded() if self._by_property else self._count
                share = amount if self._timed else _divided(amount, self._count)
                spec = spec.model_copy(update={"calculation_by": "property"})
                return result(spec, [Measured(share, self._earliest)], at=self._at)
        return result(spec, [Measured(self._folded())], at=self._at)

    def _folded(self) -> float:
        """One number in place of many."""
        match self._spec.func:
            case "min":
                return min(self._numbers)
            case "max":
                return max(self._numbers)
        try:
            return sum(self._numbers) if all(isinstance(one, int) for one in self._numbers) else fsum(self._numbers)
        except OverflowError:
            return nan


class Last:
    """The number of the entity with the latest time."""

    def __init__(self) -> None:
        self._number: float | None = None
        self._at: datetime | None = None

    def add(self, one: Measured) -> None:
        """Consider one more."""
        if one.number is not None and one.at is not None and (self._at is None or one.at >= self._at):
            self._number, self._at = one.number, one.at

    def result(self) -> JsonValue:
        """The number; null where there is none."""
        return self._number


class Values:
    """How often each value is there. Each element of an array counts; no value, or an empty array, is `null`."""

    def __init__(self, key: str) -> None:
        """`key` is where they were asked for."""
        self._key = key
        self._counts: Counter[str] = Counter()

    def add(self, value: JsonValue) -> None:
        """Count what one entity has.

        Raises:
            InvalidRequest: there are too many different values.
        """
        several = (value or [None]) if isinstance(value, list) else [value]
        self._counts.update(dict.fromkeys(map(_label, several), 1))
        if len(self._counts) > MAX_VALUES:
            raise InvalidRequest(f"{self._key}: has more than {MAX_VALUES} different values")

    def result(self) -> dict[str, int]:
        """The counts by value, the most frequent first."""
        return dict(sorted(self._counts.items(), key=lambda one: (-one[1], one[0])))


def _label(value: JsonValue) -> str:
    return value if isinstance(value, str) else canonical(value)


def _divided(amount: float, by: int) -> float | None:
    try:
        return amount / by
    except OverflowError:
        return None
