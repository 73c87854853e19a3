"""What guardrails need: why a run was let through is kept with it."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Apply."""
    op.add_column("runs", sa.Column("explanation", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    """Take back."""
    with op.batch_alter_table("runs") as runs:
        runs.drop_column("explanation")
