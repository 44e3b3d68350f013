"""What a report says it asked of the database: run again by itself, it answers the same."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta

import psycopg
import pytest
from billing import DECLINES, Billing
from http_support import Client
from psycopg.rows import dict_row

from paydesk import Paydesk, crash
from paydesk.flows import figure_reports, rates, rollups
from paydesk.flows import subscription_changes as changes
from paydesk.http.app import create_app
from paydesk.rules.figure_names import REPORTS
from paydesk.rules.money import HTG, USD


@pytest.fixture
def billing(env, sim, make, clock, refunding):
    """Purchases, a refund, subscriptions in two currencies, someone who left, a trial; and days
    that are counted already."""
    desk = Billing(env, sim, make, clock)
    refunding.refund(refunding.bought(), force=True)
    desk.plan("pro", price=None, prices=[USD("20.00"), HTG("2600.00")])
    desk.plan("tried", price=USD("9.00"), trial_days=2, trial_needs_method=False)
    rates.enter(desk.env, "usd", "htg", "130", by="rosa")
    desk.subscribe(desk.user(), "pro")
    desk.subscribe(desk.user(), "pro", currency="htg")
    desk.subscribe(desk.user(DECLINES), "tried")
    gone = desk.user()
    left = desk.subscribe(gone, "pro")
    desk.clock.advance(days=40)
    rollups.compute(desk.env)
    changes.cancel(desk.env, gone.uuid, left.id, at="now")
    yield desk
    crash.disarm()


class Again:
    """Answers each question with what the statement that was told for it says, run as it is."""

    def __init__(self, conn, statements):
        self.conn, self.left = conn, [one.text for one in statements]

    def all(self, query, params=None):
        return self.conn.execute(self.left.pop(0)).fetchall()

    def one(self, query, params=None):
        rows = self.all(query)
        return rows[0] if rows else None

    def value(self, query, params=None):
        row = self.one(query)
        return next(iter(row.values())) if row else None


def test_the_told_sql_gives_every_reports_figures(billing, database, monkeypatch):  # S4.39
    asked = {"start": billing.env.now() - timedelta(days=60), "end": billing.env.now()}
    for kind in REPORTS:
        for zone in ("UTC", "Asia/Kathmandu"):
            found = figure_reports.report(billing.env, kind, time_zone=zone, **asked)
            assert found.statements
            with psycopg.connect(database.admin_dsn, row_factory=dict_row) as conn:
                again = Again(conn, found.statements)

                @contextmanager
                def snapshot(again=again):
                    yield again

                with monkeypatch.context() as patched:
                    patched.setattr(billing.env.db, "snapshot", snapshot)
                    same = figure_reports.report(billing.env, kind, time_zone=zone, **asked)
            assert (same.rows, same.totals, same.total) == (
                found.rows, found.totals, found.total), (kind, zone)  # fmt: skip
            assert again.left == []


def test_the_told_sql_adds_up_to_the_figure(billing, database):  # S4.39
    found = figure_reports.report(billing.env, "mrr", last="3mo", where={"currency": "usd"})
    [text] = [one.text for one in found.statements if "subscription_history" in one.text]
    cohorts = figure_reports.report(billing.env, "cohorts", last="3mo", where={"currency": "usd"})
    [kept] = [one.text for one in cohorts.statements if "subscription_history" in one.text]
    with psycopg.connect(database.admin_dsn, row_factory=dict_row) as conn:
        closing = sum(row["minor"] for row in conn.execute(text))
        left = sum(row["minor"] for row in conn.execute(kept))
    [total], [other] = found.totals, cohorts.totals
    assert closing == total["mrr_closing"] == left == other["mrr_kept"] > 0


def test_the_sql_is_told_everywhere(billing, paydesk):
    with Client(create_app(billing.env)) as client:
        admin = client.as_key()
        plain = admin.get("/v1/reports/cohorts?by=month&currency=usd").json()
        body = admin.get("/v1/reports/cohorts?by=month&currency=usd&explain=1").json()
    assert "statements" not in plain
    assert any("b.movement = 'new'" in one for one in body["statements"])
    with Paydesk(env=billing.env, background=False) as pay:
        told = pay.analytics.mrr(currency="usd").explain()
    assert "mrr_opening + mrr_net" in told and "from subscription_history h" in told
    assert "'usd'" in told and "%(" not in told
    code, out, _ = paydesk("report", "revenue", "--last", "7d", "--explain")
    assert code == 0 and "gross - refunds - disputes - fees." in out and "from transfers t" in out
