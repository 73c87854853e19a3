"""Who may decide about a run that waits for approval: by their own right, or because somebody left it to them."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from domain.approvals import Decision, Delegation, Gate, People
from domain.errors import Forbidden
from domain.permissions import Allowed, Answer, Denied, Lists, Names, Permissions
from domain.runs import Run
from domain.users import Caller, User

SELF_APPROVAL = "interlock.approval.selfApproval"
DELEGATION = "interlock.approval.delegation"


@dataclass(frozen=True, slots=True)
class Standing:
    """By which rule somebody may decide, and for whom they speak."""

    allowed_by: str
    user: User | None = None
    """The person; None for the organization's credentials."""
    own: bool = True
    """Whether they speak for themselves."""
    behalf: tuple[User, ...] = ()
    """Those who left it to them, and may decide."""

    def put_into(self, decision: Decision, request: str) -> Decision:
        """The decision with what it stands on, and the fingerprint of what it is about."""
        said = {
            "allowed_by": self.allowed_by,
            "teams": self.user.teams if self.user and self.own else (),
            "own": self.own,
            "on_behalf_of": tuple(user.id for user in self.behalf),
            "lent_teams": {user.id: user.teams for user in self.behalf},
            "request": request,
        }
        return decision.model_copy(update=said)


def requesters(run: Run) -> frozenset[str]:
    """The ids of everybody who asked for the run: the person, and the machine that did it for them."""
    by = run.interlock.trigger.get("by")
    trigger = by if isinstance(by, dict) else {}
    user = trigger.get("user")
    named = (
        run.created_by,
        run.impersonated_by,
        run.impersonated_user_id,
        trigger.get("userId"),
        user.get("id") if isinstance(user, dict) else None,
    )
    return frozenset(one for one in named if isinstance(one, str))


def is_barred(run: Run, who: str) -> bool:
    """Whether this id is one that asked for the run, and may therefore not decide about it."""
    gate = run.interlock.gate
    return gate is not None and not gate.self_approval and who in requesters(run) | set(gate.instigators)


def own_say(
    permissions: Permissions, run: Run, caller: Caller, said: Names | None = None, *, behind: Collection[str] = ()
) -> Answer:
    """Whether the caller may decide by their own right: the permissions, or because the run was escalated to them.

    Args:
        permissions: of the action.
        run: what is decided about.
        caller: who decides.
        said: what the policy says about the run when the caller is judged; without it nobody passes a policy.
        behind: if the caller is the backend of a run, the ids of those who asked for that.
    """
    if any(is_barred(run, who) for who in behind):
        return Denied(f"{SELF_APPROVAL} is off, and who asked for the run asked for run {caller.run_id}, too")
    if is_barred(run, caller.id):
        return Denied(f"{SELF_APPROVAL} is off, and {caller.name} asked for the run")
    answer = permissions.may_approve(caller, said)
    if answer or caller.user is None:
        return answer
    gate = run.interlock.gate or Gate()
    # Their teams and roles may have changed since it was escalated to them.
    if gate.escalation and caller.user.id in gate.escalated_to and (why := named(gate.escalation.to, caller.user)):
        return Allowed(f"the run was escalated to them: {why.reason}")
    return answer


def named(people: People, user: User) -> Answer:
    """Whether the person is one of those people."""
    return Lists(users=tuple(people.users), roles=tuple(people.roles), teams=tuple(people.teams)).admit(user)


def standing(user: User | None, own: Answer, behalf: Sequence[tuple[User, Answer]]) -> Standing | Denied:
    """On what the word of a person stands; where on nothing, why not.

    Args:
        user: the person; None for the organization's credentials.
        own: whether they may decide by their own right.
        behalf: who has left it to them, and whether those may.
    """
    lenders = [(lender, why) for lender, why in behalf if why]
    if not own and not lenders:
        refusals = [f"{lender.email} left it to them, but: {why.reason}" for lender, why in behalf]
        return Denied("; ".join([own.reason, *refusals]))
    lent = [f"{lender.email} left it to them: {why.reason}" for lender, why in lenders]
    return Standing(
        allowed_by="; ".join([own.reason, *lent] if own else lent),
        user=user,
        own=bool(own),
        behalf=tuple(lender for lender, _ in lenders),
    )


def narrowed(decision: Decision, now: Standing | Denied, *, at: datetime) -> Decision:
    """What is left of a decision when who made it has this standing now: the very same, less of it, or a void one.

    Nothing is ever gained: it counts for nobody and for no team that it did not count for when it was made.
    """
    if isinstance(now, Denied):
        return decision.model_copy(update={"void_at": at, "lapsed": now.reason})
    lenders = {user.id: set(user.teams) for user in now.behalf}
    own, behalf = decision.own and now.own, tuple(one for one in decision.on_behalf_of if one in lenders)
    if not own and not behalf:
        return decision.model_copy(update={"void_at": at, "lapsed": "what let them decide does not any more"})
    teams = set(now.user.teams) if own and now.user else set()
    left = {
        "own": own,
        "teams": tuple(team for team in decision.teams if team in teams),
        "on_behalf_of": behalf,
        "lent_teams": {
            one: tuple(team for team in teams if team in lenders[one])
            for one, teams in decision.lent_teams.items()
            if one in behalf
        },
    }
    same = all(getattr(decision, name) == value for name, value in left.items())
    return decision if same else decision.model_copy(update=left)


def refusal(reason: str) -> Forbidden:
    """That somebody may not decide."""
    return Forbidden(f"You are not permitted to approve runs of this action: {reason}")


def delegated(gate: Gate, delegation: Delegation) -> Gate:
    """The gate with the delegation, which replaces the one before of the same person."""
    others = tuple(_but(gate, delegation.by))
    return gate.model_copy(update={"delegations": (*others, delegation)})


def taken_back(gate: Gate, by: str) -> Gate:
    """The gate without the delegation of a person; the same where they have left it to nobody."""
    others = tuple(_but(gate, by))
    return gate if others == gate.delegations else gate.model_copy(update={"delegations": others})


def _but(gate: Gate, by: str) -> Iterator[Delegation]:
    return (one for one in gate.delegations if one.by != by)
