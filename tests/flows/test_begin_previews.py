"""What a beginning would cost, told before: the same lines and sums, first and next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from provider_run import There

from paydesk.errors import (
    InvalidPromoCode,
    InvalidRequest,
    NotSupported,
    PreviewOutdated,
    SubscriptionAlreadyActive,
)
from paydesk.flows import (
    credit_notes,
    invoices,
    promos,
    subscription_changes,
    subscription_offers,
    tax_rates,
)
from paydesk.flows.subscriptions import NewSubscription
from paydesk.rules.invoices import NewItem
from paydesk.rules.money import Money

YEN, DINAR = Money("900", "jpy"), Money("9.990", "kwd")
CASES = {
    "plain": {},
    "seats and a tax on top": {"quantity": 3, "tax": ("20", False)},
    "seats and a tax inside": {"quantity": 7, "tax": ("8.875", True)},
    "a code once": {"promo": {"percent_off": 33}},
    "a code for two periods": {"promo": {"percent_off": 25, "duration": "repeating",
                                         "duration_periods": 2}, "tax": ("20", False)},
    "a code for ever": {"promo": {"percent_off": 10, "duration": "forever"}, "quantity": 2},
    "all of the first taken off": {"promo": {"amount_off": Money("20.00", "usd")}},
    "no decimals": {"price": YEN, "tax": ("10", True), "promo": {"percent_off": 15}},
    "three decimals": {"price": DINAR, "tax": ("5", False), "quantity": 2},
    "a short first period": {"billing": "calendar", "tax": ("20", False)},
    "a short first one by days": {"billing": "calendar", "upgrade": "days",
                                  "promo": {"percent_off": 10, "duration": "forever"}},
    "a short one elsewhere": {"billing": "calendar", "zone": "America/New_York"},
    "a trial": {"trial_days": 14, "tax": ("20", False)},
    "a trial and a code": {"trial_days": 7, "promo": {"percent_off": 50}},
    "a trial, then a short one": {"trial_days": 10, "billing": "calendar", "quantity": 2},
    "yearly": {"interval": "year", "promo": {"percent_off": 20}},
}  # fmt: skip
#: Tokens that no preview had: of no instant, of one long ago, and of ones past all calendars.
ODD_TOKENS = ("", "x", "12", "-1.x", "9" * 17 + ".x", "9" * 18, "9" * 19 + ".x", "9" * 30 + ".x")
_TERMS = ("price", "billing", "upgrade", "trial_days", "interval")


def to_day(billing, day: int, **time: int) -> None:
    """Let it be this day of a coming month, so that no month ends in between."""
    now = billing.env.now()
    month = datetime(now.year + now.month // 12, now.month % 12 + 1, day, **time, tzinfo=UTC)
    billing.clock.advance(seconds=(month - now).total_seconds())


def bills(env, sub):
    """The subscription's invoices, oldest first."""
    found = [one for one in invoices.list_(env, sub.customer_id, limit=20)
             if one.subscription_id == sub.id]  # fmt: skip
    return [invoices.get(env, None, one.id) for one in reversed(found)]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_expected_is_what_begins_and_what_comes_next(billing, case):
    # S1.25 S1.44 I13 I22 I24
    env = billing.env
    to_day(billing, 10, hour=12)
    billing.plan(most_quantity=9, **{k: v for k, v in case.items() if k in _TERMS})
    if "tax" in case:
        tax_rates.add(env, "VAT", case["tax"][0], country="", inclusive=case["tax"][1])
    if "promo" in case:
        promos.upsert_promo(env, "LESS", **case["promo"])
    who = billing.user()
    told = {"plan": "pro", "quantity": case.get("quantity", 1), "zone": case.get("zone"),
            "promo": "less" if "promo" in case else None}  # fmt: skip
    seen = subscription_offers.preview_of(env, NewSubscription(customer_id=who.uuid, **told))
    assert billing.all("select 1 from subscriptions where customer_id = %(c)s", c=who.uuid) == []
    billing.clock.advance(minutes=59)
    sub = billing.subscribe(who, expect=seen.token, **told)
    assert sub.state == ("trialing" if "trial_days" in case else "active")
    if "trial_days" in case:
        assert seen.way == "trial" and seen.due_now.minor == 0
        assert sub.trial_end == seen.at and bills(env, sub) == []
        billing.until(seen.at)
        sub = billing.look(sub)
    else:
        assert seen.way == ("free" if seen.due.minor == 0 else "charge")
        assert seen.due_now == seen.due
    [first] = bills(env, sub)
    assert [(i.kind, i.description, i.amount.minor) for i in first.items] == [
        (i.kind, i.description, i.amount_minor) for i in seen.lines
    ]
    assert (first.total, first.paid) == (seen.total, seen.due)
    assert (first.period_start, first.period_end) == seen.period
    assert (sub.period_start, sub.period_end) == (seen.at, seen.next_at)
    assert sub.amount == seen.next_amount
    billing.until(seen.next_at)
    assert bills(env, sub)[1].total == seen.next_total


def expected(billing, who, **more):
    """A preview, some minutes ago, of the plan `pro`."""
    told = {"plan": "pro", **more}
    seen = subscription_offers.preview_of(
        billing.env, NewSubscription(customer_id=who.uuid, **told)
    )
    billing.clock.advance(minutes=5)
    return seen


def refused(billing, who, seen, **more):
    paid = billing.all("select id from payments where customer_id = %(c)s", c=who.uuid)
    with pytest.raises(PreviewOutdated):
        billing.subscribe(who, expect=seen, **more)
    assert billing.all("select 1 from subscriptions where customer_id = %(c)s", c=who.uuid) == []
    assert paid == billing.all("select id from payments where customer_id = %(c)s", c=who.uuid)


@pytest.mark.parametrize("what", ["price", "tax", "code", "seats", "balance", "other", "age"])
def test_a_beginning_that_would_cost_another_sum_is_refused(billing, what):
    # S1.44
    env = billing.env
    billing.plan(most_quantity=9)
    who = billing.user()
    more = {}
    if what == "code":
        promos.upsert_promo(env, "LESS", percent_off=10)
        more = {"promo": "LESS"}
    seen = expected(billing, who, **more)
    if what == "price":
        billing.plan(most_quantity=9, price=Money("21.00", "usd"))
    elif what == "tax":
        tax_rates.add(env, "VAT", "20", country="")
    elif what == "code":
        promos.upsert_promo(env, "LESS", percent_off=20)
    elif what == "seats":
        more = {"quantity": 2}
    elif what == "balance":
        line = NewItem(kind="one_off", description="Help", amount_minor=500)
        bill = invoices.create(env, invoices.NewInvoice(
            customer_id=who.uuid, items=[line], currency="usd", request_key=uuid4(),
        ))  # fmt: skip
        bill = invoices.pay(env, who.uuid, bill.id)
        credit_notes.create(env, credit_notes.NewNote(
            customer_id=who.uuid, invoice_id=bill.id, balance=bill.total, by="desk",
            request_key=uuid4(),
        ))  # fmt: skip
    elif what == "other":
        who = billing.user()
    else:
        billing.clock.advance(minutes=56)
    refused(billing, who, seen, **more)
    assert billing.subscribe(who, expect=expected(billing, who, **more), **more).state == "active"


def _days_left(now: datetime) -> int:
    """Whole days to the last one of this month."""
    first = (now + timedelta(days=5)).replace(day=1)
    return (first.date() - now.date()).days - 1


def test_a_short_first_period_that_is_over_is_not_begun(billing):
    # I22
    billing.plan(billing="calendar")
    who = billing.user()
    to_day(billing, 28, hour=23, minute=57)
    billing.clock.advance(days=_days_left(billing.env.now()))
    refused(billing, who, expected(billing, who))


def test_the_same_key_begins_once_whatever_is_expected(billing):
    # I2
    billing.plan()
    who, key = billing.user(), uuid4()
    seen = expected(billing, who)
    made = billing.subscribe(who, expect=seen, request_key=key)
    billing.clock.advance(hours=3)
    assert billing.subscribe(who, expect=seen, request_key=key).id == made.id
    assert billing.payments(made) == ["succeeded"]


def test_how_it_would_begin_is_told(billing):
    # S1.12 S1.55
    env = billing.env
    billing.plan()
    billing.plan("trial", family="trial", trial_days=7)
    billing.plan("easy", family="easy", trial_days=7, trial_needs_method=False)
    nobody, somebody = billing.user(card=None), billing.user()

    def way(who, plan, **more):
        return subscription_offers.preview_of(
            env, NewSubscription(customer_id=who.uuid, plan=plan, **more)
        ).way

    assert [way(nobody, one) for one in ("pro", "trial", "easy")] == ["checkout", "setup", "trial"]
    assert [way(somebody, one) for one in ("pro", "trial")] == ["charge", "trial"]
    assert way(somebody, "pro", is_hosted=True) == "checkout"
    assert way(somebody, "trial", trial_days=0) == "charge"


def test_what_cannot_begin_has_no_preview(billing):
    # S4.38
    env = billing.env
    billing.plan()
    who = billing.user()

    def preview(**more):
        return subscription_offers.preview_of(
            env, NewSubscription(customer_id=who.uuid, plan="pro", **more)
        )

    with pytest.raises(InvalidPromoCode):
        preview(promo="none")
    with pytest.raises(InvalidRequest):
        preview(quantity=99)
    with pytest.raises(InvalidRequest):
        preview(runner="nobody")
    with pytest.raises(NotSupported):
        preview(runner="provider")
    with pytest.raises(NotSupported):
        billing.subscribe(who, runner="provider", expect=preview())
    for odd in ODD_TOKENS:
        with pytest.raises((InvalidRequest, PreviewOutdated)):
            billing.subscribe(who, expect=odd)
    billing.subscribe(who)
    with pytest.raises(SubscriptionAlreadyActive):
        preview()


@pytest.mark.parametrize("runner", ["paydesk", "provider"])
def test_a_token_that_no_preview_had_changes_nothing(billing, runner):
    # S1.44
    there = There(billing)
    there.plan("pro")
    there.plan("max", price=Money("50.00", "usd"))
    sub = (there.begin(there.user(), "max") if runner == "provider"
           else billing.subscribe(billing.user(), "max"))  # fmt: skip
    for odd in ODD_TOKENS:
        with pytest.raises((InvalidRequest, PreviewOutdated)):
            subscription_changes.change(
                billing.env, sub.customer_id, sub.id, plan="pro", at="now", expect=odd
            )
    assert billing.look(sub).plan_key == "max"
