"""Subscriptions that Stripe runs: begun on its page, kept true by its events, month after month."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
from provider_run import There

from paydesk.errors import SubscriptionAlreadyActive
from paydesk.flows import subscription_changes as changes
from paydesk.ids import request_key
from paydesk.rules.money import USD, Money
from paydesk.worker import SWEEPS, Worker


@pytest.fixture
def there(billing) -> There:
    return There(billing)


# S1.16! S1.19! S4.25!
def test_a_page_is_opened_paid_on_and_the_subscription_runs(there):
    # S1.12 S1.16 S1.17 S1.19 S4.25
    there.plan("pro")
    who = there.user()
    sub = there.subscribe(who)
    assert (sub.state, sub.runner) == ("incomplete", "provider")
    assert sub.url.startswith("http")
    there.sim.pay(sub.page_ref)
    there.deliver()
    after = there.look(sub)
    assert (after.state, after.url) == ("active", None)
    assert after.provider_ref.startswith("sub_")
    assert there.billing.can(who, "tier:pro")
    assert there.billing.invoices(sub) == [(0, "paid", 2000, 2000)]
    assert there.billing.payments(sub) == ["succeeded"]
    assert there.billing.books(who, "revenue") == 2000
    assert there.parked() == []


def test_the_same_request_opens_one_page(there):
    # S2.9 I6: repeated with its key, from another process too
    there.plan("pro")
    who = there.user()
    first = there.subscribe(who, request_key=request_key("app", "one"))
    again = there.subscribe(who, request_key=request_key("app", "one"))
    assert (again.id, again.page_ref) == (first.id, first.page_ref)
    assert len(there.sim.objects("checkout.session")) == 1


def test_a_plan_is_sold_there_by_one_price_for_each_version_and_currency(there):
    there.plan("pro", price=None, prices=[USD("20.00"), Money("18.00", "eur")])
    for currency in ("usd", "usd", "eur"):
        there.subscribe(there.user(), currency=currency)
    assert len(there.sim.objects("product")) == 1
    assert [one["currency"] for one in there.sim.objects("price")] == ["usd", "eur"]
    there.plan("pro", price=USD("25.00"))
    there.subscribe(there.user())
    assert [one["unit_amount"] for one in there.sim.objects("price")] == [2000, 1800, 2500]
    assert len(there.sim.objects("product")) == 1


# S1.17! S1.50!
def test_months_are_renewed_there_and_recorded_here(there):
    # S0.24 S1.17 S1.48 S1.50 I23: numbers, periods and documents are Stripe's
    there.plan("pro", credits=100, kind="membership")
    who = there.user()
    sub = there.begin(who)
    there.months(3)
    after = there.look(sub)
    assert (after.state, after.period) == ("active", 3)
    assert there.billing.invoices(sub) == [(n, "paid", 2000, 2000) for n in range(4)]
    rows = there.billing.all(
        "select p.payment_type, p.state, p.metadata->>'subscription_id' is not null as named"
        " from payments p where customer_id = %(c)s order by created_at, id", c=who.uuid)
    assert [row["payment_type"] for row in rows] == ["subscription", *["renewal"] * 3]
    assert {(row["state"], row["named"]) for row in rows} == {("succeeded", True)}
    remote = there.sim.objects("invoice")
    shown = there.billing.all(
        "select invoice_number, status, amount, amount_paid, invoice_pdf_url, stripe_invoice_id,"
        " period_start, period_end from learning.invoices order by created_at")
    assert [one["invoice_number"] for one in shown] == [one["number"] for one in remote]
    assert [one["invoice_pdf_url"] for one in shown] == [one["invoice_pdf"] for one in remote]
    assert {one["status"] for one in shown} == {"paid"}
    for before, following in itertools.pairwise(shown):
        assert before["period_end"] == following["period_start"]
    # Credits of the month that runs; those of the months before are over.
    assert there.billing.balance(who) == 100
    assert there.billing.books(who, "revenue") == 8000
    assert there.billing.events(sub).count("renewed") == 3
    assert there.billing.can(who, "tier:pro")


def test_our_own_sweeps_leave_what_stripe_runs_alone(there):
    # No renewal, no dunning and no reminder of ours runs beside Stripe's.
    there.plan("pro")
    who = there.user()
    sub = there.begin(who)
    there.billing.reissue(_card_of(there, who), "chargeCustomerFail")
    there.go_on(days=31, hours=2)
    there.deliver()
    assert there.look(sub).state == "past_due"
    charges = len(there.sim.objects("charge"))
    invoices = len(there.sim.objects("invoice"))
    for name in ("renewals", "reminders", "invoice_numbers", "clocks"):
        assert name in {one[0] for one in SWEEPS}
        Worker(there.env).run_once(name)
    there.billing.clock.advance(days=60)  # Here alone: all of ours would be due.
    for name in ("renewals", "reminders", "invoice_numbers", "clocks"):
        Worker(there.env).run_once(name)
    assert len(there.sim.objects("charge")) == charges
    assert len(there.sim.objects("invoice")) == invoices
    assert there.billing.all("select try_at from invoices where try_at is not null") == []
    assert there.billing.invoices(sub)[-1][:2] == (1, "open")


def _card_of(there, who):
    remote = there.sim.objects("subscription")[0]
    method = remote["default_payment_method"]
    assert method is not None
    return SimpleNamespace(ref=method)


# S1.18! S1.20! S1.58!
def test_a_card_that_fails_is_dunned_there_and_recovers(there):
    # S1.18 S1.20 S1.58: each declined try is a row; one payment for the invoice
    there.plan("pro")
    who = there.user()
    sub = there.begin(who)
    card = _card_of(there, who)
    there.billing.reissue(card, "chargeCustomerFail")
    there.months()
    assert there.look(sub).state == "past_due"
    assert there.billing.payments(sub) == ["succeeded", "failed"]
    assert there.billing.can(who, "tier:pro")  # Within the days of grace.
    there.billing.reissue(card, "visa")
    there.go_on(days=8)
    there.deliver()
    assert there.look(sub).state == "active"
    assert there.billing.payments(sub) == ["succeeded", "succeeded"]
    assert there.billing.invoices(sub) == [(0, "paid", 2000, 2000), (1, "paid", 2000, 2000)]
    tries = there.billing.all(
        "select state, error_code from attempts where customer_id = %(c)s order by created_at, id",
        c=who.uuid)
    failed = [one for one in tries if one["state"] == "failed"]
    assert failed and all(one["error_code"] for one in failed)
    assert {"past_due", "recovered"} <= set(there.billing.events(sub))
    assert there.billing.books(who, "revenue") == 4000


# S1.21!
def test_when_all_tries_fail_it_ends_and_opens_nothing(there):
    # S1.21 S1.23: what Stripe does at the end is what happens here
    there.plan("pro")
    who = there.user()
    sub = there.begin(who)
    there.billing.reissue(_card_of(there, who), "chargeCustomerFail")
    for _ in range(6):
        there.go_on(days=8)
        there.deliver()
    after = there.look(sub)
    assert (after.state, after.end_reason) == ("canceled", "payment_failed")
    assert not there.billing.can(who, "tier:pro")


def test_unpaid_is_stripes_word_too(there):
    there.sim.config(after_retries="unpaid")
    there.plan("pro")
    who = there.user()
    sub = there.begin(who)
    there.billing.reissue(_card_of(there, who), "chargeCustomerFail")
    for _ in range(6):
        there.go_on(days=8)
        there.deliver()
    assert there.look(sub).state == "unpaid"
    assert not there.billing.can(who, "tier:pro")


# S1.55!
def test_a_trial_gives_access_and_no_credits_and_is_charged_at_its_end(there):
    # S1.55: one trial of a family, told three days before its end
    there.plan("pro", trial_days=14, credits=100)
    who = there.user()
    sub = there.begin(who)
    after = there.look(sub)
    assert after.state == "trialing"
    assert there.billing.can(who, "tier:pro")
    assert there.billing.balance(who) == 0
    assert there.billing.payments(sub) == []
    there.go_on(days=12)
    there.deliver()
    assert "trial_will_end" in there.billing.events(sub)
    there.go_on(days=3, hours=2)
    there.deliver()
    after = there.look(sub)
    assert (after.state, after.period) == ("active", 1)
    assert there.billing.invoices(sub) == [(0, "paid", 0, 0), (1, "paid", 2000, 2000)]
    assert there.billing.balance(who) == 100


def test_a_customer_has_one_trial_of_a_family_whoever_gives_it(there):
    # S1.55
    there.plan("pro", trial_days=14)
    who = there.user()
    first = there.begin(who)
    assert first.state == "trialing"
    changes.cancel(there.env, who.uuid, first.id, at="now")
    again = there.begin(who)
    assert (again.state, again.trial_end) == ("active", None)


def test_a_page_that_nobody_pays_on_comes_to_nothing(there):
    there.plan("pro")
    who = there.user()
    sub = there.subscribe(who)
    there.sim.request("POST", f"/v1/checkout/sessions/{sub.page_ref}/expire")
    there.deliver()
    after = there.look(sub)
    assert (after.state, after.end_reason, after.url) == ("expired", "not_paid", None)
    assert there.billing.events(sub) == ["created", "expired"]


def test_another_page_makes_room_by_ending_the_first(there):
    # I21: one of a family at a time
    there.plan("pro")
    who = there.user()
    first = there.subscribe(who)
    second = there.subscribe(who)
    assert there.look(first).state == "expired"
    assert there.sim.get(first.page_ref)["status"] == "expired"
    there.sim.pay(second.page_ref)
    there.deliver()
    assert there.look(second).state == "active"
    with pytest.raises(SubscriptionAlreadyActive):
        there.subscribe(who)
    there.billing.card(who)
    with pytest.raises(SubscriptionAlreadyActive):
        there.billing.subscribe(who)


@pytest.mark.parametrize(
    ("told", "totals"),
    [
        ({"percent_off": 25, "duration": "repeating", "duration_periods": 2}, [1500, 1500, 2000]),
        ({"amount_off": USD("5.00"), "duration": "once"}, [1500, 2000, 2000]),
        ({"percent_off": 50, "duration": "forever"}, [1000, 1000, 1000]),
        ({"amount_off": USD("20.00"), "duration": "once"}, [0, 2000, 2000]),
    ],
)
def test_a_promo_code_is_a_coupon_there(there, told, totals):
    # S4.40: Stripe takes it off, for as long as the code says; lines add up
    there.plan("pro")
    there.billing.make.promo("SPRING", **told)
    who = there.user()
    sub = there.begin(who, promo="spring")
    there.months(2)
    assert there.look(sub).discount["code"] == "SPRING"
    assert [one[2] for one in there.billing.invoices(sub)] == totals
    assert there.billing.books(who, "revenue") == sum(totals)
    rows = there.billing.all(
        "select v.subtotal_minor, v.discount_minor, v.total_minor, sum(i.amount_minor)::int as sum"
        " from invoices v join invoice_items i on i.customer_id = v.customer_id"
        " and i.invoice_id = v.id group by v.id, v.customer_id, v.subtotal_minor,"
        " v.discount_minor, v.total_minor")
    assert {row["subtotal_minor"] for row in rows} == {2000}
    assert all(row["total_minor"] == row["sum"] == row["subtotal_minor"] - row["discount_minor"]
               for row in rows)  # fmt: skip


def test_codes_that_take_nothing_off_give_what_they_give(there):
    # S4.40 S4.41: a free trial, bonus credits, counted once and given back with the page
    there.plan("pro")
    there.billing.make.promo("FREE30", free_trial_days=30)
    there.billing.make.promo("PLUS", bonus_credits=40)
    trial = there.begin(there.user(), promo="FREE30")
    assert (trial.state, (trial.trial_end - trial.trial_start).days) == ("trialing", 30)
    who = there.user()
    sub = there.begin(who, promo="PLUS")
    assert there.billing.balance(sub) == 40
    given_up = there.subscribe(there.user(), promo="PLUS")
    there.sim.request("POST", f"/v1/checkout/sessions/{given_up.page_ref}/expire")
    there.deliver()
    uses = there.billing.all("select state from promo_uses order by state")
    assert [row["state"] for row in uses] == ["released", "used", "used"]
