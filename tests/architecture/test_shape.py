"""What holds the parts together: names, types and tables that must agree."""

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from temporalio import activity

from activities.cancelling import CancelActivity
from activities.changelog import ChangelogActivity
from activities.invocation import InvocationActivity
from activities.notifications import NotificationActivity
from activities.runs import RunActivities
from activities.schedules import ScheduleActivities
from activities.timers import TimerActivities
from api.errors import STATUS
from domain import errors
from domain.errors import InterlockError
from workflows import calls

ROOT = Path(__file__).parents[2]


def implementations() -> dict[str | None, Any]:
    """Every activity, by the name Temporal knows it by."""
    found: dict[str | None, Any] = {}
    for owner in (
        InvocationActivity,
        CancelActivity,
        NotificationActivity,
        RunActivities,
        ScheduleActivities,
        ChangelogActivity,
        TimerActivities,
    ):
        for method in vars(owner).values():
            if definition := activity._Definition.from_callable(method):
                found[definition.name] = method
    return found


@pytest.mark.parametrize("call", calls.ALL, ids=lambda call: call.__name__)
def test_a_call_has_an_implementation_with_the_same_types(call: object) -> None:
    implementation = implementations()[call.__name__]  # type: ignore[attr-defined]
    assert get_type_hints(call) == get_type_hints(implementation)
    assert list(inspect.signature(call).parameters) == list(inspect.signature(implementation).parameters)[1:]  # type: ignore[arg-type]


def test_every_implementation_is_called_by_somebody() -> None:
    assert set(implementations()) == {call.__name__ for call in calls.ALL}


def test_every_error_has_a_status() -> None:
    assert set(STATUS) == set(InterlockError.__subclasses__())


def test_the_tree_at_the_head_of_the_errors_is_the_tree() -> None:
    drawn = re.findall(r"[├└]── (\w+)", errors.__doc__ or "")
    real = [name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, InterlockError)]
    assert sorted(drawn) == sorted(set(real) - {"InterlockError"})


@pytest.mark.parametrize("file", sorted(ROOT.glob("*/*.py")), ids=lambda file: f"{file.parent.name}/{file.name}")
def test_no_file_is_too_long_to_be_one_thing(file: Path) -> None:
    if file.parent.name in ("tests",) or ".venv" in file.parts:
        return
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 350, f"{file.name} has grown large"


def dependencies(of: Dependant) -> Iterator[Any]:
    """What FastAPI calls before the route, at any depth."""
    for one in of.dependencies:
        yield one.call
        yield from dependencies(one)


@pytest.mark.parametrize("file", sorted((ROOT / "api").glob("[a-z]*.py")), ids=lambda file: file.stem)
def test_nothing_that_routes_are_made_of_is_called_in_a_thread(file: Path) -> None:
    router = getattr(importlib.import_module(f"api.{file.stem}"), "router", None)
    for route in (one for one in (router.routes if router else ()) if isinstance(one, APIRoute)):
        for call in (route.endpoint, *dependencies(route.dependant)):
            is_coroutine = inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(type(call).__call__)
            assert is_coroutine, f"{call} of {route.path}: FastAPI runs it in a thread, which costs more than it does"


def test_workflow_code_imports_no_effects() -> None:
    forbidden = re.compile(
        r"^\s*(?:from|import) (sqlmodel|sqlalchemy|httpx|jq|store|backends|runtime|os|random|time)\b", re.M
    )
    for file in (ROOT / "workflows").glob("*.py"):
        assert not forbidden.search(file.read_text(encoding="utf-8")), file.name
