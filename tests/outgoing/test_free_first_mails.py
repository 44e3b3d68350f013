"""A first period that was free, without a way to pay: the next one asks for a card, by mail."""

from __future__ import annotations

from datetime import timedelta

from test_subscription_mails import ACCOUNT, billing, mails

from paydesk.flows import invoices, notifications, promos
from paydesk.rules.money import USD

__all__ = ["billing"]


# S1.16 S1.58 I26
def test_a_free_first_period_without_a_card_asks_for_one_by_mail_and_takes_it_at_once(billing):
    promos.upsert_promo(billing.env, "GIFT", amount_off=USD("20.00"), duration="once")
    billing.plan()
    who = billing.make.user(email="maya@northwind.example", name="Maya")
    sub = billing.subscribe(who, promo="GIFT")
    assert sub.state == "active"
    billing.until(sub.period_end)
    assert billing.look(sub).state == "past_due"
    assert [one.kind for one in mails(billing, who)].count("renewal_failed") == 1
    told = next(one for one in mails(billing, who) if one.kind == "renewal_failed")
    text = " ".join(notifications.rendered(billing.env, told).text.split())
    bill = invoices.get(billing.env, who.uuid, billing.look(sub).latest_invoice_id)
    assert "There is no payment method that can be charged." in text and ACCOUNT in text
    assert bill.page_url and bill.page_url in text
    # The days of the schedule charge nothing that is not there, and write no second time.
    billing.until(billing.env.now() + timedelta(days=3))
    assert [one.kind for one in mails(billing, who)].count("renewal_failed") == 1
    billing.card(who)
    assert billing.renew() == 1
    after = billing.look(sub)
    assert (after.state, after.period_start) == ("active", sub.period_end)
    assert billing.payments(sub) == ["succeeded"]
    assert billing.renew(days=1) == 0
