"""What GitLab says about its pipelines: which they are, how they ended, and whether it was GitLab who said it."""

import hmac
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

import regex
from pydantic import JsonValue

from domain.errors import Unauthenticated
from domain.foreign import is_id
from domain.runs import RunStatus

TOKEN: Final = "X-Gitlab-Token"  # noqa: S105 - the name of a header
SIGNATURE: Final = "webhook-signature"
ID: Final = "webhook-id"
TIMESTAMP: Final = "webhook-timestamp"
PIPELINE: Final = "pipeline"
"""The `object_kind` of webhooks that tell of pipelines."""

SIGNING: Final = "whsec_"
"""What GitLab's signing tokens begin with; the rest is a key in base64."""

_TOLERANCE = timedelta(minutes=5)
_SUCCESS = "success"
_ENDED = frozenset({_SUCCESS, "failed", "canceled", "skipped"})
"""All others go on: created, waiting_for_resource, preparing, waiting_for_callback, pending, running, canceling, manual
(somebody has to play a job) and scheduled (a job has been delayed)."""
_OF_API = frozenset({"api", "trigger"})
"""Where pipelines come from that others start. Their children get their variables, and are others all the same."""
_EXTERNAL = regex.compile(r"\d{1,20}")
_RUN = regex.compile(r"(?<![A-Za-z0-9_])r_[A-Za-z0-9]{16}(?![A-Za-z0-9])")
_MOST_NAMES = 10
_LINK = regex.compile(r"https?://[^/?#]+(?P<path>/[^?#]+?)(?:/-)?/pipelines/(?P<number>\d{1,20})(?:[/?#].*)?")


def pipeline_number(project: str, external: str | None, links: tuple[str, ...] = ()) -> int | None:
    """The id of the project's pipeline by what is known of it: our external id, or a link to it; else None.

    The external id comes first, because it is what GitLab has answered; links may lead to other pipelines, too.

    >>> link = "https://gitlab.com/a/b/-/pipelines/48"
    >>> pipeline_number("a/b", "47", (link,)), pipeline_number("a/b", "mine", (link,))
    (47, 48)
    """
    if external and _EXTERNAL.fullmatch(external):
        return int(external)
    for link in links:
        found = _LINK.fullmatch(link)
        if found and found["path"].lower().endswith(f"/{project.lower()}"):
            return int(found["number"])
    return None


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline as GitLab tells of it."""

    id: int
    status: str
    link: str = ""
    project: str = ""
    """The path of its project; empty where it is not told."""
    run_ids: frozenset[str] = frozenset()
    """The runs of ours that its variables name, where they are told. No more than ten."""

    @classmethod
    def read(cls, document: JsonValue) -> Self | None:
        """The pipeline that an answer of the API is; None if it is none."""
        match document:
            case {"id": number, "status": str(status), **said} if is_id(number):
                return cls(number, status, _text(said.get("web_url")))
        return None

    @classmethod
    def told(cls, document: JsonValue) -> Self | None:
        """The pipeline that a webhook tells of; None if it tells of none.

        Source: pipeline events among GitLab's webhook events.
        """
        match document:
            case {
                "object_attributes": {"id": number, "status": str(status), **said},
                "project": {"path_with_namespace": str(project)},
            } if is_id(number):
                named = named_runs(said.get("variables")) if _text(said.get("source")) in _OF_API else ()
                return cls(number, status, _text(said.get("url")), project, frozenset(named))
        return None

    @property
    def external_run_id(self) -> str:
        """What the run is called here that it belongs to."""
        return str(self.id)

    @property
    def outcome(self) -> RunStatus | None:
        """How a run ends whose pipeline ended like this; None as long as it has not.

        Source: GitLab's statuses of pipelines; which of them succeed, from Port's integration of GitLab.
        """
        if self.status not in _ENDED:
            return None
        return RunStatus.SUCCESS if self.status == _SUCCESS else RunStatus.FAILURE

    @property
    def last_line(self) -> str:
        """The line of the log that tells of its end."""
        return f"Pipeline completed: {self.status}"


def named_runs(variables: Any) -> list[str]:
    """The ids of runs that the variables of a pipeline name, as GitLab lists them.

    >>> named_runs([{"key": "RUN", "value": "r_0123456789abcdef"}, {"key": "OTHER", "value": "r_1"}])
    ['r_0123456789abcdef']
    """
    listed = variables if isinstance(variables, list) else []
    texts = [_text(one.get("value")) for one in listed if isinstance(one, dict)]
    return [found for text in texts for found in _RUN.findall(text)][:_MOST_NAMES]


def require_genuine(secret: str, headers: Mapping[str, str], body: bytes, at: datetime) -> None:
    """Nothing, if whoever sent this knows the secret: the signing token of the webhook, or its secret token.

    A signing token signs the body, the id of the delivery and the time; a secret token is sent as it is.

    Raises:
        Unauthenticated: they do not.

    Source: GitLab's webhooks, secret tokens and signing tokens; the latter as Standard Webhooks has them.
    """
    if secret.startswith(SIGNING):
        return _require_signature(secret, headers, body, at)
    given = headers.get(TOKEN)
    if given is None:
        raise Unauthenticated(f"the request is not GitLab's: {TOKEN} is missing")
    if not hmac.compare_digest(secret.encode(), _bytes(given)):
        raise Unauthenticated(f"the request is not GitLab's: {TOKEN} is not the secret that is configured here")


def _require_signature(secret: str, headers: Mapping[str, str], body: bytes, at: datetime) -> None:
    message, timestamp, given = (headers.get(name) for name in (ID, TIMESTAMP, SIGNATURE))
    if message is None or timestamp is None or given is None:
        raise Unauthenticated(f"the request is not signed: it needs {ID}, {TIMESTAMP} and {SIGNATURE}")
    key = b64decode(secret.removeprefix(SIGNING))
    signed = hmac.digest(key, b"%b.%b.%b" % (_bytes(message), _bytes(timestamp), body), "sha256")
    expected = b"v1," + b64encode(signed)
    # While a token is replaced there are several, separated by spaces.
    if not any(hmac.compare_digest(expected, one) for one in _bytes(given).split(b" ")):
        raise Unauthenticated("the request is not signed by GitLab with the signing token that is configured here")
    try:
        signed_at = datetime.fromtimestamp(int(timestamp), UTC)
    except (ValueError, OverflowError, OSError):
        raise Unauthenticated(f"{TIMESTAMP} is no time in seconds since 1970") from None
    if abs(at - signed_at) > _TOLERANCE:
        raise Unauthenticated(f"{TIMESTAMP} is more than {_TOLERANCE.seconds // 60} minutes away from our clock")


def _bytes(header: str) -> bytes:
    """The bytes of a header, which we were given as if they were Latin-1."""
    return header.encode("latin-1", "replace")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
