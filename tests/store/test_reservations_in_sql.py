"""Reservations in SQL: of many that ask at once one gets it, whichever process they are in."""

import asyncio
from datetime import UTC, datetime, timedelta

import backends
from backends._accounts import GitHubAccount
from domain.runs import Report, Run
from store import actions, runs
from store.database import Database
from store.reservations import SqlReservations
from tests.store.conftest import make_action, make_run
from tests.support.github import TOKEN, github

METHOD = {"type": "GITHUB", "org": "acme", "repo": "infra", "workflow": "deploy.yml"}


async def test_of_many_at_once_one_has_it_and_keeps_it(database_url: str) -> None:
    async with Database(database_url) as one, Database(database_url) as another:
        processes = [SqlReservations(one), SqlReservations(another)]
        asked = [f"r_{number:016}" for number in range(20)]
        answers = await asyncio.gather(
            *(processes[number % 2].reserve("gh_1_2_3", run_id) for number, run_id in enumerate(asked))
        )
        assert sum(answers) == 1
        again = [await processes[0].reserve("gh_1_2_3", run_id) for run_id in asked]
        assert again == list(answers)
        assert await processes[1].reserve("gh_1_2_4", asked[0])


async def test_what_another_run_has_said_of_itself_is_its_own(database: Database, at: datetime) -> None:
    action, run = make_action(), make_run(created_at=at)
    async with database.write() as session:
        await actions.create(session, action, origin="API")
        await runs.create(session, run, action_id=action.id, request=None)
        report = Report(external_run_id="gh_1_2_3")
        await runs.change(session, run.id, lambda now: now.reported(report, at=at, by="x"), origin="API")
    reservations = SqlReservations(database)
    assert not await reservations.reserve("gh_1_2_3", "r_fedcba9876543210")
    assert await reservations.reserve("gh_1_2_3", run.id)


async def test_numbers_of_other_backends_are_others_numbers(database: Database, at: datetime) -> None:
    def made(run_id: str, backend: str) -> Run:
        return make_run(id=run_id, created_at=at, payload={"type": backend})

    jenkins, first, second = (
        made(f"r_{number:016}", backend) for number, backend in enumerate(("WEBHOOK", "GITLAB", "GITLAB"))
    )
    action = make_action()
    async with database.write() as session:
        await actions.create(session, action, origin="API")
        for run in (jenkins, first, second):
            await runs.create(session, run, action_id=action.id, request=None)
        report = Report(external_run_id="61")
        await runs.change(session, jenkins.id, lambda now: now.reported(report, at=at, by="x"), origin="API")
    reservations = SqlReservations(database)
    assert await reservations.reserve("61", first.id)
    assert not await reservations.reserve("61", second.id)
    assert await reservations.reserve("61", jenkins.id)


async def test_what_has_begun_begins_once_until_it_is_undone(database: Database, at: datetime) -> None:
    reservations = SqlReservations(database)
    many = await asyncio.gather(*(reservations.begin("r_0000000000000001", at) for _ in range(10)))
    assert sorted(many, key=str) == [*[at] * 9, None]
    assert await reservations.begin("r_0000000000000002", at) is None
    assert await reservations.begin("r_0000000000000001", at + timedelta(hours=1)) == at
    await reservations.undo("r_0000000000000001")
    assert await reservations.begin("r_0000000000000001", at + timedelta(hours=1)) is None
    assert await reservations.begin("r_0000000000000002", at + timedelta(hours=1)) == at


async def test_two_processes_that_look_for_workflow_runs_at_once_find_two(database_url: str) -> None:
    async with (
        Database(database_url) as one,
        Database(database_url) as another,
        github() as hub,
        backends.open_transport() as http,
    ):
        processes = [
            backends.Resources(
                signing_secret="s",
                github=GitHubAccount(api_url=hub.url, token=TOKEN),
                http=http,
                reservations=SqlReservations(database),
                now=lambda: datetime.now(UTC) + timedelta(minutes=1),  # a guess waits for others to be answered
            )
            for database in (one, another)
        ]
        method, now = backends.parse_rendered(dict(METHOD)), datetime.now(UTC)
        for number in range(2):
            await method.invoke(backends.Delivery(f"r_{number:016}", {}), processes[0])
        both = [backends.Reference(f"r_{number:016}", now) for number in range(2)]
        found = await asyncio.gather(*(method.look_up(*pair) for pair in zip(both, processes, strict=True)))
        assert {receipt.external_run_id for receipt in found if receipt} == {run.external_run_id for run in hub.runs}
