"""Subscriptions through a provider that is not Stripe: whatever can charge a saved method bills."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from billing import Billing

from paydesk.errors import NotSupported
from paydesk.flows import checkout, invoices, methods
from paydesk.flows.methods import AddMethod
from paydesk.providers import base
from paydesk.providers.base import Charge, Provider, RemoteCheckout, RemoteMethod, provider


@dataclass
class Bank:
    """What Marina has on its side: sessions and charges by key, customers and their wallets."""

    sessions: dict[str, dict[str, Any]] = field(default_factory=dict)
    charges: dict[str, Charge] = field(default_factory=dict)
    wallets: dict[str, list[str]] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)
    empty: set[str] = field(default_factory=set)
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    def pay(self, ref: str) -> str:
        """The payer pays on the page; what he pays with is kept where that was asked for."""
        told = self.sessions[ref]
        told["paid"] = True
        if told["save"]:
            self.save(told["payer"], wallet := f"wal_{next(self.numbers)}")
            return wallet
        return ""

    def save(self, payer: str, wallet: str) -> None:
        self.wallets.setdefault(payer, []).append(wallet)
        self.first.setdefault(payer, wallet)


@pytest.fixture
def bank():
    """Marina is known for the length of a test, as an installed package would make it."""

    @provider("marina")
    class Marina(Provider):
        can: ClassVar = frozenset({"checkout", "charge", "fetch", "methods"})
        kept: ClassVar[Bank] = Bank()

        def create_checkout(self, order):
            payer = order.provider_customer or f"payer_{order.customer}"
            ref = f"ses_{order.key}"
            self.kept.sessions.setdefault(
                ref, {"payer": payer, "amount": order.amount, "order": order.id, "paid": False,
                      "save": order.save_method})  # fmt: skip
            return RemoteCheckout(id=ref, url=f"https://marina.example.com/{ref}", expires_in=900)

        def fetch(self, ref):
            if ref in self.kept.charges:
                return self.kept.charges[ref]
            told = self.kept.sessions[ref]
            if not told["paid"]:
                return Charge(ref=ref, session_ref=ref, status="pending")
            return Charge(ref=ref, session_ref=ref, payment_ref=f"pay_{ref}", status="succeeded",
                          amount=told["amount"], payment_id=told["order"],
                          provider_customer=told["payer"])  # fmt: skip

        def charge(self, order, method, off_session=True, capture=True):
            ref = f"chg_{order.key}"
            if ref not in self.kept.charges:
                known = {"ref": ref, "payment_ref": ref, "payment_id": order.id,
                         "provider_customer": order.provider_customer}  # fmt: skip
                self.kept.charges[ref] = (
                    Charge(status="failed", ended=True, error_code="insufficient_funds", **known)
                    if method in self.kept.empty else
                    Charge(status="succeeded", amount=order.amount, **known)
                )  # fmt: skip
            return self.kept.charges[ref]

        def ensure_customer(self, order):
            return f"payer_{order.customer}"

        def attach_method(self, ref, provider_customer, key):
            if ref not in self.kept.wallets.get(provider_customer, []):
                self.kept.save(provider_customer, ref)
            return RemoteMethod(id=ref, kind="wallet", brand="marina", last4=ref[-4:])

        def detach_method(self, ref, key):
            for wallets in self.kept.wallets.values():
                if ref in wallets:
                    wallets.remove(ref)
            return RemoteMethod(id=ref, kind="wallet")

        def list_methods(self, provider_customer):
            found = [RemoteMethod(id=one, kind="wallet", brand="marina", last4=one[-4:])
                     for one in self.kept.wallets.get(provider_customer, [])]  # fmt: skip
            return found, self.kept.first.get(provider_customer)

        def default_method(self, provider_customer, ref, key):
            self.kept.first[provider_customer] = ref

    yield Marina.kept
    base._registry.pop("marina")


@pytest.fixture
def there(bank, billing) -> Billing:
    """Billing whose environment was put together with Marina in it."""
    return billing


def begun(there: Billing, bank: Bank, **plan: Any):
    """Subscribed on Marina's page, which was paid on; what it was paid with is saved there."""
    there.plan(**plan)
    who = there.user(card=None)
    sub = there.subscribe(who, provider="marina")
    assert (sub.state, sub.provider) == ("incomplete", "marina")
    assert sub.url.startswith("https://marina.example.com/ses_")
    bank.pay(sub.checkout.payment.session_ref)
    checkout.verify(there.env, sub.checkout.payment.id, who.uuid)
    return who, there.look(sub)


# S1.16 S1.17! S1.19 I23 I28 S3.21!
def test_a_customer_subscribes_and_renews_month_after_month(there, bank):
    who, sub = begun(there, bank, credits=100, credits_rollover="all")
    assert (sub.state, there.balance(who)) == ("active", 100)
    assert there.can(who, "tier:pro")
    for _ in range(3):
        there.until(there.look(sub).period_end)
    after = there.look(sub)
    assert (after.state, after.period) == ("active", 3)
    assert there.invoices(sub) == [(n, "paid", 2000, 2000) for n in range(4)]
    assert there.payments(sub) == ["succeeded"] * 4
    assert (there.books(who, "revenue"), there.balance(who)) == (8000, 400)
    assert len(bank.charges) == 3, "each period once, with what the page had saved"
    rows = there.all("select distinct provider from payments where customer_id = %(c)s", c=who.uuid)
    assert [row["provider"] for row in rows] == ["marina"]
    assert there.sim.objects("payment_intent") == []


# S1.58 I26
def test_a_decline_is_tried_again_and_another_method_recovers_it(there, bank):
    who, sub = begun(there, bank)
    bank.empty |= {one for wallets in bank.wallets.values() for one in wallets}
    there.until(sub.period_end)
    invoice = invoices.get(there.env, who.uuid, there.look(sub).latest_invoice_id)
    assert (there.look(sub).state, invoice.error_code) == ("past_due", "insufficient_funds")
    there.renew(days=1)
    assert there.payments(sub) == ["succeeded", "failed", "failed"]
    methods.add(there.env, AddMethod(customer_id=who.uuid, token="wal_second", provider="marina",
                                     make_default=True))  # fmt: skip
    there.renew()
    assert there.look(sub).state == "active"
    assert there.payments(sub) == ["succeeded", "failed", "failed", "succeeded"]
    assert there.events(sub)[-2:] == ["renewed", "recovered"]
    there.until(there.look(sub).period_end)
    assert [one[1] for one in there.invoices(sub)] == ["paid"] * 3


# S1.58 I26
def test_a_card_of_another_provider_recovers_it_too(there, bank):
    who, sub = begun(there, bank)
    bank.empty |= {one for wallets in bank.wallets.values() for one in wallets}
    there.until(sub.period_end)
    assert there.look(sub).state == "past_due"
    there.card(who)
    there.renew()
    assert there.look(sub).state == "active"
    there.until(there.look(sub).period_end)
    assert [one[1] for one in there.invoices(sub)] == ["paid"] * 3
    rows = there.all("select provider from payments where customer_id = %(c)s"
                     " order by created_at, id", c=who.uuid)  # fmt: skip
    assert [row["provider"] for row in rows] == ["marina"] * 2 + ["stripe"] * 2


def test_a_wallet_saved_before_is_charged_at_once(there, bank):
    # S1.27: no page, and a decline leaves nothing running
    there.plan()
    who = there.user(card=None)
    methods.add(there.env, AddMethod(customer_id=who.uuid, token="wal_poor", provider="marina",
                                     make_default=True))  # fmt: skip
    bank.empty.add("wal_poor")
    assert there.subscribe(who).state == "incomplete"
    assert not there.can(who, "tier:pro")
    bank.empty.clear()
    sub = there.subscribe(who)
    assert (sub.state, sub.provider, sub.url) == ("active", "marina", None)


def test_what_marina_cannot_do_is_refused(there, bank):
    # It saves methods on the page that is paid on alone: no trial begins on a page there.
    there.plan(trial_days=14)
    who = there.user(card=None)
    with pytest.raises(NotSupported, match="saves no methods"):
        there.subscribe(who, provider="marina")
    with pytest.raises(NotSupported):
        there.subscribe(there.user(), provider="marina", runner="provider")
