"""The door for Microsoft Teams: what somebody writes who mentions our outgoing webhook."""

import asyncio
import logging
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from api.chat import HELP, Message, Reply, person, reply
from api.errors import responses
from api.services import ApiServices, Services
from domain import documents
from domain.approvals import Channel
from domain.chat import Command, Help, command
from domain.errors import InterlockError, InvalidRequest, NotConfigured
from domain.teams_messages import Mention, mention, message
from runtime.microsoft_teams import Teams

router = APIRouter(prefix="/v1/chat", tags=["chat"])
log = logging.getLogger(__name__)

_SECONDS = 4.0
"""How long somebody waits in Teams, which takes no answer after five seconds."""
_LATER = "This takes longer than Teams waits. It goes on; ask again in a moment, or look at the run."
_SCHEMA: dict[str, Any] = {
    "parameters": [
        {
            "in": "header",
            "name": "Authorization",
            "required": True,
            "schema": {"type": "string"},
            "description": "`HMAC <signature>`, of the body with the security token of the webhook",
        }
    ],
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object", "description": "A message, as Teams sends it."}}},
    },
}


@router.post(
    "/teams",
    responses={200: {"description": "A message with a card"}, **responses(NotConfigured)},
    openapi_extra=_SCHEMA,
)
async def teams_message(request: Request, services: Services) -> JSONResponse:
    """Take a message that mentions the outgoing webhook, and answer it. Signed by Teams; there is no access token."""
    teams = services.chat.teams
    body = await request.body()
    teams.require_signature(request.headers.get("authorization", ""), body)
    sent = mention(documents.parse(body))
    teams.require_recent(sent.timestamp)
    try:
        wanted = command(sent.command)
    except InvalidRequest as problem:
        return JSONResponse(message(f"{problem}\n{HELP}"))
    if isinstance(wanted, Help):
        return JSONResponse(message(HELP))
    task = services.chat.begin(_reply(sent, wanted, teams, services))
    await asyncio.wait({task}, timeout=_SECONDS)  # it goes on if it takes longer
    told = task.result() if task.done() else Reply(_LATER)
    return JSONResponse(message(told.text, told.url))


async def _reply(sent: Mention, wanted: Command, teams: Teams, services: ApiServices) -> Reply:
    """What comes of it. Who it is from is what Microsoft Graph says about the user, never what the message says."""
    user = sent.sender.aad_object_id or ""
    try:
        caller = await person(await teams.email_of(user, sent.tenants), services)
    except InterlockError as refusal:
        log.warning("somebody in teams is refused", extra={"teams_user": user[:40], "cause": str(refusal)})
        return Reply(str(refusal), refused=True)
    # The clock of what is recorded counts milliseconds.
    sent_at = sent.timestamp.replace(microsecond=sent.timestamp.microsecond // 1000 * 1000)
    key = f"teams:{sent.conversation.id}:{sent.id}"
    return await reply(Message(caller, wanted, Channel.TEAMS, key, sent_at), services)
