"""Secrets of the organization in SQL, encrypted by whoever calls; their changes never hold a value."""

from datetime import datetime

from sqlalchemy.exc import IntegrityError
from sqlmodel import col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.audit import Resource
from domain.changes import Change
from domain.errors import IdentifierTaken, NotFound
from domain.secret_values import Secret
from store import changes
from store.tables import SecretRow


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


async def encrypted(session: AsyncSession) -> dict[str, str]:
    """The encrypted value of every secret."""
    rows = await session.exec(select(SecretRow.name, SecretRow.value))
    return dict(rows.all())


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
