"""Which backends there are: the files of this package, and what other packages offer as entry points."""

import inspect
import pkgutil
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from types import ModuleType
from typing import Literal, NamedTuple, TypeGuard, get_args, get_origin

from pydantic.json_schema import models_json_schema

import backends
from backends.base import InvocationMethod

ENTRY_POINTS = "interlock.backends"
"""The group in which other packages offer theirs: a module, or the class itself."""

_TYPE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")

Methods = dict[str, type[InvocationMethod]]
"""Backends by the `type` they have in JSON."""


@dataclass(frozen=True)
class Refused:
    """An entry point that is not used. It takes nothing else with it."""

    plugin: str
    """Its name, and the package it belongs to."""
    why: str
    fault: BaseException | None = None
    """What it has raised, if it could not be loaded."""


class Found(NamedTuple):
    """Everything that could be found."""

    methods: Methods
    refused: tuple[Refused, ...]


def discover() -> Found:
    """Every backend that is there. Nothing from elsewhere takes a type from another, or the others down.

    Raises:
        RuntimeError: two files of this package have the same type.
    """
    methods: Methods = {}
    for module in _in_package():
        for method in _methods_of(module):
            for name in _types(method):
                if (other := methods.setdefault(name, method)) is not method:
                    raise RuntimeError(f"both {_place(other)} and {_place(method)} are the backend {name}")
    offered, refused = _offered()
    claims: dict[str, set[type[InvocationMethod]]] = defaultdict(set)
    for theirs in offered.values():
        for name, method in theirs.items():
            claims[name] |= {method, *([methods[name]] if name in methods else [])}
    for plugin, theirs in offered.items():
        if taken := sorted(name for name in theirs if len(claims[name]) > 1):
            others = {_place(other) for name in taken for other in claims[name] if other is not theirs[name]}
            refused.append(Refused(plugin, f"{', '.join(taken)} is also {' and '.join(sorted(others))}"))
        else:
            methods |= theirs
    return Found(methods, tuple(refused))


def _in_package() -> Iterator[ModuleType]:
    for module in pkgutil.iter_modules(backends.__path__):
        if not module.name.startswith("_") and module.name != "base":
            yield import_module(f"{backends.__name__}.{module.name}")


def _offered() -> tuple[dict[str, Methods], list[Refused]]:
    """What the entry points have, by plugin and in an order that does not depend on where they are installed."""
    offered: dict[str, Methods] = {}
    refused: list[Refused] = []
    for plugin, entry_point in sorted(
        ((_named(each), each) for each in metadata.entry_points(group=ENTRY_POINTS)), key=lambda each: each[0]
    ):
        try:
            theirs = list(_methods_of(entry_point.load()))
        except (Exception, SystemExit) as fault:  # somebody else's code: whatever it does, the others start
            refused.append(Refused(plugin, f"it cannot be loaded: {type(fault).__name__}: {fault}", fault))
            continue
        problem = next(filter(None, map(_problem, theirs)), None)
        if not theirs:
            problem = "it has no subclass of backends.InvocationMethod whose type is a literal"
        if problem:
            refused.append(Refused(plugin, problem))
        else:
            offered[plugin] = {name: method for method in theirs for name in _types(method)}
    return offered, refused


def _named(entry_point: metadata.EntryPoint) -> str:
    package = f"{entry_point.dist.name} {entry_point.dist.version}" if entry_point.dist else "an unknown package"
    return f"{entry_point.name} of {package}"


def _methods_of(found: object) -> Iterable[type[InvocationMethod]]:
    """The backends that a module or its submodules define (what they only import is another's), or the class itself."""
    if not isinstance(found, ModuleType):
        return [found] if _is_method(found) else []
    own = (found.__name__, f"{found.__name__}.")
    return [
        value
        for value in vars(found).values()
        if _is_method(value) and (value.__module__ == own[0] or value.__module__.startswith(own[1]))
    ]


def _is_method(value: object) -> TypeGuard[type[InvocationMethod]]:
    return (
        inspect.isclass(value)
        and issubclass(value, InvocationMethod)
        and get_origin(value.model_fields["type"].annotation) is Literal
    )


def _types(method: type[InvocationMethod]) -> tuple[str, ...]:
    return get_args(method.model_fields["type"].annotation)


def _problem(method: type[InvocationMethod]) -> str | None:
    """Why the class cannot be a backend: found now, so that no definition, run or document stumbles over it."""
    for name in _types(method):
        if not isinstance(name, str) or not _TYPE.fullmatch(name):
            return f"{_place(method)}: the type {name!r} must be capital letters, digits and underscores"
    for name in ("invoke", "look_up", "cancel"):
        if not inspect.iscoroutinefunction(getattr(method, name)):
            return f"{_place(method)}: {name} must be async"
    try:
        models_json_schema([(method, "validation")])
    except Exception as fault:
        return f"{_place(method)}: its fields have no JSON schema: {type(fault).__name__}: {fault}"
    return None


def _place(method: type[InvocationMethod]) -> str:
    return f"{method.__module__}.{method.__qualname__}"
