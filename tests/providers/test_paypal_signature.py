"""PayPal's webhooks are verified here with its certificate; nothing else is fetched for them."""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from paypal_certificates import authority, between, certificate, signer, trusted
from paypal_server import CERTIFICATE, CLIENT_ID, SECRET, WEBHOOK_ID, PayPalServer

from paydesk.errors import InvalidSignature, ProviderUnavailable
from paydesk.outgoing import Guard
from paydesk.providers import paypal_signature
from paydesk.providers.paypal import PayPal
from paydesk.providers.paypal_signature import Certificates
from paydesk.settings import Settings

BODY = json.dumps({"id": "WH-1", "event_type": "CHECKOUT.ORDER.APPROVED", "event_version": "1.0",
                   "resource": {"id": "5" * 17, "note": "Grüße ✓"}}).encode()  # fmt: skip
VERIFY = "/v1/notifications/verify-webhook-signature"


def settings_of(server, **more):
    return Settings(**{"paypal_client_id": CLIENT_ID, "paypal_client_secret": SECRET,
                       "paypal_webhook_id": WEBHOOK_ID, "paypal_url": server.url, **more})


@pytest.fixture(autouse=True)
def trust(monkeypatch):
    monkeypatch.setattr(paypal_signature, "authorities", trusted)


@pytest.fixture
def server():
    made = PayPalServer()
    yield made
    made.close()


@pytest.fixture
def paypal(server):
    made = PayPal(settings_of(server))
    yield made
    made.close()


def asked(server):
    """(how often the certificate was fetched, how often PayPal was asked about a signature)."""
    return len(server.seen("GET", CERTIFICATE)), len(server.seen("POST", VERIFY))


def test_a_signature_is_checked_here_and_the_certificate_fetched_once(paypal, server):
    # S3.4 I31
    for n in range(20):
        body = BODY.replace(b"WH-1", f"WH-{n}".encode())
        (event,) = paypal.parse_webhook(body, server.signed(body))
        assert event.id == f"WH-{n}"
    assert asked(server) == (1, 0)
    assert not server.seen("POST", "/v1/oauth2/token")


def test_what_is_signed_is_the_checksum_that_everybody_reckons():
    # The check value of CRC-32: 0xCBF43926, written as a decimal number
    text = f"t-1|2026-05-01T10:00:00Z|{WEBHOOK_ID}|3421780262".encode()
    told = {"transmission_id": "t-1", "transmission_time": "2026-05-01T10:00:00Z",
            "auth_algo": "SHA256withRSA", "cert_url": f"https://api.paypal.com{CERTIFICATE}",
            "transmission_sig": b64encode(signer().key.sign(text, PKCS1v15(), SHA256())).decode()}
    kept = Certificates("https://api-m.paypal.com", sandbox=False)
    kept._fetch = lambda url: signer().chain
    assert kept.verify(told, WEBHOOK_ID, b"123456789") is True
    assert kept.verify(told, WEBHOOK_ID, b"123456780") is False
    assert kept.verify(told, "1" * 17, b"123456789") is False


@pytest.mark.parametrize("change", [
    {"transmission_id": "tr-WH-2"}, {"transmission_time": "2026-05-01T10:00:01Z"},
    {"transmission_sig": "c2lnbmVk"}, {"transmission_sig": "not base 64 !"},
    {"transmission_sig": "A" * 5000}, {"transmission_id": "tr-WH-1é"},
    {"transmission_id": "x" * 300}, {"transmission_time": "\u0000"},
], ids=repr)  # fmt: skip
def test_what_paypal_did_not_sign_is_refused_and_it_is_not_asked(paypal, server, change):
    # I31
    with pytest.raises(InvalidSignature):
        paypal.parse_webhook(BODY, server.signed(BODY, **change))
    with pytest.raises(InvalidSignature):
        paypal.parse_webhook(BODY.replace(b"5", b"6"), server.signed(BODY))
    assert asked(server)[1] == 0


HOSTILE = [
    "http://api.paypal.com{path}", "https://paypal.com.evil.example{path}",
    "https://evil.example{path}", "https://evilpaypal.com{path}", "https://api.paypal.com.{path}",
    "https://api.paypal.com@evil.example{path}", "https://evil.example/api.paypal.com{path}",
    "https://evil.example\\.paypal.com{path}", "https://evil.example#.paypal.com{path}",
    "https://evil.example?.paypal.com{path}", "https://user:pass@api.paypal.com{path}",
    "https://api.paypal.com:8443{path}", "https://api.paypal.com:22{path}",
    "https://api.paypal.com{path}?next=https://evil.example", "https://api.paypal.com{path}#x",
    "https://api.paypal.com/v1/notifications/certs/../../../evil",
    "https://api.paypal.com/v1/notifications/certs/%2e%2e/x", "https://api.paypal.com/",
    "https://api.paypal.com/v1/notifications/certs/", "https://api.paypal.com{path}/more",
    "https://api.paypal.com{path}\n", "https://api.paypal.com{path}\r\nHost: evil.example",
    " https://api.paypal.com{path}", "https://api.paypal.com/{path}", "https:api.paypal.com{path}",
    "https://127.0.0.1{path}", "https://[::1]{path}", "https://2130706433{path}",
    "https://169.254.169.254{path}", "http://169.254.169.254/latest/meta-data/",
    "https://localhost{path}", "file:///etc/passwd", "ftp://api.paypal.com{path}", "data:,x",
    "gopher://api.paypal.com{path}", "//api.paypal.com{path}", "https://аpi.pаypal.com{path}",
    "https://api.pаypal.com{path}", "https://api。paypal。com{path}", "HTTPS://API.PAYPAL.COM{path}",
    "https://" + "a." * 500 + "paypal.com{path}", "https://api.paypal.com{path}" + "x" * 3000,
    "https://*.paypal.com{path}", "https://-.evil.example/.paypal.com{path}", "{own}x{path}",
    "{own}/{path}", "{own}@evil.example{path}", "{own}.evil.example{path}", "{own}{path}?x=1",
]  # fmt: skip


@pytest.mark.parametrize("url", HOSTILE)
def test_no_certificate_is_fetched_from_anywhere_else(paypal, server, monkeypatch, url):
    # I31 I36: nor is PayPal asked: these headers are not its own
    def request(self, *args, **more):
        raise AssertionError("something was sent")

    monkeypatch.setattr(Guard, "request", request)
    url = url.format(path=CERTIFICATE, own=server.url)
    with pytest.raises(InvalidSignature):
        paypal.parse_webhook(BODY, server.signed(BODY, cert_url=url))
    assert server.requests == []


@pytest.mark.parametrize("url", [
    "https://api.paypal.com{path}", "https://api.sandbox.paypal.com{path}",
    "https://api-m.paypal.com:443{path}", "https://api-m.sandbox.paypal.com{path}",
    "https://paypal.com{path}", "{own}{path}",
])  # fmt: skip
def test_a_certificate_may_stand_at_paypal_or_where_the_interface_is(server, url):
    kept = Certificates(server.url, sandbox=False)
    assert kept.may_be_fetched(url.format(path=CERTIFICATE, own=server.url))


@pytest.mark.parametrize("address", ["10.0.0.5", "127.0.0.1", "169.254.169.254", "::1"])
def test_a_name_of_paypals_that_leads_inside_is_not_called(address, monkeypatch):
    # I36: whatever the name server says
    told = []
    monkeypatch.setattr("paydesk.outgoing._resolve", lambda host, port: told.append(host) or
                        [address])  # fmt: skip
    kept = Certificates("https://api-m.paypal.com", sandbox=False)
    assert kept._key(f"https://api.paypal.com{CERTIFICATE}") is None
    assert told == ["api.paypal.com"]


BAD = {
    "gone": lambda: b"",
    "no certificate": lambda: b"<html>busy</html>",
    "half of one": lambda: signer().chain[:700],
    "too long": lambda: signer().chain + b"\n" * 70_000,
    "another authority's": lambda: certificate(by=authority(1)).chain,
    "another's name": lambda: certificate("www.paypal.com").chain,
    "the sandbox's name": lambda: certificate("messageverificationcerts.sandbox.paypal.com").chain,
    "a name like it": lambda: certificate("messageverificationcerts.paypal.com.evil.test").chain,
    "over": lambda: certificate(days=(-30, -1)).chain,
    "not yet": lambda: certificate(days=(1, 30)).chain,
    "without the one between": lambda: signer().chain.split(b"-----END CERTIFICATE-----\n")[0]
    + b"-----END CERTIFICATE-----\n",
    "the authority itself": lambda: authority().chain,
    "the one between itself": lambda: between().chain,
}


@pytest.mark.parametrize("what", BAD)
def test_a_certificate_that_cannot_be_trusted_leaves_the_question_to_paypal(paypal, server, what):
    # I31 I40
    server.chain = BAD[what]()
    (event,) = paypal.parse_webhook(BODY, server.signed(BODY))
    assert event.id == "WH-1"
    assert asked(server) == (1, 1)
    with pytest.raises(InvalidSignature):
        paypal.parse_webhook(BODY.replace(b"5", b"6"), server.signed(BODY))
    assert asked(server)[1] == 2
    server.chain = signer().chain
    paypal.parse_webhook(BODY, server.signed(BODY))
    assert asked(server)[1] == 2


def test_another_algorithm_is_left_to_paypal(paypal, server):
    paypal.parse_webhook(BODY, server.signed(BODY, auth_algo="SHA512withRSA"))
    assert asked(server) == (0, 1)


def test_where_neither_the_certificate_nor_an_answer_is_there_the_sender_repeats(paypal, server):
    # I28: 503, nothing stored
    server.fail_with = 503
    with pytest.raises(ProviderUnavailable) as caught:
        paypal.parse_webhook(BODY, server.signed(BODY))
    assert caught.value.http_status == 503
    server.fail_with = None
    assert paypal.parse_webhook(BODY, server.signed(BODY))


def test_certificates_that_never_come_are_not_asked_for_over_and_over(paypal, server):
    # I31 I40: whoever invents their names makes us fetch a few
    for n in range(3 * paypal_signature.FAILURES):
        told = server.signed(BODY, cert_url=f"{server.url}/v1/notifications/certs/CERT-x{n}")
        paypal.parse_webhook(BODY, told)
    fetched = server.seen("GET", "/v1/notifications/certs/CERT-x.*")
    assert len(fetched) == paypal_signature.FAILURES
    paypal._certificates._rest_until = 0.0
    paypal.parse_webhook(BODY, server.signed(BODY))
    assert len(server.seen("GET", CERTIFICATE)) == 1


def test_a_certificate_is_kept_until_it_ends_and_not_all_of_them_are(server):
    now = [datetime.now(UTC)]
    kept = Certificates(server.url, sandbox=False, now=lambda: now[0])
    url = f"{server.url}{CERTIFICATE}"
    assert kept._key(url) and kept._key(url)
    assert asked(server)[0] == 1
    now[0] += timedelta(days=89)
    assert kept._key(url)
    assert asked(server)[0] == 1
    now[0] += timedelta(days=2)
    assert kept._key(url) is None  # What it shows is over too.
    server.chain = certificate(days=(80, 180)).chain
    assert kept._key(url)
    assert asked(server)[0] == 3
    server.route("GET", "/v1/notifications/certs/CERT-n.*", lambda _: (200, server.chain))
    for n in range(2 * paypal_signature.MOST_KEPT):
        assert kept._key(f"{server.url}/v1/notifications/certs/CERT-n{n}")
    assert len(kept._kept) == paypal_signature.MOST_KEPT


def test_many_threads_verify_at_once(paypal, server):
    # I28
    bodies = [BODY.replace(b"WH-1", f"WH-{n}".encode()) for n in range(40)]
    signed = [(body, server.signed(body)) for body in bodies]
    found = []

    def work(part):
        found.extend(paypal.parse_webhook(*one)[0].id for one in part)

    threads = [threading.Thread(target=work, args=(signed[n::4],)) for n in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(set(found)) == 40
    assert 1 <= asked(server)[0] <= 4 and asked(server)[1] == 0


def test_an_account_of_the_sandbox_trusts_the_sandboxs_name_alone(server):
    # I32
    told = {key.lower().removeprefix("paypal-").replace("-", "_"): value
            for key, value in server.signed(BODY).items()}  # fmt: skip
    told["cert_url"] = f"https://api.sandbox.paypal.com{CERTIFICATE}"
    for name, verdict in (("messageverificationcerts.sandbox.paypal.com", True),
                          ("messageverificationcerts.paypal.com", None)):  # fmt: skip
        kept = Certificates("https://api-m.sandbox.paypal.com", sandbox=True)
        kept._fetch = lambda url, name=name: certificate(name).chain
        assert kept.verify(told, WEBHOOK_ID, BODY) is verdict


def test_the_machines_own_authorities_are_read_and_trust_no_stranger(monkeypatch):
    monkeypatch.undo()
    kept = Certificates("https://api-m.paypal.com", sandbox=False)
    with pytest.raises(ValueError, match="no authority"):
        kept._checked(signer().chain)
