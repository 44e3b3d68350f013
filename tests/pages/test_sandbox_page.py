"""The home of the sandbox: a plan is begun there, and a month passes at the press of a button."""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient

from paydesk import ids
from paydesk.flows import checkout, customers, invoices, plans, subscriptions
from paydesk.http.app import create_app


@pytest.fixture
def browser(env):
    app = create_app(env)
    app.state.is_development = True
    with TestClient(app, base_url="http://localhost:8000", follow_redirects=False) as client:
        yield client


def csrf_of(page) -> str:
    return re.search(r'name="csrf" value="([^"]*)"', page.text).group(1)


def test_a_plan_is_begun_and_a_month_passes(env, browser, make, sim):  # S1.25 I23
    plans.upsert(env, "pro", price="19.00 USD/month", grants=["exports"])
    page = browser.get("/dev")
    assert "Nobody's time is moved yet" in page.text.replace("&#39;", "'")
    csrf = csrf_of(page)
    place = browser.post("/dev/subscribe", data={"plan": "pro", "csrf": csrf}).headers["location"]
    form = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"',
                           browser.get(place).text))  # fmt: skip
    opened = browser.post("/portal/offer", data=form).headers["location"]
    view = checkout.get(env, None, opened.split("?")[0].removeprefix("/checkout/"))
    sim.pay(view.payment.session_ref)
    checkout.verify(env, view.payment.session_ref)
    who = customers.ensure(env, "traveler", create=False)
    [sub] = subscriptions.list_(env, who.uuid)
    assert sub.state == "active"
    moved = browser.post("/dev/time", data={"by": "month", "csrf": csrf})
    assert moved.headers["location"] == "/dev#time"
    [after] = subscriptions.list_(env, who.uuid)
    assert after.period_start == sub.period_end
    bills = invoices.list_(env, who.uuid)
    assert [one.status for one in bills] == ["paid", "paid"]
    page = browser.get("/dev").text
    assert all(ids.show("invoice", one.id) in page for one in bills) and "A month on" in page


def test_time_is_moved_by_forms_of_the_page_alone(env, browser, make):  # I35
    plans.upsert(env, "pro", price="19.00 USD/month", grants=["exports"])
    csrf = csrf_of(browser.get("/dev"))
    assert browser.post("/dev/time", data={"by": "month"}).status_code == 403
    assert browser.post("/dev/subscribe", data={"plan": "pro"}).status_code == 403
    assert browser.post("/dev/time", data={"by": "age", "csrf": csrf}).status_code == 404
    assert not customers.is_here(env, "traveler")


def test_outside_development_there_is_no_such_page(env, make):  # I35
    with TestClient(create_app(env), base_url="http://localhost:8000") as client:
        assert client.get("/dev").status_code == 404
        assert client.post("/dev/time", data={"by": "month"}).status_code == 404
