"""Handing over emails to the SMTP server."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from email.headerregistry import Address
from email.message import EmailMessage

from aiosmtplib import (
    SMTP,
    SMTPException,
    SMTPNotSupported,
    SMTPRecipientsRefused,
    SMTPResponseException,
    SMTPServerDisconnected,
)

from domain.notifications import Outcome, Undelivered
from domain.shapes import shortened
from domain.smtp import SmtpServer

_FINAL = 500
"""From here on, what an SMTP server answers will not change."""


class Mailer:
    """One connection for each batch of emails, one email for each person."""

    def __init__(
        self,
        server: SmtpServer,
        sender: Address,
        *,
        patience: timedelta = timedelta(seconds=30),
        answers_within: timedelta = timedelta(seconds=10),
    ) -> None:
        """`patience` is for a whole batch, `answers_within` for every word of the server."""
        self.sender = sender
        self._server = server
        self._patience = patience.total_seconds()
        self._answers_within = answers_within.total_seconds()

    async def send(self, letters: Sequence[EmailMessage]) -> list[Outcome]:
        """Hand them over; what became of each."""
        outcomes: list[Outcome] = []
        try:
            async with asyncio.timeout(self._patience), self._connection() as smtp:
                for letter in letters:
                    outcomes.append(await _handed_over(smtp, letter))  # noqa: PERF401 - those before a fault count
        except TimeoutError:
            cause = "the SMTP server did not answer in time"
        except SMTPResponseException as refusal:  # it refuses us, not a letter: perhaps until somebody corrects that
            cause = _words(refusal)
        except (SMTPException, OSError) as fault:
            cause = shortened(f"the SMTP server cannot be used: {' '.join(str(fault).split())}")
        else:
            return outcomes
        return [*outcomes, *(Undelivered(cause, final=False) for _ in letters[len(outcomes) :])]

    def _connection(self) -> SMTP:
        server = self._server
        return SMTP(
            hostname=server.host,
            port=server.port,
            username=server.user,
            password=server.password,
            use_tls=server.tls,
            start_tls=server.starttls,
            timeout=self._answers_within,
        )


async def _handed_over(smtp: SMTP, letter: EmailMessage) -> Outcome:
    try:
        await smtp.send_message(letter)
    except SMTPServerDisconnected:
        raise
    except SMTPRecipientsRefused as refused:
        refusal = refused.recipients[0]
        return Undelivered(_words(refusal), final=refusal.code >= _FINAL)
    except SMTPResponseException as refusal:
        return Undelivered(_words(refusal), final=refusal.code >= _FINAL)
    except SMTPNotSupported:
        return Undelivered("the SMTP server does not take such addresses", final=True)
    return None


def _words(refusal: SMTPResponseException) -> str:
    said = " ".join(str(refusal.message).split())
    return shortened(f"the SMTP server answered {refusal.code} {said}")
