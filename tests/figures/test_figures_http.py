"""Reports over HTTP: JSON, CSV, definitions, who may read them, and the documents' own shapes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from http_support import Client

from paydesk.http.app import create_app
from paydesk.rules.figure_names import FIGURES, REPORTS


@pytest.fixture
def admin(refunding):
    refunding.bought(refunding.desk.make.user("user_123"))
    with Client(create_app(refunding.env)) as made:
        yield made.as_key()


# S4.39!
@pytest.mark.parametrize("kind", sorted(REPORTS))
def test_every_report_is_json_and_csv(admin, kind):  # S0.33 S3.11 S3.22 S4.39 S1.57
    found = admin.get(f"/v1/reports/{kind}")
    assert found.status_code == 200, found.text
    body = found.json()
    assert body["report"] == kind and body["behind"] == 0
    assert [c["name"] for c in body["columns"]] == list(REPORTS[kind].figures)
    text = admin.get(f"/v1/reports/{kind}?format=csv")
    assert text.headers["content-type"].startswith("text/csv")
    assert "attachment" in text.headers["content-disposition"]
    assert text.text.split("\r\n")[0] == ",".join([*body["by"], *REPORTS[kind].figures])
    assert text.text.count("\r\n") == len(body["data"]) + 1


def test_amounts_are_minor_units_and_rates_exact_numbers(admin):
    found = admin.get("/v1/reports/payments?by=day,provider&tz=America/Port-au-Prince&last=7d")
    assert '"success_rate":1.0000' in found.text
    [row] = found.json()["data"]
    assert (row["captured"], row["currency"], row["provider"]) == (999, "usd", "stripe")


def test_definitions_name_every_figure(admin):
    body = admin.get("/v1/reports/definitions").json()
    assert {one["name"] for one in body["data"]} == set(FIGURES)
    assert set(body["reports"]) == set(REPORTS)


@pytest.mark.parametrize("query", [
    "by=moon", "last=soon", "tz=Mars%2FBase", "from=2026-02-01&to=2026-01-01", "from=yesterday",
    "limit=0", "format=xml", "country=%3Dcmd&by=status,country,moon", "colour=red",
])  # fmt: skip
def test_a_wrong_question_is_refused(admin, query):
    assert admin.get(f"/v1/reports/payments?{query}").status_code == 422


def test_an_unknown_report_is_not_found(admin):
    assert admin.get("/v1/reports/weather").status_code == 404


def test_only_staff_reads_reports(admin):  # I33
    for path in ("/v1/reports/revenue", "/v1/reports/definitions", "/payments/analytics"):
        assert admin.as_user("user_123").get(path).status_code == 403
        assert admin.as_nobody().get(path).status_code == 401
        assert admin.as_user("rosa", role="support").get(path).status_code == 200


def test_payment_analytics_speaks_the_documents_words(admin, refunding):  # S3.11 S3.12
    day = refunding.env.now().date()
    query = f"startDate={day - timedelta(days=1)}&endDate={day}&groupBy=month&currency=USD"
    body = admin.get(f"/payments/analytics?{query}").json()
    assert (body["totalPayments"], body["successfulPayments"], body["failedPayments"]) == (1, 1, 0)
    assert (body["totalVolume"], body["currency"], body["successRate"]) == (9.99, "USD", 100.0)
    assert body["data"][0]["period"] == day.replace(day=1).isoformat()


def test_payment_stats_tell_dollars_at_stored_rates(admin, refunding):  # S2.17 C24
    from paydesk import HTG, USD
    from paydesk.flows import checkout, rates
    from paydesk.flows.checkout import StartCheckout

    desk = refunding.desk
    customer = desk.make.user("user_123")
    rates.enter(desk.env, "usd", "htg", "130", by="rosa@example.com")
    view = checkout.start(desk.env, StartCheckout(customer_id=customer.uuid, amount=HTG("1300")))
    desk.pay(view)
    desk.deliver(view)
    body = admin.get("/api/credits/payment-stats?user_id=user_123").json()
    assert body["total_spent"] == {"usd": 9.99, "htg": 1300.0}
    assert body["total_spent_usd"] == 19.99
    assert USD(str(body["total_spent_usd"])).minor == 1999
