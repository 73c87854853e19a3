"""What automations and timers need: who listens, what is pending, what fired, what waits for its time."""

from collections.abc import Sequence
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

import store.columns
from domain.identifiers import new
from domain.timers import due_at

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Apply. Automations that are published already listen from now on."""
    op.add_column("actions", sa.Column("listening_since", sa.Integer(), nullable=True))
    op.add_column("actions", sa.Column("paused", sa.JSON(none_as_null=True), nullable=True))
    op.execute("UPDATE actions SET listening_since = 0 WHERE trigger_type = 'automation' AND published")
    listening = op.create_table(
        "listening",
        sa.Column("only", sa.Boolean(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("token", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("only"),
    )
    op.bulk_insert(listening, [{"only": True, "number": 0, "token": new("listening")}])
    op.create_table(
        "pending_changes",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("change_id", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("listening", sa.Integer(), nullable=False),
        sa.Column("action_id", sa.String(), nullable=False),
        sa.Column("replay", sa.String(), nullable=False),
        sa.Column("lease", sa.String(), nullable=True),
        sa.Column("leased_until", store.columns.Moment(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_pending_changes_subject", "pending_changes", ["subject", "id"])
    op.create_index("ix_pending_changes_change_id", "pending_changes", ["change_id"])
    op.create_table(
        "firings",
        sa.Column("change_id", sa.String(), nullable=False),
        sa.Column("action_id", sa.String(), nullable=False),
        sa.Column("replay", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=True),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("recurs", sa.Boolean(), nullable=False),
        sa.Column("at", store.columns.Moment(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("change_id", "action_id", "replay"),
    )
    op.create_index("ix_firings_run_id", "firings", ["run_id"])
    op.create_index("ix_firings_subject", "firings", ["action_id", "subject", "at"])
    op.create_index("ix_firings_newest", "firings", ["action_id", "at"])
    op.create_table(
        "automation_writes",
        sa.Column("action_id", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("blueprint", sa.String(), nullable=False),
        sa.Column("identifier", sa.String(), nullable=False),
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("action_id", "subject", "blueprint", "identifier"),
    )
    op.create_index("ix_automation_writes_sequence", "automation_writes", ["sequence"])
    op.create_table(
        "held_changes",
        sa.Column("action_id", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("change_id", sa.String(), nullable=False),
        sa.Column("replay", sa.String(), nullable=False),
        sa.Column("due_at", store.columns.Moment(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("action_id", "subject"),
    )
    op.create_index("ix_held_changes_due_at", "held_changes", ["due_at"])
    op.create_index(
        "ix_changes_action",
        "changes",
        ["action", "at"],
        sqlite_where=sa.text("action IS NOT NULL"),
        postgresql_where=sa.text("action IS NOT NULL"),
    )
    _create_timers_and_schedules()


def _create_timers_and_schedules() -> None:
    op.create_table(
        "entity_timers",
        sa.Column("entity_id", sa.String(), nullable=False),
        sa.Column("property", sa.String(), nullable=False),
        sa.Column("blueprint", sa.String(), nullable=False),
        sa.Column("entity", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.Column("due_at", store.columns.Moment(timezone=True), nullable=False),
        sa.Column("warn_at", store.columns.Moment(timezone=True), nullable=True),
        sa.Column("warned", sa.Boolean(), nullable=False),
        sa.Column("expired", sa.Boolean(), nullable=False),
        sa.Column("workflow_id", sa.String(), nullable=True),
        sa.Column("workflow_run", sa.String(), nullable=True),
        sa.Column("pending", sa.String(), nullable=True),
        sa.Column("pending_since", store.columns.Moment(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("entity_id", "property"),
    )
    op.create_index("ix_entity_timers_blueprint", "entity_timers", ["blueprint", "property"])
    op.create_index(
        "ix_entity_timers_pending",
        "entity_timers",
        ["pending_since"],
        sqlite_where=sa.text("pending IS NOT NULL"),
        postgresql_where=sa.text("pending IS NOT NULL"),
    )
    op.create_table(
        "schedules",
        sa.Column("action_id", sa.String(), nullable=False),
        sa.Column("identifier", sa.String(), nullable=False),
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("wanted", sa.Boolean(), nullable=False),
        sa.Column("since", store.columns.Moment(timezone=True), nullable=False),
        sa.Column("pending", sa.Boolean(), nullable=False),
        sa.Column("pending_since", store.columns.Moment(timezone=True), nullable=False),
        sa.Column("document", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("action_id"),
    )
    op.create_index(
        "ix_schedules_pending",
        "schedules",
        ["pending_since"],
        sqlite_where=sa.text("pending"),
        postgresql_where=sa.text("pending"),
    )
    _keep_timers()


def _keep_timers() -> None:
    """Let timers that entities hold already fire when they are due. Those of the past have nobody to tell."""
    connection, now = op.get_bind(), datetime.now(UTC)
    blueprints = sa.table("blueprints", sa.column("identifier"), sa.column("document", sa.JSON()))
    entities = sa.table(
        "entities", sa.column("id"), sa.column("blueprint"), sa.column("identifier"), sa.column("document", sa.JSON())
    )
    moment = store.columns.Moment(timezone=True)
    names = ("entity_id", "property", "blueprint", "entity", "value", "warned", "expired", "pending")
    moments = ("due_at", "pending_since")
    timers = sa.table("entity_timers", *map(sa.column, names), *(sa.column(name, moment) for name in moments))
    for blueprint, kept in connection.execute(sa.select(blueprints.c.identifier, blueprints.c.document)).all():
        properties = kept["document"]["schema"]["properties"]
        keys = [key for key, each in properties.items() if (each["type"], each.get("format")) == ("string", "timer")]
        after = ""
        while keys:
            page = connection.execute(
                sa.select(entities.c.id, entities.c.identifier, entities.c.document)
                .where(entities.c.blueprint == blueprint, entities.c.id > after)
                .order_by(entities.c.id)
                .limit(500)
            ).all()
            if not page:
                break
            after = page[-1].id
            rows = [
                {
                    "entity_id": entity.id, "property": key, "blueprint": blueprint, "entity": entity.identifier,
                    "value": value, "due_at": due, "warned": False, "expired": due <= now,
                    "pending": None if due <= now else "start", "pending_since": None if due <= now else now,
                }
                for entity in page
                for key in keys
                if (due := due_at(value := entity.document["properties"].get(key))) is not None
            ]  # fmt: skip
            if rows:
                connection.execute(sa.insert(timers), rows)


def downgrade() -> None:
    """Take back."""
    op.drop_index("ix_changes_action", "changes")
    for name in (
        *("schedules", "entity_timers", "held_changes", "automation_writes", "firings", "pending_changes", "listening"),
    ):
        op.drop_table(name)
    with op.batch_alter_table("actions") as actions:
        actions.drop_column("paused")
        actions.drop_column("listening_since")
