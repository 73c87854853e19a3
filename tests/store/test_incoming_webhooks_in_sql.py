"""Incoming webhooks in SQL: what is kept of them, and what their events leave behind, on both databases."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import col, select

from domain.blueprints import Blueprint, BlueprintId
from domain.documents import Document
from domain.entities import Author, Entity
from domain.errors import IdentifierTaken, NotFound
from domain.incoming_events import Meaning, Note, Write
from domain.incoming_webhooks import IncomingWebhook, WebhookId
from store import blueprints, entities, incoming_webhooks
from store.database import Database
from store.entities import Writer
from store.incoming_webhooks import Counts
from store.tables import ChangeRow
from tests.store.conftest import AT, never

MAPPING: Document = {"blueprint": "service", "entity": {"identifier": ".body.id"}}


def make_webhook(identifier: str = "hook", **more: Any) -> IncomingWebhook:
    document: Document = {"title": "Hook", "mappings": [MAPPING, {**MAPPING, "operation": "delete"}], **more}
    return IncomingWebhook(
        f"webhook_{identifier}", WebhookId(identifier), f"key_{identifier}", document, "sealed", AT, "u", AT, "u"
    )


@pytest.fixture
async def webhook(database: Database) -> IncomingWebhook:
    made = make_webhook()
    service: Document = {
        "identifier": "service",
        "title": "Service",
        "schema": {"properties": {"n": {"type": "number"}}},
        "relations": {"of": {"target": "service"}},
    }
    env: Document = {
        "identifier": "env",
        "title": "Env",
        "schema": {"properties": {}},
        "relations": {"service": {"target": "service", "required": True}},
    }
    async with database.write() as session:
        await incoming_webhooks.create(session, made, origin="API")
        for document in (service, env):
            name = BlueprintId(str(document["identifier"]))
            await blueprints.create(session, Blueprint(name, document, AT, "u", AT, "u"), origin="API")
    return made


def a_write(identifier: str, blueprint: str = "service", **more: Any) -> Write:
    return Write(0, blueprint, {"identifier": identifier, **more})


def a_delete(identifier: str, blueprint: str = "service", *, dependents: bool = False) -> Write:
    return Write(1, blueprint, {"identifier": identifier}, deletes=True, deletes_dependents=dependents)


async def applied(
    database: Database, webhook: IncomingWebhook, *writes: Write, notes: tuple[Note, ...] = (), after: int = 0
) -> Counts:
    at = AT + timedelta(seconds=after)
    writer = Writer(Author(webhook.identifier, at, "webhook/hook"), webhook.identifier)
    meaning = Meaning(writes=list(writes), notes=list(notes))
    return await database.transact(
        lambda session: incoming_webhooks.apply(session, webhook, "event_1", meaning, writer=writer, complete=never)
    )


async def recorded(database: Database, resource: str) -> list[Document]:
    async with database.read() as session:
        rows = await session.exec(
            select(ChangeRow.document).where(ChangeRow.resource_type == resource).order_by(col(ChangeRow.sequence))
        )
        return [dict(row) for row in rows]


async def there(database: Database, blueprint: str = "service") -> dict[str, Entity]:
    async with database.read() as session:
        return {one.identifier: one.entity for one in await entities.portion(session, blueprint, after="")}


async def test_a_webhook_is_found_by_name_and_by_key(database: Database, webhook: IncomingWebhook) -> None:
    async with database.read() as session:
        assert await incoming_webhooks.get(session, "hook") == webhook
        assert await incoming_webhooks.by_key(session, "key_hook") == webhook
        assert await incoming_webhooks.by_key(session, "hook") is None
        with pytest.raises(NotFound):
            await incoming_webhooks.get(session, "key_hook")
    with pytest.raises(IdentifierTaken):
        async with database.write() as session:
            await incoming_webhooks.create(session, replace(webhook, id="other", key="other"), origin="API")


async def test_a_webhook_is_renamed_and_removed_and_each_is_recorded(
    database: Database, webhook: IncomingWebhook
) -> None:
    renamed = replace(webhook, identifier=WebhookId("new"), sealed=None)
    async with database.write() as session:
        await incoming_webhooks.create(session, make_webhook("second"), origin="API")
        await incoming_webhooks.put(session, webhook, renamed, origin="API")
    with pytest.raises(IdentifierTaken):
        async with database.write() as session:
            await incoming_webhooks.put(
                session, renamed, replace(renamed, identifier=WebhookId("second")), origin="API"
            )
    async with database.write() as session:
        assert await incoming_webhooks.listed(session) == [renamed, make_webhook("second")]
        await incoming_webhooks.remove(session, renamed, by="u", at=AT, origin="API")
    async with database.read() as session:
        assert await incoming_webhooks.by_key(session, "key_hook") is None
    changes = await recorded(database, "webhook")
    assert [(one["action"], one["context"]) for one in changes] == [
        ("CREATE", {"webhookId": "hook"}),
        ("CREATE", {"webhookId": "second"}),
        ("UPDATE", {"webhookId": "new"}),
        ("DELETE", {"webhookId": "new"}),
    ]
    assert "sealed" not in str(changes)
    assert "key_" not in str(changes)


async def test_an_event_creates_changes_and_deletes(database: Database, webhook: IncomingWebhook) -> None:
    first = (a_write("a", properties={"n": 1}, relations={"of": "new"}), a_write("b"), a_delete("nobody"))
    assert await applied(database, webhook, *first) == Counts(created=2)
    assert set(await there(database)) == {"a", "b", "new"}
    second = (a_write("a", title="A"), a_write("b"), a_delete("new"))
    assert await applied(database, webhook, *second, after=1) == Counts(updated=1, unchanged=1, deleted=1)
    [a, b] = (await there(database)).values()
    assert (a.title, a.properties, a.relations) == ("A", {"n": 1}, {"of": None})
    assert (b.created_by, b.datasource) == ("hook", "webhook/hook")
    assert await applied(database, webhook, *second, after=2) == Counts(unchanged=2)
    changes = await recorded(database, "entity")
    assert [(one["action"], one["context"]["entity"]) for one in changes] == [  # type: ignore[index, call-overload]
        ("CREATE", "new"), ("CREATE", "a"), ("CREATE", "b"), ("UPDATE", "a"), ("DELETE", "new"),
    ]  # fmt: skip
    for change in changes:
        assert (change["by"], change["origin"]) == ("hook", "hook")
        context = change["context"]
        assert isinstance(context, dict)
        assert (context["webhookId"], context["webhookEventId"]) == ("hook", "event_1")


async def test_what_is_refused_stops_no_other_and_is_on_record(database: Database, webhook: IncomingWebhook) -> None:
    counts = await applied(
        database,
        webhook,
        a_write("ok"),
        a_write("bad", properties={"n": "one"}),
        a_write("a b"),
        a_write("lost", blueprint="nowhere"),
        a_write("odd", relations={"none": "x"}),
        a_write("number", title=7),
        a_write("dev", "env", relations={"service": "ok"}),
        a_delete("ok"),
        a_write("last"),
        notes=(Note(0, "why", 3), Note(1, "by the way")),
    )
    assert counts == Counts(created=3, refused=3 + 6)
    assert set(await there(database)) == {"ok", "last"}
    refused = [one for one in await recorded(database, "entity") if one["status"] == "FAILURE"]
    assert [(one["action"], one["context"]["blueprint"], one["context"]["entity"]) for one in refused] == [  # type: ignore[index, call-overload]
        ("CREATE", "service", None),
        ("CREATE", "service", "bad"),
        ("CREATE", "service", "a b"),
        ("CREATE", "nowhere", "lost"),
        ("CREATE", "service", "odd"),
        ("CREATE", "service", "number"),
        ("DELETE", "service", "ok"),
    ]
    messages = [str(one["message"]) for one in refused]
    for message, words in zip(
        messages, ("why", "/properties/n", "identifier", "'nowhere' was not found", "none", "title", "dev"), strict=True
    ):
        assert words in message
    assert all(message.startswith("mappings[") for message in messages[1:])
    last = (await recorded(database, "webhook"))[-1]
    assert (last["status"], last["message"]) == ("FAILURE", "by the way")

    assert await applied(database, webhook, a_delete("ok", dependents=True)) == Counts(deleted=1)
    assert await there(database, "env") == {}


async def test_events_at_once_lose_nothing(database: Database, webhook: IncomingWebhook) -> None:
    names = [f"e{number}" for number in range(10)]

    async def event(number: int) -> Counts:
        order = names if number % 2 else names[::-1]
        return await applied(database, webhook, *(a_write(name, properties={"n": number}) for name in order))

    counts = await asyncio.gather(*map(event, range(2)))
    assert sum(one.created for one in counts) == len(names)
    assert sum(one.refused for one in counts) == 0
    found = await there(database)
    assert set(found) == set(names)
    assert len({str(one.properties) for one in found.values()}) == 1
    assert len(await recorded(database, "entity")) == 20
