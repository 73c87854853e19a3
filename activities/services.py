"""What activities work with, made once by the worker and handed in."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from backends.base import Resources
from domain.jq import Evaluator
from domain.users import Caller
from store.database import Database


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
