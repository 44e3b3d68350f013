"""Corners of subscriptions that were found by trying: codes of some plans, changes to a calendar,
pauses before an end, invoices that are voided, and names that are read from the right."""

from __future__ import annotations

from datetime import UTC, datetime

import pypdfium2
import pytest
from billing import DECLINES

from paydesk.errors import Conflict
from paydesk.flows import credit_notes, invoice_papers, invoices, promos, renewals, tax_rates
from paydesk.flows import subscription_changes as changes
from paydesk.flows import subscription_pauses as pauses
from paydesk.notify import invoices as papers
from paydesk.rules.money import USD

ARABIC = "\u0645\u0636\u0627\u0641\u0629"


# Codes -----------------------------------------------------------------------------------------


def coded(billing, clock, code: str, **terms):
    """A subscription to `pro` at 20.00 with a code of half its price, half way through April."""
    clock.set(datetime(2026, 4, 1, tzinfo=UTC))
    prices = {"pro": "20.00", "team": "50.00", "gold": "30.00"}
    for key, price in prices.items():
        billing.plan(key, price=USD(price), downgrade_when="now")
    billing.plan("year", price=USD("500.00"), interval="year", downgrade_when="now")
    promos.upsert_promo(billing.env, code, percent_off=50, **terms)
    who = billing.user()
    sub = billing.subscribe(who, promo=code)
    clock.set(datetime(2026, 4, 16, tzinfo=UTC))
    return who, sub


def costs(billing, sub, plan: str) -> list[int]:
    seen = changes.preview(billing.env, sub.customer_id, sub.id, plan=plan, at="now")
    return [one.amount.minor for one in seen.lines]


def move(billing, sub, plan: str) -> list[int]:
    seen = costs(billing, sub, plan)
    changes.change(billing.env, sub.customer_id, sub.id, plan=plan, at="now")
    row = invoices.get(billing.env, None, billing.look(sub).latest_invoice_id)
    assert [one.amount.minor for one in row.items] == seen
    return seen


def monthly(billing, sub) -> int:
    """What it brings in a month."""
    (row,) = billing.all("select monthly_minor from subscriptions where customer_id = %(c)s"
                         " and id = %(s)s", c=sub.customer_id, s=sub.id)  # fmt: skip
    return row["monthly_minor"]


# S1.44 S4.41 I24
@pytest.mark.parametrize("duration", ["once", "repeating", "forever"])
def test_a_code_of_some_plans_takes_nothing_off_another_one(billing, clock, duration):
    more = {"duration_periods": 3} if duration == "repeating" else {}
    who, sub = coded(billing, clock, "HALF", duration=duration, plans=["pro", "gold"], **more)
    assert costs(billing, sub, "gold") == [-500, 1500, -750], "it holds for this one too"
    assert costs(billing, sub, "year") == [-500, 50000]
    assert move(billing, sub, "team") == [-500, 2500]
    assert monthly(billing, sub) == 5000
    # The way back nets zero: what was paid for is what is given back.
    assert move(billing, sub, "pro") == [-2500, 1000, -500]
    assert billing.books(who, "balance") == 2000
    assert monthly(billing, sub) == (2000 if duration == "once" else 1000)


# S1.44 S4.41
@pytest.mark.parametrize("way", ["now", "period_end"])
def test_renewals_of_a_plan_that_a_code_is_not_for_cost_their_price(billing, clock, way):
    who, sub = coded(billing, clock, "HALF", duration="repeating", duration_periods=3,
                     plans=["pro"])  # fmt: skip
    changes.change(billing.env, who.uuid, sub.id, plan="team", at=way)
    billing.until(datetime(2026, 5, 2, tzinfo=UTC))
    assert billing.invoices(sub)[-1][2] == 5000
    assert monthly(billing, sub) == 5000
    # Its periods go by all the same: the third of them is the last.
    changes.change(billing.env, who.uuid, sub.id, plan="pro", at="period_end")
    billing.until(datetime(2026, 6, 2, tzinfo=UTC))
    assert billing.invoices(sub)[-1][2] == 1000
    billing.until(datetime(2026, 7, 2, tzinfo=UTC))
    assert billing.invoices(sub)[-1][2] == 2000


# S1.44 S4.41
def test_a_new_cycle_has_a_code_only_for_periods_that_it_has_left(billing, clock):
    _, sub = coded(billing, clock, "ONCE", duration="once")
    assert costs(billing, sub, "team") == [-500, 2500, -1250], "within the period it is carried"
    assert move(billing, sub, "year") == [-500, 50000], "used up: the year is another period"
    assert costs(billing, sub, "pro") == [-50000, 2000]


# S1.44 S4.41
def test_a_new_cycle_uses_one_of_the_periods_that_a_code_has_left(billing, clock):
    _, sub = coded(billing, clock, "TWICE", duration="repeating", duration_periods=2)
    billing.plan("other", price=USD("600.00"), interval="year", downgrade_when="now")
    assert move(billing, sub, "year") == [-500, 50000, -25000]
    assert costs(billing, sub, "other") == [-25000, 60000, -30000], "the same period still"
    assert costs(billing, sub, "pro") == [-25000, 2000], "none is left"


# Calendars -------------------------------------------------------------------------------------


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def dated(billing, clock, plan: str, **terms):
    """A subscription that began on 5 March; the plans of the calendar cost 1.00 a day."""
    clock.set(at(2026, 3, 5))
    terms = {"upgrade_when": "now", "downgrade_when": "now", **terms}
    billing.plan("month", price=USD("62.00"), **terms)
    billing.plan("other", price=USD("31.00"), billing="calendar", **terms)
    billing.plan("year", price=USD("365.00"), interval="year", **terms)
    billing.plan("calendar", price=USD("31.00"), billing="calendar", **terms)
    billing.plan("years", price=USD("365.00"), interval="year", billing="calendar", **terms)
    who = billing.user()
    return who, billing.subscribe(who, plan)


def spans(billing, sub) -> list[tuple[str, str, int]]:
    """(begin, end, total) of each invoice, oldest first."""
    rows = billing.all(
        "select period_start, period_end, total_minor from invoices where customer_id = %(c)s"
        " and subscription_id = %(s)s order by created_at, id",
        c=sub.customer_id, s=sub.id)  # fmt: skip
    return [(f"{row['period_start']:%m-%d}", f"{row['period_end']:%m-%d}", row["total_minor"])
            for row in rows]  # fmt: skip


# S1.28 S1.29 I22
@pytest.mark.parametrize(("was", "then", "paid", "end", "part"), [
    ("month", "calendar", -4200, "04-01", 1700),  # 21 of 31 days at 2.00 are left.
    ("year", "calendar", -35500, "04-01", 1700),
    ("calendar", "years", -1700, "01-01", 29200),  # 292 days are left of the year.
    ("month", "years", -4200, "01-01", 29200),
])  # fmt: skip
def test_a_change_to_a_plan_of_the_calendar_runs_to_its_first(
    billing, clock, was, then, paid, end, part
):
    who, sub = dated(billing, clock, was)
    clock.set(at(2026, 3, 15))
    seen = changes.preview(billing.env, who.uuid, sub.id, plan=then, at="now")
    assert [one.amount.minor for one in seen.lines] == [paid, part]
    changes.change(billing.env, who.uuid, sub.id, plan=then, at="now", expect=seen)
    assert spans(billing, sub)[-1] == ("03-15", end, paid + part)
    one = billing.look(sub)
    assert f"{one.period_end:%m-%d}" == end
    # What is left of it is a part of the whole: the change to itself's like nets zero.
    if then == "calendar":
        clock.set(at(2026, 3, 20))
        assert costs(billing, sub, "other") == [-1200, 1200]
    clock.set(one.period_end)
    billing.renew()
    assert spans(billing, sub)[-1][0] == end
    following = billing.look(sub).period_end
    assert (following.day, following.month) == ((1, 5) if then == "calendar" else (1, 1))


# S1.28 S1.29 I22
@pytest.mark.parametrize(("was", "then", "first"), [
    ("month", "calendar", ("04-05", "05-01", 2687)),
    ("month", "years", ("04-05", "01-01", 27100)),
    ("calendar", "years", ("04-01", "01-01", 27500)),
    ("calendar", "month", ("04-01", "05-01", 6200)),
])  # fmt: skip
def test_a_change_at_the_periods_end_runs_to_the_calendars_first(billing, clock, was, then, first):
    who, sub = dated(billing, clock, was)
    changes.change(billing.env, who.uuid, sub.id, plan=then, at="period_end")
    clock.set(sub.period_end)
    billing.renew()
    assert spans(billing, sub)[-1] == first
    clock.set(billing.look(sub).period_end)
    billing.renew()
    assert spans(billing, sub)[-1][0] == first[1]
    assert billing.look(sub).period_end.day == 1


# S1.28 S1.29 I22 I24
def test_there_and_back_between_the_calendar_and_the_day_it_began(billing, clock):
    who, sub = dated(billing, clock, "calendar")
    assert spans(billing, sub) == [("03-05", "04-01", 2700)]
    clock.set(at(2026, 3, 15))
    assert move(billing, sub, "month") == [-1700, 6200]
    assert f"{billing.look(sub).period_end:%m-%d}" == "04-15"
    assert move(billing, sub, "calendar") == [-6200, 1700]
    assert f"{billing.look(sub).period_end:%m-%d}" == "04-01"
    assert billing.books(who, "balance") == 4500


# S1.29 I22
def test_without_proration_the_calendar_begins_with_the_next_period(billing, clock):
    who, sub = dated(billing, clock, "month", upgrade="none", downgrade="none")
    clock.set(at(2026, 3, 15))
    changes.change(billing.env, who.uuid, sub.id, plan="calendar", at="now")
    assert f"{billing.look(sub).period_end:%m-%d}" == "04-05"
    for end in (at(2026, 4, 5), at(2026, 5, 1)):
        clock.set(end)
        billing.renew()
    assert [one[:2] for one in spans(billing, sub)[1:]] == [("04-05", "05-01"), ("05-01", "06-01")]


# S4.25
def test_a_short_period_that_is_changed_to_gives_its_part_of_the_credits(billing, clock):
    who, sub = dated(billing, clock, "month", credits=310)
    clock.set(at(2026, 3, 15))
    seen = changes.preview(billing.env, who.uuid, sub.id, plan="calendar", at="now")
    assert (seen.credits_back, seen.credits_given) == (210, 170)
    # Ten months of the year are left: the first of them is whole.
    assert changes.preview(
        billing.env, who.uuid, sub.id, plan="years", at="now").credits_given == 310


# S1.28 S1.29 I22
@pytest.mark.parametrize(("then", "end"), [("year", at(2027, 4, 5)), ("calendar", at(2026, 5, 1))])
def test_a_new_cycle_where_what_is_due_was_put_off_begins_where_the_old_one_ended(
    billing, clock, then, end
):
    who, sub = dated(billing, clock, "month")
    clock.set(at(2026, 4, 14))  # Nobody was there on the 5th.
    renewals._set_back(billing.env, who.uuid, sub.id)  # A sweep failed at it.
    changes.change(billing.env, who.uuid, sub.id, plan=then, at="now")
    one = billing.look(sub)
    assert (one.period_start, one.period_end) == (at(2026, 4, 5), end)
    assert spans(billing, sub)[-1][0] == "04-05"
    assert billing.renew() == 0


# S1.26 S1.28 I22
def test_dunning_that_ends_with_a_lesser_plan_begins_its_calendar(billing, clock):
    who, sub = dated(billing, clock, "month", dunning={
        "days": [1], "final": "downgrade", "downgrade_to": "calendar"})  # fmt: skip
    billing.card(who, DECLINES)
    for day in (5, 6):
        clock.set(at(2026, 4, day))
        billing.renew()
    billing.card(who)
    billing.renew()
    assert spans(billing, sub)[-1] == ("04-06", "05-01", 2583)  # 25 of 30 days.


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
