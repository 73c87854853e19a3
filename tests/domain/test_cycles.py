"""Automations that can trigger themselves: which cycles are found, and how they are told."""

import time
from typing import Any

import pytest

from domain import cycles

Json = dict[str, Any]
OWN = ("http://interlock.test", "https://tools.example.com/interlock")


def automation(identifier: str, event: Json, method: Json) -> Json:
    return {
        "identifier": identifier,
        "trigger": {"type": "automation", "event": event},
        "invocationMethod": method,
        "publish": True,
    }


def action(identifier: str, method: Json) -> Json:
    return {
        "identifier": identifier,
        "trigger": {"type": "self-service", "operation": "CREATE", "userInputs": {"properties": {}}},
        "invocationMethod": method,
    }


def of(kind: str, blueprint: str = "service") -> Json:
    return {"type": kind, "blueprintIdentifier": blueprint}


def of_run(kind: str, action: str = "deploy") -> Json:
    return {"type": kind, "actionIdentifier": action}


def upsert(blueprint: str = "service") -> Json:
    return {"type": "UPSERT_ENTITY", "blueprintIdentifier": blueprint, "mapping": {"identifier": "{{ .run.id }}"}}


def call(path: str, method: str | None = "POST", base: str = OWN[0]) -> Json:
    return {"type": "WEBHOOK", "url": f"{base}{path}", **({"method": method} if method else {})}


KAFKA = {"type": "KAFKA"}


def told(definition: Json, *others: Json) -> str | None:
    warning = cycles.warning(definition, others, own_addresses=OWN)
    head = "this automation can trigger itself, unless a condition stops it: "
    assert warning is None or warning.startswith(head)
    return warning.removeprefix(head) if warning else None


@pytest.mark.parametrize("kind", ["ENTITY_CREATED", "ENTITY_UPDATED", "ANY_ENTITY_CHANGE"])
def test_writing_what_it_listens_to_is_a_cycle(kind: str) -> None:
    assert told(automation("a", of(kind), upsert())) == f"a -> writes service -> {kind} -> a"


@pytest.mark.parametrize(
    ("event", "method"),
    [
        (of("ENTITY_DELETED"), upsert()),
        (of("ENTITY_UPDATED", "team"), upsert()),
        (of("TIMER_PROPERTY_EXPIRED"), upsert()),
        ({"type": "SCHEDULE", "cron": "* * * * *"}, upsert()),
        (of("ANY_ENTITY_CHANGE"), KAFKA),
        (of("ANY_ENTITY_CHANGE"), call("/v1/blueprints/service/entities", base="http://other.test")),
        (of("ANY_ENTITY_CHANGE"), call("/v1/blueprints/service/entities", base="https://interlock.test")),
        (of("ANY_ENTITY_CHANGE"), call("/v1/blueprints/service/entities", base="https://tools.example.com")),
        (of("ANY_ENTITY_CHANGE"), call("/v1/blueprints/service/entities/search")),
        (of("ENTITY_UPDATED"), call("/v1/blueprints/service/entities/cart", "DELETE")),
        (of("ANY_ENTITY_CHANGE"), call("/v1/actions/missing/runs")),
        (of("ANY_ENTITY_CHANGE"), call("{{ .broken")),
        (of("ANY_ENTITY_CHANGE"), {"type": "WEBHOOK", "url": "{{ .event.diff.after.properties.url }}"}),
        (of("ANY_ENTITY_CHANGE"), {"type": "WEBHOOK", "url": "http://[::1"}),
        (of_run("ANY_RUN_CHANGE"), KAFKA),
    ],
)
def test_what_leads_nowhere_is_none(event: Json, method: Json) -> None:
    assert told(automation("a", event, method), action("deploy", KAFKA)) is None


@pytest.mark.parametrize(
    ("path", "method", "kind", "words"),
    [
        ("/v1/blueprints/service/entities?upsert=true", "POST", "ENTITY_UPDATED", "writes service"),
        ("/v1/blueprints/service/entities", None, "ENTITY_CREATED", "writes service"),
        ("/v1/blueprints/service/entities/bulk", "POST", "ENTITY_CREATED", "writes service"),
        (
            "/v1/blueprints/service/entities/{{ .event.diff.after.identifier }}",
            "PUT",
            "ENTITY_UPDATED",
            "writes service",
        ),
        ("/v1/blueprints/service/entities/a/b", "PATCH", "ENTITY_UPDATED", "writes service"),
        ('/v1/blueprints/service/entities/{{ .a | "?/#" }}', "delete", "ENTITY_DELETED", "deletes service"),
        ("/v1/blueprints/service/all-entities", "DELETE", "ANY_ENTITY_CHANGE", "deletes service"),
        ("/v1/blueprints/service/bulk/entities", "DELETE", "ENTITY_DELETED", "deletes service"),
        ("/v1/blueprints/service/bulk/entities/delete", "POST", "ENTITY_DELETED", "deletes service"),
        ("/v1/blueprints/{{ .x }}/entities", "POST", "ENTITY_CREATED", "may write any blueprint"),
    ],
)
@pytest.mark.parametrize("base", [*OWN, "HTTP://Interlock.Test:80"])
def test_calls_of_our_own_api_write_entities(path: str, method: str | None, kind: str, words: str, base: str) -> None:
    assert told(automation("a", of(kind), call(path, method, base))) == f"a -> {words} -> {kind} -> a"


def test_a_templated_blueprint_may_be_any() -> None:
    assert told(automation("a", of("ENTITY_CREATED"), upsert("{{ .event.context.blueprintIdentifier }}"))) == (
        "a -> may write any blueprint -> ENTITY_CREATED -> a"
    )


def test_a_cycle_leads_through_others() -> None:
    first = automation("a", of("ENTITY_CREATED"), upsert("team"))
    second = automation("b", of("ANY_ENTITY_CHANGE", "team"), call("/v1/actions/deploy/runs?run_as=ada@x.io"))
    deploy = action("deploy", upsert())
    others = (automation("elsewhere", of("ENTITY_CREATED", "team"), KAFKA), deploy)
    assert told(first, second, *others) == (
        "a -> writes team -> ANY_ENTITY_CHANGE -> b -> starts -> deploy -> writes service -> ENTITY_CREATED -> a"
    )
    assert told(first, *others) is None, "b is what closes it"


def test_a_run_is_an_event_too() -> None:
    assert told(automation("a", of_run("RUN_UPDATED", "a"), KAFKA)) == "a -> its run -> RUN_UPDATED -> a"
    restarts = automation("a", of_run("RUN_CREATED"), call("/v1/actions/deploy/runs"))
    assert told(restarts, action("deploy", KAFKA)) == "a -> starts -> deploy -> its run -> RUN_CREATED -> a"
    anyone = automation("a", of_run("RUN_CREATED"), call("/v1/actions/{{ .x }}/runs"))
    assert told(anyone, action("deploy", KAFKA)) == (
        "a -> may start any action -> deploy -> its run -> RUN_CREATED -> a"
    )


def test_an_automation_cannot_be_started_by_a_call() -> None:
    starts = automation("a", of_run("RUN_CREATED", "b"), call("/v1/actions/b/runs"))
    assert told(starts, automation("b", of("ENTITY_CREATED"), KAFKA)) is None


def test_approving_is_no_new_run_but_lets_the_run_go_on() -> None:
    approval = call("/v1/actions/runs/{{ .event.diff.after.id }}/approval", "PATCH")
    approves = automation("a", of_run("RUN_CREATED"), approval)
    assert told(approves, action("deploy", KAFKA)) is None
    again = action("deploy", call("/v1/actions/deploy/runs"))
    assert told(approves, again) == ("a -> approves a run of deploy -> starts -> deploy -> its run -> RUN_CREATED -> a")
    assert told(automation("a", of_run("RUN_UPDATED"), approval)) == (
        "a -> approves a run of deploy -> RUN_UPDATED -> a"
    )


def test_a_report_about_a_run_that_nothing_names_may_be_about_any() -> None:
    reports = automation("a", of("ENTITY_CREATED"), call("/v1/actions/runs/{{ .x }}", "PATCH"))
    back = automation("b", of_run("ANY_RUN_CHANGE"), upsert())
    assert told(reports, back) == (
        "a -> may update a run of any action -> ANY_RUN_CHANGE -> b -> writes service -> ENTITY_CREATED -> a"
    )


def ring(length: int) -> list[Json]:
    """Each writes what the next one listens to, the last one what the first one does."""
    return [automation(f"a{i}", of("ENTITY_CREATED", f"b{i}"), upsert(f"b{(i + 1) % length}")) for i in range(length)]


def test_a_long_cycle_is_told_by_its_ends() -> None:
    first, *others = ring(200)
    words = told(first, *others)
    assert words is not None
    assert words.startswith("a0 -> writes b1 -> ENTITY_CREATED -> a1 -> ")
    assert words.endswith(" -> writes b0 -> ENTITY_CREATED -> a0")
    assert "more) ..." in words
    assert len(words) < 600


def test_a_thousand_that_all_may_trigger_each_other_are_looked_at_once() -> None:
    wild = [automation(f"a{i}", of("ENTITY_CREATED", f"b{i}"), upsert("{{ .x }}")) for i in range(1000)]
    runs = [action(f"s{i}", call("/v1/actions/{{ .x }}/runs")) for i in range(1000)]
    never = automation("me", of("ENTITY_DELETED", "nothing"), upsert("{{ .x }}"))
    started = time.process_time()
    assert told(never, *wild, *runs) is None
    assert told(wild[0], *wild[1:], *runs) == "a0 -> may write any blueprint -> ENTITY_CREATED -> a0"
    assert time.process_time() - started < 3
