"""Where Kafka is and as whom it is spoken to: a part of the settings."""

from typing import Annotated, Literal

import regex
from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings

from runtime.setting_types import Certificates, Positive, Words

_BROKER = regex.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+):[0-9]{1,5}")


def _brokers(names: tuple[str, ...]) -> tuple[str, ...]:
    if not all(map(_BROKER.fullmatch, names)):
        raise ValueError("must be host:port, several of them separated by commas")
    return names


class KafkaSettings(BaseSettings):
    """The settings about Kafka."""

    kafka_brokers: Annotated[Words, AfterValidator(_brokers)] = ()
    """Where Kafka is, `host:port` separated by commas. Without brokers nothing is published."""

    kafka_username: str | None = None
    """As whom we log in to Kafka."""

    kafka_password: SecretStr | None = None
    """The password that goes with it."""

    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="SASL_SSL", validate_default=True
    )
    """How Kafka is spoken to."""

    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    """How we log in, if we do."""

    kafka_ca_file: Certificates | None = None
    """The certificates (PEM) that Kafka's are checked with. By default those of the system."""

    kafka_client_username: str | None = None
    """As whom the execution agent and other consumers log in; they are told. By default they are told our own login."""

    kafka_client_password: SecretStr | None = None
    """The password that goes with it."""

    kafka_partitions: Positive = 4
    """How many partitions our topics get when we make them: as many agents can share the work."""

    kafka_max_message_bytes: Positive = 1_000_000
    """The largest message; the brokers have a limit of their own."""

    @field_validator("kafka_security_protocol")
    @classmethod
    def _with_login(cls, value: str, info: ValidationInfo) -> str:
        login = info.data.get("kafka_username") and info.data.get("kafka_password")
        if value.startswith("SASL_") and info.data.get("kafka_brokers") and not login:
            raise ValueError(f"is {value}, for which a username and a password are needed")
        return value

    @property
    def kafka_client_login(self) -> tuple[str, str]:
        """The username and the password that consumers are told; empty where none is needed."""
        name, password = self.kafka_client_username, self.kafka_client_password
        if name is None:
            name, password = self.kafka_username, self.kafka_password
        return name or "", password.get_secret_value() if password else ""
