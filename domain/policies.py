"""Policies: queries over the catalog, and conditions in jq over what they find, that decide for one person.

A query that cannot be rendered or asked is as if it were not there: `.results.<name>` is null. With `fail_closed` it
makes the policy say no instead. A condition that fails says nothing. To execute, one that is exactly `true` is enough;
to approve, conditions say the email addresses of those who may.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Final

from pydantic import JsonValue

from domain import rules
from domain.actions import Action
from domain.documents import Document, canonical
from domain.dry_runs import masked
from domain.errors import InvalidRequest, TemplateFault
from domain.jq import Evaluator, Failed, Outcome, Overran, Value
from domain.permissions import PermissionsPatch, Policy
from domain.rule_readers import below
from domain.rule_values import Query
from domain.rulings import ConditionAnswer, QueryAnswer, Ruling
from domain.runs import Run
from domain.shapes import MAX_PROBLEMS, json_path, shortened
from domain.templating import Template
from domain.users import User

MOST_FOUND: Final = 1_000
"""How many entities conditions see of one query."""

_LONGEST: Final = 200
"""How much of a value, a condition or a reason is told."""
_OF_THE_REQUESTER: Final = re.compile(r"\.trigger(?:\.by)?\.user\b")
_OF_WHOM: Final = re.compile(
    r"""\buser\b|\.\.|\.\[\s*["(.$]|getpath|paths?\b|_entries|\bkeys(?:_unsorted)?\b|\bwalk\b|(?<!\.)\binputs?\b"""
    r"""|tojson|tostring|tostream|recurse|@(?:text|json|html|uri|csv|tsv|sh|base\d+d?)\b|\\\(\s*\.\s*[|)]"""
    # The values of everything that is seen, where a program begins with them.
    r"""|^[\s(\[]*(?:\.\s*\|\s*)?(?:\.\s*\[\s*\]|(?:map|map_values|add|any|all|reduce|foreach|try|error)\b)"""
)
_ABOUT_WHO_ASKS: Final = ("$owned_by_team", "My Teams", "myTeamsDynamicFilter")


@dataclass(frozen=True, slots=True)
class Said:
    """What a policy says in one context, and how it came to it."""

    queries: tuple[QueryAnswer, ...]
    conditions: tuple[ConditionAnswer, ...]
    permits: bool
    """Whether a condition says exactly `true`."""
    emails: frozenset[str]
    """Whom conditions name, in lower case: the union of all their arrays of texts."""
    closed: bool = False
    """Whether it says no because a query failed."""
    overran: bool = False
    """Whether a condition, or what a query is made of, ran into a limit."""

    @property
    def failed(self) -> dict[str, str]:
        """Why queries could not be asked, by name."""
        return {one.query: one.failed for one in self.queries if one.failed is not None}

    def names(self, user: User) -> bool:
        """Whether a condition names the person."""
        return user.email.casefold() in self.emails

    def ruling(self, rule: str, *, allowed: bool, why: str) -> Ruling:
        """The same, as what decided in one place."""
        return Ruling(rule=rule, allowed=allowed, why=why, queries=self.queries, conditions=self.conditions)

    def in_words(self) -> str:
        """What each condition said and each query found, for whoever was refused."""
        if self.closed:
            return "a query of the policy failed, and this deployment lets nobody through then: " + self._queries()
        said = ", ".join(
            f"condition {shortened(one.condition, _LONGEST)!r} "
            + (f"failed: {one.failed}" if one.failed is not None else f"is {one.value or 'without an answer'}")
            for one in self.conditions
        )
        return f"{said}; {self._queries()}"

    def _queries(self) -> str:
        return ", ".join(
            f"query {one.query!r} "
            + (f"could not be asked: {one.failed}" if one.failed is not None else f"found {one.found}")
            for one in self.queries
        )


def faults(policy: Policy, path: list[str | int]) -> Iterator[str]:
    """What is wrong with its queries, each as `<path>: <problem>`; the templates in them are not examined."""
    for name, query in policy.queries.items():
        try:
            rules.parsed(query, dialect=rules.POLICY)
        except InvalidRequest as refusal:
            yield below(json_path([*path, "queries", name]), refusal)


def require_askable(patch: PermissionsPatch) -> None:
    """Nothing, if the policies in the request can be asked.

    Raises:
        InvalidRequest: names each query that cannot, by JSON path.
    """
    parts = {"execute": patch.execute, "approve": patch.approve}
    found = [
        fault
        for key, part in parts.items()
        if part is not None and part.policy is not None
        for fault in faults(part.policy, [key, "policy"])
    ]
    if found:
        raise InvalidRequest("; ".join(found[:MAX_PROBLEMS]))


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
) -> tuple[dict[str, Query], dict[str, str], bool]:
    """Its queries for this context; by name, why others cannot be asked; and whether one of them ran into a limit.

    Raises:
        Unavailable: no process could be had to render them.
    """
    found: dict[str, Query] = {}
    failed: dict[str, str] = {}
    overran = False
    templates = {name: Template.parse(written) for name, written in policy.queries.items()}
    # All in one trip; what names secrets is masked, as nothing here has any.
    programs = list(dict.fromkeys(program for template in templates.values() for program in template.programs))
    public = {name: value for name, value in seen.items() if name != "secrets"}
    outcomes = dict(zip(programs, await evaluate(programs, public, now=at), strict=True)) if programs else {}
    for name, template in templates.items():
        try:
            rendering = template.render(outcomes, secret_outcomes=None)
            if rendering.warnings:
                failed[name] = rendering.warnings[0]
            else:
                found[name] = rules.parsed(rendering.value, dialect=rules.SEARCH)
        except (TemplateFault, InvalidRequest) as fault:
            failed[name] = str(fault)
            overran = overran or (isinstance(fault, TemplateFault) and fault.overran)
    return found, failed, overran


def of_run(run: Run, action: Action, blueprint: Document | None, user: User) -> Document:
    """What the policies of an action see of one of its runs, when this person is judged.

    Secret inputs are ciphertext there, as in the run.
    """
    trigger = run.interlock.trigger
    by = trigger.get("by")
    return context(
        user,
        run.interlock.entity,
        inputs=run.properties,
        trigger={**trigger, "user": by.get("user") if isinstance(by, dict) else None},
        action=action.echo(),
        blueprint=blueprint,
    )


def asks_who(policy: Policy) -> bool:
    """Whether what the policy says may differ from person to person; the requester is the same for all.

    What could reach the person without naming them counts as well: asking once too often only costs time.
    """
    if any(mark in canonical(list(policy.queries.values())) for mark in _ABOUT_WHO_ASKS):
        return True
    programs = [*policy.conditions, *_programs(list(policy.queries.values()))]
    return any(_OF_WHOM.search(_OF_THE_REQUESTER.sub("", program)) for program in programs)


async def said(
    policy: Policy,
    seen: Document,
    results: Mapping[str, JsonValue],
    failed: Mapping[str, str],
    evaluate: Evaluator,
    *,
    at: datetime,
    fail_closed: bool = False,
    secrets: Iterable[str] = (),
    overran: bool = False,
) -> Said:
    """What the policy says, of what the queries have found (`{"entities": [...]}` by name) and why others failed.

    `overran` is whether one of those ran into a limit.

    Raises:
        Unavailable: no process could be had to evaluate its conditions.
    """
    outcomes = await evaluate(policy.conditions, {**seen, "results": dict(results)}, now=at)
    values = [outcome.value for outcome in outcomes if isinstance(outcome, Value)]
    closed = fail_closed and bool(failed)
    # Hidden before anything is cut: half a ciphertext would be found by nobody later.
    hide = partial(masked, secrets=list(secrets))
    failures = {name: str(hide(why)) for name, why in failed.items()}
    return Said(
        queries=tuple(_answer(name, results, failures) for name in policy.queries),
        conditions=tuple(
            _condition(program, _hidden(one, hide)) for program, one in zip(policy.conditions, outcomes, strict=True)
        ),
        permits=not closed and any(value is True for value in values),
        emails=frozenset[str]() if closed else frozenset(_emails(values)),
        closed=closed,
        overran=overran or any(isinstance(one, Overran) for one in outcomes),
    )


def _answer(name: str, results: Mapping[str, JsonValue], failed: Mapping[str, str]) -> QueryAnswer:
    if name in failed:
        return QueryAnswer(query=name, failed=shortened(failed[name], _LONGEST))
    result = results.get(name)
    entities = result.get("entities") if isinstance(result, dict) else None
    return QueryAnswer(query=name, found=len(entities) if isinstance(entities, list) else 0)


def _condition(condition: str, outcome: Outcome) -> ConditionAnswer:
    if isinstance(outcome, Failed):
        return ConditionAnswer(condition=condition, failed=shortened(outcome.reason, _LONGEST))
    value = shortened(canonical(outcome.value), _LONGEST) if isinstance(outcome, Value) else None
    return ConditionAnswer(condition=condition, value=value)


def _hidden(outcome: Outcome, hide: Callable[[JsonValue], JsonValue]) -> Outcome:
    if isinstance(outcome, Value):
        return Value(hide(outcome.value))
    return replace(outcome, reason=str(hide(outcome.reason))) if isinstance(outcome, Failed) else outcome


def _emails(values: list[JsonValue]) -> Iterator[str]:
    for value in values:
        if isinstance(value, list):
            yield from (one.casefold() for one in value if isinstance(one, str))


def _programs(value: JsonValue) -> Iterator[str]:
    """Every text with a template in it, and every mark of an operand that is about the person."""
    if isinstance(value, str):
        if "{{" in value:
            yield value
    elif isinstance(value, list):
        for one in value:
            yield from _programs(one)
    elif isinstance(value, dict):
        if "context" in value:
            yield "user"
        for key, one in value.items():
            yield from _programs(key)
            yield from _programs(one)
