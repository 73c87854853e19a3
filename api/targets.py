"""The entity that a run is asked for: found in the catalog, with what is derived of it, and what is offered on it."""

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime

from sqlmodel.ext.asyncio.session import AsyncSession

from api import readable
from api.completing import completing
from api.reading import shown
from api.services import ApiServices
from domain.actions import Action
from domain.blueprints import Blueprint
from domain.entities import Entity
from domain.errors import InvalidRequest, NotFound
from domain.requests import RunRequest, Target
from domain.users import Caller
from store import actions, blueprints, entities, search


async def blueprint_of(session: AsyncSession, action: Action) -> Blueprint | None:
    """The blueprint of the action; None where it has none, or that is not there."""
    if action.blueprint is None:
        return None
    with suppress(NotFound):
        return await blueprints.get(session, action.blueprint)
    return None


async def target(
    action: Action,
    blueprint: Blueprint | None,
    request: RunRequest,
    caller: Caller,
    services: ApiServices,
    *,
    at: datetime,
) -> Target | None:
    """The entity the action would run on; None where it runs on none, or the request names none.

    Raises:
        NotFound: there is no such entity that the caller may read, or no such blueprint.
    """
    if not action.needs_entity or request.entity is None or action.blueprint is None:
        return None
    if blueprint is None:
        raise NotFound("Blueprint", action.blueprint)
    async with services.database.read() as session:
        stored = await entities.get(session, blueprint.identifier, request.entity)
        await readable.require(services, session, caller, stored.entity, at=at)
        [document] = await shown(services, session, [stored.entity], known=[blueprint])
        return Target(document, await _meets_condition(services, session, action, stored.entity, caller, at=at))


async def offered(
    services: ApiServices,
    session: AsyncSession,
    known: Iterable[Action],
    blueprint: str,
    identifier: str,
    caller: Caller,
    *,
    at: datetime,
) -> list[Action]:
    """Those of the actions that the caller can be offered on the entity: they run on it, and lists and condition hold.

    Policies are not asked: they need inputs. The session only reads.

    Raises:
        NotFound: there is no such entity that the caller may read, or no such blueprint.
    """
    about = await blueprints.get(session, blueprint)
    stored = await entities.get(session, about.identifier, identifier)
    await readable.require(services, session, caller, stored.entity, at=at)
    [document] = await shown(services, session, [stored.entity], known=[about])
    teams = Target(document, meets_condition=True).teams
    permissions = dict(await actions.of_self_service(session))

    async def is_offered(action: Action) -> bool:
        lists = permissions.get(action.identifier)  # None: it was deleted in between
        if not action.needs_entity or action.blueprint != about.identifier:
            return False
        if lists is None or not lists.may_execute(caller, teams):
            return False
        try:
            return await _meets_condition(services, session, action, stored.entity, caller, at=at)
        except InvalidRequest:
            return False  # a condition that cannot be asked lets no run begin

    return [action for action in known if await is_offered(action)]


async def _meets_condition(
    services: ApiServices, session: AsyncSession, action: Action, entity: Entity, caller: Caller, *, at: datetime
) -> bool:
    condition = action.definition.condition
    if condition is None or not condition.rules:
        return True
    asked = await search.prepared(
        session,
        condition.query(),
        at=at,
        caller=caller,
        complete=completing(services, at),
        blueprint=entity.blueprint,
    )
    return await asked.holds(session, entity.blueprint, entity.identifier)
