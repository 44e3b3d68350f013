"""Subscriptions of Stripe in the structures that real accounts were sent, in five API versions.

The objects are none of the simulator's: see captured/README.md.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from billing import Billing
from captured import older, shapes
from captured.server import Recorded
from captured.shapes import OLDEST, VERSIONS
from captured.story import Chapter, Story, life, unpaid
from provider_run import There
from purchase import signed

from paydesk.assemble import build_env
from paydesk.flows import customers, inbox, provider_customers, refunds
from paydesk.flows.refunds import WantRefund
from paydesk.providers.stripe_billing_shapes import of_invoice
from paydesk.rules.money import USD

ORDERS = ("in_order", "reversed", "doubled")


@dataclass
class Told:
    """A desk that hears of a captured life from events, and asks the recorded server."""

    billing: Billing
    there: Recorded
    who: Any

    def go(self, story: Story, order: str = "in_order") -> Iterator[Chapter]:
        """Each chapter, when it was told and applied."""
        for chapter in story.chapters:
            at = datetime.fromtimestamp(chapter.at, UTC)
            self.billing.clock.advance(seconds=(at - self.billing.env.now()).total_seconds())
            self.there.chapter = chapter
            self.hear(chapter, order)
            yield chapter

    def hear(self, chapter: Chapter, order: str) -> None:
        events = list(chapter.events)
        if order == "reversed":
            events.reverse()
        if order == "doubled":
            events *= 2
            random.Random(chapter.name).shuffle(events)
        for event in events:
            body = json.dumps(event).encode()
            inbox.receive(self.billing.env, "stripe", body, signed(body))

    @property
    def sub(self) -> Any:
        (row,) = self.billing.all("select customer_id, id from subscriptions")
        return self.billing.look(type("Key", (), row))

    def bills(self) -> list[tuple[Any, ...]]:
        """(cycle, state, total, paid, number) of each invoice, oldest first."""
        return [tuple(row.values()) for row in self.billing.all(
            "select cycle, state, total_minor, paid_minor, number from invoices"
            " order by created_at, provider_ref")]  # fmt: skip

    def payments(self) -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in self.billing.all(
            "select state, asked_minor, captured_minor from payments order by created_at, id")]

    def parked(self) -> list[Any]:
        return self.billing.all("select type, error from provider_events where state <> 'done'")


@pytest.fixture
def told(settings, clock) -> Iterator[Callable[[str], Told]]:
    """A desk for an account of this API version."""
    opened: list[Any] = []

    def make(version: str) -> Told:
        there = Recorded(version)
        opened.append(there)
        env = build_env(replace(settings, simulator_url=there.url, stripe_api_version=version),
                        start_missing=False, clock=clock)  # fmt: skip
        opened.append(env)
        billing = Billing(env, there, None, clock)
        who = customers.ensure(env, "rosa")
        with env.db.transaction(who.uuid) as tx:
            provider_customers.keep(tx, [(who.uuid, "stripe", "", shapes.CUSTOMER)])
        billing.plan("pro", credits=100)
        billing.plan("max", price=USD("50.00"), credits=300)
        return Told(billing, there, who)

    yield make
    for one in reversed(opened):
        one.close()


#: After each chapter: state, plan, number of the period, credits, what is open.
LIFE = {
    "trial": ("trialing", "pro", 0, 0, "pro"), "paid": ("active", "pro", 1, 100, "pro"),
    "changed": ("active", "max", 1, 100, "max"), "held": ("paused", "max", 1, 100, None),
    "resumed": ("active", "max", 1, 100, "max"), "failed": ("past_due", "max", 2, 0, "max"),
    "recovered": ("active", "max", 2, 300, "max"), "ending": ("active", "max", 2, 300, "max"),
    "ended": ("canceled", "max", 2, 0, None),
}
#: (cycle, state, total, paid, number) of its invoices.
BILLS = [
    (0, "paid", 0, 0, "7C41D0AE-0001"), (1, "paid", 2000, 2000, "7C41D0AE-0002"),
    (None, "paid", 2000, 2000, "7C41D0AE-0003"), (2, "paid", 5000, 5000, "7C41D0AE-0004"),
]
OPEN = (2, "open", 5000, 0, "7C41D0AE-0004")


def begin(desk: Told) -> int:
    return int(desk.billing.env.now().timestamp())


def check_chapter(desk: Told, chapter: Chapter) -> None:
    sub = desk.sub
    opened = [key for key in ("pro", "max") if desk.billing.can(desk.who, f"tier:{key}")]
    assert (sub.state, sub.plan_key, sub.period, desk.billing.balance(desk.who),
            opened[0] if opened else None) == LIFE[chapter.name]  # fmt: skip
    assert len(opened) < 2
    assert (sub.period_start.timestamp(), sub.period_end.timestamp()) == (
        chapter.sub.start, chapter.sub.end)  # fmt: skip
    ends = chapter.sub.end if chapter.sub.ending else None
    assert (sub.cancel_at and sub.cancel_at.timestamp()) == ends
    assert desk.bills() == [*BILLS[: len(chapter.bills)]] or (
        chapter.name == "failed" and desk.bills() == [*BILLS[:3], OPEN]
    )
    brought = [one for one in desk.payments() if one[2]]
    assert brought == [("succeeded", one[2], one[2]) for one in desk.bills() if one[3]]


def papers(desk: Told) -> list[Any]:
    return [row["pdf_url"] for row in desk.billing.all(
        "select pdf_url from invoices order by created_at, provider_ref")]  # fmt: skip


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_captured_life_is_read_alike_in_every_version(told, version, order):
    # C26 S1.15 S1.17 S1.19 S1.21 S1.50 I2
    desk = told(version)
    story = life(version, begin(desk))
    for chapter in desk.go(story, order):
        check_chapter(desk, chapter)
        assert (desk.there.refused, desk.parked()) == ([], [])
    has_paper = version != OLDEST
    assert papers(desk) == [
        f"https://invoice.stripe.example/i/{id}/pdf" if has_paper else None for id in story.bills]
    assert desk.sub.end_reason == "requested"
    refs = {row["ref"] for row in desk.billing.all(
        "select provider_payment_ref as ref from payments")}  # fmt: skip
    assert refs == {one.intent or one.charge for one in story.bills.values() if one.total}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_life_that_is_heard_of_when_it_is_over_comes_to_the_same(told, version):
    # C26 S1.15 I2: every event at once and in any order, while Stripe tells only of the end
    desk = told(version)
    story = life(version, begin(desk))
    last = story.chapters[-1]
    at = datetime.fromtimestamp(last.at, UTC)
    desk.billing.clock.advance(seconds=(at - desk.billing.env.now()).total_seconds())
    desk.there.chapter = last
    events = [one for chapter in story.chapters for one in chapter.events]
    desk.hear(replace(last, events=events), "doubled")
    check_chapter(desk, last)
    assert (desk.there.refused, desk.parked()) == ([], [])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_captured_subscription_that_is_not_paid_ends_without_what_was_open(told, version, order):
    # C26 S1.17 S1.20 S1.50: declined, waiting for the bank, given up
    desk = told(version)
    seen = {}
    for chapter in desk.go(unpaid(version, begin(desk)), order):
        seen[chapter.name] = (desk.sub.state, desk.bills()[-1][:4], desk.billing.balance(desk.who),
                              desk.billing.can(desk.who, "tier:pro"))  # fmt: skip
        assert (desk.there.refused, desk.parked()) == ([], [])
    lost = "uncollectible" if version == OLDEST else "void"
    assert seen == {
        "begun": ("active", (0, "paid", 2000, 2000), 100, True),
        "failed": ("past_due", (1, "open", 2000, 0), 0, True),
        "ended": ("canceled", (1, lost, 2000, 0), 0, False),
    }
    assert [one for one in desk.payments() if one[2]] == [("succeeded", 2000, 2000)]
    reason = "payment_failed" if version >= shapes.MIDDLE else "requested"
    assert desk.sub.end_reason == reason


@pytest.mark.parametrize("version", VERSIONS)
def test_events_speak_for_themselves_where_stripe_has_nothing_to_be_asked_about(told, version):
    # C26 S1.15: nothing but what the events carry
    desk = told(version)
    story = life(version, begin(desk))
    for chapter in story.chapters:
        at = datetime.fromtimestamp(chapter.at, UTC)
        desk.billing.clock.advance(seconds=(at - desk.billing.env.now()).total_seconds())
        desk.hear(chapter, "in_order")
        check_chapter(desk, chapter)
        assert desk.parked() == []


@pytest.mark.parametrize("version", VERSIONS)
def test_what_a_captured_invoice_brought_goes_back_by_the_name_it_has_there(told, version):
    # C26 S1.36: its intent, or in the oldest version its charge, which has no intent
    desk = told(version)
    story = unpaid(version, begin(desk))
    next(desk.go(story))
    (row,) = desk.billing.all("select customer_id, id from payments where captured_minor > 0")
    key = uuid4()
    refunds.request(desk.billing.env, WantRefund(
        customer_id=row["customer_id"], payment_id=row["id"], by="customer", force=True,
        amount=USD("5.00"), reason="requested_by_customer", request_key=key,
        request_hash=key.bytes))  # fmt: skip
    bill = story.chapters[0].bills["in_1Hq2vTnOaKe7Wz3MFirst"]
    (sent,) = desk.there.sent
    assert (sent.get("charge"), sent.get("payment_intent")) == (
        ([bill.charge], None) if version == OLDEST else (None, [bill.intent]))  # fmt: skip
    assert desk.billing.all("select state, amount_minor from refunds") == [
        {"state": "succeeded", "amount_minor": 500}]


def older_bill(desk: Told, chapter: Chapter, n: int, **changed: Any) -> None:
    """The last invoice changes, and its event says so."""
    (*_, id) = chapter.bills
    bill = replace(chapter.bills[id], **changed)
    told = older.event("invoice.updated", shapes.invoice(OLDEST, bill), begin(desk), f"_{n}")
    desk.there.chapter = replace(chapter, bills={**chapter.bills, id: bill}, events=[told])
    desk.hear(desk.there.chapter, "in_order")
    assert desk.parked() == []


@pytest.mark.parametrize("opens_again", [False, True])
def test_an_invoice_that_was_closed_unpaid_in_2018_is_given_up_until_it_is_paid(told, opens_again):
    # C26 S1.50: nobody collects it any more, and it is no open claim; reopened, it may be paid
    desk = told(OLDEST)
    story = unpaid(OLDEST, begin(desk))
    run = desk.go(story)
    next(run)
    failed = next(run)
    assert desk.bills()[-1][:4] == (1, "open", 2000, 0)
    older_bill(desk, failed, 1, closed=True, retry=None)
    assert desk.bills()[-1][:4] == (1, "uncollectible", 2000, 0)
    older_bill(desk, failed, 2, closed=True, retry=None)
    told_of = desk.billing.all("select type from events where type like 'invoice.marked%%'")
    assert len(told_of) == 1
    if opens_again:
        older_bill(desk, failed, 3, closed=False)
    (*_, id) = failed.bills
    charge = f"ch_{id[3:]}late"
    older_bill(desk, failed, 4, status="paid", paid=begin(desk), charge=charge, closed=True,
               tried=[*failed.bills[id].tried, charge])  # fmt: skip
    assert desk.bills()[-1][:4] == (1, "paid", 2000, 2000)
    assert [one for one in desk.payments() if one[2]] == [("succeeded", 2000, 2000)] * 2


@pytest.mark.parametrize(("said", "state"), [
    ({"attempted": False, "ending_balance": None}, "draft"),
    ({"attempted": False, "ending_balance": 0}, "open"),
    ({"attempted": True, "ending_balance": None}, "open"),
    ({"attempted": True, "closed": True}, "uncollectible"),
    ({"attempted": False, "closed": True, "ending_balance": None}, "uncollectible"),
    ({"attempted": True, "closed": True, "forgiven": True}, "uncollectible"),
    ({"attempted": True, "closed": False, "forgiven": True}, "uncollectible"),
    ({"attempted": True, "closed": True, "paid": True}, "paid"),
    ({"attempted": True, "closed": True, "paid": True, "forgiven": True}, "paid"),
])  # fmt: skip
def test_what_an_invoice_of_2018_says_is_a_state_of_today(said, state):
    # C26 S1.50
    (bill,) = unpaid(OLDEST, 1_520_000_000).chapters[0].bills.values()
    raw = shapes.invoice(OLDEST, replace(bill, status="open", attempts=0, paid=None))
    assert "status" not in raw
    assert of_invoice(raw | said).state == state


# What comes back --------------------------------------------------------------------------------


@dataclass
class Charged:
    """A month that was paid in 2018, by a charge that no payment intent has."""

    desk: Told
    charge: str
    at: int

    def tell(self, *events: dict[str, Any]) -> list[str]:
        """What became of each event once it was delivered."""
        return [one.state for event in events for body in [json.dumps(event).encode()]
                for one in inbox.receive(self.desk.billing.env, "stripe", body, signed(body))]

    def shows(self, *found: dict[str, Any]) -> None:
        self.desk.there.others |= {one["id"]: one for one in found}

    def payment(self) -> tuple[Any, ...]:
        (row,) = self.desk.billing.all(
            "select state, captured_minor, refunded_minor from payments where captured_minor > 0")
        return tuple(row.values())


@pytest.fixture
def charged(told) -> Charged:
    desk = told(OLDEST)
    story = unpaid(OLDEST, begin(desk))
    chapter = next(desk.go(story))
    (bill,) = chapter.bills.values()
    assert (bill.intent, bill.total) == (None, 2000)
    return Charged(desk, bill.charge, int(desk.billing.env.now().timestamp()))


NO_INTENT = {"payment_intent": None}


@pytest.mark.parametrize("said", [{}, NO_INTENT], ids=["of_2018", "without_intent"])
@pytest.mark.parametrize("kind", ["charge.refunded", "charge.refund.updated"])
def test_a_refund_that_names_a_charge_goes_off_the_payment_that_it_is(charged, kind, said):
    # C26 S1.22 S1.36: made in Stripe's dashboard; and once more changes nothing
    back = older.refund("re_1Hq9", charged.charge, 700, charged.at, **said)
    whole = older.charge(charged.charge, 2000, charged.at, [back], **said)
    charged.shows(back, whole)
    told = older.event(kind, whole if kind == "charge.refunded" else back, charged.at)
    assert charged.tell(told, {**told, "id": "evt_again"}) == ["done", "done"]
    assert charged.payment() == ("partially_refunded", 2000, 700)
    assert charged.desk.billing.all("select state, amount_minor, origin from refunds") == [
        {"state": "succeeded", "amount_minor": 700, "origin": "provider"}]


@pytest.mark.parametrize("said", [{}, NO_INTENT], ids=["of_2018", "without_intent"])
def test_a_dispute_that_names_a_charge_is_of_the_payment_that_it_is(charged, said):
    # C26 S1.22: opened, and won
    whole = older.charge(charged.charge, 2000, charged.at, [], **said)
    states = []
    for kind, status in (("created", "needs_response"), ("closed", "won")):
        claim = older.dispute("dp_1Hq9", charged.charge, 2000, charged.at, status=status, **said)
        charged.shows(claim, whole)
        told = older.event(f"charge.dispute.{kind}", claim, charged.at)
        assert charged.tell(told) == ["done"]
        states += [row["state"] for row in charged.desk.billing.all("select state from disputes")]
    assert states == ["needs_response", "won"]
    assert charged.payment() == ("succeeded", 2000, 0)


@pytest.mark.parametrize("said", [{}, NO_INTENT], ids=["of_2018", "without_intent"])
def test_what_comes_back_of_a_strangers_charge_is_waited_for_and_done(charged, said):
    # I29 I32: another program's, on the same account
    back = older.refund("re_else", "ch_else", 700, charged.at, **said)
    claim = older.dispute("dp_else", "ch_else", 2000, charged.at, **said)
    whole = older.charge("ch_else", 2000, charged.at, [back], **said)
    charged.shows(back, claim, whole)
    charged.tell(older.event("charge.refunded", whole, charged.at),
                 older.event("charge.refund.updated", back, charged.at),
                 older.event("charge.dispute.created", claim, charged.at))  # fmt: skip
    env = charged.desk.billing.env
    charged.desk.billing.clock.advance(minutes=11)
    inbox.apply_waiting(env)
    assert charged.desk.parked() == []
    assert charged.payment() == ("succeeded", 2000, 0)
    assert charged.desk.billing.all("select id from refunds union all select id from disputes"
                                    ) == []  # fmt: skip
    # Which payment a charge is of is asked once for all events that wait together.
    charges = [one for one in charged.desk.there.asked if one.startswith("/v1/charges/ch_else")]
    assert bool(charges) == (not said)


def test_the_rest_of_a_charge_is_given_back_there_and_then_disputed(charged):
    # I8 I9: more than is left is a loss, and the charge itself is asked how it stands
    first = older.refund("re_1Hq9", charged.charge, 2000, charged.at)
    more = older.refund("re_2Hq9", charged.charge, 300, charged.at + 60)
    whole = older.charge(charged.charge, 2000, charged.at, [first])
    charged.shows(first, more, whole)
    assert charged.tell(older.event("charge.refunded", whole, charged.at)) == ["done"]
    assert [one["amount_minor"] for one in charged.desk.billing.all(
        "select amount_minor from refunds order by amount_minor")] == [300, 2000]  # fmt: skip
    assert charged.payment()[:2] == ("refunded", 2000)


# The simulator ----------------------------------------------------------------------------------

#: What is read of each object.
SUB_READ = frozenset("""current_period_start current_period_end items cancel_at
    cancel_at_period_end canceled_at ended_at latest_invoice pause_collection
    cancellation_details trial_settings trial_start trial_end currency start_date
    collection_method default_payment_method metadata status customer""".split())
ITEM_READ = frozenset("id current_period_start current_period_end price quantity".split())
BILL_READ = frozenset("""status paid paid_out_of_band billing_reason customer currency subtotal
    total amount_due amount_paid created number subscription parent payments payment_intent charge
    attempt_count due_date status_transitions hosted_invoice_url invoice_pdf lines discount
    total_discount_amounts total_taxes total_tax_amounts tax period_start period_end
    metadata""".split())
LINE_READ = frozenset("""id amount description quantity period price plan pricing parent proration
    subscription_item invoice_item taxes tax_amounts discount_amounts""".split())


@pytest.mark.parametrize("version", VERSIONS[2:])
def test_the_simulator_shapes_what_is_read_as_the_captures_have_it(billing, version):
    # C26 S2.8: a desk that is tried at the simulator is tried at Stripe's own structure
    there = There(billing)
    there.plan("pro")
    there.begin(there.user())
    shown = {one.event["type"]: one.event["data"]["object"]
             for one in there.sim.deliveries(version=version)}  # fmt: skip
    captured = {one["type"]: one["data"]["object"] for one in unpaid(version, 0).chapters[0].events}
    for type, read in (("customer.subscription.created", SUB_READ), ("invoice.paid", BILL_READ)):
        assert read & shown[type].keys() == read & captured[type].keys(), type
    for type, place, read in (
        ("customer.subscription.created", "items", ITEM_READ), ("invoice.paid", "lines", LINE_READ)
    ):
        ours, theirs = (one[type][place]["data"][0] for one in (shown, captured))
        assert read & ours.keys() == read & theirs.keys(), place
