"""Azure DevOps for one organization: what incoming webhooks take, and builds, with which credentials."""

from base64 import b64encode
from dataclasses import dataclass, field
from typing import Self

from pydantic import JsonValue

from backends._rest import Rest, RestAnswer, repeatable, segment
from backends.base import Payload, Resources, Unconfirmed
from domain.azure_devops import Build, signature
from domain.documents import canonical
from domain.errors import BackendRefused, BackendUnavailable
from domain.secrets import Redactor
from domain.signatures import TIMESTAMP

_WEBHOOKS = "6.0-preview"
_BUILDS = "6.0"
"""Versions of the API: as old as can be, for the sake of Servers."""
_UNAUTHORIZED, _NOT_AUTHORITATIVE, _FAILED = 401, 203, 500


@dataclass(slots=True)
class AzureDevOpsApi:
    """One organization (of a Server: one collection), as one caller."""

    using: Resources = field(repr=False)
    org: str
    _token: str = field(default="", repr=False)

    @classmethod
    async def opened(cls, using: Resources, org: str) -> Self:
        """The organization, with the token that comes first: the organization's secret, or ours; perhaps with none."""
        account = using.azure_devops
        return cls(using, org, (await using.secret(account.token_secret) or account.token or "").strip())

    @property
    def can_ask(self) -> bool:
        """Whether there is a token; starting pipelines needs none."""
        return bool(self._token)

    async def trigger(self, webhook: str, payload: Payload) -> str | None:
        """Tell the incoming webhook, signed. Why Azure DevOps refuses, if it does.

        Raises:
            BackendUnavailable: nothing was started.
            Unconfirmed: something may have been.
            BackendRefused: nothing ever will be.
        """
        account = self.using.azure_devops
        try:
            body = canonical(payload).encode()
        except ValueError:
            raise BackendRefused("invocationMethod.payload: cannot be written as JSON") from None
        key = (await self.using.secret(account.signing_key_secret) or account.signing_key or "").strip()
        signed = {
            TIMESTAMP: str(int(self.using.now().timestamp())),
            account.signature_header: signature(key or self.using.signing_secret, body, account.signature_format),
        }
        answer = await Rest(url=account.url, using=self.using).request(
            "POST",
            f"/{segment(self.org)}/_apis/public/distributedtask/webhooks/{segment(webhook)}",
            document=payload,
            query={"api-version": _WEBHOOKS},
            headers=signed,
        )
        if answer.inconclusive and not _refuses(answer):
            raise Unconfirmed(_cause(answer))
        return _cause(answer) if not answer.accepted or answer.status == _NOT_AUTHORITATIVE else None

    async def build(self, project: str, number: int) -> Build:
        """The build as it stands.

        Raises:
            BackendFault: Azure DevOps does not tell.
        """
        answer = await self._request("GET", project, number)
        build = Build.read(answer.value) if answer.accepted else None
        if build is None or build.id != number:
            raise BackendRefused(f"Azure DevOps does not tell of build {number}: {self._cause(answer)}")
        return build

    async def cancel(self, project: str, number: int) -> None:
        """Ask for the end of the build.

        Raises:
            BackendFault: Azure DevOps does not take it.
        """
        answer = await self._request("PATCH", project, number, {"status": "cancelling"})
        if not answer.accepted or Build.read(answer.value) is None:
            raise BackendRefused(self._cause(answer))

    async def _request(self, method: str, project: str, number: int, document: JsonValue = None) -> RestAnswer:
        path = f"/{segment(self.org)}/{segment(project)}/_apis/build/builds/{number}"
        rest = Rest(url=self.using.azure_devops.url, using=self.using, headers={"Authorization": self._authorization})
        with repeatable():
            answer = await rest.request(method, path, document=document, query={"api-version": _BUILDS})
        if answer.status >= 500 or (answer.accepted and answer.broken):
            raise BackendUnavailable(self._cause(answer))
        return answer

    @property
    def _authorization(self) -> str:
        """Tokens of Microsoft Entra are JSON Web Tokens, with two dots; personal access tokens have none."""
        if self._token.count(".") == 2:
            return f"Bearer {self._token}"
        return f"Basic {b64encode(f':{self._token}'.encode()).decode()}"

    def _cause(self, answer: RestAnswer) -> str:
        return Redactor([self._token, self._authorization.partition(" ")[2]]).text(_cause(answer))


def _refuses(answer: RestAnswer) -> bool:
    """Whether this is how Azure DevOps itself says no: for a webhook that is not there, say, with 500 and its words."""
    return answer.status == _FAILED and bool(answer.get("message")) and isinstance(answer.get("typeKey"), str)


def _cause(answer: RestAnswer) -> str:
    """Why Azure DevOps refused, in its own words. It has none for who is not signed in: it shows the page for it."""
    if answer.status in (_UNAUTHORIZED, _NOT_AUTHORITATIVE) or 300 <= answer.status < 400:
        return f"Azure DevOps wants somebody to sign in (status code {answer.status})"
    if answer.accepted:
        return answer.broken or "the answer is none of its API"
    return answer.cause
