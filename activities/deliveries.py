"""What a run sends, secrets and all, as it is needed after its backend was told of it: to be claimed, or looked up."""

import dataclasses
from base64 import b64encode
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote

import httpx

from activities.attempts import Watch
from activities.services import Services
from backends import parse_rendered
from backends.base import InvocationMethod, Resources
from domain import contexts
from domain.actions import Action
from domain.documents import Document
from domain.errors import BackendRefused, InvalidInvocation
from domain.fingerprints import fingerprint
from domain.jq import Evaluator
from domain.runs import Run
from domain.templating import Template
from store import actions, events, secrets
from store.database import Database

_SAID = {"body", "payload"}
"""The keys of methods that say what is sent; without them it is the message that older receivers expect."""
_TELLING = 8
"""How many characters a path has at least that tells anything of a secret URL; shorter ones are everywhere."""


@dataclass(frozen=True)
class Deliveries:
    """How this deployment renders."""

    database: Database
    evaluate: Evaluator
    decrypt: Callable[[str], str | None]
    """Turns a stored secret into its plaintext; None if no configured key fits."""
    request_key: bytes
    organization: str

    @classmethod
    def of(cls, services: Services) -> Self:
        """With what activities work with."""
        return cls(
            services.database,
            services.evaluate,
            services.decrypt,
            services.request_key,
            services.credentials.organization,
        )

    async def secrets_of(self, template: Template) -> dict[str, str]:
        """The plaintext of every secret, if the template names any.

        Raises:
            BackendRefused: one that the template seems to name cannot be decrypted.
            Unavailable: SQL does not answer.
        """
        if not template.secret_programs:
            return {}
        async with self.database.read() as session:
            encrypted = await secrets.encrypted(session)
        decrypted = {name: self.decrypt(value) for name, value in encrypted.items()}
        for name, plaintext in decrypted.items():
            if plaintext is None and any(name in program for program in template.secret_programs):
                raise BackendRefused(f"The secret {name} cannot be decrypted with the configured keys")
        return {name: plaintext for name, plaintext in decrypted.items() if plaintext is not None}

    async def event_of(self, run: Run) -> Document | None:
        """What started the run of an automation.

        Raises:
            NotFound: it was deleted, which does not happen while the run goes on.
            Unavailable: SQL does not answer.
        """
        if run.interlock.cause is None:
            return None
        async with self.database.read() as session:
            return await events.of_change(session, run.interlock.cause, self.organization)

    async def method_of(
        self, run: Run, action: Action, plaintexts: dict[str, str]
    ) -> tuple[InvocationMethod, Collection[str]]:
        """The method as it was handed over, with the secrets of now, and what was made of them.

        What was approved with others is not given out.

        Raises:
            InterlockError: why it cannot be rendered (any more). The text may hold a secret.
            Unavailable: it cannot be rendered now.
        """
        if not action.template.secret_programs and run.payload is not None:
            return parse_rendered(run.payload), ()
        context = contexts.of_run(run, action, await self.event_of(run))
        rendering = await action.template.rendered(context, self.evaluate, secrets=plaintexts, now=run.created_at)
        if not isinstance(rendering.value, dict):
            raise InvalidInvocation("invocationMethod: is no object any more")
        if run.interlock.gate and not run.approves(fingerprint(rendering.value, self.request_key)):
            raise BackendRefused("What would be sent has changed since it was approved")
        return parse_rendered(rendering.value), rendering.made

    async def handed_over(
        self, run: Run, action_id: str, resources: Resources, watch: Watch
    ) -> tuple[InvocationMethod, Resources]:
        """The method of a run that was handed over, and what it may use.

        Secrets are added to those that are known as soon as anything could tell them.

        Raises:
            InterlockError: why it cannot be rendered (any more). The text may hold a secret.
            Unavailable: it cannot be rendered now.
        """
        async with self.database.read() as session:
            action = await actions.version(session, action_id, run.interlock.action_version)
        plaintexts = await self.secrets_of(action.template)
        watch.known.update(plaintexts.values())
        method, made = await self.method_of(run, action, plaintexts)
        watch.made.update(made)
        return method, telling(resources, watch.known)

    async def message_of(self, run: Run, action: Action) -> Document:
        """The message that older receivers expect; empty if the run says what is sent.

        Raises:
            NotFound: what started the run was deleted, which does not happen while it goes on.
            Unavailable: SQL does not answer.
        """
        payload = run.payload or {}
        event = None if payload.keys() & _SAID else await self.event_of(run)
        return contexts.legacy_message(run, action, payload, event)


def telling(resources: Resources, known: set[str]) -> Resources:
    """The resources; each secret that a method asks for is added to those that are `known`."""

    async def secret(name: str) -> str | None:
        found = await resources.secret(name)
        known.update({found} if found else ())
        return found

    return dataclasses.replace(resources, secret=secret)


def made_of(method: InvocationMethod, secrets: Collection[str]) -> Iterator[str]:
    """What we make of a method ourselves, and a backend may echo.

    That is the credentials of its URL as a header, and the path of a URL that is secret itself.
    """
    url = httpx.URL(method.destination() or "")
    if url.userinfo:
        user, _, password = url.userinfo.decode().partition(":")
        yield b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
    path = url.raw_path.decode()
    if len(path) >= _TELLING and any(path in secret for secret in secrets):
        yield path
