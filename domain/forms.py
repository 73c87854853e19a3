"""A form evaluated: what jq computes of it, and whether what was sent holds.

In this order: static defaults, computed defaults (each after the inputs it depends on), and then everything else at
once. Programs see the form as it stands then, see `domain/form_values.py`; what they have to give, and what holds where
they do not, is in `domain/form_parts.py`. Secrets are masked before any program sees them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import Protocol

from pydantic import JsonValue

from domain.documents import Document
from domain.errors import InvalidRequest
from domain.form_parts import ABSENT, Absent, Misfit, Part, Settled, settled
from domain.form_plans import plan_of
from domain.form_values import MOST_NAMED, EntityInput, Named, batches, entity_input, expanded, form_of
from domain.inputs import UserInputs, undeclared, violations, with_defaults
from domain.jq import Evaluator, Failed, Nothing, Outcome, Overran, Value
from domain.rule_readers import below
from domain.rule_values import Query
from domain.rules import DATASET, parsed
from domain.shapes import MAX_PROBLEMS, json_path, refuse_deep, shortened
from domain.templating import MASK


@dataclass(frozen=True, slots=True)
class Explained:
    """How a part of the form came to its value."""

    path: str
    program: str
    value: JsonValue
    """What it counts as, after a fallback too; None also where the part is absent. Of a secret input masked."""
    error: str | None
    """Why the program says nothing."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What does not hold."""

    input: str | None
    """The input it is about; None: the form."""
    text: str
    """`<path> <problem>`."""


@dataclass(frozen=True)
class Evaluated:
    """A form as it is for these values, and what is wrong with them."""

    form: UserInputs
    """Without anything that is computed, except for the values of datasets that could not be."""
    values: Document
    """After defaults: declared inputs first and in the order of the form, then the undeclared ones."""
    found: tuple[Fault, ...] = ()
    explained: tuple[Explained, ...] = ()
    offers: Mapping[str, Query] = field(default_factory=dict)
    """By input, which entities it offers, where it has a dataset that can be asked."""
    entities: Document = field(default_factory=dict)
    """By input, the entities that it names, whole; not for a form on a screen."""

    @property
    def faults(self) -> tuple[str, ...]:
        """Why the values cannot be accepted, each as `<path> <problem>`; none: they can."""
        return tuple(dict.fromkeys(fault.text for fault in self.found))


class Surroundings(Protocol):
    """What the form is evaluated in. Everything is asked only where it is needed."""

    async def seen(self, programs: Collection[str]) -> Document:
        """What the programs see besides `.form`: `.user`, `.blueprint`, and `.entity` where the action runs on one."""

    async def entities(self, blueprint: str, identifiers: Collection[str]) -> Mapping[str, Document]:
        """Those of the entities that there are for whoever asks, by identifier."""

    async def offered(self, blueprint: str, identifiers: Collection[str], dataset: Query) -> Collection[str]:
        """Those of the entities that the dataset finds.

        Raises:
            InvalidRequest: the dataset cannot be asked.
        """


async def evaluated(
    form: UserInputs,
    sent: Document,
    around: Surroundings,
    evaluate: Evaluator,
    *,
    at: datetime,
    enforced: bool = True,
    keeps_undeclared: bool = True,
    to_show: bool = False,
) -> Evaluated:
    """The form for what was sent. A form without jq, datasets and entities asks nothing of anybody.

    Args:
        form: as its author wrote it.
        sent: the values; null counts as not sent.
        around: the catalog, and who asks.
        evaluate: runs the programs.
        at: what `now` is.
        enforced: whether entities have to be there and in their datasets.
        keeps_undeclared: whether inputs that the form does not have are kept; else each of them is a fault.
        to_show: also evaluate what only a form on a screen needs: datasets that are not enforced, defaults of
            inputs that have a value.

    Raises:
        InvalidRequest: the values nest too deep.
        Unavailable: no process could be had to run the programs.
    """
    refuse_deep(sent)
    plan = plan_of(form)
    evaluation = _Evaluation(form, with_defaults(form, sent), around, evaluate, at, enforced)
    for path in plan.misplaced[:MAX_PROBLEMS]:
        evaluation.fault(str(path[1]) if path[0] == "properties" else None, f"{json_path(path)} cannot be computed")
    asked = {name: part for name, part in plan.defaults.items() if to_show or name not in evaluation.values}
    wanted, unasked = list[Part](), list[Part]()
    for part in plan.parts:
        (wanted if enforced or to_show or not part.is_of_dataset else unasked).append(part)
    evaluation.programs = [part.program for part in (*asked.values(), *wanted)]
    known = [(part, ABSENT) for name, part in plan.defaults.items() if name not in asked]
    computed = [*known, *await evaluation.defaults(asked), *await evaluation.ask(wanted)]
    whole = [*computed, *((part, part.fallback) for part in unasked)]
    result = await evaluation.result(settled(form, whole) if whole else form, sees_offers=enforced or to_show)
    if not to_show and not result.found:
        result = replace(result, entities=await evaluation.entities())
    unknown = () if keeps_undeclared else tuple(Fault(None, text) for text in undeclared(form, sent))
    return replace(result, found=(*unknown, *result.found)) if unknown else result


class _Evaluation:
    """One evaluation on its way."""

    def __init__(
        self,
        form: UserInputs,
        values: Document,
        around: Surroundings,
        evaluate: Evaluator,
        at: datetime,
        enforced: bool,
    ) -> None:
        self.form, self.values, self.programs = form, values, list[str]()
        self._around, self._evaluate, self._at, self._enforced = around, evaluate, at, enforced
        self._plan = plan_of(form)
        self._about = self._plan.entities
        self._seen: Document | None = None
        self._entities: dict[Named, Document | None] = {}
        self._faults: list[Fault] = []
        self._explained: list[Explained] = []

    def fault(self, name: str | None, text: str) -> None:
        """Remember what does not hold."""
        self._faults.append(Fault(name, text))

    async def defaults(self, parts: Mapping[str, Part]) -> list[tuple[Part, Settled]]:
        """The computed defaults, filled in where nothing was sent."""
        found: list[tuple[Part, Settled]] = []
        for batch in batches(self.form, self._plan.order, {name: part.program for name, part in parts.items()}):
            for (part, value), name in zip(await self.ask([parts[name] for name in batch]), batch, strict=True):
                found.append((part, value))
                if value is not ABSENT and name not in self.values:
                    self.values[name] = value
        if found:
            self.values = with_defaults(self.form, self.values)
        return found

    async def ask(self, parts: Sequence[Part]) -> list[tuple[Part, Settled]]:
        """The parts with their values: the programs of all of them run in one trip."""
        if not parts:
            return []
        await self._expand()
        if self._seen is None:
            self._seen = await self._around.seen(self.programs)
        programs = list(dict.fromkeys(part.program for part in parts))
        document = {"form": form_of(self.form, self.values, self._about, self._entities), **self._seen}
        outcomes = dict(zip(programs, await self._evaluate(programs, document, now=self._at), strict=True))
        return [(part, self._settled(part, outcomes[part.program])) for part in parts]

    async def result(self, form: UserInputs, *, sees_offers: bool) -> Evaluated:
        """What has come of it, once `form` has no more computed parts."""
        for name, text in islice(violations(form, self.values), MAX_PROBLEMS):
            self.fault(name, text)
        offers: dict[str, Query] = {}
        for name in self._about if sees_offers else ():
            about = entity_input(form.properties[name])
            if about is None or about.dataset is None:
                continue
            try:
                offers[name] = parsed(about.dataset, dialect=DATASET)
            except InvalidRequest as refusal:
                self._is_unusable(name, about, refusal)
        if self._enforced:
            await self._hold_to_catalog(offers)
        found = tuple(self._faults[:MAX_PROBLEMS])
        return Evaluated(form, self.values, found, tuple(self._explained), offers)

    async def entities(self) -> Document:
        """The inputs that name entities, with these whole."""
        await self._expand()
        return expanded(self.form, self.values, self._about, self._entities)

    def _settled(self, part: Part, outcome: Outcome) -> Settled:
        value, error = part.fallback, None
        match outcome:
            case Overran(reason):
                error = reason
                if self._enforced or not part.is_of_dataset:
                    self.fault(part.owner, f"{part.name} could not be computed: {shortened(reason)}")
            case Failed(reason):
                error = reason
            case Nothing():
                error = "gives nothing"
            case Value(given):
                try:
                    value = part.read(given)
                except Misfit as misfit:
                    error = str(misfit)
        shown = None if isinstance(value, Absent) else value
        secret = part.owner is not None and self.form.properties[part.owner].encryption is not None
        shown = MASK if secret and part.path[2:3] in (("default",), ("items",)) and shown is not None else shown
        self._explained.append(Explained(part.name, part.program, shown, shortened(error) if error else None))
        return value

    def _named(self) -> dict[str, list[Named]]:
        """What the inputs name now."""
        return {
            name: about.named(self.values[name])[: MOST_NAMED + 1]
            for name, about in self._about.items()
            if name in self.values
        }

    async def _expand(self) -> None:
        """Know the entities that the inputs name now: one question for each blueprint, about those that are new."""
        new: dict[str, dict[str, None]] = {}
        for named in self._named().values():
            for one in named[:MOST_NAMED]:
                if one not in self._entities:
                    new.setdefault(one.blueprint, {})[one.identifier] = None
        for blueprint, identifiers in new.items():
            known = await self._around.entities(blueprint, list(identifiers))
            self._entities |= {Named(blueprint, one): known.get(one) for one in identifiers}

    async def _hold_to_catalog(self, offers: Mapping[str, Query]) -> None:
        """Every entity that an input names has to be there, and in the input's dataset."""
        await self._expand()
        for name, named in self._named().items():
            about = self._about[name]
            if len(named) > MOST_NAMED:
                self.fault(name, f"/{name} names more than {MOST_NAMED} entities")
                continue
            there = {one.identifier for one in named if self._entities[one] is not None}
            for place, one in enumerate(named):
                if one.identifier not in there:
                    at = f"/{name}/{place}" if about.many else f"/{name}"
                    self.fault(name, f"{at} names no entity of {about.blueprint}")
            if not there or name not in offers:
                continue
            try:
                offered = await self._around.offered(about.blueprint, there, offers[name])
            except InvalidRequest as refusal:
                self._is_unusable(name, about, refusal)
                continue
            for place, one in enumerate(named):
                if one.identifier in there.difference(offered):
                    at = f"/{name}/{place}" if about.many else f"/{name}"
                    self.fault(name, f"{at} is not among the entities that are offered")

    def _is_unusable(self, name: str, about: EntityInput, refusal: InvalidRequest) -> None:
        if self._enforced:
            self.fault(name, below(f"{json_path(['properties', name])}.{about.path}", refusal))
