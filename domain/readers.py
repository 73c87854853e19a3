"""Who reads the entities of blueprints that do not let everybody, as a rule of the search."""

from collections.abc import Collection, Mapping
from enum import Enum

from domain.blueprint_permissions import Block
from domain.rule_values import Comparison, Listed, Operator, Property, Query, Rule
from domain.users import Caller


class Access(Enum):
    """What somebody reads of a blueprint."""

    ALL = "all"
    OWNED = "owned"
    """What their teams own, inherited teams among them."""
    NOTHING = "nothing"


def access(block: Block, caller: Caller, *, permitted: bool = False) -> Access:
    """What the block lets the caller read; where it has a policy, `permitted` is what that says, and decides alone."""
    if caller.user is None or caller.is_admin:
        return Access.ALL
    if block.policy is not None:
        return Access.ALL if permitted else Access.NOTHING
    if block.admit(caller.user):
        return Access.ALL
    return Access.OWNED if block.owned_by_team and caller.user.teams else Access.NOTHING


def restriction(blocks: Mapping[str, Block], caller: Caller, permitted: Collection[str] = ()) -> Query | None:
    """What an entity has to be for the caller to read it; None: anything.

    `blocks` are those of blueprints that do not let everybody, `permitted` those whose policy lets the caller.
    """
    by_access: dict[Access, list[str]] = {}
    for blueprint, block in blocks.items():
        by_access.setdefault(access(block, caller, permitted=blueprint in permitted), []).append(blueprint)
    rules: list[Rule] = []
    if hidden := by_access.get(Access.NOTHING):
        rules.append(_elsewhere(hidden))
    if owned := by_access.get(Access.OWNED):
        mine = Comparison(Property("$owned_by_team"), Operator.EQUALS, True)
        rules.append(Query("or", (_elsewhere(owned), mine)))
    return Query("and", tuple(rules)) if rules else None


def _elsewhere(blueprints: Collection[str]) -> Comparison:
    return Comparison(Property("$blueprint"), Operator.IN, Listed.of(*sorted(blueprints)), negated=True)
