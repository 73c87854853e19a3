"""What a timer property was called: changes keep the name of their time, automations have the present one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from domain.documents import Document

_NAMES = "called"


@dataclass(frozen=True)
class TimerRename:
    """A timer property of a blueprint got another name."""

    old: str
    new: str
    upto: int
    """The sequence of the last change that may know it by the old one."""


@dataclass(frozen=True)
class Span:
    """The changes in which a name means a property."""

    name: str
    after: int
    upto: int | None
    """None: all that follow."""


def names_since(name: str, renames: Iterable[TimerRename]) -> list[str | None]:
    """What the property that had the name was called before each of the renames, and what it is called now.

    The last is None when it was gone before another one got its name.

    >>> names_since("ttl", [TimerRename("ttl", "until", 5), TimerRename("until", "end", 9)])
    ['ttl', 'until', 'end']
    """
    names: list[str | None] = [name]
    for rename in renames:
        if rename.old == names[-1]:
            names.append(rename.new)
        elif rename.new == names[-1]:
            return [*names, None]
    return names


def spans(name: str, renames: Sequence[TimerRename]) -> list[Span]:
    """In which changes the property that has the name now is called what; all renames of its blueprint, in order.

    >>> spans("until", [TimerRename("ttl", "until", 5)])
    [Span(name='until', after=5, upto=None), Span(name='ttl', after=0, upto=5)]
    """
    found: list[Span] = []
    upto: int | None = None
    for rename in reversed(renames):
        if rename.new == name:
            found.append(Span(name, rename.upto, upto))
            name, upto = rename.old, rename.upto
        elif rename.old == name:  # what had the name before was another one
            return [*found, Span(name, rename.upto, upto)]
    return [*found, Span(name, 0, upto)]


def known_as(change: Document, names: Iterable[str | None]) -> Document:
    """The change of a timer, for automations that know its property by one of these names."""
    return {**change, _NAMES: [name for name in names if name is not None]}


def is_known_as(change: Document, name: str) -> bool:
    """Whether the name is one of the timer property that the change is about."""
    names, context = change.get(_NAMES), change["context"]
    if isinstance(names, list):
        return name in names
    return isinstance(context, dict) and context.get("property") == name
