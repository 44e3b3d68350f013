"""What happens to two subscriptions at Stripe: how all stands after each chapter, its events."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import Any

from captured import shapes
from captured.shapes import OLDEST, Bill, Line, Price, Sub

HOUR, DAY = 3_600, 86_400
PRO = Price(id="price_1Hp9cQnOaKe7Wz3MStudio", product="prod_QgStudio7f", amount=2000,
            key="pro", made=1_514_800_000)  # fmt: skip
MAX = Price(id="price_1Hp9dVnOaKe7Wz3MGaller", product="prod_QgGallery2", amount=5000,
            key="max", made=1_514_800_060)  # fmt: skip
#: Events that did not exist yet.
LATER = ("invoice.paid", "invoice.finalized", "invoice.voided", "invoice.payment_action_required")


@dataclass
class Chapter:
    """How all stands at its end, and the events that it was told with, the first first."""

    name: str
    at: int
    sub: Sub
    bills: dict[str, Bill]
    events: list[dict[str, Any]]


@dataclass
class Story:
    version: str
    sub: Sub
    bills: dict[str, Bill] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    chapters: list[Chapter] = field(default_factory=list)
    count: int = 0

    def close(self, name: str, at: int) -> None:
        self.chapters.append(Chapter(name, at, self.sub, dict(self.bills), self.events))
        self.events = []

    def _tell(self, type: str, at: int, shown: dict[str, Any], **before: Any) -> None:
        if self.version == OLDEST and type in LATER:
            return
        self.count += 1
        data: dict[str, Any] = {"object": copy.deepcopy(shown)}
        if before:
            data["previous_attributes"] = before
        self.events.append({
            "id": f"evt_1Hq{self.count:02}{self.version[:4]}nOaKe7Wz3M", "object": "event",
            "api_version": self.version, "created": at, "data": data, "livemode": False,
            "pending_webhooks": 1, "request": {"id": None, "idempotency_key": None}, "type": type,
        })  # fmt: skip

    def tell_sub(self, what: str, at: int, **changes: Any) -> None:
        before = {}
        for name in ("status", "pause"):
            if name in changes and what == "updated":
                shown = "pause_collection" if name == "pause" else name
                before[shown] = getattr(self.sub, name)
        self.sub = replace(self.sub, **changes)
        shown = shapes.subscription(self.version, self.sub)
        self._tell(f"customer.subscription.{what}", at, shown, **before)

    def tell_bill(self, what: str, at: int, id: str, **changes: Any) -> None:
        self.bills[id] = replace(self.bills[id], **changes)
        self._tell(f"invoice.{what}", at, shapes.invoice(self.version, self.bills[id]))

    def forecast(self, at: int, one: Bill) -> None:
        """Of what will be billed: there is no such invoice yet, and it has no id."""
        shown = shapes.invoice(self.version, one) | {"number": None, "webhooks_delivered_at": None}
        shown["id"] = None
        if self.version != OLDEST:
            shown.pop("id")
            shown |= {"billing_reason": "upcoming"}
        self._tell("invoice.upcoming", at, shown)

    def bill(self, one: Bill) -> None:
        self.bills[one.id] = one
        self._tell("invoice.created", one.made, shapes.invoice(self.version, one))

    def finalize(self, at: int, id: str, number: str, **more: Any) -> None:
        self.tell_bill("finalized", at, id, status="open", number=number, finalized=at, **more)

    def pay(self, at: int, id: str, *, attempts: int = 1) -> None:
        one = self.bills[id]
        changes: dict[str, Any] = {"status": "paid", "paid": at, "attempts": attempts,
                                   "retry": None}  # fmt: skip
        if one.total:
            ref = f"ch_{id[3:]}{attempts}"
            changes |= {"charge": ref, "tried": [*one.tried, ref]}
        self.tell_bill("paid", at, id, **changes)
        if self.version == OLDEST:
            self.bills[id] = replace(one, **changes)
        self.tell_bill("payment_succeeded", at, id)

    def intent(self, id: str) -> dict[str, str] | dict[str, None]:
        """Its payment intent, which invoices of the oldest version did not have."""
        return {"intent": None if self.version == OLDEST else f"pi_{id[3:]}"}


def _begun(id: str, at: int, line: Line) -> Bill:
    return Bill(id=id, reason="subscription_create", made=at, start=at, end=at, lines=[line])


def life(version: str, t0: int) -> Story:
    """A trial, the first payment, a bigger plan, a pause, a card that fails once, the end."""
    t1 = t0 + 14 * DAY
    story = Story(version, Sub(price=PRO, begun=t0, start=t0, end=t1, trial=(t0, t1)))
    trial = "in_1Hq2vTnOaKe7Wz3MTrial"
    story.tell_sub("created", t0, status="trialing", invoice=trial)
    story.bill(_begun(trial, t0, Line(amount=0, price=PRO, start=t0, end=t1,
                                      text="Trial period for Studio")))  # fmt: skip
    story.finalize(t0, trial, "7C41D0AE-0001")
    story.pay(t0, trial, attempts=0)
    story.close("trial", t0 + HOUR)

    first, t2 = "in_1Hv6aBnOaKe7Wz3MFirst", t1 + 30 * DAY
    cycle = Bill(id=first, reason="subscription_cycle", made=t1, start=t0, end=t1, lines=[
        Line(amount=2000, price=PRO, start=t1, end=t2, text="1 × Studio (at $20.00 / month)")])
    story.forecast(t1 - 3 * DAY, cycle)
    story.tell_sub("updated", t1, status="active", start=t1, end=t2, invoice=first)
    story.bill(cycle)
    story.finalize(t1 + HOUR, first, "7C41D0AE-0002", **story.intent(first))
    story.pay(t1 + HOUR, first)
    story.close("paid", t1 + 2 * HOUR)
    _changes(story, t1 + 10 * DAY, t2)
    _fails(story, t2)
    t3 = t2 + 31 * DAY
    at = t2 + 5 * DAY
    story.tell_sub("updated", at, ending=True, canceled_at=at, reason="cancellation_requested")
    story.close("ending", at)
    story.tell_sub("deleted", t3, status="canceled", ending=False, ended_at=t3)
    story.close("ended", t3 + HOUR)
    return story


def _changes(story: Story, at: int, end: int) -> None:
    change = "in_1Hy1kLnOaKe7Wz3MChang"
    story.tell_sub("updated", at, price=MAX, invoice=change)
    story.bill(Bill(id=change, reason="subscription_update", made=at, start=at, end=at, lines=[
        Line(amount=-1333, price=PRO, start=at, end=end, text="Unused time on Studio",
             proration=True),
        Line(amount=3333, price=MAX, start=at, end=end, text="Remaining time on Gallery",
             proration=True)]))  # fmt: skip
    story.finalize(at, change, "7C41D0AE-0003", **story.intent(change))
    story.pay(at, change)
    story.close("changed", at + HOUR)
    if story.version != OLDEST:  # Nothing could be paused yet.
        at += 2 * DAY
        story.tell_sub("updated", at, pause={"behavior": "void", "resumes_at": at + 5 * DAY})
        story.close("held", at + HOUR)
        story.tell_sub("updated", at + DAY, pause=None)
        story.close("resumed", at + DAY + HOUR)


def _fails(story: Story, at: int) -> None:
    id, end = "in_1I6w2RnOaKe7Wz3MSecnd", at + 31 * DAY
    story.tell_sub("updated", at, start=at, end=end, invoice=id)
    story.bill(Bill(id=id, reason="subscription_cycle", made=at, start=at - 30 * DAY, end=at,
                    lines=[Line(amount=story.sub.price.amount, price=story.sub.price, start=at,
                                end=end, text="1 × Gallery (at $50.00 / month)")]))  # fmt: skip
    later = at + HOUR
    story.finalize(later, id, "7C41D0AE-0004", **story.intent(id))
    tried = [f"ch_{id[3:]}f"]
    story.tell_bill("payment_failed", later, id, attempts=1, retry=later + 3 * DAY, tried=tried)
    story.tell_bill("payment_action_required", later, id)
    story.tell_sub("updated", later, status="past_due")
    story.close("failed", later + HOUR)
    if not story.sub.trial:
        return
    story.pay(later + 3 * DAY, id, attempts=2)
    story.tell_sub("updated", later + 3 * DAY, status="active")
    story.close("recovered", later + 3 * DAY + HOUR)


def unpaid(version: str, t0: int) -> Story:
    """Paid for one month, and never again."""
    t1, first = t0 + 30 * DAY, "in_1Hq2vTnOaKe7Wz3MFirst"
    story = Story(version, Sub(price=PRO, begun=t0, start=t0, end=t1))
    story.tell_sub("created", t0, invoice=first)
    story.bill(_begun(first, t0, Line(amount=2000, price=PRO, start=t0, end=t1,
                                      text="1 × Studio (at $20.00 / month)")))  # fmt: skip
    story.finalize(t0, first, "7C41D0AE-0001", **story.intent(first))
    story.pay(t0, first)
    story.close("begun", t0 + HOUR)
    _fails(story, t1)
    id, at = "in_1I6w2RnOaKe7Wz3MSecnd", t1 + 8 * DAY
    story.tell_sub("deleted", at, status="canceled", canceled_at=at, ended_at=at,
                   reason="payment_failed")  # fmt: skip
    story.tell_bill("voided", at, id, status="void", voided=at, retry=None)
    if version == OLDEST:
        one = replace(story.bills[id], status="void", voided=at, retry=None)
        story.bills[id] = one
        story._tell("invoice.updated", at, shapes.invoice(version, one), closed=False)
    story.close("ended", at + HOUR)
    return story
