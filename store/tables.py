"""The tables: each row is its JSON document plus the columns somebody queries by."""

from datetime import datetime

from sqlalchemy import Column, Index, text
from sqlmodel import Field, SQLModel

from domain.documents import Document
from store.columns import SEQUENCE, Moment, json_column, only


class OrganizationRow(SQLModel, table=True):
    """The organization; there is one."""

    __tablename__ = "organizations"

    id: str = Field(primary_key=True)
    only: bool = Field(default=True, unique=True)
    """The same in every row, so that there is one: of two processes that set up, one wins for both."""
    client_id: str = Field(unique=True)
    client_secret: str
    """Encrypted: it also signs webhooks and encrypts secret inputs, so it must be recoverable."""
    document: Document = json_column()


class UserRow(SQLModel, table=True):
    """A person."""

    __tablename__ = "users"

    id: str = Field(primary_key=True)
    email: str = Field(unique=True)
    client_id: str = Field(unique=True)
    client_secret_hash: str
    document: Document = json_column()


class TeamRow(SQLModel, table=True):
    """A team; who is in it is kept with each person."""

    __tablename__ = "teams"

    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    document: Document = json_column()


class SecretRow(SQLModel, table=True):
    """A secret of the organization, for templates."""

    __tablename__ = "secrets"

    name: str = Field(primary_key=True)
    value: str
    """Encrypted."""
    document: Document = json_column()


class ActionRow(SQLModel, table=True):
    """The current version of an action."""

    __tablename__ = "actions"

    id: str = Field(primary_key=True)
    identifier: str = Field(unique=True)
    version: int
    trigger_type: str = Field(index=True)
    operation: str | None = None
    blueprint: str | None = Field(default=None, index=True)
    event: str | None = None
    event_action: str | None = None
    published: bool = False
    restricted: bool = False
    """Whether only some may see its runs."""
    listening_since: int | None = None
    """The number of `ListeningRow` since when this automation is asked about changes. None: it does not listen."""
    paused: Document | None = json_column(nullable=True)
    """Why and when an automation was stopped, until an admin resumes it."""
    permissions: Document = json_column()
    document: Document = json_column()


class ActionVersionRow(SQLModel, table=True):
    """Every version an action ever had; they outlive the action, because runs refer to them."""

    __tablename__ = "action_versions"

    action_id: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    document: Document = json_column()


class RunRow(SQLModel, table=True):
    """A run."""

    __tablename__ = "runs"
    __table_args__ = (
        Index("ix_runs_newest", "created_at", "id"),
        Index("ix_runs_action", "action", "created_at"),
        Index(
            "ix_runs_pending",
            "pending_since",
            sqlite_where=text("pending IS NOT NULL"),
            postgresql_where=text("pending IS NOT NULL"),
        ),
        Index("ix_runs_waiting", "action_id", "status"),
        Index("ix_runs_claims", "claim_queue", "created_at", "id", **only("claim_queue IS NOT NULL")),
        Index("ix_runs_look_ups", "look_up_at", **only("look_up_at IS NOT NULL")),
    )

    id: str = Field(primary_key=True)
    revision: int = 0
    status: str
    action_id: str
    action: str
    blueprint: str | None = Field(default=None, index=True)
    entity: str | None = Field(default=None, index=True)
    created_by: str = Field(index=True)
    source: str
    restricted: bool = False
    """Whether only some may see it; follows the action."""
    external_run_id: str | None = Field(default=None, index=True)
    created_at: datetime = Field(sa_column=Column(Moment(), nullable=False))
    delivered: bool = False
    """Whether its backend has accepted it and works on it."""
    invoked_at: datetime | None = Field(default=None, sa_column=Column(Moment(), nullable=True))
    """When it had."""
    queue: str | None = None
    """Where it waits to be claimed, or has: whether it still does is for `ClaimRow` to say. None: nobody has to."""
    claim_queue: str | None = None
    """For processes of before `claims`, like the next one: what they put here is moved there."""
    claimed_until: datetime | None = Field(default=None, sa_column=Column(Moment(), nullable=True))
    look_up_at: datetime | None = Field(default=None, sa_column=Column(Moment(), nullable=True))
    """When its backend is asked what became of it. None: never."""
    turn: str | None = None
    """`waiting` for its turn or `held`; None: it needs none (any more), see `store.turns`."""
    pending: str | None = None
    """What its workflow has still to be told: `start` or `wake`. None when it knows everything."""
    pending_since: datetime | None = Field(default=None, sa_column=Column(Moment(), nullable=True))
    idempotency_key: str | None = Field(default=None, unique=True)
    request_digest: str | None = None
    explanation: Document | None = json_column(nullable=True)
    """Which rules let it pass, and who was asked to approve; not part of the run, and never changed."""
    document: Document = json_column()


class ClaimRow(SQLModel, table=True):
    """A run that waits for somebody to claim and acknowledge it; goes when somebody has, or when the run ends.

    Claiming writes many rows at once, so these are narrow, and no index has what a claim changes.
    """

    __tablename__ = "claims"
    __table_args__ = (Index("ix_claims_queue", "queue", "created_at", "run_id"),)

    run_id: str = Field(primary_key=True)
    queue: str
    """Who has to claim it, and of which type: `<type>:<installation id>`."""
    action: str
    """The identifier of its action."""
    created_at: datetime = Field(sa_column=Column(Moment(), nullable=False))
    """When the run was."""
    claimed_until: datetime | None = Field(default=None, sa_column=Column(Moment(), nullable=True))
    """Who claimed it has it to themselves until then."""


class ReservationRow(SQLModel, table=True):
    """What a run has to itself, by its name: something that happens elsewhere, or something that begins only once."""

    __tablename__ = "reservations"

    name: str = Field(primary_key=True)
    run_id: str
    since: datetime | None = Field(default=None, sa_column=Column(Moment(), nullable=True))


class DecisionRow(SQLModel, table=True):
    """The last word of one person about one run."""

    __tablename__ = "decisions"

    run_id: str = Field(primary_key=True)
    user_id: str = Field(primary_key=True)
    document: Document = json_column()


class RunLogRow(SQLModel, table=True):
    """One line of a run's log."""

    __tablename__ = "run_logs"

    sequence: int | None = Field(default=None, sa_column=Column(SEQUENCE, primary_key=True, autoincrement=True))
    run_id: str = Field(index=True)
    document: Document = json_column()


class RunAttemptRow(SQLModel, table=True):
    """One call of a run's backend; goes with the run."""

    __tablename__ = "run_attempts"

    sequence: int | None = Field(default=None, sa_column=Column(SEQUENCE, primary_key=True, autoincrement=True))
    run_id: str = Field(index=True)
    kind: str
    outcome: str
    started_at: datetime = Field(sa_column=Column(Moment(), nullable=False))
    activity: str | None = None
    """Temporal's id of the activity that made it. None: none did."""
    first_try: int | None = None
    """Which of Temporal's attempts at that activity it was."""
    last_try: int | None = None
    """Where Temporal asked again while it was under way: the last of them."""
    document: Document = json_column()


class ChangeRow(SQLModel, table=True):
    """One change; nothing is ever changed here, and only old ones are deleted."""

    __tablename__ = "changes"
    __table_args__ = (
        Index("ix_changes_newest", "at"),
        Index("ix_changes_kind", "resource_type", "happening", "at"),
        Index("ix_changes_origin", "origin", "at"),
        Index("ix_changes_failures", "at", **only("status = 'FAILURE'")),
        Index("ix_changes_action", "action", "at", **only("action IS NOT NULL")),
        Index("ix_changes_blueprint", "blueprint", "at", **only("blueprint IS NOT NULL")),
        Index("ix_changes_entity", "entity", "at", **only("entity IS NOT NULL")),
        Index("ix_changes_webhook", "webhook_id", "at", **only("webhook_id IS NOT NULL")),
        Index("ix_changes_webhook_event", "webhook_event_id", **only("webhook_event_id IS NOT NULL")),
        Index("ix_changes_installation", "installation_id", "at", **only("installation_id IS NOT NULL")),
    )

    sequence: int | None = Field(default=None, sa_column=Column(SEQUENCE, primary_key=True, autoincrement=True))
    id: str = Field(unique=True)
    at: datetime = Field(sa_column=Column(Moment(), nullable=False))
    resource_type: str
    happening: str | None = None
    """CREATE, UPDATE and so on. None, like the origin, when a process of before this column wrote it."""
    status: str = "SUCCESS"
    origin: str | None = None
    run_id: str | None = Field(default=None, index=True)
    action: str | None = None
    """The identifier of the action it is about."""
    blueprint: str | None = None
    entity: str | None = None
    webhook_id: str | None = None
    webhook_event_id: str | None = None
    installation_id: str | None = None
    pending: bool = False
    """Unused, for processes of before `pending_changes`."""
    document: Document = json_column()
