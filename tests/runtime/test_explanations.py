"""Explanations leave jq to those that run things: one at a time, and each for so long."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest
from pydantic import JsonValue

from domain.actions import Action
from domain.documents import Document
from domain.errors import Unavailable
from domain.jq import Outcome, Value
from runtime import explanations
from runtime.explanations import Explainer
from tests.store.conftest import make_action

CHANGE: Document = {
    "resourceType": "entity", "action": "CREATE", "at": "2026-01-02T03:04:05.678Z", "status": "SUCCESS",
    "context": {"blueprint": "service", "entity": "cart"},
}  # fmt: skip


def automation(*expressions: str) -> Action:
    condition = {"type": "JQ", "expressions": list(expressions)}
    listens = {"type": "ENTITY_CREATED", "blueprintIdentifier": "service"}
    return make_action("notify", trigger={"type": "automation", "event": listens, "condition": condition})


class Jq:
    """Answers true, after a while."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.busy = 0
        self.calls: list[Sequence[str]] = []

    async def __call__(
        self, programs: Sequence[str], document: JsonValue, *, now: datetime | None = None
    ) -> list[Outcome]:
        """The answers; it serves one at a time."""
        assert not self.busy
        self.busy += 1
        self.calls.append(programs)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.busy -= 1
        return [Value(True)] * len(programs)


async def test_changes_are_explained_one_after_the_other() -> None:
    explain = Explainer(Jq(0.01))
    answers: list[Any] = await asyncio.gather(*(explain([automation(".a")], CHANGE, {}) for _ in range(5)))
    assert [one.fires for [one] in answers] == [True] * 5


async def test_who_waits_for_too_long_is_told_so_and_the_next_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explanations, "PATIENCE", 0.05)
    jq = Jq(0.3)
    explain = Explainer(jq)
    first = asyncio.create_task(explain([automation(".a")], CHANGE, {}))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="being explained"):
        await explain([automation(".a")], CHANGE, {})
    assert (await first)[0].fires
    jq.seconds = 0
    assert (await explain([automation(".a")], CHANGE, {}))[0].fires


async def test_what_is_not_answered_in_time_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explanations, "LONGEST", 0.05)
    jq = Jq(60)
    async with asyncio.timeout(5):
        [judgement] = await Explainer(jq)([automation(".a", ".b")], CHANGE, {})
    assert (judgement.fires, judgement.overran) == (False, True)
    assert "all conditions together took longer than 0.05 s" in judgement.why
    assert jq.calls == [[".a", ".b"]], "nothing is asked when the time is over"
