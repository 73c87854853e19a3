"""What an approval asks for: the rules of a definition made into the gate of a run, and told in words."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from pydantic import JsonValue, TypeAdapter, ValidationError

from domain.approvals import (
    LONGEST,
    ApprovalRules,
    Count,
    Gate,
    OnTimeLimit,
    RequiredApproval,
    Verdict,
    is_required,
)
from domain.documents import Document, canonical
from domain.errors import InvalidRequest
from domain.shapes import shortened
from domain.templating import Template
from domain.times import Duration
from domain.users import User

_AT = "interlock.approval"
_DURATION: TypeAdapter[timedelta] = TypeAdapter(Duration)
NOT_BEFORE = f"{_AT}.notBefore"


def refuse_misfits(rules: ApprovalRules, required: bool | RequiredApproval, *, automation: bool) -> None:
    """Nothing, if the rules fit together and to what approval the action requires.

    Raises:
        InvalidRequest: names the first that does not, by JSON path.
    """
    for path, why in _misfits(rules, required, automation=automation):
        raise InvalidRequest(f"{path}: {why}")


def _misfits(rules: ApprovalRules, required: bool | RequiredApproval, *, automation: bool) -> Iterator[tuple[str, str]]:
    given = [name for name in ApprovalRules.model_fields if name in rules.model_fields_set and name != "time_limit"]
    if automation or not is_required(required):
        why = "runs of automations wait for nobody" if automation else "the action has no requiredApproval"
        for name in given:
            yield f"{_AT}.{ApprovalRules.model_fields[name].alias or name}", why
    if rules.quorum is not None and _of_all(required):
        yield f"{_AT}.quorum", "everybody has to approve with requiredApproval.type ALL: leave one of them out"
    if rules.on_time_limit is not OnTimeLimit.DECLINE and rules.time_limit is None:
        yield f"{_AT}.onTimeLimit", "there is no timeLimit"
    yield from _misfits_of_escalation(rules)
    if rules.not_before is not None:
        yield from _misfits_of_not_before(rules.not_before)


def _misfits_of_escalation(rules: ApprovalRules) -> Iterator[tuple[str, str]]:
    escalation, at_the_end = rules.escalation, rules.on_time_limit is OnTimeLimit.ESCALATE
    if escalation is None:
        if at_the_end:
            yield f"{_AT}.onTimeLimit", "ESCALATE needs interlock.approval.escalation"
        return
    if not (escalation.to.users or escalation.to.roles or escalation.to.teams):
        yield f"{_AT}.escalation.to", "names nobody"
    if escalation.after is None:
        if not at_the_end:
            yield f"{_AT}.escalation.after", "is missing, and onTimeLimit is not ESCALATE: nothing would be escalated"
    elif rules.time_limit is not None and escalation.after >= rules.time_limit:
        yield f"{_AT}.escalation.after", "must be shorter than interlock.approval.timeLimit"


def _misfits_of_not_before(template: str) -> Iterator[tuple[str, str]]:
    parsed = Template.parse(template)
    if parsed.secret_programs:
        yield NOT_BEFORE, "must not name secrets"
    elif not parsed.programs:
        try:
            earliest(template)
        except InvalidRequest as fault:
            yield NOT_BEFORE, str(fault).removeprefix(f"{NOT_BEFORE}: ")


def earliest(value: JsonValue) -> datetime | timedelta:
    """When a backend is called at the earliest: a moment, or how long after the verdict.

    >>> earliest("PT1H"), earliest("2026-01-02T03:04:05Z").isoformat()
    (datetime.timedelta(seconds=3600), '2026-01-02T03:04:05+00:00')

    Raises:
        InvalidRequest: it is neither.
    """
    if isinstance(value, str):
        try:
            length = _DURATION.validate_python(value)
        except ValidationError:
            pass
        else:
            if timedelta(0) <= length <= LONGEST:
                return length
            raise InvalidRequest(f"{NOT_BEFORE}: {value} must not be negative, and at most ten years")
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            pass
        else:
            if moment.tzinfo is not None and "T" in value:
                return moment
    shown = shortened(canonical(value))
    raise InvalidRequest(
        f"{NOT_BEFORE}: {shown} is neither a date-time with its zone such as 2026-01-02T03:04:05Z nor a duration "
        "such as PT1H"
    )


def gate_of(
    rules: ApprovalRules | None,
    *,
    teams: Collection[str],
    not_before: datetime | timedelta | None,
    instigators: Collection[str] = (),
) -> Gate:
    """What the verdict about a run depends on.

    Args:
        rules: of the action's definition.
        teams: those the approve lists name.
        not_before: when the backend is called at the earliest.
        instigators: the ids of those who asked for the runs whose backends asked for it.
    """
    if rules is None:
        return Gate()
    return Gate(
        quorum=rules.quorum,
        one_per_team=rules.one_per_team,
        teams=tuple(sorted(set(teams))) if rules.one_per_team else (),
        self_approval=rules.self_approval,
        instigators=() if rules.self_approval else tuple(instigators),
        delegation=rules.delegation,
        on_time_limit=rules.on_time_limit,
        reminders=rules.reminders,
        escalation=rules.escalation,
        not_before=not_before,
    )


def asking(gate: Gate, required: bool | RequiredApproval, approvers: tuple[str, ...]) -> Gate:
    """The gate, remembering whom ALL means: an escalation will add to those who are asked."""
    return gate.model_copy(update={"all_of": approvers}) if gate.escalation and _of_all(required) else gate


def obstacles(gate: Gate, approvers: Sequence[User], why: str) -> Iterator[str]:
    """Why nobody can complete the approval as things are, besides the organization's credentials; nothing if they can.

    Args:
        gate: of the run.
        approvers: who is asked.
        why: what decided who is.
    """
    if not approvers:
        yield f"Nobody can approve this run: {why}"
    elif gate.quorum is not None and gate.quorum > len(approvers):
        have = "one person" if len(approvers) == 1 else f"{len(approvers)} people"
        yield f"Nobody can complete the approval: {gate.quorum} people have to approve, and {have} may"
    if not gate.one_per_team:
        return
    if not gate.teams:
        yield "Nobody can complete the approval: each team of the approve lists has to approve, and they name none"
    present = {team for user in approvers for team in user.teams}
    for team in gate.teams:
        if team not in present:
            yield f"Nobody can complete the approval: the team {team} has to approve, and nobody of it may"


def terms(required: bool | RequiredApproval, gate: Gate | None, time_limit: timedelta | None) -> Document:
    """What is required, as clients read it."""
    gate = gate or Gate()
    kept = gate.model_dump(mode="json", include={"reminders", "escalation", "not_before"})
    return {
        "type": "ALL" if _of_all(required) else "ANY",
        "quorum": gate.quorum,
        "onePerTeam": gate.one_per_team,
        "teams": list[JsonValue](gate.teams),
        "selfApproval": gate.self_approval,
        "delegation": gate.delegation,
        "timeLimit": None if time_limit is None else _DURATION.dump_python(time_limit, mode="json"),
        "onTimeLimit": gate.on_time_limit,
        "reminders": kept["reminders"],
        "escalation": kept["escalation"],
        "notBefore": kept["notBefore"],
    }


def missing(count: Count, names: Mapping[str, str], gate: Gate | None) -> str:
    """What is missing, in words; `names` are the email addresses by user id."""
    if count.verdict is not Verdict.PENDING:
        return "nothing"
    wants: list[str] = []
    if count.silent:
        wants.append(f"{_people([names.get(user_id, user_id) for user_id in count.silent])} to approve")
    elif count.missing == 1:
        wants.append("one more person to approve")
    elif count.missing:
        wants.append(f"{count.missing} more people to approve")
    if count.teams:
        wants.append("somebody of each of these teams to approve: " + ", ".join(count.teams))
    elif gate and gate.one_per_team and not gate.teams:
        wants.append("a team: the approve lists name none, so only the organization's credentials can approve")
    return "; ".join(wants) or "approvers: nobody was asked, so only the organization's credentials can approve"


def _of_all(required: bool | RequiredApproval) -> bool:
    return isinstance(required, RequiredApproval) and required.type == "ALL"


def _people(names: Sequence[str]) -> str:
    shown, more = names[:10], len(names) - 10
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
