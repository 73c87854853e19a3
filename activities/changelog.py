"""Sending a change to the address or the topic that its blueprint names as `changelogDestination`."""

import contextlib
import logging

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.services import Services
from backends import post, publish_change
from domain.audit import record
from domain.blueprints import is_published
from domain.documents import Document
from domain.errors import BackendRefused, BackendUnavailable, Unavailable
from store import change_deliveries, changes, listeners

log = logging.getLogger(__name__)


class ChangelogActivity:
    """Sends changes, each at least once."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @activity.defn
    async def deliver_change(self, change_id: str) -> str:
        """Send the change to the destination of its blueprint; what became of it, in words.

        The destination is the one that the blueprint has now: who corrects an address gets what could not be delivered.
        What does not have to be sent again may be purged from then on.

        Raises:
            ApplicationError: it may arrive later.
        """
        outcome = await self._sent(change_id)
        # Without SQL nothing is sent twice for it: `worker.changelog` finds that it is over.
        with contextlib.suppress(Unavailable):
            await self._services.database.transact(lambda session: change_deliveries.end(session, change_id))
        return outcome

    async def _sent(self, change_id: str) -> str:
        async with self._services.database.read() as session:
            change = await changes.get(session, change_id)
            listening = await listeners.current(session)
        destination = listening.destination(change) if change else None
        if change is None or destination is None:
            return "nobody is to be told any more"
        context = change["context"]
        named = context if isinstance(context, dict) else {}
        blueprint, entity = str(named.get("blueprint")), str(named.get("entity"))
        message: Document = {
            **record(change, organization=self._services.credentials.organization),
            "changelogDestination": destination,
        }
        try:
            if is_published(destination):
                return await self._published(change_id, f"{blueprint}/{entity}", message, destination)
            status = await post(str(destination["url"]), message, key=change_id, using=self._services.resources)
        except BackendUnavailable as fault:
            raise ApplicationError(str(fault), type="BackendUnavailable") from None
        except BackendRefused as refusal:
            return self._refused(change_id, blueprint, str(refusal))
        if 200 <= status < 300:
            return "delivered"
        return self._refused(change_id, blueprint, f"the receiver answered {status}")

    async def _published(self, change_id: str, subject: str, message: Document, destination: Document) -> str:
        """Publish it. An agent would write about it to the log of the run that it names, whose business it is not."""
        context = message["context"]
        if destination.get("agent") is True and isinstance(context, dict):
            message = {**message, "context": {name: value for name, value in context.items() if name != "runId"}}
        await publish_change(message, subject=subject, key=change_id, using=self._services.resources)
        return "delivered"

    def _refused(self, change_id: str, blueprint: str, cause: str) -> str:
        log.warning("change was refused", extra={"change_id": change_id, "blueprint": blueprint, "cause": cause})
        return f"refused: {cause}"
