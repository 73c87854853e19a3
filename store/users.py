"""People in SQL, and the credentials they get tokens with."""

import hashlib
import hmac

from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.errors import IdentifierTaken, NotFound
from domain.users import User
from store.tables import UserRow


async def create(session: AsyncSession, user: User, *, client_id: str, client_secret: str) -> None:
    """Insert the person. Only a digest of the secret is kept: nobody has to read it back.

    Raises:
        IdentifierTaken: somebody has the email address.
    """
    session.add(
        UserRow(
            id=user.id,
            email=user.email.casefold(),
            client_id=client_id,
            client_secret_hash=_digest(client_secret),
            document=user.model_dump(mode="json"),
        )
    )
    try:
        await session.flush()
    except IntegrityError:
        raise IdentifierTaken("User", user.email) from None


async def get(session: AsyncSession, user_id: str) -> User | None:
    """The person with the id, if there is one."""
    row = await session.get(UserRow, user_id)
    return User.model_validate(row.document) if row else None


async def by_email(session: AsyncSession, email: str) -> User:
    """The person with the email address, in any case.

    Raises:
        NotFound: there is none.
    """
    row = (await session.exec(select(UserRow).where(UserRow.email == email.casefold()))).first()
    if row is None:
        raise NotFound("User", email)
    return User.model_validate(row.document)


async def by_credentials(session: AsyncSession, client_id: str, client_secret: str) -> User | None:
    """The person these credentials belong to; None when they belong to nobody."""
    row = (await session.exec(select(UserRow).where(UserRow.client_id == client_id))).first()
    if row is None or not hmac.compare_digest(row.client_secret_hash, _digest(client_secret)):
        return None
    return User.model_validate(row.document)


async def everybody(session: AsyncSession) -> list[User]:
    """All people, by email address."""
    rows = await session.exec(select(UserRow.document).order_by(col(UserRow.email)))
    return [User.model_validate(row) for row in rows]


def _digest(secret: str) -> str:
    # The secret is 256 random bits, so a slow hash would protect nothing and cost every token request.
    return hashlib.sha256(secret.encode()).hexdigest()
