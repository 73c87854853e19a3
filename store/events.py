"""Events in SQL: the change that automations are told about, with the definition that a changed run executes."""

from sqlmodel.ext.asyncio.session import AsyncSession

from domain.documents import Document
from domain.errors import NotFound
from domain.events import event_of
from store import actions, changes, runs


async def of_change(session: AsyncSession, change_id: str, organization: str) -> Document:
    """The event of a change that was recorded.

    Raises:
        NotFound: the change was deleted, because it is older than the retention.
    """
    change = await changes.get(session, change_id)
    if change is None:
        raise NotFound("Change", change_id)
    return await of_document(session, change, organization=organization)


async def of_document(session: AsyncSession, change: Document, *, organization: str) -> Document:
    """The same, of a change that was read already."""
    if change["resourceType"] != "run":
        return event_of(change, organization=organization)
    try:
        found = await runs.find(session, _run_of(change))
        action = await actions.version(session, found.action_id, found.run.interlock.action_version)
    except NotFound:
        return event_of(change, organization=organization)
    return event_of(change, organization=organization, action=action)


def _run_of(change: Document) -> str:
    context = change["context"]
    return str(context.get("runId")) if isinstance(context, dict) else ""
