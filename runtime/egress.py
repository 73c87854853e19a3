"""How requests to other systems leave this network: what the settings say about it, made into what sends."""

import httpx

import backends
from backends import Proxy
from runtime.settings import Settings


def proxy(settings: Settings) -> Proxy | None:
    """The proxy, if there is one."""
    if settings.http_proxy is None:
        return None
    own = (httpx.URL(address).host for address in (settings.public_url, *settings.own_api_aliases))
    return Proxy(settings.http_proxy.get_secret_value(), frozenset(settings.no_proxy), frozenset(map(str.lower, own)))


def open_transport(settings: Settings) -> httpx.AsyncBaseTransport:
    """The way out, with the certificates that this deployment trusts."""
    tls = httpx.create_ssl_context()
    if settings.ca_bundle is not None:
        tls.load_verify_locations(cafile=settings.ca_bundle)
    return backends.open_transport(tls, proxy(settings))
