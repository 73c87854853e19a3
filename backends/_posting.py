"""Telling somebody something: one signed POST whose answer says only whether it has arrived."""

from dataclasses import replace

from backends._destinations import absolute, check_destination
from backends._http import HttpMethod
from backends._sending import Request, send
from backends.base import Delivery, Resources
from domain.documents import Document
from domain.errors import (
    BackendRefused,
    BackendUnavailable,
    InvalidInvocation,
    PrivateDestination,
    UnresolvableDestination,
)

_TOO_MANY = 429
_FAULTS = 500


class _Message(HttpMethod):
    """A webhook that no run waits for."""

    def request(self, key: str, using: Resources) -> Request:
        """What is sent."""
        return self._request(Delivery(run_id=key, legacy_message={}), using)


async def post(url: str, document: Document, *, key: str, using: Resources) -> int:
    """The status that the receiver has answered with, for good; `key` is the same however often it is sent.

    It is signed like webhooks are, and goes where they may go, but not to our own API: what that writes would be told
    again, without end.

    Raises:
        BackendUnavailable: there was no answer, or one that asks to come again. The text is the cause.
        BackendRefused: it will never do. The text is the cause.
    """
    rules = using.destinations
    try:
        if rules.is_own(absolute(url)):
            raise BackendRefused("it leads to our own API, for which there are automations")
        await check_destination(
            url,
            allow_private=rules.allow_private,
            always_allowed=rules.always_allowed,
            never_allowed=rules.never_allowed,
            proxy=rules.proxy,
        )
    except UnresolvableDestination as nowhere:
        raise BackendUnavailable(str(nowhere)) from None
    except PrivateDestination as private:
        raise BackendRefused(str(private)) from None
    except InvalidInvocation:
        raise BackendRefused("its url is no absolute http or https URL") from None
    using = replace(using, access_token=None)
    try:
        answer = await send(_Message(type="WEBHOOK", url=url, body=document).request(key, using), using)
    except BackendRefused as fault:  # perhaps it was sent; whoever gets it twice knows it by its key
        raise BackendUnavailable(str(fault)) from None
    if answer.status >= _FAULTS or answer.status == _TOO_MANY:
        raise BackendUnavailable(f"the receiver answered {answer.status}")
    return answer.status
