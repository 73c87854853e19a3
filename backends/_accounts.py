"""Where the APIs of other systems are, and as whom we ask them: what a deployment says once for all of its actions."""

from dataclasses import dataclass, field
from datetime import timedelta

from domain.azure_devops import SignatureFormat
from domain.signatures import SIGNATURE


@dataclass(frozen=True, kw_only=True)
class GitHubAccount:
    """GitHub, or a GitHub Enterprise Server. Without a token and an App there is only the organization's secret."""

    api_url: str = "https://api.github.com"
    """Without a slash at the end."""
    token_secret: str = "GITHUB_TOKEN"  # noqa: S105 - a name
    """The organization secret that is used before anything else, if there is one of that name."""
    token: str | None = field(default=None, repr=False)
    app_id: str | None = None
    app_private_key: str | None = field(default=None, repr=False)
    """PEM."""
    patience: timedelta = timedelta(minutes=10)
    """How long a workflow run is looked for that GitHub may have made, and has not named."""


@dataclass(frozen=True, kw_only=True)
class GitLabAccount:
    """GitLab.com, or a GitLab of one's own."""

    url: str = "https://gitlab.com"
    """Without a slash at the end."""
    token_secret: str = "GITLAB_TOKEN"  # noqa: S105 - a name
    """The organization secret that is used before the token, if there is one of that name."""
    token: str | None = field(default=None, repr=False)
    patience: timedelta = timedelta(minutes=5)
    """How long a pipeline is looked for that GitLab may have started, and has not confirmed."""


@dataclass(frozen=True, kw_only=True)
class AzureDevOpsAccount:
    """Azure DevOps, or an Azure DevOps Server. Without a token builds are started, and not asked about."""

    url: str = "https://dev.azure.com"
    """What comes before the organization, without a slash at the end."""
    signing_key_secret: str = "AZURE_DEVOPS_SIGNING_KEY"  # noqa: S105 - a name
    """The organization secret that signs, if there is one of that name."""
    signing_key: str | None = field(default=None, repr=False)
    """What signs otherwise; without it the organization's client secret."""
    signature_header: str = SIGNATURE
    signature_format: SignatureFormat = "sha1=hex"
    token_secret: str = "AZURE_DEVOPS_TOKEN"  # noqa: S105 - a name
    """The organization secret that is used before the token, if there is one of that name."""
    token: str | None = field(default=None, repr=False)
