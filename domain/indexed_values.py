"""What searches find an entity by: its properties as rows that SQLite and PostgreSQL compare as rules do.

How values compare is said in `domain/comparisons.py`. A property that is not null has an entry for itself, at place 0.
An array with elements that are equal to anything has an entry for each of those instead, and the first of them tells
what follows it. The teams are the property `$team`.
"""

from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import Final, NamedTuple, TypeAlias

from pydantic import JsonValue

from domain.comparisons import Key, double, instant, key
from domain.times import EPOCH

HEAD: Final = 200
"""How many characters of a text an index looks at."""

LONGEST_NAME: Final = 200
"""Of a property that has entries. Blueprints cannot declare longer ones; entities can have them."""

TEAM: Final = "$team"

_MICROSECOND: Final = timedelta(microseconds=1)


class Entry(NamedTuple):
    """A value as it is found; see `store.catalog_tables.EntityValueRow`. The first four are its key in the entity."""

    name: str
    head: str
    number: float
    place: int
    kind: str
    whole: str | None = None
    moment: int | None = None
    rest: str | None = None


_entry: Final[Callable[[tuple[object, ...]], Entry]] = partial(tuple.__new__, Entry)
"""An entry of all its fields, in order: to be given them by name takes twice as long, and imports make very many."""

_Scalar: TypeAlias = tuple[str, float, str, str | None, int | None]
"""The head, the number, the kind, the whole and the moment of an entry."""

_FEW: Final = 20
"""How many short texts an array has at most whose entries are remembered."""

_REST: Final = 15
"""How many bytes of a digest tell what follows the first element of an array: with all, they were most of its entry."""

_ONLY_TEXTS: Final = {str}
_NULL: Final[_Scalar] = ("", 0.0, "null", None, None)
_TRUTHS: Final[tuple[_Scalar, _Scalar]] = (("", 0.0, "boolean", None, None), ("", 1.0, "boolean", None, None))


def has_entries(name: str) -> bool:
    """Whether a property of this name has entries, unless it is null."""
    return len(name) <= LONGEST_NAME


def entries(properties: Mapping[str, JsonValue], team: Sequence[str]) -> list[Entry]:
    """Everything an entity is found by. Who asks for `$...` never means a property, so those have none."""
    found: list[Entry] = []
    for name, value in properties.items():
        if value is None or len(name) > LONGEST_NAME or name[:1] == "$":
            continue
        if isinstance(value, list):
            found += _of_array(name, value)
        elif (scalar := _scalar(value)) is not None:
            head, number, kind, whole, moment = scalar
            found.append(_entry((name, head, number, 0, kind, whole, moment, None)))
        else:
            found.append(_entry((name, "", 0.0, 0, "object", None, None, None)))
    if team:
        found += _of_array(TEAM, team)
    return found


def difference(before: Sequence[Entry], after: Sequence[Entry]) -> tuple[Sequence[Entry], Sequence[Entry]]:
    """The entries that have to go, and then those that have to come."""
    if not before or not after:
        return before, after
    old, new = set(before), set(after)
    return [entry for entry in before if entry not in new], [entry for entry in after if entry not in old]


def micros(at: datetime) -> int:
    """The microseconds since 1970."""
    return (at - EPOCH) // _MICROSECOND


def digest(keys: Iterable[Key]) -> str:
    """What arrays with elements of these keys have in common, and no others."""
    return _digest([_plain(one) for one in keys]).hex()


def rest(keys: Sequence[Key]) -> str:
    """The same, shorter, of the elements that follow the first one; nothing where none does."""
    return _rest([_plain(one) for one in keys])


def _plain(of: Key) -> tuple[str, object]:
    match of:
        case (kind, datetime() as at):
            return kind, micros(at)
        case (kind, bool() as value):
            return kind, float(value)
        case (kind, float() as number):
            return kind, number + 0.0  # -0.0 is 0.0
    return of


def _plain_scalar(scalar: _Scalar) -> tuple[str, object]:
    """The same of the key of a value that is no array."""
    head, number, kind, whole, moment = scalar
    if kind == "text":
        return kind, head if whole is None else whole
    if kind == "instant":
        return kind, moment
    return kind, None if kind == "null" else number + 0.0


def _digest(plain: list[tuple[str, object]]) -> bytes:
    return sha256(ascii(plain).encode()).digest()


def _rest(plain: list[tuple[str, object]]) -> str:
    return b64encode(_digest(plain)[:_REST]).decode() if plain else ""


def _of_array(name: str, values: Sequence[JsonValue]) -> Sequence[Entry]:
    if len(values) > _FEW:
        return _placed(name, values)
    key = name, *values
    try:
        found = _texts.get(key)
    except TypeError:  # there is an array or an object in it
        return _placed(name, values)
    if found is None:
        found = _placed(name, values)
        if set(map(type, values)) == _ONLY_TEXTS and max(map(len, values)) <= HEAD:  # type: ignore[arg-type]
            if len(_texts) >= _MOST_KEPT:
                _texts.clear()
            _texts[key] = found
    return found


def _placed(name: str, values: Sequence[JsonValue]) -> list[Entry]:
    """The entries of an array."""
    scalars = [_element(one) for one in values]
    known = [one for one in scalars if one is not None]
    if not known:
        return [Entry(name, "" if scalars else _EMPTY, 0.0, 0, "array")]
    is_equal_to_any = len(known) == len(scalars) and not any(one[2] == "array" for one in known)
    following = _rest([_plain_scalar(one) for one in known[1:]]) if is_equal_to_any else None
    found: list[Entry] = []
    # Texts that name one instant are equal, and yet each has its own entry: as texts they differ.
    places: dict[tuple[str, float], int] = {}
    for one in dict.fromkeys(known):
        head, number, kind, whole, moment = one
        # Only those with the same key are told apart by their place: what is before an element does not change it.
        places[head, number] = place = places.get((head, number), 0) + 1
        found.append(Entry(name, head, number, place, kind, whole, moment, None if found else following))
    return found


_EMPTY: Final = digest(())

_MOST_KEPT: Final = 1024
_texts: dict[tuple[JsonValue, ...], Sequence[Entry]] = {}
"""Of arrays of texts alone, which nothing else is equal to: teams and tags are the same again and again."""


def _element(value: JsonValue) -> _Scalar | None:
    if not isinstance(value, list):
        return _scalar(value)
    match key(value):
        case ("array", tuple() as keys):
            return digest(keys), 0.0, "array", None, None
    return None


def _scalar(value: JsonValue) -> _Scalar | None:
    """How a value is found that holds no others; None for an object."""
    if isinstance(value, str):
        # Every instant has its T there, and few other texts do.
        if value[10:11] == "T" and (at := instant(value)) is not None:
            moment = micros(at)
            return "", float(moment), "instant", value, moment
        return (value, 0.0, "text", None, None) if len(value) <= HEAD else (value[:HEAD], 0.0, "text", value, None)
    if isinstance(value, bool):
        return _TRUTHS[value]
    if isinstance(value, (int, float)):
        return "", double(value), "number", None, None
    return _NULL if value is None else None
