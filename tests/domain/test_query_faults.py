"""What a query names that nobody has declared."""

from typing import Any

import pytest

from domain.blueprints import Definition
from domain.documents import Document
from domain.query_faults import nowhere, undeclared, unknown
from domain.rules import BLUEPRINT_SEARCH, SEARCH, parsed

SERVICE: Document = {
    "identifier": "service",
    "schema": {"properties": {"tier": {"type": "number"}, "title": {"type": "string"}}, "required": []},
    "relations": {"team": {"target": "crew", "many": False, "required": False}},
    "mirrorProperties": {"crewSize": {"path": "team.size"}},
    "calculationProperties": {"double": {"type": "number", "calculation": ".properties.tier * 2"}},
}
CREW: Document = {"identifier": "crew", "schema": {"properties": {"size": {"type": "number"}}, "required": []}}
USER: Document = {"identifier": "_user", "schema": {"properties": {"squad": {"type": "string"}}, "required": []}}
KNOWN = {str(one["identifier"]): Definition.stored(one) for one in (SERVICE, CREW, USER)}


def rule(name: Any, operator: str = "=", value: Any = 1) -> Document:
    return {"property": name, "operator": operator, "value": value}


NOW = "2026-01-01T00:00:00Z"
OF_SERVICE = rule("$blueprint", value="service")
PATH: Document = {"path": ["team"], "fromBlueprint": "crew"}


@pytest.mark.parametrize(
    ("rules", "fault"),
    [
        ([OF_SERVICE, rule("tier")], None),
        ([OF_SERVICE, rule("teir")], "there is no property teir of blueprint service"),
        ([OF_SERVICE, rule("teir", "!=")], "there is no property teir of blueprint service"),
        ([OF_SERVICE, {"property": "teir", "operator": "isEmpty"}], "there is no property teir of blueprint service"),
        ([OF_SERVICE, rule("size")], "there is no property size of blueprint service"),
        ([rule("$blueprint", "in", ["service", "crew"]), rule("size")], None),
        ([rule("size")], None),
        ([rule("teir")], "there is no property teir of any blueprint"),
        ([OF_SERVICE, rule("crewSize"), rule("double")], None),
        ([OF_SERVICE, rule("$updatedAt", ">", NOW), rule("updatedAt", ">", NOW)], None),
        ([OF_SERVICE, rule("title", value="x"), rule("$owned_by_team", value=True)], None),
        ([OF_SERVICE, rule("team")], None),
        ([OF_SERVICE, {"combinator": "or", "rules": [rule("tier"), rule("teir")]}], "there is no property teir"),
        ([rule("$blueprint", value="nothing"), rule("tier")], "there is no blueprint nothing"),
        ([{"operator": "relatedTo", "blueprint": "crew", "value": "sre"}], None),
        ([{"operator": "relatedTo", "blueprint": "crow", "value": "sre"}], "there is no blueprint crow"),
        ([rule(PATH, "matchAny", ["sre"])], None),
        ([rule({**PATH, "fromBlueprint": "crow"}, "matchAny", ["sre"])], "there is no blueprint crow"),
        ([rule({**PATH, "path": ["taem"]}, "matchAny", ["sre"])], "there is no relation taem of any blueprint"),
        ([OF_SERVICE, rule("tier", value={"context": "user", "property": "squad"})], None),
        ([OF_SERVICE, rule("tier", value={"context": "user", "property": "$identifier"})], None),
        (
            [OF_SERVICE, rule("tier", value={"context": "user", "property": "squat"})],
            "there is no property squat of blueprint _user",
        ),
        ([{"propertySchema": {"type": "string", "format": "user"}, "operator": "=", "value": "x"}], None),
    ],
)
def test_what_is_declared_nowhere_is_named(rules: list[Any], fault: str | None) -> None:
    found = unknown(parsed({"combinator": "and", "rules": rules}, dialect=SEARCH), KNOWN)
    assert found == fault if fault is None else str(found).startswith(fault)


def test_what_entities_have_all_the_same_can_be_found() -> None:
    query = parsed({"combinator": "and", "rules": [OF_SERVICE, rule("teir"), rule("owner")]}, dialect=SEARCH)
    assert undeclared(query, KNOWN) == {"teir", "owner"}
    assert unknown(query, KNOWN, {"owner"}) == "there is no property teir of blueprint service"
    assert unknown(query, KNOWN, {"owner", "teir"}) is None


@pytest.mark.parametrize(
    ("rules", "fault"),
    [
        ([rule("nothing"), rule("$blueprint", value="nothing")], None),
        ([{"operator": "relatedTo", "blueprint": "crew", "value": "sre"}, rule(PATH, "matchAny", ["sre"])], None),
        (
            [rule("tier"), {"operator": "relatedTo", "blueprint": "crow", "value": "sre"}],
            "rules[1].blueprint: there",
        ),
        ([rule({**PATH, "fromBlueprint": "crow"}, "matchAny", ["x"])], "rules[0].property.fromBlueprint: there is"),
        ([rule({"path": ["team", "taem"]}, "matchAny", ["x"])], "rules[0].property.path[1]: there is no relation taem"),
        ([{"relation": "team", "operator": "=", "value": "sre"}], None),
        ([{"relation": "crew", "operator": "=", "value": "sre"}], "rules[0].relation: service has no relation crew"),
    ],
)
def test_rules_that_follow_what_is_not_there_are_named_by_path(rules: list[Any], fault: str | None) -> None:
    found = nowhere(parsed({"combinator": "or", "rules": rules}, dialect=BLUEPRINT_SEARCH), KNOWN, "service")
    assert found is None if fault is None else str(found).startswith(fault)
