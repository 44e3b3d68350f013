"""Money that no interface tells of passes the contract: `manual` and `natcash`."""

from __future__ import annotations

import itertools

from paydesk.flows import offline, payments
from paydesk.providers.base import BUILT_IN, kinds
from paydesk.rules.money import HTG, USD
from paydesk.testing import ProviderBench, ProviderContract


class CounterBench(ProviderBench):
    """Payers bring the money to a counter; a person of the business says that it came."""

    provider = "manual"
    price = USD("12.50")

    def __init__(self):
        self.receipts = itertools.count(1)
        self.references = set()

    def settings(self):
        return {}

    def opened(self, env):
        self.env = env
        provider = env.providers[self.provider]
        make = provider.create_checkout

        def noted(order):
            made = make(order)
            self.references.add(made.id)
            return made

        provider.create_checkout = noted

    def pay(self, ref, amount):
        one = payments.get(self.env, None, ref)
        offline.confirm(self.env, one.customer_id, one.id, by="rosa", amount=amount,
                        reference=f"receipt-{next(self.receipts)}")  # fmt: skip

    def sessions(self):
        return len(self.references)


class AgentBench(CounterBench):
    provider = "natcash"
    price = HTG("1250.50")

    def settings(self):
        return {"natcash_number": "3700-0000"}


# S3.19 I10
class TestManual(ProviderContract):
    def make_bench(self):
        return CounterBench()


# S3.19 I10
class TestNatCash(ProviderContract):
    def make_bench(self):
        return AgentBench()


def test_each_provider_of_the_package_is_one_file():
    # S3.19
    kinds_ = kinds()
    for name, module in BUILT_IN.items():
        assert module == f"paydesk.providers.{name}" == kinds_[name].__module__
