"""What the tests of subscriptions share: prices, customers on a test clock, time that passes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import stripe

from paydesk.simulator.testing import Sandbox

START = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
DAY, HOUR = 86_400, 3_600
CLOCKS = "test_helpers.test_clock"


def at(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> int:
    return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp())


class World:
    """A customer on a test clock of its own, driven through the official SDK."""

    def __init__(
        self, sandbox: Sandbox, client: stripe.StripeClient, *, card: str | None = "pm_card_visa",
        start: int = START,
    ) -> None:
        self.sandbox, self.client = sandbox, client
        made = client.v1.test_helpers.test_clocks.create({"frozen_time": start, "name": "months"})
        self.clock = made.id
        more: dict[str, Any] = {}
        if card:
            more = {"payment_method": card, "invoice_settings": {"default_payment_method": card}}
        self.customer = client.v1.customers.create(
            {"name": "Maya Okafor", "email": "maya@northwind.test", "test_clock": self.clock,
             **more}
        ).id  # fmt: skip

    def price(
        self, amount: int, interval: str = "month", name: str = "Pro", currency: str = "usd",
        count: int = 1,
    ) -> str:
        return self.client.v1.prices.create(
            {"currency": currency, "unit_amount": amount, "product_data": {"name": name},
             "recurring": {"interval": interval, "interval_count": count}}
        ).id  # fmt: skip

    def subscribe(self, price: str, quantity: int = 1, **more: Any) -> stripe.Subscription:
        items = [{"price": price, "quantity": quantity}]
        return self.client.v1.subscriptions.create(
            {"customer": self.customer, "items": items, **more}
        )

    def advance(self, to: int) -> None:
        """Move the clock through the API, and wait until it is ready."""
        self.client.v1.test_helpers.test_clocks.advance(self.clock, {"frozen_time": to})
        self.ready()

    def ready(self) -> None:
        while self.client.v1.test_helpers.test_clocks.retrieve(self.clock).status != "ready":
            self.sandbox.run_due()

    def far(self, to: int) -> None:
        """The same over any time, in the steps that are allowed."""
        self.sandbox.advance_clock(self.clock, to)

    def now(self, subscription: Any) -> stripe.Subscription:
        return self.client.v1.subscriptions.retrieve(subscription.id)

    def invoices(self, subscription: Any) -> list[stripe.Invoice]:
        """Its invoices, oldest first."""
        found = self.client.v1.invoices.list({"subscription": subscription.id, "limit": 100})
        return found.data[::-1]

    def card(self, token: str) -> str:
        """Save another card and make it the default."""
        method = self.client.v1.payment_methods.attach(token, {"customer": self.customer})
        self.client.v1.customers.update(
            self.customer, {"invoice_settings": {"default_payment_method": method.id}}
        )
        return method.id

    def types(self, *prefixes: str) -> list[str]:
        """Types of the events so far that begin like this, in order."""
        kept = prefixes or ("customer.subscription", "invoice.", "charge.", "payment_intent.")
        return [one["type"] for one in self.sandbox.events() if one["type"].startswith(kept)]


def lines(invoice: Any) -> list[tuple[str, int]]:
    return [(one.description, one.amount) for one in invoice.lines.data]
