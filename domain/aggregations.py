"""Aggregations: the number that is made of related entities, once it is known which they are.

What the published words leave open is decided here:

- `sum` and `count` of nothing are 0; `min`, `max`, `median` and every average of nothing are null.
- What is not a number does not count. Neither does, where time is measured, what has no time.
- An average by time is the count (or the sum of the property) divided by how many hours, days, weeks, or months of 30
  days have passed between the earliest measured time and now, and by 1 while it is less than one of them.
- An average by `total` is divided by how many entities there are; of a property that is the plain mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil, fsum, isfinite
from statistics import median
from typing import Final

from pydantic import JsonValue

from domain.comparisons import instant
from domain.computed_properties import CalculationSpec

_UNITS: Final = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
    "month": timedelta(days=30),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """What an aggregation asks of one related entity."""

    amount: JsonValue = None
    """The property."""
    at: datetime | None = None
    """The time by which it is measured."""

    @property
    def number(self) -> float | None:
        """The property, if it is a number."""
        plain = isinstance(self.amount, int | float) and not isinstance(self.amount, bool)
        return self.amount if plain else None  # type: ignore[return-value]


def timed_by(spec: CalculationSpec) -> str | None:
    """The date by which an average is measured, if time counts at all."""
    by_time = spec.func == "average" and spec.average_of in _UNITS
    return (spec.measure_time_by or "$createdAt") if by_time else None


def moment(value: JsonValue) -> datetime | None:
    """The time that a property holds."""
    return instant(value)


def result(spec: CalculationSpec, related: Sequence[Measured], *, at: datetime) -> JsonValue:
    """The number that the related entities make at that moment; null where they make none, or one too large."""
    try:
        return _result(spec, related, at)
    except OverflowError:
        return None


def _result(spec: CalculationSpec, related: Sequence[Measured], at: datetime) -> JsonValue:
    if timed_by(spec):
        related = [one for one in related if one.at is not None]
    if spec.calculation_by == "entities":
        if spec.func == "count":
            return len(related)
        return _plain(len(related) / _parts(spec, related, at)) if related else None
    numbers = [number for one in related if (number := one.number) is not None]
    if not numbers:
        return 0 if spec.func == "sum" else None
    match spec.func:
        case "sum":
            return _plain(_sum(numbers))
        case "min":
            return _plain(min(numbers))
        case "max":
            return _plain(max(numbers))
        case "median":
            return _plain(median(numbers))
    counted = [one for one in related if one.number is not None]
    return _plain(_sum(numbers) / _parts(spec, counted, at))


def _parts(spec: CalculationSpec, counted: Sequence[Measured], at: datetime) -> float:
    unit = _UNITS.get(spec.average_of or "")
    if unit is None:
        return len(counted)
    return max(ceil((at - min(one.at for one in counted if one.at)) / unit), 1)  # one that has begun counts


def _sum(numbers: Sequence[float]) -> float:
    return sum(numbers) if all(isinstance(one, int) for one in numbers) else fsum(numbers)


def _plain(number: float) -> JsonValue:
    if isinstance(number, int):
        return number
    if not isfinite(number):
        return None
    return int(number) if number.is_integer() else number
