"""Emails that ask for a decision, one for each person."""

from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from hashlib import sha256
from pathlib import Path

from jinja2 import Environment, Template

from domain.driving import REQUEST
from domain.notifications import Request
from domain.users import User

_WEB = Path(__file__).parents[1] / "web"


def _template(name: str, *, escaped: bool) -> Template:
    environment = Environment(autoescape=escaped, trim_blocks=True, lstrip_blocks=True)  # noqa: S701 - text has no tags
    return environment.from_string((_WEB / name).read_text(encoding="utf-8"))


_TEXT = _template("approval_email.txt", escaped=False)
_HTML = _template("approval_email.html", escaped=True)


def letter(asked: Request, to: User, *, name: str, sender: Address, at: datetime) -> EmailMessage:
    """The email to one person. Whoever gets it twice sees it once: its id is made of the message's name and theirs.

    Raises:
        ValueError: no message can name their address.
    """
    message = EmailMessage()
    try:
        message["To"] = Address(addr_spec=to.email)
    except IndexError:  # how the parser of the standard library stumbles over some
        raise ValueError("it is no address") from None
    message["From"] = sender
    message["Subject"] = asked.subject
    message["Date"] = at
    of = f"{asked.run.id}/{to.id}" if name == REQUEST else f"{asked.run.id}/{to.id}/{name}"
    message["Message-ID"] = f"<{sha256(of.encode()).hexdigest()[:32]}@{sender.domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(_TEXT.render(asked=asked))
    message.add_alternative(_HTML.render(asked=asked), subtype="html")
    return message
