"""What GitHub says about its workflow runs: which they are, how they ended, and whether it was GitHub who said it."""

import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

import regex
from pydantic import JsonValue

from domain.errors import Unauthenticated
from domain.foreign import is_id, moment
from domain.runs import RunStatus

SIGNATURE: Final = "X-Hub-Signature-256"
EVENT: Final = "X-GitHub-Event"
WORKFLOW_RUN: Final = "workflow_run"
"""The event of webhooks that tell of workflow runs."""

_SUCCESSES = frozenset({"success", "skipped", "neutral"})
_COMPLETED = "completed"
_DISPATCHED = "workflow_dispatch"
_EXTERNAL = regex.compile(r"gh_\d{1,20}_\d{1,20}_(?P<run>\d{1,20})")
_RUN = regex.compile(r"(?<![A-Za-z0-9_])r_[A-Za-z0-9]{16}(?![A-Za-z0-9])")
_LINK = regex.compile(r"https?://[^/?#]+/(?P<repository>[^/?#]+/[^/?#]+)/actions/runs/(?P<run>\d{1,20})(?:[/?#].*)?")


def external_run_id(owner_id: int, repository_id: int, run_id: int) -> str:
    """What a run is called here that a workflow run belongs to.

    >>> external_run_id(1, 2, 3)
    'gh_1_2_3'
    """
    return f"gh_{owner_id}_{repository_id}_{run_id}"


def run_number(repository: str, external: str | None, links: tuple[str, ...] = ()) -> int | None:
    """The id of the repository's workflow run by what is known of it: our external id, or a link; else None.

    >>> run_number("o/r", "gh_1_2_3"), run_number("o/r", "mine", ("https://github.com/o/r/actions/runs/7/job/8",))
    (3, 7)
    """
    if found := _EXTERNAL.fullmatch(external or ""):
        return int(found["run"])
    for link in links:
        found = _LINK.fullmatch(link)
        if found and found["repository"].lower() == repository.lower():
            return int(found["run"])
    return None


@dataclass(frozen=True, slots=True)
class WorkflowRun:
    """A workflow run as GitHub tells of it, in answers and in webhooks."""

    id: int
    owner_id: int
    repository_id: int
    status: str
    conclusion: str | None
    link: str
    title: str
    created_at: datetime | None = None
    """None where it is not told in a way that can be read."""
    repository: str = ""
    """Owner and name."""
    workflows: frozenset[str] = frozenset()
    """What its workflow is called: the name of its file, and its number."""
    event: str = ""
    """What has started it."""

    @classmethod
    def read(cls, document: JsonValue) -> Self | None:
        """The workflow run; None if this is none."""
        match document:
            case {
                "id": number,
                "status": str(status),
                "repository": {"id": repository, "owner": {"id": owner}} as where,
                **said,
            } if is_id(number) and is_id(repository) and is_id(owner):
                return cls(
                    id=number,
                    owner_id=owner,
                    repository_id=repository,
                    status=status,
                    conclusion=_text(said.get("conclusion")),
                    link=_text(said.get("html_url")) or "",
                    title=f"{_text(said.get('name'))} {_text(said.get('display_title'))}",
                    created_at=moment(said.get("created_at")),
                    repository=_repository(where),
                    workflows=frozenset((_file(said.get("path")), str(said.get("workflow_id")))),
                    event=_text(said.get("event")) or "",
                )
        return None

    @property
    def run_ids(self) -> list[str]:
        """The runs of ours that its name or title names."""
        return _RUN.findall(self.title)

    def comes_of(self, repository: str, workflow: str) -> bool:
        """Whether it was dispatched, and is one of this workflow of this repository."""
        return (
            self.event == _DISPATCHED
            and self.repository.lower() == repository.lower()
            and workflow.rpartition("/")[2] in self.workflows
        )

    @property
    def external_run_id(self) -> str:
        """What the run is called here that it belongs to."""
        return external_run_id(self.owner_id, self.repository_id, self.id)

    @property
    def outcome(self) -> RunStatus | None:
        """How a run ends whose workflow ended like this; None as long as it has not.

        Source: the completion rule of the GITHUB backend.
        """
        if self.status != _COMPLETED:
            return None
        return RunStatus.SUCCESS if self.conclusion in _SUCCESSES else RunStatus.FAILURE

    @property
    def last_line(self) -> str:
        """The line of the log that tells of its end."""
        return f"Workflow completed: {self.conclusion}"


def require_signature(secret: str, signature: str | None, body: bytes) -> None:
    """Nothing, if whoever knows the secret signed exactly these bytes.

    Raises:
        Unauthenticated: they did not.

    Source: validating webhook deliveries: `sha256=` and the HMAC-SHA-256 of the body in hexadecimal digits.
    """
    if signature is None:
        raise Unauthenticated(f"the request is not signed: {SIGNATURE} is missing")
    expected = "sha256=" + hmac.digest(secret.encode(), body, "sha256").hex()
    if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace")):
        raise Unauthenticated("the request is not signed by GitHub with the secret that is configured here")


def _repository(document: Any) -> str:
    match document:
        case {"name": str(name), "owner": {"login": str(owner)}}:
            return f"{owner}/{name}"
    return ""


def _file(path: Any) -> str:
    """`.github/workflows/deploy.yml@main` is the file `deploy.yml`."""
    return (_text(path) or "").partition("@")[0].rpartition("/")[2]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
