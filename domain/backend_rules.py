"""How an action wants its backend called: retries, budgets, a circuit breaker, and being stopped."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StrictBool, model_validator

from domain.models import Written
from domain.times import Duration

MOST_ATTEMPTS = 50
MOST_CONCURRENT = 10_000
LONGEST_PAUSE = timedelta(hours=1)
LONGEST_WINDOW = timedelta(days=1)


def _within_an_hour(length: timedelta) -> timedelta:
    if not timedelta(0) < length <= LONGEST_PAUSE:
        raise ValueError("must be longer than nothing and at most an hour")
    return length


def _within_a_day(length: timedelta) -> timedelta:
    if not timedelta(0) < length <= LONGEST_WINDOW:
        raise ValueError("must be longer than nothing and at most a day")
    return length


def _repeatable(status: int) -> int:
    if status not in (408, 409, 423, 425, 429) and not 500 <= status <= 599:
        raise ValueError("must be 408, 409, 423, 425, 429 or from 500 to 599: other answers are final")
    return status


_Pause = Annotated[Duration, AfterValidator(_within_an_hour)]


class Retry(Written):
    """How often and how soon a delivery is tried again."""

    attempts: Annotated[int, Field(strict=True, ge=1, le=MOST_ATTEMPTS)] | None = None
    """Deliveries in all, the first among them. Absent: as this deployment says (`INTERLOCK_WEBHOOK_ATTEMPTS`)."""
    wait: _Pause = timedelta(seconds=1)
    """Before the second; it doubles each time. ISO 8601 (`PT1S`)."""
    longest_wait: _Pause = timedelta(minutes=1)
    """What it does not exceed. ISO 8601."""
    statuses: Annotated[
        tuple[Annotated[int, Field(strict=True), AfterValidator(_repeatable)], ...], Field(max_length=50)
    ] = ()
    """HTTP statuses after which the delivery is tried again, though the backend may have seen it; others are final.

    What provably never reached the backend is tried again always.
    """

    def pause(self, failures: int) -> timedelta:
        """How long to wait after so many failures."""
        return min(self.wait * 2.0 ** min(max(failures - 1, 0), 30), self.longest_wait)


class Per(StrEnum):
    """What a budget is counted for."""

    ACTION = "ACTION"
    ENTITY = "ENTITY"
    """The entity that the run is about, whatever the action. Runs about none are not counted."""
    BACKEND = "BACKEND"
    """Where the delivery goes, whatever the action."""


class Budget(Written):
    """How many runs may be under way, or begin within a time. More wait for their turn, first come first served."""

    per: Per
    concurrent: Annotated[int, Field(strict=True, ge=1, le=MOST_CONCURRENT)] | None = None
    """Runs that are handed over and have not ended."""
    starts: Annotated[int, Field(strict=True, ge=1, le=MOST_CONCURRENT)] | None = None
    """Runs that are handed over within `within`."""
    within: Annotated[Duration, AfterValidator(_within_a_day)] | None = None
    """ISO 8601 (`PT1M`)."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.concurrent is None and self.starts is None:
            raise ValueError("limits nothing: it needs concurrent, or starts and within")
        if (self.starts is None) != (self.within is None):
            raise ValueError("starts and within belong together")
        return self


class CircuitBreaker(Written):
    """When a backend that does not answer is left alone for a while. Its runs wait, and one of them tries it then."""

    failures: Annotated[int, Field(strict=True, ge=1, le=1000)] = 5
    """So many in a row, of all runs that call this backend: unreachable, or an answer of 429 or from 500 to 599."""
    open: _Pause = timedelta(seconds=30)
    """How long. ISO 8601 (`PT30S`)."""


class BackendRules(Written):
    """Our own section on how the backend of an action is called."""

    retry: Retry | None = None
    budgets: Annotated[tuple[Budget, ...], Field(max_length=10)] = ()
    circuit_breaker: CircuitBreaker | None = None
    cancel_after_time_limit: StrictBool = False
    """Whether the backend is asked to stop when the run's time limit has passed, as it is when a run is cancelled."""

    def retrying(self, usual: int) -> Retry:
        """How its backend is tried again; `usual` is how often in all where the action does not say."""
        retry = self.retry or Retry()
        return retry if retry.attempts is not None else retry.model_copy(update={"attempts": usual})
