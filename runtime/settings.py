"""What can be configured: one immutable model, made from the environment at start and passed on.

Where Temporal is, is not here: the standard `TEMPORAL_*` variables say it (`runtime/temporal.py`).
"""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from domain.expectations import expected
from runtime import keys
from runtime.azure_devops_settings import AzureDevOpsSettings
from runtime.egress_settings import EgressSettings
from runtime.kafka_settings import KafkaSettings
from runtime.setting_types import (
    Duration,
    MasterKey,
    Patience,
    Port,
    Positive,
    PrivateKey,
    Retention,
    WebAddress,
    Words,
    base64,
    sender,
    signing_token,
    smtp,
    web_address,
    words,
)

PREFIX = "INTERLOCK_"
KEY_FILE = "secret.key"
DATABASE_FILE = "interlock.db"

DRIVERS = {
    "postgresql://": "postgresql+asyncpg://",
    "postgres://": "postgresql+asyncpg://",
    "sqlite+aiosqlite:///": "sqlite:///",
}
"""The usual beginnings of a database address, and the same with the driver we use."""


class InvalidSettings(Exception):
    """Some variable is missing or wrong; the message names each and repeats no value."""


class Settings(KafkaSettings, AzureDevOpsSettings, EgressSettings):
    """The settings of every process. Each is the variable of the same name after `INTERLOCK_`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    data_dir: Path = Path(".interlock")
    """Where the embedded default keeps its databases, its key and `dev.env`."""

    database_url: str = Field(
        default_factory=lambda data: f"sqlite:///{(data['data_dir'] / DATABASE_FILE).absolute()}", repr=False
    )
    """Where SQL is: `postgresql://...` or `sqlite:///...`. By default a SQLite file in the data directory."""

    host: str = "127.0.0.1"
    """The address the API listens on."""

    port: Port = 8080
    """The port the API listens on; 0 takes a free one."""

    public_url: str = Field(default_factory=lambda data: http_url(data["host"], data["port"]))
    """What clients and backends call us, without a slash at the end. By default made of host and port."""

    secret_key: MasterKey | None = None
    """The master key all others derive from, at least 32 characters. `interlock dev` makes its own."""

    previous_secret_keys: Annotated[tuple[MasterKey, ...], NoDecode, BeforeValidator(words)] = ()
    """Master keys of before: they still open what they closed, and close nothing new."""

    task_queue: str = Field(default="interlock", min_length=1)
    """The Temporal task queue of the workers."""

    max_cached_workflows: Positive = 1000
    """How many workflows a worker keeps in memory, some 60 kB each. Others cost a short replay."""

    payload_codec: bool = False
    """Whether Temporal payloads are encrypted. What was encrypted before stays readable either way."""

    max_body_bytes: Positive = 1024 * 1024
    """The largest request body."""

    access_token_lifetime: Duration = timedelta(hours=3)
    """How long an access token is good for."""

    webhook_timeout: Annotated[Duration, Field(le=timedelta(minutes=10))] = timedelta(seconds=30)
    """How long one attempt to invoke a backend may take, at most ten minutes. A worker that stops waits that long."""

    webhook_attempts: Positive = 3
    """How often a backend is tried before its run fails."""

    response_limit_bytes: Positive = 1024 * 1024
    """How much of a backend's answer is read."""

    allow_private_destinations: bool = True
    """Whether backends may have private addresses."""

    allow_loopback_destinations: bool = False
    """Whether they may be on this machine itself, if private addresses are allowed. `interlock dev` says yes."""

    always_destinations: Words = ()
    """Hosts and networks that are called although they are private, or hand out a cloud's credentials."""

    never_destinations: Words = ()
    """Hosts and networks that are never called, e.g. `10.0.0.0/8,intranet.example.com`. Stronger than the others."""

    own_api_aliases: Words = ()
    """Other addresses under which backends know our own API, e.g. `https://api.example.com`."""

    github_api_url: WebAddress = "https://api.github.com"
    """Where GitHub's API is; of an Enterprise Server, `https://<host>/api/v3`."""

    github_token_secret: str = "GITHUB_TOKEN"  # noqa: S105 - a name
    """The organization secret that has GitHub's token. It is used before the next three."""

    github_token: SecretStr | None = None
    """A token for GitHub."""

    github_app_id: str | None = None
    """The GitHub App that dispatches workflows."""

    github_app_private_key: PrivateKey | None = None
    """Its private key: PEM, or the path of a file."""

    github_webhook_secret: SecretStr | None = None
    """What GitHub signs its webhooks with. Its door needs it."""

    github_patience: Patience = timedelta(minutes=10)
    """How long a workflow run is looked for that GitHub may have made, and has not named; then the run fails."""

    gitlab_url: WebAddress = "https://gitlab.com"
    """Where GitLab is."""

    gitlab_token_secret: str = "GITLAB_TOKEN"  # noqa: S105 - a name
    """The organization secret that has GitLab's token. It is used before the next."""

    gitlab_token: SecretStr | None = None
    """A token for GitLab."""

    gitlab_webhook_secret: Annotated[SecretStr, AfterValidator(signing_token)] | None = None
    """What GitLab's webhooks prove with who they are: a secret token, or a signing token. Their door needs it."""

    gitlab_patience: Patience = timedelta(minutes=5)
    """How long a pipeline is looked for that GitLab may have started, and has not confirmed; then the run fails."""

    smtp_url: Annotated[SecretStr, AfterValidator(smtp)] | None = None
    """The SMTP server that takes our emails, `smtp://user:password@host:587`. Without one there are no emails."""

    smtp_from: Annotated[str, AfterValidator(sender)] | None = Field(default=None, validate_default=True)
    """Who emails are from, e.g. `Interlock <interlock@example.com>`."""

    slack_signing_secret: SecretStr | None = None
    """What Slack signs its requests with. Slack's doors need it and the bot token."""

    slack_bot_token: SecretStr | None = None
    """What Slack is asked with who somebody is, `xoxb-...`."""

    slack_team_id: str | None = None
    """The workspace whose people may do something, `T...`. By default the one of the bot token."""

    slack_api_url: WebAddress = "https://slack.com/api"
    """Where Slack's API is. Somewhere else than slack.com, answers go nowhere else, either."""

    teams_security_token: Annotated[SecretStr, AfterValidator(base64)] | None = None
    """What the outgoing webhook of Microsoft Teams signs with. Its door needs it and the next three."""

    teams_tenant_id: str | None = None
    """The tenant whose people may do something."""

    teams_client_id: str | None = None
    """The application that may read the users of the tenant, to ask Microsoft Graph who somebody is."""

    teams_client_secret: SecretStr | None = None
    """Its secret."""

    teams_login_url: WebAddress = "https://login.microsoftonline.com"
    """Where tokens for Microsoft Graph are."""

    teams_graph_url: WebAddress = "https://graph.microsoft.com/v1.0"
    """Where Microsoft Graph is."""

    automation_runs_per_minute: Positive = 10_000
    """How many runs one automation may start in a minute. Past it, it is paused until an Admin resumes it."""

    automation_recurrences_per_minute: Positive = 300
    """The same for runs that it causes itself, and for those of one entity or run."""

    policy_fail_closed: bool = False
    """Whether a policy says no when one of its queries failed. Otherwise conditions see null for what it would find."""

    jq_processes: Positive = 2
    """How many processes evaluate jq."""

    jq_time_limit: Duration = timedelta(seconds=5)
    """How long one evaluation may take."""

    audit_retention: Retention | None = None
    """How long changes are kept that the audit log tells of, e.g. `P90D`. By default for ever."""

    log_format: Literal["json", "text"] = "json"
    """One JSON object a line, or sentences for people."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe messages that are written."""

    metrics_address: str | None = None
    """Where Temporal's SDK serves Prometheus metrics, e.g. `0.0.0.0:9464`. By default nowhere."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """The settings in the environment, and the defaults of the others.

        >>> Settings.from_environment({"INTERLOCK_TASK_QUEUE": "q"}).task_queue
        'q'

        Raises:
            InvalidSettings: a value is wrong.
        """
        source = EnvSettingsSource(cls)
        source.env_vars = {name.lower(): value for name, value in environment.items() if value}
        try:
            return cls(**source())
        except ValidationError as problem:
            raise InvalidSettings(" and ".join(_sentences(problem))) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is handed in: no setting is read behind the caller's back."""
        return (init_settings,)

    @property
    def answers_slack(self) -> bool:
        """Whether Slack's doors are open."""
        return self.slack_signing_secret is not None and self.slack_bot_token is not None

    @property
    def keys(self) -> keys.Keys:
        """The keys derived from the master key.

        Raises:
            InvalidSettings: there is no master key.
        """
        if self.secret_key is None:
            raise InvalidSettings(
                f"{PREFIX}SECRET_KEY is missing: set a secret of at least {keys.SHORTEST} characters, "
                "or name the data directory of `interlock dev` with --data-dir"
            )
        return keys.Keys(self.secret_key, self.previous_secret_keys)

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _any_case(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("smtp_from")
    @classmethod
    def _with_server(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("smtp_url") is not None:
            raise ValueError(f"must say who emails are from, because {PREFIX}SMTP_URL is set")
        return value

    @field_validator("public_url")
    @classmethod
    def _bare(cls, value: str) -> str:
        return web_address(value)

    @field_validator("database_url")
    @classmethod
    def _with_driver(cls, value: str) -> str:
        for usual, ours in DRIVERS.items():
            if value.startswith(usual):
                return ours + value.removeprefix(usual)
        if not value.startswith(tuple(DRIVERS.values())):
            raise ValueError("must start with postgresql:// or sqlite:///")
        return value


def for_data_dir(data_dir: Path | None, environment: Mapping[str, str]) -> Settings:
    """The settings of who works on this data directory: its SQLite file and its key, unless the environment differs.

    None takes the directory of the environment, or the default one.

    Raises:
        InvalidSettings: a value is wrong.
        runtime.keys.KeyFault: the directory's key cannot be read.
    """
    if data_dir is not None:
        environment = {**environment, f"{PREFIX}DATA_DIR": str(data_dir)}
    settings = Settings.from_environment(environment)
    if settings.secret_key is None and (key := keys.load(settings.data_dir / KEY_FILE)) is not None:
        settings = settings.model_copy(update={"secret_key": key})
    return settings


def http_url(host: str, port: int) -> str:
    """Where something that listens on this host is reached from this machine.

    >>> http_url("0.0.0.0", 8080), http_url("::1", 8080)
    ('http://127.0.0.1:8080', 'http://[::1]:8080')
    """
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def _sentences(problem: ValidationError) -> list[str]:
    # Without the value: it may be a secret.
    told = {}
    for error in problem.errors(include_url=False, include_input=False):
        if error["type"] == "default_factory_not_called":  # nothing is wrong with it but what it is made of
            continue
        told[f"{PREFIX}{error['loc'][0]}".upper()] = expected(error)
    return [f"{name} is wrong: it {message}" for name, message in told.items()]
