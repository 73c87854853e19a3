"""What backends may use, made from the settings of this deployment and from what its organization says."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
from pydantic import SecretStr

from backends._accounts import AzureDevOpsAccount, GitHubAccount, GitLabAccount
from backends.base import Producer, Resources
from domain.organization import Streamer
from runtime import egress
from runtime.organization import Organization
from runtime.settings import Settings
from store import organizations, run_lists, secrets
from store.database import Database
from store.reservations import SqlReservations

if TYPE_CHECKING:
    from runtime.kafka import KafkaProducer


def resources(
    settings: Settings,
    database: Database,
    organization: Organization,
    http: httpx.AsyncBaseTransport,
    decrypt: Callable[[str], str | None],
    kafka: Producer | None = None,
) -> Resources:
    """The resources of one process."""

    async def secret(name: str) -> str | None:
        async with database.read() as session:
            encrypted = await secrets.encrypted_one(session, name)
        return decrypt(encrypted) if encrypted is not None else None

    async def taken(backend: str, external_run_id: str) -> bool:
        async with database.read() as session:
            found = await run_lists.listed(session, run_lists.Filters(external_run_id=external_run_id))
        return any((run.payload or {}).get("type") == backend for run in found)

    async def streamer() -> Streamer | None:
        async with database.read() as session:
            return (await organizations.described(session)).streamer

    return Resources(
        http=http,
        signing_secret=organization.client_secret,
        own_addresses=frozenset({settings.public_url, *settings.own_api_aliases}),
        allow_private=settings.allow_private_destinations,
        allow_loopback=settings.allow_loopback_destinations,
        always_allowed=frozenset(settings.always_destinations),
        never_allowed=frozenset(settings.never_destinations),
        proxy=egress.proxy(settings),
        timeout=settings.webhook_timeout,
        response_limit=settings.response_limit_bytes,
        organization=organization.id,
        secret=secret,
        kafka=kafka,
        taken=taken,
        reservations=SqlReservations(database),
        streamer=streamer,
        github=GitHubAccount(
            api_url=settings.github_api_url,
            token_secret=settings.github_token_secret,
            token=_plain(settings.github_token),
            app_id=settings.github_app_id,
            app_private_key=_plain(settings.github_app_private_key),
            patience=settings.github_patience,
        ),
        gitlab=GitLabAccount(
            url=settings.gitlab_url,
            token_secret=settings.gitlab_token_secret,
            token=_plain(settings.gitlab_token),
            patience=settings.gitlab_patience,
        ),
        azure_devops=AzureDevOpsAccount(
            url=settings.azure_devops_url,
            signing_key_secret=settings.azure_devops_signing_key_secret,
            signing_key=_plain(settings.azure_devops_signing_key),
            signature_header=settings.azure_devops_signature_header,
            signature_format=settings.azure_devops_signature_format,
            token_secret=settings.azure_devops_token_secret,
            token=_plain(settings.azure_devops_token),
        ),
    )


@asynccontextmanager
async def open_kafka(settings: Settings) -> AsyncIterator["KafkaProducer | None"]:
    """The way into Kafka, which connects when it is used for the first time; None without brokers."""
    if not settings.kafka_brokers:
        yield None
        return
    from runtime.kafka import KafkaProducer  # only who publishes loads the library

    producer = KafkaProducer(settings)
    try:
        yield producer
    finally:
        await producer.close()


def _plain(value: SecretStr | None) -> str | None:
    return value.get_secret_value() if value else None
