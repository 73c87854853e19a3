"""Changes on their way in SQL: which have been for long, and whose delivery somebody has begun again."""

from datetime import timedelta

from store import change_deliveries
from store.database import Database
from tests.store.conftest import AT

LATER = AT + timedelta(hours=1)


async def begun(database: Database, *change_ids: str, hours: int = 0) -> None:
    async with database.write() as session:
        await change_deliveries.begin(session, change_ids, at=AT + timedelta(hours=hours))


async def found(database: Database, *, after: str = "", limit: int = 10) -> list[str]:
    """Those that have been under way since before an hour after the first moment."""
    async with database.read() as session:
        return await change_deliveries.long_under_way(session, before=LATER, after=after, limit=limit)


async def test_those_under_way_for_long_are_found_a_page_at_a_time(database: Database) -> None:
    await begun(database)
    await begun(database, "c", "a", "b")
    await begun(database, "d", hours=1)
    assert await found(database) == ["a", "b", "c"]
    assert await found(database, limit=2) == ["a", "b"]
    assert await found(database, after="b", limit=2) == ["c"]


async def test_what_has_ended_is_under_way_no_more(database: Database) -> None:
    await begun(database, "a", "b")
    async with database.write() as session:
        for change_id in ("a", "none"):
            await change_deliveries.end(session, change_id)
    assert await found(database) == ["b"]


async def test_what_was_begun_again_is_not_forgotten(database: Database) -> None:
    await begun(database, "a", "b")
    await begun(database, "b", hours=2)
    async with database.write() as session:
        await change_deliveries.forget(session, ["a", "b"], before=LATER)
    assert await found(database) == []
    async with database.read() as session:
        left = await change_deliveries.long_under_way(session, before=LATER + timedelta(days=1), after="", limit=10)
    assert left == ["b"]
