"""The tables of automations and timers: what has still to be looked at, what fired, and what waits for its time."""

from datetime import datetime

from sqlalchemy import Column, Index
from sqlmodel import Field, SQLModel

from domain.documents import Document
from store.columns import SEQUENCE, Moment, json_column, only


class ListeningRow(SQLModel, table=True):
    """Which automations listen, as one number; there is one row."""

    __tablename__ = "listening"

    only: bool = Field(default=True, primary_key=True)
    number: int = 0
    """Counts every change of what is listened to."""
    token: str = ""
    """New with each number, so that what was remembered of another database is never taken for this one's."""


class PendingChangeRow(SQLModel, table=True):
    """A change that automations have still to be asked about; deleted when they have been."""

    __tablename__ = "pending_changes"
    __table_args__ = (Index("ix_pending_changes_subject", "subject", "id"),)

    id: int | None = Field(default=None, sa_column=Column(SEQUENCE, primary_key=True, autoincrement=True))
    change_id: str = Field(index=True)
    subject: str
    """What is kept in order: the row of the entity, or the run."""
    listening: int
    """The number of `ListeningRow` when the change was written: who began to listen later is not asked."""
    action_id: str = ""
    """The only automation to ask, when past changes are replayed for it."""
    replay: str = ""
    """The replay this belongs to; empty for what has just happened."""
    lease: str | None = None
    leased_until: datetime | None = Field(default=None, sa_column=Column(Moment(), nullable=True))


class ChangeDeliveryRow(SQLModel, table=True):
    """A change on its way to the `changelogDestination` of its blueprint; goes when it has arrived or was given up."""

    __tablename__ = "change_deliveries"

    change_id: str = Field(primary_key=True)
    since: datetime = Field(sa_column=Column(Moment(), nullable=False))
    """When a workflow was about to be started for it, the last time."""


class ReplayRow(SQLModel, table=True):
    """A replay of many changes, of which some have still to become pending; deleted with the last of them."""

    __tablename__ = "replays"

    id: str = Field(primary_key=True)
    action_id: str
    event: Document = json_column()
    """What the automation listened to when it was asked for."""
    since: datetime = Field(sa_column=Column(Moment(), nullable=False))
    until: datetime = Field(sa_column=Column(Moment(), nullable=False))
    again: bool
    """Whether changes that the automation has let pass before are to pass again."""
    after: int = Field(sa_column=Column(SEQUENCE, nullable=False, autoincrement=False))
    """The sequence of the last change that it has come to."""


class FiringRow(SQLModel, table=True):
    """What became of a change that an automation's condition let pass; there is one for each pair."""

    __tablename__ = "firings"
    __table_args__ = (
        Index("ix_firings_subject", "action_id", "subject", "at"),
        Index("ix_firings_newest", "action_id", "at"),
    )

    change_id: str = Field(primary_key=True)
    action_id: str = Field(primary_key=True)
    replay: str = Field(default="", primary_key=True)
    outcome: str
    """See `domain.automations.Outcome`."""
    run_id: str | None = Field(default=None, index=True)
    subject: str
    recurs: bool = False
    """Whether it counts towards the limit of runs that an automation causes itself."""
    at: datetime = Field(sa_column=Column(Moment(), nullable=False))


class AutomationWriteRow(SQLModel, table=True):
    """The last change for which an automation wrote an entity; it goes when that change is purged."""

    __tablename__ = "automation_writes"

    action_id: str = Field(primary_key=True)
    subject: str = Field(primary_key=True)
    """What the change is about."""
    blueprint: str = Field(primary_key=True)
    identifier: str = Field(primary_key=True)
    """Of the entity that was written, like the blueprint."""
    sequence: int = Field(sa_column=Column(SEQUENCE, nullable=False, index=True, autoincrement=False))
    """Of the change: later ones have larger ones."""
    run_id: str


class HeldChangeRow(SQLModel, table=True):
    """The last change of a subject that an automation waits to calm down."""

    __tablename__ = "held_changes"

    action_id: str = Field(primary_key=True)
    subject: str = Field(primary_key=True)
    change_id: str
    replay: str = ""
    due_at: datetime = Field(sa_column=Column(Moment(), nullable=False, index=True))


class EntityTimerRow(SQLModel, table=True):
    """A timer property that has a value: its workflow may fire for this value only, and once."""

    __tablename__ = "entity_timers"
    __table_args__ = (
        Index("ix_entity_timers_blueprint", "blueprint", "property"),
        Index("ix_entity_timers_pending", "pending_since", **only("pending IS NOT NULL")),
    )

    entity_id: str = Field(primary_key=True)
    property: str = Field(primary_key=True)
    blueprint: str
    entity: str
    """The identifier of the entity, as it is now."""
    value: str
    """As it is stored with the entity."""
    due_at: datetime = Field(sa_column=Column(Moment(), nullable=False))
    warn_at: datetime | None = Field(default=None, sa_column=Column(Moment(), nullable=True))
    warned: bool = False
    expired: bool = False
    """Whether it has fired for this value."""
    workflow_id: str | None = None
    """The workflow that waits for it; None before there is one."""
    workflow_run: str | None = None
    """Temporal's id of that very execution: another timer may have had, or get, a workflow of the same id."""
    pending: str | None = None
    """What Temporal has still to be told: `start` or `stop`. None when it knows everything."""
    pending_since: datetime | None = Field(default=None, sa_column=Column(Moment(), nullable=True))


class TimerRenameRow(SQLModel, table=True):
    """A timer property that got another name; it goes with the last change of before."""

    __tablename__ = "timer_renames"

    id: int | None = Field(default=None, sa_column=Column(SEQUENCE, primary_key=True, autoincrement=True))
    blueprint: str = Field(index=True)
    old: str
    new: str
    upto: int = Field(sa_column=Column(SEQUENCE, nullable=False, autoincrement=False))
    """The sequence of the last change there was: later ones know it by the new name."""


class ScheduleRow(SQLModel, table=True):
    """The Temporal Schedule of an automation that is started by the clock."""

    __tablename__ = "schedules"
    __table_args__ = (Index("ix_schedules_pending", "pending_since", **only("pending")),)

    action_id: str = Field(primary_key=True)
    identifier: str
    """The identifier of the automation, as it is now."""
    token: str
    """New with each change of the row, so that nobody takes what was told before for what it says now."""
    wanted: bool = True
    """Whether there should be one; False when the automation was deleted, or listens no more."""
    since: datetime = Field(sa_column=Column(Moment(), nullable=False))
    """When it began to be wanted for these times: what came before is none of its business."""
    pending: bool = True
    """Whether Temporal has still to be told."""
    pending_since: datetime = Field(sa_column=Column(Moment(), nullable=False))
    document: Document = json_column()
    """The cron expression and the time zone."""
