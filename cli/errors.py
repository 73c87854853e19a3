"""What people are told when a command cannot do what it should: one sentence, no traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from domain.errors import InterlockError
from runtime.embedded import EmbeddedFault
from runtime.keys import KeyFault
from runtime.ports import NoSuchHost, PortInUse
from runtime.settings import InvalidSettings


class CannotStart(Exception):
    """The command cannot do its work here; the message says why, and what to change."""


EXPECTED = (CannotStart, EmbeddedFault, InterlockError, InvalidSettings, KeyFault, NoSuchHost, PortInUse)
"""Whose messages are written for people. Anything else is a defect and shows where it happened."""


@contextmanager
def told() -> Iterator[None]:
    """Ends the command with one sentence and exit code 1 when something expected goes wrong in here."""
    try:
        yield
    except EXPECTED as problem:
        typer.echo(f"interlock: {problem}", err=True)
        raise typer.Exit(1) from None
