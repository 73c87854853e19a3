"""Permissions in SQL, of many actions at once."""

from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.permissions import Permissions
from store.tables import ActionRow


async def of_self_service(session: AsyncSession) -> list[tuple[str, Permissions]]:
    """The identifier and the permissions of every self-service action."""
    query = select(ActionRow.identifier, ActionRow.permissions).where(ActionRow.trigger_type == "self-service")
    return [(identifier, Permissions.model_validate(found)) for identifier, found in await session.exec(query)]
