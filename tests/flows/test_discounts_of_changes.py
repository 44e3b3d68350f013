"""Codes that are carried on by a change of plan: lines of their own, on every paper and in every
figure."""

from __future__ import annotations

import pytest
from billing import Billing
from fastapi.testclient import TestClient

from paydesk import ids
from paydesk.flows import (
    credit_notes,
    figure_reports,
    invoice_papers,
    invoices,
    promos,
    reports,
    subscriptions,
    tax_rates,
)
from paydesk.flows import subscription_changes as changes
from paydesk.http.app import create_app
from paydesk.notify import invoices as papers
from paydesk.pages.portal_words import Line, Tongue
from paydesk.rules.money import USD


def half_way(billing: Billing, code: str, to: str = "team", **terms):
    """A subscription of 20.00 with the code, in the middle of its period; `team` costs 50.00."""
    billing.plan(upgrade="seconds", downgrade="seconds", downgrade_when="now")
    billing.plan(to, price=USD("50.00"), upgrade="seconds", downgrade="seconds",
                 downgrade_when="now", **terms)  # fmt: skip
    who = billing.user()
    sub = billing.subscribe(who, promo=code)
    billing.clock.set(sub.period_start + (sub.period_end - sub.period_start) / 2)
    return who, sub


def lines(one) -> list[tuple[str, int]]:
    return [(line.kind, line.amount.minor) for line in getattr(one, "items", None) or one.lines]


def bill(billing: Billing, sub):
    return invoices.get(billing.env, None, billing.look(sub).latest_invoice_id)


def tenth(billing: Billing):
    return promos.upsert_promo(billing.env, "TENTH", percent_off=10, duration="forever")


# S1.44 S1.50 S4.40 I13
def test_the_discount_of_a_change_is_a_line_of_its_own_wherever_the_change_is_shown(billing):
    promo = tenth(billing)
    who, sub = half_way(billing, "TENTH")
    seen = changes.preview(billing.env, who.uuid, sub.id, plan="team")
    assert lines(seen) == [("proration_credit", -900), ("proration_charge", 2500),
                           ("discount", -250)]  # fmt: skip
    changes.change(billing.env, who.uuid, sub.id, plan="team", expect=seen)
    one = bill(billing, sub)
    assert lines(one) == lines(seen)
    _, charge, off = one.items
    assert (off.description, off.of_item, charge.unit.minor) == ("TENTH", charge.id, 5000)
    assert (one.subtotal.minor, one.discount.minor, one.total.minor) == (1600, 250, 1350)
    why = subscriptions.why(billing.env, who.uuid, off.id)
    assert why.inputs["promo"] == ids.show("promo", promo.uuid)
    assert (why.inputs["of_minor"], why.inputs["percent_micros"]) == (2500, 100_000)
    assert any(entry["reason"] == "SALE" and entry["amount"] == 1350 for entry in why.entries)
    facts = invoice_papers.invoice_facts(billing.env, one)
    assert facts["discounts"] == [{"name": "TENTH", "amount": 250}]
    for locale, told in (("en", "Discount"), ("fr", "Remise"), ("ht", "Rabè")):
        sums = papers.invoice(locale, facts).sums
        assert any(told in name and "TENTH" in name for name, _ in sums), (locale, sums)
        shown = [Tongue(locale).cost(Line(
            kind=i.kind, description=i.description, amount_minor=i.amount.minor,
            currency="usd", period=i.period, why=i.why)) for i in seen.lines]  # fmt: skip
        assert "TENTH" in shown[2][0], shown
        assert shown[2][0] != "TENTH", "it says that it is a code"
    page = TestClient(create_app(billing.env)).get(
        f"/invoice/{ids.show('invoice', one.id)}?s={one.secret}").text  # fmt: skip
    assert "TENTH" in page
    assert "2.50" in page


# S1.44 I13
@pytest.mark.parametrize("rounding", ["line", "rate"])
def test_taxes_are_of_what_a_code_leaves_and_go_back_with_it(billing, rounding):
    object.__setattr__(billing.env.settings, "tax_rounding", rounding)
    tax_rates.add(billing.env, "GST", "5")
    tenth(billing)
    who, sub = half_way(billing, "TENTH")
    seen = changes.preview(billing.env, who.uuid, sub.id, plan="team")
    # 5 % of 22.50, which is 1.125, less 5 % of 9.00.
    assert lines(seen)[-1] == ("tax", 68)
    changes.change(billing.env, who.uuid, sub.id, plan="team", expect=seen)
    one = bill(billing, sub)
    assert lines(one) == lines(seen)
    assert one.total == seen.total == seen.due_now
    # Half of it is unused: nothing is kept of what the second half was paid with.
    changes.cancel(billing.env, who.uuid, sub.id, at="now", refund="unused")
    notes = credit_notes.list_(billing.env, who.uuid)
    assert sum(note.amount.minor for note in notes) == 2250 + 113
    # 18.00 less the 9.00 of the half that was used.
    assert billing.books(who, "revenue") + billing.books(who, "refunds") == 900


# S1.44 I24
def test_a_change_and_the_change_back_with_a_code_net_zero(billing):
    tenth(billing)
    who, sub = half_way(billing, "TENTH")
    total = 0
    for plan in ("team", "pro"):
        seen = changes.preview(billing.env, who.uuid, sub.id, plan=plan)
        changes.change(billing.env, who.uuid, sub.id, plan=plan, expect=seen)
        one = bill(billing, sub)
        assert lines(one) == lines(seen)
        assert one.discount.minor == (250 if plan == "team" else 100)
        total += one.total.minor
    assert total == 0
    assert billing.books(who, "balance") == 1350


# S1.44
def test_a_cycle_that_begins_anew_has_the_discount_as_a_line(billing):
    tenth(billing)
    who, sub = half_way(billing, "TENTH", "yearly", interval="year")
    seen = changes.preview(billing.env, who.uuid, sub.id, plan="yearly", at="now")
    assert lines(seen) == [("proration_credit", -900), ("recurring", 5000), ("discount", -500)]
    changes.change(billing.env, who.uuid, sub.id, plan="yearly", at="now", expect=seen)
    assert lines(bill(billing, sub)) == lines(seen)
    assert billing.look(sub).plan_key == "yearly"


# S1.44
def test_a_short_first_period_has_the_discount_as_a_line(billing):
    tenth(billing)
    billing.plan(billing="calendar")
    sub = billing.subscribe(billing.user(), promo="TENTH")
    one = bill(billing, sub)
    (_, charged), (kind, off) = lines(one)
    assert kind == "discount"
    assert one.discount.minor == -off
    assert one.total.minor == charged + off


# S1.44 S4.40
def test_a_code_of_one_period_is_carried_through_two_changes(billing):
    promos.upsert_promo(billing.env, "FIVE", amount_off=USD("5.00"), duration="once")
    who, sub = half_way(billing, "FIVE")
    billing.plan("mid", price=USD("30.00"), upgrade="seconds", downgrade_when="now")
    for plan, found in (("mid", [-750, 1500, -250]), ("team", [-1250, 2500, -250])):
        changes.change(billing.env, who.uuid, sub.id, plan=plan)
        assert [minor for _, minor in lines(bill(billing, sub))] == found


# S4.39 S4.40
def test_reports_of_codes_have_what_subscriptions_were_given(billing):
    tenth(billing)
    who, sub = half_way(billing, "TENTH")
    changes.change(billing.env, who.uuid, sub.id, plan="team")
    (row,) = reports.promos_page(billing.env)
    assert (row["used"], row["given"], row["brought"]) == (1, 200 + 250, 1800 + 1350)
    billing.clock.set(sub.period_end)
    billing.renew()
    (row,) = reports.promos_page(billing.env)
    assert (row["given"], row["brought"]) == (450 + 500, 3150 + 4500)
    for recount in (False, True):
        told = figure_reports.report(billing.env, "promos", by="promo", last="90d",
                                     recount=recount)  # fmt: skip
        (one,) = told.rows
        assert (one["promo"], one["sold"]) == ("TENTH", 3)
        assert (one["discount"], one["captured"]) == (950, 7650)
