"""Tables of turns: who waits in which line, who has its turn, and which backends are left alone."""

from datetime import datetime

from sqlalchemy import Column, Index
from sqlmodel import Field, SQLModel

from store.columns import SEQUENCE, Moment, only


class TurnRow(SQLModel, table=True):
    """A run that waits for its turn, or has it. The row goes when the run ends."""

    __tablename__ = "run_turns"
    __table_args__ = (
        Index("ix_run_turns_waits", "waits_on", "place", **only("waits_on IS NOT NULL")),
        Index("ix_run_turns_calls", "call_at", **only("call_at IS NOT NULL")),
    )

    place: int | None = Field(default=None, sa_column=Column(SEQUENCE, primary_key=True, autoincrement=True))
    """The same in every line that it stands in: whoever comes later has a higher one."""
    run_id: str = Field(unique=True)
    state: str
    """`waiting` or `held`."""
    since: datetime = Field(sa_column=Column(Moment(), nullable=False))
    """When it came."""
    waits_on: str | None = None
    """What was in its way when it looked last: a key, or the name of a circuit."""
    call_at: datetime | None = Field(default=None, sa_column=Column(Moment(), nullable=True))
    """When its workflow is told to look again. None: as soon as something has changed."""


class TurnKeyRow(SQLModel, table=True):
    """One of the lines it stands in. With `taken_at` it is kept for a day after the run has ended, to be counted."""

    __tablename__ = "run_turn_keys"
    __table_args__ = (
        Index("ix_run_turn_keys_line", "key", "state", "place"),
        Index("ix_run_turn_keys_taken", "key", "taken_at", **only("taken_at IS NOT NULL")),
        Index("ix_run_turn_keys_over", "taken_at", **only("state = 'over'")),
    )

    run_id: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    place: int = Field(sa_column=Column(SEQUENCE, nullable=False))
    state: str
    """`waiting`, `held`, or `over` once the run has ended."""
    taken_at: datetime | None = Field(default=None, sa_column=Column(Moment(), nullable=True))
    """When its turn came, if its action limits how many may start."""


class CircuitRow(SQLModel, table=True):
    """A backend that has failed when it was called last."""

    __tablename__ = "circuits"

    key: str = Field(primary_key=True)
    failures: int
    open_until: datetime | None = Field(default=None, sa_column=Column(Moment(), nullable=True))
    probe: str | None = Field(default=None, index=True)
    """The run that tries it."""
