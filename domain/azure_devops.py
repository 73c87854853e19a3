"""What Azure DevOps says about its builds: which they are, which runs of ours they name, how they ended."""

import hmac
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, TypeAlias
from urllib.parse import unquote

import regex
from pydantic import JsonValue

from domain.documents import Document
from domain.errors import Unauthenticated
from domain.foreign import is_id
from domain.runs import RunStatus

SECRET_HEADER: Final = "X-Webhook-Secret"  # noqa: S105 - a name
"""What a service hook sends its secret in, if not as the password of HTTP Basic."""
BUILD_COMPLETED: Final = "build.complete"
RUN_STATE_CHANGED: Final = "ms.vss-pipelines.run-state-changed-event"

SignatureFormat: TypeAlias = Literal["sha1=hex", "hex"]

_COMPLETED, _SUCCEEDED = "completed", "succeeded"
_ENDS_OF_OLD = frozenset({"succeeded", "partiallySucceeded", "failed", "stopped"})
"""In version 1.0 of the event the status of a build is its result."""
_NAMING = ("tags", "templateParameters", "parameters", "variables", "triggerInfo")
"""Where a build has what it was given, and what it says of itself; beside its number."""
_MOST_NAMES = 10

_RUN = regex.compile(r"(?<![A-Za-z0-9_])r_[A-Za-z0-9]{16}(?![A-Za-z0-9])")
_PROJECT = regex.compile(r"[^_/?#\s]{1,100}")
_EXTERNAL = regex.compile(r"ado_(?P<project>[^_/?#\s]{1,100})_(?P<pipeline>\d{1,20})_(?P<build>\d{1,20})")
_LINK = regex.compile(
    r"https?://(?:(?P<host>[^/?#.]+)\.visualstudio\.com/|[^/?#]+/(?:[^?#]+/)?(?P<path>[^/?#]+)/)"
    r"(?P<project>[^/?#]+)/_build/results/?\?(?:[^#]*&)?buildId=(?P<build>\d{1,20})(?:[&#].*)?"
)


def external_run_id(project: str, pipeline: int, build: int) -> str:
    """What a run is called here that a build belongs to, with the project's id. Ocean's integration calls it so, too.

    >>> external_run_id("0d2f1d1c-5a5f-4f0a-8a6e-0d4f1a2b3c4d", 12, 345)
    'ado_0d2f1d1c-5a5f-4f0a-8a6e-0d4f1a2b3c4d_12_345'
    """
    return f"ado_{project}_{pipeline}_{build}"


def is_build(external: str | None) -> bool:
    """Whether it is what a build calls its run.

    >>> is_build("ado_web_12_345"), is_build("gh_1_2_3"), is_build(None)
    (True, False, False)
    """
    return _EXTERNAL.fullmatch(external or "") is not None


def build_of(organization: str, external: str | None, links: tuple[str, ...] = ()) -> tuple[str, int] | None:
    """The project and the id of the organization's build by what is known of it: our external id, or a link; else None.

    >>> build_of("acme", "ado_web_12_345")
    ('web', 345)
    >>> build_of("acme", "mine", ("https://dev.azure.com/Acme/My%20Web/_build/results?buildId=345&view=logs",))
    ('My Web', 345)
    >>> build_of("acme", None, ("https://dev.azure.com/other/web/_build/results?buildId=345",))
    """
    if found := _EXTERNAL.fullmatch(external or ""):
        return found["project"], int(found["build"])
    for link in links:
        found = _LINK.fullmatch(link)
        if found and _organization(found).lower() == organization.lower():
            return unquote(found["project"]), int(found["build"])
    return None


@dataclass(frozen=True, slots=True)
class Build:
    """A build, which is a run of a pipeline, as Azure DevOps tells of it in answers and in events."""

    id: int
    pipeline: int
    project: str
    ended: bool
    result: str | None
    link: str
    run_ids: tuple[str, ...]
    """The runs of ours that it names: in its number, its tags, or what it was given. No more than ten."""

    @classmethod
    def of_event(cls, event: Document) -> Self | None:
        """The build that an event is about; None if the event does not say which it is.

        Source: service hook events "Build completed" and "Run state changed".
        """
        match event:
            case {"eventType": "ms.vss-pipelines.run-state-changed-event", "resource": {"run": dict(run), **more}}:
                pipeline, number = run.get("pipeline") or more.get("pipeline"), run.get("name")
                state, result = run.get("state"), run.get("result")
                known = run
            case {"eventType": "build.complete", "resource": dict(build)}:
                pipeline, number = build.get("definition"), build.get("buildNumber")
                state, result = build.get("status"), build.get("result")
                if isinstance(state, str) and state in _ENDS_OF_OLD:
                    state, result = _COMPLETED, state
                known = build
            case _:
                return None
        project = _at(event, "resourceContainers", "project", "id") or _at(known, "project", "id")
        return cls._made(known, pipeline, project, number, state, result)

    @classmethod
    def read(cls, answer: JsonValue) -> Self | None:
        """The build of an answer; None if it is none.

        Source: Azure DevOps's REST API, "Builds - Get".
        """
        if not isinstance(answer, dict):
            return None
        project, state, result = _at(answer, "project", "id"), answer.get("status"), answer.get("result")
        return cls._made(answer, answer.get("definition"), project, answer.get("buildNumber"), state, result)

    @classmethod
    def _made(cls, known: Document, pipeline: Any, project: Any, number: Any, state: Any, result: Any) -> Self | None:
        build, definition = known.get("id"), _at(pipeline, "id")
        if not is_id(build) or not is_id(definition) or not isinstance(project, str) or not _PROJECT.fullmatch(project):
            return None
        link = _at(known, "_links", "web", "href")
        named = [number, *(known.get(key) for key in _NAMING)]
        found = dict.fromkeys(run_id for text in _texts(named) for run_id in _RUN.findall(text))
        return cls(
            id=build,
            pipeline=definition,
            project=project,
            ended=state == _COMPLETED,
            result=result if isinstance(result, str) else None,
            link=link if isinstance(link, str) else "",
            run_ids=tuple(found)[:_MOST_NAMES],
        )

    @property
    def external_run_id(self) -> str:
        """What the run is called here that it belongs to."""
        return external_run_id(self.project, self.pipeline, self.id)

    @property
    def organization(self) -> str | None:
        """Whose it is, if its link says so."""
        found = _LINK.fullmatch(self.link)
        return _organization(found) if found else None

    @property
    def outcome(self) -> RunStatus | None:
        """How a run ends whose build ended like this; None as long as it has not.

        Source: the completion rule of the integration for Azure DevOps: what succeeded in part has not.
        """
        if not self.ended:
            return None
        return RunStatus.SUCCESS if self.result == _SUCCEEDED else RunStatus.FAILURE

    @property
    def last_line(self) -> str:
        """The line of the log that tells of its end."""
        return f"Pipeline completed: {self.result}"


def signature(secret: str, body: bytes, written: SignatureFormat) -> str:
    """How an incoming webhook of Azure DevOps finds these bytes signed.

    >>> signature("key", b"The quick brown fox jumps over the lazy dog", "sha1=hex")
    'sha1=de7c9b85b8b78aa6bc8a7a36f70a90701c9db4d9'

    Source: the AZURE_DEVOPS backend: HMAC-SHA-1 of the body in hexadecimal digits, and no timestamp in it.
    """
    digest = hmac.digest(secret.encode(), body, "sha1").hex()
    return f"sha1={digest}" if written == "sha1=hex" else digest


def require_secret(secret: str, authorization: str | None, header: str | None) -> None:
    """Nothing, if the service hook knows the secret: as the password of HTTP Basic, or in a header of its own.

    Raises:
        Unauthenticated: it does not.

    Source: the "Web Hooks" consumer, which signs nothing: it has basic authentication, and headers that one writes.
    """
    # Of a header we are given the bytes as if they were Latin-1, which they may be.
    given = [header.encode("latin-1", "replace"), header.encode()] if header is not None else []
    if (password := _password(authorization)) is not None:
        given.append(password)
    if not given:
        raise Unauthenticated(f"the secret is missing: send it as the password of HTTP Basic, or in {SECRET_HEADER}")
    if not any(hmac.compare_digest(secret.encode(), one) for one in given):
        raise Unauthenticated("the secret is not the one that is configured here")


def _password(authorization: str | None) -> bytes | None:
    scheme, _, credentials = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = b64decode(credentials.strip(), validate=True)
    except ValueError:
        return b""
    return decoded.partition(b":")[2]


def _organization(found: "regex.Match[str]") -> str:
    return unquote(found["host"] or found["path"])


def _at(value: JsonValue, *path: str) -> JsonValue:
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _texts(value: JsonValue) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for key, item in value.items():
                yield key
                yield from _texts(item)
        case list():
            for item in value:
                yield from _texts(item)
