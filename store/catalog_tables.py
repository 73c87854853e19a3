"""The tables of the catalog: blueprints, entities, what is found by, and what follows from them."""

from datetime import datetime

from sqlalchemy import BigInteger, Column, Float, Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from domain.documents import Document
from store.columns import Moment, json_column


class BlueprintRow(SQLModel, table=True):
    """A blueprint."""

    __tablename__ = "blueprints"

    id: str = Field(primary_key=True)
    identifier: str = Field(unique=True)
    revision: int = 0
    document: Document = json_column()


class EntityRow(SQLModel, table=True):
    """An entity of the catalog."""

    __tablename__ = "entities"
    __table_args__ = (UniqueConstraint("blueprint", "identifier"),)

    id: str = Field(primary_key=True)
    blueprint: str
    identifier: str
    title: str = ""
    created_at: datetime = Field(sa_column=Column(Moment(), nullable=False))
    updated_at: datetime = Field(sa_column=Column(Moment(), nullable=False))
    datasource: str = Field(default="", index=True)
    document: Document = json_column()


class EntityRelationRow(SQLModel, table=True):
    """One entity names another in one of its relations; the order is in the document."""

    __tablename__ = "entity_relations"
    __table_args__ = (Index("ix_entity_relations_target", "target_blueprint", "target"),)

    source_id: str = Field(primary_key=True)
    relation: str = Field(primary_key=True)
    target: str = Field(primary_key=True)
    target_blueprint: str


class EntityValueRow(SQLModel, table=True):
    """A property of an entity as searches compare it: a row for the value, or for each element of an array."""

    __tablename__ = "entity_values"
    __table_args__ = ({"sqlite_with_rowid": False},)

    # The key is all there is: a table with a second index costs twice as much to write.
    name: str = Field(primary_key=True)
    head: str = Field(primary_key=True)
    """Of text the first 200 characters; of an array that has no elements, or is one, what equal arrays have in common;
    otherwise empty."""
    number: float = Field(sa_column=Column(Float(53), primary_key=True))
    """Numbers, booleans as 0 and 1, instants as microseconds since 1970, rounded where that is far away; or 0."""
    entity_id: str = Field(primary_key=True)
    place: int = Field(primary_key=True)
    """0 for the value itself; from 1 for the elements of an array, which counts those that have the key so far."""
    kind: str
    """boolean, number, text, instant, array or object, and null of elements; a value that is null has no row."""
    whole: str | None = None
    """The text, where the head is not all of it: of long text and of instants."""
    moment: int | None = Field(default=None, sa_column=Column(BigInteger(), nullable=True))
    """Instants as microseconds since 1970, exactly."""
    rest: str | None = None
    """Of the first element of an array: what arrays that are equal from the second one on have in common."""


class BlueprintPermissionsRow(SQLModel, table=True):
    """Who may do what with the entities of a blueprint, where somebody has said so."""

    __tablename__ = "blueprint_permissions"

    blueprint: str = Field(primary_key=True)
    document: Document = json_column()


class ScorecardRow(SQLModel, table=True):
    """A scorecard of a blueprint."""

    __tablename__ = "scorecards"
    __table_args__ = (UniqueConstraint("blueprint", "identifier"),)

    id: str = Field(primary_key=True)
    blueprint: str
    identifier: str
    revision: int = 0
    document: Document = json_column()


class ScorecardResultRow(SQLModel, table=True):
    """What a scorecard says about an entity."""

    __tablename__ = "scorecard_results"

    entity_id: str = Field(primary_key=True)
    scorecard: str = Field(primary_key=True)
    document: Document = json_column()


class CatalogMigrationRow(SQLModel, table=True):
    """Work on all entities of a blueprint that somebody asked for."""

    __tablename__ = "catalog_migrations"

    id: str = Field(primary_key=True)
    created_at: datetime = Field(sa_column=Column(Moment(), nullable=False))
    status: str = Field(index=True)
    document: Document = json_column()
