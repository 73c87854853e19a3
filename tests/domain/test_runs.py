"""Runs: the moves they may make, and that none is made twice."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.approvals import Decision, DecisionState, Verdict
from domain.errors import InterlockError, InvalidRequest, RunExhausted, RunNotWaitingForApproval, RunSynchronized
from domain.identifiers import RunId, new
from domain.runs import MOVES, Driving, Ref, Report, Run, RunStatus, v1

AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
LATER = AT + timedelta(minutes=1)


def run(status: RunStatus = RunStatus.IN_PROGRESS, **values: Any) -> Run:
    """A run."""
    return Run(
        id=RunId(new("r")), status=status, action=Ref(identifier="deploy", title="Deploy"),
        created_at=AT, created_by="user_1", updated_at=AT, updated_by="user_1", **values,
    )  # fmt: skip


def decision(state: DecisionState) -> Decision:
    """Somebody's word."""
    return Decision(user_id="user_2", name="ada@example.com", state=state, at=LATER)


DOORS: list[Callable[[Run], Run]] = [
    lambda run: run.reported(Report(status=RunStatus.SUCCESS), at=LATER, by="x"),
    lambda run: run.reported(Report(status=RunStatus.FAILURE), at=LATER, by="x"),
    lambda run: run.reported(Report(status_label="Building", link=("x",)), at=LATER, by="x"),
    lambda run: run.answered({"done": True}, at=LATER, by="x"),
    lambda run: run.decided(decision(DecisionState.APPROVED), Verdict.APPROVED),
    lambda run: run.decided(decision(DecisionState.APPROVED), Verdict.PENDING),
    lambda run: run.decided(decision(DecisionState.DECLINED), Verdict.DECLINED),
    lambda run: run.undecided(at=LATER, by="x"),
    lambda run: run.unreported(at=LATER, by="x"),
    lambda run: run.cancelled("stop", at=LATER, by="x"),
    lambda run: run.moved(RunStatus.IN_PROGRESS, at=LATER, by="x"),
]


@given(st.sampled_from(RunStatus), st.booleans(), st.lists(st.sampled_from(DOORS), max_size=8))
def test_whatever_comes_in_whatever_order_every_move_is_legal(
    start: RunStatus, synchronous: bool, doors: list[Callable[[Run], Run]]
) -> None:
    current = run(start, interlock=Driving(synchronous=synchronous))
    for door in doors:
        before = current
        try:
            current = door(before)
        except (InterlockError, ValueError):
            continue
        assert current.status is before.status or current.status in MOVES[before.status]
        if before.status.is_terminal:
            assert current is before, "a run that has ended never changes again"
        assert (current.ended_at is not None) == (current.status.is_terminal and not start.is_terminal)


def test_the_ends_are_those_without_a_way_out() -> None:
    assert {status for status in RunStatus if status.is_terminal} == {
        RunStatus.SUCCESS,
        RunStatus.FAILURE,
        RunStatus.DECLINED,
    }


def test_a_report_says_only_what_it_says() -> None:
    before = run(link=("old",), summary="old", external_run_id="1")
    after = before.reported(Report(link=("a", "b")), at=LATER, by="ci")
    assert (after.link, after.summary, after.external_run_id) == (("a", "b"), "old", "1")
    assert (after.updated_at, after.updated_by) == (LATER, "ci")
    assert before.reported(Report(), at=LATER, by="ci") is before


def test_a_run_that_waits_can_only_be_withdrawn() -> None:
    waiting = run(RunStatus.WAITING_FOR_APPROVAL)
    with pytest.raises(InvalidRequest, match="withdrawn"):
        waiting.reported(Report(status=RunStatus.SUCCESS), at=LATER, by="x")
    assert waiting.reported(Report(status=RunStatus.FAILURE), at=LATER, by="x").status is RunStatus.FAILURE


def test_the_status_of_a_synchronized_run_is_not_reported() -> None:
    synchronized = run(interlock=Driving(synchronous=True))
    with pytest.raises(RunSynchronized):
        synchronized.reported(Report(status=RunStatus.SUCCESS), at=LATER, by="x")
    assert synchronized.reported(Report(status_label="half way"), at=LATER, by="x").status_label == "half way"


def test_an_ended_run_refuses_by_name() -> None:
    ended = run(RunStatus.SUCCESS)
    with pytest.raises(RunExhausted, match=f"{ended.id} has ended with SUCCESS"):
        ended.reported(Report(summary="late"), at=LATER, by="x")
    with pytest.raises(RunNotWaitingForApproval, match="is SUCCESS"):
        ended.decided(decision(DecisionState.APPROVED), Verdict.APPROVED)
    assert ended.cancelled("late", at=LATER, by="x") is ended


def test_a_declined_run_says_who_and_why() -> None:
    said = decision(DecisionState.DECLINED).model_copy(update={"description": "change freeze"})
    after = run(RunStatus.WAITING_FOR_APPROVAL).decided(said, Verdict.DECLINED)
    assert after.summary == "Declined by ada@example.com: change freeze"
    assert after.document()["approval"] == {
        "userId": "user_2",
        "state": "DECLINED",
        "description": "change freeze",
        "impersonatedUserId": None,
    }


def test_a_run_as_json_has_what_it_has() -> None:
    document = run().document()
    assert document["createdAt"] == "2026-01-02T03:04:05.678Z"
    assert {"statusLabel", "approval", "payload", "endedAt", "link"} <= document.keys()
    assert not {"blueprint", "entity", "response", "claimedUntil", "externalRunId"} & document.keys()
    assert Run.model_validate(document).document() == document


def test_stored_runs_may_have_fields_of_later_versions() -> None:
    assert Run.model_validate({**run().document(), "fromTheFuture": 1}).status is RunStatus.IN_PROGRESS


def test_version_1_has_its_own_shape() -> None:
    document = v1(run(blueprint=Ref(identifier="service"), entity=Ref(identifier="cart", deleted=True)).document())
    assert document["action"] == "deploy"
    assert (document["relatedBlueprintExists"], document["relatedEntityExists"]) == (True, False)
    assert document["entity"] == {"identifier": "cart", "title": None}
