"""What the caller may read: the permissions of blueprints, put into every search and asked before an entity is shown.

Admins, the organization's credentials and the tokens given to backends read everything, and nobody looks anything up
for them; for others it is one statement more, and a rule in the search only where a blueprint does not let them.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from sqlmodel.ext.asyncio.session import AsyncSession

from api.completing import completing
from api.services import ApiServices
from domain.entities import Entity
from domain.errors import NotFound
from domain.permissions import Policy
from domain.policies import context
from domain.query_parts import blueprints_of
from domain.readers import restriction
from domain.rule_values import Query
from domain.users import Caller
from store import blueprint_permissions, entities, policies, search
from store.found import Found, Place

Portion = Callable[[AsyncSession, str], Awaitable[Sequence[Found]]]
"""Gives the next entities of a blueprint after one, in a session that only reads."""


async def narrowed(
    services: ApiServices,
    session: AsyncSession,
    caller: Caller,
    query: Query | None,
    *,
    at: datetime,
    blueprint: str | None = None,
) -> Query | None:
    """The query, of one blueprint or of all, for what the caller may read of it. The session only reads.

    Raises:
        Unavailable: no process could be had to decide a policy.
    """
    rule = await _rule(services, session, caller, query, at=at, blueprint=blueprint)
    if rule is None:
        return query
    return rule if query is None else Query("and", (query, rule))


async def require(
    services: ApiServices, session: AsyncSession, caller: Caller, entity: Entity, *, at: datetime
) -> None:
    """Nothing, if the caller may read the entity. The session only reads.

    Raises:
        NotFound: what may not be read is not there.
        Unavailable: no process could be had to decide a policy.
    """
    rule = await _rule(services, session, caller, None, at=at, blueprint=entity.blueprint)
    if rule is None:
        return
    asked = await _search(services, session, caller, rule, at=at, blueprint=entity.blueprint)
    if not await asked.holds(session, entity.blueprint, entity.identifier):
        raise NotFound("Entity", entity.identifier)


async def portions(
    services: ApiServices, session: AsyncSession, caller: Caller, blueprint: str, *, at: datetime
) -> Portion:
    """What reads the entities of the blueprint that the caller may read, by identifier. The session only reads.

    Raises:
        Unavailable: no process could be had to decide a policy.
    """
    rule = await _rule(services, session, caller, None, at=at, blueprint=blueprint)
    if rule is None:

        async def everything(session: AsyncSession, after: str) -> Sequence[Found]:
            return await entities.portion(session, blueprint, after=after)

        return everything
    asked = await _search(services, session, caller, rule, at=at, blueprint=blueprint)

    async def some(session: AsyncSession, after: str) -> Sequence[Found]:
        return (await asked.page(session, after=Place(blueprint, after))).found

    return some


async def _rule(
    services: ApiServices,
    session: AsyncSession,
    caller: Caller,
    query: Query | None,
    *,
    at: datetime,
    blueprint: str | None,
) -> Query | None:
    if caller.user is None or caller.is_admin:
        return None
    blocks = await blueprint_permissions.readers(session, blueprint)
    if query is not None and (only := blueprints_of(query)) is not None:
        blocks = {name: block for name, block in blocks.items() if name in only}
    permitted = [
        name
        for name, block in blocks.items()
        if block.policy is not None
        and (
            await policies.said(
                session,
                Policy.model_validate(block.policy),
                context(caller.user, blueprint=name),
                caller.user,
                evaluate=services.evaluate,
                at=at,
                fail_closed=services.settings.policy_fail_closed,
            )
        ).permits
    ]
    return restriction(blocks, caller, permitted)


async def _search(
    services: ApiServices, session: AsyncSession, caller: Caller, rule: Query, *, at: datetime, blueprint: str
) -> search.Search:
    return await search.prepared(
        session, rule, at=at, caller=caller, complete=completing(services, at), blueprint=blueprint
    )
