"""A stop of ninety days: what customers do meanwhile, and what the first sweep after it makes."""

from __future__ import annotations

from billing import CARD, DECLINES

from paydesk.flows import invoices
from paydesk.flows import subscription_changes as changes
from paydesk.rules.money import USD


# S1.29 S1.44 I22 I23
def test_a_change_after_a_period_that_is_not_renewed_yet_has_no_time_before_its_start(billing):
    billing.plan()
    billing.plan("team", price=USD("50.00"))
    who = billing.user()
    sub = billing.subscribe(who)
    end = billing.look(sub).period_end
    billing.clock.advance(days=40)
    changes.change(billing.env, who.uuid, sub.id, plan="team")
    bill = invoices.get(billing.env, who.uuid, billing.look(sub).latest_invoice_id)
    assert (bill.period_start, bill.period_end, bill.total.minor) == (end, end, 0)
    billing.renew(days=55)
    billing.renew()
    cycles = [one for one in billing.invoices(sub) if one[0] is not None]
    assert [one[2] for one in cycles] == [2000, 5000, 5000, 5000]
    assert {one[1] for one in cycles} == {"paid"}


# S1.17 S1.58 I23 I26
def test_a_new_card_pays_all_periods_of_a_stop_once_and_ends_their_dunning(billing):
    billing.plan()
    who = billing.user()
    sub = billing.subscribe(who)
    billing.card(who, DECLINES)
    billing.clock.advance(days=95)
    for _ in range(3):
        billing.renew()
    owed = billing.invoices(sub)
    assert [one[:2] for one in owed] == [(0, "paid"), *((n, "open") for n in (1, 2, 3))]
    assert billing.look(sub).state == "past_due"
    billing.card(who, CARD)
    for _ in range(3):
        billing.renew(days=1)
    assert [one[:2] for one in billing.invoices(sub)] == [(n, "paid") for n in range(4)]
    assert (billing.look(sub).state, billing.events(sub).count("recovered")) == ("active", 1)
    assert billing.payments(sub).count("succeeded") == 4 and billing.can(sub, "tier:pro")
