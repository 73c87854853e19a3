"""Where Azure DevOps is, and what it is shown: a part of the settings."""

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from domain.azure_devops import SignatureFormat
from runtime.setting_types import HeaderName, WebAddress


class AzureDevOpsSettings(BaseSettings):
    """The settings about Azure DevOps."""

    azure_devops_url: WebAddress = "https://dev.azure.com"
    """Where Azure DevOps is; of a Server, what comes before the collection, e.g. `https://ado.example.com/tfs`."""

    azure_devops_signing_key_secret: str = "AZURE_DEVOPS_SIGNING_KEY"  # noqa: S105 - a name
    """The organization secret that has the secret of incoming webhooks. It is used before the next."""

    azure_devops_signing_key: SecretStr | None = None
    """The secret of incoming webhooks. Without either, the organization's client secret signs."""

    azure_devops_signature_header: HeaderName = "X-Port-Signature"
    """The header that their service connections name."""

    azure_devops_signature_format: SignatureFormat = "sha1=hex"
    """How the signature is written: `sha1=hex`, or `hex` without what comes before the digits."""

    azure_devops_token_secret: str = "AZURE_DEVOPS_TOKEN"  # noqa: S105 - a name
    """The organization secret that has a token for Azure DevOps. It is used before the next."""

    azure_devops_token: SecretStr | None = None
    """A personal access token, or one of Microsoft Entra, to look up and cancel builds with."""

    azure_devops_webhook_secret: SecretStr | None = None
    """What service hooks of Azure DevOps send to prove who they are. Their door needs it."""
