"""Slack: a message to an incoming webhook of Slack."""

from typing import Literal

from backends._http import HttpMethod
from backends.base import Switch


class Slack(HttpMethod):
    """Posts to a Slack webhook. Synchronized unless it says otherwise: Slack never reports, so its answer decides."""

    type: Literal["SLACK"]
    synchronized: Switch = True
