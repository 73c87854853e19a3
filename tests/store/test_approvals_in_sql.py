"""Approvals in SQL: runs that wait again, escalations, and what becomes of decisions about something else."""

from datetime import datetime, timedelta

from domain.approvals import Decision, DecisionState, Delegation, Escalation, Gate, People
from domain.driving import Asked
from domain.runs import Driving, Run, RunStatus
from domain.users import Caller, User
from store import actions, approvals, delegations, runs, users, wakes
from store.database import Database
from tests.store.conftest import AT, make_action, make_run

LATER = AT + timedelta(hours=1)


async def recorded(database: Database, gate: Gate, **values: object) -> Run:
    """A run that waits, in SQL."""
    driving = Driving(approvers=("ada", "bob"), gate=gate)
    run = make_run(
        **{
            "status": RunStatus.WAITING_FOR_APPROVAL,
            "required_approval": True,
            "interlock": driving,
            **values,
        }
    )
    async with database.write() as session:
        action = make_action(requiredApproval=True)
        await actions.create(session, action, origin="API")
        await runs.create(session, run, action_id=action.id, request=None)
    return run


def word(who: str, request: str, at: datetime = AT) -> Decision:
    return Decision(user_id=who, name=f"{who}@x.io", state=DecisionState.APPROVED, request=request, at=at)


async def voided(database: Database, run: Run) -> dict[str, datetime]:
    """Whose decision is void, and since when."""
    async with database.read() as session:
        return {one.user_id: one.void_at for one in await approvals.decisions(session, run.id) if one.void_at}


async def lines(database: Database, run: Run) -> list[object]:
    async with database.read() as session:
        return [line["message"] for line in await runs.logs(session, run.id, limit=50, offset=0)]


async def test_a_run_waits_again_and_all_that_was_decided_is_void(database: Database) -> None:
    run = await recorded(database, Gate())
    async with database.write() as session:
        approved = await approvals.decide(session, run.id, word("ada", "old"), origin="API")
    assert approved.status is RunStatus.IN_PROGRESS
    for _ in range(2):
        async with database.write() as session:
            again = await approvals.reopen(session, run.id, request="new", at=LATER)
        assert again.status is RunStatus.WAITING_FOR_APPROVAL
        assert again.interlock.gate is not None
        assert again.interlock.gate.voided_at == LATER
    assert await voided(database, run) == {"ada": LATER}
    assert len(await lines(database, run)) == 2, "it waits again, and whose decision is void; each once"
    async with database.write() as session:
        after = await approvals.decide(session, run.id, word("ada", "new", LATER), origin="API")
    assert after.status is RunStatus.IN_PROGRESS
    assert await voided(database, run) == {}


async def test_what_may_have_been_sent_is_not_taken_back(database: Database) -> None:
    run = await recorded(database, Gate(), status=RunStatus.IN_PROGRESS)
    async with database.write() as session:
        await runs.change(session, run.id, lambda one: one, origin="API", delivered=True)
    async with database.write() as session:
        assert (await approvals.reopen(session, run.id, request="new", at=LATER)).status is RunStatus.IN_PROGRESS
    assert await lines(database, run) == []


async def test_an_earlier_decision_about_something_else_is_void_and_wakes_the_run(database: Database) -> None:
    run = await recorded(database, Gate(quorum=2))
    async with database.write() as session:
        await approvals.decide(session, run.id, word("ada", "old"), origin="API")
    async with database.write() as session:
        await wakes.told(session, [run.id], "start", RunStatus.WAITING_FOR_APPROVAL)
    async with database.write() as session:
        after = await approvals.decide(session, run.id, word("bob", "new", LATER), origin="API")
        assert (await runs.locked(session, run.id)).pending == "wake", "ada has to be asked again"
    assert after.status is RunStatus.WAITING_FOR_APPROVAL
    assert after.interlock.gate is not None
    assert after.interlock.gate.voided_at == LATER
    assert await voided(database, run) == {"ada": LATER}


async def test_an_escalation_happens_once_and_leaves_out_who_asked(database: Database) -> None:
    escalation = Escalation(to=People(roles=["Boss"]))
    run = await recorded(database, Gate(self_approval=False, escalation=escalation), created_by="eve")
    for at in (AT, LATER):
        async with database.write() as session:
            after = await approvals.escalate(session, run.id, ["eve", "boss", "bob"], at=at)
        gate = after.interlock.gate
        assert gate is not None
        assert (gate.escalated_to, gate.escalated_at) == (("boss", "bob"), AT)
        assert after.interlock.approvers == ("ada", "bob", "boss")


async def test_only_active_people_are_escalated_to(database: Database) -> None:
    async with database.write() as session:
        for name, status, teams in (("a", "ACTIVE", ("sre",)), ("b", "DISABLED", ("sre",)), ("c", "ACTIVE", ())):
            user = User(id=name, email=f"{name}@x.io", status=status, teams=teams, created_at=AT, updated_at=AT)
            await users.create(session, user, client_id=name, client_secret=name)
        assert await approvals.people_of(session, People(teams=["sre"], users=["B@x.io"])) == ["a"]
        assert await approvals.people_of(session, People(teams=["sre"], users=["C@x.io"])) == ["a", "c"]
        assert await approvals.people_of(session, People()) == []


async def decided(database: Database, run: Run, who: str, request: str, at: datetime = AT) -> Run:
    async with database.write() as session:
        return await approvals.decide(session, run.id, word(who, request, at), origin="API")


async def pending(database: Database, run: Run, heard: Run) -> str | None:
    """What the row says of the workflow, once it is noted that it was woken for a run as it was."""
    async with database.write() as session:
        await wakes.heard(session, [heard])
        return (await runs.locked(session, run.id)).pending


async def test_the_note_of_a_wake_takes_back_no_later_one_of_the_same_status(database: Database) -> None:
    run = await recorded(database, Gate())
    first = await decided(database, run, "ada", "old")
    async with database.write() as session:
        await approvals.reopen(session, run.id, request="new", at=LATER)
    second = await decided(database, run, "bob", "new", LATER)
    assert first.status is second.status is RunStatus.IN_PROGRESS
    assert await pending(database, run, first) == "wake", "nobody has told of the second approval"
    assert await pending(database, run, second) is None


async def test_the_note_of_a_wake_takes_back_no_void_or_delegation_since(database: Database) -> None:
    run = await recorded(database, Gate(quorum=3))
    await decided(database, run, "ada", "old")
    void = await decided(database, run, "bob", "new", LATER)
    left = Delegation(by="eve", to="ada", at=LATER)

    def leave(one: Run) -> Run:
        return one.changed(at=LATER, by="eve", interlock=one.interlock.gated(delegations=(left,)))

    async with database.write() as session:
        _, delegated = await runs.change(session, run.id, leave, origin="API", wakes=True)
    assert await pending(database, run, void) == "wake"
    told = delegated.told(Asked(user_ids=("ada",), channel="email", at=LATER))
    async with database.write() as session:
        await runs.change(session, run.id, lambda _: told, origin="API")
    assert await pending(database, run, delegated) is None, "that somebody was told is no news"
    assert await pending(database, run, delegated) is None


async def test_who_takes_a_decision_back_wakes_the_run_so_that_they_can_be_told(database: Database) -> None:
    left = Delegation(by="ada", to="eve", at=AT)
    run = await recorded(database, Gate(delegation=True, delegations=(left,)))
    caller = Caller(organization="", client="ada", machine=True)
    after = await delegations.take_back(database, run.id, caller, at=LATER, origin="API")
    assert after.interlock.gate is not None
    assert after.interlock.gate.delegations == ()
    assert await pending(database, run, run) == "wake"
    assert await pending(database, run, after) is None
