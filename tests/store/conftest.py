"""Values that store tests begin with."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import JsonValue
from sqlmodel.ext.asyncio.session import AsyncSession

from domain import candidates
from domain.actions import Action
from domain.entities import Entity
from domain.identifiers import ActionId, RunId, new
from domain.jq import Outcome
from domain.runs import Driving, Ref, Run, RunStatus

AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


@pytest.fixture
def at() -> datetime:
    """A moment."""
    return AT


@pytest.fixture
def run() -> Run:
    """A run that is in progress."""
    return make_run()


def make_run(**values: Any) -> Run:
    """A run; in progress unless told otherwise."""
    return Run(
        **{
            "id": RunId(new("r")),
            "status": RunStatus.IN_PROGRESS,
            "action": Ref(identifier="deploy"),
            "created_at": AT,
            "created_by": "user_1",
            "updated_at": AT,
            "updated_by": "user_1",
            "interlock": Driving(),
            **values,
        }
    )


def make_action(identifier: str = "deploy", **more: Any) -> Action:
    """An action with an empty form."""
    document = {
        "identifier": identifier,
        "trigger": {"type": "self-service", "operation": "CREATE", "userInputs": {"properties": {}}},
        "invocationMethod": {"type": "KAFKA"},
        **more,
    }
    return Action(
        id=new("action"), identifier=ActionId(identifier), version=1, document=document,
        created_at=AT, created_by="user_1", updated_at=AT, updated_by="user_1",
    )  # fmt: skip


async def never(session: AsyncSession, entities: Sequence[Entity], **_: Any) -> Sequence[candidates.Entity]:
    """Makes entities complete where nothing is derived, so that nobody should ask."""
    raise AssertionError("nobody had to ask for what is derived")


async def no_jq(programs: Sequence[str], document: JsonValue, *, now: datetime | None = None) -> list[Outcome]:
    """Runs jq where there are no programs, so that nobody should ask."""
    raise AssertionError("nobody had to ask for jq")
