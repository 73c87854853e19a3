"""Periods in intervals: where hours, days, weeks, months and quarters begin, anywhere in the world."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final, Literal, TypeAlias
from zoneinfo import ZoneInfo

from pydantic import JsonValue

from domain.documents import Document
from domain.errors import InvalidRequest
from domain.models import Written
from domain.rule_values import Period, Preset
from domain.shapes import shortened
from domain.times import EPOCH

Interval: TypeAlias = Literal["hour", "day", "isoWeek", "month", "quarter"]

_BEYOND: Final[dict[Interval, int]] = {"day": 1, "isoWeek": 7, "month": 32, "quarter": 93}
"""Days from the beginning of an interval to some day of the next one."""
_MILLISECOND: Final = timedelta(milliseconds=1)
_INSTANT: Final = timedelta(microseconds=1)


class TimeRange(Written):
    """A period that ends now, or one whole day, as somewhere in the world has it."""

    preset: Literal[
        "today", "yesterday", "lastDay", "lastWeek", "last2Weeks", "lastMonth", "last3Months", "last6Months",
        "last12Months", "last2Years", "last3Years",
    ]  # fmt: skip
    time_zone: str | None = None
    """A name of the IANA such as `Asia/Jerusalem`; by default UTC."""

    @property
    def zone(self) -> tzinfo:
        """Where days and months begin.

        Raises:
            InvalidRequest: there is no such zone.
        """
        if self.time_zone is None:
            return UTC
        try:
            return ZoneInfo(self.time_zone)
        except (KeyError, ValueError, OSError):  # OSError: a directory of zones, such as America
            known = shortened(self.time_zone, 80)
            raise InvalidRequest(f"timeRange.timeZone: no time zone is called {known!r}") from None

    def period(self, at: datetime) -> Period:
        """The period seen from that moment, no longer than until then."""
        wall = at.astimezone(self.zone).replace(tzinfo=UTC)
        seen = Preset(self.preset).at(wall)
        start = seen.start.replace(tzinfo=self.zone).astimezone(UTC)
        return Period(start, at if seen.end >= wall else seen.end.replace(tzinfo=self.zone).astimezone(UTC))


@dataclass(frozen=True)
class Timeline:
    """A period in intervals, which begin where hours, days, weeks and so on begin in its zone."""

    period: Period
    starts: Sequence[datetime]
    """Where each begins; the first no later than the period."""

    @classmethod
    def of(cls, asked: TimeRange, interval: Interval, *, at: datetime) -> "Timeline":
        """The intervals of the period seen from that moment.

        Raises:
            InvalidRequest: there is no such time zone.
        """
        period = asked.period(at)
        return cls(period, tuple(_starts(period, interval, asked.zone)))

    @property
    def ends(self) -> Sequence[datetime]:
        """The last instant of each interval that is in the period."""
        return [*(start - _INSTANT for start in self.starts[1:]), self.period.end]

    def place(self, at: datetime) -> int:
        """Which interval the moment is in."""
        return max(bisect_right(self.starts, at) - 1, 0)

    def document(self, data: Sequence[Mapping[str, JsonValue]]) -> Document:
        """The answer, with what there is of some of the intervals."""
        return {
            "minDate": milliseconds(self.period.start),
            "maxDate": milliseconds(self.period.end),
            "data": [dict(one) for one in data],
        }


def milliseconds(at: datetime) -> int:
    """The moment as clients compute with it, since 1970."""
    return (at - EPOCH) // _MILLISECOND


def _starts(period: Period, interval: Interval, zone: tzinfo) -> Iterator[datetime]:
    local = period.start.astimezone(zone)
    if interval == "hour":
        start = local.replace(minute=0, second=0, microsecond=0).astimezone(UTC)
        while start <= period.end:
            yield start
            start += timedelta(hours=1)
        return
    day = _first(local.date(), interval)
    while (start := datetime.combine(day, time(), zone).astimezone(UTC)) <= period.end:
        yield start
        day = _first(day + timedelta(days=_BEYOND[interval]), interval)


def _first(day: date, interval: Interval) -> date:
    """The first day of the interval."""
    match interval:
        case "isoWeek":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
        case "quarter":
            return day.replace(month=day.month - (day.month - 1) % 3, day=1)
    return day
