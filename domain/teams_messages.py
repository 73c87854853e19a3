"""What an outgoing webhook of Microsoft Teams sends when it is mentioned, and what it is answered."""

import html

import regex
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from domain.documents import Document
from domain.errors import InvalidRequest
from domain.shapes import refused, shortened

_MENTION = regex.compile(r"<at\b[^>]*>.*?</at>", regex.IGNORECASE | regex.DOTALL)
_BREAK = regex.compile(r"<(?:br|/p|/div)\b[^>]*>", regex.IGNORECASE)
_TAG = regex.compile(r"</?[a-z][^>]*>", regex.IGNORECASE)
_LONGEST_TEXT = 5000


class _Sent(BaseModel):
    """Teams adds keys as it likes."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _From(_Sent):
    aad_object_id: str | None = Field(default=None, alias="aadObjectId")


class _Tenant(_Sent):
    id: str | None = None


class _ChannelData(_Sent):
    tenant: _Tenant = _Tenant()


class _Conversation(_Sent):
    id: str = ""
    tenant_id: str | None = Field(default=None, alias="tenantId")


class Mention(_Sent):
    """A message in a channel that mentions the webhook."""

    id: str
    timestamp: AwareDatetime
    text: str = ""
    sender: _From = Field(alias="from")
    conversation: _Conversation = _Conversation()
    channel_data: _ChannelData = Field(default=_ChannelData(), alias="channelData")

    @property
    def tenants(self) -> frozenset[str]:
        """Every tenant that the message names."""
        named = (self.conversation.tenant_id, self.channel_data.tenant.id)
        return frozenset(tenant for tenant in named if tenant)

    @property
    def command(self) -> str:
        """What was written, without the mention and without markup."""
        text = _MENTION.sub(" ", self.text, count=1)
        text = html.unescape(_TAG.sub("", _BREAK.sub("\n", text)))
        return text.replace("\N{NO-BREAK SPACE}", " ").strip()


def mention(document: JsonValue) -> Mention:
    """The message in the body of a request.

    Raises:
        InvalidRequest: there is none.
    """
    if not isinstance(document, dict):
        raise InvalidRequest("the body must be a JSON object")
    try:
        return Mention.model_validate(document)
    except ValidationError as faults:
        raise refused(faults, document) from None


def message(text: str, url: str | None = None) -> Document:
    """An answer that everybody in the channel reads: a card, whose text is never read as markup."""
    card: Document = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [_paragraph(line) for line in shortened(text, _LONGEST_TEXT).splitlines() or [""]],
    }
    if url:
        card["actions"] = [{"type": "Action.OpenUrl", "title": "Open the run", "url": url}]
    return {
        "type": "message",
        "attachments": [{"contentType": "application/vnd.microsoft.card.adaptive", "content": card}],
    }


def _paragraph(line: str) -> JsonValue:
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": line}]}
