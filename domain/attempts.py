"""Attempts: each time a backend was called, with what was said and answered, as it may be kept and shown."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from domain.models import Kept
from domain.times import Instant


class Kind(StrEnum):
    """What the backend was called for."""

    INVOKE = "INVOKE"
    LOOK_UP = "LOOK_UP"
    """It was asked what became of the run. Only where it told something new, or could not be asked."""
    CANCEL = "CANCEL"


class Outcome(StrEnum):
    """What came of an attempt."""

    ACCEPTED = "ACCEPTED"
    """The backend took it; of a synchronous one: and has done it."""
    REFUSED = "REFUSED"
    """It, or something before it, said that this does not work."""
    UNREACHABLE = "UNREACHABLE"
    """The request provably never reached it."""
    BUSY = "BUSY"
    """It takes nothing at the moment, and said when to come again."""
    ANSWER_LOST = "ANSWER_LOST"
    """It may have got the request, and nobody knows what came of it."""


class SentRequest(Kept):
    """A request as it went out, credentials and secrets masked."""

    type: Literal["HTTP"] = "HTTP"
    method: str
    url: str
    headers: dict[str, str]
    body: str | None = None
    """None: it had none. Long ones are cut."""
    size: int = 0
    """Of the body, in bytes."""


class SentMessage(Kept):
    """A message for Kafka. What it says is in the payload of the run."""

    type: Literal["KAFKA"] = "KAFKA"
    topic: str
    key: str | None = None
    size: int
    """In bytes."""


Sent: TypeAlias = Annotated[SentRequest | SentMessage, Field(discriminator="type")]


class Answered(Kept):
    """An answer, secrets masked."""

    status: int
    headers: dict[str, str] = Field(default_factory=dict)
    """Those that say what it is, or when to come again."""
    body: str = ""
    cut: bool = False
    """Whether there was more of it."""


class Exchanged(Kept):
    """One request and its answer."""

    at: Instant
    milliseconds: int
    """How long it took."""
    request: Sent
    answer: Answered | None = None
    """None: there was none; Kafka's brokers have none."""
    fault: str | None = None
    """Why there is no answer, or no complete one."""


class Attempt(Kept):
    """One call of a backend."""

    kind: Kind = Kind.INVOKE
    started_at: Instant
    ended_at: Instant
    outcome: Outcome
    said: str | None = None
    """Why it did not work, in the words of the run's summary."""
    again_at: Instant | None = None
    """When it is tried again. None: it is not."""
    exchanges: tuple[Exchanged, ...] = ()
    left_out: int = 0
    """How many more exchanges there were, in the middle of these."""

    def left(self, now: datetime) -> timedelta | None:
        """How long it is until it is tried again; None: it is not, or the time has come."""
        return self.again_at - now if self.again_at and self.again_at > now else None


class Try(Kept):
    """Which of Temporal's attempts at which activity made an attempt; more than one where it believed a worker dead."""

    activity: str
    first: int = 1
    last: int = 1
