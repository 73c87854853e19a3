"""Who may decide about a run: their own right, what was left to them, and what nobody gains by losing something."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from domain.approvals import (
    Decision,
    DecisionState,
    Delegation,
    Escalation,
    Gate,
    People,
    RequiredApproval,
    Verdict,
    tally,
)
from domain.deciders import Standing, delegated, is_barred, narrowed, own_say, requesters, standing, taken_back
from domain.permissions import Allowed, ApproveLists, Denied, ExecuteLists, Permissions
from domain.runs import Driving, Ref, Run, RunStatus
from domain.users import Caller, User

AT = datetime(2026, 1, 2, tzinfo=UTC)
ROLES, TEAMS, NAMES = ("Admin", "Member", "Approver"), ("sre", "web"), ("ada", "bob")


def person(name: str, *roles: str, teams: tuple[str, ...] = ()) -> User:
    return User(id=name, email=f"{name}@x.io", roles=roles, teams=teams, created_at=AT, updated_at=AT)


def caller(user: User) -> Caller:
    return Caller("org", user.id, user=user)


def waiting(gate: Gate | None = None, **values: Any) -> Run:
    return Run(
        **{
            "id": "r_0000000000000000",
            "status": RunStatus.WAITING_FOR_APPROVAL,
            "action": Ref(identifier="deploy"),
            "created_at": AT,
            "created_by": "ada",
            "updated_at": AT,
            "updated_by": "ada",
            "interlock": Driving(gate=gate),
            **values,
        }
    )


def some(names: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(names), unique=True).map(tuple)


_LISTS = {"roles": some(ROLES), "users": some(tuple(f"{name}@x.io" for name in NAMES)), "teams": some(TEAMS)}
_PERMISSIONS = st.builds(
    Permissions,
    execute=st.builds(ExecuteLists, owned_by_team=st.booleans(), **_LISTS),
    approve=st.builds(ApproveLists, **_LISTS),
)
_GATES = st.builds(
    Gate,
    self_approval=st.booleans(),
    escalation=st.builds(Escalation, to=st.builds(People, **{k: v.map(list) for k, v in _LISTS.items()})),
    escalated_to=some(NAMES),
)


def _rights(permissions: Permissions, gate: Gate, user: User) -> set[str]:
    who, run = caller(user), waiting(gate, created_by="bob")
    said = {
        "execute": permissions.may_execute(who),
        "execute on an entity of sre": permissions.may_execute(who, ["sre"]),
        "approve": permissions.may_approve(who),
        "decide": own_say(permissions, run, who),
        "see hidden runs": who.is_admin or permissions.shows_runs(who),
        "administer": who.is_admin,
    }
    return {name for name, allowed in said.items() if allowed}


@given(_PERMISSIONS, _GATES, some(ROLES), some(TEAMS), st.sampled_from(NAMES), st.data())
def test_nobody_gains_a_permission_by_losing_a_role_or_a_team(
    permissions: Permissions, gate: Gate, roles: tuple[str, ...], teams: tuple[str, ...], name: str, data: st.DataObject
) -> None:
    fewer = data.draw(some(roles)) if roles else ()
    left = data.draw(some(teams)) if teams else ()
    before = _rights(permissions, gate, person(name, *roles, teams=teams))
    assert _rights(permissions, gate, person(name, *fewer, teams=left)) <= before


@given(_PERMISSIONS, _GATES, some(ROLES), some(TEAMS))
def test_who_asked_for_a_run_never_decides_about_it_where_that_is_off(
    permissions: Permissions, gate: Gate, roles: tuple[str, ...], teams: tuple[str, ...]
) -> None:
    gate = gate.model_copy(update={"self_approval": False})
    who = caller(person("ada", *roles, teams=teams))
    assert not own_say(permissions, waiting(gate), who)
    trigger: Any = {"by": {"userId": "ada", "user": {"id": "ada"}}}
    other = waiting(gate, created_by="client", interlock=Driving(gate=gate, trigger=trigger))
    assert not own_say(permissions, other, who)


def test_who_asked_is_the_person_and_the_machine_that_did_it_for_them() -> None:
    gate = Gate(self_approval=False)
    run = waiting(gate, impersonated_by="client")
    assert requesters(run) == {"ada", "client"}
    answer = own_say(Permissions(), run, Caller("org", "client", machine=True))
    assert isinstance(answer, Denied)
    assert "interlock.approval.selfApproval" in answer.reason
    assert own_say(Permissions(), waiting(gate), Caller("org", "client", machine=True))
    assert not is_barred(waiting(Gate()), "ada")
    assert not is_barred(waiting(None), "ada")


def test_an_escalation_lets_those_decide_whom_it_still_names() -> None:
    gate = Gate(escalation=Escalation(to=People(roles=["Boss"])), escalated_at=AT, escalated_to=("bob",))
    run = waiting(gate)
    answer = own_say(Permissions(), run, caller(person("bob", "Boss")))
    assert answer
    assert "escalated" in answer.reason
    assert not own_say(Permissions(), run, caller(person("bob", "Member"))), "no Boss any more"
    assert not own_say(Permissions(), run, caller(person("eve", "Boss"))), "none when it was escalated"
    not_yet = waiting(gate.model_copy(update={"escalated_to": ()}))
    assert not own_say(Permissions(), not_yet, caller(person("bob", "Boss")))


def test_a_word_stands_on_everybody_who_may_decide_and_left_it() -> None:
    ada, bob, eve = person("ada", teams=("sre",)), person("bob", teams=("web",)), person("eve", teams=("x",))
    found = standing(eve, Denied("no"), [(ada, Allowed("a list")), (bob, Denied("left the team"))])
    assert isinstance(found, Standing)
    assert (found.own, found.behalf, found.allowed_by) == (False, (ada,), "ada@x.io left it to them: a list")
    said = found.put_into(Decision(user_id="eve", name="eve", state=DecisionState.APPROVED, at=AT), "hash")
    assert (said.own, said.on_behalf_of, said.lent_teams, said.teams) == (False, ("ada",), {"ada": ("sre",)}, ())
    both = standing(eve, Allowed("users names eve"), [(ada, Allowed("a list"))])
    assert isinstance(both, Standing)
    assert (both.own, both.behalf) == (True, (ada,))
    nothing = standing(eve, Denied("no"), [(bob, Denied("left the team"))])
    assert nothing == Denied("no; bob@x.io left it to them, but: left the team")


_PEOPLE = ("ada", "bob", "eve")
_RIGHTS = st.fixed_dictionaries({name: st.tuples(st.booleans(), some(TEAMS)) for name in _PEOPLE})
"""By name: whether they may decide on their own, and their teams."""
_TERMS = st.tuples(
    st.sampled_from([True, RequiredApproval(type="ALL")]),
    st.builds(
        Gate,
        quorum=st.sampled_from([None, 1, 2]),
        one_per_team=st.booleans(),
        teams=some(TEAMS),
        delegations=st.dictionaries(st.sampled_from(_PEOPLE), st.sampled_from(_PEOPLE)).map(
            lambda pairs: tuple(Delegation(by=by, to=to, at=AT) for by, to in pairs.items())
        ),
        escalated_at=st.sampled_from([None, AT]),
        escalated_to=some(NAMES),
        all_of=st.just(_PEOPLE),
    ),
)


def stands(rights: dict[str, tuple[bool, tuple[str, ...]]], name: str, gate: Gate) -> Standing | Denied:
    """On what somebody's word stands."""

    def of(who: str) -> tuple[User, Allowed | Denied]:
        may, teams = rights[who]
        return person(who, teams=teams), Allowed("a list") if may else Denied("no list")

    user, own = of(name)
    return standing(user, own, [of(by) for by in gate.left_to(name)])


@given(_RIGHTS, _RIGHTS, some(_PEOPLE), _TERMS)
def test_nothing_is_approved_because_somebody_lost_a_right(
    before: dict[str, Any], lost: dict[str, Any], voters: tuple[str, ...], terms: tuple[bool | RequiredApproval, Gate]
) -> None:
    required, gate = terms
    after = {
        name: (may and not lost[name][0], tuple(team for team in teams if team not in lost[name][1]))
        for name, (may, teams) in before.items()
    }
    said: list[Decision] = []
    for name in voters:
        word = Decision(user_id=name, name=name, state=DecisionState.APPROVED, at=AT)
        if isinstance(now := stands(before, name, gate), Standing):
            said.append(now.put_into(word, "hash"))
    left = [narrowed(one, stands(after, one.user_id, gate), at=AT) for one in said]
    if tally(required, _PEOPLE, left, gate) is Verdict.APPROVED:
        assert tally(required, _PEOPLE, said, gate) is Verdict.APPROVED
    again = [narrowed(one, stands(after, one.user_id, gate), at=AT) for one in left if not one.void_at]
    assert again == [one for one in left if not one.void_at], "it is lost once"
    back = [narrowed(one, stands(before, one.user_id, gate), at=AT) for one in left if not one.void_at]
    assert back == again, "and not got back"


def test_what_is_as_it_was_stays_the_very_same() -> None:
    ada, bob = person("ada", teams=("sre", "web")), person("bob", teams=("sre",))
    word = Decision(user_id="ada", name="ada", state=DecisionState.APPROVED, at=AT)
    now = Standing("users names ada", user=ada, behalf=(bob,))
    said = now.put_into(word, "hash")
    assert narrowed(said, now, at=AT) is said
    void = narrowed(said, Denied("gone"), at=AT)
    assert (void.void_at, void.lapsed) == (AT, "gone")
    less = narrowed(said, Standing("users names ada", user=person("ada", teams=("web", "new"))), at=AT)
    assert (less.own, less.teams, less.on_behalf_of, less.lent_teams) == (True, ("web",), (), {})
    for_bob = narrowed(said, Standing("left", user=ada, own=False, behalf=(person("bob"),)), at=AT)
    assert (for_bob.own, for_bob.teams, for_bob.lent_teams) == (False, (), {"bob": ()})
    alone = said.model_copy(update={"own": False})
    assert narrowed(alone, Standing("users names ada", user=ada), at=AT).lapsed == (
        "what let them decide does not any more"
    ), "what they may say for themselves now, they have not said"


def test_a_second_delegation_of_the_same_person_replaces_the_first() -> None:
    gate = Gate()
    for to in ("bob", "eve"):
        gate = delegated(gate, Delegation(by="ada", to=to, at=AT))
    assert [(one.by, one.to) for one in gate.delegations] == [("ada", "eve")]
    assert gate.left_to("eve") == ("ada",)
    assert taken_back(gate, "bob") is gate
    assert taken_back(gate, "ada").delegations == ()
