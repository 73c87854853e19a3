"""What came of an invocation, and what becomes of the run by it."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

import backends
from activities.attempts import Watch
from backends.base import Receipt
from domain.claims import queue
from domain.errors import InterlockError, InvalidInvocation, TemplateFault
from domain.runs import PLATFORM, Run, RunStatus
from store import claims, runs

_REPORTED = ("link", "external_run_id", "summary")
"""What a report may have said before the dispatch has answered: it knows better."""

log = logging.getLogger(__name__)


def failed(fault: InterlockError) -> Receipt:
    """It cannot work, and why; what could not even be rendered is in the log, too."""
    log = (str(fault),) if isinstance(fault, TemplateFault | InvalidInvocation) else ()
    return Receipt(status=RunStatus.FAILURE, summary=str(fault), log=log)


def unexpected(fault: Exception, run_id: str) -> Receipt:
    """Something of ours or of the backend's is broken, which is logged. Its text could hold what was sent: its kind."""
    log.exception("backend failed unexpectedly", extra={"run_id": run_id}, exc_info=_without_text(fault))
    return Receipt(status=RunStatus.FAILURE, summary=f"The backend failed unexpectedly ({type(fault).__name__})")


def redacted(receipt: Receipt, watch: Watch) -> Receipt:
    """The receipt as it may be stored: a backend that echoes a secret does not bring it back in."""
    return dataclasses.replace(
        receipt,
        summary=watch.to_be_read.text(receipt.summary) if receipt.summary else receipt.summary,
        response=watch.redactor.value(receipt.response),
        link=tuple(map(watch.redactor.text, receipt.link)),
        log=tuple(map(watch.to_be_read.text, receipt.log)),
    )


async def settle(
    session: AsyncSession,
    run: Run,
    receipt: Receipt,
    *,
    lines: Sequence[str] = (),
    at: datetime,
    by_driver: bool = True,
) -> Run:
    """The run by the receipt, unless it has ended meanwhile: then it stays as it is. `lines` are for its log.

    What a report has said stays as well: whoever works on the run knows more of it than who has only sent it.
    """
    left = receipt.status is None and receipt.claim is None and run.status is RunStatus.IN_PROGRESS

    def move(current: Run) -> Run:
        if current.status.is_terminal:
            return current
        said = _said(receipt, current)
        if receipt.status is None:
            return current.changed(at=at, by=PLATFORM, **said)
        return current.moved(receipt.status, at=at, by=PLATFORM, **said)

    waits_in = queue(_type(run.payload), receipt.claim) if receipt.claim else None
    look_up_at = at + receipt.look_up_after if receipt.look_up_after is not None else None
    waits = claims.awaited(queue=waits_in, look_up_at=look_up_at, at=at) if waits_in or look_up_at else None
    _, after = await runs.change(session, run.id, move, origin="API", by_driver=by_driver, delivered=left, waits=waits)
    if left and after.status.is_terminal:
        await claims.handed_over(session, run.id, receipt.external_run_id, at=at)  # to be stopped, if anybody wants to
    for line in (*lines, *receipt.log):
        await runs.log(session, run.id, line, by=PLATFORM, at=at)
    return after


def _said(receipt: Receipt, current: Run) -> dict[str, Any]:
    said: dict[str, Any] = {
        "summary": receipt.summary,
        "response": receipt.response,
        "link": receipt.link or None,
        "external_run_id": receipt.external_run_id,
        "installation_id": receipt.claim,
    }
    if receipt.claim and current.payload:
        said["payload"] = backends.METHODS[_type(current.payload)].completed(current.payload)
    reported = {name for name in _REPORTED if getattr(current, name) and not (name == "summary" and receipt.status)}
    return {name: value for name, value in said.items() if value is not None and name not in reported}


def _type(payload: Mapping[str, object] | None) -> str:
    return str((payload or {}).get("type"))


def _without_text(fault: Exception) -> BaseException:
    return RuntimeError(type(fault).__name__).with_traceback(fault.__traceback__)
