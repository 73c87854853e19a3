"""Incoming webhooks in SQL, their secrets encrypted by whoever calls; and what an event of one does to the catalog."""

from dataclasses import dataclass
from dataclasses import replace as with_changes
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy import bindparam, insert, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.audit import Resource
from domain.changes import Change, Happening
from domain.entities import parsed_request
from domain.errors import IdentifierTaken, InterlockError, NotFound, Unavailable
from domain.incoming_events import Meaning, Note, Write
from domain.incoming_webhooks import IncomingWebhook
from domain.shapes import shortened
from store import blueprints, catalog, changes, entities
from store.columns import table
from store.database import execute
from store.derived import Completing
from store.entities import Writer
from store.entity_batches import PutOptions, resolved
from store.integration_tables import IncomingWebhookRow

_COLUMNS = table(IncomingWebhookRow).c
_FIND = sa.select(_COLUMNS.id, _COLUMNS.key, _COLUMNS.secret, _COLUMNS.document).where(
    _COLUMNS.identifier == bindparam("this")
)
_TO_CHANGE = _FIND.with_for_update()
_BY_KEY = sa.select(_COLUMNS.id, _COLUMNS.key, _COLUMNS.secret, _COLUMNS.document).where(
    _COLUMNS.key == bindparam("this")
)
_INSERT = insert(table(IncomingWebhookRow))
_UPDATE = update(table(IncomingWebhookRow)).where(_COLUMNS.id == bindparam("this"))
_WEBHOOK = TypeAdapter(IncomingWebhook)
_ELSEWHERE = {"id", "key", "sealed"}
"""What has a column of its own and is not in the document."""
_UPSERT = PutOptions(upsert=True, merge=True, create_missing_related_entities=True)
_LONGEST_MESSAGE = 4_000


@dataclass
class Counts:
    """What became of the entities of an event."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    refused: int = 0


async def create(session: AsyncSession, webhook: IncomingWebhook, *, origin: str) -> None:
    """Insert the webhook.

    Raises:
        IdentifierTaken: another one has the identifier.
    """
    try:
        await execute(session, _INSERT, {"id": webhook.id, "key": webhook.key, **_columns(webhook)})
    except IntegrityError:
        raise IdentifierTaken("Webhook", webhook.identifier) from None
    await _record(session, None, webhook, by=webhook.created_by, at=webhook.created_at, origin=origin)


async def put(session: AsyncSession, before: IncomingWebhook, after: IncomingWebhook, *, origin: str) -> None:
    """Make `after` of the webhook, which was read `to_change` in this transaction. Its address stays.

    Raises:
        IdentifierTaken: another one has the new identifier.
    """
    try:
        await execute(session, _UPDATE, {"this": before.id, **_columns(after)})
    except IntegrityError:
        raise IdentifierTaken("Webhook", after.identifier) from None
    await _record(session, before, after, by=after.updated_by, at=after.updated_at, origin=origin)


async def remove(session: AsyncSession, webhook: IncomingWebhook, *, by: str, at: datetime, origin: str) -> None:
    """Delete the webhook, which was read `to_change` in this transaction. What it has written stays."""
    await session.exec(delete(IncomingWebhookRow).where(col(IncomingWebhookRow.id) == webhook.id))
    await _record(session, webhook, None, by=by, at=at, origin=origin)


async def get(session: AsyncSession, identifier: str, *, to_change: bool = False) -> IncomingWebhook:
    """The webhook; `to_change` keeps others from changing it until the transaction ends.

    Raises:
        NotFound: there is none.
    """
    found = (await execute(session, _TO_CHANGE if to_change else _FIND, {"this": identifier})).first()
    if found is None:
        raise NotFound("Webhook", identifier)
    return _read(found)


async def by_key(session: AsyncSession, key: str) -> IncomingWebhook | None:
    """The webhook with this address, if there is one."""
    found = (await execute(session, _BY_KEY, {"this": key})).first()
    return _read(found) if found else None


async def listed(session: AsyncSession) -> list[IncomingWebhook]:
    """All webhooks, by identifier."""
    rows = await session.exec(
        select(
            IncomingWebhookRow.id, IncomingWebhookRow.key, IncomingWebhookRow.secret, IncomingWebhookRow.document
        ).order_by(col(IncomingWebhookRow.identifier))
    )
    return [_read(row) for row in rows]


async def refuse(session: AsyncSession, webhook: IncomingWebhook, message: str, *, at: datetime) -> None:
    """Record that an event was not let in."""
    await _refuse(session, webhook, None, Resource.WEBHOOK, Happening.UPDATE, message, at=at)


async def apply(
    session: AsyncSession,
    webhook: IncomingWebhook,
    event_id: str,
    meaning: Meaning,
    *,
    writer: Writer,
    complete: Completing,
) -> Counts:
    """Write what an event says, each entity for itself: one that cannot be written is recorded and stops no other.

    Raises:
        store.database.Raced: the transaction has to be done again.
    """
    counts = Counts()
    writer = with_changes(writer, webhook=(webhook.identifier, event_id))
    for note in meaning.notes:
        counts.refused += note.refused
        await _note(session, webhook, event_id, note, at=writer.author.at)
    for write in meaning.writes:
        try:
            # All of an entity is checked before any of it is written, so a refusal leaves nothing behind.
            if write.deletes:
                await _delete(session, write, writer, complete, counts)
            else:
                await _put(session, write, writer, complete, counts)
        except Unavailable:
            raise
        except InterlockError as refusal:
            counts.refused += 1
            identifier = write.request.get("identifier")
            await _refuse(
                session,
                webhook,
                event_id,
                Resource.ENTITY,
                Happening.DELETE if write.deletes else Happening.CREATE,
                f"mappings[{write.mapping}]: {refusal}",
                at=writer.author.at,
                blueprint=write.blueprint,
                entity=identifier if isinstance(identifier, str) else None,
            )
    return counts


async def _put(session: AsyncSession, write: Write, writer: Writer, complete: Completing, counts: Counts) -> None:
    blueprint = await blueprints.get(session, write.blueprint, to_use=True)
    request = parsed_request(write.request)
    put = await catalog.put(session, blueprint, request, _UPSERT, writer=writer, complete=complete)
    if put.is_new:
        counts.created += 1
    elif put.is_changed:
        counts.updated += 1
    else:
        counts.unchanged += 1


async def _delete(session: AsyncSession, write: Write, writer: Writer, complete: Completing, counts: Counts) -> None:
    blueprint = await blueprints.get(session, write.blueprint, to_use=True)
    try:
        request = await resolved(session, blueprint, parsed_request(write.request), writer, complete)
    except NotFound:  # so there is nothing to delete
        return
    identifier = request.named
    if identifier is None or not await entities.find(session, blueprint.identifier, identifier):
        return
    await catalog.remove(
        session, blueprint.identifier, identifier, delete_dependents=write.deletes_dependents, writer=writer
    )
    counts.deleted += 1


async def _note(session: AsyncSession, webhook: IncomingWebhook, event_id: str, note: Note, *, at: datetime) -> None:
    mapping = webhook.definition.mappings[note.mapping]
    happening = Happening.DELETE if mapping.deletes else Happening.CREATE
    resource, happening = (Resource.ENTITY, happening) if note.refused else (Resource.WEBHOOK, Happening.UPDATE)
    await _refuse(session, webhook, event_id, resource, happening, note.reason, at=at, blueprint=mapping.blueprint)


async def _refuse(
    session: AsyncSession,
    webhook: IncomingWebhook,
    event_id: str | None,
    resource: Resource,
    happening: Happening,
    message: str,
    *,
    at: datetime,
    blueprint: str | None = None,
    entity: str | None = None,
) -> None:
    context: dict[str, str | None] = {"webhookId": webhook.identifier, "webhookEventId": event_id}
    if blueprint is not None:
        context |= {"blueprint": blueprint, "entity": entity}
    change = Change.refused(
        resource,
        happening,
        shortened(message, _LONGEST_MESSAGE),
        context=context,
        at=at,
        by=webhook.identifier,
        origin=webhook.identifier,
    )
    await changes.append(session, change)


def _columns(webhook: IncomingWebhook) -> dict[str, Any]:
    return {
        "identifier": webhook.identifier,
        "secret": webhook.sealed,
        "document": _WEBHOOK.dump_python(webhook, mode="json", exclude=_ELSEWHERE),
    }


def _read(row: Any) -> IncomingWebhook:
    row_id, key, sealed, document = row
    return _WEBHOOK.validate_python({**document, "id": row_id, "key": key, "sealed": sealed})


async def _record(
    session: AsyncSession,
    before: IncomingWebhook | None,
    after: IncomingWebhook | None,
    *,
    by: str,
    at: datetime,
    origin: str,
) -> None:
    known = after or before
    change = Change.of(
        Resource.WEBHOOK,
        before.echo() if before else None,
        after.echo() if after else None,
        context={"webhookId": known.identifier if known else None},
        by=by,
        at=at,
        origin=origin,
    )
    await changes.append(session, change)
