"""Timers: when the value of a timer property is due, what happens before, and what its workflow is called."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Final

import regex
from pydantic import AfterValidator, Field, JsonValue

from domain.identifiers import ActionId
from domain.shapes import Closed
from domain.times import Duration

_VALUE: Final = regex.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
_FIRST: Final = datetime(1, 1, 2, tzinfo=UTC)
_LAST: Final = datetime(9999, 12, 30, tzinfo=UTC)
"""Moments that every database and every offset can express; what is beyond them counts as them."""

_LONGEST_ID: Final = 1000
"""How many bytes Temporal lets the id of a workflow have."""
_KEPT_OF_ID: Final = 900


def _some(length: timedelta) -> timedelta:
    if length <= timedelta(0):
        raise ValueError("must be longer than nothing")
    return length


class Warn(Closed):
    """A warning before the timer expires."""

    before: Annotated[Duration, Field(strict=False), AfterValidator(_some)]


class Extend(Closed):
    """What lets people have more time."""

    action: ActionId
    """The identifier of the action that writes a later value."""


class Lifecycle(Closed):
    """What happens to a timer besides that it expires; our own addition to a property."""

    warn: Warn | None = None
    extend: Extend | None = None


class Outcome(StrEnum):
    """What came of a timer's workflow asking for something."""

    DONE = "done"
    """It has happened now, or had before, or is not wanted any more."""
    EARLY = "early"
    """By our clock it is not time yet."""
    STALE = "stale"
    """The entity has another value now, or none: this workflow has nothing more to do."""


def due_at(value: JsonValue) -> datetime | None:
    """The moment that a timer with the value expires, in UTC; None when there is no timer in it.

    Everything that entities may hold as a timer is understood: any offset, a leap second, the year 0. What is finer
    than a microsecond is cut off.

    >>> due_at("2016-12-31T18:59:60-05:00").isoformat()
    '2017-01-01T00:00:00+00:00'
    """
    if not isinstance(value, str) or not (found := _VALUE.fullmatch(value)):
        return None
    year, month, day, hour, minute, second = map(int, found.groups()[:6])
    fraction, sign, hours, minutes = found.groups()[6:]
    offset = timedelta(hours=int(hours), minutes=int(minutes)) if sign else timedelta(0)
    try:
        at = datetime(
            max(year, 1),
            month,
            day,
            hour,
            minute,
            min(second, 59),
            int((fraction or "0")[:6].ljust(6, "0")),
            tzinfo=UTC,
        )
    except ValueError:  # the 30th of February
        return None
    if second > 60:
        return None
    try:
        at = at + (offset if sign == "-" else -offset) + timedelta(seconds=second == 60)
    except OverflowError:
        return _FIRST if year <= 1 else _LAST
    return _FIRST if year == 0 else min(max(at, _FIRST), _LAST)


def warn_at(due: datetime, lifecycle: Lifecycle) -> datetime | None:
    """The moment of the warning before a timer that is due then; None when nobody wants one."""
    if lifecycle.warn is None:
        return None
    try:
        return max(due - lifecycle.warn.before, _FIRST)
    except OverflowError:
        return _FIRST


def workflow_id(blueprint: str, entity: str, property: str) -> str:
    """The id of the workflow that waits for a timer: no two timers have the same.

    It is in words as far as Temporal lets it be; the rest of a longer one becomes a digest.
    """
    # Entities may have a colon in their identifiers, too; it is the first one that ends the blueprint's.
    whole = f"timer:{blueprint.replace(':', '%3A')}:{entity}:{property}"
    if len(encoded := whole.encode()) <= _LONGEST_ID:
        return whole
    return f"{encoded[:_KEPT_OF_ID].decode(errors='ignore')}~{sha256(encoded).hexdigest()}"
