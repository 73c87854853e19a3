"""Webhook: one signed HTTP request to a URL."""

from typing import Literal

from backends._http import HttpMethod


class Webhook(HttpMethod):
    """Calls any HTTP endpoint. Asynchronous unless `synchronized` says otherwise."""

    type: Literal["WEBHOOK"]
