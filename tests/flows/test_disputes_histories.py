"""Random histories of buying, using, refunds and disputes, told in any order and often twice."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from purchase import Desk

from paydesk.errors import PaydeskError
from paydesk.flows import credits, disputes, refund_facts
from paydesk.providers.base import RemoteDispute, RemoteRefund
from paydesk.rules.ledger import CODES
from paydesk.rules.money import Money

NEXT_REFUND = {"pending": ("succeeded", "failed"), "succeeded": ("failed",), "failed": ()}
NEXT_DISPUTE = {
    "warning": ("needs_response", "closed"), "needs_response": ("under_review", "won", "lost"),
    "under_review": ("won", "lost"), "lost": ("won",), "won": (), "closed": (),
}  # fmt: skip


@dataclass
class Provider:
    """What the other side knows of one payment, and everything it ever said."""

    key: tuple[Any, Any]
    ref: str
    captured: int
    refunds: dict[str, RemoteRefund] = field(default_factory=dict)
    disputes: dict[str, RemoteDispute] = field(default_factory=dict)
    said: list[RemoteRefund | RemoteDispute] = field(default_factory=list)

    def say(self, one: Any) -> None:
        held = self.refunds if isinstance(one, RemoteRefund) else self.disputes
        held[one.id] = one
        self.said.append(one)

    def refund(self, rng: random.Random) -> None:
        live = sum(r.amount.minor for r in self.refunds.values() if r.status != "failed")
        if live < self.captured:
            amount = rng.choice((self.captured - live, rng.randint(1, self.captured - live)))
            self.say(RemoteRefund(id=f"re_{self.ref}_{len(self.refunds)}", payment_ref=self.ref,
                                  status=rng.choice(("pending", "succeeded")),
                                  amount=cents(amount)))  # fmt: skip

    def dispute(self, rng: random.Random) -> None:
        amount = cents(rng.choice((self.captured, rng.randint(1, self.captured))))
        status = rng.choice(("warning", "needs_response"))
        taken = amount if status != "warning" else cents(0)
        self.say(RemoteDispute(
            id=f"du_{self.ref}_{len(self.disputes)}", status=status, amount=amount,
            payment_ref=self.ref, withdrawn=taken, reinstated=cents(0),
            fee=cents(1500 if taken else 0),
        ))  # fmt: skip

    def go_on(self, rng: random.Random) -> None:
        """Something that was begun takes its next step."""
        one = rng.choice([*self.refunds.values(), *self.disputes.values(), None])
        if isinstance(one, RemoteRefund):
            for status in rng.sample(NEXT_REFUND[one.status], len(NEXT_REFUND[one.status]))[:1]:
                self.say(replace(one, status=status))
        elif one is not None:
            for status in rng.sample(NEXT_DISPUTE[one.status], len(NEXT_DISPUTE[one.status]))[:1]:
                moved = status in ("needs_response", "under_review", "won", "lost")
                self.say(replace(
                    one, status=status, withdrawn=one.amount if moved else cents(0),
                    reinstated=one.amount if status == "won" else cents(0),
                    fee=cents(1500 if moved and status != "won" else 0),
                ))  # fmt: skip


def cents(minor: int) -> Money:
    return Money(minor, "usd", minor=True)


def hear(desk: Desk, known: Provider, one: RemoteRefund | RemoteDispute) -> None:
    apply = refund_facts if isinstance(one, RemoteRefund) else disputes
    apply.apply_remote(desk.env, "stripe", "", one, known.key, "webhook")


def use(desk: Desk, customer_id: Any, rng: random.Random) -> None:
    item = credits.new_spend(customer_id, rng.randint(1, 90), "render")
    try:
        credits.raise_for(credits.spend_now(desk.env, item))
    except PaydeskError:  # More than there is.
        assert item.amount > 0


def check_credits(desk: Desk, customer_id: Any) -> None:
    """granted − used − clawed back + reinstated = balance − debt, for each batch."""
    rows = desk.all(
        "select b.payment_id, b.granted, b.remaining - b.owed as ours,"
        " coalesce((select sum(d.amount) from draws d join transfers t"
        "  on t.customer_id = d.customer_id and t.id = d.transfer_id"
        "  where d.customer_id = b.customer_id and d.batch_id = b.id"
        "  and t.reason = 'CREDIT_USAGE'), 0) as used,"
        " coalesce((select sum(c.taken + c.owed) from clawbacks c"
        "  where c.customer_id = b.customer_id and c.payment_id = b.payment_id"
        "  and c.goods = 'credits' and c.reversed_at is null), 0) as clawed"
        " from batches b where b.customer_id = %(c)s", c=customer_id,
    )  # fmt: skip
    sums = [(row["granted"] - row["used"] - row["clawed"], row["ours"]) for row in rows]
    assert all(wanted == ours for wanted, ours in sums), rows


def check_money(desk: Desk, customer_id: Any) -> None:
    """captured = kept + refunded + taken by disputes; what they took beyond it is a loss."""
    accounts = {row["code"]: row["balance"] for row in desk.all(
        "select code, balance from accounts where customer_id = %(c)s and asset = 'usd'",
        c=customer_id)}  # fmt: skip
    totals = desk.all(
        "select (select sum(captured_minor) from payments where customer_id = %(c)s) as captured,"
        " (select coalesce(sum(amount_minor - loss_minor), 0) from refunds"
        "  where customer_id = %(c)s and state in ('pending', 'succeeded')) as refunded,"
        " (select coalesce(sum(loss_minor), 0) from refunds where customer_id = %(c)s"
        "  and state = 'succeeded') as over,"
        " (select coalesce(sum(withdrawn_minor - reinstated_minor - loss_minor), 0) from disputes"
        "  where customer_id = %(c)s) as held,"
        " (select coalesce(sum(loss_minor), 0) from disputes where customer_id = %(c)s) as lost,"
        " (select coalesce(sum(fee_minor), 0) from disputes where customer_id = %(c)s) as fees",
        c=customer_id,
    )[0]  # fmt: skip
    kept = accounts.get(CODES["revenue"], 0) + accounts.get(CODES["deposits"], 0)
    assert totals["captured"] == kept + totals["refunded"] + totals["held"]
    assert accounts.get(CODES["disputes"], 0) == 0
    assert -accounts.get(CODES["losses"], 0) == totals["lost"] + totals["fees"] + totals["over"]


@pytest.mark.parametrize("number", range(10))
def test_any_history_in_any_order_keeps_every_credit_and_cent(desk, seed, number):  # I7 I9 I10 I17
    rng = random.Random(f"{seed}/{number}")
    user = desk.make.user()
    sides = []
    for _ in range(1 + number % 2):
        view = desk.open(user)
        desk.pay(view)
        desk.deliver(view)
        one = desk.payment(view)
        sides.append(Provider((view.customer_id, view.payment.id), one.payment_ref, 999))
    for _ in range(30):
        side = rng.choice(sides)
        act = rng.choice(("use", "refund", "dispute", "go on", "go on", "hear", "hear", "hear"))
        if act == "use":
            use(desk, user.uuid, rng)
        elif act == "refund":
            side.refund(rng)
        elif act == "dispute" and len(side.disputes) < 2:
            side.dispute(rng)
        elif act == "go on":
            side.go_on(rng)
        elif side.said:
            hear(desk, side, rng.choice(side.said))
            check_credits(desk, user.uuid)
            check_money(desk, user.uuid)
    last = [(side, one) for side in sides
            for one in [*side.refunds.values(), *side.disputes.values()]]  # fmt: skip
    for side, one in rng.sample(last * 2, len(last) * 2):
        hear(desk, side, one)
    check_credits(desk, user.uuid)
    check_money(desk, user.uuid)
    told = {one.id: one for side in sides for one in side.disputes.values()}
    found = {one.ref: one for one in disputes.list_(desk.env, user.uuid, limit=50)}
    assert found.keys() == told.keys()
    for ref, one in told.items():
        assert (found[ref].state, found[ref].withdrawn, found[ref].reinstated) == (
            one.status, one.withdrawn, one.reinstated
        )
    kept = desk.all(
        "select provider_ref, state from refunds where customer_id = %(c)s", c=user.uuid
    )
    states = {row["provider_ref"]: row["state"] for row in kept}
    for side in sides:
        for ref, one in side.refunds.items():
            assert states.get(ref, "failed") == one.status
