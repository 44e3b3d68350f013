"""Random lives of subscriptions, and what they bring in a month, counted a second time.

The second count knows nothing of the table that reports are made of: it goes by the events, the
invoices and the promo codes, in plain loops.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from billing import CARD, DECLINES, Billing

from paydesk.errors import PaydeskError
from paydesk.flows import promos, subscription_pauses
from paydesk.flows import subscription_changes as changes
from paydesk.rules.money import HTG, USD

A_YEAR = {"year": 1, "month": 12, "week": 52, "day": 365}


@dataclass
class Lives:
    """Customers who subscribe, change, pause, fail to pay, leave and come back, at instants that
    are all different; `seen` says how every subscription stood after each step."""

    billing: Billing
    random: random.Random
    users: list[Any] = field(default_factory=list)
    seen: list[tuple[Any, list[dict[str, Any]]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        desk = self.billing
        both = [USD("20.00"), HTG("2600.00")]
        desk.plan("monthly", price=None, prices=both, most_quantity=4)
        desk.plan("yearly", price=None, prices=[USD("199.99"), HTG("26000.05")], interval="year")
        desk.plan("weekly", price=USD("7.77"), interval="week", interval_count=2, most_quantity=4)
        desk.plan("tried", price=USD("35.00"), trial_days=6, trial_needs_method=False)
        desk.plan("side", price=USD("9.00"), family="side", grants=["side"])
        desk.plan("free", price=USD("0.00"), family="free", grants=["free"])
        for code, more in {
            "ONCE": {"percent_off": 50}, "EVER": {"percent_off": 33, "duration": "forever"},
            "TWICE": {"amount_off": USD("5.00"), "duration": "repeating", "duration_periods": 2},
        }.items():  # fmt: skip
            promos.upsert_promo(desk.env, code, **more)
        self.users = [desk.user() for _ in range(4)]

    def run(self, steps: int) -> None:
        acts = [self.subscribe] * 5 + [self.change] * 3 + [self.seats, self.cancel, self.cancel,
                self.pause, self.resume, self.resume, self.back, self.card, self.card,
                self.later, self.later, self.later]  # fmt: skip
        for _ in range(steps):
            with contextlib.suppress(PaydeskError):  # What is refused changes nothing.
                self.random.choice(acts)()
            self.look()
            self.billing.clock.advance(minutes=self.random.randint(1, 500))

    def look(self) -> None:
        self.seen.append((self.billing.env.now(), self.billing.all(
            "select s.customer_id, s.id, s.state, p.key as plan, s.quantity, s.currency"
            " from subscriptions s join plans p on p.id = s.plan_id"
        )))  # fmt: skip

    def one(self, *states: str) -> tuple[Any, Any]:
        """A customer, and a subscription of his."""
        found = self.billing.all(
            "select customer_id, id from subscriptions where state = any(%(states)s) order by id",
            states=list(states or ("active", "past_due", "trialing")),
        )
        if not found:
            raise PaydeskError("There is none.")
        return tuple(self.random.choice(found).values())  # type: ignore[return-value]

    def subscribe(self) -> None:
        plan = self.random.choice(["monthly", "yearly", "weekly", "tried", "tried", "side", "free"])
        in_gourdes = plan in ("monthly", "yearly") and self.random.random() < 0.3
        self.billing.subscribe(
            self.random.choice(self.users), plan, currency="htg" if in_gourdes else None,
            promo=self.random.choice([None, None, "ONCE", "EVER", "TWICE"]),
        )  # fmt: skip

    def change(self) -> None:
        changes.change(self.billing.env, *self.one(), at=self.random.choice(["now", "period_end"]),
                       plan=self.random.choice(["monthly", "yearly", "weekly"]))  # fmt: skip

    def seats(self) -> None:
        changes.change(self.billing.env, *self.one(), quantity=self.random.randint(1, 4))

    def cancel(self) -> None:
        changes.cancel(self.billing.env, *self.one(),
                       at=self.random.choice(["now", "period_end"]))  # fmt: skip

    def pause(self) -> None:
        subscription_pauses.pause(self.billing.env, *self.one("active"))

    def resume(self) -> None:
        subscription_pauses.resume(self.billing.env, *self.one("paused"))

    def back(self) -> None:
        changes.reactivate(self.billing.env, *self.one())

    def card(self) -> None:
        self.billing.card(self.random.choice(self.users),
                          self.random.choice([CARD, CARD, DECLINES]))  # fmt: skip

    def later(self) -> None:
        """Days pass, and the sweep does what is due; it is late now and then."""
        for _ in range(self.random.randint(2, 9)):
            self.billing.renew(hours=self.random.randint(20, 70))


# Counted again -----------------------------------------------------------------------------------


class Again:
    """What each customer brought in a month after each instant, from events and invoices."""

    def __init__(self, desk: Billing) -> None:
        self.events: dict[Any, list[Any]] = defaultdict(list)
        for row in desk.all("select * from events where type like 'subscription.%%'"
                            " order by customer_id, seq"):  # fmt: skip
            self.events[row["subject_id"]].append(row)
        self.subs = {row["id"]: row for row in desk.all(
            "select customer_id, id, currency, discount from subscriptions")}  # fmt: skip
        self.terms = {row["key"]: row for row in desk.all(
            "select p.key, v.interval_unit, v.interval_count from plans p join plan_versions v"
            " on v.plan_id = p.id and v.version = p.version")}  # fmt: skip
        self.codes = {row["code"]: row for row in desk.all("select * from promos")}
        self.invoices: dict[Any, list[Any]] = defaultdict(list)
        for row in desk.all("select * from invoices order by finalized_at, id"):
            self.invoices[row["subscription_id"]].append(row)
        self.moves = sorted(self._moves())

    def worth(self, sub_id: Any, at: Any) -> int:
        """In minor units, as it stood after everything of this instant."""
        told = [row["data"] for row in self.events[sub_id] if row["created_at"] <= at]
        if not told or told[-1]["status"] not in ("active", "past_due"):
            return 0
        if not any(row["paid_at"] is not None and row["paid_at"] <= at
                   and (row["cycle"] is not None or row["total_minor"] > 0)
                   for row in self.invoices[sub_id]):  # fmt: skip
            return 0
        terms = self.terms[told[-1]["plan"]]
        price = Fraction(told[-1]["amount"]) - self._off(sub_id, at, told[-1]["amount"])
        a_month = price * A_YEAR[terms["interval_unit"]] / 12 / terms["interval_count"]
        return int((2 * a_month + 1) // 2)

    def _off(self, sub_id: Any, at: Any, amount: int) -> int:
        kept = self.subs[sub_id]["discount"]
        code = self.codes[kept["code"]] if kept else None
        if code is None or code["duration"] == "once":
            return 0
        if code["duration"] == "repeating":
            # By the last period that was billed by the calendar; changes carry what it has.
            reasons = ("subscription_create", "subscription_cycle")
            billed = [row for row in self.invoices[sub_id]
                      if row["finalized_at"] <= at and row["reason"] in reasons]  # fmt: skip
            if not billed or not billed[-1]["discount_minor"]:
                return 0
        if code["percent_off"]:
            return (2 * amount * int(code["percent_off"]) + 100) // 200
        return min(code["amount_off_minor"], amount)

    def _moves(self) -> Any:
        """(instant, customer, currency, what it is called, by how much)."""
        instants: dict[Any, set[Any]] = defaultdict(set)
        for sub_id, sub in self.subs.items():
            key = sub["customer_id"], sub["currency"]
            instants[key] |= {row["created_at"] for row in self.events[sub_id]}
            for row in self.invoices[sub_id]:
                instants[key] |= {row["finalized_at"], row["paid_at"] or row["finalized_at"]}
        for (customer, currency), ats in instants.items():
            mine = [n for n, sub in self.subs.items()
                    if (sub["customer_id"], sub["currency"]) == (customer, currency)]  # fmt: skip
            before, most = 0, 0
            for at in sorted(ats):
                after = sum(self.worth(n, at) for n in mine)
                if after != before:
                    name = "expansion" if after > before else "contraction"
                    name = "churned" if not after else name
                    if not before:
                        name = "reactivation" if most else "new"
                    yield at, str(customer), currency, name, after - before
                before, most = after, max(most, after)

    def total(self, currency: str, before: Any) -> int:
        return sum(move[4] for move in self.moves if move[2] == currency and move[0] < before)

    def customers(self, currency: str, before: Any) -> int:
        sums: Counter[Any] = Counter()
        for at, customer, code, _, minor in self.moves:
            if code == currency and at < before:
                sums[customer] += minor
        return sum(1 for minor in sums.values() if minor)
