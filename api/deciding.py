"""Deciding about a run: one way for every door of the API, of chats and of pages."""

from collections.abc import Collection

from api.policies import policies
from api.services import ApiServices
from domain.approvals import Decision
from domain.causes import Cause
from domain.runs import Run, Source
from domain.users import Caller
from runtime.keys import KeyFault, Vault
from store import approvals
from store.fingerprints import Fingerprints


def fingerprints(services: ApiServices) -> Fingerprints:
    """How it is told what a run would send."""
    return Fingerprints(services.evaluate, lambda closed: _opened(services.vault, closed), services.request_key)


async def say(
    services: ApiServices,
    before: Run,
    caller: Caller,
    decision: Decision,
    *,
    expected: Collection[str] = (),
    cause: Cause | None = None,
) -> Run:
    """Record the word of a caller about the run, and wake its workflow if that has to know; the run afterwards.

    Raises:
        NotFound, Forbidden, RunNotWaitingForApproval, RequestChanged, Outdated, Unavailable: as
            `store.approvals.speak`.
    """
    after = await approvals.speak(
        services.database,
        policies(services),
        fingerprints(services),
        before.id,
        caller,
        decision,
        origin=Source.API,
        expected=expected,
        cause=cause,
    )
    if after.status is not before.status or _voided_at(after) != _voided_at(before):
        await services.driver.try_wake(after)
    return after


def _voided_at(run: Run) -> object:
    return run.interlock.gate.voided_at if run.interlock.gate else None


def _opened(vault: Vault, closed: str) -> str | None:
    try:
        return vault.decrypt(closed)
    except KeyFault:
        return None
