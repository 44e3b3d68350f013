"""Corners of subscriptions that were found by trying: pauses before an end, invoices that are
voided, and names that are read from the right."""

from __future__ import annotations

import pypdfium2
import pytest
from billing import DECLINES

from paydesk.errors import Conflict
from paydesk.flows import credit_notes, invoice_papers, invoices, tax_rates
from paydesk.flows import subscription_changes as changes
from paydesk.flows import subscription_pauses as pauses
from paydesk.notify import invoices as papers
from paydesk.rules.money import USD

ARABIC = "\u0645\u0636\u0627\u0641\u0629"


# Pauses ----------------------------------------------------------------------------------------


# S1.29
def test_what_is_to_end_is_not_paused_before_it_is_reactivated(billing):
    """It would end within the pause, and what was paid for would be lost."""
    billing.plan()
    who = billing.user()
    sub = billing.subscribe(who)
    changes.cancel(billing.env, who.uuid, sub.id)
    with pytest.raises(Conflict):
        pauses.pause(billing.env, who.uuid, sub.id)
    assert billing.look(sub).state == "active"
    assert billing.can(who, "tier:pro")
    changes.reactivate(billing.env, who.uuid, sub.id)
    pauses.pause(billing.env, who.uuid, sub.id)
    billing.renew(days=40)
    pauses.resume(billing.env, who.uuid, sub.id)
    one = billing.look(sub)
    assert (one.state, one.cancel_at) == ("active", None)
    assert one.period_end > billing.env.now()


# Dunning ---------------------------------------------------------------------------------------


def owing(billing, final: str = "cancel", **terms):
    """A subscription whose renewal could not be charged, a day after that."""
    billing.plan("pro", dunning={"days": [1, 3, 9], "final": final}, **terms)
    billing.plan("team", price=USD("50.00"))
    who = billing.user()
    sub = billing.subscribe(who)
    billing.card(who, DECLINES)
    billing.clock.set(sub.period_end)
    billing.renew()
    billing.renew(days=1)
    one = billing.look(sub)
    assert one.state == "past_due"
    return who, sub, one.latest_invoice_id


# S1.26 I26
def test_a_renewal_that_is_voided_ends_its_dunning(billing):
    who, sub, invoice = owing(billing, credits=100, interval="year")
    for _ in range(2):  # Safe to repeat.
        invoices.void(billing.env, who.uuid, invoice)
        one = billing.look(sub)
        assert (one.state, one.plan_key) == ("active", "pro")
    assert billing.events(sub)[-1] == "recovered"
    assert billing.events(sub).count("recovered") == 1
    billing.renew(days=40)
    assert billing.can(who, "tier:pro"), "nothing is owed for the period: it is open"
    assert billing.balance(who) == 0, "credits are of what was paid"
    billing.card(who)
    seen = changes.preview(billing.env, who.uuid, sub.id, plan="team", at="now")
    assert [one.kind for one in seen.lines] == ["recurring"], "nothing was paid for it"
    billing.until(one.period_end)
    assert [one[1] for one in billing.invoices(sub)] == ["paid", "void", "paid"]
    assert billing.balance(who) == 100


# S1.26 I26
def test_a_renewal_that_is_written_off_ends_its_dunning(billing):
    who, sub, invoice = owing(billing)
    credit_notes.create(billing.env, credit_notes.NewNote(
        customer_id=who.uuid, invoice_id=invoice, by="staff:ada", request_key=invoice))
    assert billing.look(sub).state == "active"
    billing.renew(days=20)
    assert (billing.look(sub).state, billing.can(who, "tier:pro")) == ("active", True)


# S1.26 I26
def test_while_another_invoice_is_owed_a_void_ends_no_dunning(billing):
    who, sub, invoice = owing(billing, interval="week", interval_count=1)
    billing.until(billing.look(sub).period_end)
    newest = billing.look(sub).latest_invoice_id
    assert newest != invoice
    invoices.void(billing.env, who.uuid, newest)
    assert billing.look(sub).state == "past_due"
    invoices.void(billing.env, who.uuid, invoice)
    assert billing.look(sub).state == "active"
    assert billing.can(who, "tier:pro")


# S1.26 I26
def test_where_nothing_is_owed_any_more_what_stood_unpaid_goes_on(billing):
    who, sub, invoice = owing(billing, "unpaid")
    billing.until(billing.look(sub).period_end)
    assert billing.look(sub).state == "unpaid"
    assert not billing.can(who, "tier:pro")
    billing.card(who)
    invoices.void(billing.env, who.uuid, invoice)
    billing.renew()
    one = billing.look(sub)
    assert (one.state, one.period_start) == ("active", billing.env.now())
    assert [row[1] for row in billing.invoices(sub)] == ["paid", "void", "paid"]
    assert billing.can(who, "tier:pro")


# Papers ----------------------------------------------------------------------------------------


# S1.44
def test_a_name_that_is_read_from_the_right_leaves_its_percentage_whole(billing):
    tax_rates.add(billing.env, ARABIC, "5")
    billing.plan()
    sub = billing.subscribe(billing.user())
    one = invoices.get(billing.env, None, sub.latest_invoice_id)
    facts = invoice_papers.invoice_facts(billing.env, one)
    assert (f"\u2068{ARABIC}\u2069 5%", "$1.00") in papers.invoice("en", facts).sums
    assert papers.isolated("VAT") == "VAT"
    _, content = invoice_papers.invoice_pdf(billing.env, one)
    page = pypdfium2.PdfDocument(content)[0]
    text = page.get_textpage()
    boxes = {}
    for n in range(text.count_chars()):
        char = text.get_text_range(n, 1)
        if char in ("5", "%") or "\u0600" <= char <= "\u06ff" or "\ufe70" <= char <= "\ufefc":
            boxes.setdefault(char if char in "5%" else "name", []).append(text.get_charbox(n))
    (sign,) = boxes["%"]
    digits = [box for box in boxes["5"] if abs(box[1] - sign[1]) < 3]
    names = [box for box in boxes["name"] if abs(box[1] - sign[1]) < 8]
    assert max(box[2] for box in names) < digits[0][0] < sign[0], "name, figure, sign"
