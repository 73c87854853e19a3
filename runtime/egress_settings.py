"""How requests to other systems leave this network: a part of the settings."""

from typing import Annotated

import httpx
from pydantic import AfterValidator, SecretStr
from pydantic_settings import BaseSettings

from runtime.setting_types import Certificates, Words


def _proxy(url: SecretStr) -> SecretStr:
    try:
        parsed = httpx.URL(url.get_secret_value())
        fits = parsed.scheme == "http" and parsed.host and parsed.raw_path in (b"", b"/")
    except httpx.InvalidURL:
        fits = False
    if not fits:
        raise ValueError("must be http://host:port, perhaps with user:password@ before the host")
    return url


class EgressSettings(BaseSettings):
    """The settings about what goes out."""

    http_proxy: Annotated[SecretStr, AfterValidator(_proxy)] | None = None
    """The proxy that requests to other systems go through, `http://user:password@proxy.example.com:3128`."""

    no_proxy: Words = ()
    """What goes around the proxy: hosts with all below them, addresses and networks, e.g. `example.com,10.0.0.0/8`."""

    ca_bundle: Certificates | None = None
    """A file of certificates (PEM) that are trusted beside the usual ones."""
