"""What is reported about a run is cleared of the secrets that went along with it, before anybody keeps or shows it."""

from sqlmodel.ext.asyncio.session import AsyncSession

from api.deciding import fingerprints
from api.services import ApiServices
from domain.runs import Report
from domain.secrets import Redactor
from store import actions, secrets
from store.runs import Found


async def redactor(session: AsyncSession, found: Found, services: ApiServices) -> Redactor:
    """What clears reports about the run; it does nothing where its action names no secrets.

    Who works on the run was given them, and receivers echo what they were sent.

    Raises:
        Unavailable: SQL does not answer.
    """
    action = await actions.version(session, found.action_id, found.run.interlock.action_version)
    if not action.template.secret_programs:
        return Redactor(())
    decrypt = fingerprints(services).decrypt
    plaintexts = map(decrypt, (await secrets.encrypted(session)).values())
    return Redactor(plaintext for plaintext in plaintexts if plaintext is not None)


def cleared(report: Report, clear: Redactor) -> Report:
    """The report without secrets. What the backend calls the run stays as it is: it is found by that."""
    texts = {name: clear.text(text) for name in ("status_label", "summary") if (text := getattr(report, name))}
    link = tuple(map(clear.text, report.link)) if report.link is not None else None
    return report.model_copy(update={**texts, "link": link})
