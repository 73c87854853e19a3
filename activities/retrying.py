"""Whether an attempt is made again, and when: what the action says about it, and what the backend has said."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from activities.attempts import Watch
from backends.base import Receipt, Unconfirmed
from domain.actions import Definition
from domain.backend_rules import LONGEST_PAUSE, BackendRules, Retry
from domain.errors import BackendBusy, BackendRefused, BackendUnavailable, InterlockError, InvalidRequest
from domain.runs import RunStatus
from store.attempts import Before

_MOST_REFUSALS = 20
"""How often a backend may say that it is busy; it says itself when to ask again, up to an hour later."""


@dataclass(frozen=True)
class Retrying:
    """How often an invocation may be tried, and how often it was before."""

    definition: Callable[[], Definition]
    """The action's, read only when something did not work."""
    usual: int
    """Attempts in all where the action does not say."""
    before: Before

    def pause(self, fault: InterlockError | None, receipt: Receipt, watch: Watch, now: datetime) -> timedelta | None:
        """How long to wait before it is tried again; None: what came of it is final."""
        if isinstance(fault, BackendBusy):
            return fault.retry_after if self.before.refusals + 1 < _MOST_REFUSALS else None
        if isinstance(fault, Unconfirmed):
            return None  # it may have worked, whatever the answer was
        rules, failures = self._rules(), self.before.failures + 1
        if rules.attempts is not None and failures >= rules.attempts:
            return None
        if isinstance(fault, BackendUnavailable):
            return rules.pause(failures)
        refused = isinstance(fault, BackendRefused) or (fault is None and receipt.status is RunStatus.FAILURE)
        # Of an answer that was cut nobody knows what it would have said.
        if not refused or watch.final_status not in rules.statuses:
            return None
        asked = watch.retry_after(now) or timedelta(0)
        return min(max(rules.pause(failures), asked), LONGEST_PAUSE)

    def _rules(self) -> Retry:
        try:
            rules = self.definition().backend_rules
        except InvalidRequest:  # it was stored by a version that knew other ones
            rules = BackendRules()
        return rules.retrying(self.usual)
