"""Incoming webhooks: which definitions are taken, which events are believed, and what events say."""

import hmac
from datetime import UTC, datetime
from typing import Any

import pytest

from domain.errors import InvalidRequest, Unauthenticated
from domain.incoming_events import MAX_ITEMS, Event, Meaning, faults, meaning
from domain.incoming_webhooks import MAX_PROGRAMS, Definition, Secret, Security, parsed, patched, separated
from domain.jq import Evaluator
from runtime.jq_pool import JqPool, Limits

Json = dict[str, Any]
AT = datetime(2026, 1, 2, tzinfo=UTC)
BODY = b'{"a": 1}'
SECRET = "hush hush"
ENTITY: Json = {"identifier": ".body.id"}
MAPPING: Json = {"blueprint": "service", "entity": ENTITY}


def defined(*mappings: Json, **more: Any) -> Definition:
    return parsed({"title": "Hook", "mappings": list(mappings), **more})


def mac(algorithm: str, body: bytes = BODY, secret: str = SECRET) -> str:
    return hmac.digest(secret.encode(), body, algorithm).hex()


# Definitions


def test_a_definition_is_kept_as_it_came() -> None:
    document: Json = {
        "mappings": [
            {
                "entity": {
                    "identifier": {
                        "combinator": "'and'",
                        "rules": [{"property": "'$title'", "operator": "'='", "value": ".body.t"}],
                    },
                    "relations": {"of": {"combinator": "'or'", "rules": []}, "by": ".body.by"},
                    "properties": None,
                },
                "operation": {"type": "delete", "deleteDependents": True},
                "blueprint": "service",
            },
            {**MAPPING, "operation": "create", "itemsToParse": ".body.items", "filter": "true"},
        ],
        "title": "x" * 30,
        "description": "x" * 200,
        "integrationType": "custom",
        "security": {},
        "enabled": False,
    }
    definition = parsed({**document, "webhookKey": "k", "url": "u", "createdAt": "now"})
    assert definition.document == document
    assert list(definition.document) == list(document)
    assert [(one.deletes, one.deletes_dependents) for one in definition.mappings] == [(True, True), (False, False)]


def searching(*rules: Any) -> Json:
    return {"combinator": "'and'", "rules": list(rules)}


def nested(levels: int) -> Json:
    return searching(nested(levels - 1)) if levels else searching()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"title": None}, "title"),
        ({"title": "x" * 31}, "title: must have 1 to 30"),
        ({"description": "x" * 201}, "description"),
        ({"identifier": "x" * 31}, "identifier"),
        ({"identifier": "a/b"}, "identifier"),
        ({"enabled": "true"}, "enabled: must be true or false"),
        ({"webhook": 1}, "webhook: unknown key"),
        ({"integrationType": "github"}, "integrationType"),
        ({"mappings": [{**MAPPING, "filter": " "}]}, "mappings[0].filter: must be a jq program"),
        ({"mappings": [{**MAPPING, "operation": "update"}]}, "mappings[0].operation"),
        ({"mappings": [{**MAPPING, "operation": {"type": "create", "x": 1}}]}, "mappings[0].operation.x"),
        ({"mappings": [{"blueprint": "service"}]}, "mappings[0].entity: is required"),
        ({"mappings": [{"entity": ENTITY}]}, "mappings[0].blueprint: is required"),
        ({"mappings": [{**MAPPING, "entity": {}}]}, "mappings[0].entity.identifier"),
        ({"mappings": [{**MAPPING, "entity": {"identifier": 7}}]}, "mappings[0].entity.identifier: must be a jq"),
        ({"mappings": [{**MAPPING, "entity": {**ENTITY, "relations": {"of": {"x": 1}}}}]}, "entity.relations.of"),
        (
            {"mappings": [{**MAPPING, "entity": {**ENTITY, "team": {"combinator": "", "rules": [{"value": " "}]}}}]},
            "mappings[0].entity.team.rules[0].value",
        ),
        *(
            (
                {"mappings": [{**MAPPING, "entity": {**ENTITY, "relations": {"of": searching(rule)}}}]},
                f"of.rules[0]{at}",
            )
            for rule, at in (
                (1, ": must be an object"),
                (None, ": must be an object"),
                ({}, ".operator: is required"),
                ({"property": True, "operator": "'='"}, ".property: must be a jq program"),
                ({"property": "'a'", "operator": -1}, ".operator: must be text"),
                ({"property": "'a'", "operator": "'='", "values": 1}, ".values: unknown key"),
                ({"operator": "'relatedTo'", "blueprint": 1}, ".blueprint: must be text"),
                ({"combinator": "'or'"}, ".rules: is required"),
                (nested(10), f"{'.rules[0]' * 10}: groups nest deeper"),
            )
        ),
        (
            {"mappings": [{**MAPPING, "entity": {"identifier": searching([])}}]},
            "identifier.rules[0]: must be an object",
        ),
        ({"mappings": [{**MAPPING, "entity": {**ENTITY, "team": searching(7)}}]}, "team.rules[0]: must be an object"),
        ({"mappings": [{**MAPPING, "entity": {**ENTITY, "properties": {"p": 1}}}]}, "entity.properties.p"),
        ({"mappings": [MAPPING] * (MAX_PROGRAMS + 1)}, f"mappings: must not have more than {MAX_PROGRAMS}"),
        ({"security": {"signatureAlgorithm": "md5"}}, "security.signatureAlgorithm"),
        ({"security": {"secret": ""}}, "security.secret"),
        ({"security": {"secret": "s"}}, "security.signatureHeaderName: is required"),
        ({"security": {"signatureHeaderName": "a b"}}, "security.signatureHeaderName"),
    ],
)
def test_what_is_no_webhook_is_refused_with_the_path(wrong: Json, words: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        parsed({"title": "Hook", **wrong})
    assert words in str(refusal.value)
    assert "hush" not in str(refusal.value)


async def test_programs_that_do_not_compile_are_named_and_none_runs(evaluate: Evaluator) -> None:
    endless = "def f: f; f"
    definition = defined(
        {**MAPPING, "filter": ".a &&", "entity": {"identifier": endless, "properties": {"p": "nope("}}},
        {**MAPPING, "filter": ".headers.\"x\" == 'y'", "entity": {**ENTITY, "title": "def f: .; f # end"}},
    )
    found = await faults(definition, evaluate)
    assert [one.partition(":")[0] for one in found] == ["mappings[0].filter", "mappings[0].entity.properties.p"]


def test_a_secret_is_taken_out_and_stays_only_while_events_are_signed() -> None:
    signed: Json = {"signatureHeaderName": "X-Sig", "secret": SECRET}
    unsigned: Json = {"signatureHeaderName": "X-Sig"}
    assert separated({"title": "t", "security": signed}) == ({"title": "t", "security": unsigned}, Secret(SECRET))
    assert separated({"security": unsigned})[1] == Secret(stays=True)
    assert separated({"security": {**signed, "secret": None}})[1] == Secret()
    without: list[Json] = [{}, {"security": {}}, {"security": None}]
    assert [separated(one)[1] for one in without] == [Secret()] * 3
    assert SECRET not in repr(Secret(SECRET)) + repr(parsed({"title": "t", "security": signed}))


def test_a_patch_replaces_keys_and_null_removes_them() -> None:
    before: Json = {"title": "a", "icon": "b", "mappings": [MAPPING]}
    after = patched(before, {"title": "c", "icon": None, "url": "x"})
    assert after == {"title": "c", "mappings": [MAPPING]}
    with pytest.raises(InvalidRequest, match="title"):
        parsed(patched(before, {"title": None}))


# Signatures


@pytest.mark.parametrize(
    ("security", "header"),
    [
        ({"signatureAlgorithm": "sha1"}, mac("sha1")),
        ({"signatureAlgorithm": "sha256"}, mac("sha256")),
        ({}, mac("sha256").upper()),
        ({"signatureAlgorithm": "sha256", "signaturePrefix": "sha256="}, "sha256=" + mac("sha256")),
        ({"signatureAlgorithm": "plain"}, SECRET),
        ({"signatureAlgorithm": "plain", "signaturePrefix": "Bearer "}, f"Bearer {SECRET}"),
    ],
)
def test_a_signature_counts_for_exactly_its_body_and_secret(security: Json, header: str) -> None:
    how = Security.model_validate({"signatureHeaderName": "X-Sig", **security})
    how.require(SECRET, {"x-sig": header}, BODY)
    wrong = [{}, {"x-other": header}, {"x-sig": ""}, {"x-sig": header + "0"}, {"x-sig": header[:-1]}, {"x-sig": "é"}]
    for headers in wrong:
        with pytest.raises(Unauthenticated, match="X-Sig"):
            how.require(SECRET, headers, BODY)
    with pytest.raises(Unauthenticated):
        how.require("another", {"x-sig": header}, BODY)
    if how.signature_algorithm != "plain":
        with pytest.raises(Unauthenticated):
            how.require(SECRET, {"x-sig": header}, BODY + b" ")
    if how.signature_prefix:
        with pytest.raises(Unauthenticated):
            how.require(SECRET, {"x-sig": header.removeprefix(how.signature_prefix)}, BODY)


# Events


async def said(
    evaluate: Evaluator, definition: Definition, body: Any, *, in_time: int = 10**6, **headers: str
) -> Meaning:
    left = iter(range(in_time))
    event = Event(
        body, {name.replace("_", "-"): value for name, value in headers.items()}, {"q": ["1"], "r": ["a", "b"]}
    )
    return await meaning(definition, event, evaluate, now=AT, in_time=lambda: next(left, None) is not None)


async def test_programs_find_the_parts_of_an_entity(evaluate: Evaluator) -> None:
    mapping: Json = {
        "blueprint": "service",
        "filter": ".headers.\"X-GitHub-Event\" == 'push'",
        "entity": {
            "identifier": ".body.id",
            "title": ".body.title | ascii_upcase",
            "icon": "'Box'",
            "team": ".body.teams",
            "properties": {"q": ".queryParams", "none": ".body.none", "bad": ".body.id | keys", "out": "empty"},
            "relations": {"one": ".body.id", "many": '[.body.id, "x"]', "out": "empty"},
        },
    }
    definition = defined(mapping, security={"requestIdentifierPath": ".headers['x'] || nonsense"})
    body = {"id": 7, "title": "cart", "teams": ["sre"]}
    found = await said(evaluate, definition, body, x_github_event="push")
    assert (found.notes, found.event_id) == ([], None)
    [write] = found.writes
    assert write.request == {
        "identifier": "7",
        "title": "CART",
        "icon": "Box",
        "team": ["sre"],
        "properties": {"q": {"q": "1", "r": ["a", "b"]}, "none": None, "bad": None},
        "relations": {"one": "7", "many": ["7", "x"]},
    }
    assert (await said(evaluate, definition, body, x_github_event="pull")) == Meaning()


async def test_there_is_one_entity_for_each_item_that_its_filter_lets_through(evaluate: Evaluator) -> None:
    mapping = {**MAPPING, "itemsToParse": ".body.items", "entity": {"identifier": ".item.id", "title": ".body.t"}}
    definition = defined(mapping, {**mapping, "filter": ".item.ok", "operation": "delete"})
    items = [{"id": "a", "ok": True}, {"id": None}, {"id": "c", "ok": 1}]
    found = await said(evaluate, definition, {"items": items, "t": "T"})
    assert [(one.mapping, one.request, one.deletes) for one in found.writes] == [
        (0, {"identifier": "a", "title": "T", "properties": {}, "relations": {}}, False),
        (0, {"identifier": "c", "title": "T", "properties": {}, "relations": {}}, False),
        (1, {"identifier": "a"}, True),
    ]
    [note] = found.notes
    assert note.reason == "item 1: mappings[0].entity.identifier: gave no identifier, but null"
    assert note.refused == 1

    found = await said(evaluate, definition, {"items": {}})
    assert [one.reason for one in found.notes] == [
        "mappings[0].itemsToParse: gave no array, but {}",
        "mappings[1].itemsToParse: gave no array, but {}",
    ]


async def test_every_text_of_a_search_query_is_a_program(evaluate: Evaluator) -> None:
    rule = {"property": "'arn'", "operator": "'='", "value": ".body.arn"}
    inner = {"property": "'n'", "operator": "'in'", "value": [1, True, ".body.n"]}
    query = {"combinator": "'and'", "rules": [rule, {"combinator": "'or'", "rules": [inner]}]}
    definition = defined({**MAPPING, "entity": {"identifier": query, "relations": {"of": query}}})
    [write] = (await said(evaluate, definition, {"arn": "a:1", "n": 5})).writes
    filled = {
        "combinator": "and",
        "rules": [
            {"property": "arn", "operator": "=", "value": "a:1"},
            {"combinator": "or", "rules": [{"property": "n", "operator": "in", "value": [1, True, 5]}]},
        ],
    }
    assert write.request == {"identifier": filled, "properties": {}, "relations": {"of": filled}}

    found = await said(evaluate, definition, {"n": 5})
    assert (found.writes, [one.refused for one in found.notes]) == ([], [1])
    definition = defined({**MAPPING, "entity": {"identifier": "'x'", "relations": {"of": query}}})
    [write] = (await said(evaluate, definition, {"n": 5})).writes
    assert write.request["relations"] == {"of": None}


async def test_a_filter_that_fails_does_not_match_and_says_so(evaluate: Evaluator) -> None:
    definition = defined({**MAPPING, "filter": ".body.id | keys"}, MAPPING)
    found = await said(evaluate, definition, {"id": "a"})
    assert [one.mapping for one in found.writes] == [1]
    [note] = found.notes
    assert note.reason.startswith("mappings[0].filter: failed")
    assert note.refused == 0


async def test_a_program_that_never_ends_costs_nothing_but_its_own_value() -> None:
    endless = "last(repeat(1))"
    mapping = {
        **MAPPING,
        "itemsToParse": ".body",
        "entity": {"identifier": ".item", "properties": {"p": endless, "q": ".item"}},
    }
    async with JqPool(size=1, limits=Limits(seconds=0.3)) as pool:
        calls: list[int] = []

        async def counted(programs: Any, document: Any, *, now: Any = None) -> Any:
            calls.append(list(programs).count(endless))
            return await pool(programs, document, now=now)

        found = await said(
            counted, defined({**MAPPING, "filter": "[limit(1; repeat(0))] | " + endless}, mapping), ["a", "b"]
        )
    assert [one.request["properties"] for one in found.writes] == [{"q": "a"}, {"q": "b"}]
    assert sum(calls) == 1
    reasons = [one.reason for one in found.notes]
    assert "mappings[0].filter: failed" in reasons[0]
    assert "item 0: mappings[1].entity.properties.p: stays as it was" in reasons[1]
    assert [one.refused for one in found.notes] == [0, 0, 0]


async def test_what_is_too_much_is_left_out_on_record(evaluate: Evaluator) -> None:
    mapping = {**MAPPING, "itemsToParse": ".body", "entity": {"identifier": ".item"}}
    names = [f"e{number}" for number in range(MAX_ITEMS + 5)]
    found = await said(evaluate, defined(mapping, MAPPING), names)
    assert len(found.writes) == MAX_ITEMS
    assert [(one.mapping, one.refused) for one in found.notes] == [(0, 5), (1, 1)]

    found = await said(evaluate, defined(mapping), names[:10], in_time=4)
    assert [one.request["identifier"] for one in found.writes] == names[:4]
    assert [one.refused for one in found.notes] == [6]


async def test_an_event_has_the_id_it_brings(evaluate: Evaluator) -> None:
    for path, expected in (('.headers."X-Id"', "abc"), (".body.n", "12"), (".body.none", None), (".body", None)):
        definition = defined(security={"requestIdentifierPath": path})
        assert (await said(evaluate, definition, {"n": 12}, x_id="abc")).event_id == expected


async def test_a_secret_that_is_sent_plainly_is_not_shown_to_programs(evaluate: Evaluator) -> None:
    security = {"secret": SECRET, "signatureHeaderName": "X-Token", "signatureAlgorithm": "plain"}
    mapping = {**MAPPING, "entity": {"identifier": "'x'", "properties": {"all": ".headers", "X-Token": "."}}}
    [write] = (await said(evaluate, defined(mapping, security=security), {}, x_token=SECRET, x_other="1")).writes
    assert SECRET not in str(write.request)
    assert write.request["properties"]["all"] == {"x-other": "1"}  # type: ignore[index, call-overload]
