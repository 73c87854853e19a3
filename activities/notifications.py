"""Telling the approvers of a run that it waits for them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from email.message import EmailMessage
from functools import partial
from typing import TypeVar

import httpx
from temporalio import activity
from temporalio.exceptions import ApplicationError
from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential

from activities.letters import letter
from activities.services import Mail, Services
from backends import post
from domain import asking
from domain.actions import Action, ByWebhook
from domain.approvals import ASK_ATTEMPTS
from domain.asking import Message, Reason
from domain.driving import REQUEST
from domain.errors import BackendRefused, BackendUnavailable, Unavailable
from domain.notifications import Outcome, Request, Undelivered
from domain.permissions import Permissions
from domain.runs import PLATFORM, Asked, Run, RunStatus
from domain.users import User
from store import actions, approvals, runs, users

T = TypeVar("T")

_WEBHOOK_TIMEOUT = timedelta(seconds=5)
_HEARTBEAT_SECONDS = 3
_BATCH = 20
"""How many emails go over one connection, and are recorded together."""
_EARLY_LINES = 100
"""Among how many lines of a run's log we look for what we have said already."""

_LINES = {
    Reason.REQUEST: "Approvers were told",
    Reason.ESCALATION: "Those it was escalated to were told",
    Reason.DELEGATION: "Those it was left to were told",
    Reason.CHANGE: "Approvers were told that what would be sent has changed",
    Reason.REMINDER: "Approvers were reminded",
}
"""What the run's log says of each kind of message."""

UNDECIDED_NO_MORE = "the run does not wait any more"
TOLD = "everybody was told"


@dataclass(frozen=True)
class _Waiting:
    """A run that waits, and what has to be told about it."""

    run: Run
    action: Action
    by_policy: bool
    """Whether a policy says who may approve."""
    messages: tuple[Message, ...]


class NotificationActivity:
    """Tells approvers, each once as long as this process lives; what was recorded is never sent again."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._under_way: dict[str, asyncio.Task[str]] = {}
        """The newest attempt at each run; it goes on after the one before."""

    @activity.defn
    async def ask_approvers(self, run_id: str) -> str:
        """Tell who may decide about a run what they have to know, each of it once; what became of it, in words."""
        task = asyncio.create_task(self._ask_after(self._under_way.get(run_id), run_id))
        self._under_way[run_id] = task
        task.add_done_callback(lambda done: self._ended(run_id, done))
        # Shielded: what was sent cannot be taken back, so it is recorded even if the run was decided meanwhile.
        return await asyncio.shield(task)

    async def _ask_after(self, before: asyncio.Task[str] | None, run_id: str) -> str:
        """Once an attempt that was believed dead has ended: it has recorded whom it told then."""
        while before and not before.done():
            await asyncio.wait({before}, timeout=_HEARTBEAT_SECONDS)
            activity.heartbeat()
        return await self._ask(run_id)

    def _ended(self, run_id: str, task: asyncio.Task[str]) -> None:
        if self._under_way.get(run_id) is task:
            del self._under_way[run_id]
        if not task.cancelled():
            task.exception()  # seen, even if nobody waited for it any more

    async def _ask(self, run_id: str) -> str:
        """Whatever has to be told by now; what somebody makes necessary meanwhile is told by the next one who asks."""
        waiting = await self._patiently(partial(self._read, run_id))
        if waiting.run.status is not RunStatus.WAITING_FOR_APPROVAL:
            return UNDECIDED_NO_MORE
        channel = waiting.action.definition.approval_notification
        if isinstance(channel, ByWebhook):
            return await self._by_webhook(waiting, channel)
        said = None
        if waiting.by_policy:
            said = await self._said(run_id, "Nobody is told by email: a policy says who may approve")
            waiting = replace(waiting, messages=tuple(one for one in waiting.messages if not one.is_first))
        if self._services.mail is None:
            return said or await self._said(run_id, "Nobody is told by email: INTERLOCK_SMTP_URL is not set")
        return await self._by_email(waiting, self._services.mail) if waiting.messages or not said else said

    async def _read(self, run_id: str) -> "_Waiting":
        async with self._services.database.read() as session:
            found = await runs.find(session, run_id)
            action = await actions.version(session, found.action_id, found.run.interlock.action_version)
            permissions = await actions.permissions(session, found.action_id) or Permissions()
            due = asking.messages(found.run, await approvals.decisions(session, run_id))
            return _Waiting(found.run, action, permissions.approve.policy is not None, tuple(due))

    async def _by_webhook(self, waiting: "_Waiting", channel: ByWebhook) -> str:
        run = waiting.run
        due = list(waiting.messages)
        if not any(one.is_first for one in due) and not any(one.channel == "webhook" for one in run.interlock.asked):
            due.insert(0, Message(REQUEST, Reason.REQUEST, run.interlock.approvers))  # it is told, whoever it is for
        where = f"the webhook at {httpx.URL(channel.url).host}"  # the rest of a URL is often a secret
        using = replace(self._services.resources, timeout=_WEBHOOK_TIMEOUT, connect_timeout=_WEBHOOK_TIMEOUT)
        for message in due:
            asked, people = await self._written(waiting, message)
            recipients = [user.email for user in people] if message.reason is not Reason.REQUEST else []
            if channel.format == "slack":
                body = asked.as_slack(*recipients, buttons=self._services.slack_buttons)
            else:
                body = asked.as_json(*recipients)
            key = f"{run.id}:approval" if message.name == REQUEST else f"{run.id}:approval:{message.name}"
            try:
                status = await post(channel.url, body, key=key, using=using)
            except BackendUnavailable as fault:
                raise await self._failed(run.id, where, str(fault)) from None
            except BackendRefused as refusal:
                return await self._said(run.id, f"Approvers could not be told by {where}: {refusal}")
            if not 200 <= status < 300:
                return await self._said(
                    run.id, f"Approvers could not be told by {where}: the receiver answered {status}"
                )
            told = Asked(user_ids=message.user_ids, channel="webhook", at=self._services.now(), message=message.name)
            await self._record(run.id, told, f"{_LINES[message.reason]} by {where}")
        return TOLD

    async def _by_email(self, waiting: "_Waiting", mail: Mail) -> str:
        run = waiting.run
        failures: list[Undelivered] = []
        reached = bool(run.interlock.asked)
        for message in waiting.messages:
            for start in range(0, len(message.user_ids), _BATCH):
                batch = replace(message, user_ids=message.user_ids[start : start + _BATCH])
                if not await self._patiently(partial(self._still_waits, run.id)):
                    return UNDECIDED_NO_MORE
                asked, people = await self._written(waiting, batch)
                outcomes = await self._sent(asked, people, mail, name=message.name)
                reached = await self._settled(run.id, message, people, outcomes) or reached
                failures += [outcome for outcome in outcomes if outcome and not outcome.final]
        if failures:
            raise await self._failed(run.id, "email", failures[0].cause)
        return TOLD if reached else await self._said(run.id, "Nobody is told by email: no active person may approve")

    async def _still_waits(self, run_id: str) -> bool:
        async with self._services.database.read() as session:
            return (await runs.get(session, run_id)).status is RunStatus.WAITING_FOR_APPROVAL

    async def _written(self, waiting: "_Waiting", message: Message) -> tuple[Request, list[User]]:
        """The message, and those of its people who may do anything."""

        async def read() -> tuple[list[User | None], User | None]:
            async with self._services.database.read() as session:
                by = await users.get(session, message.by) if message.by else None
                return [await users.get(session, user_id) for user_id in message.user_ids], by

        found, by = await self._patiently(read)
        asked = Request.about(
            waiting.run,
            waiting.action,
            public_url=self._services.public_url,
            reason=message.reason,
            by=by.email if by else "",
        )
        return asked, [user for user in found if user and user.status == "ACTIVE"]

    async def _sent(self, asked: Request, people: Sequence[User], mail: Mail, *, name: str) -> list[Outcome]:
        """What became of the email to each of them."""
        letters: dict[str, EmailMessage] = {}
        outcomes: dict[str, Outcome] = {}
        for user in people:
            try:
                letters[user.id] = letter(asked, user, name=name, sender=mail.sender, at=self._services.now())
            except ValueError:
                outcomes[user.id] = Undelivered("it is no address that an email can name", final=True)
        if letters:
            outcomes |= zip(letters, await mail.send(list(letters.values())), strict=True)
        return [outcomes[user.id] for user in people]

    async def _settled(
        self, run_id: str, message: Message, people: Sequence[User], outcomes: Sequence[Outcome]
    ) -> bool:
        """Record who was told and who cannot be; whether anybody was."""
        activity.heartbeat()
        for user, outcome in zip(people, outcomes, strict=True):
            if outcome and outcome.final:
                await self._said(run_id, f"{user.email} could not be told by email: {outcome.cause}")
        told = [user for user, outcome in zip(people, outcomes, strict=True) if outcome is None]
        if told:
            ids = tuple(user.id for user in told)
            asked = Asked(user_ids=ids, channel="email", at=self._services.now(), message=message.name)
            names = ", ".join(user.email for user in told)
            await self._record(run_id, asked, f"{_LINES[message.reason]} by email: {names}")
        return bool(told)

    async def _failed(self, run_id: str, where: str, cause: str) -> ApplicationError:
        """What makes Temporal try again, once the log says so."""
        attempt = activity.info().attempt
        next_step = "given up" if attempt >= ASK_ATTEMPTS else "it is tried again"
        await self._said(
            run_id, f"Approvers could not be told by {where}, attempt {attempt} of {ASK_ATTEMPTS}, {next_step}: {cause}"
        )
        return ApplicationError(f"{where}: {cause}", type="BackendUnavailable")

    async def _record(self, run_id: str, asked: Asked, line: str) -> None:
        async def work() -> None:
            async with self._services.database.write() as session:
                await runs.change(session, run_id, lambda run: run.told(asked), origin="API")
                await runs.log(session, run_id, line, by=PLATFORM, at=asked.at)

        await self._patiently(work)

    async def _said(self, run_id: str, line: str) -> str:
        """The line, once it is in the run's log; it is never there twice."""

        async def work() -> None:
            async with self._services.database.write() as session:
                await runs.locked(session, run_id)
                early = await runs.logs(session, run_id, limit=_EARLY_LINES, offset=0)
                if all(known["message"] != line for known in early):
                    await runs.log(session, run_id, line, by=PLATFORM, at=self._services.now())

        await self._patiently(work)
        return line

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """What comes of the work, once SQL answers: an attempt is not lost because it does not."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(Unavailable), wait=wait_exponential(multiplier=0.2, max=5), reraise=True
        ):
            with attempt:
                activity.heartbeat()
                return await work()
        raise AssertionError("it is tried until it works")
