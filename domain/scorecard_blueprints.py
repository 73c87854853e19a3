"""The blueprints that scorecards show themselves as, and the entities of them: scorecards, rules, and rule results.

They are what automations and searches see of scorecards. People may extend the blueprints and write the properties they
added; what is written here is kept as it is by the next evaluation.

Source: "Scorecards as blueprints": the blueprints, `result`, `result_last_change`, and the relations.
"""

import hashlib
from collections.abc import Iterator
from typing import Final

from pydantic import JsonValue

from domain.documents import Document
from domain.entities import Author, Entity, EntityId, Kind
from domain.entity_schemas import defaults
from domain.scorecards import Result, Scorecard, ScorecardRule
from domain.times import iso

SCORECARD: Final = "_scorecard"
RULE: Final = "_rule"
RULE_RESULT: Final = "_rule_result"

PASSED: Final = "Passed"
NOT_PASSED: Final = "Not passed"
_LONGEST = 1_000
_DATASOURCE = "interlock"
"""Not that of the writer: an integration that clears away what it no longer reports must not find these entities."""

_TEXT: Final[Document] = {"type": "string"}
_RESULTS: Final[Document] = {"calculationBy": "entities", "func": "count"}
_PASSED_ONLY: Final[Document] = {
    "combinator": "and",
    "rules": [{"property": "result", "operator": "=", "value": PASSED}],
}


def _counts(tested: str, passed: str, what: str, path: list[JsonValue]) -> Document:
    """The aggregations that count results, all and those that passed."""
    counted: Document = {
        "type": "number",
        "target": RULE_RESULT,
        "calculationSpec": _RESULTS,
        "pathFilter": [{"path": path, "fromBlueprint": RULE_RESULT}],
    }
    return {
        tested: {"title": f"{what} tested", **counted},
        passed: {"title": f"{what} passed", **counted, "query": _PASSED_ONLY},
    }


SCORECARD_BLUEPRINTS: Final[tuple[Document, ...]] = (
    {
        "identifier": SCORECARD,
        "title": "Scorecard",
        "icon": "Scorecards",
        "description": "Rules and levels that the entities of a blueprint are held to",
        "schema": {
            "properties": {
                "scorecard": {**_TEXT, "title": "Identifier"},
                "blueprint": {**_TEXT, "title": "Blueprint", "format": "blueprints"},
                "levels": {"type": "array", "title": "Levels", "items": {"type": "object"}},
                "filter": {"type": "object", "title": "Filter"},
            },
            "required": ["scorecard", "blueprint"],
        },
        "mirrorProperties": {},
        "calculationProperties": {},
        "aggregationProperties": _counts("rules_tested", "rules_passed", "Rules", ["rule", "scorecard"]),
        "relations": {},
    },
    {
        "identifier": RULE,
        "title": "Scorecard rule",
        "icon": "Scorecards",
        "description": "What an entity has to fulfil for a level of a scorecard",
        "schema": {
            "properties": {
                "rule": {**_TEXT, "title": "Identifier"},
                "level": {**_TEXT, "title": "Level"},
                "query": {"type": "object", "title": "Query"},
                "rule_description": {**_TEXT, "title": "Rule description"},
                "blueprint": {**_TEXT, "title": "Blueprint", "format": "blueprints"},
            },
            "required": ["rule", "level", "query"],
        },
        "mirrorProperties": {},
        "calculationProperties": {},
        "aggregationProperties": _counts("entities_tested", "entities_passed", "Entities", ["rule"]),
        "relations": {"scorecard": {"title": "Scorecard", "target": SCORECARD, "required": True, "many": False}},
    },
    {
        "identifier": RULE_RESULT,
        "title": "Scorecard rule result",
        "icon": "Scorecards",
        "description": "Whether an entity fulfils a rule of a scorecard",
        # `properties.rule`, the rule's own identifier, is not declared: the key is that of the relation.
        "schema": {
            "properties": {
                "result": {
                    **_TEXT,
                    "title": "Result",
                    "enum": [PASSED, NOT_PASSED],
                    "enumColors": {PASSED: "green", NOT_PASSED: "red"},
                },
                "status": {**_TEXT, "title": "Status", "enum": ["SUCCESS", "FAILURE"]},
                "level": {**_TEXT, "title": "Level"},
                "ruleTitle": {**_TEXT, "title": "Rule title"},
                "scorecard": {**_TEXT, "title": "Scorecard"},
                "scorecardTitle": {**_TEXT, "title": "Scorecard title"},
                "blueprint": {**_TEXT, "title": "Blueprint", "format": "blueprints"},
                "entity": {**_TEXT, "title": "Entity"},
                "entityTitle": {**_TEXT, "title": "Entity title"},
                "result_last_change": {**_TEXT, "title": "Result last change", "format": "date-time"},
                "resultLastChange": {
                    **_TEXT,
                    "title": "Result last change (the same)",
                    "description": "The same as result_last_change",
                    "format": "date-time",
                },
            },
            "required": ["result", "entity"],
        },
        "mirrorProperties": {},
        "calculationProperties": {},
        "aggregationProperties": {},
        "relations": {"rule": {"title": "Rule", "target": RULE, "required": True, "many": False}},
    },
)
"""Each of them, a target before those that name it."""

NAMES: Final = frozenset((SCORECARD, RULE, RULE_RESULT))
"""Those blueprints, which have no scorecards themselves: nobody would be told of what these come out at."""


def named(*parts: str) -> EntityId:
    """The identifier of the entity for what these parts name together: the same parts, the same name, and no other's.

    It shows the parts with colons between, or a hash of them where that would be too long or could be read in two ways:
    only the last part may have a colon itself.
    """
    plain = ":".join(parts)
    if len(plain) <= _LONGEST and not any(":" in part for part in parts[:-1]):
        return EntityId(plain)
    length_first = "".join(f"{len(part)}:{part}" for part in parts)
    return EntityId(hashlib.sha256(length_first.encode()).hexdigest())


def of_scorecard(kind: Kind, scorecard: Scorecard, before: Entity | None, author: Author) -> Entity:
    """The `_scorecard` entity."""
    definition = scorecard.definition
    properties: Document = {
        "scorecard": scorecard.identifier,
        "blueprint": scorecard.blueprint,
        "levels": [{"title": level.title, "color": level.color} for level in definition.ladder],
        "filter": scorecard.document.get("filter"),
    }
    name = named(scorecard.blueprint, scorecard.identifier)
    return _told(kind, name, definition.title, (), properties, {}, before, author)


def of_rules(scorecard: Scorecard) -> Iterator[tuple[EntityId, ScorecardRule]]:
    """The rules of the scorecard, each with the identifier of its `_rule` entity."""
    for rule in scorecard.definition.rules:
        yield named(scorecard.blueprint, scorecard.identifier, rule.identifier), rule


def of_rule(
    kind: Kind, scorecard: Scorecard, name: EntityId, rule: ScorecardRule, before: Entity | None, author: Author
) -> Entity:
    """The `_rule` entity of that name."""
    properties: Document = {
        "rule": rule.identifier,
        "level": rule.level,
        "query": {"combinator": rule.query.combinator, "conditions": rule.query.conditions},
        "rule_description": rule.description,
        "blueprint": scorecard.blueprint,
    }
    relations = {"scorecard": named(scorecard.blueprint, scorecard.identifier)}
    return _told(kind, name, rule.title, (), properties, relations, before, author)


def results_named(blueprint: str, scorecard: str, entity: str, result: Result) -> dict[str, EntityId]:
    """The identifiers of the `_rule_result` entities of one result, by rule."""
    rules = result["rules"]
    names = (one["identifier"] for one in rules if isinstance(one, dict)) if isinstance(rules, list) else ()
    return {str(name): named(blueprint, scorecard, str(name), entity) for name in names}


def of_result(
    kind: Kind, scorecard: Scorecard, of: Entity, result: Result, rule: str, before: Entity | None, author: Author
) -> Entity:
    """The `_rule_result` entity of one rule of the scorecard, as it came out for the entity `of`."""
    index, said = next((i, one) for i, one in enumerate(scorecard.definition.rules) if one.identifier == rule)
    found = result["rules"]
    one = found[index] if isinstance(found, list) else None
    status = one["status"] if isinstance(one, dict) else None
    outcome = PASSED if status == "SUCCESS" else NOT_PASSED
    is_same = before is not None and before.properties.get("result") == outcome
    since = before.properties.get("result_last_change") if before and is_same else None
    since = since or iso(author.at)
    properties: Document = {
        "result": outcome,
        "status": status,
        "level": said.level,
        "rule": said.identifier,
        "ruleTitle": said.title,
        "scorecard": scorecard.identifier,
        "scorecardTitle": scorecard.definition.title,
        "blueprint": scorecard.blueprint,
        "entity": of.identifier,
        "entityTitle": of.title,
        "result_last_change": since,
        "resultLastChange": since,
    }
    relations = {"rule": named(scorecard.blueprint, scorecard.identifier, said.identifier)}
    name = named(scorecard.blueprint, scorecard.identifier, said.identifier, of.identifier)
    title = f"{of.title}: {said.title}"
    return _told(kind, name, title, of.team, properties, relations, before, author)


def _told(
    kind: Kind,
    name: EntityId,
    title: str,
    team: tuple[str, ...],
    properties: Document,
    relations: dict[str, EntityId],
    before: Entity | None,
    author: Author,
) -> Entity:
    """The entity as it is now; the very same when that says nothing new. What people added to it stays."""
    known = {relation: target for relation, target in relations.items() if relation in kind.definition.relations}
    after = Entity(
        identifier=name,
        title=title,
        icon=before.icon if before else None,
        blueprint=kind.identifier,
        team=team,
        properties={**(before.properties if before else defaults(kind.definition)), **properties},
        relations={**(before.relations if before else {}), **known},
        created_at=before.created_at if before else author.at,
        created_by=before.created_by if before else author.id,
        updated_at=author.at,
        updated_by=author.id,
        datasource=_DATASOURCE,
    )
    return before if before and after.says_the_same(before) else after
