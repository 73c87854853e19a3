"""Turns: never more than so many at a time, and nobody waits for ever."""

import asyncio

import pytest

from domain.errors import Unavailable
from runtime.turns import Turns


async def test_no_more_than_so_many_are_at_work() -> None:
    turns, busy, most, order = Turns(2, patience=10, refusal=""), 0, 0, list[int]()

    async def work(number: int) -> None:
        nonlocal busy, most
        async with turns.one():
            order.append(number)
            busy += 1
            most = max(most, busy)
            await asyncio.sleep(0)
            busy -= 1

    await asyncio.gather(*map(work, range(9)))
    assert (most, busy, order) == (2, 0, list(range(9)))


async def test_who_waits_for_too_long_is_told_so_and_the_next_is_served() -> None:
    turns = Turns(1, patience=0.01, refusal="others are typing")
    async with turns.one():
        with pytest.raises(Unavailable, match="others are typing"):
            async with turns.one():
                pass
    async with turns.one():
        pass


async def test_work_that_fails_or_is_cancelled_gives_its_turn_back() -> None:
    turns = Turns(1, patience=0.01, refusal="")
    with pytest.raises(ZeroDivisionError):
        async with turns.one():
            raise ZeroDivisionError

    async def work() -> None:
        async with turns.one():
            await asyncio.Event().wait()

    working = asyncio.create_task(work())
    await asyncio.sleep(0)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    async with turns.one():
        pass


async def test_who_gives_up_waiting_takes_no_turn() -> None:
    turns = Turns(1, patience=10, refusal="")
    async with turns.one():
        waiting = asyncio.create_task(turns.one().__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with asyncio.timeout(1), turns.one():
        pass
