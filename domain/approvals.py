"""Approvals: what an action asks for, what people said, and what follows."""

from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import Literal

from domain.models import Kept, Written
from domain.times import Instant

ASK_ATTEMPTS = 3
"""How often it is tried to tell approvers that they are asked."""


class RequiredApproval(Written):
    """`ANY`: one approver is enough. `ALL`: every one of them."""

    type: Literal["ANY", "ALL"]


class Word(StrEnum):
    """What a person can say."""

    APPROVE = "APPROVE"
    DECLINE = "DECLINE"


class DecisionState(StrEnum):
    """How a decision reads afterwards."""

    APPROVED = "APPROVED"
    DECLINED = "DECLINED"
    PENDING = "PENDING"

    @classmethod
    def of(cls, word: Word) -> "DecisionState":
        """How the word reads afterwards."""
        return cls.APPROVED if word is Word.APPROVE else cls.DECLINED


class Channel(StrEnum):
    """By which door a decision came."""

    API = "API"
    TEMPORAL = "TEMPORAL"


class Decision(Kept):
    """One person's word about one run; a later word of the same person replaces it."""

    user_id: str
    name: str
    """Email address, or client id of a machine."""
    state: DecisionState
    description: str | None = None
    """Why."""
    channel: Channel = Channel.API
    machine: bool = False
    """Said with the organization's own credentials, which decide for everyone."""
    allowed_by: str | None = None
    """Which list or policy let this person decide. None: not known, from before that was kept."""
    at: Instant


class Verdict(StrEnum):
    """The outcome so far."""

    PENDING = "PENDING"
    APPROVED = "APPROVED"
    DECLINED = "DECLINED"


def is_required(required: bool | RequiredApproval) -> bool:
    """Whether somebody has to approve; plain `true` means any one approver."""
    return required is not False


def tally(required: bool | RequiredApproval, asked: Collection[str], decisions: Iterable[Decision]) -> Verdict:
    """The verdict so far. One refusal declines; an approver counts once, by the last word.

    `asked` are the user ids whose word is needed under ALL. Nobody asked means nobody can complete it.

    >>> tally(True, [], [])
    <Verdict.PENDING: 'PENDING'>

    Source: approvals, `requiredApproval.type`.
    """
    last = {decision.user_id: decision for decision in decisions}
    if any(decision.state is DecisionState.DECLINED for decision in last.values()):
        return Verdict.DECLINED
    approved = {user for user, decision in last.items() if decision.state is DecisionState.APPROVED}
    if any(decision.machine for decision in last.values()):
        return Verdict.APPROVED
    if isinstance(required, RequiredApproval) and required.type == "ALL":
        return Verdict.APPROVED if asked and set(asked) <= approved else Verdict.PENDING
    return Verdict.APPROVED if approved else Verdict.PENDING
