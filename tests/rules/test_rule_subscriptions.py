"""Subscriptions: one table of transitions, and what is due next."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paydesk.errors import InvalidTransition
from paydesk.rules import periods, subscriptions
from paydesk.rules.subscriptions import ENDED, LIVE, TRANSITIONS, Due, Schedule, due_at

ANCHOR = datetime(2026, 1, 31, 12, tzinfo=UTC)
EVENTS = sorted({event for events in TRANSITIONS.values() for event in events})


def running(state: str = "active", **facts) -> Schedule:
    end = periods.boundary(ANCHOR, facts.get("unit", "month"), 1, 1)
    known = {"state": state, "anchor": ANCHOR, "unit": "month", "period_end": end}
    return Schedule(**known | facts)


def days(number: float) -> datetime:
    return ANCHOR + timedelta(days=number)


def schema() -> str:
    found = Path(subscriptions.__file__).parent.parent / "db" / "migrations" / "0015_billing.sql"
    return found.read_text(encoding="utf-8")


def test_the_states_are_those_of_the_schema():
    """S1.43"""
    checked = re.search(r"check \(state in \(('incomplete'.*?)\)\)", schema(), re.DOTALL)
    assert set(re.findall(r"'(\w+)'", checked.group(1))) == set(TRANSITIONS)
    live = re.search(r"subscriptions_live.*?state in \((.*?)\)", schema(), re.DOTALL)
    assert set(re.findall(r"'(\w+)'", live.group(1))) == LIVE
    assert LIVE | ENDED | {"incomplete"} == set(TRANSITIONS) and not LIVE & ENDED


# S1.43!
def test_every_state_leads_to_states_and_is_reached():
    """S1.43: no event leads nowhere, and no state stands apart."""
    reached = {after for events in TRANSITIONS.values() for after in events.values()}
    assert reached | {"incomplete"} == set(TRANSITIONS)
    seen, todo = set(), ["incomplete"]
    while todo:
        state = todo.pop()
        if state not in seen:
            seen.add(state)
            todo += TRANSITIONS[state].values()
    assert seen == set(TRANSITIONS)


@pytest.mark.parametrize(
    ("events", "end"),
    [
        (["paid", "paid", "paid", "canceled"], "canceled"),
        (["trial_started", "paid"], "active"),
        (["trial_started", "payment_failed", "paid"], "active"),
        (["trial_started", "lapsed"], "expired"),
        (["payment_failed", "payment_failed", "lapsed"], "expired"),
        (["lapsed", "paid"], "active"),
        (["paid", "payment_failed", "payment_failed", "gave_up", "paid"], "active"),
        (["paid", "payment_failed", "gave_up", "canceled"], "canceled"),
        (["paid", "payment_failed", "downgraded"], "active"),
        (["paid", "paused", "paid", "payment_failed", "resumed"], "active"),
        (["trial_started", "paused", "canceled"], "canceled"),
    ],
)
def test_a_life_goes_from_state_to_state(events, end):
    """S1.43 S1.58: renewals, trials, dunning, pauses."""
    state = "incomplete"
    for event in events:
        state = subscriptions.move(state, event)
    assert state == end


def test_what_the_table_does_not_name_is_refused_with_state_and_event():
    with pytest.raises(InvalidTransition) as refused:
        subscriptions.move("canceled", "paid")
    assert (refused.value.state, refused.value.event) == ("canceled", "paid")
    assert refused.value.http_status == 409
    with pytest.raises(InvalidTransition):
        subscriptions.move("nowhere", "paid")


@given(st.sampled_from(sorted(TRANSITIONS)), st.sampled_from(EVENTS))
def test_may_says_what_move_does(state, event):
    if subscriptions.may(state, event):
        assert subscriptions.move(state, event) in TRANSITIONS
    else:
        with pytest.raises(InvalidTransition):
            subscriptions.move(state, event)


@given(st.lists(st.sampled_from(EVENTS), max_size=30))
def test_who_was_canceled_never_lives_again(events):
    """And money that comes always leads to what was paid for, or leaves things as they are."""
    state = "incomplete"
    for event in events:
        if not subscriptions.may(state, event):
            continue
        after = subscriptions.move(state, event)
        assert state != "canceled"
        if event == "paid":
            assert after in ("active", "paused")
        if event == "payment_failed":
            assert after not in ENDED | {"active", "trialing"}
        state = after


def test_stripes_words_are_all_known():
    """S1.20: as in Stripe's description of a subscription's status."""
    assert set(subscriptions.STATE_OF_STRIPE.values()) == set(TRANSITIONS)
    assert subscriptions.STATE_OF_STRIPE["incomplete_expired"] == "expired"


def test_an_active_one_renews_at_the_end_of_its_period():
    """I23"""
    assert due_at(running()) == Due(datetime(2026, 2, 28, 12, tzinfo=UTC), "renew")
    assert due_at(running("past_due")).what == "renew"


def test_a_cancellation_at_the_period_end_takes_the_place_of_the_renewal():
    """S1.28: nothing is billed for what does not come."""
    end = running().period_end
    assert due_at(running(cancel_at=end)) == Due(end, "cancel")
    assert due_at(running(cancel_at=days(3))) == Due(days(3), "cancel")
    # A notice of 90 days lets periods begin until then.
    assert due_at(running(cancel_at=days(90))) == Due(end, "renew")


def test_a_trial_is_announced_three_days_before_its_end():
    """S1.55"""
    trial = running("trialing", trial_end=days(14), period_end=days(14))
    assert due_at(trial) == Due(days(11), "trial_notice")
    told = replace(trial, notice_told=True)
    assert due_at(told) == Due(days(14), "trial_end")
    # One of two days is announced at once; its end does not wait for that.
    short = running("trialing", trial_end=days(2), period_end=days(2))
    assert due_at(short) == Due(days(-1), "trial_notice")
    assert due_at(replace(told, cancel_at=days(14))) == Due(days(14), "cancel")
    assert due_at(replace(trial, cancel_at=days(5))) == Due(days(5), "cancel")


def test_a_paused_one_is_resumed_or_canceled_and_does_not_renew():
    assert due_at(running("paused")) is None
    assert due_at(running("paused", resume_at=days(40))) == Due(days(40), "resume")
    assert due_at(running("paused", resume_at=days(40), cancel_at=days(30))).what == "cancel"


def test_an_unpaid_one_waits_for_money_alone():
    """S1.58"""
    assert due_at(running("unpaid")) is None
    assert due_at(running("unpaid", cancel_at=days(9))) == Due(days(9), "cancel")


def test_an_incomplete_one_lapses():
    assert due_at(running("incomplete", lapse_at=days(1))) == Due(days(1), "lapse")
    assert due_at(running("incomplete")) is None


@pytest.mark.parametrize("state", sorted(ENDED))
def test_nothing_is_due_after_the_end(state):
    facts = {"cancel_at": days(1), "resume_at": days(1), "lapse_at": days(1), "credits": 9}
    assert due_at(running(state, **facts)) is None


@pytest.mark.parametrize("state", sorted(TRANSITIONS))
def test_what_a_provider_runs_is_its_own_business(state):
    """S1.16: in the mode that Stripe bills."""
    assert due_at(running(state, runner="provider", cancel_at=days(1))) is None


def test_a_years_credits_come_each_month_and_the_renewal_after_the_last():
    """S4.25 C21: on the anchor's day; eleven after the first, then the next year."""
    year = running(unit="year", credits=100)
    months = []
    for given_ in range(11):
        found = due_at(replace(year, credits_month=given_))
        assert found.what == "credits"
        months.append(found.at.strftime("%m-%d"))
    assert months == ["02-28", "03-31", "04-30", "05-31", "06-30", "07-31", "08-31", "09-30",
                      "10-31", "11-30", "12-31"]  # fmt: skip
    assert due_at(replace(year, credits_month=11)) == Due(year.period_end, "renew")
    assert due_at(replace(year, credits=0)).what == "renew"
    assert due_at(running(credits=100)).what == "renew"


def test_who_owes_gets_no_credits_until_he_pays():
    """S4.25: they are late then, and come at once."""
    owing = running("past_due", unit="year", credits=100)
    assert due_at(owing).what == "renew"
    assert due_at(replace(owing, state="active")).at < owing.period_end


@settings(deadline=None)
@given(
    st.sampled_from(sorted(TRANSITIONS)),
    st.sampled_from(periods.UNITS),
    st.integers(0, 30),
    st.fixed_dictionaries(
        {},
        optional={
            name: st.integers(-5, 60).map(days)
            for name in ("trial_end", "cancel_at", "resume_at", "lapse_at")
        },
    ),
)
def test_what_is_due_is_the_earliest_of_what_is_set(state, unit, period, facts):
    """No instant that is due earlier is passed over."""
    start, end = periods.period(ANCHOR, unit, 1, period)
    of = Schedule(state=state, anchor=ANCHOR, unit=unit, period=period, period_end=end,
                  credits=5, **facts)  # fmt: skip
    found = due_at(of)
    if found is None:
        assert state in ENDED | {"incomplete", "paused", "unpaid"}
        return
    assert found.what in subscriptions.DUE
    if of.cancel_at is not None and state != "incomplete":
        assert found.at <= of.cancel_at
    if state in ("active", "past_due"):
        assert found.at <= end
        if found.what == "credits":
            assert start < found.at < end
