"""What the predicate asks beyond one entity when it decides what SQL cannot tell."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlmodel.ext.asyncio.session import AsyncSession

from domain import candidates
from domain.candidates import Reference
from domain.entities import Entity
from domain.people_entities import identifier_of
from domain.users import Caller
from store import entities
from store.derived import Completing
from store.search_columns import among
from store.search_values import ENTITIES

Names = dict[tuple[Reference, str], dict[str, str | None]]
"""Titles by entity and relation, and then by identifier."""


@dataclass(frozen=True)
class Around:
    """What the predicate asks beyond one entity. Chains of relations are SQL's, so nobody follows them here."""

    me: candidates.Entity | None = None
    mine: Sequence[candidates.Entity] = ()
    names: Names = field(default_factory=dict)

    @classmethod
    async def of(
        cls, session: AsyncSession, caller: Caller, complete: Completing, wanted: Callable[[str], bool]
    ) -> "Around":
        """The caller's own entity and those of the caller's teams, as far as there are such."""
        if caller.user is None:
            return cls()
        me = await entities.find(session, "_user", identifier_of(caller.user.email))
        names = [str(identifier_of(name)) for name in caller.user.teams]
        named = sa.and_(ENTITIES.blueprint == "_team", among(ENTITIES.identifier, names))
        rows = await rows_of(session, sa.select(ENTITIES.document).where(named))
        teams = {str(entity.identifier): entity for entity in (Entity.model_validate(row[0]) for row in rows)}
        mine = [teams[name] for name in names if name in teams]
        whole = await complete(session, [*([me.entity] if me else []), *mine], wanted=wanted)
        return cls(whole[0], whole[1:]) if me else cls(None, whole)

    def targets(self, of: Reference, *, relation: str | None = None, required: bool | None = None) -> Sequence[Any]:
        return ()

    def sources(self, of: Reference, *, relation: str | None = None, required: bool | None = None) -> Sequence[Any]:
        return ()

    def titles(self, of: Reference, relation: str) -> Mapping[str, str | None]:
        return self.names.get((of, relation), {})

    def user(self, caller: Caller) -> candidates.Entity | None:
        return self.me

    def teams(self, caller: Caller) -> Sequence[candidates.Entity]:
        return self.mine


async def rows_of(
    session: AsyncSession, statement: sa.Select[Any] | sa.CompoundSelect[Any], given: Mapping[str, Any] | None = None
) -> Sequence[Any]:
    """All rows of the statement with what it is given."""
    rows: Sequence[Any] = (await session.exec(statement, params=given)).all()  # type: ignore[call-overload]
    return rows
