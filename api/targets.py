"""The entity that a run is asked for: found in the catalog, with what is derived of it."""

from datetime import datetime

from api import readable
from api.completing import completing
from api.reading import shown
from api.services import ApiServices
from domain.actions import Action
from domain.requests import RunRequest, Target
from domain.users import Caller
from store import blueprints, entities, search


async def target(
    action: Action, request: RunRequest, caller: Caller, services: ApiServices, *, at: datetime
) -> Target | None:
    """The entity the action would run on; None where it runs on none, or the request names none.

    Raises:
        NotFound: there is no such entity that the caller may read, or no such blueprint.
    """
    if not action.needs_entity or request.entity is None or action.blueprint is None:
        return None
    async with services.database.read() as session:
        blueprint = await blueprints.get(session, action.blueprint)
        stored = await entities.get(session, blueprint.identifier, request.entity)
        await readable.require(services, session, caller, stored.entity, at=at)
        [document] = await shown(services, session, [stored.entity], known=[blueprint])
        condition = action.definition.condition
        if condition is None or not condition.rules:
            return Target(document, meets_condition=True)
        asked = await search.prepared(
            session,
            condition.query(),
            at=at,
            caller=caller,
            complete=completing(services, at),
            blueprint=action.blueprint,
        )
        return Target(document, await asked.holds(session, action.blueprint, stored.entity.identifier))
