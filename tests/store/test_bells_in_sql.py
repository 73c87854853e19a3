"""Bells between processes: one connection hears them all, and hears them again after it was lost."""

import asyncio

import pytest
from sqlalchemy import text

from store import bell
from store.bell import CHANNEL, CLAIMS, LISTENER, TURNS, Bell, Ear, across_processes
from store.database import Database, execute

_LISTENERS = f"SELECT pid FROM pg_stat_activity WHERE application_name = '{LISTENER}'"  # noqa: S608 - a constant
_END = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{LISTENER}'"  # noqa: S608


pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
"""Only there processes hear each other."""


async def ask(database: Database, statement: str) -> list[int]:
    """The first column of what it gives."""
    async with database.write() as session:
        return list((await execute(session, text(statement), {})).scalars())


async def listeners(database: Database) -> list[int]:
    """The connections that listen, once there are any."""
    async with asyncio.timeout(20):
        while not (found := await ask(database, _LISTENERS)):
            await asyncio.sleep(0.05)
    return found


async def test_one_connection_hears_every_bell_and_hears_them_again_once_it_was_lost(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bell, "_RETRY_SECONDS", 0.2)
    bells = {channel: Bell() for channel in (CHANNEL, TURNS, CLAIMS)}
    ears = {channel: one.ear() for channel, one in bells.items()}
    async with across_processes(database.url, bells):
        for ear in ears.values():
            assert await ear.wait(20)  # it has just begun to listen, and does not know what rang before
        known = await listeners(database)
        assert len(known) == 1
        await rings_alone(database, ears)

        assert await ask(database, _END) == [True]
        for ear in ears.values():
            assert await ear.wait(20)  # what rang while it was lost
        assert await listeners(database) != known
        await rings_alone(database, ears)
    async with asyncio.timeout(20):
        while await ask(database, _LISTENERS):
            await asyncio.sleep(0.05)


async def rings_alone(database: Database, ears: dict[str, Ear]) -> None:
    """Each of them rings, and no other with it."""
    for channel, ear in ears.items():
        await ask(database, f"SELECT 1 FROM (SELECT pg_notify('{channel}', '')) AS told")  # noqa: S608
        assert await ear.wait(20)
        assert not any([await one.wait(0.05) for one in ears.values()])


async def test_while_nobody_answers_it_asks_again_and_nothing_else_stops(
    monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int, database: Database
) -> None:
    monkeypatch.setattr(bell, "_RETRY_SECONDS", 0.05)
    one = Bell()
    ear = one.ear()
    async with across_processes(f"postgresql+asyncpg://nobody@127.0.0.1:{unused_tcp_port}/x", {CHANNEL: one}):
        await asyncio.sleep(0.3)
        one.ring()
        assert await ear.wait(20)
    assert await ask(database, "SELECT 1") == [1]
