"""Runs wait for somebody to claim them, or to be looked up."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

import store.columns
from store.columns import only

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Apply."""
    moment = store.columns.Moment(timezone=True)
    op.add_column("runs", sa.Column("invoked_at", moment, nullable=True))
    op.add_column("runs", sa.Column("claim_queue", sa.String(), nullable=True))
    op.add_column("runs", sa.Column("claimed_until", moment, nullable=True))
    op.add_column("runs", sa.Column("look_up_at", moment, nullable=True))
    op.create_index("ix_runs_claims", "runs", ["claim_queue", "created_at", "id"], **only("claim_queue IS NOT NULL"))
    op.create_index("ix_runs_look_ups", "runs", ["look_up_at"], **only("look_up_at IS NOT NULL"))


def downgrade() -> None:
    """Take back."""
    op.drop_index("ix_runs_look_ups", table_name="runs")
    op.drop_index("ix_runs_claims", table_name="runs")
    for column in ("look_up_at", "claimed_until", "claim_queue", "invoked_at"):
        op.drop_column("runs", column)
