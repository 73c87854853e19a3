"""Timelines of runs in SQL: what is known of one from its changes, decisions, attempts and log, put in order.

Only where each of them is, and when, is read of all; what they say is read of one page.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

import sqlalchemy as sa
from sqlmodel import SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from domain import run_timelines
from domain.attempts import Attempt, Kind
from domain.audit import Resource
from domain.changes import Happening, Outcome
from domain.documents import Document
from domain.run_timelines import Attempted, Entry, Lost
from domain.runs import PLATFORM, Run
from store import approvals
from store.columns import table
from store.tables import ChangeRow, RunAttemptRow, RunLogRow

_ATTEMPTS, _CHANGES, _LOGS = table(RunAttemptRow).c, table(ChangeRow).c, table(RunLogRow).c


class _Rank(IntEnum):
    """What comes first of what happened at the same moment."""

    BEGINNING = 0
    CHANGE = 1
    LOST = 2
    ATTEMPT = 3
    LOG = 4
    END = 5


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Something that happened: when, and where more is to be read of it."""

    at: datetime
    rank: _Rank
    sequence: int = 0
    """Of its row, if it has one."""
    number: int = 0
    """Of an attempt."""
    row: type[SQLModel] = ChangeRow
    entry: Entry | None = None
    """What it says, where that is known already."""

    @property
    def order(self) -> tuple[datetime, int, int]:
        """What it is sorted by."""
        return (self.at, self.rank, self.sequence)


async def page(session: AsyncSession, run: Run, *, limit: int, offset: int) -> tuple[Entry, ...]:
    """What happened to the run, oldest first."""
    places = [
        *await _changes(session, run),
        *await _attempts(session, run.id),
        *await _log(session, run.id),
    ]
    shown = sorted(places, key=lambda place: place.order)[offset : offset + limit]
    said = {row: await _documents(session, row, shown) for row in _READ}
    # What has no document any more was purged meanwhile.
    return tuple(
        place.entry or _READ[place.row](place, said[place.row][place.sequence])
        for place in shown
        if place.entry or place.sequence in said[place.row]
    )


async def _changes(session: AsyncSession, run: Run) -> Iterable[_Place]:
    """What the audit log has of the run; where it was purged, what the run itself and its decisions say."""
    found = await session.exec(  # type: ignore[call-overload]
        sa.select(_CHANGES.sequence, _CHANGES.at, _CHANGES.happening)
        .where(_CHANGES.run_id == run.id, _CHANGES.resource_type == Resource.RUN, _CHANGES.status == Outcome.SUCCESS)
        .order_by(_CHANGES.sequence)
    )
    known = list(found)
    complete = bool(known) and known[0].happening in (Happening.CREATE, None)
    places = []
    for number, one in enumerate(known):
        rank = _Rank.BEGINNING if complete and number == 0 else _Rank.CHANGE
        if run.status.is_terminal and number == len(known) - 1 and not run_timelines.ended_by_decision(run):
            rank = _Rank.END
        places.append(_Place(at=one.at, rank=rank, sequence=one.sequence))
    if not complete:
        since = known[0].at if known else None
        places.append(_Place(at=run.created_at, rank=_Rank.BEGINNING, entry=run_timelines.recorded(run)))
        places += [
            _Place(at=decision.at, rank=_Rank.CHANGE, entry=run_timelines.decided(decision))
            for decision in await approvals.decisions(session, run.id)
            if since is None or decision.at < since
        ]
    if run.status.is_terminal and (not known or run_timelines.ended_by_decision(run)):
        end = run_timelines.ended(run)
        places.append(_Place(at=end.at, rank=_Rank.END, entry=end))
    return places


async def _attempts(session: AsyncSession, run_id: str) -> Iterable[_Place]:
    found = await session.exec(  # type: ignore[call-overload]
        sa.select(
            _ATTEMPTS.sequence,
            _ATTEMPTS.kind,
            _ATTEMPTS.started_at,
            _ATTEMPTS.activity,
            _ATTEMPTS.first_try,
            _ATTEMPTS.last_try,
        )
        .where(_ATTEMPTS.run_id == run_id)
        .order_by(_ATTEMPTS.started_at, _ATTEMPTS.sequence)
    )
    known = list(found)
    covered: dict[str, set[int]] = defaultdict(set)
    for one in known:
        if one.activity is not None:
            covered[one.activity].update(range(one.first_try, one.last_try + 1))
    numbers: dict[str, int] = defaultdict(int)
    places = []
    for one in known:
        tries = covered[one.activity] if one.activity is not None else set()
        lost = set(range(1, one.first_try or 1)) - tries
        tries |= lost
        for _ in lost:
            numbers[one.kind] += 1
            entry = Lost(at=one.started_at, by=PLATFORM, of=Kind(one.kind), number=numbers[one.kind])
            places.append(_Place(at=one.started_at, rank=_Rank.LOST, sequence=entry.number, entry=entry))
        numbers[one.kind] += 1
        attempt = {"sequence": one.sequence, "number": numbers[one.kind], "row": RunAttemptRow}
        places.append(_Place(at=one.started_at, rank=_Rank.ATTEMPT, **attempt))
    return places


async def _log(session: AsyncSession, run_id: str) -> Iterable[_Place]:
    at = _LOGS.document["createdAt"].as_string()
    found = await session.exec(  # type: ignore[call-overload]
        sa.select(_LOGS.sequence, at).where(_LOGS.run_id == run_id)
    )
    return [
        _Place(at=datetime.fromisoformat(said), rank=_Rank.LOG, sequence=sequence, row=RunLogRow)
        for sequence, said in found
    ]


async def _documents(session: AsyncSession, row: type[SQLModel], shown: Sequence[_Place]) -> dict[int, Document]:
    sequences = [place.sequence for place in shown if place.row is row]
    if not sequences:
        return {}
    columns = table(row).c
    found = await session.exec(  # type: ignore[call-overload]
        sa.select(columns.sequence, columns.document).where(columns.sequence.in_(sequences))
    )
    return dict(found.all())


def _changed(place: _Place, said: Document) -> Entry:
    before, after = said["before"], said["after"]
    return run_timelines.of_change(
        before if isinstance(before, dict) else None,
        after if isinstance(after, dict) else {},
        at=place.at,
        by=str(said["by"]),
    )


def _attempted(place: _Place, said: Document) -> Entry:
    return Attempted(at=place.at, by=PLATFORM, number=place.number, attempt=Attempt.model_validate(said))


def _logged(_: _Place, said: Document) -> Entry:
    return run_timelines.logged(said)


_READ: dict[type[SQLModel], Callable[[_Place, Document], Entry]] = {
    ChangeRow: _changed,
    RunAttemptRow: _attempted,
    RunLogRow: _logged,
}
"""What else is part of a timeline has its places in `page`, and is read here."""
