"""What tests of subscriptions share: plans, cards, time that passes, and how everything stands."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from paydesk.crash import CrashNow
from paydesk.errors import PaydeskError
from paydesk.flows import credits, customers, methods, payments, plans, renewals, subscriptions
from paydesk.flows.methods import AddMethod
from paydesk.flows.subscriptions import NewSubscription
from paydesk.rules.money import USD
from paydesk.worker import Worker

CARD = "pm_card_visa"
#: Saved without complaint, declined whenever it is charged.
DECLINES = "pm_card_chargeCustomerFail"
SWEEPS = ("provider_calls", "inbox", "fulfillment", "sessions", "setups", "renewals")


@dataclass
class Billing:
    """A test's desk that sells plans."""

    env: Any
    sim: Any
    make: Any
    clock: Any

    def plan(self, key: str = "pro", **more: Any):
        told = {"name": key.title(), "price": USD("20.00"), "family": "app",
                "grants": [f"tier:{key}"], **more}  # fmt: skip
        return plans.upsert(self.env, key, **told)

    def user(self, card: str | None = CARD):
        who = self.make.user()
        if card is not None:
            self.card(who, card)
        return who

    def card(self, who: Any, token: str = CARD, **more: Any):
        return methods.add(
            self.env, AddMethod(customer_id=who.uuid, token=token, make_default=True, **more)
        )

    def reissue(self, method: Any, card: str) -> None:
        """From now on the saved card answers as this test card of the simulator does."""

        def change(tx: Any) -> None:
            tx.put({**tx.get(method.ref), "_card": card})

        self.sim.sim.store.call(change)

    def subscribe(self, who: Any, plan: Any = "pro", **more: Any):
        return subscriptions.start(
            self.env, NewSubscription(customer_id=who.uuid, plan=plan, **more)
        )

    def look(self, sub: Any):
        return subscriptions.get(self.env, None, sub.id)

    def renew(self, **time: Any) -> int:
        """Let time pass, and the sweep run."""
        if time:
            self.clock.advance(**time)
        return renewals.run_due(self.env)

    def until(self, instant: Any, step: Any = None) -> None:
        """Let time pass up to an instant, with the sweep running each day."""
        step = step or timedelta(days=1)
        while self.env.now() < instant:
            left = min(step, instant - self.env.now())
            self.clock.advance(seconds=left.total_seconds())
            renewals.run_due(self.env)

    def recover(self, *, minutes: int = 4, rounds: int = 12) -> None:
        """Only the sweeps work, as after a crash with nobody there."""
        worker = Worker(self.env)
        for _ in range(rounds):
            self.clock.advance(minutes=minutes)
            for name in SWEEPS:
                with contextlib.suppress(PaydeskError, CrashNow):
                    worker.run_once(name)

    def all(self, sql: Any, **values: Any) -> list[dict[str, Any]]:
        with self.env.db.read() as tx:
            return tx.all(sql, values)

    def invoices(self, sub: Any) -> list[tuple[Any, ...]]:
        """(cycle, state, total, due) of each, oldest first."""
        rows = self.all(
            "select cycle, state, total_minor, due_minor from invoices"
            " where customer_id = %(c)s and subscription_id = %(s)s order by created_at, id",
            c=sub.customer_id, s=sub.id,
        )
        return [tuple(row.values()) for row in rows]

    def payments(self, sub: Any) -> list[str]:
        found = payments.list_(self.env, sub.customer_id, limit=100)
        return [one.state for one in reversed(found)]

    def events(self, sub: Any, prefix: str = "subscription.") -> list[str]:
        rows = self.all(
            "select type from events where customer_id = %(c)s order by seq", c=sub.customer_id
        )
        return [row["type"].removeprefix(prefix) for row in rows if row["type"].startswith(prefix)]

    def can(self, who: Any, resource: str) -> bool:
        from paydesk.flows import access

        uuid = getattr(who, "uuid", None) or who.customer_id
        return bool(access.can(self.env, uuid, resource))

    def balance(self, who: Any) -> int:
        uuid = getattr(who, "uuid", None) or who.customer_id
        with self.env.db.read() as tx:
            return credits.balance_total(tx, uuid, self.env.now())

    def books(self, who: Any, name: str) -> int:
        """What stands on one of the customer's accounts, in US dollars' minor units."""
        from paydesk.flows import ledger

        uuid = getattr(who, "uuid", None) or who.customer_id
        with self.env.db.read() as tx:
            return ledger.balances(tx, [uuid], name, "usd")[uuid]


__all__ = ["CARD", "DECLINES", "Billing", "customers"]
