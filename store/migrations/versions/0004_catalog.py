"""Blueprints and entities."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

import store.columns

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "blueprints",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("identifier", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("document", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("identifier"),
    )
    op.create_table(
        "entities",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("blueprint", sa.String(), nullable=False),
        sa.Column("identifier", sa.String(), nullable=False),
        sa.Column("created_at", store.columns.Moment(timezone=True), nullable=False),
        sa.Column("updated_at", store.columns.Moment(timezone=True), nullable=False),
        sa.Column("datasource", sa.String(), nullable=False),
        sa.Column("document", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("blueprint", "identifier"),
    )
    op.create_index("ix_entities_datasource", "entities", ["datasource"])
    op.create_table(
        "entity_relations",
        sa.Column("source_id", sa.String(), nullable=False),
        sa.Column("relation", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("target_blueprint", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("source_id", "relation", "target"),
    )
    op.create_index("ix_entity_relations_target", "entity_relations", ["target_blueprint", "target"])


def downgrade() -> None:
    """Take back."""
    op.drop_table("entity_relations")
    op.drop_table("entities")
    op.drop_table("blueprints")
