"""What waits for the period's end where Stripe runs a subscription, as people see it."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from paydesk import ids
from paydesk.flows import customers, subscription_pending
from paydesk.flows import provider_billing_events as news
from paydesk.flows import subscription_changes as changes
from paydesk.http.app import create_app
from paydesk.pages import session
from paydesk.rules.money import USD


@pytest.fixture
def sub(env, sim, billing):
    billing.plan("pro", name="Pro")
    billing.plan("team", name="Team", price=USD("50.00"), position=2)
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
