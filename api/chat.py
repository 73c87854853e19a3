"""What a person asks for in a chat, done with the rights that they have in the API, and told in words."""

import logging
from dataclasses import dataclass
from datetime import datetime

from fastapi import Response

from api import refusals
from api.deciding import say
from api.runs import create_run
from api.services import ApiServices
from api.visibility import visible
from domain.approvals import Channel, Decision, DecisionState, Word
from domain.causes import Cause
from domain.changes import Happening
from domain.chat import USAGE, Ask, Command, Decide, Help, Status, properties, said_in_words, standing
from domain.errors import Forbidden, InterlockError, NotFound, RunNotWaitingForApproval, Unavailable
from domain.identifiers import RunId, new
from domain.notifications import approve_url
from domain.requests import RunRequest
from domain.runs import Run, RunStatus
from domain.shapes import one_line
from domain.users import Caller
from store import actions, approvals, runs, users
from store.approvals import Outdated

log = logging.getLogger(__name__)

HELP = "\n".join(("You can write:", *(f"• {line}" for line in USAGE), "What has spaces goes into quotes."))


@dataclass(frozen=True)
class Message:
    """What somebody wrote or pressed, and who."""

    caller: Caller
    command: Command
    channel: Channel
    key: str
    """What names it: the same message asks for one run, however often it comes."""
    sent_at: datetime
    """As it was signed. An older message than a person's last word says nothing any more."""


@dataclass(frozen=True)
class Reply:
    """What comes of it, in words."""

    text: str
    url: str | None = None
    """Where the run is, if it is about one."""
    run: Run | None = None
    """The run that was decided about, by this message or before it."""
    refused: bool = False


async def person(email: str, services: ApiServices) -> Caller:
    """Whoever has the email address here, with their own rights.

    Raises:
        Forbidden: nobody has, or they are not active.
    """
    async with services.database.read() as session:
        try:
            user = await users.by_email(session, email)
            # The search folds "ß" into "ss", and so on: another address, which somebody else may have.
            if user.email.encode().lower() != email.encode().lower():
                raise NotFound("User", email)
        except NotFound:
            raise Forbidden(f"nobody here has the email address {email}: ask an Admin to invite you") from None
    if user.status != "ACTIVE":
        raise Forbidden(f"{email} is not active here")
    return Caller(services.organization.id, user.id, user=user)


async def reply(message: Message, services: ApiServices) -> Reply:
    """Do what the message says; never fails, because whoever wrote it has to hear something."""
    try:
        match message.command:
            case Help():
                return Reply(HELP)
            case Status(run_id):
                return await _status(run_id, message, services)
            case Ask() as ask:
                return await _asked(ask, message, services)
            case Decide() as decide:
                return await _decided(decide, message, services)
    except InterlockError as refusal:
        await _record(message, refusal, services)
        return Reply(str(refusal), refused=True)
    except Exception:
        log.exception("a message in a chat failed unexpectedly")
        return Reply("Something went wrong on our side; look at the run before you try again.", refused=True)


async def said(run_id: str, services: ApiServices) -> list[Decision]:
    """Everybody's last word about the run."""
    async with services.database.read() as session:
        return await approvals.decisions(session, run_id)


async def _status(run_id: str, message: Message, services: ApiServices) -> Reply:
    run = (await visible(run_id, message.caller, services)).run
    lines = [_named(run), standing(run), *([one_line(run.summary)] if run.summary else [])]
    lines += [said_in_words(one) for one in await said(run.id, services)]
    return Reply("\n".join(lines), _url(run, services))


async def _asked(ask: Ask, message: Message, services: ApiServices) -> Reply:
    async with services.database.read() as session:
        action, permissions = await actions.get(session, ask.action)
    form = action.definition.user_inputs
    if form is not None and permissions.scope(action.identifier, message.caller) is None:
        # Who may not execute it is told nothing of its inputs.
        raise Forbidden(f"You are not permitted to execute action {action.identifier!r}")
    values = properties(form, ask.inputs) if form is not None else {}
    answer = await create_run(
        action.identifier,
        RunRequest(properties=values, entity=ask.entity),
        message.caller,
        Cause(),
        services,
        RunId(new("r")),
        services.now(),
        Response(),
        idempotency_key=message.key,
    )
    run = await _run_in(answer["run"], services)
    waits = run.status is RunStatus.WAITING_FOR_APPROVAL
    return Reply(f"{_named(run)}: {standing(run) if waits else 'it was asked for.'}", _url(run, services))


async def _run_in(shown: object, services: ApiServices) -> Run:
    assert isinstance(shown, dict)  # noqa: S101 - the answer of our own route
    async with services.database.read() as session:
        return await runs.get(session, str(shown["id"]))


async def _decided(decide: Decide, message: Message, services: ApiServices) -> Reply:
    caller = message.caller
    found = await visible(decide.run_id, caller, services)
    decision = Decision(
        user_id=caller.id,
        name=caller.name,
        state=DecisionState.of(decide.word),
        description=decide.reason,
        channel=message.channel,
        sent_at=message.sent_at,
        at=services.now(),
    )
    own = [one for one in await said(decide.run_id, services) if one.user_id == caller.id]
    try:
        if own and decision.outdated_by(own[0]):  # which is told of a run that waits no more, too
            raise Outdated(own[0])
        after = await say(services, found.run, caller, decision)
    except Outdated as outdated:
        current = (await visible(decide.run_id, caller, services)).run
        return Reply(f"{_named(current)}: {said_in_words(outdated.last)} already.", _url(current, services), current)
    except RunNotWaitingForApproval as refusal:
        await _record(message, refusal, services)
        current = (await visible(decide.run_id, caller, services)).run
        return Reply(str(refusal), _url(current, services), current, refused=True)
    word = "approval" if decide.word is Word.APPROVE else "refusal"
    outcome = "Others have to decide, too." if after.status is RunStatus.WAITING_FOR_APPROVAL else standing(after)
    return Reply(f"{_named(after)}: your {word} counts. {outcome}", _url(after, services), after)


async def _record(message: Message, refusal: InterlockError, services: ApiServices) -> None:
    match message.command:
        case _ if isinstance(refusal, Unavailable):
            return
        case Ask(action):
            what, context = Happening.CREATE, {"action": action}
        case Decide(run_id):
            what, context = Happening.UPDATE, {"runId": run_id}
        case _:
            return
    await refusals.record_run(services, what, refusal, by=message.caller.id, origin=message.channel, context=context)


def _named(run: Run) -> str:
    on = f" on {one_line(run.entity.title or run.entity.identifier)}" if run.entity else ""
    return f"Run {run.id} of {one_line(run.action.title or run.action.identifier)}{on}"


def _url(run: Run, services: ApiServices) -> str:
    return approve_url(services.settings.public_url, run.id)
