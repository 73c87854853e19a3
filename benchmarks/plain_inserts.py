"""The least SQL can do: the documents of entities in a table of their own. What our writes are compared with."""

import asyncio
import sys
import time
from uuid import uuid4

from sqlalchemy import JSON, Column, MetaData, String, Table, event
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase

from benchmarks.catalog import entity


class Base(DeclarativeBase):
    """Of the one table."""

    metadata = MetaData()


class PlainRow(Base):
    """A document."""

    __table__ = Table("plain_inserts", Base.metadata, Column("id", String, primary_key=True), Column("document", JSON))


async def measure(url: str, number: int, at_once: int) -> float:
    """Seconds for as many documents, one session after the other."""
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    began = time.perf_counter()
    for start in range(0, number, at_once):
        async with AsyncSession(engine) as session, session.begin():
            session.add_all(
                PlainRow(id=uuid4().hex, document=entity(place)) for place in range(start, min(number, start + at_once))
            )
    took = time.perf_counter() - began
    await engine.dispose()
    return took


def measure_file(url: str, number: int, at_once: int) -> float:
    """The same on SQLite, as durable as ours, and without an event loop."""
    from sqlalchemy import create_engine
    from sqlalchemy.orm import Session

    engine = create_engine(url)

    @event.listens_for(engine, "connect")
    def prepare(connection: object, _: object) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}")  # type: ignore[attr-defined]

    Base.metadata.create_all(engine)
    began = time.perf_counter()
    for start in range(0, number, at_once):
        with Session(engine) as session, session.begin():
            session.add_all(
                PlainRow(id=uuid4().hex, document=entity(place)) for place in range(start, min(number, start + at_once))
            )
    took = time.perf_counter() - began
    engine.dispose()
    return took


if __name__ == "__main__":
    address, times, together = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if address.startswith("sqlite"):
        print(measure_file(address, times, together))
    else:
        print(asyncio.run(measure(address, times, together)))
