"""Stripe passes the contract, against the simulator."""

from __future__ import annotations

from paydesk.providers.stripe import SIMULATOR_KEY
from paydesk.rules.money import USD
from paydesk.simulator.testing import running_simulator
from paydesk.testing import ProviderBench, ProviderContract

SECRET = "whsec_of_the_contract_0123456789abcdef"
SESSIONS = "/v1/checkout/sessions"


class StripeBench(ProviderBench):
    """A payer at Stripe pays what is asked, in the currency that is asked."""

    provider = "stripe"
    price = USD("12.50")
    pays_any_amount = False
    secrets = (SECRET, SIMULATOR_KEY)

    def __init__(self):
        self._running = running_simulator(secret=SECRET, secret_key=SIMULATOR_KEY)
        self.sim = self._running.__enter__()

    def settings(self):
        return {"simulator_url": self.sim.url, "stripe_webhook_secret": SECRET}

    def pay(self, ref, amount):
        self.sim.pay(ref)

    def deliveries(self, ref):
        return [(one.body, one.headers) for one in self.sim.deliveries(about=ref)]

    def lose_answer(self):
        self.sim.fault("drop_after", "/v1/*", method="POST")

    def echo_secrets(self):
        self.sim.fault("500", "*", times=50)

    def sessions(self):
        return len(self.sim.objects("checkout.session"))

    def refunds(self):
        return len(self.sim.objects("refund"))

    def close(self):
        running, self._running = self._running, None
        if running is not None:
            running.__exit__(None, None, None)


# S3.4 I10
class TestStripe(ProviderContract):
    def make_bench(self):
        return StripeBench()
