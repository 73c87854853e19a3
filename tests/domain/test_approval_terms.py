"""What an approval asks for: rules that fit together, when a run may begin, and what is missing in words."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.actions import Definition
from domain.approval_terms import earliest, gate_of, missing, obstacles, terms
from domain.approvals import ApprovalRules, Count, Gate, RequiredApproval, Verdict
from domain.errors import InvalidRequest
from domain.fingerprints import fingerprint, of_fault
from domain.users import User

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ESCALATION = {"to": {"roles": ["Admin"]}, "after": "PT1H"}
AT_THE_END = {"to": {"roles": ["Admin"]}}


def defined(approval: Any, required: Any = True, trigger: Any = None) -> Definition:
    """An action with these rules."""
    return Definition.parse(
        {
            "identifier": "deploy",
            "trigger": trigger
            or {"type": "self-service", "operation": "CREATE", "userInputs": {"properties": {}, "required": []}},
            "invocationMethod": {"type": "KAFKA", "payload": {}},
            "requiredApproval": required,
            "interlock": {"approval": approval},
        }
    )


@pytest.mark.parametrize(
    ("approval", "required", "path"),
    [
        ({"quorum": 2}, False, "interlock.approval.quorum"),
        ({"selfApproval": False}, False, "interlock.approval.selfApproval"),
        ({"timeLimit": "PT1H", "notBefore": "PT1H"}, False, "interlock.approval.notBefore"),
        ({"quorum": 2}, {"type": "ALL"}, "interlock.approval.quorum"),
        ({"quorum": 0}, True, "interlock.approval.quorum"),
        ({"quorum": 1001}, True, "interlock.approval.quorum"),
        ({"quorum": "2"}, True, "interlock.approval.quorum"),
        ({"quorum": True}, True, "interlock.approval.quorum"),
        ({"onePerTeam": 1}, True, "interlock.approval.onePerTeam"),
        ({"selfApproval": "no"}, True, "interlock.approval.selfApproval"),
        ({"delegation": "yes"}, True, "interlock.approval.delegation"),
        ({"onTimeLimit": "APPROVE"}, True, "interlock.approval.onTimeLimit"),
        ({"onTimeLimit": "IGNORE", "timeLimit": "PT1H"}, True, "interlock.approval.onTimeLimit"),
        ({"onTimeLimit": "ESCALATE", "timeLimit": "PT1H"}, True, "interlock.approval.onTimeLimit"),
        ({"escalation": AT_THE_END}, True, "interlock.approval.escalation.after"),
        ({"escalation": AT_THE_END, "timeLimit": "PT1H"}, True, "interlock.approval.escalation.after"),
        ({"escalation": ESCALATION, "timeLimit": "PT1H"}, True, "interlock.approval.escalation.after"),
        ({"escalation": {"to": {}, "after": "PT1H"}}, True, "interlock.approval.escalation.to"),
        ({"escalation": {"to": {"users": "ada"}, "after": "PT1H"}}, True, "interlock.approval.escalation.to.users"),
        ({"escalation": {"after": "PT1H"}}, True, "interlock.approval.escalation.to"),
        ({"reminders": {}}, True, "interlock.approval.reminders.every"),
        ({"reminders": {"every": "PT0S"}}, True, "interlock.approval.reminders.every"),
        ({"reminders": {"every": "PT1H", "most": 101}}, True, "interlock.approval.reminders.most"),
        ({"notBefore": "tomorrow"}, True, "interlock.approval.notBefore"),
        ({"notBefore": "2026-01-02T03:04:05"}, True, "interlock.approval.notBefore"),
        ({"notBefore": "2026-01-02"}, True, "interlock.approval.notBefore"),
        ({"notBefore": ""}, True, "interlock.approval.notBefore"),
        ({"notBefore": "-PT1H"}, True, "interlock.approval.notBefore"),
        ({"notBefore": "P11Y"}, True, "interlock.approval.notBefore"),
        ({"notBefore": "{{ .secrets.WHEN }}"}, True, "interlock.approval.notBefore"),
        ({"votes": 2}, True, "interlock.approval.votes"),
    ],
)
def test_rules_that_do_not_fit_are_refused_by_their_path(approval: Any, required: Any, path: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        defined(approval, required)
    assert path in str(refusal.value)


@pytest.mark.parametrize(
    ("approval", "required"),
    [
        ({"timeLimit": "PT1H"}, False),
        ({}, False),
        ({"timeLimit": "PT1H", "onTimeLimit": "APPROVE"}, True),
        ({"timeLimit": "PT1H", "onTimeLimit": "ESCALATE", "escalation": AT_THE_END}, {"type": "ALL"}),
        ({"timeLimit": "PT2H", "escalation": ESCALATION}, True),
        ({"escalation": ESCALATION, "quorum": 2, "onePerTeam": True}, {"type": "ANY"}),
        ({"onePerTeam": True}, {"type": "ALL"}),
        ({"notBefore": "{{ .inputs.start }}"}, True),
        ({"notBefore": "PT1H"}, True),
        ({"notBefore": "2026-01-02T03:04:05+02:00"}, True),
    ],
)
def test_rules_that_fit_read_back_as_they_were_written(approval: Any, required: Any) -> None:
    rules = defined(approval, required).approval_rules
    assert rules is not None
    assert rules == ApprovalRules.model_validate(approval)


def test_automations_wait_for_nobody() -> None:
    trigger = {"type": "automation", "event": {"type": "ENTITY_CREATED", "blueprintIdentifier": "service"}}
    with pytest.raises(InvalidRequest, match=r"^interlock\.approval\.quorum: "):
        defined({"quorum": 2}, None, trigger)


@pytest.mark.parametrize(
    ("value", "when"),
    [
        ("PT0S", timedelta(0)),
        ("P1D", timedelta(days=1)),
        ("2026-01-02T03:04:05Z", AT),
        ("2026-01-02T05:04:05.000+02:00", AT),
    ],
)
def test_a_run_begins_at_a_moment_or_so_long_after_the_verdict(value: str, when: datetime | timedelta) -> None:
    assert earliest(value) == when


@pytest.mark.parametrize("value", [None, 5, True, [], {}, "soon", "2026-13-01T00:00:00Z", "P", "3600", "x" * 9999])
def test_what_is_neither_is_named(value: Any) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        earliest(value)
    assert str(refusal.value).startswith("interlock.approval.notBefore: ")
    assert len(str(refusal.value)) < 600


def person(name: str, *teams: str) -> User:
    return User(id=name, email=f"{name}@x.io", teams=teams, created_at=AT, updated_at=AT)


@pytest.mark.parametrize(
    ("gate", "approvers", "said"),
    [
        (Gate(), [person("ada")], []),
        (Gate(), [], ["Nobody can approve this run: why"]),
        (Gate(quorum=1), [person("ada")], []),
        (Gate(quorum=2), [person("ada")], ["2 people have to approve, and one person may"]),
        (Gate(one_per_team=True), [person("ada")], ["they name none"]),
        (Gate(one_per_team=True, teams=("sre",)), [person("ada", "sre")], []),
        (Gate(one_per_team=True, teams=("sre", "web")), [person("ada", "sre")], ["team web"]),
    ],
)
def test_what_nobody_can_complete_is_said(gate: Gate, approvers: list[User], said: list[str]) -> None:
    found = list(obstacles(gate, approvers, "why"))
    assert len(found) == len(said)
    assert all(words in line for words, line in zip(said, found, strict=True))


def test_what_is_missing_is_said_in_words() -> None:
    names = {"ada": "ada@x.io", **{str(n): f"p{n}@x.io" for n in range(12)}}
    assert missing(Count(Verdict.APPROVED), names, None) == "nothing"
    assert missing(Count(Verdict.PENDING, missing=1), names, None) == "one more person to approve"
    assert missing(Count(Verdict.PENDING, missing=3), names, None) == "3 more people to approve"
    assert (
        missing(Count(Verdict.PENDING, missing=2, silent=("ada", "gone")), names, None) == "ada@x.io, gone to approve"
    )
    many = Count(Verdict.PENDING, missing=12, silent=tuple(map(str, range(12))))
    assert missing(many, names, None).endswith("p9@x.io and 2 more to approve")
    assert "these teams to approve: sre" in missing(Count(Verdict.PENDING, teams=("sre",)), names, None)
    assert "name none" in missing(Count(Verdict.PENDING), names, Gate(one_per_team=True))
    assert "nobody was asked" in missing(Count(Verdict.PENDING), names, None)


def test_terms_are_what_was_written() -> None:
    rules = ApprovalRules.model_validate({"quorum": 2, "timeLimit": "PT4H", "reminders": {"every": "PT1H"}})
    told = terms(True, gate_of(rules, teams=["sre"], not_before=timedelta(hours=1)), rules.time_limit)
    assert (told["type"], told["quorum"], told["timeLimit"], told["notBefore"]) == ("ANY", 2, "PT4H", "PT1H")
    assert (told["reminders"], told["teams"]) == ({"every": "PT1H", "most": 3}, []), "teams matter with onePerTeam only"
    assert terms(RequiredApproval(type="ALL"), None, None)["type"] == "ALL"


def test_fingerprints_tell_requests_apart_and_need_the_key() -> None:
    one = fingerprint({"url": "https://x.io", "body": {"a": 1, "b": [1, 2]}}, b"key")
    assert one == fingerprint({"body": {"b": [1, 2], "a": 1.0}, "url": "https://x.io"}, b"key")
    others = [
        fingerprint({"url": "https://x.io", "body": {"a": 1, "b": [2, 1]}}, b"key"),
        fingerprint({"url": "https://x.io", "body": {"a": "1", "b": [1, 2]}}, b"key"),
        fingerprint({"url": "https://x.io", "body": {"a": True, "b": [1, 2]}}, b"key"),
        fingerprint({"url": "https://x.io", "body": {"a": 1, "b": [1, 2]}}, b"other"),
        of_fault("x", b"key"),
        of_fault("y", b"key"),
    ]
    assert len({one, *others}) == 7
    assert len(one) == 64
