"""Secrets of the organization in SQL, encrypted by whoever calls."""

from sqlalchemy.exc import IntegrityError
from sqlmodel import col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.errors import IdentifierTaken, NotFound
from domain.secret_values import Secret
from store.tables import SecretRow


async def create(session: AsyncSession, secret: Secret, encrypted: str) -> None:
    """Insert the secret.

    Raises:
        IdentifierTaken: there is one of that name.
    """
    session.add(SecretRow(name=secret.secret_name, value=encrypted, document=secret.model_dump(mode="json")))
    try:
        await session.flush()
    except IntegrityError:
        raise IdentifierTaken("Secret", secret.secret_name) from None


async def replace(session: AsyncSession, secret: Secret, encrypted: str | None) -> None:
    """Change what is told about the secret, and its value unless None."""
    row = await _row(session, secret.secret_name)
    row.document = secret.model_dump(mode="json")
    row.value = encrypted if encrypted is not None else row.value
    session.add(row)


async def remove(session: AsyncSession, name: str) -> None:
    """Delete the secret.

    Raises:
        NotFound: there is none.
    """
    await _row(session, name)
    await session.exec(delete(SecretRow).where(col(SecretRow.name) == name))


async def get(session: AsyncSession, name: str) -> Secret:
    """What is told about the secret.

    Raises:
        NotFound: there is none.
    """
    return Secret.model_validate((await _row(session, name)).document)


async def listed(session: AsyncSession) -> list[Secret]:
    """What is told about every secret, by name."""
    rows = await session.exec(select(SecretRow.document).order_by(col(SecretRow.name)))
    return [Secret.model_validate(row) for row in rows]


async def encrypted(session: AsyncSession) -> dict[str, str]:
    """The encrypted value of every secret."""
    rows = await session.exec(select(SecretRow.name, SecretRow.value))
    return dict(rows.all())


async def _row(session: AsyncSession, name: str) -> SecretRow:
    row = await session.get(SecretRow, name)
    if row is None:
        raise NotFound("Secret", name)
    return row
