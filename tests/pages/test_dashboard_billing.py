"""The dashboard's screens of billing: who sees what, and what a press does."""

from __future__ import annotations

import re
from html import unescape

import pytest

from paydesk import ids
from paydesk.flows import invoices
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


def test_a_subscription_is_listed_found_and_told_whole(env, billing, visitor, maya):  # S1.41 S3.4
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


def test_a_change_shows_its_lines_before_it_is_made(env, billing, visitor, maya):  # S1.41 I24
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
