"""GitHub Actions: dispatch a workflow, find the workflow run that comes of it, and see how that ends."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import ClassVar, Literal

from pydantic import Field, JsonValue

from backends._github_api import GitHubApi, Repository
from backends._rest import RestAnswer, because, begun_before, in_words, page, segment, untold
from backends.base import Delivery, InvocationMethod, Receipt, Reference, Resources, Switch, Unconfirmed
from domain.documents import Document, canonical
from domain.errors import BackendBusy, BackendFault, BackendRefused, BackendUnavailable, InvalidInvocation
from domain.foreign import is_id
from domain.github import WorkflowRun, external_run_id, run_number
from domain.runs import RunStatus

_DISPATCHING = "Error dispatching workflow"
_CANCELLING = "Error cancelling workflow"
_DETAILS = "return_run_details"
_NOT_SAID = "GitHub has not said which workflow run it is"
_FOUND = "The workflow run was found"

_SOON = timedelta(seconds=2)
"""When to look for a workflow run that GitHub has not named."""
_LATER = timedelta(seconds=15)
"""When to look at one that nobody has told about. Webhooks are faster."""
_BEFORE = timedelta(minutes=1)
"""How much earlier than its dispatch was answered a workflow run can be made: GitHub's clock is not ours."""
_RECORDED = timedelta(seconds=10)
"""How long after its dispatch was answered it is known at the latest to which run a workflow run belongs."""

_UNPROCESSABLE, _ACCEPTED, _CONFLICT = 422, 202, 409


class GitHub(InvocationMethod):
    """Dispatches `workflow` of `org/repo`; with `reportWorkflowStatus` the run ends as that workflow ends.

    Source: GitHub's REST API, "Create a workflow dispatch event" and "Workflow runs".
    """

    leftovers = InvocationMethod.leftovers | {"branch"}

    goes_to: ClassVar[tuple[str, ...]] = ("org", "repo")

    type: Literal["GITHUB"]
    org: str
    repo: str
    workflow: str
    """A file name under `.github/workflows`, or the workflow's number as text."""
    workflow_inputs: dict[str, JsonValue] = Field(default_factory=dict)
    """What the workflow declares as inputs; `ref` is the branch or tag it runs on, and no input."""
    report_workflow_status: Switch = True

    @classmethod
    def settled(cls, document: Document) -> Document:
        """The rendered document in the shape of the class: also, a workflow's number becomes text."""
        settled = super().settled(document)
        match settled.get("workflow"):
            case bool():
                pass
            case int(number):
                settled["workflow"] = str(number)
        return settled

    def verify(self) -> None:
        """Check that every name can be part of a path.

        Raises:
            InvalidInvocation: one cannot, or `ref` is no text.
        """
        for key, name in (("org", self.org), ("repo", self.repo), ("workflow", self.workflow)):
            try:
                segment(name)
            except InvalidInvocation as problem:
                raise InvalidInvocation(f"invocationMethod.{key}: {problem}") from None
        if not isinstance(self.workflow_inputs.get("ref"), str | None):
            raise InvalidInvocation("invocationMethod.workflowInputs.ref: must be the name of a branch or tag")

    async def invoke(self, delivery: Delivery, using: Resources) -> Receipt:
        """Dispatch the workflow, once: also where a worker dies while it does.

        What GitHub may have dispatched without saying so is looked for, and not dispatched again.

        Raises:
            BackendBusy: GitHub's rate limit holds.
            BackendUnavailable: nothing was dispatched.
            Unconfirmed: a worker died, and what came of it could not be asked for as long as it is looked for.
            BackendRefused: GitHub refuses, or never can be asked.
        """
        try:
            api, repository = await self._known(delivery.run_id, using)
            if since := await using.reservations.begin(delivery.run_id, using.now()):
                return await self._dispatched_before(api, Reference(delivery.run_id, since))
            return await self._dispatched(api, repository, delivery.run_id)
        except BackendFault as fault:
            raise because(_DISPATCHING, fault) from None

    async def look_up(self, reference: Reference, using: Resources) -> Receipt | None:
        """How the workflow run stands. One that GitHub has not named is found first.

        Raises:
            BackendFault: GitHub does not tell at the moment.
        """
        number = self._number(reference)
        if number is not None and not self.report_workflow_status:
            return None
        api = await GitHubApi.opened(using, self.org, self.repo)
        if number is None:
            return await self._found(api, reference, using.now())
        answer = await api.get(f"/actions/runs/{number}")
        run = WorkflowRun.read(answer.value) if answer.accepted else None
        if run is None:
            raise BackendRefused(f"GitHub does not tell of workflow run {number}: {api.cause(answer)}")
        if run.outcome is None:
            return None
        return Receipt(status=run.outcome, log=(run.last_line,))

    async def cancel(self, reference: Reference, using: Resources) -> str | None:
        """Cancel the workflow run. One that GitHub has not named is found first; no other is ever cancelled.

        Raises:
            BackendUnavailable: it is not there yet.
            BackendFault: GitHub did not.
        """
        try:
            api = await GitHubApi.opened(using, self.org, self.repo)
            number = self._number(reference) or await self._certain(api, reference)
            if number is None:
                return "GitHub was not asked to cancel anything: which workflow run it is cannot be told for certain"
            answer = await api.cancel(number)
        except BackendFault as fault:
            raise because(_CANCELLING, fault) from None
        if answer.status == _CONFLICT:
            return f"GitHub did not cancel workflow run {number}: {api.cause(answer)}"
        if answer.status != _ACCEPTED:
            raise BackendRefused(f"{_CANCELLING}: {api.cause(answer)}")
        return f"GitHub was asked to cancel workflow run {number}"

    def _number(self, reference: Reference) -> int | None:
        return run_number(f"{self.org}/{self.repo}", reference.external_run_id, reference.link)

    def _ref(self) -> str | None:
        ref = self.workflow_inputs.get("ref")
        return ref if isinstance(ref, str) and ref else None

    def _inputs(self) -> dict[str, JsonValue]:
        """The inputs as GitHub takes them: texts."""
        return {
            name: value if isinstance(value, str) else canonical(value)
            for name, value in self.workflow_inputs.items()
            if name != "ref"
        }

    @property
    def _path(self) -> str:
        return f"/actions/workflows/{segment(self.workflow)}"

    async def _known(self, run_id: str, using: Resources) -> tuple[GitHubApi, Repository]:
        """What a dispatch needs. Where a worker died that may have dispatched, not being told it is not the end."""
        try:
            api = await GitHubApi.opened(using, self.org, self.repo)
            return api, await api.repository()
        except BackendBusy:
            raise
        except BackendFault as fault:
            if since := await begun_before(run_id, using):
                raise untold(fault, since, using.github.patience, using) from None
            raise

    async def _dispatched(self, api: GitHubApi, repository: Repository, run_id: str) -> Receipt:
        try:
            answer = await self._answered(api, self._ref() or repository.default_branch)
            if answer.status == _UNPROCESSABLE and repository.remembered and not self._ref():
                api.forget()
                before, repository = repository.default_branch, await api.repository()
                if repository.default_branch != before:
                    answer = await self._answered(api, repository.default_branch)
        except Unconfirmed as fault:
            api.forget()
            return self._unconfirmed(str(fault), api.using)
        except BackendFault:
            api.forget()
            await api.using.reservations.undo(run_id)
            raise
        if answer.accepted:
            return self._receipt(repository, answer, api.using)
        api.forget()
        if answer.inconclusive:
            return self._unconfirmed(api.cause(answer), api.using)
        await api.using.reservations.undo(run_id)
        raise BackendRefused(api.cause(answer))

    async def _answered(self, api: GitHubApi, ref: str) -> RestAnswer:
        document: dict[str, JsonValue] = {"ref": ref, "inputs": self._inputs(), _DETAILS: True}
        answer = await api.post(f"{self._path}/dispatches", document)
        if answer.status == _UNPROCESSABLE and _DETAILS in answer.cause:
            # An Enterprise Server that does not know it, and has done nothing.
            del document[_DETAILS]
            answer = await api.post(f"{self._path}/dispatches", document)
        return answer

    async def _dispatched_before(self, api: GitHubApi, reference: Reference) -> Receipt:
        """What came of a dispatch of which nobody knows whether GitHub got it: it is looked for, not done again."""
        now, patience = api.using.now(), api.using.github.patience
        try:
            found = await self._found(api, reference, now)
        except BackendFault as fault:
            raise untold(fault, reference.invoked_at, patience, api.using) from None
        if found is not None and found.external_run_id:
            line = "A worker died while it dispatched the workflow. It was not dispatched again, its run was found"
            return replace(found, log=(line,), look_up_after=_LATER if self.report_workflow_status else None)
        age = now - reference.invoked_at
        if age < patience:  # so that the refusals do not run out before the time does
            raise BackendBusy("a worker died meanwhile, and what came of it is looked for", max(age / 2, _SOON))
        raise BackendRefused(f"a worker died meanwhile, and no workflow run came of it within {in_words(patience)}")

    def _receipt(self, repository: Repository, answer: RestAnswer, using: Resources) -> Receipt:
        match answer.get("workflow_run_id"), repository.id, repository.owner_id:
            case number, repository_id, owner_id if is_id(number) and is_id(repository_id) and is_id(owner_id):
                return Receipt(
                    link=page(answer.get("html_url")),
                    external_run_id=external_run_id(owner_id, repository_id, number),
                    look_up_after=_LATER if self.report_workflow_status else None,
                )
        return Receipt(look_up_after=_SOON, log=(f"{_NOT_SAID}, so {_sought(using)}",))

    @staticmethod
    def _unconfirmed(cause: str, using: Resources) -> Receipt:
        cause = cause.removesuffix(".")
        line = f"GitHub did not confirm the dispatch: {cause}. It may have started the workflow all the same, so"
        return Receipt(look_up_after=_SOON, log=(f"{line} {_sought(using)}, and none is dispatched again",))

    async def _found(self, api: GitHubApi, reference: Reference, now: datetime) -> Receipt | None:
        """The workflow run that came of the dispatch: one that names the run, else the one nearest in time.

        A guess is not made before it is known which of them belong to dispatches that GitHub has answered.
        """
        candidates = await self._candidates(api, reference)
        named = [one.run for one in candidates if one.names(reference)]
        rest = sorted(candidates, key=lambda one: abs(one.made_at - reference.invoked_at))
        for run in (*named, *(one.run for one in rest if one.free_at <= now)):
            external = run.external_run_id
            if await api.using.reservations.reserve(external, reference.run_id):
                why = "its name has the id of this run" if run in named else "the nearest in time that is nobody else's"
                return Receipt(link=page(run.link), external_run_id=external, log=(f"{_FOUND}: {why}",))
        patience = api.using.github.patience
        if now - reference.invoked_at < patience:
            return None
        if not self.report_workflow_status:
            return None  # whoever reports may do so still; GitHub may have accepted it and only not say what came of it
        gone = f"{_DISPATCHING}: {_NOT_SAID}, and none came of it within {in_words(patience)}"
        return Receipt(status=RunStatus.FAILURE, summary=gone)

    async def _certain(self, api: GitHubApi, reference: Reference) -> int | None:
        """The workflow run that names the run, or the only one that can be its own; None: which it is is a guess."""
        candidates, now = await self._candidates(api, reference), api.using.now()
        named = [one for one in candidates if one.names(reference)]
        if not candidates and now - reference.invoked_at < api.using.github.patience:
            raise BackendUnavailable("GitHub does not list the workflow run yet")
        for one in named or (candidates if len(candidates) == 1 else ()):
            if not named and one.free_at > now:
                raise BackendBusy("it cannot be told yet which workflow run it is", one.free_at - now)
            if await api.using.reservations.reserve(one.run.external_run_id, reference.run_id):
                return one.run.id
        return None

    async def _candidates(self, api: GitHubApi, reference: Reference) -> list["_Candidate"]:
        since = (reference.invoked_at - _BEFORE).strftime("%Y-%m-%dT%H:%M:%SZ")
        query: dict[str, str | int] = {"event": "workflow_dispatch", "created": f">={since}", "per_page": 100}
        if ref := self._ref():
            query["branch"] = ref.removeprefix("refs/heads/").removeprefix("refs/tags/")
        if actor := await api.actor():
            query["actor"] = actor
        answer = await api.get(f"{self._path}/runs", **query)
        listed = answer.get("workflow_runs")
        if not answer.accepted or not isinstance(listed, list):
            raise BackendRefused(f"GitHub does not tell of the runs of {self.workflow}: {api.cause(answer)}")
        # A server that names none cannot know either, however long it is waited for.
        wait = api.using.timeout + _RECORDED if api.names_runs(answer) else timedelta(0)
        found: list[_Candidate] = []
        for run in map(WorkflowRun.read, listed):
            if run is None or run.created_at is None or (run.run_ids and reference.run_id not in run.run_ids):
                continue  # also if it is not known yet to whom it belongs
            found.append(_Candidate(run, run.created_at, run.created_at + wait))
        return found


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A workflow run that may have come of a dispatch."""

    run: WorkflowRun
    made_at: datetime
    free_at: datetime
    """When it would be known that it belongs to another dispatch, if GitHub has named it in its answer to that."""

    def names(self, reference: Reference) -> bool:
        """Whether it says itself to which run it belongs."""
        return reference.run_id in self.run.run_ids


def _sought(using: Resources) -> str:
    return f"its workflow run is looked for, {in_words(using.github.patience)} at most"
