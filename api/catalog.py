"""What routes that write to the catalog share: who may, and for whom."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated, TypeVar

from fastapi import Depends, Header
from sqlmodel.ext.asyncio.session import AsyncSession

from api import judging
from api.auth import Caller, CausedBy
from api.services import ApiServices, Services
from api.visibility import require_reporter, visible
from domain.audit import MAX_USER_AGENT, origin_of
from domain.causes import Cause
from domain.entities import Author
from domain.errors import EntityRunExhausted
from domain.runs import RunStatus
from store import runs
from store.entities import Writer

_Result = TypeVar("_Result")


async def _writer(
    caller: Caller,
    cause: CausedBy,
    services: Services,
    user_agent: Annotated[str, Header()] = "",
    run_id: str | None = None,
) -> Writer:
    author = Author(caller.id, services.now(), user_agent[:MAX_USER_AGENT])
    judge = judging.judge(services)
    return Writer(author, origin_of(user_agent), run_id, caller, judge=judge).because_of(cause)


CatalogWriter = Annotated[Writer, Depends(_writer)]
"""On whose behalf a route writes, and whose permissions decide; `run_id` in the query ties the write to a run."""


async def written(
    services: ApiServices,
    writer: Writer,
    work: Callable[[AsyncSession, Writer], Awaitable[_Result]],
    *,
    together: bool = False,
) -> _Result:
    """What `work` makes of a transaction, once the run it belongs to is known to go on.

    It writes at the moment its turn came, not when it was asked: the times of what is written go forward. What makes
    it write is that run or the one whose backend asks, whichever is deeper in a chain of runs. `together` is for work
    that is soon done: see `Database.write`.

    Raises:
        NotFound: there is no such run, or none for this caller.
        Forbidden: the caller may not write on behalf of the run.
        EntityRunExhausted: the run does not go on.
        Unavailable: others were in the way, every time.
    """
    if writer.run_id and writer.caller:
        require_reporter((await visible(writer.run_id, writer.caller, services)).run, writer.caller)

    async def gated(session: AsyncSession) -> _Result:
        ours = replace(writer, author=writer.author._replace(at=services.now()))
        if writer.run_id:
            run = await runs.get(session, writer.run_id)
            if run.status is not RunStatus.IN_PROGRESS:
                raise EntityRunExhausted(f"run {run.id} is not in progress: it is {run.status}")
            ours = ours.because_of(Cause.of_run(run))
        return await work(session, ours)

    return await services.database.transact(gated, together=together)
