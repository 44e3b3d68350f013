"""The days' tables: computed once, kept exact, and never what a report depends on."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from paydesk.flows import events, figure_reports, rollups
from paydesk.rules.figure_names import REPORTS


def drained(env) -> None:
    """Publish what is new and bring the days up to date."""
    while events.publish(env):
        pass
    rollups.keep(env)


def computed(desk) -> list:
    return desk.all(
        "select day, sum(payments)::int as n from figure_payments group by 1 order by 1"
    )


def test_a_day_is_computed_when_it_has_ended(refunding):  # S0.33 S3.11
    desk = refunding.desk
    refunding.bought()
    drained(desk.env)
    assert computed(desk) == []
    desk.clock.advance(days=1)
    drained(desk.env)
    assert [row["n"] for row in computed(desk)] == [1]
    assert rollups.keep(desk.env) == 0


def test_a_late_change_is_in_the_report_at_once_and_in_the_day_soon(refunding):
    desk = refunding.desk
    view = refunding.bought()
    desk.clock.advance(days=2)
    drained(desk.env)
    refunding.refund(view)
    for _ in range(2):
        found = figure_reports.report(desk.env, "payments", by="status")
        assert [(row["status"], row["given_back"]) for row in found.rows] == [("refunded", 999)]
        assert found.behind == 0
        drained(desk.env)
    rows = desk.all("select state, refunded::int from figure_payments")
    assert [(row["state"], row["refunded"]) for row in rows] == [("refunded", 999)]
    today = desk.clock.now().date()
    assert desk.all("select day from figure_dirty where day < %(today)s", today=today) == []


def test_another_time_zone_is_counted_from_raw_rows_and_a_new_setting_begins_anew(refunding):
    desk = refunding.desk
    refunding.bought()
    desk.clock.advance(days=3)
    drained(desk.env)
    one = figure_reports.report(desk.env, "payments", by="method", time_zone="Asia/Kathmandu")
    assert one.total["succeeded"] == 1
    moved = replace(desk.env, settings=replace(desk.env.settings, time_zone="Asia/Kathmandu"))
    drained(moved)
    assert desk.all("select time_zone from figure_state") == [{"time_zone": "Asia/Kathmandu"}]
    assert figure_reports.report(moved, "payments").total["succeeded"] == 1


def test_a_rebuild_says_the_same(refunding):
    desk = refunding.desk
    for _ in range(2):
        refunding.bought()
        desk.clock.advance(days=1)
    drained(desk.env)
    before, days = computed(desk), []
    assert rollups.rebuild(desk.env, lambda day, left: days.append((day, left))) == 2
    assert computed(desk) == before
    assert [left for _, left in days] == [1, 0]


@pytest.mark.parametrize("kind", sorted(REPORTS))
def test_every_report_answers_for_every_grouping_of_an_empty_desk(env, kind):
    for name in REPORTS[kind].dimensions:
        found = figure_reports.report(env, kind, by=name)
        assert found.rows == [] and found.csv().count("\r\n") == 1
        assert set(found.columns) <= set(found.explain().split())


def test_days_of_other_customers_are_left_alone(refunding):
    """A change marks only the days that it touched."""
    desk = refunding.desk
    first = refunding.bought()
    desk.clock.advance(days=1)
    refunding.bought()
    desk.clock.advance(days=1)
    drained(desk.env)
    refunding.refund(first, force=True)
    while events.publish(desk.env):
        pass
    rollups.mark(desk.env)
    day = (desk.clock.now() - timedelta(days=2)).date()
    marked = {row["day"] for row in desk.all("select day from figure_dirty")}
    assert day in marked and day + timedelta(days=1) not in marked
