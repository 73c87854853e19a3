"""Incoming webhooks: their definitions. What arrives at their addresses is the business of `api/ingest.py`."""

import json
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body
from sqlmodel.ext.asyncio.session import AsyncSession

from api.auth import AdminCaller, AuthenticatedRoute, Caller
from api.errors import responses
from api.services import ApiServices, Now, Services
from domain.documents import Document
from domain.errors import Forbidden, IdentifierTaken, InvalidRequest, NotFound
from domain.identifiers import new
from domain.incoming_events import faults
from domain.incoming_webhooks import Definition, IncomingWebhook, Secret, WebhookId, parsed, patched, separated, written
from domain.runs import Source
from domain.shapes import MAX_PROBLEMS
from domain.users import Caller as CallerValue
from runtime.keys import KeyFault
from store import incoming_webhooks

router = APIRouter(route_class=AuthenticatedRoute, tags=["incoming webhooks"])

PATH = "/v1/ingest/webhooks"
"""Where events arrive, each under the key of its webhook."""

Written = Annotated[dict[str, Any], Body(description="An incoming webhook; it is stored and echoed as received.")]
Part = Annotated[dict[str, Any], Body(description="Some top-level keys of an incoming webhook; the others stay.")]


@router.get("/v1/webhooks", responses=responses())
async def list_webhooks(caller: Caller, services: Services) -> Document:
    """All incoming webhooks, by identifier. Only Admins are told their addresses."""
    async with services.database.read() as session:
        found = await incoming_webhooks.listed(session)
    return {"ok": True, "integrations": [_shown(webhook, caller, services) for webhook in found]}


@router.post("/v1/webhooks", status_code=201, responses=responses(Forbidden, IdentifierTaken))
async def create_webhook(document: Written, caller: AdminCaller, services: Services, now: Now) -> Document:
    """Create an incoming webhook; `url` is where to send its events. Its secret is never told again."""
    definition = await _checked(document, services)
    kept, secret = separated(written(document))
    identifier = definition.identifier or WebhookId(new("webhook"))
    webhook = IncomingWebhook(
        id=new("webhook"),
        identifier=identifier,
        key=secrets.token_urlsafe(24),
        document=_named(kept, identifier),
        sealed=services.vault.encrypt(secret.value) if secret.value is not None else None,
        created_at=now,
        created_by=caller.id,
        updated_at=now,
        updated_by=caller.id,
    )
    async with services.database.write() as session:
        await incoming_webhooks.create(session, webhook, origin=Source.API)
    return {"ok": True, "integration": _shown(webhook, caller, services)}


@router.get("/v1/webhooks/{identifier}", responses=responses(NotFound))
async def get_webhook(identifier: str, caller: Caller, services: Services) -> Document:
    """One incoming webhook. Only Admins are told its address."""
    async with services.database.read() as session:
        webhook = await incoming_webhooks.get(session, identifier)
    return {"ok": True, "integration": _shown(webhook, caller, services)}


@router.put("/v1/webhooks/{identifier}", responses=responses(NotFound, Forbidden, IdentifierTaken))
async def replace_webhook(
    identifier: str, document: Written, caller: AdminCaller, services: Services, now: Now
) -> Document:
    """Replace the definition; the address stays. Another `identifier` renames it.

    The secret stays if `security` names the header of the signature and no `secret`.
    """
    await _checked(document, services)
    return await _revised(identifier, lambda before: document, caller, services, now)


@router.patch("/v1/webhooks/{identifier}", responses=responses(NotFound, Forbidden, IdentifierTaken))
async def patch_webhook(identifier: str, part: Part, caller: AdminCaller, services: Services, now: Now) -> Document:
    """Replace the top-level keys that are named; the others stay."""
    async with services.database.read() as session:
        before = await incoming_webhooks.get(session, identifier)
    await _checked(patched(before.document, part), services)
    return await _revised(identifier, lambda before: patched(before.document, part), caller, services, now)


@router.delete("/v1/webhooks/{identifier}", responses=responses(NotFound, Forbidden))
async def delete_webhook(identifier: str, caller: AdminCaller, services: Services, now: Now) -> Document:
    """Delete the webhook: its address is gone for ever. What its events have written stays."""

    async def write(session: AsyncSession) -> None:
        webhook = await incoming_webhooks.get(session, identifier, to_change=True)
        await incoming_webhooks.remove(session, webhook, by=caller.id, at=now, origin=Source.API)

    await services.database.transact(write)
    return {"ok": True}


async def _checked(document: Document, services: ApiServices) -> Definition:
    """The definition in the document, whose programs compile. It asks jq, so no transaction waits for it.

    Raises:
        InvalidRequest: names each fault by its path.
    """
    definition = parsed(document)
    if found := await faults(definition, services.evaluate):
        raise InvalidRequest("; ".join(found[:MAX_PROBLEMS]))
    return definition


async def _revised(
    identifier: str,
    change: Callable[[IncomingWebhook], Document],
    caller: CallerValue,
    services: ApiServices,
    now: datetime,
) -> Document:
    async def write(session: AsyncSession) -> IncomingWebhook:
        before = await incoming_webhooks.get(session, identifier, to_change=True)
        document = written(change(before))
        definition = parsed(document)
        kept, secret = separated(document)
        named = definition.identifier or before.identifier
        said = replace(before, identifier=named, document=_named(kept, named), sealed=_sealed(before, secret, services))
        if said.sealed == before.sealed and json.dumps(said.echo()) == json.dumps(before.echo()):
            return before  # the order of keys counts
        after = replace(said, updated_at=now, updated_by=caller.id)
        await incoming_webhooks.put(session, before, after, origin=Source.API)
        return after

    return {"ok": True, "integration": _shown(await services.database.transact(write), caller, services)}


def _sealed(before: IncomingWebhook, secret: Secret, services: ApiServices) -> str | None:
    """The encrypted secret; the very same text when the secret is the same, so that nothing has changed."""
    if secret.stays:
        return before.sealed
    if secret.value is None:
        return None
    if before.sealed is not None:
        try:
            if services.vault.decrypt(before.sealed) == secret.value:
                return before.sealed
        except KeyFault:
            return services.vault.encrypt(secret.value)  # nobody can open the old one any more
    return services.vault.encrypt(secret.value)


def _named(document: Document, identifier: str) -> Document:
    """The document with its identifier where it was, or at its beginning where there was none."""
    if document.get("identifier") is not None:
        return document
    return {"identifier": identifier, **{key: value for key, value in document.items() if key != "identifier"}}


def _shown(webhook: IncomingWebhook, caller: CallerValue, services: ApiServices) -> Document:
    shown = webhook.echo()
    if caller.administers:
        shown |= {"webhookKey": webhook.key, "url": f"{services.settings.public_url}{PATH}/{webhook.key}"}
    return shown
