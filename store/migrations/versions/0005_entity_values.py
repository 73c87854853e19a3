"""What searches find entities by."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from domain.indexed_values import entries

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_AT_ONCE = 500


def upgrade() -> None:
    """Apply."""
    op.add_column("entities", sa.Column("title", sa.String(), nullable=False, server_default=""))
    values = op.create_table(
        "entity_values",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("head", sa.String(), nullable=False),
        sa.Column("number", sa.Float(53), nullable=False),
        sa.Column("entity_id", sa.String(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("whole", sa.String(), nullable=True),
        sa.Column("moment", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("name", "head", "number", "entity_id", "place"),
        sqlite_with_rowid=False,
    )
    _fill(values)


def downgrade() -> None:
    """Take back."""
    op.drop_table("entity_values")
    with op.batch_alter_table("entities") as entities:
        entities.drop_column("title")


def _fill(values: sa.Table) -> None:
    """Write down what the entities that are there already are found by, some at a time."""
    entities = sa.table("entities", sa.column("id"), sa.column("title"), sa.column("document", sa.JSON()))
    named = sa.update(entities).where(entities.c.id == sa.bindparam("this")).values(title=sa.bindparam("called"))
    connection, after = op.get_bind(), ""
    while True:
        some = sa.select(entities.c.id, entities.c.document).where(entities.c.id > after).order_by(entities.c.id)
        rows = connection.execute(some.limit(_AT_ONCE)).all()
        if not rows:
            return
        after = rows[-1].id
        connection.execute(named, [{"this": row_id, "called": document["title"]} for row_id, document in rows])
        found = [
            {"entity_id": row_id, **{name: part for name, part in entry._asdict().items() if name in values.c}}
            for row_id, document in rows
            for entry in entries(document["properties"], document["team"])
        ]
        if found:
            connection.execute(values.insert(), found)
