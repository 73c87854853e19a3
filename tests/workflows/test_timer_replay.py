"""Histories of timers of released versions: today's workflow code decides in them as it did then."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from domain.timers import Outcome
from tests.workflows.record_timers import HISTORIES, WAYS
from workflows.calls import EntityTimerInput
from workflows.entity_timer import EntityTimer


def recorded() -> Iterator[Path]:
    """Every history there is."""
    yield from sorted(HISTORIES.glob("*.json"))


def history(file: Path) -> WorkflowHistory:
    """A recorded history."""
    return WorkflowHistory.from_json(file.stem, file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", list(recorded()), ids=lambda file: file.stem)
async def test_a_recorded_history_of_a_timer_replays(file: Path) -> None:
    replayer = Replayer(workflows=[EntityTimer], data_converter=pydantic_data_converter)
    result = await replayer.replay_workflow(history(file), raise_on_replay_failure=False)
    assert result.replay_failure is None


def test_every_way_a_timer_can_go_is_recorded() -> None:
    assert {file.stem.partition("-")[2] for file in recorded()} == {way.__name__ for way in WAYS}


@workflow.defn(name="EntityTimer")
class Changed:
    """The same workflow after a change that histories do not survive."""

    @workflow.run
    async def run(self, start: EntityTimerInput) -> Outcome:
        """Sleep first."""
        await workflow.sleep(timedelta(seconds=1))
        return Outcome.DONE


async def test_a_change_that_breaks_histories_of_timers_is_noticed() -> None:
    replayer = Replayer(
        workflows=[Changed], data_converter=pydantic_data_converter, workflow_runner=UnsandboxedWorkflowRunner()
    )
    file = next(file for file in recorded() if file.stem.endswith("-expired"))
    result = await replayer.replay_workflow(history(file), raise_on_replay_failure=False)
    assert result.replay_failure is not None
