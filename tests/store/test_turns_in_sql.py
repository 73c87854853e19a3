"""Turns in SQL: no line gives more than there is, first come first served, and nothing that is freed is forgotten."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlmodel import col, select, update

from domain.backend_rules import Budget, CircuitBreaker, Per
from domain.budgets import Key, Wanted
from domain.errors import InvalidRequest
from domain.runs import Ref, Report, Run, RunStatus
from store import actions, circuits, run_lists, runs, turns
from store.database import Database
from store.tables import RunRow
from store.turn_tables import TurnKeyRow, TurnRow
from store.turns import Turn
from tests.store.conftest import AT, make_action, make_run
from tests.support.databases import SqliteTemplate

MINUTE = timedelta(minutes=1)
X, Y = Key(Per.ENTITY, "service x"), Key(Per.ENTITY, "service y")
CI = "https://ci.example.com"
ONE = (Budget(per=Per.ENTITY, concurrent=1),)
BREAKER = CircuitBreaker(failures=2, open=timedelta(seconds=30))


def concurrent(number: int, *keys: Key) -> Wanted:
    """So many at a time, in each of these lines."""
    return Wanted({key: (Budget(per=key.per, concurrent=number),) for key in sorted(keys)})


def starts(number: int, within: timedelta) -> Wanted:
    """So many starts within the time."""
    return Wanted({X: (Budget(per=Per.ENTITY, starts=number, within=within),)})


async def made(database: Database, number: int, **values: object) -> list[Run]:
    """Runs in progress."""
    action = make_action()
    found = [make_run(entity=Ref(identifier="x"), **values) for _ in range(number)]
    async with database.write() as session:
        await actions.create(session, action, origin="API")
        for run in found:
            await runs.create(session, run, action_id=action.id, request=None)
    return found


async def take(database: Database, run: Run, wanted: Wanted, at: datetime) -> Turn:
    return await database.transact(lambda session: turns.take(session, run.id, wanted, at=at))


async def end(database: Database, run: Run, at: datetime) -> None:
    async with database.write() as session:
        await runs.change(session, run.id, lambda one: one.cancelled("enough", at=at, by="x"), origin="API")


async def called(database: Database, at: datetime) -> list[str]:
    """Whose workflows are called by now."""
    async with database.write() as session:
        return [run.id for run in await turns.due(session, at=at, limit=1000)]


async def rows(database: Database) -> tuple[int, int]:
    """How many rows there are of turns, and of lines."""
    async with database.read() as session:
        return (
            len((await session.exec(select(TurnRow))).all()),
            len((await session.exec(select(TurnKeyRow))).all()),
        )


async def test_one_at_a_time_and_the_next_one_is_called_when_it_ends(database: Database, at: datetime) -> None:
    first, second, third = await made(database, 3)
    wanted = concurrent(1, X)
    assert (await take(database, first, wanted, at)).granted
    for run in (second, third):
        turn = await take(database, run, wanted, at)
        assert not turn.granted
        assert turn.is_news
        assert turn.obstacle
        assert turn.obstacle.waits_on == str(X)
        assert turn.look_at == at + MINUTE
    assert (await take(database, first, wanted, at)).granted, "an attempt that is repeated goes on"
    assert await called(database, at) == []

    await end(database, first, at + MINUTE)
    assert await called(database, at + MINUTE) == [second.id]
    assert await called(database, at + MINUTE) == [], "whoever called it does so alone"
    assert await called(database, at + 2 * MINUTE) == [second.id], "but not for ever: it may not have heard it"
    assert not (await take(database, third, wanted, at + MINUTE)).granted, "it is not its turn"
    turn = await take(database, second, wanted, at + MINUTE)
    assert turn.granted
    assert turn.is_news
    assert turn.waited == MINUTE
    assert await called(database, at + 9 * MINUTE) == [third.id], "to see whether there is room for it as well"
    assert not (await take(database, third, wanted, at + MINUTE)).granted
    await end(database, second, at + MINUTE)
    assert (await take(database, third, wanted, at + MINUTE)).granted
    await end(database, third, at + MINUTE)
    assert await rows(database) == (0, 0)


async def test_it_is_all_or_nothing(database: Database, at: datetime) -> None:
    of_x, of_both, of_y = await made(database, 3)
    assert (await take(database, of_x, concurrent(1, X), at)).granted
    assert not (await take(database, of_both, concurrent(1, X, Y), at)).granted
    assert not (await take(database, of_y, concurrent(1, Y), at)).granted, "it came after who waits for both"
    await end(database, of_x, at)
    assert await called(database, at) == [of_both.id]
    assert (await take(database, of_both, concurrent(1, X, Y), at)).granted
    await end(database, of_both, at)
    assert await called(database, at) == [of_y.id]
    assert (await take(database, of_y, concurrent(1, Y), at)).granted


async def test_who_gives_up_lets_those_behind_go_on(database: Database, at: datetime) -> None:
    of_x, of_both, of_y = await made(database, 3)
    await take(database, of_x, concurrent(1, X), at)
    await take(database, of_both, concurrent(1, X, Y), at)
    await take(database, of_y, concurrent(1, Y), at)
    await end(database, of_both, at)
    assert await called(database, at) == [of_y.id]
    assert (await take(database, of_y, concurrent(1, Y), at)).granted
    assert not (await take(database, of_both, concurrent(1, X, Y), at)).granted, "it has ended"
    assert (await take(database, of_both, concurrent(1, X, Y), at)).obstacle is None


async def test_starts_are_counted_within_their_time_also_of_runs_that_have_ended(
    database: Database, at: datetime
) -> None:
    first, second, third, fourth = await made(database, 4)
    wanted = starts(2, 10 * MINUTE)
    assert (await take(database, first, wanted, at)).granted
    await end(database, first, at)
    assert (await take(database, second, wanted, at + MINUTE)).granted
    turn = await take(database, third, wanted, at + 2 * MINUTE)
    assert turn.obstacle
    assert turn.obstacle.until == at + 10 * MINUTE
    assert turn.look_at == at + 3 * MINUTE
    assert not (await take(database, fourth, wanted, at + 2 * MINUTE)).granted
    assert await called(database, at + 9 * MINUTE) == []
    assert await called(database, at + 10 * MINUTE) == [third.id], "though nobody has ended"
    assert (await take(database, third, wanted, at + 10 * MINUTE)).granted
    assert await called(database, at + 10 * MINUTE) == [fourth.id]
    turn = await take(database, fourth, wanted, at + 10 * MINUTE)
    assert turn.obstacle
    assert turn.obstacle.until == at + 11 * MINUTE

    for run in (second, third, fourth):
        await end(database, run, at + 10 * MINUTE)
    assert await rows(database) == (0, 3), "those that have started are counted"
    async with database.write() as session:
        assert await turns.purge(session, at=at + timedelta(days=1, minutes=5)) == 2
        assert await turns.purge(session, at=at + timedelta(days=2)) == 1


async def test_each_is_judged_by_the_limit_of_its_own_action(database: Database, at: datetime) -> None:
    first, second, third = await made(database, 3)
    assert (await take(database, first, concurrent(3, X), at)).granted
    assert not (await take(database, second, concurrent(1, X), at)).granted
    assert not (await take(database, third, concurrent(3, X), at)).granted, "there would be room, but it came later"


async def test_runs_say_what_they_wait_for_while_they_do(database: Database, at: datetime) -> None:
    first, second, third = await made(database, 3)
    for run in (first, second, third):
        await take(database, run, concurrent(1, X), at)
    async with database.read() as session:
        found = [(await runs.find(session, run.id)) for run in (first, second, third)]
        labels = [run.status_label for run in await turns.labelled(session, [one.run for one in found])]
        listed = {run.id: run for run in await run_lists.listed(session, run_lists.Filters())}
        shown = {run.id: run for run in await turns.labelled(session, list(listed.values()))}
    assert labels == [None, "Waits for its turn: 1st for entity x", "Waits for its turn: 2nd for entity x"]
    assert [found[0].turn, found[1].turn] == ["held", "waiting"]
    assert [shown[run.id].status_label for run in (first, second, third)] == labels
    assert "queued" not in listed[second.id].document()
    async with database.write() as session:
        row = await session.get(RunRow, second.id)
        assert row
        assert row.document == second.document(), "nothing of it is stored with the run"


async def test_a_run_that_waits_for_its_turn_can_be_withdrawn_and_not_finished(
    database: Database, at: datetime
) -> None:
    first, second = await made(database, 2)
    for run in (first, second):
        await take(database, run, concurrent(1, X), at)

    async def report(status: RunStatus) -> None:
        async with database.write() as session:
            await runs.change(
                session, second.id, lambda one: one.reported(Report(status=status), at=at, by="x"), origin="API"
            )

    with pytest.raises(InvalidRequest, match="waits for its"):
        await report(RunStatus.SUCCESS)
    await report(RunStatus.FAILURE)
    async with database.read() as session:
        assert (await runs.find(session, second.id)).turn is None


async def test_what_an_older_version_has_ended_gives_back_its_turn(database: Database, at: datetime) -> None:
    first, second = await made(database, 2)
    for run in (first, second):
        await take(database, run, concurrent(1, X), at)
    async with database.write() as session:
        assert await turns.left_behind(session, limit=9) == []
        await session.exec(update(RunRow).where(col(RunRow.id) == first.id).values(status=RunStatus.FAILURE))
        assert await turns.left_behind(session, limit=9) == [first.id]
        await turns.give_back(session, first.id, at=at)
        await turns.give_back(session, second.id, at=at)
    assert await called(database, at) == [second.id]
    assert (await take(database, second, concurrent(1, X), at)).granted


async def test_a_circuit_opens_lets_one_try_and_closes(database: Database, at: datetime) -> None:
    failing, again, first, second, third = await made(database, 5)
    wanted = Wanted(backend=CI, breaker=BREAKER)
    assert wanted.circuit

    async def heard(run: Run, worked: bool | None, at: datetime) -> None:
        async with database.write() as session:
            await turns.heard_of(session, run.id, wanted, worked=worked, at=at)

    await heard(failing, False, at)
    assert (await take(database, first, wanted, at)).granted
    await heard(again, True, at)
    await heard(failing, False, at)
    await heard(failing, False, at)
    opened = at + BREAKER.open
    for run in (first, second, third):
        turn = await take(database, run, wanted, at)
        assert turn.obstacle
        assert turn.obstacle.waits_on == wanted.circuit
    assert await called(database, opened - MINUTE / 60) == []
    assert await called(database, opened) == [first.id]
    assert not (await take(database, second, wanted, opened)).granted, "it is not the first"
    assert (await take(database, first, wanted, opened)).granted
    assert not (await take(database, second, wanted, opened)).granted, "one tries it"
    assert (await take(database, first, wanted, opened)).granted, "as often as it has to"

    await heard(first, False, opened)
    again_at = opened + BREAKER.open
    assert not (await take(database, first, wanted, opened)).granted
    assert (await called(database, again_at))[0] == first.id, "it has its place"
    assert (await take(database, first, wanted, again_at)).granted
    await end(database, first, again_at)
    assert await called(database, again_at) == [second.id], "who was to try it has ended"
    assert (await take(database, second, wanted, again_at)).granted
    await heard(second, True, again_at)
    assert await called(database, again_at) == [third.id]
    assert (await take(database, third, wanted, again_at)).granted
    async with database.read() as session:
        assert await circuits.find(session, wanted.circuit) == circuits.UNSUSPECTED


async def test_who_goes_elsewhere_lets_another_one_try(database: Database, at: datetime) -> None:
    """A secret of its address was changed after the worker died that had the turn."""
    failing, first, second = await made(database, 3)
    wanted, elsewhere = Wanted(backend=CI, breaker=BREAKER), Wanted(backend="https://other", breaker=BREAKER)
    for _ in range(2):
        async with database.write() as session:
            await turns.heard_of(session, failing.id, wanted, worked=False, at=at)
    opened = at + BREAKER.open
    assert not (await take(database, first, wanted, at)).granted
    assert not (await take(database, second, wanted, at)).granted
    assert (await take(database, first, wanted, opened)).granted
    await called(database, opened)
    assert not (await take(database, second, wanted, opened)).granted
    assert await called(database, opened) == []
    assert (await take(database, first, elsewhere, opened)).granted
    assert await called(database, opened) == [second.id]
    assert (await take(database, second, wanted, opened)).granted


@dataclass
class Bench:
    """Runs that come and go, and what has been seen of them."""

    database: Database
    wanted: dict[str, Wanted]
    limits: dict[str, int]
    waiting: list[str] = field(default_factory=list)
    holding: set[str] = field(default_factory=set)
    served: list[str] = field(default_factory=list)

    async def ask(self, run: Run, at: datetime) -> bool:
        """Whether it has its turn now."""
        turn = await take(self.database, run, self.wanted[run.id], at)
        if turn.granted and run.id not in self.holding:
            self.holding.add(run.id)
            self.served.append(run.id)
            self.check()
        return turn.granted

    async def end(self, run: Run, at: datetime) -> None:
        """It has ended."""
        self.holding.discard(run.id)  # before anybody else can have its place
        await end(self.database, run, at)

    def check(self) -> None:
        """No line has given more than there is."""
        held: defaultdict[str, int] = defaultdict(int)
        for run_id in self.holding:
            for key in self.wanted[run_id].budgets:
                held[str(key)] += 1
        assert all(number <= self.limits[key] for key, number in held.items()), held


async def test_fifty_at_once_never_exceed_the_budget_and_all_have_their_turn(database: Database, at: datetime) -> None:
    """Each ends, or gives up while it waits; whoever is called asks again, and nobody looks by himself."""
    chance = random.Random(6)  # noqa: S311 - a test
    found = await made(database, 50)
    lines = ((X,), (Y,), (X, Y))
    limits = {str(X): 3, str(Y): 2}
    wanted = {
        str(run.id): Wanted({key: (Budget(per=key.per, concurrent=limits[str(key)]),) for key in chance.choice(lines)})
        for run in found
    }
    bench, by_id = Bench(database, wanted, limits), {str(run.id): run for run in found}
    ended = set[str]()

    async def live(run: Run) -> None:
        if await bench.ask(run, at):
            await asyncio.sleep(chance.random() / 100)
            ended.add(run.id)
            await bench.end(run, at)

    async def come(run: Run) -> None:
        await live(run)
        if run.id not in ended and chance.random() < 0.2:
            ended.add(run.id)
            await bench.end(run, at)

    await asyncio.gather(*map(come, found))
    async with asyncio.timeout(20):
        while len(ended) < len(found):
            due = await called(database, at)
            assert due, f"{len(found) - len(ended)} wait, and nobody is called"
            await asyncio.gather(*(live(by_id[run_id]) for run_id in due if run_id not in ended))
    assert await rows(database) == (0, 0)


@settings(max_examples=15)
@given(st.lists(st.tuples(st.sampled_from(["x", "y", "xy"]), st.booleans()), max_size=12), st.randoms())
def test_first_come_is_first_served_in_every_line(
    sqlite_template: SqliteTemplate, tmp_path_factory: pytest.TempPathFactory, coming: Sequence[tuple[str, bool]],
    chance: random.Random,
) -> None:  # fmt: skip
    """Whatever ends when: who has come later to a line that two share is never served before."""

    async def try_out() -> None:
        async with Database(sqlite_template.copy(tmp_path_factory.mktemp("turns"))) as database:
            found = await made(database, len(coming))
            lines = [tuple({"x": X, "y": Y}[name] for name in names) for names, _ in coming]
            wanted = {str(run.id): concurrent(1, *keys) for run, keys in zip(found, lines, strict=True)}
            bench = Bench(database, wanted, {str(X): 1, str(Y): 1})
            left, by_id = list(found), {str(run.id): run for run in found}
            gave_up = set[str]()
            for run, (_, stays) in zip(found, coming, strict=True):
                if not await bench.ask(run, AT) and not stays and chance.random() < 0.5:
                    gave_up.add(run.id)
                    await bench.end(run, AT)
                    left.remove(run)
                if chance.random() < 0.3 and bench.holding:
                    over = chance.choice([run for run in found if run.id in bench.holding])
                    await bench.end(over, AT)
                    left.remove(over)
            while left:
                for run_id in await called(database, AT):
                    await bench.ask(by_id[run_id], AT)
                assert bench.holding, "somebody can always go on"
                over = chance.choice([run for run in found if run.id in bench.holding])
                await bench.end(over, AT)
                left.remove(over)
            for key in (X, Y):
                came = [run.id for run in found if key in wanted[run.id].budgets and run.id not in gave_up]
                assert [run_id for run_id in bench.served if key in wanted[run_id].budgets] == came

    asyncio.run(try_out())
