"""Work that goes on beside workflows for as long as the process lives."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from temporalio.service import RPCError

from domain.errors import Unavailable

log = logging.getLogger(__name__)

Step = Callable[[], Coroutine[Any, Any, object]]


async def again(what: str, work: Step, pause: Step, *, retry: float) -> NoReturn:
    """Do the work and pause, again and again, until cancelled. Whatever fails is tried again after `retry` seconds.

    An outage of SQL or Temporal only costs time. Nobody else does the work, so it goes on after any other error as
    well, and says what happened.
    """
    while True:
        try:
            await work()
            await pause()
            continue
        except Unavailable:
            pass  # which the database has logged
        except RPCError as error:
            log.warning("temporal does not answer", extra={"work": what, "cause": error.status.name})
        except Exception:
            log.exception("work failed, and goes on", extra={"work": what})
        await asyncio.sleep(retry)


def every(seconds: float) -> Step:
    """A pause of so long."""

    async def pause() -> None:
        await asyncio.sleep(seconds)

    return pause
