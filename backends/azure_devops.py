"""Azure DevOps: start the pipelines that listen to an incoming webhook, and see how the build of a run ends."""

from datetime import timedelta
from typing import ClassVar, Literal

from pydantic import Field

from backends._azure_devops_api import AzureDevOpsApi
from backends._rest import because, segment
from backends.base import Delivery, InvocationMethod, Payload, Receipt, Reference, Resources, Unconfirmed
from domain.azure_devops import Build, build_of, is_build
from domain.errors import BackendFault, BackendRefused, InvalidInvocation
from domain.templating import MASK

_TRIGGERING = "Error triggering pipeline"
_CANCELLING = "Error cancelling pipeline"
_LATER = timedelta(seconds=15)
"""When to look at a build that nobody has told about. Service hooks are faster."""
_PERHAPS = "Azure DevOps may have started pipelines all the same; the webhook is not called again"


class AzureDevOps(InvocationMethod):
    """Posts the payload to the incoming webhook `webhook` of `org`; the run ends as the build that names it ends.

    Azure DevOps does not say which builds come of it. So a build is known by what it says itself: that it belongs to
    the run, in its number, its tags or a report.

    Source: AZURE_DEVOPS backend of the API reference; "resources.webhooks" of Azure Pipelines.
    """

    goes_to: ClassVar[tuple[str, ...]] = ("org",)

    type: Literal["AZURE_DEVOPS"]
    webhook: str
    """The name that the service connection gives the webhook."""
    org: str
    payload: Payload = Field(default_factory=dict)
    """What pipelines read as `${{ parameters.<webhook>.<field> }}`. Without it: the message older receivers expect."""

    def verify(self) -> None:
        """Check that every name can be part of a path, and that the payload is one.

        Raises:
            InvalidInvocation: one cannot, or it is a text.
        """
        for key, name in (("org", self.org), ("webhook", self.webhook)):
            try:
                segment(name)
            except InvalidInvocation as problem:
                raise InvalidInvocation(f"invocationMethod.{key}: {problem}") from None
        if isinstance(self.payload, str) and MASK not in self.payload:
            raise InvalidInvocation("invocationMethod.payload: must be an object or an array once it is rendered")

    async def invoke(self, delivery: Delivery, using: Resources) -> Receipt:
        """Post the payload, once: also where a worker dies while it does.

        Raises:
            BackendBusy: Azure DevOps asks to come again later.
            BackendUnavailable: it was not reached.
            Unconfirmed: it may have started something. Nobody can ask it what.
            BackendRefused: it refuses.
        """
        payload: Payload = self.payload
        if "payload" not in self.model_fields_set:
            payload = delivery.legacy_message if using.default_body == "legacy" else {}
        try:
            api = await AzureDevOpsApi.opened(using, self.org)
            await self._triggered(api, payload, delivery.run_id)
        except BackendFault as fault:
            raise because(_TRIGGERING, fault) from None
        return Receipt(look_up_after=_LATER if api.can_ask else None)

    async def _triggered(self, api: AzureDevOpsApi, payload: Payload, run_id: str) -> None:
        reservations = api.using.reservations
        if await reservations.begin(run_id, api.using.now()):
            raise BackendRefused(
                "a worker died meanwhile, and may have started pipelines; the webhook is not called again"
            )
        try:
            refusal = await api.trigger(self.webhook, payload)
        except Unconfirmed as fault:
            raise Unconfirmed(f"{str(fault).removesuffix('.')}. {_PERHAPS}") from None
        except BackendFault:
            await reservations.undo(run_id)
            raise
        if refusal:
            await reservations.undo(run_id)
            raise BackendRefused(refusal)

    async def look_up(self, reference: Reference, using: Resources) -> Receipt | None:
        """How the build stands, if it is known which it is, and there is a token to ask with.

        Raises:
            BackendFault: Azure DevOps does not tell at the moment.
        """
        known = await self._known(reference, using)
        if known is None:
            return None
        api, project, number = known
        build = await api.build(project, number)
        if build.outcome is None:
            # What is known only by its link is known by its id from now on, so that events find it.
            return None if is_build(reference.external_run_id) else Receipt(external_run_id=build.external_run_id)
        return Receipt(status=build.outcome, log=(build.last_line,), external_run_id=build.external_run_id)

    async def cancel(self, reference: Reference, using: Resources) -> str | None:
        """Cancel the build, if it is known which it is, and there is a token to ask with.

        Raises:
            BackendFault: it did not work.
        """
        known = await self._known(reference, using)
        if known is None:
            return None
        api, project, number = known
        try:
            build: Build = await api.build(project, number)
            if build.ended:
                return f"Azure DevOps did not cancel build {number}: it has ended already ({build.result})"
            await api.cancel(project, number)
        except BackendFault as fault:
            raise because(_CANCELLING, fault) from None
        return f"Azure DevOps was asked to cancel build {number}"

    async def _known(self, reference: Reference, using: Resources) -> tuple[AzureDevOpsApi, str, int] | None:
        place = build_of(self.org, reference.external_run_id, reference.link)
        if place is None:
            return None
        api = await AzureDevOpsApi.opened(using, self.org)
        return (api, *place) if api.can_ask else None
