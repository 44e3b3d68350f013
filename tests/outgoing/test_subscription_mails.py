"""Mails of subscriptions and invoices: each fact once, in the customer's language, by his clock."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pypdfium2
import pytest
from billing import CARD, DECLINES, Billing

from paydesk import ids
from paydesk.flows import (
    clocks,
    credit_notes,
    customers,
    invoices,
    methods,
    notifications,
    refunds,
    renewals,
    subscription_changes,
    subscription_notices,
    subscription_pauses,
    subscriptions,
)
from paydesk.flows import subscription_steps as steps
from paydesk.flows.credit_notes import NewNote
from paydesk.flows.invoices import NewInvoice, NewItem
from paydesk.flows.methods import AddMethod
from paydesk.ids import request_key
from paydesk.rules.money import USD
from paydesk.worker import Worker

ACCOUNT = "https://northwind.example/billing"
EXPIRED = "chargeDeclinedExpiredCard"


@pytest.fixture
def billing(env: Any, sim: Any, make: Any, clock: Any) -> Billing:
    env = replace(env, settings=replace(
        env.settings, notifications_off="refund", account_url=ACCOUNT,
        public_url="https://pay.northwind.example"))  # fmt: skip
    Worker(env).run_once("outgoing_feed")
    return Billing(env, sim, make, clock)


def mails(billing: Billing, who: Any) -> list[notifications.Notification]:
    """The customer's mails, oldest first, once everything that was due has run twice."""
    worker = Worker(billing.env)
    for _ in range(2):
        for name in ("publisher", "outgoing_feed", "outgoing_feed", "notifications"):
            worker.run_once(name)
    found = [one for one in notifications.list_(billing.env) if one.customer_id == who.uuid]
    assert all(one.state == "kept" for one in found), [(o.kind, o.state, o.error) for o in found]
    return sorted(found, key=lambda one: (one.created_at, str(one.id)))


def kinds(billing: Billing, who: Any) -> list[str]:
    return sorted(one.kind for one in mails(billing, who))


@dataclass(frozen=True)
class Shown:
    """A mail as it is sent. `text` is without its line breaks."""

    subject: str
    text: str
    html: str
    papers: tuple[tuple[str, bytes | None], ...]


def shown(billing: Billing, who: Any, kind: str) -> Shown:
    """The newest mail of a kind."""
    found = [one for one in mails(billing, who) if one.kind == kind]
    assert found, kinds(billing, who)
    made = notifications.rendered(billing.env, found[-1])
    return Shown(made.subject, " ".join(made.text.split()), made.html, made.papers)


def user(billing: Billing, card: str | None = CARD, **more: Any) -> Any:
    who = billing.make.user(**{"email": "maya@northwind.example", "name": "Maya", **more})
    if card is not None:
        billing.card(who, card)
    return who


def owing(billing: Billing, fails: str | None = None, **plan: Any) -> tuple[Any, Any]:
    """Someone whose card pays the first period and none after it."""
    billing.plan(**plan)
    who = user(billing)
    sub = billing.subscribe(who)
    saved = billing.card(who, CARD if fails else DECLINES)
    if fails:
        billing.reissue(saved, fails)
    billing.until(sub.period_end)
    return who, sub


def pdf_text(content: bytes | None) -> str:
    assert content is not None
    document = pypdfium2.PdfDocument(content)
    return "\n".join(page.get_textpage().get_text_range() for page in document)


# Trials --------------------------------------------------------------------------------------


# S1.55 S4.40
def test_a_trials_end_is_told_three_days_before_with_what_will_be_charged(billing):
    billing.plan()
    who = user(billing)
    sub = billing.subscribe(who, trial_days=14)
    billing.until(sub.trial_end - timedelta(days=4))
    assert kinds(billing, who) == []
    billing.until(sub.trial_end - timedelta(days=3))
    for _ in range(2):
        assert kinds(billing, who) == ["trial_ending"]
    mail = shown(billing, who, "trial_ending")
    assert "$20.00 will be charged" in mail.text and "in your account" in mail.text
    assert ACCOUNT in mail.html and "Pro" in mail.subject
    billing.until(sub.trial_end + timedelta(hours=1))
    assert kinds(billing, who) == ["receipt", "trial_ending"]


# S4.40
def test_what_will_be_charged_has_taxes_codes_and_the_customers_balance_in_it(billing):
    from paydesk.flows import promos, tax_rates

    tax_rates.add(billing.env, "VAT", "10", country="FR")
    promos.upsert_promo(billing.env, "LAUNCH", percent_off=50, duration="forever")
    billing.plan()
    who = user(billing, metadata={"country": "FR"})
    sub = billing.subscribe(who, trial_days=7, promo="LAUNCH")
    billing.until(sub.trial_end - timedelta(days=3))
    assert "$11.00 will be charged" in shown(billing, who, "trial_ending").text
    billing.until(sub.trial_end + timedelta(hours=1))
    assert billing.invoices(sub)[-1][2] == 1100


# S1.55
def test_a_trial_without_a_method_says_so_and_ends_with_a_mail(billing):
    billing.plan(trial_days=7, trial_needs_method=False)
    who = user(billing, card=None)
    sub = billing.subscribe(who)
    assert sub.state == "trialing"
    billing.until(sub.trial_end - timedelta(days=3))
    assert "no payment method yet" in shown(billing, who, "trial_ending").text
    billing.until(sub.trial_end + timedelta(hours=1))
    assert kinds(billing, who) == ["trial_ended", "trial_ending"]
    assert "nothing was" in shown(billing, who, "trial_ended").text


# Renewals ------------------------------------------------------------------------------------


# S1.50
def test_a_renewals_receipt_names_the_plan_and_brings_the_invoice(billing):
    billing.plan()
    who = user(billing)
    sub = billing.subscribe(who)
    assert kinds(billing, who) == ["receipt"]
    billing.until(sub.period_end + timedelta(hours=1))
    assert kinds(billing, who) == ["receipt", "receipt"]
    mail = shown(billing, who, "receipt")
    number = invoices.get(billing.env, who.uuid, billing.look(sub).latest_invoice_id).number
    assert [name for name, _ in mail.papers][1] == f"{number}.pdf"
    assert f"Invoice {number}" in mail.text and "Pro, " in mail.text
    assert "/invoice/inv_" in mail.html and "See the invoice" in mail.html
    receipt, invoice = (pdf_text(content) for _, content in mail.papers)
    assert "Receipt" in receipt and number in receipt
    assert "Invoice" in invoice and "$20.00" in invoice


# S3.21
def test_a_long_periods_renewal_is_told_once_before_it_and_a_months_never(billing):
    billing.plan("yearly", price=USD("200.00"), interval="year")
    billing.plan("monthly", family="other")
    who = user(billing)
    sub = billing.subscribe(who, "yearly")
    billing.subscribe(who, "monthly")
    env = billing.env
    billing.clock.advance(seconds=(sub.period_end - env.now()).total_seconds() - 14 * 86_400 - 1)
    while renewals.run_due(env):
        pass
    assert subscription_notices.tell_due(env) == 0
    billing.clock.advance(seconds=1)
    assert [subscription_notices.tell_due(env) for _ in range(2)] == [1, 0]
    assert kinds(billing, who).count("renewal_upcoming") == 1
    mail = shown(billing, who, "renewal_upcoming")
    assert "$200.00 will be charged" in mail.text and "cancel" in mail.text
    assert "2027" in mail.subject or "2028" in mail.subject
    off = replace(env, settings=replace(env.settings, renewal_notice_days=0, card_notice_days=0))
    assert subscription_notices.tell_due(off) == 0


def looked_at(env: Any) -> list[Any]:
    """The subscriptions that a round of the sweep reads now."""
    with env.db.read() as tx:
        return [row["id"] for row in tx.all(
            "select id from subscriptions where clock_id is null and notice_at < 'infinity'"
            " and notice_at <= %(now)s::timestamptz + interval '14 days'", {"now": env.now()},
        )]  # fmt: skip


def ahead(billing: Billing, sub: Any, **left: Any) -> None:
    """Move to so long before the period's end, and do what is due until then."""
    at = billing.look(sub).period_end - timedelta(**left)
    billing.clock.advance(seconds=(at - billing.env.now()).total_seconds())
    while renewals.run_due(billing.env):
        pass


# S1.45 I26
def test_what_was_told_and_what_has_nothing_to_tell_is_not_read_again(billing):
    billing.plan("yearly", price=USD("200.00"), interval="year")
    billing.plan("monthly", family="other")
    env, tell = billing.env, subscription_notices.tell_due
    year = billing.subscribe(user(billing), "yearly")
    month = billing.subscribe(user(billing), "monthly")
    ahead(billing, month, days=15)
    assert (tell(env), looked_at(env)) == (0, [])
    ahead(billing, month, days=13)
    assert looked_at(env) == [month.id]
    assert (tell(env), looked_at(env)) == (0, []), "its card lasts: it is read once"
    ahead(billing, year, days=13)
    assert year.id in looked_at(env)
    assert (tell(env), looked_at(env)) == (1, [])
    stood = billing.look(month).updated_at
    ahead(billing, month, days=3)
    tell(env)
    assert billing.look(month).updated_at == stood, "that it was read is no change of it"


# S1.45 I26
@pytest.mark.parametrize("what", ["plan", "card", "reactivated", "trial"])
def test_what_changes_within_that_time_is_read_once_more(billing, what):
    billing.plan("yearly", price=USD("200.00"), interval="year", trial_days=10)
    billing.plan("quarter", price=USD("70.00"), interval_count=3, most_quantity=3)
    billing.plan("longer", price=USD("80.00"), interval_count=3)
    env, tell = billing.env, subscription_notices.tell_due
    who = user(billing)
    if what == "trial":
        sub = billing.subscribe(who, "yearly")
        assert (looked_at(env), tell(env), looked_at(env)) == ([sub.id], 0, [])
        ahead(billing, sub, days=0)
        assert billing.look(sub).state == "active"
        ahead(billing, sub, days=13)
        assert (looked_at(env), tell(env), looked_at(env)) == ([sub.id], 1, [])
        return
    sub = billing.subscribe(who, "quarter")
    ahead(billing, sub, days=13)
    assert (tell(env), looked_at(env)) == (1, [])
    if what == "plan":
        subscription_changes.change(env, who.uuid, sub.id, plan="longer", at="now")
        assert (looked_at(env), tell(env), looked_at(env)) == ([sub.id], 0, []), "told already"
    elif what == "reactivated":
        subscription_changes.cancel(env, who.uuid, sub.id)
        assert looked_at(env) == []
        subscription_changes.reactivate(env, who.uuid, sub.id)
        assert (looked_at(env), tell(env), looked_at(env)) == ([sub.id], 0, [])
    else:
        [saved] = methods.list_(env, who.uuid)
        with env.db.transaction(who.uuid) as tx:
            tx.run("update payment_methods set exp_month = 1, exp_year = 2020"
                   " where customer_id = %(c)s and id = %(i)s", {"c": who.uuid, "i": saved.id})
        assert (looked_at(env), tell(env), looked_at(env)) == ([sub.id], 0, []), "in a week"
        ahead(billing, sub, days=7)
        assert (looked_at(env), tell(env), looked_at(env)) == ([sub.id], 1, [])


def test_the_sweep_of_notices_reads_by_its_own_index(billing):
    billing.plan()
    billing.subscribe(user(billing))
    values = {**subscription_notices._told(billing.env.settings), **subscription_notices._FIRST,
              "now": billing.env.now(), "limit": 100}  # fmt: skip
    with billing.env.db.transaction() as tx:
        tx.run("set local enable_seqscan = off")
        tx.run("set local enable_bitmapscan = off")
        plan = tx.all("explain " + subscription_notices._DUE, values)
    assert any("subscriptions_notices" in row["QUERY PLAN"] for row in plan), plan


# S1.45
def test_other_days_of_the_settings_hold_at_once_and_for_all(billing):
    billing.plan("yearly", price=USD("200.00"), interval="year")
    sub = billing.subscribe(user(billing), "yearly")

    def told(**days: int) -> int:
        env = replace(billing.env, settings=replace(billing.env.settings, **days))
        return subscription_notices.tell_due(env)

    ahead(billing, sub, days=6)
    assert told(renewal_notice_days=0, card_notice_days=7) == 0, "nothing will ever be told of it"
    assert looked_at(billing.env) == []
    assert told(renewal_notice_days=5, card_notice_days=7) == 0
    ahead(billing, sub, days=5)
    assert told(renewal_notice_days=5, card_notice_days=7) == 1

    billing.plan("other", price=USD("90.00"), interval="year", family="other")
    late = billing.subscribe(user(billing), "other")
    with billing.env.db.transaction(late.customer_id) as tx:
        tx.run("update payment_methods set exp_month = 1, exp_year = 2020"
               " where customer_id = %(c)s", {"c": late.customer_id})
    ahead(billing, late, days=16)
    assert told(renewal_notice_days=20, card_notice_days=3) == 1
    ahead(billing, late, days=4)
    assert told(renewal_notice_days=1, card_notice_days=2) == 0
    ahead(billing, late, days=2)
    assert told(renewal_notice_days=1, card_notice_days=2) == 1, "read by the shorter time"


# S1.45
def test_a_busy_customer_keeps_nobody_elses_row_in_the_sweep(billing):
    billing.plan()
    subs = [billing.subscribe(user(billing)) for _ in range(3)]
    ahead(billing, subs[0], days=10)
    with billing.env.db.transaction(subs[1].customer_id):
        assert subscription_notices.tell_due(billing.env) == 0
        assert looked_at(billing.env) == [subs[1].id]
    assert (subscription_notices.tell_due(billing.env), looked_at(billing.env)) == (0, [])


# S3.21
def test_renewals_that_cannot_be_told_delay_nobody_elses(billing, monkeypatch):
    billing.plan(interval="year")
    subs = [billing.subscribe(user(billing)) for _ in range(5)]
    billing.until(subs[-1].period_end - timedelta(days=6))
    tell, tried = subscription_notices.tell, []
    broken = {one.id for one in subs[:3]}

    def breaks(env, customer_id, sub_id):
        tried.append(sub_id)
        if sub_id in broken:
            raise RuntimeError("a fault of ours")
        return tell(env, customer_id, sub_id)

    monkeypatch.setattr(subscription_notices, "tell", breaks)
    assert subscription_notices.tell_due(billing.env, limit=2) == 2
    assert subscription_notices.tell_due(billing.env, limit=2) == 0
    assert sorted(tried) == sorted(one.id for one in subs), "each once: what fails is set back"
    tried.clear()
    assert subscription_notices.tell_due(billing.env, limit=2) == 0 and tried == []
    billing.renew(minutes=11)
    broken.clear()
    assert subscription_notices.tell_due(billing.env, limit=2) == 2
    assert subscription_notices.tell_due(billing.env, limit=2) == 1


def test_who_has_canceled_is_told_of_no_renewal(billing):
    billing.plan("yearly", price=USD("200.00"), interval="year")
    who = user(billing)
    sub = billing.subscribe(who, "yearly")
    subscription_changes.cancel(billing.env, who.uuid, sub.id)
    billing.clock.advance(seconds=(sub.period_end - billing.env.now()).total_seconds() - 86_400)
    assert subscription_notices.tell_due(billing.env) == 0


# S1.45 S3.21
def test_a_card_that_expires_before_the_renewal_is_told_once_for_card_and_period(billing):
    billing.plan()
    who = user(billing)
    sub = billing.subscribe(who)
    env = billing.env

    def expire(method: Any, at: Any) -> None:
        before = at.replace(day=1) - timedelta(days=40)
        with env.db.transaction(who.uuid) as tx:
            tx.run("update payment_methods set exp_month = %(m)s, exp_year = %(y)s"
                   " where customer_id = %(c)s and id = %(i)s",
                   {"m": before.month, "y": before.year, "c": who.uuid, "i": method})  # fmt: skip

    [first] = methods.list_(env, who.uuid)
    expire(first.id, sub.period_end)
    billing.clock.advance(seconds=(sub.period_end - env.now()).total_seconds() - 7 * 86_400 - 1)
    assert subscription_notices.tell_due(env) == 0
    billing.clock.advance(seconds=1)
    assert [subscription_notices.tell_due(env) for _ in range(2)] == [1, 0]
    mail = shown(billing, who, "card_expiring")
    assert "Visa •••• 4242" in mail.text and "Update payment method" in mail.text
    other = methods.add(env, AddMethod(customer_id=who.uuid, token="pm_card_mastercard",
                                       make_default=True))  # fmt: skip
    assert subscription_notices.tell_due(env) == 0, "the new one lasts"
    expire(other.id, sub.period_end)
    assert [subscription_notices.tell_due(env) for _ in range(2)] == [1, 0]
    assert kinds(billing, who).count("card_expiring") == 2
    with env.db.transaction(who.uuid) as tx:
        for method, is_default in ((other.id, False), (first.id, True)):
            tx.run("update payment_methods set is_default = %(d)s where customer_id = %(c)s"
                   " and id = %(i)s", {"d": is_default, "c": who.uuid, "i": method})  # fmt: skip
    assert subscription_notices.tell_due(env) == 0, "of the first it was told already"


# What could not be charged -------------------------------------------------------------------


# S1.58 I26
def test_each_failed_try_is_told_once_and_in_words_and_the_end_of_it_too(billing):
    who, sub = owing(billing)
    assert kinds(billing, who) == ["receipt", "renewal_failed"], "no payment_failed beside it"
    mail = shown(billing, who, "renewal_failed")
    row = invoices.get(billing.env, who.uuid, billing.look(sub).latest_invoice_id)
    assert row.page_url and row.page_url in mail.text and "Pay now" in mail.html
    assert "The card was declined." in mail.text and "We will try again on" in mail.text
    assert ACCOUNT in mail.text
    # By then the invoice of the first is not open any more: its mails are looked at as they come.
    for _ in range(9):
        billing.until(billing.env.now() + timedelta(days=1))
        kinds(billing, who)
    assert kinds(billing, who) == ["receipt", *["renewal_failed"] * 4, "subscription_gave_up"]
    last = shown(billing, who, "subscription_gave_up")
    assert "could not be paid" in last.subject and "Nothing more will be tried" in last.text


# I26
def test_a_card_that_cannot_pay_asks_for_another_until_the_last_day(billing):
    who, sub = owing(billing, EXPIRED)
    mail = shown(billing, who, "renewal_failed")
    assert "The card has expired." in mail.text and "another" in mail.text
    assert "We will not charge this payment method again" in mail.text
    billing.card(who, CARD)
    billing.renew()
    assert billing.look(sub).state == "active"
    assert kinds(billing, who) == ["receipt", "receipt", "renewal_failed"]


# S1.58
def test_a_bank_that_wants_its_holder_leads_to_a_page_where_he_confirms(billing):
    who, sub = owing(billing, "authenticationRequired")
    assert kinds(billing, who) == ["receipt", "renewal_action"]
    mail = shown(billing, who, "renewal_action")
    row = invoices.get(billing.env, who.uuid, billing.look(sub).latest_invoice_id)
    assert "Confirm payment" in mail.html and row.page_url and row.page_url in mail.html


def test_what_is_paid_before_its_mail_goes_out_is_not_told(billing):
    who, sub = owing(billing)
    billing.card(who, CARD)
    billing.renew()
    assert billing.look(sub).state == "active"
    worker = Worker(billing.env)
    for name in ("publisher", "outgoing_feed", "outgoing_feed", "notifications"):
        worker.run_once(name)
    found = [one for one in notifications.list_(billing.env) if one.kind == "renewal_failed"]
    assert [(one.state, one.error) for one in found] == [("skipped", "It is not open any more.")]


# I26
@pytest.mark.parametrize("final", ["unpaid", "downgrade"])
def test_other_last_actions_say_what_becomes_of_it(billing, final):
    billing.plan("basic", price=USD("5.00"))
    told = {"days": [1], "final": final} | ({"downgrade_to": "basic"} if final != "unpaid" else {})
    who, sub = owing(billing, dunning=told)
    kinds(billing, who)
    billing.until(sub.period_end + timedelta(days=1, hours=1))
    mail = shown(billing, who, "subscription_gave_up")
    if final == "unpaid":
        assert "stands still" in mail.text and "/invoice/inv_" in mail.text
    else:
        assert "the plan Basic" in mail.text and "Pro" in mail.subject


# What people do ------------------------------------------------------------------------------


# S1.28 S1.29
def test_changes_cancellations_and_pauses_are_confirmed(billing):
    billing.plan()
    billing.plan("team", price=USD("50.00"))
    billing.plan("mini", price=USD("5.00"))
    who = user(billing)
    sub, env = billing.subscribe(who), billing.env
    billing.renew(days=10)
    subscription_changes.change(env, who.uuid, sub.id, plan="team")
    mail = shown(billing, who, "subscription_changed")
    lines = {one.description: one.amount for one in
             invoices.get(env, who.uuid, billing.look(sub).latest_invoice_id).items}  # fmt: skip
    assert set(lines) == {"Unused time on Pro", "Remaining time on Team"}
    text = mail.text.replace("−", "-")
    assert "Unused time on Pro" in text and "Remaining time on Team" in text
    assert f"${lines['Remaining time on Team'].minor / 100:.2f}" in text
    assert "Before: Pro" in text
    subscription_changes.change(env, who.uuid, sub.id, plan="mini", at="period_end")
    waits = shown(billing, who, "subscription_changed")
    assert "changes to Mini on" in waits.text and "$5.00" in waits.text
    subscription_changes.change(env, who.uuid, sub.id, plan="team")  # Taken back: it stays.
    for _ in range(2):
        subscription_changes.cancel(env, who.uuid, sub.id, reason="too_expensive")
    ending = shown(billing, who, "subscription_ending")
    assert "ends on" in ending.subject and "nothing more is charged" in ending.text
    subscription_changes.reactivate(env, who.uuid, sub.id)
    subscription_pauses.pause(env, who.uuid, sub.id, resume_at=env.now() + timedelta(days=3))
    assert "goes on by itself on" in shown(billing, who, "subscription_paused").text
    billing.renew(days=3, minutes=1)
    for _ in range(2):
        subscription_changes.cancel(env, who.uuid, sub.id, at="now")
    assert kinds(billing, who) == [
        "receipt", "receipt", "subscription_canceled", "subscription_changed",
        "subscription_changed", "subscription_ending", "subscription_kept", "subscription_paused",
        "subscription_resumed",
    ]  # fmt: skip


def test_what_a_change_gives_back_is_told_as_balance(billing):
    billing.plan()
    billing.plan("mini", price=USD("5.00"))
    who = user(billing)
    sub = billing.subscribe(who)
    billing.renew(days=10)
    subscription_changes.change(billing.env, who.uuid, sub.id, plan="mini", at="now")
    mail = shown(billing, who, "subscription_changed")
    assert "is on your balance now" in mail.text
    billing.until(sub.period_end + timedelta(hours=1))
    paid = shown(billing, who, "invoice_paid")
    assert "nothing was charged" in paid.text and paid.papers


def test_whoever_never_paid_is_written_nothing(billing):
    billing.plan()
    who = user(billing, card=None)
    sub = billing.subscribe(who)
    assert sub.state == "incomplete"
    subscription_changes.cancel(billing.env, who.uuid, sub.id, at="now")
    again = billing.subscribe(who)
    billing.renew(hours=24)
    assert billing.look(again).state == "expired"
    assert kinds(billing, who) == []


# Invoices and notes --------------------------------------------------------------------------


def write(billing: Billing, who: Any, name: str = "one") -> invoices.InvoiceView:
    return invoices.create(billing.env, NewInvoice(
        customer_id=who.uuid, currency="usd", days=14, request_key=request_key("t", name),
        items=[NewItem(kind="one_off", description="Onboarding", amount_minor=9_000)]))  # fmt: skip


# S1.50
def test_an_invoice_by_hand_is_sent_with_its_paper_and_a_button_to_pay(billing):
    who = user(billing, card=None)
    one = write(billing, who)
    for _ in range(2):
        assert kinds(billing, who) == ["invoice"]
    mail = shown(billing, who, "invoice")
    assert one.page_url and one.page_url in mail.text and "Onboarding" in mail.text
    assert mail.papers[0][0] == "INV-000001.pdf" and "$90.00" in pdf_text(mail.papers[0][1])


def test_a_credit_note_is_sent_with_its_paper_and_one_that_nobody_asked_for_is_not(billing):
    who = user(billing, card=None)
    one = write(billing, who)
    kinds(billing, who)
    credit_notes.create(billing.env, NewNote(
        customer_id=who.uuid, invoice_id=one.id, by="anna", amount=USD("30.00"),
        request_key=request_key("t", "note")))  # fmt: skip
    mail = shown(billing, who, "credit_note")
    assert mail.papers[0][0] == "CN-000001.pdf" and "$30.00" in mail.text
    assert "Credit note" in pdf_text(mail.papers[0][1])


# S1.51
@pytest.mark.parametrize("action", ["approve", "reject"])
def test_a_credit_notes_mail_waits_until_its_refund_is_decided(billing, action):
    billing.plan()
    who = user(billing)
    sub = billing.subscribe(who)
    assert kinds(billing, who) == ["receipt"]
    note = credit_notes.create(billing.env, NewNote(
        customer_id=who.uuid, invoice_id=sub.latest_invoice_id, by="staff:ada",
        amount=USD("5.00"), actor_role="support", request_key=request_key("t", "asked"),
    ))  # fmt: skip
    assert note.refund_status == "requested"

    def states() -> list[str]:
        for name in ("publisher", "outgoing_feed", "notifications"):
            Worker(billing.env).run_once(name)
        return [one.state for one in notifications.list_(billing.env) if one.kind == "credit_note"]

    for _ in range(notifications.MAX_TRIES + 1):
        assert states() == ["waiting"]
        billing.clock.advance(minutes=11)
    refunds.decide(billing.env, who.uuid, note.refund_id, action, by="staff:grace")
    billing.clock.advance(minutes=11)
    assert states() == [{"approve": "kept", "reject": "skipped"}[action]]


# S1.51
@pytest.mark.parametrize("locale", ["en", "fr", "ht"])
def test_a_credit_note_that_was_sent_and_taken_back_is_told_so_once(billing, locale):
    billing.env = replace(billing.env, settings=replace(
        billing.env.settings, staff_email="desk@northwind.example"))  # fmt: skip
    billing.plan()
    who = user(billing, metadata={"locale": locale})
    sub = billing.subscribe(who)
    note = credit_notes.create(billing.env, NewNote(
        customer_id=who.uuid, invoice_id=sub.latest_invoice_id, by="staff:ada",
        amount=USD("5.00"), request_key=request_key("t", "sent"),
    ))  # fmt: skip
    assert kinds(billing, who) == ["credit_note", "receipt"]
    (refund,) = refunds.list_(billing.env, who.uuid)
    billing.sim.finish_refund(refund.provider_ref, "failed")
    refunds.refresh(billing.env, who.uuid, refund.id, "poll")
    credit_notes.void(billing.env, who.uuid, note.id, by="staff:ada")
    assert kinds(billing, who).count("credit_note_voided") == 1
    mail = shown(billing, who, "credit_note_voided")
    said = {"en": "does not stand any more", "fr": "n’est plus valable",
            "ht": "a pa valab ankò"}[locale]  # fmt: skip
    assert said in mail.text and "5" in mail.subject
    assert mail.papers[0][0] == "CN-000001.pdf"
    void = {"en": "Taken back", "fr": "Repris", "ht": "Reprann"}[locale]
    assert void in pdf_text(mail.papers[0][1])


# S1.51
def test_a_credit_note_that_nobody_was_told_of_is_taken_back_in_silence(billing):
    billing.plan()
    who = user(billing)
    sub = billing.subscribe(who)
    note = credit_notes.create(billing.env, NewNote(
        customer_id=who.uuid, invoice_id=sub.latest_invoice_id, by="staff:ada",
        amount=USD("5.00"), actor_role="support", request_key=request_key("t", "asked"),
    ))  # fmt: skip
    refunds.decide(billing.env, who.uuid, note.refund_id, "reject", by="staff:grace")
    assert credit_notes.get(billing.env, who.uuid, note.id).status == "void"
    for name in ("publisher", "outgoing_feed", "outgoing_feed", "notifications"):
        Worker(billing.env).run_once(name)
    found = [one for one in notifications.list_(billing.env) if one.customer_id == who.uuid]
    assert {one.kind: one.state for one in found} == {
        "receipt": "kept", "credit_note": "skipped", "credit_note_voided": "skipped",
    }  # fmt: skip


# S1.51
def test_what_a_credit_note_left_nothing_due_of_is_not_told_as_paid_by_the_balance(billing):
    who = user(billing, card=None)
    one = write(billing, who)
    assert kinds(billing, who) == ["invoice"]
    credit_notes.create(billing.env, NewNote(
        customer_id=who.uuid, invoice_id=one.id, by="anna",
        request_key=request_key("t", "all")))  # fmt: skip
    assert invoices.get(billing.env, who.uuid, one.id).status == "paid"
    assert kinds(billing, who) == ["credit_note", "invoice"]


# Languages, switches, clocks -----------------------------------------------------------------


def test_the_customers_language_is_used_to_the_last_line(billing):
    billing.plan()
    billing.plan("team", price=USD("50.00"))
    who = user(billing, metadata={"locale": "fr-CA"})
    sub = billing.subscribe(who)
    assert kinds(billing, who) == ["receipt"]
    billing.renew(days=10)
    subscription_changes.change(billing.env, who.uuid, sub.id, plan="team")
    mail = shown(billing, who, "subscription_changed")
    assert "Temps non utilisé de Pro" in mail.text and "Unused" not in mail.html
    receipt = shown(billing, who, "receipt")
    assert "Facture INV-000002" in receipt.text
    assert "Temps restant de Team" in pdf_text(receipt.papers[1][1])


def test_kinds_are_turned_off_by_the_setting(billing):
    billing.env = replace(billing.env, settings=replace(
        billing.env.settings, notifications_off="renewal_failed,receipt"))  # fmt: skip
    who, _ = owing(billing)
    assert kinds(billing, who) == []


def test_what_the_provider_bills_it_may_tell_by_itself(billing):
    billing.plan()
    who = user(billing)
    sub = billing.subscribe(who)
    with billing.env.db.transaction(who.uuid) as tx:
        tx.run("update subscriptions set runner = 'provider' where customer_id = %(c)s",
               {"c": who.uuid})  # fmt: skip
        tx.run("update invoices set runner = 'provider' where customer_id = %(c)s",
               {"c": who.uuid})  # fmt: skip
    env = billing.env
    told = replace(env.settings, provider_subscription_mails="provider")
    billing.env = replace(env, settings=told)

    def tell(env: Any, what: str) -> None:
        with env.db.transaction(who.uuid) as tx:
            steps.tell(tx, env.now(), steps.read(tx, who.uuid, sub.id), what)

    tell(billing.env, "paused")
    assert kinds(billing, who) == []
    billing.env = env
    tell(env, "resumed")
    assert kinds(billing, who) == ["subscription_resumed"], "by default they are ours"


# S1.58
def test_a_failure_of_what_the_provider_bills_leads_to_its_own_page(billing):
    who, sub = owing(billing)
    kinds(billing, who)
    with billing.env.db.transaction(who.uuid) as tx:
        tx.run("update invoices set runner = 'provider', hosted_url = 'https://pay.example.com/i'"
               " where customer_id = %(c)s and state = 'open'", {"c": who.uuid})  # fmt: skip
        steps.tell(tx, billing.env.now(), steps.read(tx, who.uuid, sub.id), "past_due")
    assert kinds(billing, who).count("renewal_failed") == 2
    mail = shown(billing, who, "renewal_failed")
    assert "https://pay.example.com/i" in mail.html and "The card was declined." in mail.text


# S1.55 S1.58
def test_mails_follow_the_customers_clock(billing):
    env = billing.env
    billing.plan("yearly", price=USD("200.00"), interval="year")
    clock = clocks.create(env, name="a year")
    who = customers.ensure(env, "clocked", email="ada@northwind.example", clock=clock.uuid)
    billing.card(who)
    sub = billing.subscribe(who, "yearly", trial_days=10)
    saved = methods.list_(env, who.uuid)[0]
    assert sub.trial_end
    clocks.advance(env, clock.uuid, sub.trial_end + timedelta(days=1))
    billing.reissue(saved, "chargeCustomerFail")
    renewal = billing.look(sub).period_end
    clocks.advance(env, clock.uuid, renewal + timedelta(days=2))
    found = [(one.kind, one.created_at) for one in mails(billing, who)]
    assert [kind for kind, _ in found] == [
        "trial_ending", "receipt", "renewal_upcoming", "renewal_failed", "renewal_failed",
    ]  # fmt: skip
    days = [(at - renewal) / timedelta(days=1) for _, at in found]
    assert [round(one) for one in days[2:]] == [-14, 0, 1]
    assert found[0][1] == sub.trial_end - timedelta(days=3)
    shown_first = notifications.rendered(env, mails(billing, who)[0])
    assert "$200.00 will be charged" in " ".join(shown_first.text.split()), "what stood then"
    assert subscription_notices.tell_due(env) == 0, "the sweep leaves clocks alone"
    assert ids.show("subscription", sub.id) and subscriptions.get(env, None, sub.id)
