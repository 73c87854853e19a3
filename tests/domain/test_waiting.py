"""Waiting for a verdict: what happens when, who is told of it, and what becomes of the run."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.approvals import (
    ApprovalRules,
    Channel,
    Decision,
    DecisionState,
    Delegation,
    Gate,
    OnTimeLimit,
    Reminders,
    Verdict,
)
from domain.asking import Reason, messages
from domain.driving import Asked, Driving
from domain.errors import InvalidRequest, RunSynchronized
from domain.identifiers import RunId, new
from domain.runs import Ref, Report, Run, RunStatus
from domain.times import iso
from domain.waiting import Patience, Step, ahead, start_after

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = AT + timedelta(hours=1)
DAY = timedelta(days=1)
LENGTHS = st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(days=3653))


def run(status: RunStatus = RunStatus.WAITING_FOR_APPROVAL, *, payload: Any = None, **driving: Any) -> Run:
    """A run that waits for two people."""
    return Run(
        id=RunId(new("r")), status=status, action=Ref(identifier="deploy"), payload=payload, created_at=AT,
        created_by="me", updated_at=AT, updated_by="me", interlock=Driving(**{"approvers": ("ada", "bob"), **driving}),
    )  # fmt: skip


def word(user_id: str, **values: Any) -> Decision:
    """An approval."""
    return Decision(**{"name": user_id, "state": DecisionState.APPROVED, "at": LATER, **values}, user_id=user_id)


def told(run: Run, *said: Decision) -> dict[str, tuple[str, ...]]:
    """Who has to be told what."""
    return {message.name: message.user_ids for message in messages(run, said)}


@given(st.none() | LENGTHS, st.sampled_from(OnTimeLimit), st.none() | LENGTHS, st.none() | LENGTHS, st.integers(1, 100))
def test_a_plan_is_in_order_and_nothing_comes_after_its_end(
    limit: timedelta | None, on_time_limit: OnTimeLimit, after: timedelta | None, every: timedelta | None, most: int
) -> None:
    reminders = Reminders(every=every, most=most) if every else None
    patience = Patience(time_limit=limit, on_time_limit=on_time_limit, escalate_after=after, reminders=reminders)
    plan = patience.plan(AT)
    assert [moment.at for moment in plan] == sorted(moment.at for moment in plan)
    assert [moment.step for moment in plan].count(Step.END) == (limit is not None)
    assert limit is None or plan[-1].step is Step.END
    numbers = [moment.number for moment in plan if moment.step is Step.REMIND]
    assert numbers == list(range(1, len(numbers) + 1))
    for now in (AT, AT + DAY, AT + 1000 * DAY):
        left = ahead(plan, now)
        assert len([moment for moment in left if moment.step is Step.REMIND and moment.at <= now]) <= 1
        assert [moment for moment in left if moment.step is not Step.REMIND] == [
            moment for moment in plan if moment.step is not Step.REMIND
        ]


def test_who_waits_without_rules_has_nothing_to_do_and_no_end() -> None:
    assert Patience.of(Driving()).plan(AT) == ()
    assert Patience().end(AT) is None


@pytest.mark.parametrize(
    ("wanted", "starts"),
    [(None, None), (DAY, AT + DAY), (timedelta(0), None), (AT - DAY, None), (AT + DAY, AT + DAY)],
)
def test_a_run_begins_at_its_time_or_at_once(wanted: Any, starts: datetime | None) -> None:
    assert start_after(Gate(not_before=wanted), AT) == starts
    assert start_after(None, AT) is None
    kept = Gate.model_validate_json(Gate(not_before=wanted).model_dump_json())
    assert kept.not_before == wanted


def held() -> Run:
    """An approved run whose time has not come."""
    waiting = run(gate=Gate(not_before=DAY), synchronous=True)
    return waiting.decided(word("ada", channel=Channel.SLACK, request="f1"), Verdict.APPROVED)


def test_an_approved_run_says_when_it_starts_until_it_does() -> None:
    one = held()
    gate = one.interlock.gate
    assert gate
    assert (one.held, gate.starts_at, gate.request) == (True, LATER + DAY, "f1")
    assert one.status_label == "Approved, starts at 2026-01-03T04:04:05.000Z"
    assert one.interlock.last_word
    assert (one.interlock.last_word.by, one.interlock.last_word.channel) == ("ada", Channel.SLACK)
    begun = one.begun({"type": "WEBHOOK"}, synchronous=True, at=LATER)
    assert (begun.held, begun.status_label) == (False, None)
    assert (
        one.changed(at=LATER, by="ci", status_label="Mine").begun({}, synchronous=True, at=LATER).status_label == "Mine"
    )


def test_before_its_time_a_run_can_only_be_withdrawn() -> None:
    with pytest.raises(InvalidRequest, match="only be withdrawn"):
        held().reported(Report(status=RunStatus.SUCCESS), at=LATER, by="ci")
    with pytest.raises(InvalidRequest, match="not called yet"):
        held().answered({}, at=LATER, by="ci")
    assert held().reported(Report(status=RunStatus.FAILURE), at=LATER, by="me").status is RunStatus.FAILURE
    with pytest.raises(RunSynchronized):
        held().begun({}, synchronous=True, at=LATER).reported(Report(status=RunStatus.FAILURE), at=LATER, by="me")


def test_only_what_was_approved_and_not_sent_is_reopened() -> None:
    again = held().reopened(request="f2", at=LATER)
    gate = again.interlock.gate
    assert gate
    assert (again.status, again.approval, again.status_label) == (RunStatus.WAITING_FOR_APPROVAL, None, None)
    assert (gate.request, gate.reopened_at, gate.starts_at, gate.not_before) == ("f2", LATER, None, DAY)
    for one in (again, run(), run(RunStatus.FAILURE), held().begun({}, synchronous=True, at=LATER)):
        assert one.reopened(request="f3", at=LATER) is one


@pytest.mark.parametrize(("approved", "sent", "fits"), [(None, "f1", True), ("f1", "f1", True), ("f1", "f2", False)])
def test_only_what_was_approved_is_sent(approved: str | None, sent: str, fits: bool) -> None:
    assert run(RunStatus.IN_PROGRESS, gate=Gate(request=approved)).approves(sent) is fits
    assert run(RunStatus.IN_PROGRESS).approves(sent)


def test_a_run_is_escalated_once() -> None:
    one = run().escalated(("boss", "ada"), at=LATER)
    assert one.interlock.approvers == ("ada", "bob", "boss")
    assert one.escalated(("eve",), at=LATER + DAY) is one
    ended = run(RunStatus.DECLINED)
    assert ended.escalated(("boss",), at=LATER) is ended


def test_a_reminder_is_due_once() -> None:
    one = run(gate=Gate()).reminded(2, at=LATER)
    assert one.reminded(2, at=LATER + DAY) is one.reminded(1, at=LATER + DAY) is one
    assert run().reminded(0, at=LATER).interlock.gate is None


def test_who_was_told_nothing_yet_is_told_first() -> None:
    assert told(run()) == {"request": ("ada", "bob")}
    assert told(run(), word("ada")) == {"request": ("bob",)}
    asked = Asked(user_ids=("ada",), channel="email", at=AT)
    assert told(run(asked=(asked,))) == {"request": ("bob",)}
    assert told(run(RunStatus.IN_PROGRESS)) == {}


ASKED = Asked(user_ids=("ada", "bob"), channel="email", at=AT)


def test_a_reminder_is_for_those_who_have_said_nothing() -> None:
    one = run(asked=(ASKED,), gate=Gate()).reminded(1, at=LATER)
    assert told(one) == {"reminder-1": ("ada", "bob")}
    assert told(one, word("ada")) == {"reminder-1": ("bob",)}
    once = one.told(Asked(user_ids=("ada", "bob"), channel="email", at=LATER, message="reminder-1"))
    assert told(once) == {}
    twice = once.reminded(2, at=LATER + DAY)
    assert told(twice) == {"reminder-2": ("ada", "bob")}
    last = twice.told(Asked(user_ids=("bob",), channel="email", at=LATER + DAY, message="reminder-2"))
    assert [one.message for one in last.interlock.asked] == ["request", "reminder-2"]


def test_the_delegate_is_told_and_reminded_in_the_place_of_who_left_it_to_them() -> None:
    delegation = Delegation(by="ada", to="eve", at=LATER)
    one = run(asked=(ASKED,), gate=Gate(delegations=(delegation,)))
    (message,) = messages(one, [])
    assert (message.reason, message.user_ids, message.by) == (Reason.DELEGATION, ("eve",), "ada")
    knows = one.told(Asked(user_ids=("eve",), channel="email", at=LATER, message=message.name))
    assert told(knows.reminded(1, at=LATER)) == {"reminder-1": ("bob", "eve")}
    spoken = word("eve", on_behalf_of=("ada",), own=False)
    assert told(knows.reminded(1, at=LATER), spoken) == {"reminder-1": ("bob",)}
    taken_back = run(asked=knows.interlock.asked, gate=Gate()).reminded(1, at=LATER)
    assert told(taken_back, spoken) == {"reminder-1": ("ada", "bob")}, "what was said for them counts no more"


def test_those_it_was_escalated_to_are_told_of_it() -> None:
    one = run(asked=(ASKED,)).escalated(("boss", "ada"), at=LATER)
    (message,) = messages(one, [])
    assert (message.name, message.reason, message.user_ids) == ("escalation", Reason.ESCALATION, ("boss",))


def test_whose_decision_is_void_is_told() -> None:
    one = run(asked=(ASKED,), gate=Gate(quorum=2))
    (message,) = messages(one, [word("ada", void_at=LATER), word("machine", machine=True, void_at=LATER), word("bob")])
    assert (message.reason, message.user_ids) == (Reason.CHANGE, ("ada",))


def test_who_may_decide_no_more_is_told_nothing() -> None:
    one = run(asked=(ASKED,), gate=Gate(quorum=2)).reminded(1, at=LATER)
    gone = word("ada", void_at=LATER, lapsed="ada@x.io is not active")
    assert told(one, gone) == {"reminder-1": ("bob",)}
    assert set(told(one, word("ada", void_at=LATER))) > {"reminder-1"}, "somebody else would be"


def test_everybody_is_told_anew_about_a_run_that_waits_again() -> None:
    approved = run(asked=(ASKED,)).decided(word("ada", request="f1"), Verdict.APPROVED)
    again = approved.reopened(request="f2", at=LATER)
    due = messages(again, [word("ada", void_at=LATER)])
    assert {message.user_ids: message.reason for message in due} == {("ada",): Reason.CHANGE, ("bob",): Reason.CHANGE}
    for message in due:
        again = again.told(Asked(user_ids=message.user_ids, channel="email", at=LATER, message=message.name))
    assert told(again, word("ada", void_at=LATER)) == {}


def test_rules_as_they_are_written_make_a_plan() -> None:
    rules = ApprovalRules.model_validate({"timeLimit": "P2D", "reminders": {"every": "P1D"}})
    patience = Patience(time_limit=rules.time_limit, reminders=rules.reminders)
    assert [str(moment) for moment in patience.plan(AT)] == ["reminder 1", "approval time limit"]


def test_who_was_left_a_decision_that_was_then_made_is_still_asked_for_their_own() -> None:
    gate = Gate(quorum=2, delegation=True, delegations=(Delegation(by="ada", to="bob", at=AT),))
    assert told(run(gate=gate)) == {f"delegation-ada-{iso(AT)}": ("bob",)}
    assert told(run(gate=gate), word("ada")) == {"request": ("bob",)}
