"""Integrations in SQL, and what they report: of each sort the newest records are kept."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy import bindparam, insert, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlmodel import col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.audit import Resource
from domain.changes import Change
from domain.documents import Document
from domain.errors import IdentifierTaken, NotFound
from domain.identifiers import new
from domain.integrations import ALL_EXAMPLES_KEPT, EXAMPLE, EXAMPLES_KEPT, KEPT, Integration, Reported, bounded, example
from domain.times import iso
from store import changes
from store.columns import table
from store.database import execute
from store.integration_tables import IntegrationRecordRow, IntegrationRow

_ROWS, _RECORDS = table(IntegrationRow).c, table(IntegrationRecordRow).c
_FIND = sa.select(_ROWS.id, _ROWS.key, _ROWS.document).where(_ROWS.identifier == bindparam("this"))
_TO_CHANGE = _FIND.with_for_update()
_TO_USE = sa.select(_ROWS.id).where(_ROWS.identifier == bindparam("this")).with_for_update(read=True)
_BY_KEY = sa.select(_ROWS.id).where(_ROWS.key == bindparam("this")).with_for_update(read=True)
_UPDATE = update(table(IntegrationRow)).where(_ROWS.id == bindparam("this"))
_RECORD = insert(table(IntegrationRecordRow))

_INTEGRATION = TypeAdapter(Integration)


@dataclass(frozen=True)
class Stored:
    """An integration, the id of its row, and the secret part of the addresses it reports to; `repr` hides that."""

    id: str
    key: str
    integration: Integration

    def __repr__(self) -> str:
        """Without the key."""
        return f"Stored({self.integration.identifier})"


async def create(session: AsyncSession, integration: Integration, key: str, *, origin: str) -> Stored:
    """Insert the integration.

    Raises:
        IdentifierTaken: another one has the installation id.
    """
    stored = Stored(new("integration"), key, integration)
    document = _INTEGRATION.dump_python(integration, mode="json")
    session.add(IntegrationRow(id=stored.id, identifier=integration.identifier, key=key, document=document))
    try:
        await session.flush()
    except IntegrityError:
        raise IdentifierTaken("Integration", integration.identifier) from None
    await _record(session, None, integration, by=integration.created_by, at=integration.created_at, origin=origin)
    return stored


async def replace(
    session: AsyncSession, before: Stored, after: Integration, *, by: str, at: datetime, origin: str
) -> Stored:
    """Make it `after`, unless it is already. `before` was read `to_change` in this transaction."""
    if after is before.integration:
        return before
    await execute(session, _UPDATE, {"this": before.id, "document": _INTEGRATION.dump_python(after, mode="json")})
    await _record(session, before.integration, after, by=by, at=at, origin=origin)
    return Stored(before.id, before.key, after)


async def remove(session: AsyncSession, stored: Stored, *, by: str, at: datetime, origin: str) -> None:
    """Delete the integration, which was read `to_change` in this transaction, and all that it reported."""
    await session.exec(delete(IntegrationRecordRow).where(col(IntegrationRecordRow.integration_id) == stored.id))
    await session.exec(delete(IntegrationRow).where(col(IntegrationRow.id) == stored.id))
    await _record(session, stored.integration, None, by=by, at=at, origin=origin)


async def get(session: AsyncSession, identifier: str, *, to_change: bool = False) -> Stored:
    """The integration; `to_change` keeps others from changing it until the transaction ends.

    Raises:
        NotFound: there is none.
    """
    statement = _TO_CHANGE if to_change else _FIND
    found = (await execute(session, statement, {"this": identifier})).first()
    if found is None:
        raise NotFound("Integration", identifier)
    return Stored(found[0], found[1], _INTEGRATION.validate_python(found[2]))


async def listed(session: AsyncSession) -> list[Stored]:
    """All integrations, by installation id."""
    rows = await session.exec(
        select(IntegrationRow.id, IntegrationRow.key, IntegrationRow.document).order_by(col(IntegrationRow.identifier))
    )
    return [Stored(row_id, key, _INTEGRATION.validate_python(document)) for row_id, key, document in rows]


async def report(session: AsyncSession, key: str, sort: Reported, records: Sequence[Document], *, at: datetime) -> None:
    """Add the records to those of the integration whose addresses have the key; the oldest beyond `KEPT` go.

    Raises:
        NotFound: no integration has the key.
    """
    found = (await execute(session, _BY_KEY, {"this": key})).first()
    if found is None:
        raise NotFound("Integration", "of this address")  # without the key: it may be one with a typing error
    await _add(session, found[0], sort, records[-KEPT[sort] :], at)
    await _trim(session, found[0], _RECORDS.kind == sort, KEPT[sort])


async def keep_examples(
    session: AsyncSession, identifier: str, kind: str, examples: Sequence[Document], *, at: datetime
) -> None:
    """Add examples of a kind of resource; the oldest beyond `EXAMPLES_KEPT` and `ALL_EXAMPLES_KEPT` go.

    Raises:
        NotFound: there is no such integration.
    """
    found = (await execute(session, _TO_USE, {"this": identifier})).first()
    if found is None:
        raise NotFound("Integration", identifier)
    await _add(session, found[0], example(kind), examples[-EXAMPLES_KEPT:], at)
    await _trim(session, found[0], _RECORDS.kind == example(kind), EXAMPLES_KEPT)
    await _trim(session, found[0], _RECORDS.kind.startswith(EXAMPLE, autoescape=True), ALL_EXAMPLES_KEPT)


async def records(session: AsyncSession, identifier: str, sort: str, *, limit: int) -> list[Document]:
    """The newest records of a sort, each with `receivedAt`, newest first.

    Raises:
        NotFound: there is no such integration.
    """
    stored = await get(session, identifier)
    rows = await session.exec(
        select(IntegrationRecordRow.document, IntegrationRecordRow.at)
        .where(IntegrationRecordRow.integration_id == stored.id, IntegrationRecordRow.kind == sort)
        .order_by(col(IntegrationRecordRow.sequence).desc())
        .limit(limit)
    )
    return [{**document, "receivedAt": iso(at)} for document, at in rows]


async def _add(
    session: AsyncSession, integration_id: str, sort: str, documents: Iterable[Document], at: datetime
) -> None:
    rows = [
        {"integration_id": integration_id, "kind": sort, "at": at, "document": bounded(document)}
        for document in documents
    ]
    if rows:
        await session.run_sync(_insert, rows)


def _insert(session: Session, rows: list[dict[str, Any]]) -> None:
    session.connection().execute(_RECORD, rows)


async def _trim(session: AsyncSession, integration_id: str, sort: sa.ColumnElement[bool], newest: int) -> None:
    of_sort = sa.and_(_RECORDS.integration_id == integration_id, sort)
    oldest_kept = (
        sa.select(_RECORDS.sequence).where(of_sort).order_by(_RECORDS.sequence.desc()).offset(newest - 1).limit(1)
    )
    await session.exec(delete(IntegrationRecordRow).where(of_sort, _RECORDS.sequence < oldest_kept.scalar_subquery()))


async def _record(
    session: AsyncSession, before: Integration | None, after: Integration | None, *, by: str, at: datetime, origin: str
) -> None:
    known = cast(Integration, after or before)
    change = Change.of(
        Resource.INTEGRATION,
        before.echo() if before else None,
        after.echo() if after else None,
        context={"installationId": known.identifier},
        at=at,
        by=by,
        origin=origin,
    )
    await changes.append(session, change)
