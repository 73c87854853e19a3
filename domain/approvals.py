"""Approvals: what an action asks for, what people said, and what follows."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictBool

from domain.documents import Document
from domain.models import Kept, Written
from domain.times import Duration, Instant

ASK_ATTEMPTS = 3
"""How often it is tried to tell approvers that they are asked."""


class RequiredApproval(Written):
    """`ANY`: one approver is enough. `ALL`: every one of them."""

    type: Literal["ANY", "ALL"]


LONGEST = timedelta(days=3653)
"""Ten years."""
MOST_APPROVALS = 1_000


def within_ten_years(limit: timedelta) -> timedelta:
    """The length of time, if something may take that long.

    Raises:
        ValueError: it is nothing, or longer than ten years.
    """
    if not timedelta(0) < limit <= LONGEST:
        raise ValueError("must be longer than nothing and at most ten years")
    return limit


_Length = Annotated[Duration, AfterValidator(within_ten_years)]


class Reminders(Written):
    """Who was asked and has not decided is asked again."""

    every: _Length
    """ISO 8601 (`PT4H`)."""
    most: Annotated[int, Field(strict=True, ge=1, le=100)] = 3
    """How many times at most."""


class People(Written):
    """People by name, role or team, as in the lists of permissions."""

    users: list[str] = Field(default_factory=list)
    """Email addresses."""
    roles: list[str] = Field(default_factory=list)
    teams: list[str] = Field(default_factory=list)


class Escalation(Written):
    """Others may decide, too, and are asked, once nobody has decided for so long."""

    to: People
    after: _Length | None = None
    """Since the run was asked for. Absent: once the time limit has passed, with `onTimeLimit` `ESCALATE`."""


class OnTimeLimit(StrEnum):
    """What becomes of a run that nobody decided about in time."""

    DECLINE = "DECLINE"
    APPROVE = "APPROVE"
    ESCALATE = "ESCALATE"
    """Those of the escalation are asked, and have as long again; then it is declined."""


class ApprovalRules(Written):
    """What an action asks for beyond `requiredApproval`: ours, all of it off by default."""

    time_limit: _Length | None = None
    """How long a run waits for its verdict. Absent: for ever. ISO 8601 (`PT4H`)."""
    on_time_limit: OnTimeLimit = OnTimeLimit.DECLINE
    quorum: Annotated[int, Field(strict=True, ge=1, le=MOST_APPROVALS)] | None = None
    """How many people have to approve; not together with `ALL`."""
    one_per_team: StrictBool = False
    """Whether each team that the approve lists name has to approve with one of its people."""
    self_approval: StrictBool = True
    """Whether who asked for a run may decide about it."""
    delegation: StrictBool = False
    """Whether who may decide may leave it to somebody else."""
    reminders: Reminders | None = None
    escalation: Escalation | None = None
    not_before: str | None = None
    """When the backend is called at the earliest, once approved: a template of a date-time, or how long after it."""


class Delegation(Kept):
    """One person's say about a run, left to another."""

    by: str
    """The user id of who may decide."""
    to: str
    description: str | None = None
    at: Instant


class Gate(Kept):
    """What a run's verdict depends on beside `requiredApproval`, as its action said when the run was made."""

    quorum: int | None = None
    one_per_team: bool = False
    teams: tuple[str, ...] = ()
    """Those the approve lists named; with `one_per_team` each of them has to approve, and nobody can where none is."""
    self_approval: bool = True
    instigators: tuple[str, ...] = ()
    """Without `self_approval`: the ids of those who asked for the runs whose backends asked for this one."""
    delegation: bool = False
    on_time_limit: OnTimeLimit = OnTimeLimit.DECLINE
    reminders: Reminders | None = None
    escalation: Escalation | None = None
    escalated_at: Instant | None = None
    escalated_to: tuple[str, ...] = ()
    """The user ids of those who may decide since then, beside those whom the permissions let."""
    delegations: tuple[Delegation, ...] = ()
    not_before: Instant | Duration | None = None
    """When the backend is called at the earliest: a moment, or how long after the verdict."""
    request: str | None = None
    """The fingerprint of what was approved; None: nothing was yet, or it was before fingerprints were kept."""
    all_of: tuple[str, ...] = ()
    """Under ALL with an escalation: the user ids of those asked when the run was made. Else they are the approvers."""
    voided_at: Instant | None = None
    """When decisions last became void, so that who made them has to be asked again."""
    reminded: int = 0
    """The number of the last reminder that is due."""
    reminded_at: Instant | None = None
    """Since when."""
    reopened_at: Instant | None = None
    """When it went back to waiting, because what was approved was not what would have been sent."""
    starts_at: Instant | None = None
    """When the backend is called at the earliest, once approved; None: at once."""

    @property
    def news(self) -> Document:
        """What a workflow is woken for, beside another status: it is another one each time."""
        news: Document = self.model_dump(mode="json", include={"voided_at", "delegations", "reopened_at"})
        return news

    @property
    def delegates(self) -> frozenset[str]:
        """The user ids of those to whom somebody has left their say."""
        return frozenset(delegation.to for delegation in self.delegations)

    def left_to(self, user_id: str) -> tuple[str, ...]:
        """The user ids of those who have left their say to this person."""
        return tuple(delegation.by for delegation in self.delegations if delegation.to == user_id)


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
    SLACK = "SLACK"
    TEAMS = "TEAMS"


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
    teams: tuple[str, ...] = ()
    """Their own teams."""
    on_behalf_of: tuple[str, ...] = ()
    """The user ids of those who left it to them."""
    lent_teams: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """The teams of those, by user id."""
    own: bool = True
    """Whether they speak for themselves, too, and not only for those who left it to them."""
    request: str | None = None
    """The fingerprint of what would be sent when they said it. None: from before that was kept."""
    void_at: Instant | None = None
    """Since when it counts no more: something else would be sent, or who said it may decide no more."""
    lapsed: str | None = None
    """Why they may not, where that is why it is void."""
    sent_at: Instant | None = None
    """When the message was signed that said it; None: it was no message."""
    at: Instant

    def outdated_by(self, last: "Decision") -> bool:
        """Whether it is a message that is not younger than the person's last word, so that it says nothing any more.

        Messages are signed to the second. Of two words in the same second a refusal is the last one.
        """
        if self.sent_at is None:
            return False
        sent, said = (moment.replace(microsecond=0) for moment in (self.sent_at, last.sent_at or last.at))
        if sent == said:
            return self.state is last.state or self.state is not DecisionState.DECLINED
        return sent < said

    def counts(self, request: str | None) -> bool:
        """Whether it is about what would be sent, by its fingerprint."""
        return self.void_at is None and (self.request is None or request is None or self.request == request)


class Verdict(StrEnum):
    """The outcome so far."""

    PENDING = "PENDING"
    APPROVED = "APPROVED"
    DECLINED = "DECLINED"


def is_required(required: bool | RequiredApproval) -> bool:
    """Whether somebody has to approve; plain `true` means any one approver."""
    return required is not False


@dataclass(frozen=True, slots=True)
class Count:
    """How the votes about a run stand, and what is missing."""

    verdict: Verdict
    approvals: int = 0
    """How many people have approved; a delegate is one of them, however many left it to them."""
    missing: int = 0
    """How many more of them it needs."""
    silent: tuple[str, ...] = ()
    """Under ALL: the user ids of those who have still to approve."""
    teams: tuple[str, ...] = ()
    """The teams none of whose people has approved."""


def tally(
    required: bool | RequiredApproval,
    asked: Collection[str],
    decisions: Iterable[Decision],
    gate: Gate | None = None,
    request: str | None = None,
) -> Verdict:
    """The verdict so far: the one of `count`.

    >>> tally(True, [], [])
    <Verdict.PENDING: 'PENDING'>

    Source: approvals, `requiredApproval.type`.
    """
    return count(required, asked, decisions, gate, request).verdict


def count(
    required: bool | RequiredApproval,
    asked: Collection[str],
    decisions: Iterable[Decision],
    gate: Gate | None = None,
    request: str | None = None,
) -> Count:
    """How the votes stand. One refusal declines; a person counts once, by the last word.

    Nothing but who said what matters, not in which order different people said it: what people say themselves always
    replaces what a delegate says for them.

    Args:
        required: of the action.
        asked: the user ids whose word is needed under ALL. Nobody asked means nobody can complete it.
        decisions: in the order they were made.
        gate: what else the verdict depends on.
        request: the fingerprint of what would be sent now; decisions about something else do not count. None: unknown.
    """
    gate = gate or Gate()
    last = {decision.user_id: decision for decision in decisions}
    valid = [decision for decision in last.values() if decision.counts(request)]
    if any(decision.state is DecisionState.DECLINED for decision in valid):
        return Count(Verdict.DECLINED)
    approved = [decision for decision in valid if decision.state is DecisionState.APPROVED]
    if any(decision.machine for decision in approved):
        return Count(Verdict.APPROVED, approvals=len(approved))
    voices = _voices(approved, gate)
    people = len(voices)
    heard = {user_id: teams for spoken in voices.values() for user_id, teams in spoken.items()}
    silent: tuple[str, ...] = ()
    missing = max((gate.quorum or 1) - people, 0)
    complete = missing == 0
    if isinstance(required, RequiredApproval) and required.type == "ALL":
        since = gate.escalated_at
        stand_in = since is not None and any(last[user_id].at >= since for user_id in _escalated(voices, gate))
        needed = dict.fromkeys(gate.all_of or asked)
        silent = () if stand_in else tuple(user_id for user_id in needed if user_id not in heard)
        missing = len(silent)
        complete = stand_in or (bool(needed) and not silent)
    spoken_for = {team for teams in heard.values() for team in teams}
    teams = tuple(team for team in gate.teams if team not in spoken_for)
    if gate.one_per_team and (teams or not gate.teams):
        complete = False
    return Count(Verdict.APPROVED if complete else Verdict.PENDING, people, missing, silent, teams)


def _voices(approved: Sequence[Decision], gate: Gate) -> dict[str, dict[str, tuple[str, ...]]]:
    """By who spoke: for whom they count, with the teams of each; without those who count for nobody."""
    themselves = {decision.user_id for decision in approved if decision.own}
    voices: dict[str, dict[str, tuple[str, ...]]] = {}
    for decision in approved:
        left = set(gate.left_to(decision.user_id)) - themselves
        spoken = {by: decision.lent_teams.get(by, ()) for by in decision.on_behalf_of if by in left}
        if decision.own:
            spoken[decision.user_id] = decision.teams
        if spoken:
            voices[decision.user_id] = spoken
    return voices


def _escalated(voices: Mapping[str, Mapping[str, object]], gate: Gate) -> Iterator[str]:
    """Who of those who spoke speaks for somebody whom the run was escalated to."""
    to = set(gate.escalated_to)
    return (user_id for user_id, spoken in voices.items() if to & spoken.keys())
