"""The first schema."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

import store.columns

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "action_versions",
        sa.Column("action_id", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("document", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("action_id", "version"),
    )
    op.create_table(
        "actions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("identifier", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("trigger_type", sa.String(), nullable=False),
        sa.Column("operation", sa.String(), nullable=True),
        sa.Column("blueprint", sa.String(), nullable=True),
        sa.Column("event", sa.String(), nullable=True),
        sa.Column("event_action", sa.String(), nullable=True),
        sa.Column("published", sa.Boolean(), nullable=False),
        sa.Column("restricted", sa.Boolean(), nullable=False),
        sa.Column("permissions", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("document", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("identifier"),
    )
    with op.batch_alter_table("actions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_actions_blueprint"), ["blueprint"], unique=False)
        batch_op.create_index(batch_op.f("ix_actions_trigger_type"), ["trigger_type"], unique=False)

    op.create_table(
        "changes",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("at", store.columns.Moment(timezone=True), nullable=False),
        sa.Column("resource_type", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=True),
        sa.Column("action", sa.String(), nullable=True),
        sa.Column("pending", sa.Boolean(), nullable=False),
        sa.Column("document", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("sequence"),
        sa.UniqueConstraint("id"),
    )
    with op.batch_alter_table("changes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_changes_run_id"), ["run_id"], unique=False)

    op.create_table(
        "decisions",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("document", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "user_id"),
    )
    op.create_table(
        "organizations",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("only", sa.Boolean(), nullable=False),
        sa.Column("client_id", sa.String(), nullable=False),
        sa.Column("client_secret", sa.String(), nullable=False),
        sa.Column("document", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("client_id"),
        sa.UniqueConstraint("only"),
    )
    op.create_table(
        "run_logs",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("document", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("sequence"),
    )
    with op.batch_alter_table("run_logs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_run_logs_run_id"), ["run_id"], unique=False)

    op.create_table(
        "runs",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("action_id", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("blueprint", sa.String(), nullable=True),
        sa.Column("entity", sa.String(), nullable=True),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("restricted", sa.Boolean(), nullable=False),
        sa.Column("external_run_id", sa.String(), nullable=True),
        sa.Column("created_at", store.columns.Moment(timezone=True), nullable=False),
        sa.Column("delivered", sa.Boolean(), nullable=False),
        sa.Column("pending", sa.String(), nullable=True),
        sa.Column("pending_since", store.columns.Moment(timezone=True), nullable=True),
        sa.Column("idempotency_key", sa.String(), nullable=True),
        sa.Column("request_digest", sa.String(), nullable=True),
        sa.Column("document", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("idempotency_key"),
    )
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.create_index("ix_runs_action", ["action", "created_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_runs_blueprint"), ["blueprint"], unique=False)
        batch_op.create_index(batch_op.f("ix_runs_created_by"), ["created_by"], unique=False)
        batch_op.create_index(batch_op.f("ix_runs_entity"), ["entity"], unique=False)
        batch_op.create_index(batch_op.f("ix_runs_external_run_id"), ["external_run_id"], unique=False)
        batch_op.create_index("ix_runs_newest", ["created_at", "id"], unique=False)
        batch_op.create_index(
            "ix_runs_pending",
            ["pending_since"],
            unique=False,
            sqlite_where=sa.text("pending IS NOT NULL"),
            postgresql_where=sa.text("pending IS NOT NULL"),
        )
        batch_op.create_index("ix_runs_waiting", ["action_id", "status"], unique=False)

    op.create_table(
        "secrets",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.Column("document", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("client_id", sa.String(), nullable=False),
        sa.Column("client_secret_hash", sa.String(), nullable=False),
        sa.Column("document", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("client_id"),
        sa.UniqueConstraint("email"),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("users")
    op.drop_table("secrets")
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_index("ix_runs_waiting")
        batch_op.drop_index(
            "ix_runs_pending",
            sqlite_where=sa.text("pending IS NOT NULL"),
            postgresql_where=sa.text("pending IS NOT NULL"),
        )
        batch_op.drop_index("ix_runs_newest")
        batch_op.drop_index(batch_op.f("ix_runs_external_run_id"))
        batch_op.drop_index(batch_op.f("ix_runs_entity"))
        batch_op.drop_index(batch_op.f("ix_runs_created_by"))
        batch_op.drop_index(batch_op.f("ix_runs_blueprint"))
        batch_op.drop_index("ix_runs_action")

    op.drop_table("runs")
    with op.batch_alter_table("run_logs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_run_logs_run_id"))

    op.drop_table("run_logs")
    op.drop_table("organizations")
    op.drop_table("decisions")
    with op.batch_alter_table("changes", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_changes_run_id"))

    op.drop_table("changes")
    with op.batch_alter_table("actions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_actions_trigger_type"))
        batch_op.drop_index(batch_op.f("ix_actions_blueprint"))

    op.drop_table("actions")
    op.drop_table("action_versions")
