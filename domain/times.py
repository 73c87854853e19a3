"""Instants and durations as the wire has them."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator, PlainSerializer

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""Where computers begin to count."""
_TOLD = timedelta(milliseconds=1)
"""What is told of an instant is exact to this."""


@lru_cache(maxsize=1024)
def iso(at: datetime) -> str:
    """The instant in UTC with milliseconds, as in `2026-01-02T03:04:05.678Z`."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _iso_text(value: object) -> object:
    if not isinstance(value, str | timedelta):
        raise ValueError("must be an ISO 8601 duration such as PT30M or P1D")
    return value


def _positive(value: object) -> object:
    value = _iso_text(value)
    if isinstance(value, str) and not value.startswith("P"):
        raise ValueError("must be an ISO 8601 duration such as PT30M or P1D")
    return value


Instant = Annotated[AwareDatetime, PlainSerializer(iso, return_type=str, when_used="json")]
"""A moment; naive times are refused. In JSON: ISO 8601, UTC, milliseconds, `Z`."""

Duration = Annotated[timedelta, BeforeValidator(_positive)]
"""A length of time. In JSON: ISO 8601 (`PT30M`, `P1D`)."""


def not_before(at: datetime, known: datetime) -> datetime:
    """The moment `at`, or the next one after `known` that is told as another, if that is later.

    Who waited for another writer has a moment from before that one wrote; `known` is what that one left, of which only
    the milliseconds are kept.

    >>> noon = datetime(2026, 1, 2, 12)
    >>> not_before(noon - timedelta(seconds=1), noon).isoformat()
    '2026-01-02T12:00:00.001000'
    """
    return at if at == known or at >= known + _TOLD else known + _TOLD
