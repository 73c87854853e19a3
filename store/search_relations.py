"""Rules about relations as conditions: what chains of them lead to, and what is at the end of one."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

import sqlalchemy as sa

from domain.blueprints import Definition
from domain.matching import Operands
from domain.rule_values import Hop, PathMatch, Related
from store.catalog_tables import EntityRelationRow, EntityRow
from store.columns import table
from store.search_columns import Condition, among
from store.search_values import chosen

_ROWS: Final = table(EntityRow)
_ARROWS: Final = table(EntityRelationRow)


@dataclass
class Chains:
    """Follows relations. Each chain is a table of the ids that it leads to, under a name of its own."""

    definitions: Mapping[str, Definition]
    by: Operands
    _names: "count[int]" = field(default_factory=count)

    def related(self, rule: Related) -> Condition:
        """Whether any chain connects the entity with one that the rule names."""
        identifiers = self.by.identifiers(rule.identifiers)
        if not identifiers:
            return sa.false()
        named = _named((rule.blueprint,), identifiers)
        found: list[Condition] = []
        if rule.direction != "downstream":
            found.append(chosen(self._closure(named, rule.required, forward=True)))
        if rule.direction != "upstream":
            found.append(chosen(self._closure(named, rule.required, forward=False)))
        return sa.or_(*found)

    def on_path(self, rule: PathMatch) -> Condition:
        """Whether the path of the rule connects the entity with one that it names."""
        identifiers = self.by.identifiers(rule.identifiers)
        if not identifiers:
            return sa.false()
        # All blueprints by name: the index of entities begins with them.
        forward = rule.from_blueprint is not None
        here: sa.FromClause = _named(
            (rule.from_blueprint,) if rule.from_blueprint is not None else self.definitions, identifiers
        )
        for hop in rule.path if forward else reversed(rule.path):
            here = self._hop(here, hop, forward=forward)
        return chosen(sa.select(here.c.id))

    def _closure(self, start: sa.FromClause, required: bool | None, *, forward: bool) -> sa.Select[Any]:
        chain = self._step(start, forward=forward, required=required).cte(self._name(), recursive=True)
        return sa.select(chain.union(self._step(chain, forward=forward, required=required)).c.id)

    def _hop(self, start: sa.FromClause, hop: Hop, *, forward: bool) -> sa.FromClause:
        first = self._step(start, forward=forward, relation=hop.relation)
        if hop.most == 1:
            return first.cte(self._name())
        chain = first.add_columns(sa.literal(1, sa.Integer).label("depth")).cte(self._name(), recursive=True)
        again = self._step(chain, forward=forward, relation=hop.relation, deeper=True)
        return chain.union(again.where(chain.c.depth < hop.most))

    def _name(self) -> str:
        return f"chain_{next(self._names)}"

    def _step(
        self,
        begin: sa.FromClause,
        *,
        forward: bool,
        relation: str | None = None,
        required: bool | None = None,
        deeper: bool = False,
    ) -> sa.Select[Any]:
        """The ids that one relation leads to: from the start to its target, or the other way round."""
        source, target, arrow = _ROWS.alias(), _ROWS.alias(), _ARROWS.alias()
        here, there = (source, target) if forward else (target, source)
        joined = (
            begin.join(here, here.c.id == begin.c.id)
            .join(arrow, arrow.c.source_id == source.c.id if forward else _leads(arrow, target))
            .join(there, _leads(arrow, target) if forward else arrow.c.source_id == source.c.id)
        )
        columns = (there.c.id, (begin.c.depth + 1).label("depth")) if deeper else (there.c.id,)
        step: sa.Select[Any] = sa.select(*columns).select_from(joined)
        if relation is not None:
            step = step.where(arrow.c.relation == relation)
        if required is not None:
            # Neither identifiers of blueprints nor names of relations have spaces.
            must = among(source.c.blueprint.concat(" ").concat(arrow.c.relation), self._required)
            step = step.where(must if required else sa.not_(must))
        return step

    @property
    def _required(self) -> Sequence[str]:
        return [
            f"{blueprint} {name}"
            for blueprint, definition in self.definitions.items()
            for name, relation in definition.relations.items()
            if relation.required
        ]


def _named(blueprints: Collection[str], identifiers: Collection[str]) -> sa.Subquery:
    named = _ROWS.alias()
    asked = among(named.c.blueprint, blueprints), among(named.c.identifier, identifiers)
    return sa.select(named.c.id).where(*asked).subquery()


def _leads(arrow: Any, target: Any) -> Condition:
    return sa.and_(target.c.blueprint == arrow.c.target_blueprint, target.c.identifier == arrow.c.target)
