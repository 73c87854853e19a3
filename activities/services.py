"""What activities work with, made once by the worker and handed in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Protocol

from backends.base import Resources
from domain.jq import Evaluator
from domain.notifications import Outcome
from domain.users import Caller
from store.database import Database


class Mail(Protocol):
    """The way out for emails."""

    @property
    def sender(self) -> Address:
        """Who they are from."""

    async def send(self, letters: Sequence[EmailMessage]) -> list[Outcome]:
        """Hand them over; what became of each. Takes half a minute at most, and never fails."""


@dataclass(frozen=True)
class Services:
    """Everything impure that activities need."""

    database: Database
    evaluate: Evaluator
    resources: Resources
    """What backends use; the access token is added per run, because it says which run caused the call."""
    decrypt: Callable[[str], str | None]
    """Turns a stored secret into its plaintext, for the memory of one activity; None if no configured key fits."""
    access_token: Callable[[str, int], str]
    """A short-lived token of the organization for calls to our own API, given the run and its depth."""
    credentials: Caller
    """The organization's own: on whose behalf runs write to the catalog, and whose id events name."""
    attempts: int
    """How often a delivery that provably never reached its peer is tried."""
    now: Callable[[], datetime]
    request_key: bytes
    """Makes fingerprints of what runs would send."""
    policy_fail_closed: bool = False
    """Whether a policy says no when one of its queries failed."""
    public_url: str = ""
    """What links begin with."""
    slack_buttons: bool = False
    """Whether messages for Slack have buttons to decide with: somebody has to take what they send."""
    mail: Mail | None = None
    """None where no SMTP server is configured."""
