"""The dashboard's reports, and what the overview says needs attention."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest
from billing import DECLINES
from http_support import Client
from psycopg.rows import dict_row

from paydesk import Paydesk, ids
from paydesk.db.postgres import Tx
from paydesk.flows import attention, invoices, rates
from paydesk.flows import subscription_changes as changes
from paydesk.flows.invoices import NewInvoice, NewItem
from paydesk.http.app import create_app
from paydesk.rules.money import HTG, USD


@pytest.fixture
def cohorts(billing):
    """Two who came in January, one of whom left in February; one in gourdes since then."""
    billing.clock.set(datetime(2026, 1, 29, 15, tzinfo=UTC))
    billing.plan("pro", price=None, prices=[USD("20.00"), HTG("2600.00")])
    gone = billing.user()
    billing.subscribe(billing.user(), "pro")
    left = billing.subscribe(gone, "pro")
    billing.clock.set(datetime(2026, 2, 10, 15, tzinfo=UTC))
    changes.cancel(billing.env, gone.uuid, left.id, at="now")
    billing.subscribe(billing.user(), "pro", currency="htg")
    return billing


def cells(page):
    """The heat map: month -> its size and its cells."""
    assert page.status_code == 200, page.text[:400]
    table = page.text.split('<table class="heat">')[1].split("</table>")[0]
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', table)
    return {month: [one for one in re.findall(r"<td[^>]*>(.*?)</td>", row) if one]
            for month, row in rows}  # fmt: skip


def test_cohorts_are_a_heat_map_of_customers_and_of_revenue(cohorts, visitor):  # S4.39
    browser = visitor()
    page = browser.get("/dashboard/reports")
    assert cells(page) == {"Jan 2026": ["2", "100.0%", "50.0%"]}
    assert 'class="amount heat-4"' in page.text and "Jan 2026, month 1: 1 of 2" in page.text
    money = cells(browser.get("/dashboard/reports?show=revenue"))
    assert money == {"Jan 2026": ["$40.00", "100.0%", "50.0%"]}
    assert "customers_kept / cohort_customers." in page.text
    other = cells(browser.get("/dashboard/reports?currency=htg"))
    assert other == {"Feb 2026": ["1", "100.0%"]}


def test_all_currencies_are_told_in_dollars(cohorts, visitor):
    browser = visitor("support")
    lacking = browser.get("/dashboard/reports?currency=all&show=revenue")
    assert "For some amounts no exchange rate" in lacking.text
    rates.enter(cohorts.env, "usd", "htg", "130", by="rosa")
    page = browser.get("/dashboard/reports?currency=all&show=revenue")
    assert "For some amounts no exchange rate" not in page.text
    assert cells(page)["Feb 2026"] == ["$20.00", "100.0%"]


def test_reports_come_as_csv_and_only_to_staff(cohorts, visitor):
    browser = visitor()
    for name in ("mrr", "churn", "cohorts"):
        found = browser.get(f"/dashboard/reports/{name}.csv?last=6mo")
        assert found.headers["content-type"].startswith("text/csv"), name
    assert "month,currency,age,cohort_customers" in found.text
    assert browser.get("/dashboard/reports/weather.csv").status_code == 404
    browser.cookies.clear()
    assert browser.get("/dashboard/reports").status_code == 303
    assert browser.get("/dashboard/reports/mrr.csv").status_code == 303


def test_reports_of_a_desk_without_subscriptions_say_so(billing, visitor):
    page = visitor().get("/dashboard/reports?last=soon&currency=xyz&show=moon")
    assert page.status_code == 200
    assert "No recurring revenue yet" in page.text and "No cohorts yet" in page.text


# What needs attention ---------------------------------------------------------------------------


#: Rows as they stand when something waits for a person.
_TROUBLE = (
    "insert into disputes (customer_id, id, payment_id, provider, ref, state, amount_minor,"
    " currency, due_at, opened_at) values (%(customer)s, %(id)s, %(id)s, 'stripe', 'du_1',"
    " 'needs_response', 100, 'usd', %(day)s, %(day)s)",
    "insert into refunds (customer_id, id, payment_id, state, amount_minor, currency, provider,"
    " request_key, request_hash) values (%(customer)s, %(id)s, %(id)s, 'requested', 100, 'usd',"
    " 'stripe', %(id)s, '')",
    "insert into risk_assessments (customer_id, id, decision, score) values (%(customer)s, %(id)s,"
    " 'review', 80)",
    "insert into provider_events (provider, account, event_id, type, body, state, try_at)"
    " select 'stripe', '', 'evt_' || n, 'odd', '{}', 'parked', %(day)s"
    " from generate_series(1, 150) n",
)


def test_what_waits_for_a_person_is_counted_and_no_further_than_told(billing, database):  # S1.60
    who, day = billing.user(), billing.env.now() + timedelta(days=1)
    told = {"customer": who.uuid, "id": uuid4(), "day": day}
    with psycopg.connect(database.admin_dsn, row_factory=dict_row) as conn:
        conn.execute("set local session_replication_role = replica")
        for statement in _TROUBLE:
            conn.execute(statement, told)
        found = {one["kind"]: one for one in attention.needs(Tx.joined(conn), billing.env.now())}
        conn.rollback()
    assert {kind: one["title"] for kind, one in found.items()} == {
        "disputes": "1 dispute to answer", "refunds": "1 refund to approve",
        "reviews": "1 risk review", "parked": "99+ webhooks parked"}  # fmt: skip
    assert next(iter(found)) == "disputes" and found["disputes"]["due_at"] == day
    assert attention.look(billing.env) == []


@pytest.fixture
def late(billing):
    """One whose renewal is tried again, one who was given up, and an invoice that nobody paid."""
    billing.plan("pro", dunning={"days": [3, 9]})
    billing.plan("strict", dunning={"days": [1], "final": "unpaid"})
    ends = []
    for plan in ("pro", "strict"):
        who = billing.user()
        sub = billing.subscribe(who, plan)
        billing.card(who, DECLINES)
        ends.append(sub.period_end)
    billing.until(max(ends) + timedelta(days=2))
    invoices.create(billing.env, NewInvoice(
        customer_id=billing.make.user().uuid, currency="usd", days=3, request_key=uuid4(),
        items=[NewItem(kind="one_off", description="Advice", amount_minor=8000)],
    ))  # fmt: skip
    billing.renew(hours=1)
    return billing


def test_late_payments_lead_to_their_screens(late, visitor):  # S1.58 S1.60
    def counts():
        return {one["kind"]: one["count"] for one in attention.look(late.env)}

    before = counts()
    assert before == {"dunning": 2, "overdue": 1}, "what is charged again is not overdue"
    late.clock.advance(days=5)
    assert counts() == {"dunning": 2, "overdue": 2}
    for role in ("admin", "support"):
        browser = visitor(role)
        page = browser.get("/dashboard").text
        for kind in counts():
            href = attention.KINDS[kind][1]
            assert f'href="{href}"' in page, kind
            assert browser.get(href).status_code == 200, kind
    shown = browser.get("/dashboard/subscriptions?tab=late").text
    for row in late.all("select id from subscriptions where state in ('past_due', 'unpaid')"):
        assert ids.show("subscription", row["id"]) in shown


def test_the_interface_tells_what_needs_attention(late):
    with Client(create_app(late.env)) as client:
        body = client.as_key().get("/v1/attention").json()
        [one] = [one for one in body["data"] if one["kind"] == "dunning"]
        assert (one["count"], one["tone"], one["due_at"]) == (2, "warn", None)
        assert one["url"].endswith("/dashboard/subscriptions?tab=late")
        assert client.as_user("user_123").get("/v1/attention").status_code == 403
        assert client.as_nobody().get("/v1/attention").status_code == 401
        assert client.as_user("rosa", role="support").get("/v1/attention").status_code == 200
    with Paydesk(env=late.env, background=False) as pay:
        told = pay.analytics.attention()
    assert [row["kind"] for row in told] == [row["kind"] for row in body["data"]]
