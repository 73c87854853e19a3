"""People in SQL, and the credentials they get tokens with.

A write also makes their entity of `_user` what they are, unless that entity is what was written (`mirrored=False`).
"""

import hashlib
import hmac
from collections.abc import Collection
from datetime import datetime

from sqlalchemy.exc import IntegrityError
from sqlmodel import col, delete, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.causes import NO_RUN, Cause
from domain.changes import Change
from domain.errors import IdentifierTaken, NotFound
from domain.users import User
from store import changes, people_mirror
from store.tables import UserRow


async def create(
    session: AsyncSession,
    user: User,
    *,
    client_id: str,
    client_secret: str,
    by: str = "interlock",
    origin: str = "CLI",
    mirrored: bool = True,
    cause: Cause = NO_RUN,
) -> None:
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
    await _record(session, None, user, at=user.created_at, by=by, origin=origin, cause=cause)
    if mirrored:
        writer = people_mirror.writer(at=user.created_at, by=by, origin=origin, cause=cause)
        await people_mirror.put_user(session, user, writer=writer)


async def replace(
    session: AsyncSession,
    before: User,
    after: User,
    *,
    by: str,
    origin: str,
    mirrored: bool = True,
    cause: Cause = NO_RUN,
) -> None:
    """Keep what the person is now; nothing happens when it is what they were."""
    if after == before:
        return
    document = after.model_dump(mode="json")
    await session.exec(update(UserRow).where(col(UserRow.id) == after.id).values(document=document))
    await _record(session, before, after, at=after.updated_at, by=by, origin=origin, cause=cause)
    if mirrored:
        writer = people_mirror.writer(at=after.updated_at, by=by, origin=origin, cause=cause)
        await people_mirror.put_user(session, after, writer=writer)


async def put_credentials(
    session: AsyncSession, user: User, *, client_id: str, client_secret: str, at: datetime, by: str, origin: str
) -> None:
    """Replace the credentials of the person; the old ones give no more tokens."""
    after = user.given_credentials(at=at)
    values = {
        "client_id": client_id,
        "client_secret_hash": _digest(client_secret),
        "document": after.model_dump(mode="json"),
    }
    await session.exec(update(UserRow).where(col(UserRow.id) == user.id).values(**values))
    await _record(session, user, after, at=at, by=by, origin=origin)
    await people_mirror.put_user(session, after, writer=people_mirror.writer(at=at, by=by, origin=origin))


async def remove(
    session: AsyncSession,
    user: User,
    *,
    at: datetime,
    by: str,
    origin: str,
    mirrored: bool = True,
    cause: Cause = NO_RUN,
) -> None:
    """Delete the person. Their tokens are refused from now on.

    Raises:
        HasDependents: an entity must relate to theirs.
    """
    await session.exec(delete(UserRow).where(col(UserRow.id) == user.id))
    await _record(session, user, None, at=at, by=by, origin=origin, cause=cause)
    if mirrored:
        writer = people_mirror.writer(at=at, by=by, origin=origin, cause=cause)
        await people_mirror.remove_user(session, user, writer=writer)


async def get(session: AsyncSession, user_id: str) -> User | None:
    """The person with the id, if there is one."""
    row = await session.get(UserRow, user_id)
    return User.model_validate(row.document) if row else None


async def several(session: AsyncSession, user_ids: Collection[str]) -> dict[str, User]:
    """Those of the people that there are, by id."""
    rows = await session.exec(select(UserRow.document).where(col(UserRow.id).in_(user_ids))) if user_ids else ()
    return {user.id: user for user in map(User.model_validate, rows)}


async def by_email(session: AsyncSession, email: str, *, to_change: bool = False) -> User:
    """The person with the email address, in any case; `to_change` keeps others from changing them.

    Raises:
        NotFound: there is none.
    """
    query = select(UserRow.document).where(UserRow.email == email.casefold())
    found = (await session.exec(query.with_for_update() if to_change else query)).first()
    if found is None:
        raise NotFound("User", email)
    return User.model_validate(found)


async def by_credentials(session: AsyncSession, client_id: str, client_secret: str) -> User | None:
    """The person these credentials belong to; None when they belong to nobody."""
    row = (await session.exec(select(UserRow).where(UserRow.client_id == client_id))).first()
    if row is None or not hmac.compare_digest(row.client_secret_hash, _digest(client_secret)):
        return None
    return User.model_validate(row.document)


async def everybody(session: AsyncSession, *, to_change: bool = False) -> list[User]:
    """All people, by email address; `to_change` keeps others from changing them."""
    query = select(UserRow.document).order_by(col(UserRow.email))
    rows = await session.exec(query.with_for_update() if to_change else query)
    return [User.model_validate(row) for row in rows]


async def _record(
    session: AsyncSession,
    before: User | None,
    after: User | None,
    *,
    at: datetime,
    by: str,
    origin: str,
    cause: Cause = NO_RUN,
) -> None:
    known = after or before
    change = Change.of(
        "user",
        before.model_dump(mode="json") if before else None,
        after.model_dump(mode="json") if after else None,
        context={"user": known.email if known else None},
        at=at,
        by=by,
        origin=origin,
        cause=cause,
    )
    await changes.append(session, change)


def _digest(secret: str) -> str:
    # The secret is 256 random bits, so a slow hash would protect nothing and cost every token request.
    return hashlib.sha256(secret.encode()).hexdigest()
