"""What a run would send now: its fingerprint, made with the secrets of this moment, and a copy without them."""

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import JsonValue

from domain import contexts
from domain.actions import Action
from domain.dry_runs import masked, sealed
from domain.errors import TemplateFault
from domain.fingerprints import fingerprint, of_fault
from domain.jq import Evaluator
from domain.runs import Run
from store import secrets
from store.database import Database


@dataclass(frozen=True)
class Fingerprints:
    """How this deployment makes fingerprints."""

    evaluate: Evaluator
    decrypt: Callable[[str], str | None]
    """Turns a stored secret into its plaintext; None if no configured key fits."""
    key: bytes

    async def of(self, database: Database, run: Run, action: Action) -> str:
        """The fingerprint of what a run that people asked for would send if it was sent now.

        What cannot be rendered has one, too: it is another one as soon as it can be.

        Raises:
            Unavailable: no process could be had to run its templates.
        """
        plaintexts: dict[str, str] = {}
        if action.template.secret_programs:
            async with database.read() as session:
                encrypted = await secrets.encrypted(session)
            for name, closed in encrypted.items():
                plaintext = self.decrypt(closed)
                if plaintext is not None:
                    plaintexts[name] = plaintext
                elif any(name in program for program in action.template.secret_programs):
                    return of_fault(f"the secret {name} cannot be decrypted", self.key)
        try:
            rendering = await action.template.rendered(
                contexts.of_run(run, action), self.evaluate, secrets=plaintexts, now=run.created_at
            )
        except TemplateFault as fault:
            return of_fault(str(fault), self.key)
        if not isinstance(rendering.value, dict):
            return of_fault("it is no object any more", self.key)
        return fingerprint(rendering.value, self.key)

    async def shown(self, run: Run, action: Action) -> tuple[JsonValue, str | None]:
        """What would be sent, without secrets; and why it cannot be, where it cannot.

        Raises:
            Unavailable: no process could be had to run its templates.
        """
        try:
            rendering = await action.template.rendered(
                contexts.of_run(run, action), self.evaluate, secrets=None, now=run.created_at
            )
        except TemplateFault as fault:
            return None, str(masked(str(fault), sealed(run, action)))  # it may quote what it was given
        return masked(rendering.value, sealed(run, action)), None
