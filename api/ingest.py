"""What others send to incoming webhooks: believed or not, understood, and in the catalog before it is acknowledged."""

import asyncio
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from sqlmodel.ext.asyncio.session import AsyncSession

from api.auth import cause_of
from api.catalog import written
from api.completing import completing_written
from api.errors import responses
from api.incoming_webhooks import PATH
from api.services import ApiServices, Services
from domain import documents
from domain.causes import Cause
from domain.documents import Document
from domain.entities import Author
from domain.errors import NotFound, Unauthenticated, Unavailable
from domain.identifiers import new
from domain.incoming_events import Event, meaning
from domain.incoming_webhooks import IncomingWebhook, Security
from runtime.keys import KeyFault
from store import incoming_webhooks
from store.entities import Writer
from store.incoming_webhooks import Counts

router = APIRouter(tags=["incoming webhooks"])

SECONDS = 30.0
"""How long the programs of one event may take altogether. What is not understood by then is refused, on record."""

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"description": "Any JSON."}},
            documents.FORM: {
                "schema": {
                    "type": "object",
                    "properties": {"payload": {"type": "string", "description": "Any JSON."}},
                    "required": ["payload"],
                }
            },
        },
    }
}


@router.post(f"{PATH}/{{webhook_key}}", status_code=202, responses=responses(NotFound), openapi_extra=_BODY)
async def ingest_event(webhook_key: str, request: Request, services: Services) -> Document:
    """Take an event, and write what it says to the catalog. Who knows the address needs no access token.

    The answer counts entities. Why one was refused is in the audit log, by `webhookEventId`.
    """
    async with services.database.read() as session:
        webhook = await incoming_webhooks.by_key(session, webhook_key)
    if webhook is None:
        raise NotFound("Webhook with key", webhook_key[:40])
    body = await request.body()
    if not webhook.definition.enabled:
        return {"ok": True, "dropped": "the webhook is disabled"}
    headers = {name: ", ".join(request.headers.getlist(name)) for name in request.headers}
    await _require_signature(webhook, headers, body, services)
    query = {name: request.query_params.getlist(name) for name in request.query_params}
    event = Event(documents.posted(body, headers.get("content-type", "")), headers, query)
    event_id, counts = await _applied(webhook, event, cause_of(request, services), services)
    return {"ok": True, "eventId": event_id, **asdict(counts)}


async def _applied(webhook: IncomingWebhook, event: Event, cause: Cause, services: ApiServices) -> tuple[str, Counts]:
    clock = asyncio.get_running_loop().time
    end = clock() + SECONDS
    now = services.now()
    found = await meaning(webhook.definition, event, services.evaluate, now=now, in_time=lambda: clock() < end)
    event_id = found.event_id or new("webhookEvent")
    author = Author(webhook.identifier, now, f"webhook/{webhook.identifier}")

    async def write(session: AsyncSession, writer: Writer) -> Counts:
        return await incoming_webhooks.apply(
            session, webhook, event_id, found, writer=writer, complete=completing_written(services)
        )

    return event_id, await written(services, Writer(author, webhook.identifier).because_of(cause), write)


async def _require_signature(
    webhook: IncomingWebhook, headers: dict[str, str], body: bytes, services: ApiServices
) -> None:
    """Nothing, if the event is signed as it must be; one that is not is recorded.

    Raises:
        Unauthenticated: it is not.
        Unavailable: the secret cannot be opened.
    """
    if webhook.sealed is None:
        return
    security = webhook.definition.security or Security()
    try:
        secret = services.vault.decrypt(webhook.sealed)
    except KeyFault as fault:
        raise Unavailable(f"the event cannot be checked: {fault}") from None
    try:
        security.require(secret, headers, body)
    except Unauthenticated as refusal:
        async with services.database.write() as session:
            await incoming_webhooks.refuse(session, webhook, str(refusal), at=services.now())
        raise
