"""The doors for Slack: a command that somebody writes, a button that somebody presses."""

import logging
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from api.chat import HELP, Message, Reply, person, reply, said
from api.errors import responses
from api.services import ApiServices, Services
from domain.approvals import Channel
from domain.chat import Command, Decide, Help, command
from domain.documents import Document
from domain.errors import InterlockError, InvalidRequest, NotConfigured
from domain.notifications import Request as Asked
from domain.runs import Run
from domain.slack_messages import Press, SlashCommand, decided, only_you, press, slash_command
from runtime.slack import Slack
from store import actions, runs

router = APIRouter(prefix="/v1/chat/slack", tags=["chat"])
log = logging.getLogger(__name__)


def _form(**fields: str) -> dict[str, Any]:
    properties = {name: {"type": "string", "description": text} for name, text in fields.items()}
    schema = {"type": "object", "properties": properties, "required": list(fields)}
    signature = [
        {"in": "header", "name": name, "required": True, "schema": {"type": "string"}}
        for name in ("X-Slack-Request-Timestamp", "X-Slack-Signature")
    ]
    content = {"application/x-www-form-urlencoded": {"schema": schema}}
    return {"parameters": signature, "requestBody": {"required": True, "content": content}}


@router.post(
    "/commands",
    responses={200: {"description": "What only the sender reads; empty where it follows"}, **responses(NotConfigured)},
    openapi_extra=_form(
        user_id="Who wrote it.", trigger_id="What names it.", response_url="Where the answer goes.", text="The command."
    ),
)
async def slack_command(request: Request, services: Services) -> Response:
    """Take what somebody wrote after the slash command. Signed by Slack; there is no access token.

    What cannot be told at once follows at `response_url`.
    """
    slack = services.chat.slack
    body = await request.body()
    signed_at = slack.require_signature(request.headers, body)
    sent = slash_command(body)
    slack.require_answerable(sent.response_url)
    try:
        wanted = command(sent.command)
    except InvalidRequest as problem:
        return _json(only_you(f"{problem}\n{HELP}"))
    if isinstance(wanted, Help):
        return _json(only_you(HELP))

    async def answer() -> None:
        told = await _reply(sent, wanted, signed_at, slack, services)
        await slack.tell(sent.response_url, only_you(told.text, told.url))

    services.chat.begin(answer())
    return Response()


@router.post(
    "/interactive",
    responses={200: {"description": "Taken"}, **responses(NotConfigured)},
    openapi_extra=_form(payload="JSON: what was pressed, and by whom."),
)
async def slack_interaction(request: Request, services: Services) -> Response:
    """Take the press of one of our buttons. Signed by Slack; there is no access token.

    The message with the buttons is written anew; who may not decide is told so alone.
    """
    slack = services.chat.slack
    body = await request.body()
    signed_at = slack.require_signature(request.headers, body)
    pressed = press(body)
    if pressed is None:
        return Response()
    slack.require_answerable(pressed.response_url)

    async def answer() -> None:
        told = await _reply(pressed, Decide(pressed.run_id, pressed.word), signed_at, slack, services)
        shown = told.run is not None and await _shown(told.run, pressed, slack, services)
        if told.refused or not shown:
            await slack.tell(pressed.response_url, only_you(told.text, told.url))

    services.chat.begin(answer())
    return Response()


async def _reply(
    sent: SlashCommand | Press, wanted: Command, signed_at: datetime, slack: Slack, services: ApiServices
) -> Reply:
    """What comes of it. Who it is from is what Slack says about the user id, never what the payload says."""
    try:
        caller = await person(await slack.email_of(sent.user_id, sent.team_id), services)
    except InterlockError as refusal:
        log.warning("somebody in slack is refused", extra={"slack_user": sent.user_id[:40], "cause": str(refusal)})
        return Reply(str(refusal), refused=True)
    message = Message(caller, wanted, Channel.SLACK, f"slack:{sent.trigger_id}", signed_at)
    return await reply(message, services)


async def _shown(run: Run, pressed: Press, slack: Slack, services: ApiServices) -> bool:
    """Write the message anew; whether that worked."""
    try:
        message = await _anew(run, services)
    except InterlockError as refusal:
        log.warning("a message cannot be written anew", extra={"run_id": run.id, "cause": str(refusal)})
        return False
    return await slack.tell(pressed.response_url, message)


async def _anew(run: Run, services: ApiServices) -> Document:
    """The message that asks about the run, as it reads now."""
    async with services.database.read() as session:
        found = await runs.find(session, run.id)
        action = await actions.version(session, found.action_id, run.interlock.action_version)
    asked = Asked.about(run, action, public_url=services.settings.public_url)
    return decided(asked.as_slack(buttons=True), run, await said(run.id, services))


def _json(message: Document) -> JSONResponse:
    return JSONResponse(message)
