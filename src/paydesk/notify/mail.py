"""Sending a mail by SMTP: TLS where the server has it, a stable Message-ID, plain errors."""

from __future__ import annotations

import contextlib
import smtplib
import ssl
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from paydesk.errors import Misconfigured
from paydesk.notify.render import Rendered

if TYPE_CHECKING:
    from paydesk.settings import Settings

_TIMEOUT_S = 20.0


class MailFailed(Exception):
    """The server took nothing, as far as we know. `is_final`: it never will."""

    def __init__(self, text: str, *, is_final: bool = False) -> None:
        super().__init__(text)
        self.is_final = is_final


@dataclass(frozen=True, slots=True)
class Server:
    """Where mails are handed over. `is_tls`: from the first byte on; else STARTTLS is used where
    it is offered, and is required before a password is sent."""

    host: str
    port: int
    user: str = ""
    password: str = ""
    is_tls: bool = False


def server_of(settings: Settings) -> Server | None:
    """The server that the settings name, or None. Raises Misconfigured for an unreadable URL."""
    if settings.smtp_url:
        parts = urlsplit(settings.smtp_url)
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
            raise Misconfigured(
                "SMTP_URL is smtp://host:587 or smtps://host:465.", param="SMTP_URL"
            )
        is_tls = parts.scheme == "smtps"
        return Server(
            parts.hostname, parts.port or (465 if is_tls else 587),
            unquote(parts.username or ""), unquote(parts.password or ""), is_tls,
        )  # fmt: skip
    if settings.smtp_host:
        return Server(settings.smtp_host, settings.smtp_port, settings.smtp_user,
                      settings.smtp_password, settings.smtp_port == 465)  # fmt: skip
    return None


def sender_of(settings: Settings) -> str:
    host = urlsplit(settings.base_url).hostname or "localhost"
    return settings.smtp_from or f"no-reply@{host}"


def composed(
    settings: Settings, rendered: Rendered, recipients: list[str], message_id: str, at: datetime
) -> EmailMessage:
    """The message: text first, HTML with its logo as its alternative, PDFs attached."""
    message = EmailMessage()
    sender = sender_of(settings)
    name, _, domain = sender.rpartition("@")
    message["From"] = Address(settings.business_name, name, domain)
    message["To"] = ", ".join(recipients)
    if settings.business_email:
        message["Reply-To"] = settings.business_email
    message["Subject"] = rendered.subject
    message["Date"] = format_datetime(at)
    message["Message-ID"] = f"<{message_id}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(rendered.text)
    message.add_alternative(rendered.html, subtype="html")
    if rendered.logo is not None:
        html = message.get_body(("html",))
        assert html is not None
        html.add_related(rendered.logo.content, maintype="image", subtype=rendered.logo.kind,
                         cid="<logo>", disposition="inline")  # fmt: skip
    for name, content in rendered.papers:
        if content is not None:
            message.add_attachment(content, maintype="application", subtype="pdf", filename=name)
    return message


def send(server: Server, message: EmailMessage) -> dict[str, int]:
    """Hand a message over. Answers the recipients that the server refused while it took the
    message for others, with its codes. Raises MailFailed.

    Once the server has acknowledged the message it is sent, whatever becomes of the line. Where
    the line breaks between the message and its acknowledgment nobody can know; it is sent again
    then, under the same Message-ID, by which servers and readers drop a repetition.
    """
    smtp = None
    try:
        smtp = _connected(server)
        refused = smtp.send_message(message)
    except smtplib.SMTPRecipientsRefused as exc:
        codes = [code for code, _ in exc.recipients.values()]
        raise MailFailed(
            f"The recipient was refused with {codes[0]}.", is_final=all(c >= 500 for c in codes)
        ) from exc
    except smtplib.SMTPDataError as exc:
        # This very message is not wanted: a later try would be the same one.
        raise MailFailed(_answer(exc), is_final=exc.smtp_code >= 500) from exc
    except smtplib.SMTPResponseException as exc:
        raise MailFailed(_answer(exc)) from exc
    except (smtplib.SMTPException, OSError) as exc:
        raise MailFailed(f"{type(exc).__name__}: {str(exc)[:200]}") from exc
    finally:
        if smtp is not None:
            with contextlib.suppress(smtplib.SMTPException, OSError):
                smtp.quit()
            smtp.close()
    return {address: code for address, (code, _) in refused.items()}


def _answer(exc: smtplib.SMTPResponseException) -> str:
    """The server's own words, without what may be a password that it repeats."""
    said = exc.smtp_error
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    if isinstance(exc, smtplib.SMTPAuthenticationError):
        text = "the name or password was refused"
    return f"The mail server answered {exc.smtp_code}: {' '.join(text.split())[:200]}"


def _connected(server: Server) -> smtplib.SMTP:
    """A line to the server, signed in. The certificate must be the name's own."""
    context = ssl.create_default_context()
    if server.is_tls:
        smtp: smtplib.SMTP = smtplib.SMTP_SSL(
            server.host, server.port, timeout=_TIMEOUT_S, context=context
        )
    else:
        smtp = smtplib.SMTP(server.host, server.port, timeout=_TIMEOUT_S)
    try:
        if not server.is_tls:
            smtp.ehlo()
            if smtp.has_extn("starttls"):
                smtp.starttls(context=context)
            elif server.user:
                raise MailFailed("The mail server offers no TLS; the password was not sent.")
        if server.user:
            smtp.login(server.user, server.password)
    except BaseException:
        smtp.close()
        raise
    return smtp
