"""The tables of what writes to the catalog from outside: integrations and incoming webhooks."""

from datetime import datetime

from sqlalchemy import Column, Index
from sqlmodel import Field, SQLModel

from domain.documents import Document
from store.columns import SEQUENCE, Moment, json_column


class IntegrationRow(SQLModel, table=True):
    """An installed integration, under the name it gives itself."""

    __tablename__ = "integrations"

    id: str = Field(primary_key=True)
    identifier: str = Field(unique=True)
    key: str = Field(unique=True)
    """The secret part of the addresses it sends its logs to."""
    document: Document = json_column()


class IntegrationRecordRow(SQLModel, table=True):
    """What an integration told about itself: log lines, measurements, examples."""

    __tablename__ = "integration_records"
    __table_args__ = (Index("ix_integration_records_newest", "integration_id", "kind", "sequence"),)

    sequence: int | None = Field(default=None, sa_column=Column(SEQUENCE, primary_key=True, autoincrement=True))
    integration_id: str
    kind: str
    """`log`, `metric`, `data`, or `example:` and the kind of resource."""
    at: datetime = Field(sa_column=Column(Moment(), nullable=False))
    document: Document = json_column()


class IncomingWebhookRow(SQLModel, table=True):
    """A webhook that others call, and how its events become entities."""

    __tablename__ = "incoming_webhooks"

    id: str = Field(primary_key=True)
    identifier: str = Field(unique=True)
    key: str = Field(unique=True)
    """The secret part of its address."""
    secret: str | None = None
    """What signs its events, encrypted."""
    document: Document = json_column()
