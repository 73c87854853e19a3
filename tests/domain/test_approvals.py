"""Approvals: what people say and what follows."""

from datetime import UTC, datetime
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.approvals import Decision, DecisionState, RequiredApproval, Verdict, is_required, tally

AT = datetime(2026, 1, 2, tzinfo=UTC)
ALL, ANY = RequiredApproval(type="ALL"), RequiredApproval(type="ANY")
YES, NO = DecisionState.APPROVED, DecisionState.DECLINED


def said(*words: tuple[str, DecisionState], machine: bool = False) -> list[Decision]:
    """People's words, in order."""
    return [Decision(user_id=who, name=who, state=state, machine=machine, at=AT) for who, state in words]


@pytest.mark.parametrize(
    ("required", "asked", "words", "verdict"),
    [
        (True, ["ada"], [], Verdict.PENDING),
        (True, ["ada"], [("ada", YES)], Verdict.APPROVED),
        (True, [], [("ada", YES)], Verdict.APPROVED),
        (True, ["ada"], [("ada", NO)], Verdict.DECLINED),
        (ANY, ["ada", "bob"], [("bob", YES)], Verdict.APPROVED),
        (ALL, ["ada", "bob"], [("bob", YES)], Verdict.PENDING),
        (ALL, ["ada", "bob"], [("bob", YES), ("bob", YES)], Verdict.PENDING),
        (ALL, ["ada", "bob"], [("bob", YES), ("ada", YES)], Verdict.APPROVED),
        (ALL, ["ada", "bob"], [("bob", YES), ("eve", YES)], Verdict.PENDING),
        (ALL, ["ada", "bob"], [("bob", YES), ("ada", NO)], Verdict.DECLINED),
        (ALL, ["ada", "bob"], [("ada", NO), ("ada", YES), ("bob", YES)], Verdict.APPROVED),
        (ALL, [], [("ada", YES)], Verdict.PENDING),
    ],
)
def test_verdicts(
    required: bool | RequiredApproval, asked: list[str], words: list[tuple[str, DecisionState]], verdict: Verdict
) -> None:
    assert tally(required, asked, said(*words)) is verdict


def test_the_organizations_credentials_decide_for_everyone() -> None:
    assert tally(ALL, ["ada", "bob"], said(("client", YES), machine=True)) is Verdict.APPROVED
    assert tally(ALL, ["ada", "bob"], said(("client", NO), machine=True)) is Verdict.DECLINED


@given(
    st.sampled_from([True, ANY, ALL]),
    st.dictionaries(st.sampled_from("abcd"), st.sampled_from([YES, NO]), max_size=4),
)
def test_the_order_of_votes_does_not_matter(required: bool | RequiredApproval, votes: dict[str, DecisionState]) -> None:
    verdicts = {tally(required, "abc", said(*order)) for order in permutations(votes.items())}
    assert len(verdicts) == 1


def test_what_requires_approval() -> None:
    assert [is_required(value) for value in (False, True, ANY, ALL)] == [False, True, True, True]
