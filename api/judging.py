"""What decides the policies among the permissions to write, in the middle of a write."""

from api.services import ApiServices
from domain.blueprint_permissions import Judge
from domain.entities import Entity
from domain.permissions import Policy
from domain.policies import context
from domain.users import User
from store import policies, shown


def judge(services: ApiServices) -> Judge:
    """It sees the catalog as it was committed before, and the entity as it is given, with what is derived."""

    async def judged(policy: Policy, user: User, entity: Entity) -> bool:
        at = services.now()
        # What is read in a transaction that may not be committed must not be remembered.
        async with services.database.beside() as session:
            [document] = await shown.documents(session, [entity], evaluate=services.evaluate, at=at)
            seen = context(user, document, blueprint=entity.blueprint)
            said = await policies.said(
                session,
                policy,
                seen,
                user,
                evaluate=services.evaluate,
                at=at,
                fail_closed=services.settings.policy_fail_closed,
            )
        return said.permits

    return judged
