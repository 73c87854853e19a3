"""Changes that are on their way to where their blueprint says have a row, so that nobody purges them."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

import store.columns

revision: str = "0020"
down_revision: str | None = "0019"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "change_deliveries",
        sa.Column("change_id", sa.String(), nullable=False),
        sa.Column("since", store.columns.Moment(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("change_id"),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("change_deliveries")
