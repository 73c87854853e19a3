"""`ActionRun`: one run, from its request to its end."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from domain.errors import InterlockError
    from domain.runs import RunStatus
    from domain.times import iso
    from domain.waiting import Step, ahead
    from workflows.calls import (
        ASK_RETRIES,
        ASK_SILENCE,
        ASK_TIME_LIMIT,
        CANCEL_PATIENCE,
        CANCEL_RETRIES,
        CANCEL_TIME_LIMIT,
        INVOKE_RETRIES,
        INVOKE_TIME_LIMIT,
        LONG_HISTORY,
        RECORD,
        SILENCE,
        ActionRunInput,
        Begun,
        OperatorWord,
        Progress,
        Question,
        ask_approvers,
        begin_invocation,
        cancel_backend,
        close_approval,
        close_run,
        hear_operator,
        invoke_backend,
    )

_ASKS = "approvers are asked"
"""The patch since which approvers are told of a run. It can go when no run waits that is older."""

_CANCELS = "backends are told to stop"
"""The patch since which they are. It can go when no run goes on that is older."""

_AT_ONCE = "backends are invoked at once"
"""The patch by which that began within the workflow's task, before the input said that it was known how.

It can go when no run goes on that is older than that.
"""


@workflow.defn(name="ActionRun", failure_exception_types=[InterlockError])
class ActionRun:
    """One run of an action, self-service or automation: the same object.

    The run is already recorded when this starts. Every status change is asked of an activity, which compares
    and sets the row; this class only decides what to ask for, and when.
    """

    @workflow.init
    def __init__(self, start: ActionRunInput) -> None:
        """Nothing is known to have changed yet."""
        self._run = start.run_id
        self._changed = False
        self._called = False
        self._untold = False
        self._stops = False
        self._looks = 0
        self._asking: asyncio.Task[None] | None = None
        self._invocation: workflow.ActivityHandle[Progress] | None = None

    @workflow.run
    async def run(self, start: ActionRunInput) -> RunStatus:
        """Wait for the verdict and for the run's time, invoke the backend, wait for its report; how the run ended."""
        try:
            status = await self._drive(start)
        except BaseException as error:
            if not is_cancelled_exception(error):
                raise
            status = (await self._hear("cancel", {"by": "Temporal", "reason": "the workflow was cancelled"})).status
        await workflow.wait_condition(workflow.all_handlers_finished)
        if self._stops and workflow.patched(_CANCELS):
            await self._stop_backend(start, status)
        workflow.set_current_details(f"Ended with **{status}**.")
        return status

    @workflow.signal
    def wake(self, *_: Any) -> None:
        """The row has changed; losing or repeating this changes nothing. What comes with it is for who reads along."""
        self._changed = self._called = True

    @workflow.signal
    async def decide(self, decision: Any = None, *more: Any) -> None:
        """A person's word: `{"by": "<email>", "status": "APPROVE" or "DECLINE", "description": "<why>"}`."""
        await self._hear("decide", _said(decision, *more))

    @workflow.signal
    async def cancel(self, request: Any = None, *more: Any) -> None:
        """Stop the run: `{"by": "<email>", "reason": "<why>"}`, both optional."""
        await self._hear("cancel", _said(request, *more))

    async def _drive(self, start: ActionRunInput) -> RunStatus:
        if not start.waits_for_approval:
            approved = Progress(status=RunStatus.IN_PROGRESS, starts_at=start.not_before)
        else:
            if workflow.patched(_ASKS):
                self._tell()
            approved = await self._verdict(start, since=start.requested_at)
        while True:
            status = await self._until_its_time(approved)
            if approved.queued:
                await self._shorten(start)
            if status is RunStatus.IN_PROGRESS:
                approved = await self._work(start)
                status = approved.status
            if status.is_terminal:
                return status
            if status is RunStatus.WAITING_FOR_APPROVAL:
                # What would be sent is not what was approved.
                self._changed = True  # the row is looked at first: it may have been approved again by now
                approved = await self._verdict(start, since=workflow.now())

    async def _shorten(self, start: ActionRunInput) -> None:
        """Go on with a new history if this one has become long. It begins with a look, so it has missed nothing."""
        if workflow.info().get_current_history_length() < LONG_HISTORY or (self._asking and not self._asking.done()):
            return
        await workflow.wait_condition(workflow.all_handlers_finished)
        again = {"waits_for_approval": False, "not_before": None, "histories": start.histories + 1}
        workflow.continue_as_new(start.model_copy(update=again))

    def _tell(self) -> None:
        """Beside everything else: the run goes on, whatever becomes of it."""
        self._untold = True
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_approvers())

    async def _ask_approvers(self) -> None:
        """It is not cancelled by a verdict: each attempt looks at the row first, and tells nobody then."""
        while self._untold:
            self._untold = False
            try:
                await workflow.execute_activity(
                    ask_approvers,
                    self._run,
                    start_to_close_timeout=ASK_TIME_LIMIT,
                    heartbeat_timeout=ASK_SILENCE,
                    retry_policy=ASK_RETRIES,
                )
            except ActivityError as error:
                if not is_cancelled_exception(error):
                    workflow.logger.warning("approvers were not told", extra={"cause": str(error.cause)})

    async def _verdict(self, start: ActionRunInput, *, since: datetime) -> Progress:
        workflow.set_current_details(
            f"Waits for **approval** by {start.approvers}{_at_most(start.approval_time_limit)}.\n\n"
            'Decide with the signal `decide` and `{"by": "<email>", "status": "APPROVE"}` (or `DECLINE`).'
        )
        plan = start.plan(since)
        progress = Progress(status=RunStatus.WAITING_FOR_APPROVAL)
        while progress.status is RunStatus.WAITING_FOR_APPROVAL:
            plan = ahead(plan, workflow.now())
            moment = plan[0] if plan else None
            has_come = await self._wait(lambda: self._changed, moment.at if moment else None, str(moment))
            progress = await self._ask(close_approval, Question.about(self._run, moment if has_come else None))
            if has_come and moment and moment.step is not Step.END:
                plan = plan[1:]
            if progress.untold:
                self._tell()
        return progress

    async def _until_its_time(self, approved: Progress) -> RunStatus:
        """Wait until the backend may be called; how the run stands then."""
        if approved.queued:
            workflow.set_current_details(f"**{approved.waits_for}**.")
            # Whoever called while it looked was not heard by that look.
            looks_at = workflow.now() + approved.look_after
            await self._wait(lambda: self._called or self._changed, looks_at, "looks again")
            return approved.status
        status, begins = approved.status, not approved.starts_at
        while status is RunStatus.IN_PROGRESS and not begins:
            workflow.set_current_details(f"Is approved, and begins at **{iso(approved.starts_at)}**.")
            begins = await self._wait(lambda: self._changed, approved.starts_at, "not before")
            if not begins:
                status = (await self._ask(close_run, Question(run_id=self._run))).status
        return status

    async def _work(self, start: ActionRunInput) -> Progress:
        """Have the backend called, and wait for what comes of it.

        The run has ended then, waits for approval again, or was approved again for a later time.
        """
        workflow.set_current_details(f"Invokes **{start.backend}**{_at_most(start.run_time_limit)}.")
        deadline = _deadline(workflow.now(), start.run_time_limit)
        self._called = False
        self._looks += 1
        progress = await self._invoked(start)
        if self._invocation is None:
            self._await_report(start)
        while progress.status is RunStatus.IN_PROGRESS and not progress.starts_at:
            expired = await self._wait(lambda: self._changed or self._answered, deadline, "run time limit")
            if self._invocation and self._answered:
                progress = self._seen(await self._invocation)
                self._invocation = None
                self._await_report(start)
            else:
                progress = await self._ask(close_run, Question(run_id=self._run, expired=expired))
        if self._invocation and not (self._stops and workflow.patched(_CANCELS)):
            _forsake(self._invocation)
            self._invocation = None
        return progress

    async def _invoked(self, start: ActionRunInput) -> Progress:
        """What came of having the backend invoked, if that came at once; else it is under way (`_invocation`)."""
        # Attempts are counted by it, and Temporal would begin anew with each history.
        activity_id = f"{start.histories}/{self._looks}"
        begun: Begun | None = None
        in_task = start.in_task or (start.at_once and workflow.patched(_AT_ONCE))
        if in_task:
            self._changed = False  # as in `_ask`
            asks = [self._run, workflow.now()]
            begins = workflow.execute_local_activity(begin_invocation, args=asks, activity_id=activity_id, **RECORD)
            progress = self._seen(await begins)
            begun = progress.begun
            if begun is None:
                return progress
        self._invocation = workflow.start_activity(
            invoke_backend,
            args=[self._run, begun] if begun else [self._run],
            activity_id=activity_id if in_task or start.histories else None,
            start_to_close_timeout=INVOKE_TIME_LIMIT,
            heartbeat_timeout=start.delivery_time_limit + SILENCE,
            retry_policy=INVOKE_RETRIES,
        )
        return Progress(status=RunStatus.IN_PROGRESS)

    def _await_report(self, start: ActionRunInput) -> None:
        workflow.set_current_details(f"Waits for the **report** of {start.backend}{_at_most(start.run_time_limit)}.")

    async def _stop_backend(self, start: ActionRunInput, status: RunStatus) -> None:
        """The run has ended, and nothing depends on this. What is being sent is stopped once it was sent."""
        workflow.set_current_details(f"Ended with **{status}**. Has **{start.backend}** stopped.")
        if self._invocation:
            patience = workflow.now() + start.delivery_time_limit + CANCEL_PATIENCE
            await self._wait(lambda: self._answered, patience, "what to stop")
            _forsake(self._invocation)  # does nothing once it is done
        try:
            await workflow.execute_activity(
                cancel_backend,
                self._run,
                start_to_close_timeout=CANCEL_TIME_LIMIT,
                retry_policy=CANCEL_RETRIES,
            )
        except ActivityError as error:
            workflow.logger.warning("backend was not stopped", extra={"cause": str(error.cause)})

    @property
    def _answered(self) -> bool:
        """Whether the backend has answered and nobody has looked at it."""
        return self._invocation is not None and self._invocation.done()

    async def _ask(self, activity: Callable[[Question], Any], question: Question) -> Progress:
        self._changed = False  # before the row is read: what changes after it was read wakes us again
        return self._seen(await workflow.execute_local_activity(activity, question, **RECORD))

    async def _hear(self, signal: str, said: Any) -> Progress:
        word = OperatorWord(run_id=self._run, signal=signal, said=said)
        progress = self._seen(await workflow.execute_local_activity(hear_operator, word, **RECORD))
        self._changed = True
        return progress

    def _seen(self, progress: Progress) -> Progress:
        self._stops |= progress.stops
        return progress

    async def _wait(self, condition: Callable[[], bool], deadline: datetime | None, what: str) -> bool:
        """Wait for the condition; whether the deadline came first."""
        left = max(deadline - workflow.now(), timedelta(0)) if deadline else None
        try:
            await workflow.wait_condition(condition, timeout=left, timeout_summary=what)
        except TimeoutError:
            return True
        return False


def _said(first: Any, *more: Any) -> Any:
    """What a signal came with, if that is one object or nothing; else a text that says what, which no rule understands.

    Bytes, messages and numbers that JSON has not could not be handed to an activity: the workflow would fail for ever.
    """
    if more:
        return f"{1 + len(more)} inputs"
    return first if first is None or isinstance(first, dict) else f"a {type(first).__name__}"


def _forsake(invocation: workflow.ActivityHandle[Progress]) -> None:
    """Cancel what nobody waits for any more. That it was cancelled is no fault that somebody has missed."""
    invocation.add_done_callback(lambda done: done.cancelled() or done.exception())
    invocation.cancel()


def _deadline(since: datetime, limit: timedelta | None) -> datetime | None:
    return since + limit if limit else None


def _at_most(limit: timedelta | None) -> str:
    return f", at most {limit}" if limit else ""
