"""What payments of subscriptions were for: the plan and the time, in lists of every kind."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from paydesk.flows import payments, reports, subscription_changes
from paydesk.flows.subscription_payments import PaidFor
from paydesk.pages.portal_words import Tongue
from paydesk.rules.money import USD

DAY = datetime(2027, 3, 31, 12, tzinfo=UTC)


@pytest.fixture
def begun(billing):
    """A plan that was subscribed to on a known day, and changed in the middle of its period."""
    billing.clock.set(DAY)
    billing.plan("pro")
    billing.plan("team", price=USD("50.00"))
    who = billing.user()
    sub = billing.subscribe(who)
    billing.clock.advance(days=15)
    subscription_changes.change(billing.env, who.uuid, sub.id, plan="team")
    return who


def test_a_payment_says_the_plan_and_its_time(billing, begun):
    # S1.48 S1.50
    found = payments.list_(billing.env, begun.uuid)
    assert [one.description for one in found] == [
        "Change to Team, Apr 15 – Apr 30, 2027", "Pro, Mar 31 – Apr 30, 2027"]
    assert payments.get(billing.env, None, found[1].id).description == found[1].description
    rows, _ = reports.payments_page(billing.env, customer_id=begun.uuid)
    assert [row["description"] for row in rows] == [one.description for one in found]
    page = reports.payment_page(billing.env, found[1].id)
    assert page.payment["description"] == found[1].description


@pytest.mark.parametrize(("locale", "names"), [
    ("en", ["Change to Team", "Pro"]), ("fr", ["Passage à Team", "Pro"]),
    ("ht", ["Chanjman pou Team", "Pro"]),
])  # fmt: skip
def test_it_is_said_in_the_language_of_who_reads(billing, begun, locale, names):
    t = Tongue(locale, "UTC")
    rows, _ = reports.payments_page(billing.env, customer_id=begun.uuid)
    assert [t.bought(row["description"], row["paid_for"]) for row in rows] == names
    months = {"en": "March 31, 2027 – April 30, 2027", "fr": "31 mars 2027 – 30 avril 2027",
              "ht": "31 mas 2027 – 30 avril 2027"}  # fmt: skip
    plan = rows[1]["paid_for"]
    assert t.span(plan.period_start, plan.period_end) == months[locale]


def test_an_invoice_is_called_so_in_the_language():
    assert Tongue("fr", "UTC").bought("Invoice INV-000007") == "Facture INV-000007"
    assert Tongue("ht", "UTC").bought("Invoice") == "Fakti"
    assert Tongue("fr", "UTC").bought("Invoice templates") == "Invoice templates"


def test_days_are_of_the_subscriptions_calendar_and_years_are_told_where_they_differ(billing):
    # I22
    billing.clock.set(datetime(2027, 12, 14, 23, 30, tzinfo=UTC))
    billing.plan("pro")
    who = billing.user()
    billing.subscribe(who, zone="Asia/Tokyo")
    [one] = payments.list_(billing.env, who.uuid)
    assert one.description == "Pro, Dec 15, 2027 – Jan 15, 2028"
    assert isinstance(one.paid_for, PaidFor) and one.paid_for.words == "Pro - 1 month"
