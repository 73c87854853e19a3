"""What the blueprints of the system are before anybody extends them."""

from fastapi import APIRouter

from api.auth import AuthenticatedRoute, Caller
from api.errors import responses
from domain.documents import Document
from domain.errors import NotFound
from domain.system_blueprints import structure

router = APIRouter(route_class=AuthenticatedRoute, tags=["blueprints"])


@router.get("/v1/blueprints/system/{blueprint}/structure", responses=responses(NotFound))
async def get_system_structure(blueprint: str, caller: Caller) -> Document:
    """The system part of a blueprint, as it is shipped; what an extension adds is not in it."""
    found = structure(blueprint)
    if found is None:
        raise NotFound("System blueprint", blueprint)
    return {"ok": True, "blueprint": found}
