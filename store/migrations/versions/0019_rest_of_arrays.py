"""Arrays are found by their elements, the first of which says what follows it, and have no row of their own besides."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter

import sqlalchemy as sa
from alembic import op
from pydantic import JsonValue

from domain.comparisons import key
from domain.indexed_values import TEAM, Entry, digest, entries

revision: str = "0019"
down_revision: str | None = "0018"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_AT_ONCE = 500
_KEY = ("name", "head", "number", "entity_id", "place")
_VALUES = sa.table("entity_values", *map(sa.column, (*_KEY, "kind", "rest")))
_THIS = sa.and_(*(_VALUES.c[name] == sa.bindparam(f"of_{name}") for name in _KEY))
_TELL = sa.update(_VALUES).where(_THIS).values(rest=sa.bindparam("following"))
_FORGET = sa.delete(_VALUES).where(_THIS)


def upgrade() -> None:
    """Apply."""
    op.add_column("entity_values", sa.Column("rest", sa.String(), nullable=True))
    connection = op.get_bind()
    for arrays in _arrays(connection):
        _run(connection, _FORGET, [_key(row_id, own) for row_id, _, own in arrays])
        telling = [(row_id, first) for row_id, first, _ in arrays if first.rest is not None]
        _run(connection, _TELL, [{**_key(row_id, first), "following": first.rest} for row_id, first in telling])


def downgrade() -> None:
    """Take back."""
    connection = op.get_bind()
    for arrays in _arrays(connection):
        _run(connection, _VALUES.insert(), [_row(row_id, own) for row_id, _, own in arrays])
    op.drop_column("entity_values", "rest")


def _arrays(connection: sa.Connection) -> Iterator[list[tuple[str, Entry, Entry]]]:
    """The arrays that are found by their elements: the row of the entity, the first entry, and the one they had."""
    entities = sa.table("entities", sa.column("id"), sa.column("document", sa.JSON()))
    after = ""
    while True:
        some = sa.select(entities.c.id, entities.c.document).where(entities.c.id > after).order_by(entities.c.id)
        rows = connection.execute(some.limit(_AT_ONCE)).all()
        if not rows:
            return
        after = rows[-1].id
        yield [
            (row_id, first, _own(name, document["team"] if name == TEAM else document["properties"][name]))
            for row_id, document in rows
            for name, of_name in groupby(entries(document["properties"], document["team"]), itemgetter(0))
            if (first := next(of_name)).place
        ]


def _own(name: str, array: list[JsonValue]) -> Entry:
    match key(array):
        case ("array", tuple() as keys):
            return Entry(name, digest(keys), 0.0, 0, "array")
    return Entry(name, "", 0.0, 0, "array")  # it is equal to nothing


def _key(row_id: str, entry: Entry) -> dict[str, object]:
    return {f"of_{name}": row_id if name == "entity_id" else getattr(entry, name) for name in _KEY}


def _row(row_id: str, entry: Entry) -> dict[str, object]:
    return {"entity_id": row_id, **{name: getattr(entry, name) for name in (*_KEY, "kind") if name != "entity_id"}}


def _run(connection: sa.Connection, statement: sa.Executable, rows: list[dict[str, object]]) -> None:
    if rows:
        connection.execute(statement, rows)
