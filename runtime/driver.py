"""Starts and wakes the workflows of runs: at once where possible, and never the only one who could."""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Coroutine
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from domain.errors import Unavailable
from domain.runs import Run, RunStatus
from domain.waiting import Patience
from runtime.settings import Settings
from runtime.temporal import search_attributes
from store import wakes
from store.database import Database
from workflows.action_run import ActionRun
from workflows.calls import ActionRunInput, task_time_limit

log = logging.getLogger(__name__)

_RPC_TIMEOUT = timedelta(seconds=3)
_PATIENCE_SECONDS = 1.0
_PAUSE_SECONDS = 1.0
_MOST_UNDER_WAY = 200
_NOTE_SECONDS = 0.2


class RunDriver:
    """Tells workflows what has just been committed.

    The row of a run says that its workflow has to be started or woken until it is known to have been. So whatever
    fails here, or dies with this process, is done again by the relay; both calls may be repeated without harm.
    """

    def __init__(self, client: Client, database: Database, settings: Settings, *, eager: bool = False) -> None:
        self._client = client
        self._database = database
        self._task_queue = settings.task_queue
        self._delivery_time_limit = settings.webhook_timeout
        self._eager = eager
        self._task_time_limit = task_time_limit(settings.webhook_timeout) if eager else None
        self._under_way: set[asyncio.Task[bool]] = set()
        self._told: defaultdict[tuple[wakes.Pending, RunStatus], list[str]] = defaultdict(list)
        self._woken: dict[str, Run] = {}
        """Runs that have not ended, as their workflows were told of them: they may be woken for something else next."""
        self._paused_until = 0.0
        self._noting: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin to note in SQL what workflows have been told."""
        self._noting = asyncio.create_task(self._note_for_ever())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish what is under way."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=_RPC_TIMEOUT.total_seconds())
        if self._noting:
            self._noting.cancel()
        await self._note()

    async def try_start(self, run: Run) -> None:
        """Start the workflow of a run that was just recorded, if Temporal answers soon; never fails."""
        await self._try(self.start(run))

    async def try_wake(self, run: Run) -> None:
        """Tell the workflow that its row has changed, if Temporal answers soon; never fails."""
        await self._try(self.wake(run))

    async def start(self, run: Run) -> bool:
        """Start the workflow of the run, whose id it carries; whether Temporal has it now."""
        return await self._tell(run, "start")

    async def wake(self, run: Run) -> bool:
        """Tell the workflow of the run that its row has changed; whether it knows now.

        It is started if it is not there, so a run that changed before its workflow was started is not forgotten.
        """
        return await self._tell(run, "wake")

    async def _tell(self, run: Run, what: wakes.Pending) -> bool:
        try:
            await self._client.start_workflow(
                ActionRun.run,
                _input(run, self._delivery_time_limit, in_task=self._task_time_limit is not None),
                id=run.id,
                task_queue=self._task_queue,
                task_timeout=self._task_time_limit,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                static_summary=_summary(run),
                static_details=_details(run),
                search_attributes=search_attributes(
                    action=run.action.identifier,
                    blueprint=run.blueprint.identifier if run.blueprint else None,
                    entity=run.entity.identifier if run.entity else None,
                    requester=_requester(run),
                    source=run.source,
                ),
                start_signal="wake" if what == "wake" else None,
                start_signal_args=_deciding_word(run) if what == "wake" else (),
                request_eager_start=self._eager and what == "start",
                rpc_timeout=_RPC_TIMEOUT,
            )
        except WorkflowAlreadyStartedError:
            pass  # it was started and has ended already
        except (RPCError, RuntimeError) as error:  # the latter is a first connection that fails
            cause = error.status.name if isinstance(error, RPCError) else "no connection"
            log.warning("temporal call failed", extra={"call": what, "run_id": run.id, "cause": cause})
            if not (isinstance(error, RPCError) and error.status is RPCStatusCode.INVALID_ARGUMENT):
                self._paused_until = time.monotonic() + _PAUSE_SECONDS
            return False
        if what == "start" or run.status.is_terminal:
            self._told[what, run.status].append(run.id)
        else:
            self._woken[run.id] = run
        return True

    async def _try(self, call: Coroutine[Any, Any, bool]) -> None:
        if len(self._under_way) >= _MOST_UNDER_WAY or time.monotonic() < self._paused_until:
            call.close()  # Temporal does not keep up or does not answer: the relay will do it
            return
        task = asyncio.create_task(call)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        await asyncio.wait({task}, timeout=_PATIENCE_SECONDS)  # it goes on if it takes longer; the caller does not

    async def _note_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_NOTE_SECONDS)
            try:
                await self._note()
            except Exception:
                log.exception("noting what workflows were told failed, and goes on")

    async def _note(self) -> None:
        """Note in SQL what has been told since the last time; many runs in one transaction."""
        told, self._told = self._told, defaultdict(list)
        woken, self._woken = self._woken, {}
        if not told and not woken:
            return
        try:
            async with self._database.write() as session:
                for (what, status), run_ids in told.items():
                    await wakes.told(session, run_ids, what, status)
                if woken:
                    await wakes.heard(session, list(woken.values()))
        except Unavailable:
            pass  # it will be told again, without harm


def _input(run: Run, delivery_time_limit: timedelta, *, in_task: bool) -> ActionRunInput:
    driving, gate = run.interlock, run.interlock.gate
    patience = Patience.of(driving)
    return ActionRunInput(
        run_id=run.id,
        requested_at=(gate.reopened_at if gate else None) or run.created_at,
        waits_for_approval=run.status is RunStatus.WAITING_FOR_APPROVAL,
        approval_time_limit=driving.approval_time_limit,
        patience=patience if patience != Patience(time_limit=driving.approval_time_limit) else None,
        not_before=gate.starts_at if gate and run.held else None,
        run_time_limit=driving.run_time_limit,
        approvers=_people(len(driving.approvers)),
        backend=driving.backend,
        delivery_time_limit=delivery_time_limit,
        in_task=in_task,
    )


def _deciding_word(run: Run) -> list[Any]:
    """What the signal carries, for who reads the history: who decided. Nothing comes of it, the row is the fact."""
    said, word = run.approval, run.interlock.last_word
    if said is None or word is None or run.status not in (RunStatus.IN_PROGRESS, RunStatus.DECLINED):
        return []
    shown = {"by": word.by, "state": said.state, "channel": word.channel, "description": said.description}
    return [{"approval": {name: value for name, value in shown.items() if value is not None}}]


def _people(number: int) -> str:
    return {0: "nobody: no approver is known", 1: "one person"}.get(number, f"{number} people")


def _requester(run: Run) -> str:
    by = run.interlock.trigger.get("by")
    user = by.get("user") if isinstance(by, dict) else None
    email = user.get("email") if isinstance(user, dict) else None
    return email if isinstance(email, str) else run.created_by


def _summary(run: Run) -> str:
    on = f" on {run.entity.identifier}" if run.entity else ""
    return f"{run.action.title or run.action.identifier}{on} by {_requester(run)}"[:200]


def _details(run: Run) -> str:
    return (
        f"Run `{run.id}` of action `{run.action.identifier}`, version {run.interlock.action_version}, "
        f"asked for by `{_requester(run)}`.\n\n"
        'Signals: `decide` with `{"by": "<email>", "status": "APPROVE"}` or `DECLINE`, '
        '`cancel` with `{"by": "<email>", "reason": "<why>"}`.'
    )
