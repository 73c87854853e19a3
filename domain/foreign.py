"""What other systems say, read without trusting its types: ids that are numbers, moments, pages."""

from datetime import datetime
from typing import Any, TypeGuard

_MOST = 10**20
"""No id is as large; what is has no counterpart in ours, which are made of at most twenty digits."""


def is_id(value: Any) -> TypeGuard[int]:
    """Whether it is a number that something can have as its id.

    >>> [is_id(value) for value in (7, 0, -7, True, 7.0, "7", 10**20, None)]
    [True, False, False, False, False, False, False, False]
    """
    return type(value) is int and 0 < value < _MOST


def moment(value: Any) -> datetime | None:
    """The moment that a text of ISO 8601 tells, with its time zone; None if it tells none.

    >>> moment("2026-01-02T03:04:05Z")
    datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
    >>> [moment(value) for value in ("2026-01-02T03:04:05", "soon", "", 7, None)]
    [None, None, None, None, None]
    """
    if not isinstance(value, str):
        return None
    try:
        told = datetime.fromisoformat(value)
    except ValueError:
        return None
    return told if told.tzinfo else None
