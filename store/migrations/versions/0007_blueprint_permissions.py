"""Permissions of blueprints, and work on all entities of one."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

import store.columns

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "blueprint_permissions",
        sa.Column("blueprint", sa.String(), nullable=False),
        sa.Column("document", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("blueprint"),
    )
    op.create_table(
        "catalog_migrations",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("created_at", store.columns.Moment(timezone=True), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("document", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_catalog_migrations_status", "catalog_migrations", ["status"])


def downgrade() -> None:
    """Take back."""
    op.drop_table("catalog_migrations")
    op.drop_table("blueprint_permissions")
