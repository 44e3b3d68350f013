"""The provider of the documentation works as it is written there, and passes the contract."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import re

import pytest
from provider_server import ProviderServer

from paydesk.errors import InvalidSignature, Misconfigured, NotSupported
from paydesk.providers import base
from paydesk.rules.money import HTG
from paydesk.settings import Settings
from paydesk.testing import ProviderBench, ProviderContract

SECRET = "teller-signs-with-this"
#: docs/providers.md, "Add a provider": the block with this line.
SAMPLE = re.compile(r"```python\n(from paydesk import HTG\n.*?@provider\(\"teller\"\).*?)```", re.S)


class TellerServer(ProviderServer):
    """Payments by token; a webhook for each that is paid."""

    def __init__(self):
        super().__init__()
        self.numbers = itertools.count(1)
        self.payments = {}
        self.route("POST", "/payments", self._create)
        self.route("GET", "/payments/([^/]+)", self._get)

    def _create(self, request):
        for token, payment in self.payments.items():
            if payment["orderId"] == request.json["orderId"]:
                return 200, {"token": token}
        token = f"tok{next(self.numbers)}"
        told = {"cost": float(request.json["amount"]), "message": "waiting"}
        self.payments[token] = {**request.json, **told}
        return 201, {"token": token}

    def _get(self, request, token):
        if token not in self.payments:
            return 404, {"message": "no such payment"}
        return 200, self.payments[token]


class TellerBench(ProviderBench):
    provider = "teller"
    price = HTG("1250.50")
    secrets = (SECRET,)

    def __init__(self):
        self.server = TellerServer()
        self.paid = []

    def settings(self):
        own = {"teller": {"base": self.server.url, "webhook_secret": SECRET}}
        return {"provider_options": json.dumps(own)}

    def pay(self, ref, amount):
        self.server.payments[ref] |= {"message": "successful", "cost": float(amount.decimal)}
        self.paid.append(ref)

    def deliveries(self, ref):
        body = json.dumps({"id": f"ev-{ref}", "token": ref}).encode()
        mac = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        return [(body, {"x-signature": mac})] if ref in self.paid else []

    def lose_answer(self):
        self.server.lose_next = True

    def echo_secrets(self):
        self.server.echo = True

    def sessions(self):
        return len(self.server.payments)

    def close(self):
        self.server.close()


@pytest.fixture(autouse=True)
def teller(request):
    """The sample of the documentation, known for the length of a test."""
    page = request.config.rootpath / "docs" / "providers.md"
    (source,) = SAMPLE.findall(page.read_text())
    names = {"__name__": "teller_sample"}
    exec(compile(source, str(page), "exec"), names)
    yield names["Teller"]
    base._registry.pop("teller")


class TestTeller(ProviderContract):
    def make_bench(self):
        return TellerBench()


def test_what_it_lacks_is_refused(teller):
    made = teller(Settings())
    with pytest.raises(NotSupported, match=r"teller.*refund"):
        made.refund("tok1", HTG("1"), "k")


def test_who_reads_webhooks_offers_them(teller):
    assert teller.can == {"checkout", "fetch", "webhooks"}


def test_its_settings_are_its_own_and_missing_ones_are_named(teller):
    told = Settings(provider_options='{"teller": {"base": "http://127.0.0.1:1", "shop": 7}}')
    made = teller(told)
    assert (made.settings.base, made.settings.shop, made.settings.port) == (
        "http://127.0.0.1:1", 7, 8000,
    )  # fmt: skip
    with pytest.raises(Misconfigured, match="'colour'"):
        _ = made.settings.colour


@pytest.mark.parametrize("options", ["[]", "{", '{"teller": 1}'])
def test_options_of_another_form_are_refused(teller, options):
    with pytest.raises(Misconfigured, match="PAYDESK_PROVIDER_OPTIONS"):
        teller(Settings(provider_options=options))


def test_without_a_secret_no_webhook_is_believed(teller):
    made = teller(Settings(provider_options='{"teller": {"base": "http://127.0.0.1:1"}}'))
    mac = hmac.new(b"", b"{}", hashlib.sha256).hexdigest()
    with pytest.raises(InvalidSignature):
        made.parse_webhook(b"{}", {"x-signature": mac})
