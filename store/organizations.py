"""The organization in SQL: there is one, with the credentials that sign and encrypt."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.audit import Resource
from domain.changes import Change
from domain.documents import Document
from domain.errors import IdentifierTaken, NotFound
from domain.organization import Described
from store import changes
from store.tables import OrganizationRow

_DESCRIBED = TypeAdapter(Described)


@dataclass(frozen=True)
class Stored:
    """The organization; `client_secret` is encrypted."""

    id: str
    client_id: str
    client_secret: str
    document: Document

    @property
    def described(self) -> Described:
        """What is told about it."""
        return _DESCRIBED.validate_python({"name": "", "settings": {}, **self.document})


async def get(session: AsyncSession, *, to_change: bool = False) -> Stored | None:
    """The organization, once it was set up; `to_change` keeps others from changing it until the transaction ends."""
    query = select(OrganizationRow)
    row = (await session.exec(query.with_for_update() if to_change else query)).first()
    return Stored(row.id, row.client_id, row.client_secret, row.document) if row else None


async def described(session: AsyncSession) -> Described:
    """What is told about the organization: its name and settings.

    Raises:
        NotFound: there is none yet.
    """
    return (await _set_up(session)).described


async def describe(
    session: AsyncSession, change: Callable[[Described], Described], *, by: str, at: datetime, origin: str
) -> Described:
    """Make what is told about the organization what `change` makes of it; nothing is written when that is the same.

    Raises:
        NotFound: there is none yet.
    """
    stored = await _set_up(session, to_change=True)
    before, after = stored.described, change(stored.described)
    if after == before:
        return before
    was: Document = {"name": before.name, "settings": before.settings}
    is_now: Document = {"name": after.name, "settings": after.settings}
    await session.exec(
        update(OrganizationRow)
        .where(col(OrganizationRow.id) == stored.id)
        .values(document={**stored.document, **is_now})
    )
    await changes.append(
        session, Change.of(Resource.ORGANIZATION, was, is_now, context={}, by=by, at=at, origin=origin)
    )
    return after


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


async def _set_up(session: AsyncSession, *, to_change: bool = False) -> Stored:
    stored = await get(session, to_change=to_change)
    if stored is None:
        raise NotFound("Organization", "of this deployment")
    return stored
