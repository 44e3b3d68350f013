"""Signatures as Standard Webhooks 1.0.0 has them, and secrets that are never stored open."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from paydesk import signing
from paydesk.errors import InvalidRequest, InvalidSignature, Misconfigured
from paydesk.settings import Settings

BODY = json.dumps({"type": "payment.succeeded", "note": "Zoë paid 🎉"}).encode()


def now() -> datetime:
    return datetime.now(UTC)


def test_the_official_package_takes_our_signatures():  # S4.24
    secret = signing.new_secret()
    found = signing.headers("evt_1", now(), BODY, [secret])
    assert Webhook(secret).verify(BODY, found)["type"] == "payment.succeeded"
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY + b" ", found)


def test_we_take_the_official_packages_signatures():
    secret = signing.new_secret()
    at = now()
    found = {"webhook-id": "msg_1", "webhook-timestamp": str(int(at.timestamp())),
             "webhook-signature": Webhook(secret).sign("msg_1", at, BODY.decode())}  # fmt: skip
    assert signing.verify([secret], found, BODY, at) == "msg_1"


def test_while_a_secret_is_replaced_both_fit():
    old, new = signing.new_secret(), signing.new_secret()
    found = signing.headers("evt_1", now(), BODY, [new, old])
    assert len(found["webhook-signature"].split()) == 2
    for secret in (old, new):
        Webhook(secret).verify(BODY, found)
        assert signing.verify([secret], found, BODY, now()) == "evt_1"


def test_what_does_not_fit_is_refused():
    secret, at = signing.new_secret(), now()
    good = signing.headers("evt_1", at, BODY, [secret])
    wrong = [
        ({**good, "webhook-id": "evt_2"}, BODY, at),
        ({**good, "webhook-timestamp": str(int(at.timestamp()) - 1)}, BODY, at),
        ({**good, "webhook-signature": ""}, BODY, at),
        ({**good, "webhook-signature": "v1,"}, BODY, at),
        ({**good, "webhook-signature": good["webhook-signature"].replace("v1,", "v2,")}, BODY, at),
        ({**good, "webhook-timestamp": "soon"}, BODY, at),
        ({"webhook-id": "evt_1"}, BODY, at),
        (good, BODY[:-1], at),
        (good, BODY, at + timedelta(seconds=301)),
        (good, BODY, at - timedelta(seconds=301)),
    ]
    for headers, body, when in wrong:
        with pytest.raises(InvalidSignature):
            signing.verify([secret], headers, body, when)
    with pytest.raises(InvalidSignature):
        signing.verify([signing.new_secret()], good, BODY, at)
    with pytest.raises(InvalidSignature):
        signing.verify([], good, BODY, at)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_!!", "abc",
                                    "whsec_" + base64.b64encode(b"x" * 23).decode(),
                                    "whsec_" + base64.b64encode(b"x" * 65).decode()])  # fmt: skip
def test_a_secret_outside_the_specification_is_refused(secret):
    with pytest.raises(InvalidRequest):
        signing.key_of(secret)


def test_a_sealed_secret_opens_for_its_purpose_and_key_alone():  # I37
    told = Settings(encryption_key="first-key")
    sealed = signing.seal(told, "webhook", "whsec_plain")
    assert b"whsec" not in sealed and sealed != signing.seal(told, "webhook", "whsec_plain")
    assert signing.unseal(told, "webhook", sealed) == "whsec_plain"
    with pytest.raises(Misconfigured):
        signing.unseal(told, "another", sealed)
    with pytest.raises(Misconfigured):
        signing.unseal(Settings(encryption_key="second-key"), "webhook", sealed)
    with pytest.raises(Misconfigured):
        signing.unseal(told, "webhook", sealed[:-1] + bytes([sealed[-1] ^ 1]))
    rolled = replace(told, encryption_key="second-key, first-key")
    assert signing.unseal(rolled, "webhook", sealed) == "whsec_plain"


def test_without_any_secret_setting_nothing_is_stored_open():  # I37
    with pytest.raises(Misconfigured):
        signing.seal(Settings(), "webhook", "whsec_plain")
    later = Settings(jwt_secret="j" * 40)
    sealed = signing.seal(later, "webhook", "whsec_plain")
    with_key = replace(later, encryption_key="new-key")
    assert signing.unseal(with_key, "webhook", sealed) == "whsec_plain"
