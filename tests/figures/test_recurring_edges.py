"""Reports on subscriptions as people get them: over HTTP, in the library, on the command line."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from datetime import timedelta
from decimal import Decimal

import pytest
from billing import DECLINES, Billing
from http_support import Client

from paydesk import AsyncPaydesk, Paydesk
from paydesk.errors import InvalidRequest
from paydesk.flows import subscription_changes as changes
from paydesk.http.app import create_app
from paydesk.rules.figure_names import REPORTS
from paydesk.rules.money import HTG, USD

KINDS = ("mrr", "churn", "cohorts", "trials", "subscriptions")


@pytest.fixture
def billing(env, sim, make, clock):
    """Two who pay, one of them in gourdes; one who left; a trial that nobody paid for. At noon of
    the day before yesterday, since the command line has the machine's time."""
    clock.set(clock.now().replace(hour=12) - timedelta(days=2))
    desk = Billing(env, sim, make, clock)
    desk.plan("pro", price=None, prices=[USD("20.00"), HTG("2600.00")], most_quantity=5)
    desk.plan("tried", price=USD("9.00"), trial_days=2, trial_needs_method=False)
    desk.subscribe(desk.user(), "pro", quantity=3)
    desk.subscribe(desk.user(), "pro", currency="htg")
    gone = desk.user()
    left = desk.subscribe(gone, "pro")
    desk.subscribe(desk.user(DECLINES), "tried")
    clock.advance(hours=1)
    changes.cancel(env, gone.uuid, left.id, at="now")
    return desk


@pytest.fixture
def admin(billing):
    with Client(create_app(billing.env)) as made:
        yield made.as_key()


@pytest.fixture
def pay(billing):
    with Paydesk(env=billing.env, background=False) as made:
        yield made


# HTTP -------------------------------------------------------------------------------------------


def test_mrr_over_http_is_minor_units_with_its_definitions(admin):  # S4.39 S1.57 S0.33
    body = admin.get("/v1/reports/mrr?last=1d&by=currency&tz=UTC").json()
    rows = {row["currency"]: row for row in body["data"]}
    assert rows["usd"]["mrr_closing"] == 6000 and rows["htg"]["mrr_closing"] == 260000
    said = {column["name"]: column for column in body["columns"]}
    assert list(said) == list(REPORTS["mrr"].figures)
    assert "52 twelfths" in said["mrr_opening"]["definition"]
    assert said["mrr_net"]["unit"] == "money"
    for row in [*body["data"], *body["totals"]]:
        assert row["mrr_closing"] == (
            row["mrr_opening"] + row["mrr_new"] + row["mrr_expansion"] + row["mrr_reactivation"]
            - row["mrr_contraction"] - row["mrr_churned"]
        )  # fmt: skip
    assert body["total"]["mrr_closing_usd"] == 6000 and body["total"]["mrr_unrated"] == 1
    assert "mrr_closing" not in body["total"] and body["behind"] == 0


def test_churn_and_trials_over_http_are_exact_numbers(admin, billing):
    text = admin.get("/v1/reports/churn?last=1d&by=currency&currency=USD").text
    [row] = json.loads(text, parse_float=Decimal)["data"]
    assert (row["customers_new"], row["customers_churned"], row["customers_closing"]) == (2, 1, 1)
    assert row["customer_churn"] is None and row["mrr_churned"] == 2000
    [trial] = admin.get("/v1/reports/trials?by=month,plan&plan=tried").json()["data"]
    assert (trial["trials_started"], trial["trials_running"]) == (1, 1)
    assert trial["plan"] == "tried" and trial["trial_conversion"] is None
    assert admin.get("/v1/reports/trials?plan=pro").json()["data"] == []
    [stand] = admin.get("/v1/reports/subscriptions?plan=pro&currency=htg").json()["data"]
    assert stand == {"plan": "pro", "status": "active", "currency": "htg", "subscriptions": 1,
                     "seats": 1, "mrr": 260000}  # fmt: skip


def test_csv_has_exact_decimals(admin):
    text = admin.get("/v1/reports/mrr?last=1d&by=currency&format=csv&currency=usd").text
    [row] = csv.DictReader(io.StringIO(text, newline=""))
    assert (row["mrr_new"], row["mrr_churned"], row["mrr_closing"]) == ("80.00", "20.00", "60.00")


@pytest.mark.parametrize("query", [
    "mrr?by=hour", "mrr?by=plan", "mrr?method=card", "churn?plan=pro", "trials?currency=usd",
    "subscriptions?by=method", "mrr?last=soon", "mrr?periods=3",
])  # fmt: skip
def test_a_wrong_question_is_refused(admin, query):
    assert admin.get(f"/v1/reports/{query}").status_code == 422


@pytest.mark.parametrize("kind", KINDS)
def test_only_staff_reads_them(admin, kind):  # I33
    path = f"/v1/reports/{kind}"
    assert admin.as_user("user_123").get(path).status_code == 403
    assert admin.as_nobody().get(path).status_code == 401
    assert admin.as_user("rosa", role="support").get(path).status_code == 200


# Library ----------------------------------------------------------------------------------------


def test_the_library_has_them_as_tables(pay):  # S4.39
    frame = pay.analytics.mrr(currency="USD", by="month", money="decimal")
    assert frame.columns[:3] == ("month", "currency", "mrr_opening")
    assert frame[-1]["mrr_closing"] == Decimal("60.00")
    assert "Monthly recurring revenue when the period begins" in frame.explain()
    assert frame.to_csv().startswith("month,currency,mrr_opening")
    assert pay.analytics.churn(last="7d", by="week").total["customers_closing"] == 2
    cohorts = pay.analytics.cohorts(by="month", currency="usd")
    assert cohorts.columns[:4] == ("month", "currency", "age", "cohort_customers")
    assert cohorts[0]["customer_retention"] == Decimal("0.5000")
    assert cohorts.to_csv().count("\r\n") == len(cohorts) + 1
    assert pay.analytics.trials().total["trials_started"] == 1
    by_state = {row["status"]: row["subscriptions"]
                for row in pay.analytics.subscriptions(by="status", currency="usd")}  # fmt: skip
    assert by_state == {"active": 1, "canceled": 1, "trialing": 1}
    with pytest.raises(InvalidRequest):
        pay.analytics.churn(by="hour")


def test_the_asynchronous_library_says_the_same(pay):
    async def ask():
        desk = AsyncPaydesk(env=pay.env, background=False)
        return [await getattr(desk.analytics, kind)() for kind in KINDS]

    told = [frame.rows for frame in asyncio.run(ask())]
    assert told == [getattr(pay.analytics, kind)().rows for kind in KINDS]


# Command line -----------------------------------------------------------------------------------


def test_the_command_line_prints_and_draws_them(billing, paydesk):  # S4.39
    said = {}
    for kind in KINDS:
        code, out, _ = paydesk("report", kind, "--last", "4d", "--by", "week", "-o", "json")
        said[kind] = [json.loads(line) for line in out.splitlines()]
        assert code == 0 and said[kind], kind
        code, out, _ = paydesk("report", kind, "--last", "4d", "--chart")
        assert code == 0 and out.strip(), kind
    closing = {row["currency"]: row["mrr_closing"] for row in said["mrr"]}
    assert closing == {"htg": "2600.00", "usd": "60.00"}
    code, out, _ = paydesk("report", "mrr", "--last", "4d", "--by", "currency", "--chart")
    assert code == 0 and "█" * 40 in out and "2,600.00" in out
    code, out, _ = paydesk("report", "cohorts", "--last", "4mo", "--chart")
    assert code == 0 and "customer_retention  usd" in out and "▒ 50%" in out
    assert "net_revenue_retention  htg" in out and "█100%" in out
    code, out, _ = paydesk("report", "cohorts", "--last", "4mo", "--together", "-o", "csv")
    assert code == 0 and out.startswith("month,age,cohort_customers")
    code, out, _ = paydesk("report", "churn", "--last", "4d", "-o", "table")
    assert code == 0 and "CUSTOMERS CHURNED" in out
    code, out, _ = paydesk("report", "explain", "churn")
    assert code == 0 and "customers_churned / customers_opening" in out
    assert paydesk("report", "mrr", "--by", "plan")[0] == 2
