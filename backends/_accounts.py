"""Where the APIs of other systems are, and as whom we ask them: what a deployment says once for all of its actions."""

from dataclasses import dataclass, field


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
