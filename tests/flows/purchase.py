"""What tests of purchases share: open, pay, deliver, and look at how everything stands."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import time
from dataclasses import dataclass
from typing import Any

from paydesk.crash import CrashNow
from paydesk.errors import PaydeskError
from paydesk.flows import checkout, credits, inbox, payments
from paydesk.flows.checkout import CheckoutView, StartCheckout
from paydesk.worker import Worker

#: What tests/conftest.py signs webhooks with.
SECRET = "whsec_test_of_the_desk_0123456789abcdef"
DECLINED = "4000000000000002"
SECURED = "4000002760003184"
PROVE = os.environ.get("PAYDESK_PROVE") == "1"

#: Sweeps of the purchase, in an order in which one's work can be the next one's.
SWEEPS = ("provider_calls", "inbox", "fulfillment", "sessions", "promo_uses", "publisher")


def signed(body: bytes, *, secret: str = SECRET, at: int | None = None) -> dict[str, str]:
    """Headers of a webhook signed the way Stripe documents it."""
    at = int(time.time()) if at is None else at
    mac = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return {"Stripe-Signature": f"t={at},v1={mac}"}


@dataclass
class Desk:
    """A test's desk: its environment, the simulator, and a catalogue with one pack."""

    env: Any
    sim: Any
    make: Any
    clock: Any

    def open(self, user: Any = None, **more: Any) -> CheckoutView:
        user = user or self.make.user()
        told = more or {}
        if not {"pack", "credits", "amount", "item", "service", "wallet"} & told.keys():
            told = {"pack": "creator", **told}
        return checkout.start(self.env, StartCheckout(customer_id=user.uuid, **told))

    def pay(self, view: CheckoutView, **more: Any) -> Any:
        return self.sim.pay(view.payment.session_ref, **more)

    def events(self, view: CheckoutView, *types: str) -> list[Any]:
        return self.sim.deliveries(*types, about=view.payment.session_ref)

    def deliver(self, view: CheckoutView, *types: str) -> None:
        for one in self.events(view, *types):
            self.receive(one)

    def receive(self, one: Any) -> list[inbox.Received]:
        return inbox.receive(self.env, "stripe", one.body, one.headers)

    def payment(self, view: CheckoutView) -> payments.PaymentView:
        return payments.get(self.env, view.customer_id, view.payment.id)

    def balance(self, view: CheckoutView) -> int:
        with self.env.db.read() as tx:
            return credits.balance_total(tx, view.customer_id, self.env.now())

    def sweep(self, *names: str, rounds: int = 1) -> None:
        worker = Worker(self.env)
        for _ in range(rounds):
            for name in names or SWEEPS:
                worker.run_once(name)

    def recover(self, *, minutes: int = 4, rounds: int = 12) -> None:
        """Let time pass and only the sweeps work, as after a crash with nobody there.

        A sweep that dies or is refused is started again in the next round.
        """
        for _ in range(rounds):
            self.clock.advance(minutes=minutes)
            for name in SWEEPS:
                with contextlib.suppress(PaydeskError, CrashNow):
                    self.sweep(name)

    def all(self, sql: Any, **values: Any) -> list[dict[str, Any]]:
        with self.env.db.read() as tx:
            return tx.all(sql, values)

    def events_of(self, view: CheckoutView) -> list[str]:
        rows = self.all(
            "select type from events where customer_id = %(c)s order by seq", c=view.customer_id
        )
        return [row["type"] for row in rows]

    def standing(self, view: CheckoutView) -> dict[str, Any]:
        """Everything that must not depend on the order in which news came, without ids."""
        c = view.customer_id
        one = self.payment(view)
        return {
            "payment": (one.state, one.captured, one.credits_added, one.review, one.error_code,
                        one.error_message, one.method, bool(one.session_ref),
                        bool(one.payment_ref)),
            "fulfillments": self.all(
                "select purpose, state, error_code from fulfillments where customer_id = %(c)s",
                c=c),
            "attempts": sorted(
                (tuple(row.values()) for row in self.all(
                    "select state, error_code, method, session_ref is not null as s,"
                    " provider_payment_ref is not null as p, ended_at is not null as e"
                    " from attempts where customer_id = %(c)s", c=c)), key=str),
            "transfers": sorted(
                tuple(row.values()) for row in self.all(
                    "select reason, debit, credit, asset, amount from transfers"
                    " where customer_id = %(c)s", c=c)),
            "batches": self.all(
                "select kind, granted, remaining from batches where customer_id = %(c)s"
                " order by kind", c=c),
            "refs": len(self.all(
                "select ref from provider_refs where customer_id = %(c)s", c=c)),
            "events": sorted(set(self.events_of(view))),
            "inbox": {row["state"] for row in self.all(
                "select state from provider_events where customer_id = %(c)s", c=c)},
        }  # fmt: skip
