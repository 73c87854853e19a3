"""The approval of a run as it is told: what would be sent, what is needed, who said what, and what is missing."""

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from domain.approval_terms import missing, terms
from domain.approvals import Count, Decision, DecisionState, Gate, Verdict, count
from domain.documents import Document
from domain.runs import Run, RunStatus
from domain.times import iso
from domain.waiting import Patience


def view(
    run: Run,
    said: Sequence[Decision],
    names: Mapping[str, str],
    *,
    request: JsonValue,
    request_hash: str,
    fault: str | None,
) -> Document:
    """The approval of the run.

    Args:
        run: one that needs approval.
        said: everybody's last word about it.
        names: the email addresses of people by user id.
        request: what would be sent, secrets masked; None where it cannot be rendered.
        request_hash: its fingerprint.
        fault: why it cannot be rendered.
    """
    driving, gate = run.interlock, run.interlock.gate or Gate()
    waits = run.status is RunStatus.WAITING_FOR_APPROVAL
    counted = Count(Verdict.APPROVED)
    if waits:
        counted = count(run.required_approval, driving.approvers, said, gate, request_hash)
    until = Patience.of(driving).end(gate.reopened_at or run.created_at) if waits else None
    kept = gate.model_dump(mode="json")
    return {
        "status": run.status,
        "request": request,
        "requestHash": request_hash,
        "fault": fault,
        "required": terms(run.required_approval, gate, driving.approval_time_limit),
        "approvers": [_approver(user_id, said, names, request_hash) for user_id in driving.approvers],
        "decisions": [_decision(one, names, valid=not waits or one.counts(request_hash)) for one in said],
        "missing": missing(counted, names, gate),
        "until": iso(until) if until else None,
        "notBefore": kept["startsAt"] or kept["notBefore"],
        "delegations": [
            {
                "by": names.get(one.by, one.by),
                "to": names.get(one.to, one.to),
                "description": one.description,
                "at": iso(one.at),
            }
            for one in gate.delegations
        ],
        "escalation": {
            "at": kept["escalatedAt"],
            "to": [names.get(user_id, user_id) for user_id in gate.escalated_to],
        }
        if gate.escalated_at
        else None,
    }


def standing(said: Sequence[Decision]) -> list[Decision]:
    """The decisions that stand: who made the others is asked again."""
    return [one for one in said if one.void_at is None]


def _approver(user_id: str, said: Sequence[Decision], names: Mapping[str, str], request_hash: str) -> Document:
    spoken = next((one.state for one in said if one.user_id == user_id and one.counts(request_hash)), None)
    return {"userId": user_id, "email": names.get(user_id), "state": spoken or DecisionState.PENDING}


def _decision(one: Decision, names: Mapping[str, str], *, valid: bool) -> Document:
    return {
        "userId": one.user_id,
        "name": one.name,
        "state": one.state,
        "description": one.description,
        "channel": one.channel,
        "machine": one.machine,
        "onBehalfOf": [names.get(user_id, user_id) for user_id in one.on_behalf_of],
        "allowedBy": one.allowed_by,
        "requestHash": one.request,
        "valid": valid and one.void_at is None,
        "lapsed": one.lapsed,
        "at": iso(one.at),
    }
