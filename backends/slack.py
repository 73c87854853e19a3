"""Slack: a message to an incoming webhook of Slack."""

from datetime import timedelta
from typing import Literal

from backends._exchanges import retry_after
from backends._http import HttpMethod
from backends._sending import Answer
from backends.base import Receipt, Resources, Switch
from domain.errors import BackendBusy

_TOO_MANY = 429
_WITHOUT_A_WORD = timedelta(seconds=30)
_SHORTEST, _LONGEST = timedelta(seconds=1), timedelta(hours=1)


class Slack(HttpMethod):
    """Posts to a Slack webhook. Synchronized unless it says otherwise: Slack never reports, so its answer decides.

    Source: Slack's incoming webhooks: `ok`, or a status and a word for what is wrong; one message a second, beyond it
    429 and when to come again.
    """

    type: Literal["SLACK"]
    synchronized: Switch = True

    def _receipt(self, answer: Answer, using: Resources) -> Receipt:
        """As for every webhook, but that a limit has posted nothing, so it is waited for.

        Raises:
            BackendBusy: a limit holds.
        """
        if answer.status != _TOO_MANY:
            return super()._receipt(answer, using)
        asked = retry_after(answer.headers.get("retry-after"), using.now())
        wait = min(max(asked if asked is not None else _WITHOUT_A_WORD, _SHORTEST), _LONGEST)
        raise BackendBusy(f"Slack takes no more messages for {round(wait.total_seconds())} s", wait)
