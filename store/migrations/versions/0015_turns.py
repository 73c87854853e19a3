"""Runs wait for their turn, and backends that fail are left alone."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

import store.columns
from store.columns import SEQUENCE, only

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Apply."""
    moment = store.columns.Moment(timezone=True)
    op.add_column("runs", sa.Column("turn", sa.String(), nullable=True))
    op.create_table(
        "run_turns",
        sa.Column("place", SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("since", moment, nullable=False),
        sa.Column("waits_on", sa.String(), nullable=True),
        sa.Column("call_at", moment, nullable=True),
        sa.PrimaryKeyConstraint("place"),
        sa.UniqueConstraint("run_id"),
    )
    op.create_index("ix_run_turns_waits", "run_turns", ["waits_on", "place"], **only("waits_on IS NOT NULL"))
    op.create_index("ix_run_turns_calls", "run_turns", ["call_at"], **only("call_at IS NOT NULL"))
    op.create_table(
        "run_turn_keys",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("place", SEQUENCE, nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("taken_at", moment, nullable=True),
        sa.PrimaryKeyConstraint("run_id", "key"),
    )
    op.create_index("ix_run_turn_keys_line", "run_turn_keys", ["key", "state", "place"])
    op.create_index("ix_run_turn_keys_taken", "run_turn_keys", ["key", "taken_at"], **only("taken_at IS NOT NULL"))
    op.create_index("ix_run_turn_keys_over", "run_turn_keys", ["taken_at"], **only("state = 'over'"))
    op.create_table(
        "circuits",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("open_until", moment, nullable=True),
        sa.Column("probe", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("ix_circuits_probe", "circuits", ["probe"])


def downgrade() -> None:
    """Take back."""
    op.drop_table("circuits")
    op.drop_table("run_turn_keys")
    op.drop_table("run_turns")
    op.drop_column("runs", "turn")
