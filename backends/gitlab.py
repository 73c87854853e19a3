"""GitLab: start a pipeline, or have the execution agent start it, and see how it ends."""

from dataclasses import replace
from datetime import timedelta
from typing import ClassVar, Literal

import regex
from pydantic import Field, JsonValue

from backends._gitlab_api import Branch, GitLabApi
from backends._rest import RestAnswer, because, begun_before, in_words, page, segment, untold
from backends._topics import for_gitlab, publish_run
from backends.base import Delivery, InvocationMethod, Receipt, Reference, Resources, Unconfirmed
from domain.documents import Document, canonical
from domain.errors import BackendBusy, BackendFault, BackendRefused, BackendUnavailable, InvalidInvocation
from domain.gitlab import Pipeline, named_runs, pipeline_number
from domain.runs import RunStatus

_TRIGGERING = "Failed to trigger pipeline"
_CANCELLING = "Failed to cancel pipeline"
_SOON = timedelta(seconds=2)
"""When to look for a pipeline that GitLab may have started, and has not confirmed."""
_LATER = timedelta(seconds=15)
"""When to look at a pipeline that nobody has told about. Webhooks are faster."""
_BEFORE = timedelta(minutes=1)
"""How much earlier than the request was given up it can have been made: GitLab's clock is not ours."""
_CANDIDATES = 50
"""How many pipelines that belong to no run are asked for their variables, each time."""
_PERHAPS = "GitLab may have started it all the same; it is not started again"

_BEGINNING = regex.compile(r'\s*\{\s*"id"\s*:\s*(?P<number>[1-9][0-9]{0,19})\s*,')
"""How an answer begins that tells of a pipeline: what comes later may be lost."""

_MISSING = (
    "no credentials for GitLab: save the organization secret {secret}, or {trigger} with a trigger token of the "
    "project, or configure INTERLOCK_GITLAB_TOKEN"
)


class GitLab(InvocationMethod):
    """Starts a pipeline of `groupName/projectName`; the run ends as it ends, unless somebody reports before.

    Without credentials of ours the execution agent starts it, if it reads its runs from Kafka.

    Source: GitLab's REST API, "Create a new pipeline" and "Trigger a pipeline"; the default mapping of the agent.
    """

    leftovers = InvocationMethod.leftovers | {"agent"}

    goes_to: ClassVar[tuple[str, ...]] = ("group_name", "project_name")

    type: Literal["GITLAB"]
    project_name: str
    group_name: str
    """May name subgroups, with slashes."""
    default_ref: str = ""
    """The branch or tag to run on, where no `ref` is among the variables or inputs. Empty: the default branch."""
    pipeline_variables: dict[str, JsonValue] = Field(default_factory=dict)
    """The variables of the pipeline; without them, the inputs."""

    @classmethod
    def settled(cls, document: Document) -> Document:
        """The rendered document in the shape of the class: also, what was rendered to null is not there."""
        settled = super().settled(document)
        return {key: value for key, value in settled.items() if value is not None or key not in _OPTIONAL}

    def verify(self) -> None:
        """Check that the names make a path, and that `ref` is one.

        Raises:
            InvalidInvocation: they do not.
        """
        for key, names in (("groupName", self.group_name), ("projectName", self.project_name)):
            try:
                for name in names.split("/"):
                    segment(name)
            except InvalidInvocation as problem:
                raise InvalidInvocation(f"invocationMethod.{key}: {problem}") from None
        _named(self.pipeline_variables, "invocationMethod.pipelineVariables.ref")

    async def invoke(self, delivery: Delivery, using: Resources) -> Receipt:
        """Start the pipeline, once: also where a worker dies while it does.

        What GitLab may have started without saying so is looked for, and not started again.

        Raises:
            BackendBusy: a limit of GitLab's holds.
            BackendUnavailable: nothing was started.
            Unconfirmed: something may have been, and could not be told from what others start.
            BackendRefused: GitLab refuses, or never can be asked.
        """
        try:
            variables = self._variables(delivery)
            ref = _named(self.pipeline_variables, "pipelineVariables.ref") or _named(_inputs(delivery), "ref")
            api = await GitLabApi.opened(using, self._project)
            if not api.token and not api.trigger:
                return await self._handed_to_agent(ref or self.default_ref, variables, delivery, using)
            default = await self._known(api, delivery.run_id)
            if since := await using.reservations.begin(delivery.run_id, using.now()):
                return await self._started_before(api, Reference(delivery.run_id, since))
            return await self._started(api, ref or self.default_ref, default, _texts(variables), delivery)
        except InvalidInvocation as problem:
            raise BackendRefused(f"{_TRIGGERING}: {problem}") from None
        except BackendFault as fault:
            raise because(_TRIGGERING, fault) from None

    async def look_up(self, reference: Reference, using: Resources) -> Receipt | None:
        """How the pipeline stands.

        Raises:
            BackendFault: GitLab does not tell at the moment.
        """
        number = pipeline_number(self._project, reference.external_run_id, reference.link)
        api = await GitLabApi.opened(using, self._project)
        if not api.token:
            return None
        if number is None:
            return await self._found(api, reference) or self._given_up(api, reference)
        answer = await api.get(f"/pipelines/{number}")
        pipeline = Pipeline.read(answer.value) if answer.accepted else None
        if pipeline is None:
            raise BackendRefused(f"GitLab does not tell of pipeline {number}: {api.cause(answer)}")
        link = () if reference.link else page(pipeline.link)
        if pipeline.outcome is None:
            return Receipt(link=link) if link else None
        return Receipt(status=pipeline.outcome, link=link, log=(pipeline.last_line,))

    async def cancel(self, reference: Reference, using: Resources) -> str | None:
        """Cancel the pipeline, if we have more than a trigger token. One that is not known yet is found first.

        Raises:
            BackendUnavailable: it is not there yet.
            BackendFault: GitLab did not.
        """
        number = pipeline_number(self._project, reference.external_run_id, reference.link)
        try:
            api = await GitLabApi.opened(using, self._project)
            if not api.token:
                return None
            if number is None:
                found = await self._found(api, reference)
                if found is None and self._names(reference.run_id) and not self._given_up(api, reference):
                    raise BackendUnavailable("GitLab does not list the pipeline yet")
                number = int(found.external_run_id) if found and found.external_run_id else None
            if number is None:
                return "GitLab was not asked to cancel anything: which pipeline it is cannot be told"
            answer = await api.cancel(number)
            if not answer.accepted:
                raise BackendRefused(api.cause(answer))
        except BackendFault as fault:
            raise because(_CANCELLING, fault) from None
        # GitLab says yes whatever became of the pipeline before.
        pipeline = Pipeline.read(answer.value)
        if pipeline and pipeline.outcome and pipeline.status != "canceled":
            return f"GitLab did not cancel pipeline {number}: it had ended before ({pipeline.status})"
        return f"GitLab was asked to cancel pipeline {number}"

    @property
    def _project(self) -> str:
        return f"{self.group_name}/{self.project_name}"

    def _variables(self, delivery: Delivery) -> Document:
        return self.pipeline_variables if "pipeline_variables" in self.model_fields_set else _inputs(delivery)

    def _names(self, run_id: str) -> bool:
        """Whether the variables name the run, so that its pipeline can be told from all others."""
        return run_id in named_runs([{"value": text} for text in _texts(self.pipeline_variables).values()])

    async def _known(self, api: GitLabApi, run_id: str) -> Branch:
        """The default branch, which also shows that GitLab is there, and knows the project.

        Where a worker died that may have started a pipeline, not being told it is not the end.
        """
        try:
            return await api.default_branch()
        except BackendBusy:
            raise
        except BackendFault as fault:
            if since := await begun_before(run_id, api.using):
                patience = api.using.gitlab.patience if self._names(run_id) else timedelta(0)
                raise untold(fault, since, patience, api.using) from None
            raise

    async def _started(
        self, api: GitLabApi, ref: str, default: Branch, variables: dict[str, str], delivery: Delivery
    ) -> Receipt:
        """What GitLab says that it has started. What it may have started without saying so is looked for."""
        try:
            answer = await api.start(ref or default.name, variables, delivery.legacy_message)
            if answer.status == _BAD_REQUEST and default.remembered and not ref:
                api.forget()
                present = await api.default_branch()
                if present.name != default.name:
                    answer = await api.start(present.name, variables, delivery.legacy_message)
        except Unconfirmed as fault:
            api.forget()
            return self._unconfirmed(api, str(fault), delivery.run_id)
        except BackendFault:
            api.forget()
            await api.using.reservations.undo(delivery.run_id)
            raise
        if answer.accepted:
            return self._receipt(api, answer, delivery.run_id)
        api.forget()
        if answer.inconclusive:
            return self._unconfirmed(api, api.cause(answer), delivery.run_id)
        await api.using.reservations.undo(delivery.run_id)
        raise BackendRefused(api.cause(answer))

    async def _started_before(self, api: GitLabApi, reference: Reference) -> Receipt:
        """What came of a request of which nobody knows whether GitLab got it: it is looked for, not sent again."""
        if not api.token or not self._names(reference.run_id):
            raise BackendRefused("a worker died meanwhile, and GitLab may have started it; it is not started again")
        patience = api.using.gitlab.patience
        try:
            found = await self._found(api, reference)
        except BackendFault as fault:
            raise untold(fault, reference.invoked_at, patience, api.using) from None
        if found:
            line = "A worker died while it triggered the pipeline. It was not triggered again, it was found"
            return replace(found, log=(line,), look_up_after=_LATER)
        age = api.using.now() - reference.invoked_at
        if age < patience:  # so that the refusals do not run out before the time does
            raise BackendBusy("a worker died meanwhile, and what came of it is looked for", max(age / 2, _SOON))
        raise BackendRefused(f"a worker died meanwhile, and no pipeline came of it within {in_words(patience)}")

    async def _found(self, api: GitLabApi, reference: Reference) -> Receipt | None:
        """The pipeline that has the id of the run among its variables; None: there is none yet, or they have no id."""
        if not self._names(reference.run_id):
            return None
        since = reference.invoked_at - api.using.timeout - _BEFORE
        answer = await api.get(
            "/pipelines",
            source="trigger" if api.trigger else "api",
            created_after=since.strftime("%Y-%m-%dT%H:%M:%SZ"),
            per_page=100,
        )
        if not answer.accepted or not isinstance(answer.value, list):
            raise BackendRefused(f"GitLab does not tell of the pipelines of {self._project}: {api.cause(answer)}")
        asked = 0
        for pipeline in map(Pipeline.read, reversed(answer.value)):
            if pipeline is None or asked == _CANDIDATES or await api.using.taken(self.type, pipeline.external_run_id):
                continue
            asked += 1
            named = named_runs((await api.get(f"/pipelines/{pipeline.id}/variables")).value)
            external = pipeline.external_run_id
            if reference.run_id in named and await api.using.reservations.reserve(external, reference.run_id):
                line = "The pipeline was found: it has the id of this run among its variables"
                return Receipt(link=page(pipeline.link), external_run_id=external, log=(line,))
        return None

    def _given_up(self, api: GitLabApi, reference: Reference) -> Receipt | None:
        """How a run ends whose pipeline was looked for in vain, for long enough."""
        patience = api.using.gitlab.patience
        if not self._names(reference.run_id) or api.using.now() - reference.invoked_at < patience:
            return None
        gone = f"GitLab did not confirm it, and no pipeline came of it within {in_words(patience)}"
        return Receipt(status=RunStatus.FAILURE, summary=f"{_TRIGGERING}: {gone}")

    async def _handed_to_agent(self, ref: str, variables: Document, delivery: Delivery, using: Resources) -> Receipt:
        """Leave it to the agent, which reads `ref` among the variables, and else in the method."""
        if using.kafka is None or await using.streamer() != "KAFKA":
            trigger = self._project.replace("/", "_")
            raise BackendRefused(_MISSING.format(secret=using.gitlab.token_secret, trigger=trigger))
        method: Document = {"type": self.type, "projectName": self.project_name, "groupName": self.group_name}
        method |= {"defaultRef": ref} if ref else {}
        method |= {"pipelineVariables": variables} if "pipeline_variables" in self.model_fields_set else {}
        message = for_gitlab(method, variables, delivery, using)
        if await using.reservations.begin(delivery.run_id, using.now()):
            raise BackendRefused("a worker died meanwhile, and the agent may have been told; it is not told again")
        try:
            await publish_run(delivery, message, using, {})
        except BackendUnavailable:
            await using.reservations.undo(delivery.run_id)
            raise
        return Receipt()

    def _receipt(self, api: GitLabApi, answer: RestAnswer, run_id: str) -> Receipt:
        """What GitLab says that it has started. Also half an answer names it, as it begins with the id."""
        later = _LATER if api.token else None
        if pipeline := Pipeline.read(answer.value):
            link = page(pipeline.link)
            return Receipt(link=link, external_run_id=pipeline.external_run_id, look_up_after=later)
        if isinstance(answer.value, str) and (found := _BEGINNING.match(answer.value)):
            return Receipt(external_run_id=found["number"], look_up_after=later)
        if isinstance(answer.value, str) and not answer.broken:  # somebody's page
            raise BackendRefused("the answer tells of no pipeline; is INTERLOCK_GITLAB_URL the address of GitLab?")
        cause = answer.broken or "its answer is none of its API"
        return self._unconfirmed(api, f"it did not say which one it has started: {cause}", run_id)

    def _unconfirmed(self, api: GitLabApi, cause: str, run_id: str) -> Receipt:
        """What follows where GitLab may have started a pipeline: it is looked for, if it could be told from others.

        Raises:
            Unconfirmed: it could not.
        """
        cause = cause.removesuffix(".")
        if api.token is None or not self._names(run_id):
            raise Unconfirmed(f"{cause}. {_PERHAPS}")
        line = f"GitLab did not confirm the pipeline: {cause}. It may have started it all the same, so it is looked for"
        patience = in_words(api.using.gitlab.patience)
        return Receipt(look_up_after=_SOON, log=(f"{line}, {patience} at most, and not started again",))


_BAD_REQUEST = 400
_OPTIONAL = ("defaultRef", "pipelineVariables")


def _inputs(delivery: Delivery) -> Document:
    match delivery.legacy_message:
        case {"payload": {"properties": dict(inputs)}}:
            return inputs
    return {}


def _texts(variables: Document) -> dict[str, str]:
    """The variables as GitLab takes them: texts."""
    return {name: value if isinstance(value, str) else canonical(value) for name, value in variables.items()}


def _named(variables: Document, where: str) -> str | None:
    """The branch or tag that is among them, if there is one: null, false and empty texts are none.

    Raises:
        InvalidInvocation: something else is in its place.
    """
    match variables.get("ref"):
        case None | False | "":
            return None
        case str(ref):
            return ref
    raise InvalidInvocation(f"{where}: must be the name of a branch or tag")
