"""Handing mails over: TLS, passwords, refusals, and lines that break at every point."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from smtp_server import Mailbox, mail_server
from test_outgoing_guard import certificate

from paydesk.notify import mail
from paydesk.notify.mail import MailFailed, Server
from paydesk.notify.render import Rendered
from paydesk.settings import Settings

MAYA, ROSA = "maya@northwind.example", "rosa@northwind.example"


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    pem, key = certificate("localhost")
    (tmp_path / "mail.pem").write_bytes(pem)
    (tmp_path / "both.pem").write_bytes(pem + key)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(tmp_path / "both.pem")
    return serving


@pytest.fixture
def trusted(tmp_path: Path, tls: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "mail.pem"))


@pytest.fixture
def box() -> Iterator[Mailbox]:
    with mail_server() as one:
        yield one


def written(*to: str) -> EmailMessage:
    return mail.composed(
        Settings(smtp_from="desk@northwind.example"), Rendered("Hello", "Text\n", "<p>Text</p>"),
        list(to or (MAYA,)), "ntf_1", datetime(2026, 11, 21, tzinfo=UTC),
    )  # fmt: skip


def plain(box: Mailbox) -> Server:
    return Server("127.0.0.1", box.port)


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "from the start"])
def test_a_password_goes_over_tls_alone(tls, trusted, implicit):  # I37
    with mail_server(tls, implicit=implicit) as box:
        box.password = "s3cret"
        mail.send(Server("localhost", box.port, "desk", "s3cret", implicit), written())
        assert box.signed_in == [("desk", "s3cret", True)] and len(box.mails) == 1


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "from the start"])
def test_a_server_that_is_not_who_it_says_gets_nothing(tls, implicit):
    with mail_server(tls, implicit=implicit) as box:
        with pytest.raises(MailFailed, match="CERTIFICATE"):
            mail.send(Server("localhost", box.port, "desk", "s3cret", implicit), written())
        assert not box.signed_in and not box.mails


def test_a_wrong_password_is_told_without_it_and_tried_again(tls, trusted):
    with mail_server(tls) as box:
        box.password = "another"
        with pytest.raises(MailFailed) as told:
            mail.send(Server("localhost", box.port, "desk", "s3cret"), written())
        assert not told.value.is_final and "535" in str(told.value)
        assert "s3cret" not in str(told.value)


@pytest.mark.parametrize(
    ("answer", "is_final"), [("451 4.7.1 greylisted, later", False), ("554 5.7.1 no spam", True)]
)
def test_a_refused_message_is_tried_again_where_the_server_says_later(box, answer, is_final):
    box.refuse_data = answer
    with pytest.raises(MailFailed) as told:
        mail.send(plain(box), written())
    assert told.value.is_final == is_final and answer[:3] in str(told.value) and not box.mails


@pytest.mark.parametrize(("answer", "is_final"), [("450 busy", False), ("550 nobody", True)])
def test_a_refused_recipient_is_tried_again_where_the_server_says_later(box, answer, is_final):
    box.refuse = answer
    with pytest.raises(MailFailed) as told:
        mail.send(plain(box), written())
    assert told.value.is_final == is_final


def test_one_of_several_recipients_that_is_refused_is_told_and_not_sent_again(box):
    box.refuse, box.refuse_only = "550 nobody", ROSA
    assert mail.send(plain(box), written(MAYA, ROSA)) == {ROSA: 550}
    assert box.recipients == [[MAYA]]


@pytest.mark.parametrize("goodbye", ["421 too busy", "500 what"])
def test_what_was_acknowledged_is_sent_whatever_the_server_says_at_the_end(box, goodbye):  # I28
    box.goodbye = goodbye
    assert mail.send(plain(box), written()) == {}
    assert len(box.mails) == 1


def test_a_line_that_breaks_before_the_acknowledgment_is_a_failure(box):  # I28
    box.die_after_data = True
    with pytest.raises(MailFailed) as told:
        mail.send(plain(box), written())
    assert not told.value.is_final


def test_nobody_listening_is_a_failure_to_try_again(box):
    with pytest.raises(MailFailed) as told:
        mail.send(replace(plain(box), port=1), written())
    assert not told.value.is_final
