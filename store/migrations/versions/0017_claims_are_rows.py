"""Runs wait to be claimed in rows of their own.

What waits in the old columns stays there as long as processes of the release before may hand it out: the relay moves
it. On the way down it goes back at once.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

import store.columns

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_KEPT = {
    "fillfactor": 50,
    "autovacuum_analyze_scale_factor": 0,
    "autovacuum_analyze_threshold": 1000,
    "autovacuum_vacuum_scale_factor": 0,
    "autovacuum_vacuum_threshold": 1000,
}
"""A row that is claimed stays on its page. Rows come and go: PostgreSQL that does not know of many in one queue would
look at all of them for the oldest."""
_BACK = """
UPDATE runs SET
    claim_queue = (SELECT queue FROM claims WHERE claims.run_id = runs.id),
    claimed_until = (SELECT claimed_until FROM claims WHERE claims.run_id = runs.id)
WHERE id IN (SELECT run_id FROM claims)
"""


def upgrade() -> None:
    """Apply."""
    moment = store.columns.Moment(timezone=True)
    op.create_table(
        "claims",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("queue", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("claimed_until", moment, nullable=True),
        sa.PrimaryKeyConstraint("run_id"),
        postgresql_with=_KEPT,
    )
    op.create_index("ix_claims_queue", "claims", ["queue", "created_at", "run_id"])
    op.add_column("runs", sa.Column("queue", sa.String(), nullable=True))


def downgrade() -> None:
    """Take back."""
    op.execute(_BACK)
    op.drop_column("runs", "queue")
    op.drop_table("claims")
