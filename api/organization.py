"""The organization and its secrets.

They are written at the moment their turn came, not when it was asked: the times of what is recorded go forward.
"""

from fastapi import APIRouter

from api.auth import AdminCaller, AuthenticatedRoute, Caller
from api.errors import responses
from api.services import ApiServices, Services
from domain.documents import Document
from domain.errors import Forbidden, IdentifierTaken, NotFound
from domain.organization import Described, OrganizationPatch
from domain.runs import Source
from domain.secret_values import NewSecret, Secret, SecretPatch
from domain.users import Caller as CallerValue
from store import organizations, secrets

router = APIRouter(route_class=AuthenticatedRoute, tags=["organization"])


@router.get("/v1/organization", responses=responses(NotFound))
async def get_organization(caller: Caller, services: Services) -> Document:
    """The organization: its name and settings."""
    async with services.database.read() as session:
        described = await organizations.described(session)
    return {"ok": True, "organization": _echo(services, described)}


@router.put("/v1/organization", responses=responses(Forbidden, NotFound))
async def replace_organization(body: OrganizationPatch, caller: AdminCaller, services: Services) -> Document:
    """Replace the name or all settings; what is not named stays."""
    described = await _described(services, caller, body, merge=False)
    return {"ok": True, "organization": _echo(services, described)}


@router.patch("/v1/organization", responses=responses(Forbidden, NotFound))
async def patch_organization(body: OrganizationPatch, caller: AdminCaller, services: Services) -> Document:
    """Change the name or some settings: those that are not named stay, null removes one."""
    await _described(services, caller, body, merge=True)
    return {"ok": True}


@router.post("/v1/organization/secrets", responses=responses(Forbidden, IdentifierTaken))
async def create_secret(body: NewSecret, caller: AdminCaller, services: Services) -> Document:
    """Keep a secret for templates, `{{ .secrets.NAME }}`. Its value is never told again."""
    encrypted = services.vault.encrypt(body.secret_value)
    async with services.database.write() as session:
        at = services.now()
        secret = Secret(secret_name=body.secret_name, description=body.description, created_at=at, updated_at=at)
        await secrets.create(session, secret, encrypted, by=caller.id, origin=Source.API)
    return {"ok": True, "secret": secret.model_dump(mode="json")}


@router.get("/v1/organization/secrets", responses=responses())
async def list_secrets(caller: Caller, services: Services) -> Document:
    """The names and descriptions of all secrets."""
    async with services.database.read() as session:
        found = await secrets.listed(session)
    return {"ok": True, "secrets": [secret.model_dump(mode="json") for secret in found]}


@router.get("/v1/organization/secrets/{name}", responses=responses(NotFound))
async def get_secret(name: str, caller: Caller, services: Services) -> Document:
    """The name and description of a secret."""
    async with services.database.read() as session:
        secret = await secrets.get(session, name)
    return {"ok": True, "secret": secret.model_dump(mode="json")}


@router.patch("/v1/organization/secrets/{name}", responses=responses(Forbidden, NotFound))
async def patch_secret(name: str, patch: SecretPatch, caller: AdminCaller, services: Services) -> Document:
    """Change the value or the description."""
    encrypted = services.vault.encrypt(patch.secret_value) if patch.secret_value is not None else None
    async with services.database.write() as session:
        secret = await secrets.get(session, name, to_change=True)
        said = {"description": patch.description} if "description" in patch.model_fields_set else {}
        if encrypted is not None or secret.model_copy(update=said) != secret:
            secret = secret.model_copy(update={**said, "updated_at": services.now()})
            await secrets.replace(session, secret, encrypted, by=caller.id, origin=Source.API)
    return {"ok": True, "secret": secret.model_dump(mode="json")}


@router.delete("/v1/organization/secrets/{name}", responses=responses(Forbidden, NotFound))
async def delete_secret(name: str, caller: AdminCaller, services: Services) -> Document:
    """Forget the secret. Templates that name it see null from now on."""
    async with services.database.write() as session:
        await secrets.get(session, name, to_change=True)  # whoever writes it now is earlier
        await secrets.remove(session, name, by=caller.id, at=services.now(), origin=Source.API)
    return {"ok": True}


async def _described(services: ApiServices, caller: CallerValue, said: OrganizationPatch, *, merge: bool) -> Described:
    return await services.database.transact(
        lambda session: organizations.describe(
            session,
            lambda before: before.changed(said, merge=merge),
            by=caller.id,
            at=services.now(),
            origin=Source.API,
        )
    )


def _echo(services: ApiServices, described: Described) -> Document:
    return {
        "id": services.organization.id,
        "name": described.name,
        "featureFlags": [],  # of the vendor's own product; we have none
        "isBlocked": False,
        "settings": described.settings,
    }
