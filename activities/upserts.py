"""Writes to the catalog that runs ask for: in the transaction that ends the run, so each is made once."""

from collections.abc import Sequence
from dataclasses import replace

from sqlmodel.ext.asyncio.session import AsyncSession

from activities.receipts import settle
from activities.services import Services
from backends.base import EntityWrite, Receipt
from domain.causes import Cause
from domain.documents import Document
from domain.entities import Author, parsed_request
from domain.runs import Run, RunStatus, Source
from store import automation_writes, blueprints, catalog, entities, people_lock, runs
from store.completing import completing_written
from store.database import Raced
from store.entities import Writer
from store.entity_batches import PutOptions

DATASOURCE = "interlock"
_OPTIONS = PutOptions(upsert=True, merge=True)


async def upsert(services: Services, run: Run, write: EntityWrite, *, lines: Sequence[str] = ()) -> Run:
    """The run once it has ended with the entity in the catalog; one that has ended already writes nothing.

    Runs of an automation go on side by side: one that comes after the run of a later change leaves what that has
    written, so that a mirror of something does not end with an old picture of it.

    Raises:
        InterlockError: why the entity cannot be written. Nothing is, and the run goes on.
        Unavailable: it cannot be written now.
    """
    # Without an identifier it gets one that is the run's alone, so that it is the same however often this is tried.
    request = parsed_request({"identifier": run.id.replace("r_", "e_", 1), **write.entity})
    identifier = str(request.named)
    complete = completing_written(services.database, services.evaluate, services.now)

    async def work(session: AsyncSession) -> Run:
        current = (await runs.locked(session, run.id)).run  # nobody else ends it before this is written
        if current.status is not RunStatus.IN_PROGRESS:
            return await settle(session, current, Receipt(), at=services.now())
        blueprint = await blueprints.get(session, write.blueprint, to_use=True)
        written: Document = {"blueprint": blueprint.identifier, "identifier": identifier}
        await people_lock.take_for(session, blueprint.identifier)
        # Whoever else writes the entity is waited for. Where there is none yet, only one of two who create it does.
        known = await entities.find(session, blueprint.identifier, identifier, to_change=True)
        if later := await automation_writes.later(session, run, written):
            said = f"Left {blueprint.identifier} {identifier!r} as run {later} wrote it for a later change"
            return await settle(session, run, _success(said, written), lines=lines, at=services.now())
        writer = _writer(services, run)
        put = await catalog.put(
            session, blueprint, request, _OPTIONS, generated=identifier, writer=writer, complete=complete
        )
        if known is None and not put.is_new:
            raise Raced("the entity was created meanwhile, perhaps for a later change")
        await automation_writes.note(session, run, written)
        done = "Created" if put.is_new else "Updated" if put.is_changed else "Nothing to change in"
        receipt = _success(f"{done} {blueprint.identifier} {identifier!r}", written)
        return await settle(session, run, receipt, lines=lines, at=writer.author.at)

    return await services.database.transact(work)


def _success(summary: str, written: Document) -> Receipt:
    return Receipt(status=RunStatus.SUCCESS, summary=summary, response=written)


def _writer(services: Services, run: Run) -> Writer:
    """Who writes: the person who asked for the run, or the organization where an automation did.

    What they may write is for the action to say that they may execute, so the permissions are the organization's; those
    of a token that a run's backend was given, to be exact.
    """
    credentials = replace(services.credentials, run_id=run.id)
    automatic = run.source is Source.AUTOMATION
    author = Author(credentials.id if automatic else run.created_by, services.now(), DATASOURCE)
    origin = run.source if automatic else Source.API
    return Writer(author, origin, run.id, credentials).because_of(Cause.of_run(run))
