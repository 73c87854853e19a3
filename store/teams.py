"""Teams in SQL. Who is in one is kept with each person, so a write of a team also writes people.

A write also makes its entity of `_team` what it is, unless that entity is what was written (`mirrored=False`).
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy.exc import IntegrityError
from sqlmodel import col, delete, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.causes import NO_RUN, Cause
from domain.changes import Change
from domain.documents import Document
from domain.errors import IdentifierTaken, NotFound
from domain.teams import Team, transferred
from domain.times import not_before
from domain.users import User
from store import changes, people_mirror, users
from store.entities import Writer
from store.tables import TeamRow


async def create(
    session: AsyncSession,
    team: Team,
    members: Sequence[str] | None,
    *,
    by: str,
    origin: str,
    mirrored: bool = True,
    cause: Cause = NO_RUN,
) -> list[User]:
    """Insert the team with these email addresses as its members; all people as they are now.

    Raises:
        IdentifierTaken: another team has the name.
        NotFound: nobody has one of the email addresses.
    """
    session.add(TeamRow(id=team.id, name=team.name, document=team.model_dump(mode="json")))
    try:
        await session.flush()
    except IntegrityError:
        raise IdentifierTaken("Team", team.name) from None
    people, settled = await _settled(session, None, team, members, at=team.created_at)
    writer = people_mirror.writer(at=team.created_at, by=by, origin=origin, cause=cause)
    await _record(session, None, team.written(settled), writer)
    if mirrored:
        await people_mirror.put_team(session, None, team, writer=writer)
    await _write(session, team.name, people, settled, writer)
    return settled


async def replace(
    session: AsyncSession,
    before: Team,
    after: Team,
    members: Sequence[str] | None,
    *,
    at: datetime,
    by: str,
    origin: str,
    mirrored: bool = True,
    cause: Cause = NO_RUN,
) -> tuple[Team, list[User]]:
    """Keep what the team is now, and its members unless None; the team and all people as they are now.

    Raises:
        IdentifierTaken: another team has the new name.
        NotFound: nobody has one of the email addresses.
    """
    at = not_before(at, before.updated_at)
    people, settled = await _settled(session, before, after, members, at=at)
    old = before.written(people)
    if after.written(settled) == old:
        return before, people
    after = after.model_copy(update={"updated_at": at})
    values = {"name": after.name, "document": after.model_dump(mode="json")}
    try:
        await session.exec(update(TeamRow).where(col(TeamRow.id) == after.id).values(**values))
    except IntegrityError:
        raise IdentifierTaken("Team", after.name) from None
    writer = people_mirror.writer(at=at, by=by, origin=origin, cause=cause)
    await _record(session, old, after.written(settled), writer)
    await _write(session, after.name if after.name != before.name else None, people, settled, writer)
    if mirrored:
        await people_mirror.put_team(session, before, after, writer=writer)
    return after, settled


async def remove(
    session: AsyncSession,
    team: Team,
    *,
    at: datetime,
    by: str,
    origin: str,
    mirrored: bool = True,
    cause: Cause = NO_RUN,
) -> None:
    """Delete the team, also from its members."""
    at = not_before(at, team.updated_at)
    people, settled = await _settled(session, team, None, None, at=at)
    writer = people_mirror.writer(at=at, by=by, origin=origin, cause=cause)
    await session.exec(delete(TeamRow).where(col(TeamRow.id) == team.id))
    await _write(session, None, people, settled, writer)
    await _record(session, team.written(people), None, writer)
    if mirrored:
        await people_mirror.remove_team(session, team, writer=writer)


async def get(session: AsyncSession, name: str, *, to_change: bool = False) -> Team:
    """The team of the name; `to_change` keeps others from changing it and from joining it.

    Raises:
        NotFound: there is none.
    """
    query = select(TeamRow.document).where(TeamRow.name == name)
    found = (await session.exec(query.with_for_update() if to_change else query)).first()
    if found is None:
        raise NotFound("Team", name)
    return Team.model_validate(found)


async def require(session: AsyncSession, names: Collection[str]) -> None:
    """Refuse names that no team has. Those there are stay as they are until the transaction ends.

    Raises:
        NotFound: names the first that is missing.
    """
    for name in sorted(names):
        await get(session, name, to_change=True)


async def listed(session: AsyncSession) -> list[Team]:
    """All teams, by name."""
    rows = await session.exec(select(TeamRow.document).order_by(col(TeamRow.name)))
    return [Team.model_validate(row) for row in rows]


async def _settled(
    session: AsyncSession, before: Team | None, after: Team | None, members: Sequence[str] | None, *, at: datetime
) -> tuple[list[User], list[User]]:
    """All people as they are, and as they will be once it is written who is in the team.

    Raises:
        NotFound: nobody has one of the email addresses.
    """
    people = await users.everybody(session, to_change=True)
    known = {person.email.casefold() for person in people}
    if unknown := [email for email in members or () if email.casefold() not in known]:
        raise NotFound("User", unknown[0])
    wanted = None if members is None else {email.casefold() for email in members}
    old, new = before.name if before else None, after.name if after else None
    return people, [transferred(person, old=old, new=new, members=wanted, at=at) for person in people]


async def _write(
    session: AsyncSession, name: str | None, people: Sequence[User], settled: Sequence[User], writer: Writer
) -> None:
    """Write the people who change, and the entities of those who bore the new name before a team did.

    `name` is the new one, None if there is none.
    """
    for person, now in zip(people, settled, strict=True):
        await users.replace(session, person, now, by=writer.author.id, origin=writer.origin, cause=writer.cause)
        if now is person and name in person.teams:
            await people_mirror.put_user(session, person, writer=writer)


async def _record(session: AsyncSession, before: Document | None, after: Document | None, writer: Writer) -> None:
    known = after or before or {}
    change = Change.of(
        "team",
        before,
        after,
        context={"team": str(known["name"])},
        at=writer.author.at,
        by=writer.author.id,
        origin=writer.origin,
        cause=writer.cause,
    )
    await changes.append(session, change)
