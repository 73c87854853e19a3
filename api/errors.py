"""How errors look over HTTP: one row per domain error, one JSON shape for all."""

import logging
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, JsonValue
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException

from api import refusals
from api.services import with_slashes
from domain import errors
from domain.errors import InterlockError
from domain.shapes import problems, shortened

log = logging.getLogger(__name__)

STATUS: dict[type[InterlockError], HTTPStatus] = {
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.IdentifierTaken: HTTPStatus.CONFLICT,
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.InvalidRequest: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.InvalidInputs: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.BlueprintSchemaMismatch: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.RequiredRelation: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.RelationManyViolation: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.TeamInheritanceEnabled: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.HasDependents: HTTPStatus.FORBIDDEN,
    errors.EntityRunExhausted: HTTPStatus.BAD_REQUEST,
    errors.NotSelfService: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.MissingEntity: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.EntityFailsCondition: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.TemplateFault: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.InvalidInvocation: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.PrivateDestination: HTTPStatus.FORBIDDEN,
    errors.UnresolvableDestination: HTTPStatus.FORBIDDEN,
    errors.RunExhausted: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.RunNotWaitingForApproval: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.RequestChanged: HTTPStatus.PRECONDITION_FAILED,
    errors.RunSynchronized: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.RunTaken: HTTPStatus.CONFLICT,
    errors.IdempotencyKeyReused: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.NotConfigured: HTTPStatus.NOT_FOUND,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.BackendFault: HTTPStatus.UNPROCESSABLE_ENTITY,
}

_EVERYWHERE: tuple[type[InterlockError], ...] = (
    errors.Unauthenticated,
    errors.InvalidRequest,
    errors.TooLarge,
    errors.Unavailable,
)
_NO_OBJECT = "the body: must be an object"
_NOT_JSON = "the body: must be a JSON object, sent with Content-Type: application/json"
_BY_STATUS = {404: "not_found", 405: "method_not_allowed"}


class ErrorBody(BaseModel):
    """Every answer that is not a success."""

    ok: bool = False
    error: str
    message: str


def responses(*kinds: type[InterlockError]) -> dict[int | str, dict[str, Any]]:
    """What a route says in OpenAPI about the errors it answers with, besides those that every route has."""
    named: dict[int, list[str]] = {}
    for kind in (*_EVERYWHERE, *kinds):
        codes = named.setdefault(int(STATUS[kind]), [])
        if kind.code not in codes:
            codes.append(kind.code)
    # As a reference: FastAPI would make a validator of the model for each of them, a thousand in all, and use none.
    shape = {"application/json": {"schema": {"$ref": f"#/components/schemas/{ErrorBody.__name__}"}}}
    return {
        status: {"description": " or ".join(f"`{code}`" for code in codes), "content": shape}
        for status, codes in sorted(named.items())
    }


def install(app: FastAPI) -> None:
    """Make the app answer every error in the one shape."""
    app.add_exception_handler(InterlockError, _expected)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _routing)
    app.add_exception_handler(Exception, _unexpected)


def answer(status: int, code: str, message: str) -> JSONResponse:
    """An error as clients read it."""
    return JSONResponse({"ok": False, "error": code, "message": message}, status_code=status)


def status_of(error: InterlockError) -> HTTPStatus:
    """The status of the error, or of the nearest kind it is one of."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


async def _expected(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, InterlockError):
        raise error
    return await _refused(request, status_of(error), error.code, str(error))


async def _malformed(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    message = "; ".join(_problems(request, error))
    return await _refused(request, HTTPStatus.UNPROCESSABLE_ENTITY, errors.InvalidRequest.code, message)


async def _refused(request: Request, status: int, code: str, message: str) -> JSONResponse:
    await refusals.record(request, status, message)
    return answer(status, code, message)


async def _routing(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    code = _BY_STATUS.get(error.status_code, "bad_request")
    path = shortened(with_slashes(request.scope["path"]))
    return answer(error.status_code, code, f"{error.detail}: {request.method} {path}")


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    route = getattr(request.scope.get("route"), "path", "")  # a path may hold the key of a webhook
    log.error("request failed unexpectedly", extra={"method": request.method, "route": route})
    return answer(HTTPStatus.INTERNAL_SERVER_ERROR, InterlockError.code, "something went wrong on our side")


def _problems(request: Request, error: RequestValidationError) -> Iterator[str]:
    sent: dict[str, JsonValue] = {
        "path": dict(request.path_params),
        "query": {name: _one_or_all(request.query_params.getlist(name)) for name in request.query_params},
        "header": dict(request.headers),
        "body": error.body,
    }
    faults: dict[str, list[ErrorDetails]] = {}
    for fault in error.errors():
        kind, *path = fault["loc"]
        faults.setdefault(kind, []).append(fault | {"loc": tuple(path)})
    for kind, found in faults.items():
        whole = "the body" if kind == "body" else kind
        for problem in problems(found, sent.get(kind), whole=whole):
            yield _NOT_JSON if problem == _NO_OBJECT else problem


def _one_or_all(values: list[str]) -> JsonValue:
    return values[0] if len(values) == 1 else list[JsonValue](values)
