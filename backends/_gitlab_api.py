"""GitLab's API for one project: with which credentials, and what its refusals mean."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Self

from pydantic import JsonValue

from backends._rest import Rest, RestAnswer, repeatable, segment
from backends.base import Resources
from domain.documents import Document, canonical
from domain.errors import BackendBusy, BackendRefused, BackendUnavailable
from domain.secrets import Redactor

_CAUSE_LIMIT = 500
_BAD_REQUEST = 400
_THROTTLED = "Too many pipelines created"
"""What GitLab says, with 400, when a project starts more pipelines in a minute than it may."""
_A_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Branch:
    """The branch that a project's pipelines run on where nothing else is said."""

    name: str = "main"
    remembered: bool = False
    """Whether this is what was so within the last minute, and may be out of date."""


@dataclass(slots=True)
class GitLabApi:
    """One project, as one caller, who may have either of the tokens, both or none."""

    using: Resources = field(repr=False)
    project: str
    """The path of the project, with the groups that it is in."""
    token: str | None = field(default=None, repr=False)
    trigger: str | None = field(default=None, repr=False)
    """A token that starts pipelines of this project, and can do nothing else."""

    @classmethod
    async def opened(cls, using: Resources, project: str) -> Self:
        """The project, with the credentials that come first: the organization's secret, else our token.

        Beside them, the project's own trigger token, if the organization has a secret that is called like the project.
        """
        account = using.gitlab
        named = project.replace("/", "_")
        return cls(
            using,
            project,
            (await using.secret(account.token_secret) or account.token or "").strip() or None,
            (await using.secret(named) or "").strip() or None if named != account.token_secret else None,
        )

    async def default_branch(self) -> Branch:
        """The project's default branch, as GitLab told of it within the last minute, else as it is now.

        Whoever has only a trigger token cannot ask.

        Raises:
            BackendUnavailable: GitLab does not tell at the moment, or says when to ask again.
            BackendRefused: it does not know the project, or us, or never can be asked.
        """
        if not self.token:
            return Branch()
        known, key = self.using.known, (self.project, self.token)
        remembered: Branch | None = known.get(self._url, key, self.using.now())
        if remembered:
            return remembered
        answer = await self.get("")
        if not answer.accepted:
            raise BackendRefused(self.cause(answer))
        name = answer.get("default_branch")
        found = Branch(name) if isinstance(name, str) and name else Branch()
        known.learn(self._url, key, replace(found, remembered=True), self.using.now())
        return found

    def forget(self) -> None:
        """Ask GitLab before the next pipeline: something is not as it was, or GitLab does not answer as it should."""
        self.using.known.forget(self._url)

    async def get(self, path: str, **query: str | int) -> RestAnswer:
        """Ask for what is below the project. It can be asked again, whatever happened.

        Raises:
            BackendUnavailable: GitLab does not tell at the moment, or says when to ask again.
            BackendRefused: it never can be asked.
        """
        return await self._repeatable("GET", self._path(path), query)

    async def cancel(self, number: int) -> RestAnswer:
        """Ask for the end of a pipeline. That can be asked again as well.

        Raises:
            BackendUnavailable: GitLab does not say that it has heard it.
            BackendRefused: it never can be asked.
        """
        return await self._repeatable("POST", self._path(f"/pipelines/{number}/cancel"))

    async def post(self, path: str, document: JsonValue = None) -> RestAnswer:
        """Send something below the project.

        Raises:
            BackendUnavailable: GitLab has done nothing.
            Unconfirmed: it may have.
            BackendRefused: it cannot be asked.
        """
        return self._unless_throttled(await self._rest().post(self._path(path), document))

    async def start(self, ref: str, variables: dict[str, str], message: Document) -> RestAnswer:
        """Start a pipeline: by the trigger token of the project, with the message in its payload; else by the other.

        Raises:
            BackendUnavailable: GitLab has done nothing.
            Unconfirmed: it may have.
            BackendRefused: it cannot be asked.
        """
        if not self.trigger:
            listed: list[JsonValue] = [{"key": name, "value": value} for name, value in variables.items()]
            return await self.post("/pipeline", {"ref": ref, "variables": listed} if listed else {"ref": ref})
        by_name: dict[str, JsonValue] = dict(variables)
        document: Document = {"ref": ref, "token": self.trigger, "variables": by_name, "port_payload": message}
        rest = Rest(url=self._url, using=self.using)  # as nobody: the token in the body says who
        return self._unless_throttled(await rest.post(self._path("/trigger/pipeline"), document))

    async def _repeatable(self, method: str, path: str, query: Mapping[str, str | int] | None = None) -> RestAnswer:
        with repeatable():
            answer = await self._rest().request(method, path, query=query)
        if answer.status >= 500 or (answer.accepted and answer.broken):
            raise BackendUnavailable(self.cause(answer))
        return answer

    def _unless_throttled(self, answer: RestAnswer) -> RestAnswer:
        if answer.status == _BAD_REQUEST and _THROTTLED in (cause := self.cause(answer)):
            raise BackendBusy(cause, _A_MINUTE)
        return answer

    def cause(self, answer: RestAnswer) -> str:
        """Why GitLab refused, in its own words, without our tokens."""
        text = answer.broken if answer.accepted and answer.broken else _words(answer)
        if 300 <= answer.status < 400:
            text += " (redirects are not followed: write the present path of the project into the action, or the "
            text += "present address of GitLab into INTERLOCK_GITLAB_URL)"
        return Redactor([one for one in (self.token, self.trigger) if one]).text(text)[:_CAUSE_LIMIT]

    def _path(self, path: str) -> str:
        return f"/projects/{segment(self.project)}{path}"

    def _rest(self) -> Rest:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return Rest(url=self._url, using=self.using, headers=headers)

    @property
    def _url(self) -> str:
        return f"{self.using.gitlab.url}/api/v4"


def _words(answer: RestAnswer) -> str:
    """The words of a refusal: a text, texts by what is wrong, an OAuth error, or else the status.

    Source: data validation and errors of GitLab's REST API.
    """
    match answer.get("message"):
        case {**fields} if fields:
            return "; ".join(
                said if name in ("base", "error") else f"{name} {said}"
                for name, said in ((name, _joined(value)) for name, value in fields.items())
            )
        case list() as several if several:
            return _joined(several)
    match answer.get("error"), answer.get("error_description"):
        case str(error), str(description):
            return f"{error}: {description}"
    return answer.cause


def _joined(value: Any) -> str:
    several = value if isinstance(value, list) else [value]
    return ", ".join(one if isinstance(one, str) else canonical(one) for one in several)
