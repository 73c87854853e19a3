"""Kafka, as consumers of the organization's topics come to it."""

from fastapi import APIRouter

from api.auth import AdminCaller, AuthenticatedRoute
from api.errors import responses
from api.services import Services
from domain.documents import Document
from domain.errors import Forbidden, NotFound

router = APIRouter(route_class=AuthenticatedRoute, tags=["organization"])


@router.get("/v1/kafka-credentials", responses=responses(Forbidden, NotFound))
async def get_kafka_credentials(caller: AdminCaller, services: Services) -> Document:
    """Where Kafka is, and as whom the execution agent and other consumers log in. 404 where there is none."""
    settings = services.settings
    if not settings.kafka_brokers:
        raise NotFound("Kafka", "of this deployment")
    username, password = settings.kafka_client_login
    return {
        "ok": True,
        "credentials": {"brokers": [*settings.kafka_brokers], "username": username, "password": password},
    }
