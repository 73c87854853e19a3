"""The Temporal client: where the server is, how payloads are encoded, which search attributes runs carry."""

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache
from logging import getLogger

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, Plugin
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    PayloadCodec,
)
from temporalio.envconfig import ClientConfig
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)
from temporalio.service import GrpcCompression

from runtime.keys import KeyFault
from runtime.settings import Settings

RETENTION = timedelta(days=30)
"""How long Temporal keeps the history of a closed run. SQL keeps the run itself."""

ACTION = SearchAttributeKey.for_keyword("InterlockAction")
BLUEPRINT = SearchAttributeKey.for_keyword("InterlockBlueprint")
ENTITY = SearchAttributeKey.for_keyword("InterlockEntity")
REQUESTER = SearchAttributeKey.for_keyword("InterlockRequester")
SOURCE = SearchAttributeKey.for_keyword("InterlockSource")

SEARCH_ATTRIBUTES = (ACTION, BLUEPRINT, ENTITY, REQUESTER, SOURCE)
"""All that are registered, all of them keywords; set once, at start. They are never encrypted: no secrets."""

DEFAULT_ADDRESS = "localhost:7233"
_LONGEST_ATTRIBUTE = 200


def search_attributes(
    *,
    action: str | None = None,
    blueprint: str | None = None,
    entity: str | None = None,
    requester: str | None = None,
    source: str | None = None,
) -> TypedSearchAttributes:
    """What operators find a workflow by; what is None is left out, and what is long is cut: the server has a limit."""
    values = zip(SEARCH_ATTRIBUTES, (action, blueprint, entity, requester, source), strict=True)
    return TypedSearchAttributes(
        [SearchAttributePair(key, value[:_LONGEST_ATTRIBUTE]) for key, value in values if value is not None]
    )


class EncryptingCodec(PayloadCodec):
    """Payloads as AES-GCM ciphertexts that name their key, so that keys can be rotated under running workflows.

    Decodes everything it has a key for. Encodes only when it is told to: switching encryption off leaves what was
    encrypted before readable, switching it on leaves what was plain before readable.
    """

    ENCODING = b"binary/encrypted"
    KEY_ID = "encryption-key-id"

    def __init__(self, keys: Mapping[str, bytes], *, encrypts: bool = True) -> None:
        self._ciphers = {name: AESGCM(key) for name, key in keys.items()}
        self._newest = next(iter(keys))
        self._encrypts = encrypts

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Each payload, encrypted with the newest key."""
        return [self._closed(payload) for payload in payloads] if self._encrypts else list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Each payload as it was before it was encrypted; those that never were come back as they are.

        Raises:
            KeyFault: encrypted with a key that is not configured, or changed since.
        """
        return [self._opened(payload) for payload in payloads]

    def _closed(self, payload: Payload) -> Payload:
        nonce = secrets.token_bytes(12)
        # The key id is authenticated too: nobody moves a ciphertext under another name.
        closed = self._ciphers[self._newest].encrypt(nonce, payload.SerializeToString(), self._newest.encode())
        return Payload(metadata={"encoding": self.ENCODING, self.KEY_ID: self._newest.encode()}, data=nonce + closed)

    def _opened(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != self.ENCODING:
            return payload
        name = payload.metadata.get(self.KEY_ID, b"").decode(errors="replace")
        cipher = self._ciphers.get(name)
        if cipher is None:
            raise KeyFault(f"a Temporal payload was encrypted with the key {name!r}, which is not configured")
        try:
            return Payload.FromString(cipher.decrypt(payload.data[:12], payload.data[12:], name.encode()))
        except InvalidTag:
            raise KeyFault("a Temporal payload was changed after it was encrypted") from None


_CONVERTERS = tuple(PydanticPayloadConverter().converters.values())


class SharedPayloadConverter(CompositePayloadConverter):
    """Pydantic models as JSON, by converters that keep what they learn about a type.

    The SDK makes a converter for every workflow it caches, and more for each task. The stock one learns every type
    anew and then holds it in memory as long as the workflow waits.
    """

    def __init__(self) -> None:
        """All of them do the same, so all share the same."""
        super().__init__(*_CONVERTERS)


_PLAIN = DataConverter(payload_converter_class=SharedPayloadConverter)


def data_converter(settings: Settings) -> DataConverter:
    """Pydantic models as JSON; encrypted when the settings say so, error messages and stack traces included."""
    if settings.secret_key is None and not settings.payload_codec:
        return _PLAIN
    codec = EncryptingCodec(settings.keys.payload_keys, encrypts=settings.payload_codec)
    if not settings.payload_codec:
        return replace(_PLAIN, payload_codec=codec)
    return replace(
        _PLAIN,
        payload_codec=codec,
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )


@cache
def core(metrics_address: str | None = None) -> Runtime:
    """The one SDK runtime of this process. Its logs go to the logger `temporal.core`; they would go to stdout."""
    metrics = (
        PrometheusConfig(bind_address=metrics_address, counters_total_suffix=True, durations_as_seconds=True)
        if metrics_address
        else None
    )
    logging = LoggingConfig(
        filter=TelemetryFilter(core_level="WARN", other_level="ERROR"),
        forwarding=LogForwardingConfig(logger=getLogger("temporal.core"), append_target_to_name=False),
    )
    telemetry = TelemetryConfig(metrics=metrics, logging=logging, global_tags={"service": "interlock"})
    return Runtime(telemetry=telemetry)


async def connect(
    settings: Settings,
    environment: Mapping[str, str] | None = None,
    *,
    lazy: bool = False,
    plugins: Sequence[Plugin] = (),
) -> Client:
    """A client of the Temporal server that the standard `TEMPORAL_*` variables (or temporal.toml) name.

    Args:
        settings: say how payloads are encoded and where metrics go.
        environment: the variables; those of this process when None.
        lazy: connect at the first call, so that the API starts without a server. Workers cannot use such a client.
        plugins: of the SDK, e.g. for traces.

    Raises:
        RuntimeError: the server does not answer.
    """
    config = ClientConfig.load_client_connect_config(
        override_env_vars=dict(os.environ if environment is None else environment)
    )
    config.setdefault("target_host", DEFAULT_ADDRESS)
    # A server without TLS is on this machine or in this network, where compressing costs more than it saves.
    near = not (config.get("tls") or config.get("api_key"))
    return await Client.connect(
        **config,
        data_converter=data_converter(settings),
        plugins=plugins,
        lazy=lazy,
        runtime=core(settings.metrics_address),
        grpc_compression=GrpcCompression.NONE if near else GrpcCompression.GZIP,
    )
