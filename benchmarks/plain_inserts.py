"""The least SQL can do: the documents of entities in a table of their own. What our writes are compared with."""

import asyncio
import sys
import time
from collections.abc import Iterator
from uuid import uuid4

from sqlalchemy import JSON, Column, MetaData, String, Table, create_engine, event, make_url
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Session

from benchmarks.catalog import entity
from benchmarks.product import durable


class Base(DeclarativeBase):
    """Of the one table."""

    metadata = MetaData()


class PlainRow(Base):
    """A document."""

    __table__ = Table("plain_inserts", Base.metadata, Column("id", String, primary_key=True), Column("document", JSON))


def _rows(start: int, number: int, at_once: int) -> Iterator[PlainRow]:
    for place in range(start, min(number, start + at_once)):
        yield PlainRow(id=uuid4().hex, document=entity(place))


async def in_a_loop(url: str, number: int, at_once: int) -> float:
    """Seconds for as many documents, one session after the other, as an application with an event loop has them."""
    engine = create_async_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine.sync_engine, "connect", durable)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    began = time.perf_counter()
    for start in range(0, number, at_once):
        async with AsyncSession(engine) as session, session.begin():
            session.add_all(_rows(start, number, at_once))
    took = time.perf_counter() - began
    await engine.dispose()
    return took


def in_a_script(url: str, number: int, at_once: int) -> float:
    """The same without an event loop."""
    engine = create_engine(url)
    event.listen(engine, "connect", durable)
    Base.metadata.create_all(engine)
    began = time.perf_counter()
    for start in range(0, number, at_once):
        with Session(engine) as session, session.begin():
            session.add_all(_rows(start, number, at_once))
    took = time.perf_counter() - began
    engine.dispose()
    return took


if __name__ == "__main__":
    address, times, together = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if make_url(address).get_dialect().is_async:
        print(asyncio.run(in_a_loop(address, times, together)))
    else:
        print(in_a_script(address, times, together))
