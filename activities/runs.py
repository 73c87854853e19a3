"""Where a run stands, and what becomes of it when its time runs out or an operator speaks."""

from datetime import datetime

from pydantic import AliasChoices, ConfigDict, Field, ValidationError
from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio import activity

from activities.services import Services
from domain import asking
from domain.approvals import Channel, Decision, DecisionState, Word
from domain.asking import Reason
from domain.documents import refuse_unfaithful
from domain.errors import InterlockError, Unavailable
from domain.models import Kept
from domain.runs import PLATFORM, Run, RunStatus
from domain.shapes import problems
from domain.users import Caller
from store import actions, approvals, runs, users
from store.action_policies import Policies
from store.fingerprints import Fingerprints
from workflows.calls import OperatorWord, Progress, Question


class OperatorDecision(Kept):
    """What the signal `decide` has to say, and nothing else: a key with a typing error would lose the reason."""

    model_config = ConfigDict(extra="forbid")

    by: str = Field(min_length=1)
    status: Word
    description: str | None = Field(default=None, validation_alias=AliasChoices("description", "reason"))
    """`reason` is what `cancel` calls it."""


class OperatorCancel(Kept):
    """What the signal `cancel` may say."""

    by: str = "an operator"
    reason: str = ""


class RunActivities:
    """Short transactions about one run; each is safe to run twice, because the row is compared before it is set."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @activity.defn
    async def close_approval(self, question: Question) -> Progress:
        """The verdict; what has to happen while there is none is recorded, and people who have to be told are found."""
        at = self._services.now()

        def pass_time(run: Run) -> Run:
            return run.undecided(at=at, by=PLATFORM) if question.expired else run.reminded(question.reminder, at=at)

        async with self._services.database.write() as session:
            if question.escalate:
                await _escalate(session, question.run_id, at)
            before, after = await runs.change(session, question.run_id, pass_time, origin="API", by_driver=True)
            if after.approval and after.status is not before.status and after.status is RunStatus.IN_PROGRESS:
                await runs.log(session, after.id, f"Approved: {after.approval.description}", by=PLATFORM, at=at)
            untold = await _untold(session, after)
        held = after.interlock.gate if after.held else None
        return Progress(status=after.status, starts_at=held.starts_at if held else None, untold=untold)

    @activity.defn
    async def close_run(self, question: Question) -> Progress:
        """How the run ended; one that nobody reported in time fails."""
        at = self._services.now()
        async with self._services.database.write() as session:
            stop = question.expired and await _stops_late(session, question.run_id)
            _, after = await runs.change(
                session,
                question.run_id,
                lambda run: run.unreported(at=at, by=PLATFORM, stop=stop) if question.expired else run,
                origin="API",
                by_driver=True,
            )
        return Progress.of(after)

    @activity.defn
    async def hear_operator(self, word: OperatorWord) -> Progress:
        """Record an operator's decision or cancellation by the rules of the API; where the run stands then."""
        at = self._services.now()
        try:
            refuse_unfaithful(word.said)
            if word.signal == "decide":
                await self._decide(word, at)
            else:
                await self._cancel(word, at)
        except Unavailable:
            raise
        except (InterlockError, ValidationError) as refusal:
            async with self._services.database.write() as session:
                await runs.log(session, word.run_id, _refused(word, refusal), by=PLATFORM, at=at)
        async with self._services.database.read() as session:
            return Progress.of(await runs.get(session, word.run_id))

    async def _decide(self, word: OperatorWord, at: datetime) -> None:
        said = OperatorDecision.model_validate(word.said)
        async with self._services.database.read() as session:
            user = await users.by_email(session, said.by)
        decision = Decision(
            user_id=user.id,
            name=user.email,
            state=DecisionState.of(said.status),
            description=said.description,
            channel=Channel.TEMPORAL,
            at=at,
        )
        policies = Policies(self._services.evaluate, self._services.policy_fail_closed)
        caller = Caller(organization="", client=user.id, user=user)
        fingerprints = Fingerprints(self._services.evaluate, self._services.decrypt, self._services.request_key)
        await approvals.speak(
            self._services.database, policies, fingerprints, word.run_id, caller, decision, origin="API", by_driver=True
        )

    async def _cancel(self, word: OperatorWord, at: datetime) -> None:
        said = OperatorCancel.model_validate({} if word.said is None else word.said)
        reason = f"Cancelled by {said.by}" + (f": {said.reason}" if said.reason else "")
        async with self._services.database.write() as session:
            await runs.change(
                session,
                word.run_id,
                lambda run: run.cancelled(reason, at=at, by=said.by),
                origin="API",
                by_driver=True,
            )


async def _stops_late(session: AsyncSession, run_id: str) -> bool:
    """Whether the backend is to be stopped when the time limit of the run has passed."""
    found = await runs.find(session, run_id)
    action = await actions.version(session, found.action_id, found.run.interlock.action_version)
    return action.definition.backend_rules.cancel_after_time_limit


async def _escalate(session: AsyncSession, run_id: str, at: datetime) -> None:
    before = (await runs.locked(session, run_id)).run
    escalation = before.interlock.gate.escalation if before.interlock.gate else None
    if escalation is None:
        return
    ids = await approvals.people_of(session, escalation.to)
    after = await approvals.escalate(session, run_id, ids, at=at)
    if after.interlock == before.interlock:
        return  # it waits no more, or it was done already
    to = after.interlock.gate.escalated_to if after.interlock.gate else ()
    found = [await users.get(session, user_id) for user_id in to]
    names = ", ".join(user.email for user in found if user) or "nobody: no active person is among those it names"
    await runs.log(session, run_id, f"Nobody has decided for some time, escalated to {names}", by=PLATFORM, at=at)


async def _untold(session: AsyncSession, run: Run) -> bool:
    """Whether people have to be told what they were not told when the run began to wait."""
    if run.status is not RunStatus.WAITING_FOR_APPROVAL or run.interlock.gate is None:
        return False
    due = asking.messages(run, await approvals.decisions(session, run.id))
    return any(message.reason is not Reason.REQUEST for message in due)


def _refused(word: OperatorWord, refusal: InterlockError | ValidationError) -> str:
    if isinstance(refusal, ValidationError):
        details = refusal.errors(include_url=False, include_input=False)
        said = "; ".join(problems(details, word.said, whole="what was sent"))
        return f"The signal {word.signal} was not understood: {said}"
    return f"The signal {word.signal} was refused: {refusal}"
