"""`paydesk report`: tables, charts, CSV, JSON lines, and the days' upkeep."""

from __future__ import annotations

import csv
import io
import json

import pytest


@pytest.fixture
def paydesk(refunding, paydesk):
    """`paydesk("report", "revenue")` runs a command; answers (exit code, output, complaints)."""
    refunding.bought()
    refunding.desk.clock.advance(days=1)
    return paydesk


def test_reports_come_as_csv_json_and_table(paydesk):  # S4.39
    code, out, _ = paydesk("report", "revenue", "--last", "7d", "-o", "csv")
    [row] = list(csv.DictReader(io.StringIO(out, newline="")))
    assert (code, row["gross"], row["currency"]) == (0, "9.99", "usd")
    code, out, _ = paydesk("report", "payments", "--last", "7d", "--by", "method", "-o", "json")
    assert json.loads(out)["captured"] == "9.99"
    code, out, _ = paydesk("report", "packs", "--last", "7d", "-o", "table")
    assert code == 0 and "creator" in out and "PRODUCT" in out


def test_a_narrow_table_keeps_what_a_report_is_asked_for(paydesk, monkeypatch):  # S4.39
    monkeypatch.setenv("COLUMNS", "60")
    code, out, err = paydesk("report", "revenue", "--last", "7d", "-o", "table")
    assert code == 0 and "NET" in out and "WITHDRAWN" not in out
    assert "WITHDRAWN" in err and "-o csv" in err
    monkeypatch.setenv("COLUMNS", "400")
    code, out, err = paydesk("report", "revenue", "--last", "7d", "-o", "table")
    assert "100.00%" in out and "WITHDRAWN" in out and not err
    told = json.loads(paydesk("report", "revenue", "--last", "7d", "-o", "json")[1])
    assert told["success_rate"] == "1.0000"


def test_a_chart_draws_a_bar_for_each_row(paydesk):
    code, out, _ = paydesk("report", "revenue", "--last", "7d", "--chart")
    assert code == 0 and "█" * 40 in out and "usd" in out


def test_figures_are_explained_and_days_computed(paydesk, refunding):
    code, out, _ = paydesk("report", "explain", "revenue")
    assert code == 0 and "gross - refunds - disputes - fees." in out
    code, _, err = paydesk("report", "rebuild")
    assert code == 0 and "days and months computed" in err


@pytest.mark.parametrize("wrong", [
    ("revenue", "--by", "moon"), ("revenue", "-o", "xml"), ("revenue", "--tz", "Mars"),
    ("explain", "weather"), ("revenue", "--from", "soon"),
])  # fmt: skip
def test_a_wrong_question_is_wrong_usage(paydesk, wrong):
    assert paydesk("report", *wrong)[0] == 2
