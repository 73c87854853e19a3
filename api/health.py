"""Whether this process lives, and whether it has what it needs."""

import asyncio
from datetime import timedelta
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from temporalio.service import RPCError

from api.services import ApiServices, Services
from domain.errors import Unavailable
from domain.jq import Value

router = APIRouter(tags=["health"])

_PATIENCE = timedelta(seconds=2)


@router.get("/healthz")
async def healthz() -> dict[str, bool]:
    """The process lives."""
    return {"ok": True}


@router.get("/readyz", responses={503: {"description": "something is not ready; `checks` says what"}})
async def readyz(services: Services) -> JSONResponse:
    """Whether SQL, Temporal and jq answer; each by name, `ok` or what is wrong."""
    names = ("database", "temporal", "jq")
    found = await asyncio.gather(*(_checked(name, services) for name in names))
    checks: dict[str, Any] = dict(zip(names, found, strict=True))
    ready = all(answer == "ok" for answer in found)
    return JSONResponse({"ok": ready, "checks": checks}, status_code=200 if ready else 503)


async def _checked(name: str, services: ApiServices) -> str:
    try:
        async with asyncio.timeout(_PATIENCE.total_seconds()):
            match name:
                case "database":
                    await services.database.check()
                case "temporal":
                    await services.temporal.service_client.check_health(timeout=_PATIENCE)
                case "jq":
                    [outcome] = await services.evaluate(["."], None)
                    return "ok" if isinstance(outcome, Value) else "does not evaluate"
    except (Unavailable, RPCError, RuntimeError, TimeoutError):
        return "does not answer"
    return "ok"
