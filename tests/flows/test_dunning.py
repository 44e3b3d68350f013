"""Dunning: what could not be charged is tried again as the plan has it, until paid or given up."""

from __future__ import annotations

from datetime import timedelta

import pytest
from billing import CARD, DECLINES, Billing

from paydesk import crash
from paydesk.crash import CrashNow
from paydesk.flows import invoices, renewals
from paydesk.rules.money import USD

EXPIRED = "chargeDeclinedExpiredCard"
STOLEN = "visa_chargeDeclinedStolenCard"


def owing(billing: Billing, fails: str | None = None, **plan):
    """A customer whose card pays the first period and none after it. `fails`: as this one."""
    billing.plan(**plan)
    who = billing.user()
    sub = billing.subscribe(who)
    saved = billing.card(who, CARD if fails else DECLINES)
    if fails:
        billing.reissue(saved, fails)
    billing.until(sub.period_end)
    return who, sub


# S1.58! S4.50! I26
def test_a_decline_is_tried_again_on_the_plans_days_and_then_ends_it(billing):
    who, sub = owing(billing)
    assert billing.look(sub).state == "past_due"
    assert billing.can(who, "tier:pro"), "the days of grace"
    billing.until(sub.period_end + timedelta(days=7, hours=1))
    after = billing.look(sub)
    assert (after.state, after.end_reason) == ("canceled", "payment_failed")
    assert billing.payments(sub) == ["succeeded"] + ["failed"] * 5
    failed = billing.all(
        "select created_at from payments where customer_id = %(c)s and state = 'failed'"
        " order by created_at", c=who.uuid)  # fmt: skip
    days = [round((row["created_at"] - sub.period_end) / timedelta(days=1)) for row in failed]
    assert days == [0, 1, 3, 5, 7]
    assert billing.invoices(sub)[-1][1] == "uncollectible"
    assert not billing.can(who, "tier:pro")
    assert billing.events(sub)[2:] == [*["past_due"] * 4, "canceled"]


# I26
def test_success_at_any_point_stops_it(billing):
    who, sub = owing(billing)
    billing.until(sub.period_end + timedelta(days=2))
    invoice = billing.look(sub).latest_invoice_id
    billing.card(who, CARD)
    assert billing.renew() == 1
    after = billing.look(sub)
    assert after.state == "active"
    assert invoices.get(billing.env, who.uuid, invoice).status == "paid"
    billing.until(sub.period_end + timedelta(days=12))
    assert billing.payments(sub) == ["succeeded", "failed", "failed", "succeeded"]
    assert billing.events(sub)[-2:] == ["renewed", "recovered"]


# I26
def test_an_expired_card_is_not_charged_again_and_a_new_one_is_at_once(billing):
    who, sub = owing(billing, EXPIRED)
    billing.until(sub.period_end + timedelta(days=4))
    assert billing.payments(sub) == ["succeeded", "failed"]
    billing.card(who, CARD)
    billing.renew()
    assert billing.look(sub).state == "active"
    assert billing.payments(sub) == ["succeeded", "failed", "succeeded"]


# I26 S1.58
@pytest.mark.parametrize(
    ("advice", "tried", "state", "kept"),
    [
        ({"advice_code": "try_again_later"}, 3, "past_due", "generic_decline"),
        ({"network_advice_code": "02"}, 3, "past_due", "generic_decline"),
        ({"advice_code": "do_not_try_again"}, 1, "past_due", "do_not_try_again"),
        ({"advice_code": "confirm_card_data"}, 1, "past_due", "confirm_card_data"),
        ({"network_advice_code": "03"}, 1, "past_due", "do_not_try_again"),
        ({"network_advice_code": "21"}, 1, "canceled", "revocation_of_authorization"),
    ],
)
def test_what_the_network_advises_decides_beside_the_code(billing, sim, advice, tried, state, kept):
    """Later is later; a card that is not to be tried again is not; who ended it is asked no more.
    """
    sim.config(**advice)
    who, sub = owing(billing)
    billing.until(sub.period_end + timedelta(days=4))
    after = billing.look(sub)
    assert after.state == state
    assert billing.payments(sub) == ["succeeded"] + ["failed"] * tried
    row = billing.all("select error_code from invoices where id = %(i)s",
                      i=after.latest_invoice_id)[0]  # fmt: skip
    assert row["error_code"] == kept
    told = billing.all(
        "select data from events where customer_id = %(c)s and type = 'invoice.payment_failed'"
        " order by seq", c=who.uuid)[0]["data"]  # fmt: skip
    assert told["error_code"] == "generic_decline", "what the bank said, and what was advised"
    assert told["advice"] == (kept if tried == 1 else "try_again_later")
    if state == "past_due":
        billing.card(who, CARD)
        billing.renew()
        assert billing.look(sub).state == "active", "another card is tried at once"


# I26
def test_a_card_that_will_never_pay_waits_for_another_until_the_last_day(billing):
    _, sub = owing(billing, STOLEN)
    billing.until(sub.period_end + timedelta(days=6))
    assert billing.look(sub).state == "past_due"
    billing.until(sub.period_end + timedelta(days=7, hours=1))
    assert billing.look(sub).state == "canceled"
    assert billing.payments(sub) == ["succeeded", "failed"]


def test_left_unpaid_it_stands_still_until_its_invoice_is_paid(billing):
    who, sub = owing(billing, dunning={"days": [1], "final": "unpaid"})
    billing.until(sub.period_end + timedelta(days=2))
    assert billing.look(sub).state == "unpaid"
    assert not billing.can(who, "tier:pro")
    billing.until(sub.period_end + timedelta(days=70))
    assert len(billing.invoices(sub)) == 2, "nothing is billed meanwhile"
    billing.card(who, CARD)
    billing.renew()
    after = billing.look(sub)
    assert (after.state, after.period_start) == ("active", billing.env.now())
    assert billing.can(who, "tier:pro")
    billing.until(after.period_end + timedelta(hours=1))
    assert [one[1] for one in billing.invoices(sub)] == ["paid"] * 3


def test_the_lesser_plan_takes_over_where_the_plan_says_so(billing):
    billing.plan("free", price=USD("0"))
    who, sub = owing(billing, dunning={"days": [1], "final": "downgrade", "downgrade_to": "free"})
    billing.until(sub.period_end + timedelta(days=2))
    after = billing.look(sub)
    assert (after.state, after.plan_key) == ("active", "free")
    assert billing.can(who, "tier:free")
    assert not billing.can(who, "tier:pro")
    billing.until(after.period_end + timedelta(days=1))
    assert billing.look(sub).state == "active"


def test_without_any_method_a_period_is_a_failed_try(billing, env):
    from paydesk.flows import methods

    billing.plan()
    who = billing.user()
    sub = billing.subscribe(who)
    methods.remove(env, who.uuid, methods.list_(env, who.uuid)[0].id)
    billing.until(sub.period_end)
    assert billing.look(sub).state == "past_due"
    assert billing.payments(sub) == ["succeeded"]
    billing.card(who, CARD)
    billing.renew()
    assert billing.look(sub).state == "active"


# S1.12 I26
# S1.58 I26
def test_a_bank_that_wants_its_holder_waits_for_him_and_his_page_pays(billing):
    who, sub = owing(billing, "authenticationRequired")
    assert (billing.look(sub).state, billing.payments(sub)) == (
        "past_due", ["succeeded", "failed"],
    )  # fmt: skip
    row = invoices.get(billing.env, who.uuid, billing.look(sub).latest_invoice_id)
    assert row.error_code == "authentication_required"
    billing.until(sub.period_end + timedelta(days=4))
    assert billing.payments(sub) == ["succeeded", "failed"], "nobody asks the bank again"
    page = invoices.checkout_for(billing.env, who.uuid, row.id)
    billing.sim.pay(page.payment.session_ref)
    billing.recover()
    assert billing.look(sub).state == "active"
    assert billing.payments(sub) == ["succeeded", "failed", "succeeded"]


def test_paying_the_invoice_by_hand_stops_it(billing):
    who, sub = owing(billing)
    invoice = billing.look(sub).latest_invoice_id
    good = billing.card(who, CARD)
    invoices.pay(billing.env, who.uuid, invoice, method=good.id)
    assert billing.look(sub).state == "active"
    billing.until(sub.period_end + timedelta(days=9))
    assert billing.payments(sub) == ["succeeded", "failed", "succeeded"]


# I26 I28
@pytest.mark.parametrize("point", ["dunning_before_commit", "dunning_after_commit",
                                   "before_provider_call", "after_provider_call"])
def test_a_death_in_the_middle_of_another_try_makes_it_once(billing, point):
    _, sub = owing(billing)
    billing.clock.advance(days=1, hours=1)
    crash.arm(point)
    with pytest.raises(CrashNow):
        renewals.run_due(billing.env)
    billing.recover(rounds=3)
    assert billing.payments(sub) == ["succeeded", "failed", "failed"]
    assert billing.look(sub).state == "past_due"
