"""Telling the approvers of a run that it waits for them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
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
from domain.actions import Action, ByWebhook
from domain.approvals import ASK_ATTEMPTS
from domain.errors import BackendRefused, BackendUnavailable, Unavailable
from domain.notifications import Outcome, Request, Undelivered
from domain.permissions import Permissions
from domain.runs import PLATFORM, Asked, Run, RunStatus
from domain.users import User
from store import actions, runs, users

T = TypeVar("T")

_WEBHOOK_TIMEOUT = timedelta(seconds=5)
_BATCH = 20
"""How many emails go over one connection, and are recorded together."""
_EARLY_LINES = 100
"""Among how many lines of a run's log we look for what we have said already."""

UNDECIDED_NO_MORE = "the run does not wait any more"
TOLD = "everybody was told"


class NotificationActivity:
    """Tells approvers, each once as long as this process lives; what was recorded is never sent again."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._under_way: set[asyncio.Task[str]] = set()

    @activity.defn
    async def ask_approvers(self, run_id: str) -> str:
        """Tell the approvers of a run that it waits for them, each once; what became of it, in words."""
        task = asyncio.create_task(self._ask(run_id))
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        # Shielded: what was sent cannot be taken back, so it is recorded even if the run was decided meanwhile.
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[str]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # seen, even if nobody waited for it any more

    async def _ask(self, run_id: str) -> str:
        run, action, permissions = await self._patiently(partial(self._read, run_id))
        if run.status is not RunStatus.WAITING_FOR_APPROVAL:
            return UNDECIDED_NO_MORE
        channel = action.definition.approval_notification
        if isinstance(channel, ByWebhook):
            return await self._by_webhook(run, action, channel)
        if permissions.approve.policy is not None:
            return await self._said(run_id, "Nobody is told by email: a policy says who may approve")
        if self._services.mail is None:
            return await self._said(run_id, "Nobody is told by email: INTERLOCK_SMTP_URL is not set")
        return await self._by_email(run, action, self._services.mail)

    async def _read(self, run_id: str) -> tuple[Run, Action, Permissions]:
        async with self._services.database.read() as session:
            found = await runs.find(session, run_id)
            action = await actions.version(session, found.action_id, found.run.interlock.action_version)
            return found.run, action, await actions.permissions(session, found.action_id) or Permissions()

    async def _by_webhook(self, run: Run, action: Action, channel: ByWebhook) -> str:
        if any(asked.channel == "webhook" for asked in run.interlock.asked):
            return TOLD
        where = f"the webhook at {httpx.URL(channel.url).host}"  # the rest of a URL is often a secret
        asked = Request.about(run, action, public_url=self._services.public_url)
        message = asked.as_slack() if channel.format == "slack" else asked.as_json()
        using = replace(self._services.resources, timeout=_WEBHOOK_TIMEOUT, connect_timeout=_WEBHOOK_TIMEOUT)
        try:
            status = await post(channel.url, message, key=f"{run.id}:approval", using=using)
        except BackendUnavailable as fault:
            raise await self._failed(run.id, where, str(fault)) from None
        except BackendRefused as refusal:
            return await self._said(run.id, f"Approvers could not be told by {where}: {refusal}")
        if not 200 <= status < 300:
            return await self._said(run.id, f"Approvers could not be told by {where}: the receiver answered {status}")
        told = Asked(user_ids=run.interlock.approvers, channel="webhook", at=self._services.now())
        await self._record(run.id, told, f"Approvers were told by {where}")
        return TOLD

    async def _by_email(self, run: Run, action: Action, mail: Mail) -> str:
        asked = Request.about(run, action, public_url=self._services.public_url)
        told = {user_id for one in run.interlock.asked for user_id in one.user_ids}
        left = [user_id for user_id in run.interlock.approvers if user_id not in told]
        failures: list[Undelivered] = []
        reached = bool(told)
        for start in range(0, len(left), _BATCH):
            people = await self._patiently(partial(self._waited_for, run.id, left[start : start + _BATCH]))
            if people is None:
                return UNDECIDED_NO_MORE
            outcomes = await self._sent(asked, people, mail)
            reached = await self._settled(run.id, people, outcomes) or reached
            failures += [outcome for outcome in outcomes if outcome and not outcome.final]
        if failures:
            raise await self._failed(run.id, "email", failures[0].cause)
        return TOLD if reached else await self._said(run.id, "Nobody is told by email: no active person may approve")

    async def _waited_for(self, run_id: str, user_ids: Sequence[str]) -> list[User] | None:
        """Those of them who may do anything; None if the run was decided meanwhile."""
        async with self._services.database.read() as session:
            if (await runs.get(session, run_id)).status is not RunStatus.WAITING_FOR_APPROVAL:
                return None
            people = [await users.get(session, user_id) for user_id in user_ids]
        return [user for user in people if user and user.status == "ACTIVE"]

    async def _sent(self, asked: Request, people: Sequence[User], mail: Mail) -> list[Outcome]:
        """What became of the email to each of them."""
        letters: dict[str, EmailMessage] = {}
        outcomes: dict[str, Outcome] = {}
        for user in people:
            try:
                letters[user.id] = letter(asked, user, sender=mail.sender, at=self._services.now())
            except ValueError:
                outcomes[user.id] = Undelivered("it is no address that an email can name", final=True)
        if letters:
            outcomes |= zip(letters, await mail.send(list(letters.values())), strict=True)
        return [outcomes[user.id] for user in people]

    async def _settled(self, run_id: str, people: Sequence[User], outcomes: Sequence[Outcome]) -> bool:
        """Record who was told and who cannot be; whether anybody was."""
        activity.heartbeat()
        for user, outcome in zip(people, outcomes, strict=True):
            if outcome and outcome.final:
                await self._said(run_id, f"{user.email} could not be told by email: {outcome.cause}")
        told = [user for user, outcome in zip(people, outcomes, strict=True) if outcome is None]
        if told:
            asked = Asked(user_ids=tuple(user.id for user in told), channel="email", at=self._services.now())
            names = ", ".join(user.email for user in told)
            await self._record(run_id, asked, f"Approvers were told by email: {names}")
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
