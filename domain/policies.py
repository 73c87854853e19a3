"""Policies: queries over the catalog, and conditions in jq over what they find, that decide for one person.

A query that cannot be rendered or asked is as if it were not there: `.results.<name>` is null. A condition that fails
says nothing. One that says exactly `true` is enough.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

from pydantic import JsonValue

from domain import rules
from domain.documents import Document
from domain.errors import InvalidRequest, TemplateFault
from domain.jq import Evaluator, Value
from domain.permissions import Policy
from domain.rule_values import Query
from domain.shapes import json_path
from domain.templating import Template
from domain.users import User

MOST_FOUND: Final = 1_000
"""How many entities conditions see of one query."""


def faults(policy: Policy, path: list[str | int]) -> Iterator[str]:
    """What is wrong with its queries, each as `<path>: <problem>`; the templates in them are not examined."""
    for name, query in policy.queries.items():
        try:
            rules.parsed(query, dialect=rules.POLICY)
        except InvalidRequest as refusal:
            at = json_path([*path, "queries", name])
            said = str(refusal)
            yield f"{at}: {said}" if said.startswith("the query") else f"{at}.{said}"


def context(user: User, entity: Document | None = None, **more: JsonValue) -> Document:
    """What its templates and conditions see: who is judged, the entity it is about, and whatever the place adds."""
    return {
        **more,
        "user": {
            **user.as_trigger(),
            "roles": [{"name": role} for role in user.roles],
            "teams": list[JsonValue](user.teams),
        },
        "entity": entity,
    }


async def queries(
    policy: Policy, seen: Document, evaluate: Evaluator, *, at: datetime
) -> tuple[dict[str, Query], dict[str, str]]:
    """Its queries for this context; and by name, why others cannot be asked.

    Raises:
        Unavailable: no process could be had to render them.
    """
    found: dict[str, Query] = {}
    failed: dict[str, str] = {}
    for name, written in policy.queries.items():
        try:
            rendering = await Template.parse(written).rendered(seen, evaluate, secrets=None, now=at)
            if rendering.warnings:
                failed[name] = rendering.warnings[0]
            else:
                found[name] = rules.parsed(rendering.value, dialect=rules.SEARCH)
        except (TemplateFault, InvalidRequest) as fault:
            failed[name] = str(fault)
    return found, failed


async def permits(
    policy: Policy, seen: Document, results: Mapping[str, JsonValue], evaluate: Evaluator, *, at: datetime
) -> bool:
    """Whether a condition says so, of what the queries have found: `{"entities": [...]}` by name.

    Raises:
        Unavailable: no process could be had to evaluate them.
    """
    outcomes = await evaluate(policy.conditions, {**seen, "results": dict(results)}, now=at)
    return any(isinstance(outcome, Value) and outcome.value is True for outcome in outcomes)
