"""Changes of timers are found by automations though their property was renamed since."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0018"
down_revision: str | None = "0017"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "timer_renames",
        sa.Column("id", _SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("blueprint", sa.String(), nullable=False),
        sa.Column("old", sa.String(), nullable=False),
        sa.Column("new", sa.String(), nullable=False),
        sa.Column("upto", _SEQUENCE, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_timer_renames_blueprint", "timer_renames", ["blueprint"])


def downgrade() -> None:
    """Take back."""
    op.drop_index("ix_timer_renames_blueprint", table_name="timer_renames")
    op.drop_table("timer_renames")
