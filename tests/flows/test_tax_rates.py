"""Tax rates: by country and product, from an instant on, never changed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest

from paydesk.errors import Conflict, InvalidRequest, NotFound
from paydesk.flows import invoices, subscription_changes, subscription_notices, tax_rates
from paydesk.flows import subscription_steps as steps
from paydesk.flows.invoices import NewInvoice, NewItem
from paydesk.rules import taxes
from paydesk.rules.money import USD


def held(env, country, product="", at=None):
    with env.db.read() as tx:
        found = tax_rates.find(tx, country, product, at or env.now())
    return [(one.name, one.percent) for one in found]


def test_the_rate_of_the_product_in_the_country_comes_before_wider_ones(env):
    tax_rates.add(env, "VAT", "19", country="de", inclusive=True)
    tax_rates.add(env, "VAT", "7", country="DE", product="books", inclusive=True)
    tax_rates.add(env, "Media levy", "1.5", product="books")
    tax_rates.add(env, "Export", 0)
    assert held(env, "DE", "books") == [("VAT", "7")]
    assert held(env, "de", "software") == held(env, "DE") == [("VAT", "19")]
    assert held(env, "HT", "books") == [("Media levy", "1.5")]
    assert held(env, "HT") == held(env, "") == [("Export", "0")]


def test_taxes_of_one_country_hold_together(env):
    tax_rates.add(env, "QST", "9.975", country="CA")
    tax_rates.add(env, "GST", "5", country="CA")
    assert held(env, "CA") == [("GST", "5"), ("QST", "9.975")]
    assert held(env, "US") == []


def test_a_rate_holds_until_the_next_of_its_name_begins(env, clock):
    start = env.now()
    first = tax_rates.add(env, "VAT", "19", country="DE")
    tax_rates.add(env, "VAT", "16", country="DE", valid_from=start + timedelta(days=10))
    assert held(env, "DE") == [("VAT", "19")]
    assert held(env, "DE", at=start + timedelta(days=10)) == [("VAT", "16")]
    assert held(env, "DE", at=start - timedelta(seconds=1)) == []
    clock.advance(days=20)
    tax_rates.add(env, "VAT", "19", country="DE")
    assert held(env, "DE") == [("VAT", "19")]
    assert tax_rates.get(env, first) == first and len(tax_rates.list_(env)) == 3


def test_the_same_again_answers_the_stored_rate(env, clock):
    first = tax_rates.add(env, "VAT", "19.0", country="DE")
    clock.advance(days=1)
    assert tax_rates.add(env, "VAT", Decimal(19), country="DE") == first
    assert len(tax_rates.list_(env)) == 1


def test_another_rate_from_the_very_instant_is_refused(env):
    tax_rates.add(env, "VAT", "19", country="DE")
    for wrong in ({"percent": "20"}, {"percent": "19", "inclusive": True}):
        with pytest.raises(Conflict):
            tax_rates.add(env, "VAT", country="DE", valid_from=env.now(), **wrong)


def test_a_rate_that_was_taken_back_counts_no_more(env, clock):
    tax_rates.add(env, "VAT", "19", country="DE")
    clock.advance(days=1)
    wrong = tax_rates.add(env, "VAT", "91", country="DE")
    assert tax_rates.deactivate(env, wrong).active is False
    with pytest.raises(Conflict):
        tax_rates.add(env, "VAT", "91", country="DE")
    assert held(env, "DE") == [("VAT", "19")]
    assert len(tax_rates.list_(env)) == 1
    assert len(tax_rates.list_(env, country="DE", include_inactive=True)) == 2
    with env.db.read() as tx:
        assert tx.value("select count(*) from audit_log where action = 'tax_rate.saved'") == 3


def test_a_rate_that_there_is_not_is_not_found(env):
    for ref in ("txr_nothing", "0" * 32):
        with pytest.raises(NotFound):
            tax_rates.get(env, ref)


@pytest.mark.parametrize(
    "wrong",
    [
        {"percent": "100.0001"}, {"percent": "-1"}, {"percent": "1.23456"}, {"percent": "NaN"},
        {"percent": 8.875}, {"percent": True}, {"percent": ""}, {"percent": "1e999999"},
        {"country": "DEU"}, {"country": "1a"}, {"country": None}, {"name": ""},
        {"product": "\0"}, {"valid_from": "2026-01-01"},
    ],
)  # fmt: skip
def test_what_makes_no_rate_is_refused(env, wrong):
    with pytest.raises(InvalidRequest):
        tax_rates.add(env, **{"name": "VAT", "percent": "19", **wrong})


@pytest.mark.parametrize(
    ("text", "micros"),
    [("8.875", 88_750), ("0", 0), ("100", 10**6), ("0.0001", 1), ("20", 200_000)],
)
def test_percentages_are_exact_millionths(text, micros):
    assert taxes.parse(text) == micros and taxes.show(micros) == text


@pytest.mark.parametrize(("rounding", "tax"), [("line", 402), ("rate", 401)])
def test_a_desk_rounds_each_lines_tax_or_each_rates_sum(env, make, rounding, tax):  # I13
    env = replace(env, settings=replace(env.settings, tax_rounding=rounding))
    tax_rates.add(env, "VAT", "20", country="FR")
    who = make.user(metadata={"country": "FR"})
    lines = [NewItem(kind="one_off", description=name, amount_minor=1003) for name in "AB"]
    one = invoices.create(env, NewInvoice(
        customer_id=who.uuid, currency="usd", items=lines, request_key=uuid4()))  # fmt: skip
    assert (one.tax.minor, one.total.minor) == (tax, 2006 + tax)
    assert (one.items[2].amount.minor, one.items[2].why["rounding"]) == (tax, rounding)


# I13 I24 S1.44 S1.59
@pytest.mark.parametrize(("rounding", "total"), [("line", 1649), ("rate", 1650)])
def test_a_change_is_previewed_and_charged_as_the_desk_rounds(billing, rounding, total):
    billing.env = env = replace(
        billing.env, settings=replace(billing.env.settings, tax_rounding=rounding)
    )
    tax_rates.add(env, "QST", "9.975")
    billing.plan(upgrade="seconds")
    billing.plan("team", price=USD("50.00"), upgrade="seconds")
    who = billing.user()
    sub = billing.subscribe(who)
    half = (sub.period_end - sub.period_start) / 2
    billing.clock.advance(seconds=half.total_seconds())
    seen = subscription_changes.preview(env, who.uuid, sub.id, plan="team")
    # -1000 and 2500 with their taxes, -99.75 and 249.375.
    assert [one.amount.minor for one in seen.lines] == [-1000, 2500, total - 1500]
    assert seen.total.minor == total
    subscription_changes.change(env, who.uuid, sub.id, plan="team", expect=seen)
    assert billing.invoices(sub)[-1] == (None, "paid", total, total)


@pytest.mark.parametrize("rounding", ["line", "rate"])
def test_what_a_trials_notice_says_is_what_is_charged(billing, rounding):  # S4.40 I13
    billing.env = env = replace(
        billing.env, settings=replace(billing.env.settings, tax_rounding=rounding)
    )
    for name, percent in (("City", "2.45"), ("State", "6.25")):
        tax_rates.add(env, name, percent)
    billing.plan(price=USD("19.99"), trial_days=7)
    who = billing.user()
    sub = billing.subscribe(who)
    with env.db.transaction(who.uuid) as tx:
        told = subscription_notices.upcoming(
            tx, env.now(), steps.read(tx, who.uuid, sub.id), env.settings
        )
    # 48.9755 and 124.9375: each rate's is rounded, whichever way; a period is one line.
    assert (told["total"], told["due"]) == (2173, 2173)
    billing.until(sub.trial_end + timedelta(hours=1))
    assert billing.invoices(sub)[-1] == (1, "paid", 2173, 2173)
