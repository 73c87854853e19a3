"""Approvals: what people say and what follows."""

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.approvals import (
    Count,
    Decision,
    DecisionState,
    Delegation,
    Gate,
    RequiredApproval,
    Verdict,
    count,
    is_required,
    tally,
)

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


def voice(who: str, state: DecisionState = YES, **more: Any) -> Decision:
    """One person's word."""
    return Decision(**{"user_id": who, "name": who, "state": state, "at": AT, **more})


@pytest.mark.parametrize(
    ("gate", "voices", "verdict"),
    [
        (Gate(quorum=2), [voice("ada")], Verdict.PENDING),
        (Gate(quorum=2), [voice("ada"), voice("ada")], Verdict.PENDING),
        (Gate(quorum=2), [voice("ada"), voice("bob")], Verdict.APPROVED),
        (Gate(quorum=2), [voice("ada"), voice("bob", NO)], Verdict.DECLINED),
        (Gate(quorum=2), [voice("client", machine=True)], Verdict.APPROVED),
        (Gate(one_per_team=True), [voice("ada", teams=("sre",))], Verdict.PENDING),
        (Gate(one_per_team=True), [voice("client", machine=True)], Verdict.APPROVED),
        (Gate(one_per_team=True, teams=("sre", "web")), [voice("ada", teams=("sre",))], Verdict.PENDING),
        (Gate(one_per_team=True, teams=("sre", "web")), [voice("ada", teams=("sre", "web"))], Verdict.APPROVED),
        (
            Gate(one_per_team=True, teams=("sre", "web"), quorum=3),
            [voice("ada", teams=("sre",)), voice("bob", teams=("web",))],
            Verdict.PENDING,
        ),
        (
            Gate(one_per_team=True, teams=("sre", "web")),
            [voice("ada", teams=("sre",)), voice("bob", NO, teams=("web",))],
            Verdict.DECLINED,
        ),
    ],
)
def test_a_quorum_and_teams_ask_for_more(gate: Gate, voices: list[Decision], verdict: Verdict) -> None:
    assert tally(True, ["ada"], voices, gate) is verdict


def left(*pairs: tuple[str, str]) -> tuple[Delegation, ...]:
    """Who has left it to whom."""
    return tuple(Delegation(by=by, to=to, at=AT) for by, to in pairs)


def test_a_delegate_is_one_person_and_speaks_for_everyone_who_left_it_to_them() -> None:
    gate = Gate(delegations=left(("ada", "eve"), ("bob", "eve")))
    eve = voice("eve", own=False, on_behalf_of=("ada", "bob"), lent_teams={"ada": ("sre",), "bob": ("web",)})
    assert tally(ALL, ["ada", "bob"], [eve], gate) is Verdict.APPROVED
    assert tally(True, [], [eve], gate.model_copy(update={"quorum": 2})) is Verdict.PENDING
    teams = {"one_per_team": True, "teams": ("sre", "web")}
    assert tally(True, [], [eve], gate.model_copy(update=teams)) is Verdict.APPROVED


def test_what_people_say_themselves_replaces_what_was_said_for_them() -> None:
    gate = Gate(quorum=2, delegations=left(("ada", "eve")))
    eve = voice("eve", own=False, on_behalf_of=("ada",))
    for order in ([eve, voice("ada")], [voice("ada"), eve]):
        assert tally(True, [], order, gate) is Verdict.PENDING, "both are the voice of ada"
    itself = eve.model_copy(update={"own": True})
    assert tally(True, [], [itself, voice("ada")], gate) is Verdict.APPROVED


def test_what_was_said_for_somebody_who_takes_it_back_counts_no_more() -> None:
    eve = voice("eve", own=False, on_behalf_of=("ada",))
    for now in (left(), left(("ada", "bob"))):
        assert tally(True, [], [eve], Gate(delegations=now)) is Verdict.PENDING


def test_a_decision_about_something_else_does_not_count() -> None:
    old, new = voice("ada", request="old"), voice("bob", request="new")
    assert tally(True, [], [old], Gate(), "new") is Verdict.PENDING
    assert tally(True, [], [old.model_copy(update={"state": NO})], Gate(), "new") is Verdict.PENDING
    assert tally(True, [], [old, new], Gate(quorum=2), "new") is Verdict.PENDING
    assert tally(True, [], [new], Gate(), "new") is Verdict.APPROVED
    assert tally(True, [], [voice("ada")], Gate(), "new") is Verdict.APPROVED, "it is from before fingerprints"
    assert tally(True, [], [old], Gate(), None) is Verdict.APPROVED, "it is not known what would be sent"
    assert tally(True, [], [new.model_copy(update={"void_at": AT})], Gate(), "new") is Verdict.PENDING


def test_after_an_escalation_one_of_those_stands_for_whoever_is_silent() -> None:
    later = AT + timedelta(hours=1)
    gate = Gate(all_of=("ada", "bob"), escalated_at=later, escalated_to=("boss", "bob"))
    asked = ["ada", "bob", "boss"]
    assert tally(ALL, asked, [voice("ada")], gate) is Verdict.PENDING
    assert tally(ALL, asked, [voice("ada"), voice("bob")], gate) is Verdict.APPROVED, "the boss need not"
    assert tally(ALL, asked, [voice("bob")], gate) is Verdict.PENDING, "it was said before the escalation"
    assert tally(ALL, asked, [voice("boss", at=later)], gate) is Verdict.APPROVED
    assert tally(ALL, asked, [voice("boss", at=later), voice("ada", NO)], gate) is Verdict.DECLINED


_NAMES, _TEAMS = "abcd", ("sre", "web")
_VOTES: st.SearchStrategy[dict[str, dict[str, Any]]] = st.dictionaries(
    st.sampled_from(_NAMES),
    st.builds(
        dict,
        state=st.sampled_from([YES, YES, NO]),
        own=st.booleans(),
        teams=st.lists(st.sampled_from(_TEAMS), unique=True).map(tuple),
        on_behalf_of=st.lists(st.sampled_from(_NAMES), unique=True, max_size=3).map(tuple),
        lent_teams=st.dictionaries(st.sampled_from(_NAMES), st.just(("sre",)), max_size=2),
        request=st.sampled_from([None, "old", "new"]),
        void_at=st.sampled_from([None, None, AT]),
        machine=st.booleans(),
        at=st.sampled_from([AT, AT + timedelta(hours=1)]),
    ),
    max_size=4,
)
_GATES = st.builds(
    Gate,
    quorum=st.sampled_from([None, 1, 2, 3]),
    one_per_team=st.booleans(),
    teams=st.lists(st.sampled_from(_TEAMS), unique=True).map(tuple),
    delegations=st.lists(st.tuples(st.sampled_from(_NAMES), st.sampled_from(_NAMES)), max_size=3).map(
        lambda pairs: left(*dict(pairs).items())
    ),
    escalated_at=st.sampled_from([None, AT + timedelta(hours=1)]),
    escalated_to=st.lists(st.sampled_from(_NAMES), unique=True, max_size=2).map(tuple),
)


def _unordered(counted: Count) -> tuple[object, ...]:
    return counted.verdict, counted.approvals, counted.missing, set(counted.silent), set(counted.teams)


@given(st.sampled_from([True, ANY, ALL]), _VOTES, _GATES, st.sampled_from([None, "new"]))
def test_the_order_of_votes_of_different_people_does_not_matter(
    required: bool | RequiredApproval, votes: dict[str, dict[str, Any]], gate: Gate, request_hash: str | None
) -> None:
    voices = [voice(who, **said) for who, said in votes.items()]
    counts = [_unordered(count(required, "abc", order, gate, request_hash)) for order in permutations(voices)]
    assert all(one == counts[0] for one in counts)


@given(st.sampled_from([True, ANY, ALL]), _VOTES, _GATES)
def test_nothing_is_approved_without_an_approval_and_a_valid_refusal_declines(
    required: bool | RequiredApproval, votes: dict[str, dict[str, Any]], gate: Gate
) -> None:
    voices = [voice(who, **said) for who, said in votes.items()]
    valid = [one for one in voices if one.counts("new")]
    verdict = tally(required, "abc", voices, gate, "new")
    if any(one.state is NO for one in valid):
        assert verdict is Verdict.DECLINED
    elif not valid:
        assert verdict is Verdict.PENDING
    elif verdict is Verdict.APPROVED and not any(one.machine for one in valid):
        assert len(valid) >= (gate.quorum or 1) or isinstance(required, RequiredApproval)


def test_what_a_gate_keeps_survives_json() -> None:
    for not_before in (timedelta(hours=2), AT, None):
        gate = Gate(quorum=2, delegations=left(("ada", "bob")), not_before=not_before)
        assert Gate.model_validate_json(gate.model_dump_json()) == gate
        assert Gate.model_validate(gate.model_dump(mode="json")) == gate


def test_what_requires_approval() -> None:
    assert [is_required(value) for value in (False, True, ANY, ALL)] == [False, True, True, True]


@pytest.mark.parametrize(
    ("sent", "state", "last", "outdated"),
    [
        (None, "APPROVED", 5.0, False),  # no message
        (4.0, "DECLINED", 5.0, True),
        (6.0, "APPROVED", 5.9, False),
        (5.0, "APPROVED", 5.0, True),  # the same message again
        (5.0, "DECLINED", 5.9, False),  # signed to the second: it may be the later one, and is the safer one
        (5.0, "APPROVED", 5.9, True),
    ],
)
def test_a_message_says_nothing_unless_it_is_the_last_word(
    sent: float | None, state: str, last: float, outdated: bool
) -> None:
    word = Decision(
        user_id="u",
        name="u",
        state=DecisionState(state),
        at=AT + timedelta(minutes=1),
        sent_at=None if sent is None else AT + timedelta(seconds=sent),
    )
    approved: dict[str, Any] = {"user_id": "u", "name": "u", "state": YES}
    moment = AT + timedelta(seconds=last)
    assert word.outdated_by(Decision(**approved, at=moment)) is outdated
    assert word.outdated_by(Decision(**approved, at=AT + timedelta(minutes=9), sent_at=moment)) is outdated
