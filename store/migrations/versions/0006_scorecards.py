"""Scorecards and their results."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "scorecards",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("blueprint", sa.String(), nullable=False),
        sa.Column("identifier", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("document", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("blueprint", "identifier"),
    )
    op.create_table(
        "scorecard_results",
        sa.Column("entity_id", sa.String(), nullable=False),
        sa.Column("scorecard", sa.String(), nullable=False),
        sa.Column("document", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("entity_id", "scorecard"),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("scorecard_results")
    op.drop_table("scorecards")
