"""The organization in SQL: there is one, with the credentials that sign and encrypt."""

from dataclasses import dataclass

from sqlalchemy.exc import IntegrityError
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.documents import Document
from domain.errors import IdentifierTaken
from store.tables import OrganizationRow


@dataclass(frozen=True)
class Stored:
    """The organization; `client_secret` is encrypted."""

    id: str
    client_id: str
    client_secret: str
    document: Document


async def get(session: AsyncSession) -> Stored | None:
    """The organization, once it was set up."""
    row = (await session.exec(select(OrganizationRow))).first()
    return Stored(row.id, row.client_id, row.client_secret, row.document) if row else None


async def create(session: AsyncSession, organization: Stored) -> None:
    """Insert the organization.

    Raises:
        IdentifierTaken: another process has done so meanwhile.
    """
    session.add(
        OrganizationRow(
            id=organization.id,
            client_id=organization.client_id,
            client_secret=organization.client_secret,
            document=organization.document,
        )
    )
    try:
        await session.flush()
    except IntegrityError:
        raise IdentifierTaken("Organization", organization.id) from None
