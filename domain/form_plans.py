"""What can be said of a form before anybody fills it in: worked out once for each version of an action."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from domain.form_parts import Part, Path, default_of, misplaced, parts_of
from domain.form_values import EntityInput, entity_input, ordered
from domain.inputs import UserInputs

_KEPT = 256
"""How many forms are remembered, each with its plan."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The parts of a form that jq computes, and its inputs that name entities."""

    defaults: Mapping[str, Part]
    """By input."""
    parts: Sequence[Part]
    """Every other part, in the order in which they are settled."""
    misplaced: Sequence[Path]
    """Where something is computed that nobody computes."""
    entities: Mapping[str, EntityInput]
    """What inputs say about entities, as the form is written."""
    order: Sequence[str]
    """The inputs, each after those that it depends on."""


def plan_of(form: UserInputs) -> Plan:
    """What is known of the form; a form that is asked about again is not looked at again."""
    return _remembered(_This(form))


class _This:
    """This form and no other, as a key: comparing it with an equal one would cost more than the plan."""

    __slots__ = ("form",)

    def __init__(self, form: UserInputs) -> None:
        self.form = form

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _This) and self.form is other.form

    def __hash__(self) -> int:
        # Whoever remembers the key holds the form, so that no other one gets its id.
        return id(self.form)


@lru_cache(maxsize=_KEPT)
def _remembered(this: _This) -> Plan:
    form = this.form
    defaults = {name: part for name, each in form.properties.items() if (part := default_of(name, each))}
    parts = parts_of(form)
    return Plan(
        defaults=defaults,
        parts=parts,
        misplaced=misplaced(form, [*defaults.values(), *parts]),
        entities={name: about for name, each in form.properties.items() if (about := entity_input(each))},
        order=ordered(form),
    )
