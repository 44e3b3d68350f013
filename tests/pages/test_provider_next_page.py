"""What waits for the period's end where Stripe runs a subscription, as people see it."""

from __future__ import annotations

import re

import pytest
import stripe
from starlette.testclient import TestClient

from paydesk import ids
from paydesk.flows import customers, subscription_pending, subscription_views
from paydesk.flows import provider_billing_events as news
from paydesk.flows import subscription_changes as changes
from paydesk.http.app import create_app
from paydesk.pages import session
from paydesk.rules.money import USD


@pytest.fixture
def sub(env, sim, billing):
    billing.plan("pro", name="Pro")
    billing.plan("team", name="Team", price=USD("50.00"), position=2)
    billing.plan("late", name="Late", price=USD("10.00"), position=3)
    begun = billing.subscribe(billing.user(), "team", runner="provider")
    sim.pay(begun.page_ref)
    news.look(env, begun.customer_id, begun.id)
    return billing.look(begun)


# S1.29 S1.43
def test_the_portal_and_the_dashboard_say_what_it_changes_to(env, sub, visitor):
    link = session.portal_link(env, customers.get(env, sub.customer_id).external_id)
    home = f"/dashboard/subscriptions/{ids.show('subscription', sub.id)}"
    with TestClient(create_app(env), base_url="http://localhost:8000",
                    follow_redirects=False) as browser:  # fmt: skip
        browser.get(link.removeprefix(env.settings.base_url))
        desk = visitor()
        assert "Changes to" not in browser.get("/portal").text + desk.get(home).text
        changes.change(env, sub.customer_id, sub.id, plan="pro", at="period_end")
        mine, theirs = browser.get("/portal").text, desk.get(home).text
        assert "Changes to pro on" in mine and "$20.00" in mine
        assert "Changes to <strong>pro</strong>" in theirs and "$20.00" in theirs
        subscription_pending.drop(env, sub.customer_id, sub.id)
        assert "Changes to" not in browser.get("/portal").text
        assert "Changes to <strong>" not in desk.get(home).text


def forms(page, action):
    """What the form that leads there sends, where the page has one."""
    found = re.search(rf'<form[^>]*action="{re.escape(action)}".*?</form>', page.text, re.S)
    return found and dict(re.findall(r'name="(\w+)" value="([^"]*)"', found[0]))


@pytest.mark.parametrize("who", ["desk", "portal"])
def test_what_waits_is_taken_back_on_the_pages_and_nothing_else_is_done_there(
    env, sub, visitor, who
):
    # S1.29 S1.43
    ident = ids.show("subscription", sub.id)
    link = session.portal_link(env, customers.get(env, sub.customer_id).external_id)
    with TestClient(create_app(env), base_url="http://localhost:8000",
                    follow_redirects=False) as portal:  # fmt: skip
        portal.get(link.removeprefix(env.settings.base_url))
        browser = visitor("support") if who == "desk" else portal
        place, home = (
            (f"/dashboard/subscriptions/{ident}",) * 2 if who == "desk"
            else ("/portal", f"/portal/plan/{ident}"))  # fmt: skip
        assert forms(browser.get(place), f"{home}/drop") is None
        changes.change(env, sub.customer_id, sub.id, plan="pro", at="period_end")
        page = browser.get(place)
        for other in ("change", "cancel", "pause"):
            assert f"{home}/{other}" not in page.text
        sent = forms(page, f"{home}/drop")
        changes.change(env, sub.customer_id, sub.id, quantity=1, plan="late", at="period_end")
        browser.post(f"{home}/drop", data=sent)  # The page showed another.
        assert subscription_views.get(env, None, ident).next["plan"] == "late"
        sent = forms(browser.get(place), f"{home}/drop")
        for _ in range(2):
            answer = browser.post(f"{home}/drop", data=sent)
            assert answer.status_code == 303, answer.text[:400]
            assert subscription_views.get(env, None, ident).next is None
        assert forms(browser.get(place), f"{home}/drop") is None


def test_what_comes_costs_as_stripe_has_it(env, sim, sub, visitor):
    # S1.43 I27: also where its price there is another than the plan's, and where it ends then
    sim_sub = sim.get(sub.provider_ref)
    product = sim.request("POST", "/v1/products", {"name": "Made there"})["id"]
    price = sim.request("POST", "/v1/prices", {
        "product": product, "unit_amount": 1500, "currency": "usd", "lookup_key": "pro",
        "recurring": {"interval": "month"}})["id"]  # fmt: skip
    made = sim.request("POST", "/v1/subscription_schedules", {"from_subscription": sim_sub["id"]})
    (now,) = made["phases"]
    sim.request("POST", f"/v1/subscription_schedules/{made['id']}", {
        "end_behavior": "cancel", "phases": [
            {"items": [{"price": now["items"][0]["price"], "quantity": 1}],
             "start_date": now["start_date"], "end_date": now["end_date"]},
            {"items": [{"price": price, "quantity": 3}],
             "duration": {"interval": "month"}}]})  # fmt: skip
    news.look(env, sub.customer_id, sub.id)
    one = subscription_views.get(env, None, sub.id)
    assert (one.next["plan"], one.next_price) == ("pro", USD("15.00"))
    home = f"/dashboard/subscriptions/{ids.show('subscription', sub.id)}"
    assert "$45.00" in visitor().get(home).text
    with env.db.read() as tx:
        told = tx.value("select data from events where customer_id = %(c)s and subject_id = %(s)s"
                        " order by seq desc limit 1",
                        {"c": sub.customer_id, "s": sub.id})  # fmt: skip
    assert (told["amount_next"], told["amount"]) == (4500, 5000)


@pytest.mark.parametrize("who", ["desk", "portal"])
@pytest.mark.parametrize(("error", "said", "waits"), [
    (stripe.InvalidRequestError("No.", "schedule", http_status=400), "the change waits as before",
     True),
    (stripe.APIConnectionError("gone"), "by itself", False),
])  # fmt: skip
def test_what_stripe_refuses_or_does_not_answer_is_said(
    env, billing, sub, visitor, who, error, said, waits
):
    # S4.38 I6: without an answer it is asked anew, and comes about then
    ident = ids.show("subscription", sub.id)
    link = session.portal_link(env, customers.get(env, sub.customer_id).external_id)
    with TestClient(create_app(env), base_url="http://localhost:8000") as portal:
        portal.get(link.removeprefix(env.settings.base_url))
        browser = visitor("support") if who == "desk" else portal
        place, home = (
            (f"/dashboard/subscriptions/{ident}",) * 2 if who == "desk"
            else ("/portal", f"/portal/plan/{ident}"))  # fmt: skip
        changes.change(env, sub.customer_id, sub.id, plan="pro", at="period_end")
        sent = forms(browser.get(place), f"{home}/drop")
        calls = env.providers["stripe"]._client.v1.subscription_schedules

        def fails(*args):
            raise error

        calls.release = fails
        answer = browser.post(f"{home}/drop", data=sent, follow_redirects=True)
        assert answer.status_code == 200 and said in answer.text
        del calls.release
        billing.clock.advance(minutes=5)
        billing.recover(rounds=2)
        assert bool(subscription_views.get(env, None, ident).next) is waits
