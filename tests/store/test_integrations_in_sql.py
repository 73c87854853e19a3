"""Integrations in SQL: the newest of what they report stays, and nothing is left of one that is deleted."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import col, func, select

from domain.documents import Document
from domain.errors import IdentifierTaken, NotFound
from domain.integrations import (
    ALL_EXAMPLES_KEPT,
    EXAMPLES_KEPT,
    KEPT,
    MAX_RECORD,
    InstallationId,
    Integration,
    Reported,
    example,
)
from domain.organization import OrganizationPatch
from store import integrations, organizations
from store.database import Database
from store.integration_tables import IntegrationRecordRow
from store.integrations import Stored
from store.tables import ChangeRow
from tests.store.conftest import AT


def make_integration(identifier: str = "mine") -> Integration:
    return Integration(
        InstallationId(identifier), {"installationId": identifier, "b": 1, "a": [2.5]}, AT, "user_1", AT, "user_1"
    )


async def install(database: Database, identifier: str = "mine") -> Stored:
    async with database.write() as session:
        return await integrations.create(session, make_integration(identifier), f"key of {identifier}", origin="API")


def numbered(*numbers: int) -> list[Document]:
    return [{"n": number} for number in numbers]


async def report(
    database: Database, *records: Document, sort: Reported = Reported.LOG, key: str = "key of mine"
) -> None:
    await database.transact(lambda session: integrations.report(session, key, sort, records, at=AT))


async def told(database: Database, sort: str = Reported.LOG, limit: int = 100_000) -> list[Document]:
    async with database.read() as session:
        return await integrations.records(session, "mine", sort, limit=limit)


async def number_of(database: Database, row: Any) -> int:
    async with database.read() as session:
        return (await session.exec(select(func.count()).select_from(row))).one()


async def test_an_integration_reads_back_as_it_was_written(database: Database) -> None:
    stored = await install(database)
    async with database.read() as session:
        found = await integrations.get(session, "mine")
        assert found == stored
        assert list(found.integration.document) == ["installationId", "b", "a"]
        assert await integrations.listed(session) == [stored]
        assert stored.key not in repr(found)
        with pytest.raises(NotFound):
            await integrations.get(session, "other")


async def test_of_those_who_register_at_once_one_does(database: Database) -> None:
    done = await asyncio.gather(*(install(database) for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(one, Stored) for one in done) == 1
    assert sum(isinstance(one, IdentifierTaken) for one in done) == 9
    assert await number_of(database, ChangeRow) == 1


async def test_every_write_is_recorded_under_the_installation_id(database: Database) -> None:
    stored = await install(database)
    later = AT + timedelta(hours=1)
    after = stored.integration.resynced({"status": "running"}, at=later)
    async with database.write() as session:
        changed = await integrations.replace(session, stored, after, by="user_2", at=later, origin="API")
        assert await integrations.replace(session, changed, after, by="user_2", at=later, origin="API") is changed
        await integrations.remove(session, changed, by="user_2", at=later, origin="API")
    async with database.read() as session:
        rows = (await session.exec(select(ChangeRow).order_by(col(ChangeRow.sequence)))).all()
    assert [(row.happening, row.resource_type, row.installation_id) for row in rows] == [
        ("CREATE", "integration", "mine"),
        ("UPDATE", "integration", "mine"),
        ("DELETE", "integration", "mine"),
    ]
    assert all(stored.key not in json.dumps(row.document) for row in rows)


async def test_the_newest_records_of_each_sort_stay(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    assert min(KEPT.values()) >= 100
    monkeypatch.setitem(KEPT, Reported.LOG, 5)
    await install(database)
    await install(database, "other")
    await report(database, {"n": "other"}, key="key of other")
    await report(database, {"n": "metric"}, sort=Reported.METRIC)
    for start in (0, 3, 6):
        await report(database, *numbered(start, start + 1, start + 2))
    assert [one["n"] for one in await told(database)] == [8, 7, 6, 5, 4]
    assert [one["n"] for one in await told(database, limit=2)] == [8, 7]
    await report(database, *numbered(*range(20)))
    assert [one["n"] for one in await told(database)] == [19, 18, 17, 16, 15]
    await report(database)
    assert await number_of(database, IntegrationRecordRow) == 7


async def test_examples_of_all_kinds_have_their_bound(database: Database) -> None:
    await install(database)
    await report(database, {"n": "log"})
    kinds = ALL_EXAMPLES_KEPT // EXAMPLES_KEPT + 2
    for kind in range(kinds):
        some: list[Document] = [{"n": n} for n in range(EXAMPLES_KEPT + 1)]
        async with database.write() as session:
            await integrations.keep_examples(session, "mine", f"kind {kind}", some, at=AT)
    assert await number_of(database, IntegrationRecordRow) == ALL_EXAMPLES_KEPT + 1
    assert [len(await told(database, example(f"kind {kind}"))) for kind in (0, 1, 2, kinds - 1)] == [
        0,
        0,
        EXAMPLES_KEPT,
        EXAMPLES_KEPT,
    ]


async def test_a_record_that_is_too_long_keeps_its_short_parts(database: Database) -> None:
    await install(database)
    long: Document = {"message": "ü" * MAX_RECORD, "level": "ERROR", "extra": {"rows": ["x" * 100] * 1000}, "n": 1}
    await report(database, {"message": "short"}, long, {f"key {n}": "x" * 10_000 for n in range(1000)})
    huge, cut, short = await told(database)
    assert short["message"] == "short"
    assert (cut["level"], cut["n"], cut["truncated"]) == ("ERROR", 1, True)
    assert str(cut["message"]).startswith("üüü")
    assert "extra" not in cut
    assert all(len(json.dumps(one, ensure_ascii=False)) <= MAX_RECORD for one in (huge, cut))


async def test_nothing_is_left_of_one_that_is_deleted_while_it_reports(database: Database) -> None:
    stored = await install(database)

    async def delete() -> None:
        async with database.write() as session:
            found = await integrations.get(session, "mine", to_change=True)
            await integrations.remove(session, found, by="user_1", at=AT, origin="API")

    reports = [report(database, {"n": n}) for n in range(20)]
    done = await asyncio.gather(*reports[:10], delete(), *reports[10:], return_exceptions=True)
    assert {type(one) for one in done} <= {type(None), NotFound}
    assert await number_of(database, IntegrationRecordRow) == 0
    with pytest.raises(NotFound):
        await report(database, {}, key=stored.key)


async def test_those_who_patch_at_once_all_count(database: Database) -> None:
    await install(database)

    async def patch(number: int) -> None:
        async with database.write() as session:
            before = await integrations.get(session, "mine", to_change=True)
            after = replace(before.integration, document={**before.integration.document, f"key{number}": number})
            await integrations.replace(session, before, after, by="user_1", at=AT, origin="API")

    await asyncio.gather(*(patch(number) for number in range(20)))
    async with database.read() as session:
        document = (await integrations.get(session, "mine")).integration.document
    assert {f"key{number}" for number in range(20)} <= set(document)


async def test_the_settings_of_the_organization_are_merged_by_everybody_who_says_some(database: Database) -> None:
    made = organizations.Stored("org_1", "client", "sealed", {"name": "Acme", "settings": {}, "more": 1})
    async with database.write() as session:
        await organizations.create(session, made)

    async def say(number: int) -> None:
        said = OrganizationPatch.model_validate({"settings": {f"key{number}": number}})
        async with database.write() as session:
            await organizations.describe(
                session, lambda before: before.changed(said, merge=True), by="user_1", at=AT, origin="API"
            )

    await asyncio.gather(*(say(number) for number in range(10)))
    async with database.read() as session:
        stored = await organizations.get(session)
        described = await organizations.described(session)
    assert stored is not None
    assert (described.name, set(described.settings)) == ("Acme", {f"key{number}" for number in range(10)})
    assert (stored.client_secret, stored.document["more"]) == ("sealed", 1)
    assert described.streamer is None
    assert replace(described, settings={"portAgentStreamerName": "KAFKA"}).streamer == "KAFKA"
    assert await number_of(database, ChangeRow) == 10
