"""Alembic's entry: it is handed a connection and the tables."""

from typing import Any, Literal

from alembic import context
from sqlmodel import AutoString, SQLModel

import store.automation_tables
import store.catalog_tables
import store.integration_tables
import store.tables
import store.turn_tables  # noqa: F401 - fills the metadata


def _render(kind: str, item: Any, _: Any) -> str | Literal[False]:
    # SQLModel's string type is a plain string; migrations should not depend on its module.
    return "sa.String()" if kind == "type" and isinstance(item, AutoString) else False


connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=SQLModel.metadata, render_as_batch=True, render_item=_render)
with context.begin_transaction():
    context.run_migrations()
