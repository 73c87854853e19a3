"""Each call of a run's backend is kept."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

import store.columns

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "run_attempts",
        sa.Column("sequence", store.columns.SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("started_at", store.columns.Moment(timezone=True), nullable=False),
        sa.Column("activity", sa.String(), nullable=True),
        sa.Column("first_try", sa.Integer(), nullable=True),
        sa.Column("last_try", sa.Integer(), nullable=True),
        sa.Column("document", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("sequence"),
    )
    op.create_index("ix_run_attempts_run_id", "run_attempts", ["run_id"])


def downgrade() -> None:
    """Take back."""
    op.drop_index("ix_run_attempts_run_id", table_name="run_attempts")
    op.drop_table("run_attempts")
