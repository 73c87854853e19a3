"""Cron expressions of five fields, as Temporal reads them, and the time zones they are meant in."""

from collections.abc import Iterator
from typing import NamedTuple
from zoneinfo import ZoneInfo

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MOST_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_LONGEST = 1_000
_OF_THE_HOST = ("localtime", "posixrules", "Factory")
"""Names in the time zone database that mean no place."""


class _Field(NamedTuple):
    name: str
    least: int
    most: int
    words: dict[str, int] = {}


_MINUTE, _HOUR, _DAY = _Field("minute", 0, 59), _Field("hour", 0, 23), _Field("day of month", 1, 31)
_MONTH = _Field("month", 1, 12, {word: i for i, word in enumerate(_MONTHS, 1)})
_WEEKDAY = _Field("day of week", 0, 7, {word: i for i, word in enumerate(_WEEKDAYS)})
_FIELDS = (_MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY)


def checked(expression: str) -> str:
    """The expression, if it is one that comes to its time at all.

    Each field is `*` or a list of numbers, ranges and steps (`1,5-10,*/15`); months and days of the week may be names
    of three letters, and Sunday is 0 and 7.

    Raises:
        ValueError: says what is wrong with it.
    """
    parts = expression.split() if len(expression) <= _LONGEST else []
    if len(parts) != len(_FIELDS):
        raise ValueError("must have five fields: minute, hour, day of month, month and day of week")
    _, _, days, months, _ = [_values(field, part) for field, part in zip(_FIELDS, parts, strict=True)]
    if min(days) > max(_MOST_DAYS[month - 1] for month in months):
        raise ValueError("never comes to its time: no month has such a day")
    return expression


def most_a_day(expression: str) -> int:
    """How often an expression that is `checked` comes to its time on one day at most.

    >>> most_a_day("*/15 8-17 * * 1-5")
    40
    """
    minutes, hours, *_ = expression.split()
    return len(_values(_MINUTE, minutes)) * len(_values(_HOUR, hours))


def time_zone(name: str) -> str:
    """The name, if it is a time zone's.

    Raises:
        ValueError: it is none.
    """
    try:
        if name in _OF_THE_HOST:
            raise ValueError(name)
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # a directory is no zone either
        raise ValueError("must be a time zone such as Europe/Berlin or UTC") from None
    return name


def _values(field: _Field, text: str) -> set[int]:
    return {value for part in text.split(",") for value in _range(field, part)}


def _range(field: _Field, text: str) -> Iterator[int]:
    span, slash, step_text = text.partition("/")
    step = _number(step_text) if slash else 1
    if not step:
        raise ValueError(f"{field.name}: the step after / must be a number, and not 0")
    if span == "*":
        return iter(range(field.least, field.most + 1, step))
    first_text, dash, last_text = span.partition("-")
    first = _value(field, first_text)
    last = _value(field, last_text) if dash else field.most if slash else first
    if last < first:
        raise ValueError(f"{field.name}: a range must not end before it begins")
    return iter(range(first, last + 1, step))


def _value(field: _Field, text: str) -> int:
    value = field.words.get(text.lower(), _number(text))
    if value is None or not field.least <= value <= field.most:
        raise ValueError(
            f"{field.name}: must be *, or numbers from {field.least} to {field.most}, ranges of them and steps"
        )
    return value


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 4 else None
