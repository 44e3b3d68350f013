"""The dashboard's screens of billing: who sees what, and what a press does."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from html import unescape
from uuid import uuid4

import pytest
from billing import DECLINES
from starlette.testclient import TestClient

from paydesk import ids
from paydesk.flows import (
    credit_notes,
    customers,
    desk_lists,
    invoices,
    refunds,
    staff,
    subscription_changes,
)
from paydesk.flows.invoices import NewInvoice, NewItem
from paydesk.http.app import create_app
from paydesk.rules.money import USD


def csrf_of(page) -> str:
    return page.text.split('name="csrf" value="')[1].partition('"')[0]


def fields_of(page, action: str) -> dict[str, str]:
    """The hidden fields of the form that posts to this address."""
    assert page.status_code == 200, page.text[:400]
    form = re.search(
        rf'<form[^>]*method="post" action="{re.escape(action)}".*?</form>', page.text, re.S
    )
    assert form, f"no form posts to {action}"
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form[0])
    return {name: unescape(value) for name, value in found}


def press(browser, place: str, action: str, **more: str):
    """Open a page and send its form to `action`; answers where that leads."""
    answer = browser.post(action, data={**fields_of(browser.get(place), action), **more})
    assert answer.status_code == 303, answer.text[:600]
    return answer.headers["location"]


@pytest.fixture
def maya(env, billing):
    """A customer with a card, subscribed to pro; team costs more."""
    billing.plan("pro", name="Pro")
    billing.plan("team", name="Team <of> many", price=USD("50.00"), position=2)
    who = billing.user()
    return billing.subscribe(who)


def home_of(sub) -> str:
    return f"/dashboard/subscriptions/{ids.show('subscription', sub.id)}"


def test_a_subscription_is_listed_found_and_told_whole(env, billing, visitor, maya):  # S1.43
    browser = visitor()
    person = f"/dashboard/customers/{ids.show('customer', maya.customer_id)}"
    for tab, there in (("all", True), ("active", True), ("ended", False), ("nonsense", True)):
        page = browser.get(f"/dashboard/subscriptions?tab={tab}")
        assert (home_of(maya) in page.text) is there, tab
    assert home_of(maya) in browser.get("/dashboard/subscriptions?plan=pro").text
    assert "Nothing matches" in browser.get("/dashboard/subscriptions?plan=team").text
    assert "Nothing matches" in browser.get("/dashboard/subscriptions?q=nobody").text
    page = browser.get(home_of(maya))
    for told in ("Pro", "$20.00", "Active", "Visa •• 4242", person, "Next charge",
                 "Subscribed", "Invoice paid", "Subscription active"):  # fmt: skip
        assert told in page.text, told
    ident = ids.show("subscription", maya.id)
    assert browser.get(f"/dashboard/search?q={ident}").headers["location"] == home_of(maya)


def test_a_change_shows_its_lines_before_it_is_made(env, billing, visitor, maya):  # S1.44 I24
    billing.clock.advance(days=10)
    browser, home = visitor(), home_of(maya)
    page = browser.get(f"{home}/change")
    assert "Nothing changes yet" in page.text and "Team &lt;of&gt; many" in page.text
    assert "Nothing would change" in browser.get(f"{home}/change?plan=pro&quantity=1").text
    preview = browser.get(f"{home}/change?plan=team&quantity=1&at=now")
    assert "Unused time on Pro" in preview.text and "Remaining time on Team" in preview.text
    due = re.search(r"Change and charge (\$[\d.]+)", preview.text)
    assert due
    assert billing.look(maya).plan_key == "pro"
    place = press(browser, f"{home}/change?plan=team&quantity=1&at=now", f"{home}/change")
    assert place == f"{home}?done=changed"
    assert billing.look(maya).plan_key == "team"
    told = browser.get(place).text
    assert "The subscription was changed." in told and "was pro" in told
    newest = invoices.list_(env, maya.customer_id)[0]
    assert f"${newest.paid.decimal}" == due[1]


def test_a_change_that_the_bank_asks_about_waits_and_is_dropped(billing, visitor, maya):
    # S1.29 S1.44
    browser, place = visitor("support"), home_of(maya)
    billing.card(customers.get(billing.env, maya.customer_id), "pm_card_authenticationRequired")
    preview = f"{place}/change?plan=team&quantity=1&at=now"
    led = press(browser, preview, f"{place}/change")
    assert led == f"{place}?done=charging"
    page = unescape(browser.get(led).text)
    assert "The charge is under way" in page
    assert "A change to <strong>team</strong> waits for its payment of $" in page
    sub = billing.look(maya)
    assert f'href="{sub.action_url}"' in page
    billing.clock.advance(minutes=1)
    assert press(browser, preview, f"{place}/change") == f"{place}?done=another"
    assert press(browser, place, f"{place}/drop") == f"{place}?done=dropped"
    assert (billing.look(maya).plan_key, billing.look(maya).next) == ("pro", None)
    assert billing.sim.get(sub.payment.payment_ref)["status"] == "canceled"


def test_a_drop_takes_back_only_the_change_that_its_page_showed(billing, visitor, maya):
    # S1.29 S1.44 I27
    browser, home = visitor("support"), home_of(maya)

    def later(**more) -> None:
        subscription_changes.change(
            billing.env, maya.customer_id, maya.id, at="period_end", **more
        )

    billing.plan("duo", name="Duo", price=USD("30.00"), most_quantity=9)
    later(plan="team")
    form = fields_of(browser.get(home), f"{home}/drop")
    later(plan="duo", quantity=3)
    answer = browser.post(f"{home}/drop", data=form).headers["location"]
    assert answer == f"{home}?done=moved"
    assert "Another change waits by now" in browser.get(answer).text
    assert billing.look(maya).next["quantity"] == 3
    shown = fields_of(browser.get(home), f"{home}/drop")
    assert browser.post(f"{home}/drop", data=shown).headers["location"] == f"{home}?done=dropped"
    again = browser.post(f"{home}/drop", data=shown).headers["location"]
    assert again == f"{home}?done=gone"
    assert "That change waits no more" in browser.get(again).text
    assert billing.look(maya).next is None


def test_figures_that_moved_are_shown_anew_and_nothing_changes(billing, visitor, maya):  # I24
    browser, home = visitor(), home_of(maya)
    form = fields_of(browser.get(f"{home}/change?plan=team&at=now"), f"{home}/change")
    billing.plan("team", name="Team", price=USD("60.00"), position=2)
    answer = browser.post(f"{home}/change", data=form)
    assert "done=outdated" in answer.headers["location"]
    assert "The figures have moved since" in browser.get(answer.headers["location"]).text
    assert billing.look(maya).plan_key == "pro"


def test_a_subscription_is_ended_taken_back_paused_and_resumed(billing, visitor, maya):
    # S1.43 S1.44
    browser, home = visitor("support"), home_of(maya)
    place = press(browser, home, f"{home}/cancel", at="period_end", reason="moved away")
    assert place.endswith("done=will_end") and "Ends" in browser.get(place).text
    assert billing.look(maya).cancel_reason == "moved away"
    assert press(browser, home, f"{home}/reactivate").endswith("done=reactivated")
    assert press(browser, home, f"{home}/pause", until="2099-01-31").endswith("done=paused")
    assert f"{billing.look(maya).resume_at:%Y-%m-%d}" == "2099-01-31"
    assert press(browser, home, f"{home}/resume").endswith("done=resumed")
    assert "Resumed" in browser.get(home).text
    assert press(browser, home, f"{home}/cancel", at="now").endswith("done=canceled")
    assert billing.look(maya).state == "canceled"
    page = browser.get(home).text
    assert f'action="{home}/' not in page and "Canceled" in page
    for wrong in ("2099-02-31", "tomorrow"):
        form = {"csrf": csrf_of(browser.get("/dashboard")), "until": wrong}
        assert browser.post(f"{home}/pause", data=form).status_code == 422


def test_support_cancels_but_does_not_refund(billing, visitor, maya):
    browser, home = visitor("support"), home_of(maya)
    form = {**fields_of(browser.get(home), f"{home}/cancel"), "at": "now", "refund": "unused"}
    assert browser.post(f"{home}/cancel", data=form).status_code == 403
    assert billing.look(maya).state == "active"


@pytest.mark.parametrize(
    ("action", "state", "revenue"), [("approve", "succeeded", 0), ("reject", "rejected", 2000)]
)
def test_a_refund_above_the_limit_waits_for_another_person(
    env, billing, visitor, maya, action, state, revenue
):  # S1.28 I34
    strict = replace(env, settings=replace(env.settings, refund_approval_threshold=Decimal("5")))
    own, other = (signed_in(strict, f"{name}@example.com") for name in ("rosa", "omar"))
    with own as rosa, other as omar:
        home = home_of(maya)
        place = press(rosa, home, f"{home}/cancel", at="now", refund="unused")
        assert place == f"{home}?done=canceled"
        (asked,) = refunds.list_(env, maya.customer_id)
        assert (asked.state, asked.amount.minor) == ("requested", 2000)
        page = f"/dashboard/refunds/{ids.show('refund', asked.id)}"
        mine = rosa.get(page)
        assert f"{page}/approve" not in mine.text
        forced = rosa.post(f"{page}/approve", data={"csrf": csrf_of(mine)})
        assert forced.status_code == 409 and "approval_required" in forced.text
        assert refunds.list_(env, maya.customer_id)[0].state == "requested"
        done = press(omar, page, f"{page}/{action}", note="Seen")
        assert "done=" in done
    assert refunds.list_(env, maya.customer_id)[0].state == state
    assert billing.books(maya, "revenue") == revenue
    assert billing.look(maya).state == "canceled"


def signed_in(env, email):
    """A browser of a member of staff of that address."""
    staff.add(env, email, email.partition("@")[0].title(), "admin", "correct horse staple")
    browser = TestClient(create_app(env), base_url="http://localhost:8000", follow_redirects=False)
    token = csrf_of(browser.get("/dashboard/sign-in"))
    told = {"email": email, "password": "correct horse staple", "csrf": token}
    assert browser.post("/dashboard/sign-in", data=told).status_code == 303
    return browser


def test_a_late_payment_is_retried_with_a_press(env, billing, visitor, maya):  # S1.58 I26
    billing.card(customers.get(env, maya.customer_id), DECLINES)
    billing.renew(days=32)
    assert billing.look(maya).state == "past_due"
    browser, home = visitor(), home_of(maya)
    assert "could not be charged" in browser.get(home).text
    assert press(browser, home, f"{home}/retry").endswith("done=declined")
    billing.card(customers.get(env, maya.customer_id))
    assert press(browser, home, f"{home}/retry").endswith("done=paid")
    assert billing.look(maya).state == "active"


def invoice_home(one) -> str:
    return f"/dashboard/invoices/{ids.show('invoice', one.id)}"


@pytest.fixture
def bill(env, billing):
    """An open invoice by hand, of a customer with a card."""
    who = billing.user()
    return invoices.create(env, NewInvoice(
        customer_id=who.uuid, currency="usd", request_key=uuid4(),
        items=[NewItem(kind="one_off", description="Workshop <b>", amount_minor=45000)],
    ))  # fmt: skip


def test_an_invoice_says_why_each_line_is_as_it_is(env, billing, visitor, maya):  # S1.50
    (first,) = invoices.list_(env, maya.customer_id)
    browser, home = visitor("support"), invoice_home(first)
    page = browser.get(home).text
    for told in ("Why this amount", "quantity × unit price", "$20.00", "deposits", "revenue",
                 "Ledger entries", f"{home}/pdf", first.page_url.partition("?")[0]):  # fmt: skip
        assert told in page, told
    assert browser.get(f"{home}/pdf").content.startswith(b"%PDF")
    assert home in browser.get("/dashboard/invoices?tab=paid").text
    assert home not in browser.get("/dashboard/invoices?tab=open").text
    number = invoices.finalize_now(env, first.customer_id, first.id).number
    assert home in browser.get(f"/dashboard/invoices?q={number}").text
    item = ids.show("invoice_item", first.items[0].id)
    for named in (number, number.lower(), ids.show("invoice", first.id), item):
        assert browser.get(f"/dashboard/search?q={named}").headers["location"] == home, named


def test_an_open_invoice_is_charged_voided_or_given_up(env, visitor, bill, billing):  # S1.50
    browser, home = visitor("finance"), invoice_home(bill)
    assert "Workshop &lt;b&gt;" in browser.get(home).text
    assert press(browser, home, f"{home}/uncollectible").endswith("done=given_up")
    assert press(browser, home, f"{home}/pay").endswith("done=paid")
    assert invoices.get(env, None, bill.id).is_paid
    assert f"{home}/void" not in browser.get(home).text
    other = invoices.create(env, NewInvoice(
        customer_id=bill.customer_id, currency="usd", request_key=uuid4(), finalize=False,
        items=[NewItem(kind="one_off", description="Draft", amount_minor=700)],
    ))  # fmt: skip
    home = invoice_home(other)
    assert press(browser, home, f"{home}/finalize").endswith("done=finalized")
    assert press(browser, home, f"{home}/void").endswith("done=voided")
    assert invoices.get(env, None, other.id).status == "void"


def test_a_credit_note_is_written_once_however_often_it_is_sent(env, visitor, maya):  # S1.51 I13
    (paid,) = invoices.list_(env, maya.customer_id)
    browser, home = visitor("finance"), invoice_home(paid)
    form = {**fields_of(browser.get(home), f"{home}/credit"), "amount": "5.00", "to": "balance",
            "memo": "Sorry"}  # fmt: skip
    for _ in range(2):
        answer = browser.post(f"{home}/credit", data=form)
        assert answer.headers["location"].endswith("done=credited")
    # The same press with another sum is another wish: it is refused, and not taken for done.
    assert browser.post(f"{home}/credit", data={**form, "amount": "7.00"}).status_code == 422
    (note,) = credit_notes.list_(env, paid.customer_id, invoice_id=paid.id)
    assert (note.amount, note.balance, note.refunded.minor) == (USD("5.00"), USD("5.00"), 0)
    place = f"/dashboard/credit-notes/{ids.show('credit_note', note.id)}/pdf"
    assert place in browser.get(home).text
    assert browser.get(place).content.startswith(b"%PDF")
    assert browser.get(f"/dashboard/search?q={ids.show('credit_note', note.id)}").headers[
        "location"] == home  # fmt: skip


def test_a_credit_note_names_the_line_that_it_is_about(env, visitor):  # S1.51
    who = customers.ensure(env, "lina")
    made = invoices.create(env, NewInvoice(
        customer_id=who.uuid, currency="usd", request_key=uuid4(),
        items=[NewItem(kind="one_off", description=name, amount_minor=minor)
               for name, minor in (("Fitting", 700), ("Travel", 300))],
    ))  # fmt: skip
    browser, home = visitor("finance"), invoice_home(made)
    page = browser.get(home)
    fee = ids.show("invoice_item", made.items[1].id)
    assert f'<option value="{fee}">Travel, $3.00</option>' in page.text
    form = {**fields_of(page, f"{home}/credit"), "line": fee}
    assert browser.post(f"{home}/credit", data={**form, "amount": ""}).status_code == 422
    told = browser.post(f"{home}/credit", data={**form, "amount": "3.00"}).headers["location"]
    assert told.endswith("done=credited")
    (note,) = credit_notes.list_(env, who.uuid)
    assert [(one["description"], one["amount"]) for one in note.items] == [("Travel", 300)]


def test_plans_show_versions_prices_and_who_is_on_them(env, billing, visitor, maya):  # S1.25
    billing.plan("pro", name="Pro", price=USD("25.00"), credits=40)
    browser = visitor("support")
    page = browser.get("/dashboard/plans").text
    assert "$25.00" in page and "version 2" in page and "/dashboard/plans/team" in page
    page = browser.get("/dashboard/plans/pro").text
    for told in ("Sold now", "$25.00", "$20.00", "Tier pro", "tried again after"):
        assert told in page, told
    assert browser.get("/dashboard/plans/none").status_code == 404
    plan = billing.look(maya).plan_id
    assert browser.get(f"/dashboard/plans/{ids.show('plan', plan)}").status_code == 200


LISTS = ["subscriptions", "invoices", "plans", "refunds", "disputes", "wallets", "risk",
         "risk/lists"]  # fmt: skip


def test_empty_lists_say_so_and_odd_questions_are_answered_or_refused(visitor):
    browser = visitor("support")
    for name in LISTS:
        assert 'class="empty"' in browser.get(f"/dashboard/{name}").text, name
        for query in ("?q=%00", "?tab=zzz", "?before=zzz", "?before=sub_zz", "?q=%25_%5C",
                      "?currency=zz%00", "?plan=%00", "?kind=zz", "?q=" + "9" * 200):  # fmt: skip
            assert browser.get(f"/dashboard/{name}{query}").status_code < 500, (name, query)


def test_lists_go_on_where_the_page_before_ended(env, billing):
    billing.plan("pro", name="Pro")
    made = {home_of(billing.subscribe(billing.user())) for _ in range(3)}
    seen: list[str] = []
    before = ""
    for _ in range(4):
        rows, before = desk_lists.subscriptions_page(env, before=before, limit=1)
        seen += [f"/dashboard/subscriptions/{row['ident']}" for row in rows]
        if not before:
            break
    assert len(seen) == 3 and set(seen) == made


def test_the_overview_tells_recurring_revenue_where_there_is_some(billing, visitor):  # S1.57
    browser = visitor("support")
    assert 'aria-label="MRR"' not in browser.get("/dashboard").text
    billing.plan("pro", name="Pro")
    billing.subscribe(billing.user())
    tile = browser.get("/dashboard").text.split('aria-label="MRR"')[1].partition("</section>")[0]
    assert "$20.00" in tile and "1 active" in tile and "late" not in tile


def test_a_customers_page_shows_subscriptions_and_invoices(env, visitor, maya):
    page = visitor("support").get(
        f"/dashboard/customers/{ids.show('customer', maya.customer_id)}"
    )
    (bill,) = invoices.list_(env, maya.customer_id)
    assert home_of(maya) in page.text and invoice_home(bill) in page.text


def test_a_draft_asks_for_nothing_and_says_what_comes(env, visitor):  # S1.50
    who = customers.ensure(env, "drafty")
    made = invoices.create(env, NewInvoice(
        customer_id=who.uuid, currency="usd", request_key=uuid4(), finalize=False,
        items=[NewItem(kind="one_off", description="Hours", amount_minor=4500)],
    ))  # fmt: skip
    page = visitor("finance").get(f"/dashboard/invoices/{ids.show('invoice', made.id)}").text
    assert "no number yet" in page and "Finalizing adds the taxes" in page
    assert "Still asked for" not in page and "Tries" not in page


def test_a_page_that_is_not_there_leads_back(visitor):  # S0.32
    page = visitor("finance").get("/dashboard/invoices/nothing")
    assert page.status_code == 404
    assert 'href="/dashboard"' in page.text


def test_a_lost_browser_gets_a_page_and_a_program_the_document(visitor):  # S0.32
    browser = visitor("finance")
    chromium = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    page = browser.get("/nothing-here", headers=chromium)
    assert (page.status_code, page.headers["content-type"][:9]) == (404, "text/html")
    assert "Nothing is at this address." in page.text
    for place, accept in (("/nothing-here", "*/*"), ("/v1/nothing", "text/html")):
        found = browser.get(place, headers={"accept": accept})
        assert (found.status_code, found.json()["code"]) == (404, "not_found")
