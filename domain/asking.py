"""Who has to be told that a run waits for them, why, and by which message; a pure function of what is recorded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from domain.approvals import Decision, Gate
from domain.driving import REMINDER, REQUEST, Asked
from domain.runs import Run, RunStatus
from domain.times import iso


class Reason(StrEnum):
    """Why somebody is told; the values are what webhooks get."""

    REQUEST = "REQUEST"
    """The run has begun to wait, and they may decide."""
    ESCALATION = "ESCALATION"
    """Nobody has decided for some time, so they may, too."""
    DELEGATION = "DELEGATION"
    """Somebody who may decide leaves it to them."""
    CHANGE = "CHANGE"
    """What would be sent has changed since they decided, or since it was approved."""
    REMINDER = "REMINDER"
    """They were told before and have said nothing."""


@dataclass(frozen=True)
class Message:
    """One message to some people."""

    name: str
    """What it is called among all about the run: nobody gets the same one twice."""
    reason: Reason
    user_ids: tuple[str, ...]
    by: str | None = None
    """The user id of who left it to them."""

    @property
    def is_first(self) -> bool:
        """Whether it asks all approvers for the first time, or anew."""
        return self.name.startswith(REQUEST)


def messages(run: Run, decisions: Sequence[Decision]) -> list[Message]:
    """What has still to be told about a run, given everybody's last word; nothing about one that does not wait."""
    if run.status is not RunStatus.WAITING_FOR_APPROVAL:
        return []
    return [message for message in _Waiting(run, decisions).messages() if message.user_ids]


class _Waiting:
    """A run that waits, with what is known of who was told and who has spoken."""

    def __init__(self, run: Run, decisions: Sequence[Decision]) -> None:
        self._approvers = run.interlock.approvers
        self._gate = gate = run.interlock.gate or Gate()
        self._decisions = decisions
        self._again = f"-{iso(gate.reopened_at)}" if gate.reopened_at else ""
        since = gate.reopened_at
        self._asked = [one for one in run.interlock.asked if since is None or one.at >= since]
        self._told = {user_id for one in self._asked for user_id in one.user_ids}
        counting = [one for one in decisions if one.void_at is None]
        lent = {by for one in counting for by in one.on_behalf_of if by in gate.left_to(one.user_id)}
        self._heard = {one.user_id for one in counting} | lent
        self._left = {one.by for one in gate.delegations}
        self._lapsed = {one.user_id for one in decisions if one.lapsed}

    def messages(self) -> Iterator[Message]:
        yield from self._of_changes()
        yield from self._of_delegations()
        yield from self._of_requests()
        yield from self._of_reminders()

    def _of_changes(self) -> Iterator[Message]:
        for one in self._decisions:
            if one.void_at and not one.lapsed and not one.machine and one.user_id not in self._heard:
                yield self._message(f"change-{iso(one.void_at)}", Reason.CHANGE, [one.user_id])

    def _of_delegations(self) -> Iterator[Message]:
        for one in self._gate.delegations:
            if one.by not in self._heard:
                yield self._message(f"delegation-{one.by}-{iso(one.at)}", Reason.DELEGATION, [one.to], by=one.by)

    def _of_requests(self) -> Iterator[Message]:
        """To those who were told nothing yet, unless they need nothing, or get one of the messages before."""
        # Where those who left it to somebody have spoken themselves, nobody tells the other of that.
        lent = {one.to for one in self._gate.delegations if one.by not in self._heard}
        busy = self._told | self._heard | self._left | lent
        busy |= {one.user_id for one in self._decisions}
        new = [user_id for user_id in self._approvers if user_id not in busy]
        escalated = [user_id for user_id in new if user_id in self._gate.escalated_to]
        others = [user_id for user_id in new if user_id not in self._gate.escalated_to]
        reason = Reason.CHANGE if self._again else Reason.REQUEST
        yield self._message(f"{REQUEST}{self._again}", reason, others)
        yield self._message(f"escalation{self._again}", Reason.CHANGE if self._again else Reason.ESCALATION, escalated)

    def _of_reminders(self) -> Iterator[Message]:
        number, since = self._gate.reminded, self._gate.reminded_at
        if since is None:
            return
        people = dict.fromkeys((*self._approvers, *(one.to for one in self._gate.delegations)))
        late = [
            user_id
            for user_id in people
            if user_id not in self._heard | self._left | self._lapsed
            and user_id in self._told
            and all(one.at <= since for one in self._asked if user_id in one.user_ids)
        ]
        yield self._message(f"{REMINDER}-{number}{self._again}", Reason.REMINDER, late)

    def _message(self, name: str, reason: Reason, user_ids: Sequence[str], *, by: str | None = None) -> Message:
        """The message, for those of the people who have not got it."""
        return Message(name, reason, tuple(one for one in user_ids if not _has(self._asked, one, name)), by)


def _has(asked: Sequence[Asked], user_id: str, name: str) -> bool:
    return any(one.message == name and user_id in one.user_ids for one in asked)
