"""What is said to other systems and what they answer, as it went over the wire: for whoever keeps account of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpExchange:
    """One request and its answer. Nothing is masked: secrets are in it, so it never leaves the memory as it is."""

    at: datetime
    """When it began."""
    took: timedelta
    method: str
    url: str = field(repr=False)
    request_headers: Mapping[str, str] = field(repr=False)
    request_body: bytes | None = field(repr=False)
    status: int | None = None
    """None: there was no answer."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Of the answer, by their names in lower case."""
    body: str = field(default="", repr=False)
    cut: bool = False
    """Whether there was more of the answer than is kept."""
    fault: str | None = None
    """Why there is no answer, or only a part of it; None: it is complete."""
    sent: bool = True
    """Whether the peer may have seen the request."""

    @property
    def final_status(self) -> int | None:
        """The status of a complete answer; None if nobody knows how it ended."""
        return self.status if self.fault is None else None

    @property
    def unknown(self) -> bool:
        """Whether the peer may have done something, and nobody knows what came of it."""
        return self.sent and self.fault is not None

    def retry_after(self, now: datetime) -> timedelta | None:
        """How long the peer asks to wait before anybody comes again; None: it does not say."""
        return retry_after(self.headers.get("retry-after"), now)


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaExchange:
    """One message that was given to the brokers, or could not be."""

    at: datetime
    took: timedelta
    topic: str
    key: str | None
    size: int
    """In bytes."""
    fault: str | None = None
    """Why no broker has it, or nobody knows; None: they have it."""
    sent: bool = True
    """Whether a broker may have it."""

    @property
    def final_status(self) -> None:
        """Brokers answer with no status of HTTP."""
        return None

    @property
    def unknown(self) -> bool:
        """Whether nobody knows if a broker has it."""
        return self.sent and self.fault is not None

    def retry_after(self, now: datetime) -> None:
        """Brokers do not say."""
        return None


Exchange: TypeAlias = HttpExchange | KafkaExchange
Observer: TypeAlias = Callable[[Exchange], None]
"""Is told of every exchange, once it has ended."""


def retry_after(said: str | None, now: datetime) -> timedelta | None:
    """What a `Retry-After` means, which is a number of seconds or a date; None if there is none that can be read."""
    if said is None:
        return None
    if said.strip().isascii() and said.strip().isdigit():
        digits = said.strip().lstrip("0")
        return timedelta(seconds=min(int(digits[:7] or 0), 10**6))
    try:
        return parsedate_to_datetime(said) - now
    except (ValueError, TypeError):
        return None
