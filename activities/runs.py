"""Where a run stands, and what becomes of it when its time runs out or an operator speaks."""

from collections.abc import Callable
from datetime import datetime

from pydantic import Field, ValidationError
from temporalio import activity

from activities.services import Services
from domain.approvals import Channel, Decision, DecisionState, Word
from domain.documents import refuse_unfaithful
from domain.errors import InterlockError, Unavailable
from domain.models import Kept
from domain.runs import PLATFORM, Run
from domain.users import Caller
from store import approvals, runs, users
from store.action_policies import Policies
from workflows.calls import OperatorWord, Progress, Question


class OperatorDecision(Kept):
    """What the signal `decide` has to say."""

    by: str = Field(min_length=1)
    status: Word
    description: str | None = None


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
        """The verdict; a run that nobody decided about in time is declined."""
        return await self._close(question, Run.undecided)

    @activity.defn
    async def close_run(self, question: Question) -> Progress:
        """How the run ended; one that nobody reported in time fails."""
        return await self._close(question, Run.unreported)

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
            return Progress(status=(await runs.get(session, word.run_id)).status)

    async def _close(self, question: Question, settle: Callable[..., Run]) -> Progress:
        at = self._services.now()
        async with self._services.database.write() as session:
            _, after = await runs.change(
                session,
                question.run_id,
                lambda run: settle(run, at=at, by=PLATFORM) if question.expired else run,
                origin="API",
                by_driver=True,
            )
        return Progress(status=after.status)

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
        await approvals.speak(
            self._services.database, policies, word.run_id, caller, decision, origin="API", by_driver=True
        )

    async def _cancel(self, word: OperatorWord, at: datetime) -> None:
        said = OperatorCancel.model_validate(word.said or {})
        reason = f"Cancelled by {said.by}" + (f": {said.reason}" if said.reason else "")
        async with self._services.database.write() as session:
            await runs.change(
                session,
                word.run_id,
                lambda run: run.cancelled(reason, at=at, by=said.by),
                origin="API",
                by_driver=True,
            )


def _refused(word: OperatorWord, refusal: InterlockError | ValidationError) -> str:
    if isinstance(refusal, ValidationError):
        problems = ", ".join(f"{'.'.join(map(str, e['loc'])) or 'input'}: {e['msg']}" for e in refusal.errors())
        return f"The signal {word.signal} was not understood: {problems}"
    return f"The signal {word.signal} was refused: {refusal}"
