"""What tables are made of: column types and options that are the same on every database."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, DateTime, Integer, Table, TypeDecorator, text
from sqlalchemy.engine import Dialect
from sqlmodel import Field, SQLModel


class Moment(TypeDecorator[datetime]):
    """A time zone aware datetime on every database; SQLite keeps it as UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """In UTC; without its zone where the database has no zones."""
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """In UTC again."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class JsonText(str):
    """The value of a column of documents, which is JSON already."""

    __slots__ = ()


SEQUENCE = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up by itself only in an INTEGER key


def json_column(*, nullable: bool = False) -> Any:
    # JSON, not JSONB: what users write is given back with its keys in the order they came.
    return Field(default=None, sa_column=Column(JSON(none_as_null=True), nullable=nullable))


def only(condition: str) -> dict[str, Any]:
    # Keeps rows out of an index that nobody looks for there.
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


def table(row: type[SQLModel]) -> Table:
    """The table of a row class, for statements that need no objects."""
    return SQLModel.metadata.tables[str(row.__tablename__)]
