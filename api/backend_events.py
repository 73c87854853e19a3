"""What the doors for events of backends share: which runs an event is about, and what it does to them."""

from collections.abc import Callable, Iterable

from api.services import ApiServices
from domain.documents import Document
from domain.errors import NotFound
from domain.runs import PLATFORM, Run, Source
from store import run_lists, runs


def header(name: str, description: str, *, required: bool = False) -> Document:
    """A header as OpenAPI describes it."""
    said: Document = {"in": "header", "name": name, "schema": {"type": "string"}, "description": description}
    return {**said, "required": True} if required else said


def ignored(why: str) -> Document:
    """The answer to an event that nothing follows from."""
    return {"ok": True, "ignored": why}


async def told_runs(
    services: ApiServices,
    *,
    external_run_id: str,
    named: Iterable[str] = (),
    concerns: Callable[[Run], bool],
    said: Callable[[Run], Run],
    last_line: str,
) -> list[str]:
    """The ids of the runs that an event has changed.

    It is about those that know what it tells of by its external id, and those that it names itself, as far as it
    `concerns` them; but not before their time and their turn, as nothing was started for them. `said` is what becomes
    of such a run; what somebody has reported about it before stays.
    """
    async with services.database.read() as session:
        filters = run_lists.Filters(external_run_id=external_run_id, active=True)
        found = {run.id: run for run in await run_lists.listed(session, filters)}
        for run_id in sorted(set(named) - found.keys()):
            try:
                run = await runs.get(session, run_id)
            except NotFound:
                continue  # a text that looks like one
            found[run.id] = run

    def move(current: Run) -> Run:
        return said(current) if concerns(current) and not current.held else current

    waiting = [run.id for run in found.values() if concerns(run)]
    return [run_id for run_id in waiting if await _moved(services, run_id, move, last_line)]


async def _moved(services: ApiServices, run_id: str, move: Callable[[Run], Run], last_line: str) -> bool:
    async with services.database.write() as session:
        before, after = await runs.change(session, run_id, move, origin=Source.API)
        ended = after.status is not before.status
        if ended:
            await runs.log(session, run_id, last_line, by=PLATFORM, at=services.now())
    if ended:
        await services.driver.try_wake(after)
    return after is not before
