"""The rule of refills: never above a limit, never two at once, never with enough."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paydesk.rules.refills import (
    PAUSES,
    REASONS,
    Facts,
    Limits,
    Used,
    after_failure,
    day_start,
    decide,
    month_start,
    next_day,
    next_month,
)

INSTANTS = st.integers(0, 500_000_000).map(
    lambda seconds: datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
)
SMALL = st.integers(0, 8)
MONEY = st.one_of(st.none(), st.integers(1, 5_000))
NOW = datetime(2027, 1, 31, 12, tzinfo=UTC)


def facts(**more):
    told = {"is_active": True, "is_under_way": False, "balance": 0, "threshold": 10}
    return Facts(**{**told, **more})


# S3.21
@given(
    facts=st.builds(
        Facts, is_active=st.booleans(), is_under_way=st.booleans(), balance=SMALL,
        threshold=st.integers(1, 8), price_minor=st.one_of(st.none(), st.integers(1, 2_000)),
        retry_at=st.one_of(st.none(), INSTANTS),
    ),
    limits=st.builds(
        Limits, day_count=st.integers(1, 8), month_count=st.integers(1, 8), day_minor=MONEY,
        month_minor=MONEY,
    ),
    used=st.builds(Used, day_count=SMALL, month_count=SMALL, day_minor=st.integers(0, 5_000),
                   month_minor=st.integers(0, 5_000)),
    now=INSTANTS,
)  # fmt: skip
def test_what_is_charged_stays_within_every_limit(facts, limits, used, now):
    found = decide(facts, limits, used, now)
    price = facts.price_minor or 0
    within = (
        used.day_count + 1 <= limits.day_count and used.month_count + 1 <= limits.month_count
        and (limits.day_minor is None or used.day_minor + price <= limits.day_minor)
        and (limits.month_minor is None or used.month_minor + price <= limits.month_minor)
    )  # fmt: skip
    wanted = (
        facts.is_active and not facts.is_under_way and facts.balance < facts.threshold
        and (facts.retry_at is None or facts.retry_at <= now)
    )  # fmt: skip
    assert (found.what == "charge") == (within and wanted)
    assert (found.until is not None) == (found.what == "wait")
    if found.until is not None:
        assert found.until > now


@given(price=st.integers(1, 700), day=st.integers(1, 2_000), month=st.integers(1, 6_000),
       most=st.integers(1, 6), steps=st.lists(st.integers(0, 90), max_size=60))  # fmt: skip
def test_a_life_of_refills_never_passes_its_limits(price, day, month, most, steps):
    limits = Limits(day_count=most, month_count=most * 4, day_minor=day, month_minor=month)
    now, paid = NOW, []
    for hours in steps:
        now += timedelta(hours=hours)
        today = [p for p in paid if p >= day_start(now)]
        this_month = [p for p in paid if p >= month_start(now)]
        used = Used(day_count=len(today), month_count=len(this_month),
                    day_minor=len(today) * price, month_minor=len(this_month) * price)  # fmt: skip
        if decide(facts(price_minor=price), limits, used, now).what == "charge":
            paid.append(now)
    for start, count, minor, end in [
        (day_start, limits.day_count, day, next_day),
        (month_start, limits.month_count, month, next_month),
    ]:
        for one in paid:
            inside = [p for p in paid if start(one) <= p < end(one)]
            assert len(inside) <= count and len(inside) * price <= minor


@given(INSTANTS)
def test_days_and_months_follow_upon_each_other(at):
    assert day_start(at) <= at < next_day(at) == day_start(next_day(at))
    assert month_start(at) <= at < next_month(at) == month_start(next_month(at))
    assert next_month(at) - month_start(at) <= timedelta(days=31)


@pytest.mark.parametrize(
    ("code", "failures", "reason"),
    [("expired_card", 1, "payment_method"), ("payment_method_not_usable", 1, "payment_method"),
     ("stop_payment_order", 1, "stopped"), ("insufficient_funds", 3, "failures"),
     ("insufficient_funds", 2, None), (None, 1, None)],
)  # fmt: skip
def test_what_a_decline_means(code, failures, reason):
    found = after_failure(code, failures, 3, NOW)
    assert found.reason == reason and (reason is None or reason in REASONS)
    assert found.retry_at == (NOW + PAUSES[failures - 1] if reason is None else None)
