"""What tests of provider-run subscriptions share: a customer on a clock there, time, deliveries."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from billing import Billing

from paydesk.flows import inbox, provider_customers
from paydesk.rules.money import USD

DECLINES = "pm_card_chargeCustomerFail"
CARD = "pm_card_visa"
EVENTS = ("customer.subscription", "invoice", "checkout.session")


@dataclass
class There:
    """A desk whose subscriptions Stripe runs, and Stripe's clock that both follow."""

    billing: Billing
    clock_id: str = ""
    on_it: int = 0
    clock_ids: list[str] = field(default_factory=list)
    heard: set[str] = field(default_factory=set)

    @property
    def env(self) -> Any:
        return self.billing.env

    @property
    def sim(self) -> Any:
        return self.billing.sim

    def plan(self, key: str = "pro", **more: Any) -> Any:
        return self.billing.plan(key, **{"price": USD("20.00"), **more})

    def user(self, *, on_clock: bool = True) -> Any:
        """A customer whom Stripe knows, on the clock."""
        who = self.billing.make.user()
        told: dict[str, Any] = {"metadata": {"customer_id": who.id}}
        if on_clock:
            if not self.clock_id or self.on_it == 3:  # No more stand on one.
                self.clock_id, self.on_it = self.sim.request(
                    "POST", "/v1/test_helpers/test_clocks",
                    {"frozen_time": int(self.env.now().timestamp())},
                )["id"], 0
                self.clock_ids.append(self.clock_id)
            self.on_it += 1
            told["test_clock"] = self.clock_id
        ref = self.sim.request("POST", "/v1/customers", told)["id"]
        with self.env.db.transaction(who.uuid) as tx:
            provider_customers.keep(tx, [(who.uuid, "stripe", "", ref)])
        return who

    def ref(self, who: Any) -> str:
        with self.env.db.read() as tx:
            found = provider_customers.ref_of(tx, getattr(who, "uuid", who), "stripe", "")
        assert found is not None
        return found

    def card(self, who: Any, token: str = CARD) -> str:
        """Save a card there, as whoever pays would, and make it the default."""
        ref = self.ref(who)
        method = self.sim.request("POST", f"/v1/payment_methods/{token}/attach", {"customer": ref})
        self.sim.request("POST", f"/v1/customers/{ref}", {
            "invoice_settings": {"default_payment_method": method["id"]}})  # fmt: skip
        return method["id"]

    def subscribe(self, who: Any, plan: Any = "pro", **more: Any) -> Any:
        return self.billing.subscribe(who, plan, runner="provider", **more)

    def begin(self, who: Any, plan: Any = "pro", *, card: str = "4242424242424242", **more: Any):
        """Subscribe, pay on the page, and hear of it."""
        sub = self.subscribe(who, plan, **more)
        self.sim.pay(sub.page_ref, card=card)
        self.deliver()
        return self.look(sub)

    def look(self, sub: Any) -> Any:
        return self.billing.look(sub)

    def price_there(self, amount: int = 2000, interval: str = "month", **more: Any) -> str:
        """A price that somebody makes at Stripe."""
        product = self.sim.request("POST", "/v1/products", {"name": "Made there"})["id"]
        return self.sim.request("POST", "/v1/prices", {
            "product": product, "unit_amount": amount, "currency": "usd",
            "recurring": {"interval": interval}, **more,
        })["id"]  # fmt: skip

    def begin_there(self, who: Any, price: str, **more: Any) -> dict[str, Any]:
        """A subscription that somebody begins at Stripe."""
        return self.sim.request("POST", "/v1/subscriptions", {
            "customer": self.ref(who), "items": [{"price": price}], **more})  # fmt: skip

    def remote(self, sub: Any) -> dict[str, Any]:
        return self.sim.get(self.look(sub).provider_ref)

    def go_on(self, **time: Any) -> None:
        """Let time pass here and there; nobody hears of anything."""
        self.billing.clock.advance(**time)
        for one in self.clock_ids:
            self.sim.advance_clock(one, int(self.env.now().timestamp()))

    def waiting(self, version: str | None = None) -> list[Any]:
        """Deliveries that nobody took yet."""
        return [one for one in self.sim.deliveries(version=version)
                if one.event_id not in self.heard]  # fmt: skip

    def receive(self, one: Any) -> list[inbox.Received]:
        self.heard.add(one.event_id)
        return inbox.receive(self.env, "stripe", one.body, one.headers)

    def deliver(
        self, *, shuffle: random.Random | None = None, version: str | None = None, twice: int = 1
    ) -> None:
        """Deliver what waits, in order or shuffled, so many times."""
        found = self.waiting(version) * twice
        if shuffle is not None:
            shuffle.shuffle(found)
        for one in found:
            self.receive(one)

    def months(self, count: int = 1, **more: Any) -> None:
        """Whole months with their renewals, an hour more for their drafts, heard of each time."""
        for _ in range(count):
            self.go_on(days=31, hours=2)
            self.deliver(**more)

    def parked(self) -> list[dict[str, Any]]:
        """What could not be applied, after what waits was taken up again."""
        rows = "select event_id, type, error from provider_events where state <> 'done'"
        for _ in range(3):  # After a while what bears no id of ours counts as another's.
            if self.billing.all(rows):
                self.billing.clock.advance(minutes=15)
                inbox.apply_waiting(self.env)
        return self.billing.all(rows)

    def rows(self, sub: Any) -> dict[str, list[tuple[Any, ...]]]:
        """Everything that must not depend on how it was heard of, without ids of ours."""
        keys = {"c": sub.customer_id, "s": sub.id}

        def read(sql: Any) -> list[tuple[Any, ...]]:
            return [tuple(row.values()) for row in self.billing.all(sql, **keys)]

        return {
            "subscription": read(
                "select state, plan_version, quantity, price_minor, period, period_start,"
                " period_end, trial_end, cancel_at, end_reason, ended_at, provider_ref"
                " from subscriptions where customer_id = %(c)s and id = %(s)s"),
            "invoices": read(
                "select provider_ref, state, reason, cycle, subtotal_minor, discount_minor,"
                " tax_minor, total_minor, due_minor, paid_minor, period_start, period_end, number,"
                " attempts, paid_at, payment_id is not null, hosted_url, pdf_url from invoices"
                " where customer_id = %(c)s order by created_at, provider_ref"),
            "items": read(
                "select v.provider_ref, i.position, i.kind, i.description, i.amount_minor,"
                " i.quantity, i.unit_minor, i.period_start, i.period_end from invoice_items i"
                " join invoices v on v.customer_id = i.customer_id and v.id = i.invoice_id"
                " where i.customer_id = %(c)s order by 1, 2"),
            "payments": read(
                "select p.provider_payment_ref, p.state, p.asked_minor, p.captured_minor,"
                " p.payment_type, p.purpose, p.error_code, p.method from payments p"
                " where p.customer_id = %(c)s order by 1"),
            "attempts": read(
                "select provider_payment_ref, state, error_code from attempts"
                " where customer_id = %(c)s order by 1"),
            "transfers": sorted(read(
                "select reason, debit, credit, asset, amount from transfers"
                " where customer_id = %(c)s")),
            "batches": sorted(read(
                "select kind, granted, remaining, expires_at from batches"
                " where customer_id = %(c)s"), key=str),
            "access": sorted(read(
                "select g.resource_type, g.resource_id, g.expires_at, exists (select from"
                " access_revocations r where r.customer_id = g.customer_id and r.grant_id = g.id)"
                " from access_grants g where g.customer_id = %(c)s and g.expires_at > now()"),
                key=str),
        }  # fmt: skip
