"""What simulating and explaining must not do: run what is paused, answer without end, fail because of old things."""

import copy
import logging
from typing import Any

import pytest
from sqlmodel import select

from api.visibility import require_reporter
from domain.changes import Change
from domain.errors import Forbidden
from domain.runs import Source
from domain.users import ADMIN, Caller, User
from runtime import simulation
from runtime.clock import now
from store import actions, changes
from store.tables import ActionRow, ActionVersionRow, ChangeRow
from tests.api.answers import Json
from tests.api.test_automation_routes import automation, created, events_of, explained, paused, quiet, simulated
from tests.store.conftest import AT, make_run
from tests.support.product import Product

__all__ = ["quiet"]


async def test_the_condition_of_a_paused_automation_is_not_asked(quiet: Product) -> None:
    action = await created(quiet, automation(quiet, "def f: f; f"))
    reason = await paused(quiet, action["id"], "it overran")
    await quiet.entity()
    [event] = await events_of(quiet)
    [told] = await explained(quiet, event)
    assert (told["why"], told["expressions"], told["paused"]) == ("It is paused: it overran", [], reason)
    assert (told["fired"], told["version"], told["publishedThen"]) == (False, 1, True)


async def test_long_values_are_cut(quiet: Product) -> None:
    await created(quiet, automation(quiet, ".diff.after.title", ".diff.after.title | length"))
    await quiet.entity(title="x" * 5_000)
    [event] = await events_of(quiet)
    [simulation_of_it] = (await simulated(quiet))["results"]
    [explanation] = await explained(quiet, event)
    for told in (simulation_of_it, explanation):
        assert [one["value"] for one in told["expressions"]] == [f'"{"x" * 1_999}…', 5_000]


async def test_all_of_a_simulation_counts_towards_its_size(quiet: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "LARGEST", 5_000)
    for name in "abc":
        await quiet.entity(name, title="x" * 5_000)
    found = await simulated(
        quiet, definition=automation(quiet, *(f".diff.after.title | {n} + length" for n in range(9)))
    )
    assert found["examined"] == 3
    found = await simulated(quiet, definition=automation(quiet, *(f"{n} as $x | .diff" for n in range(3))))
    assert (found["examined"], found["fired"]) == (1, 0)
    assert found["stopped"] == "the answer is larger than 5000 characters"


async def test_a_definition_that_cannot_be_read_any_more_is_left_out(
    quiet: Product, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("bad", "good"):
        await created(quiet, automation(quiet, identifier=name))
    await quiet.entity()
    [event] = await events_of(quiet)
    monkeypatch.setattr(actions, "_versions", {})
    async with quiet.database.write() as session:
        for table in (ActionRow, ActionVersionRow):
            rows: Any = await session.exec(select(table))
            for row in rows:
                document = copy.deepcopy(row.document)
                if document["identifier"] == "bad":
                    document["document"]["trigger"]["extra"] = 1
                    row.document = document
    with caplog.at_level(logging.WARNING):
        assert [one["identifier"] for one in await explained(quiet, event)] == ["good"]
    assert "definition cannot be read any more" in [record.message for record in caplog.records]


async def test_records_of_the_first_release_are_simulated_and_explained(quiet: Product) -> None:
    await created(quiet, automation(quiet, '.diff.after.identifier == "cart"'))
    await quiet.entity()
    [event] = await events_of(quiet)
    async with quiet.database.write() as session:
        row = (await session.exec(select(ChangeRow).where(ChangeRow.id == event))).one()
        new = ("status", "message", "subject", "causedBy", "depth")
        row.document = {key: value for key, value in row.document.items() if key not in new}
    assert [one["fires"] for one in (await simulated(quiet))["results"]] == [True]
    [told] = await explained(quiet, event)
    assert told["expressions"][0]["value"] is True


async def test_all_events_that_are_named_are_simulated(quiet: Product) -> None:
    context: dict[str, str | None] = {"blueprint": "service", "entity": "cart"}
    made = [
        Change.of("entity", None, {"identifier": "cart"}, context=context, at=now(), by="u", origin="API")
        for _ in range(60)
    ]
    async with quiet.database.write() as session:
        await changes.append_all(session, made)
    body: Json = {"definition": automation(quiet, "false"), "events": [change.id for change in made]}
    found = await simulated(quiet, **body)
    assert (found["examined"], "stopped" in found) == (60, False)
    assert (await simulated(quiet, **body, limit=50))["examined"] == 50
    assert (await simulated(quiet, definition=body["definition"]))["examined"] == 50


RUN = "r_" + "1" * 16


def person(identifier: str, *roles: str, **more: Any) -> Caller:
    user = User(id=identifier, email=f"{identifier}@example.com", roles=roles, created_at=AT, updated_at=AT)
    return Caller("org_1", "client", user=user, **more)


@pytest.mark.parametrize(
    ("caller", "asked", "caused"),
    [
        (person("user_1", "Member"), True, False),
        (person("user_1", "Member", run_id="r_other"), True, False),
        (person("user_1", "Member", run_id=RUN), True, True),
        (person("user_2", "Member"), False, False),
        (person("user_2", ADMIN), True, True),
        (Caller("org_1", "client", machine=True), True, True),
        (person("user_2", "Member", machine=True), True, True),
    ],
)
def test_who_made_a_change_has_no_say_about_the_runs_that_it_started(caller: Caller, asked: bool, caused: bool) -> None:
    for source, allowed in ((Source.API, asked), (Source.AUTOMATION, caused)):
        run = make_run(id=RUN, source=source)
        if allowed:
            require_reporter(run, caller)
        else:
            with pytest.raises(Forbidden, match=f"report about run {RUN}"):
                require_reporter(run, caller)
