"""What the audit log is asked by: columns and indexes of the change log, filled from what it holds.

Processes of the release before go on writing: they leave `happening` and `origin` empty, and record no failures.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_COLUMNS = {
    "happening": ("action",),
    "origin": ("origin",),
    "blueprint": ("context", "blueprint"),
    "entity": ("context", "entity"),
    "webhook_id": ("context", "webhookId"),
    "webhook_event_id": ("context", "webhookEventId"),
    "installation_id": ("context", "installationId"),
}
"""Each new column, and where its value is in the document of a change."""

_INDEXES: dict[str, tuple[tuple[str, ...], str | None]] = {
    "ix_changes_newest": (("at",), None),
    "ix_changes_kind": (("resource_type", "happening", "at"), None),
    "ix_changes_origin": (("origin", "at"), None),
    "ix_changes_failures": (("at",), "status = 'FAILURE'"),
    "ix_changes_blueprint": (("blueprint", "at"), "blueprint IS NOT NULL"),
    "ix_changes_entity": (("entity", "at"), "entity IS NOT NULL"),
    "ix_changes_webhook": (("webhook_id", "at"), "webhook_id IS NOT NULL"),
    "ix_changes_webhook_event": (("webhook_event_id",), "webhook_event_id IS NOT NULL"),
    "ix_changes_installation": (("installation_id", "at"), "installation_id IS NOT NULL"),
}
"""Each new index: its columns, and which rows are in it."""


def upgrade() -> None:
    """Apply."""
    for name in _COLUMNS:
        op.add_column("changes", sa.Column(name, sa.String(), nullable=True))
    op.add_column("changes", sa.Column("status", sa.String(), nullable=False, server_default="SUCCESS"))
    changes = sa.table(
        "changes", sa.column("document", sa.JSON()), *(sa.column(name, sa.String()) for name in _COLUMNS)
    )
    document = changes.c.document
    op.execute(sa.update(changes).values({name: document[path].as_string() for name, path in _COLUMNS.items()}))
    for name, (columns, condition) in _INDEXES.items():
        where = sa.text(condition) if condition else None
        op.create_index(name, "changes", list(columns), sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    """Take back."""
    for name in _INDEXES:
        op.drop_index(name, "changes")
    with op.batch_alter_table("changes", schema=None) as batch_op:
        for name in (*_COLUMNS, "status"):
            batch_op.drop_column(name)
