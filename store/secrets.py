"""Secrets of the organization in SQL, encrypted by whoever calls; their changes never hold a value.

Here also is all that is encrypted in SQL, of whatever table, for when the key changes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.audit import Resource
from domain.changes import Change
from domain.errors import IdentifierTaken, NotFound
from domain.secret_values import Secret
from store import changes
from store.columns import table
from store.database import Database, execute
from store.integration_tables import IncomingWebhookRow
from store.tables import OrganizationRow, SecretRow

_ORGANIZATIONS, _SECRETS, _WEBHOOKS = (table(row).c for row in (OrganizationRow, SecretRow, IncomingWebhookRow))
_VALUE = sa.select(_SECRETS.value).where(_SECRETS.name == sa.bindparam("this"))
_AT_ONCE = 100
"""How many values are encrypted again in one transaction."""


class Unreadable(Exception):
    """A value was encrypted with a key that is not configured, or is damaged. Holds no secret."""


@dataclass(frozen=True)
class Place:
    """Where encrypted values are kept: one in each row of a table, where there is one."""

    kind: str
    """What is encrypted, for people."""
    name: sa.Column[Any]
    """Names the row, and is unique."""
    value: sa.Column[Any]


PLACES = (
    Place("client secret of organization", _ORGANIZATIONS.id, _ORGANIZATIONS.client_secret),
    Place("secret", _SECRETS.name, _SECRETS.value),
    Place("secret of incoming webhook", _WEBHOOKS.identifier, _WEBHOOKS.secret),
)
"""Everything in SQL that is encrypted with the master key."""


@dataclass
class Renewal:
    """What came of encrypting everything again."""

    renewed: int = 0
    current: int = 0
    """How many had the newest key already."""
    unreadable: tuple[str, ...] = ()
    """The names of those that no configured key opens; they are as they were."""


async def create(session: AsyncSession, secret: Secret, encrypted: str, *, by: str, origin: str) -> None:
    """Insert the secret.

    Raises:
        IdentifierTaken: there is one of that name.
    """
    session.add(SecretRow(name=secret.secret_name, value=encrypted, document=secret.model_dump(mode="json")))
    try:
        await session.flush()
    except IntegrityError:
        raise IdentifierTaken("Secret", secret.secret_name) from None
    await _record(session, None, secret, by=by, at=secret.created_at, origin=origin)


async def replace(session: AsyncSession, secret: Secret, encrypted: str | None, *, by: str, origin: str) -> None:
    """Change what is told about the secret, and its value unless None.

    Raises:
        NotFound: there is none.
    """
    row = await _row(session, secret.secret_name)
    before = Secret.model_validate(row.document)
    row.document = secret.model_dump(mode="json")
    row.value = encrypted if encrypted is not None else row.value
    session.add(row)
    await _record(session, before, secret, by=by, at=secret.updated_at, origin=origin)


async def remove(session: AsyncSession, name: str, *, by: str, at: datetime, origin: str) -> None:
    """Delete the secret.

    Raises:
        NotFound: there is none.
    """
    before = await get(session, name, to_change=True)
    await session.exec(delete(SecretRow).where(col(SecretRow.name) == name))
    await _record(session, before, None, by=by, at=at, origin=origin)


async def get(session: AsyncSession, name: str, *, to_change: bool = False) -> Secret:
    """What is told about the secret; `to_change` keeps others from changing it.

    Raises:
        NotFound: there is none.
    """
    return Secret.model_validate((await _row(session, name, to_change=to_change)).document)


async def listed(session: AsyncSession) -> list[Secret]:
    """What is told about every secret, by name."""
    rows = await session.exec(select(SecretRow.document).order_by(col(SecretRow.name)))
    return [Secret.model_validate(row) for row in rows]


async def encrypted_one(session: AsyncSession, name: str) -> str | None:
    """The encrypted value of the secret; None if there is none of that name."""
    value: str | None = (await execute(session, _VALUE, {"this": name})).scalar()
    return value


async def encrypted(session: AsyncSession) -> dict[str, str]:
    """The encrypted value of every secret."""
    rows = await session.exec(select(SecretRow.name, SecretRow.value))
    return dict(rows.all())


async def renew(database: Database, renewed: Callable[[str], str | None]) -> Renewal:
    """Encrypt every value again, a few in each transaction; safe to repeat, and while others work.

    Each is replaced only if it still is what was read: whoever changes a value at the same time wins.

    Args:
        database: where the values are.
        renewed: the value encrypted with the newest key; None when it is already. It raises `Unreadable`.
    """
    done = Renewal()
    for place in PLACES:
        after = ""
        while True:
            some = partial(_portion, place=place, after=after, renewed=renewed)
            part, last = await database.transact(some)
            done.renewed += part.renewed
            done.current += part.current
            done.unreadable += part.unreadable
            if last is None:
                break
            after = last
    return done


async def _portion(
    session: AsyncSession, place: Place, after: str, renewed: Callable[[str], str | None]
) -> tuple[Renewal, str | None]:
    """What came of the next few after one, and the last of them; None when there are no more."""
    rows = (
        await session.exec(
            select(place.name, place.value)
            .where(place.name > after, place.value.is_not(None))
            .order_by(place.name)
            .limit(_AT_ONCE)
        )
    ).all()
    done = Renewal()
    for name, closed in rows:
        try:
            if await _renewed(session, place, name, closed, renewed):
                done.renewed += 1
            else:
                done.current += 1
        except Unreadable:
            done.unreadable += (f"{place.kind} {name!r}",)
    return done, rows[-1][0] if len(rows) == _AT_ONCE else None


async def _renewed(
    session: AsyncSession, place: Place, name: str, closed: str | None, renewed: Callable[[str], str | None]
) -> bool:
    """Whether the value was replaced: it has the newest key or is gone otherwise."""
    while closed is not None and (fresh := renewed(closed)) is not None:
        change = sa.update(place.value.table).where(place.name == name, place.value == closed)
        if (await execute(session, change.values({place.value: fresh}), {})).rowcount:
            return True
        # Somebody has just changed it, perhaps a process that does not know the newest key yet.
        closed = (await execute(session, sa.select(place.value).where(place.name == name), {})).scalar()
    return False


async def _row(session: AsyncSession, name: str, *, to_change: bool = False) -> SecretRow:
    row = await session.get(SecretRow, name, with_for_update=to_change or None)
    if row is None:
        raise NotFound("Secret", name)
    return row


async def _record(
    session: AsyncSession, before: Secret | None, after: Secret | None, *, by: str, at: datetime, origin: str
) -> None:
    was, is_now = (one.model_dump(mode="json") if one else None for one in (before, after))
    known = after or before
    context: dict[str, str | None] = {"secret": known.secret_name if known else None}
    await changes.append(session, Change.of(Resource.SECRET, was, is_now, context=context, by=by, at=at, origin=origin))
