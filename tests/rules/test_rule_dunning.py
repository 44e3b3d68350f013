"""Dunning: retries on the days of the schedule, declines that are obeyed, one final action."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paydesk.errors import InvalidRequest
from paydesk.rules import dunning
from paydesk.rules.dunning import ACTIONS, Final, Retry, Schedule, WaitForMethod, next_step

FIRST = datetime(2026, 3, 6, 9, tzinfo=UTC)
SCHEDULES = st.builds(
    Schedule,
    st.sets(st.integers(1, dunning.MOST_DAYS), max_size=dunning.MOST_RETRIES).map(
        lambda days: tuple(sorted(days))
    ),
    st.sampled_from(["cancel", "unpaid"]),
)


def day(number: float) -> datetime:
    return FIRST + timedelta(days=number)


# S1.58!
def test_the_default_tries_again_on_days_1_3_5_7_and_cancels():
    """I26 S1.58"""
    schedule, now, found = dunning.read({}), FIRST, []
    for attempts in range(1, 6):
        step = next_step(schedule, FIRST, attempts, "insufficient_funds", now)
        found.append(step)
        now = step.at if isinstance(step, Retry) else now
    assert found == [Retry(day(1), 3), Retry(day(3), 2), Retry(day(5), 1), Retry(day(7), 0),
                     Final("cancel")]  # fmt: skip


def test_a_desk_that_stood_still_makes_every_try_and_none_in_a_rush():
    """I26: after 90 days the spacing goes on from there, and after a try that was a day late."""
    assert next_step(Schedule(), FIRST, 2, None, day(2.9)) == Retry(day(4.9), 2)
    schedule, now, found = Schedule(), day(90), []
    for attempts in range(2, 6):
        step = next_step(schedule, FIRST, attempts, "do_not_honor", now)
        if isinstance(step, Retry):
            found.append(step.at - now)
            now = step.at
    assert found == [timedelta(days=2)] * 3 and isinstance(step, Final)


def test_a_code_that_wants_another_card_is_not_charged_again():
    """I26: until a new method comes, or the schedule ends."""
    for code in ("lost_card", "stolen_card", "expired_card", "authentication_required"):
        assert next_step(Schedule(), FIRST, 1, code, FIRST) == WaitForMethod(day(7))
    # The retry of day 3 was answered with it.
    assert next_step(Schedule(), FIRST, 3, "pickup_card", day(3)) == WaitForMethod(day(7))
    assert next_step(Schedule(), FIRST, 2, "lost_card", day(30)) == WaitForMethod(day(30))


def test_a_holder_who_forbade_it_is_asked_no_more():
    """I26: the final action at once."""
    for code in ("revocation_of_authorization", "stop_payment_order"):
        assert next_step(Schedule((1, 3), "unpaid"), FIRST, 1, code, FIRST) == Final("unpaid")


def test_the_networks_advice_is_obeyed_beside_the_code():
    """I26: the sterner of the two."""
    for codes, action in ((("do_not_honor", "do_not_try_again"), "new_method"),
                          (("lost_card", "try_again_later"), "new_method"),
                          (("stop_payment_order", "do_not_try_again"), "stop"),
                          ((None, None), "retry")):  # fmt: skip
        assert dunning.action_of(dunning.sterner(*codes)) == action
    assert dunning.action_of("what_is_this") == "retry"
    code = dunning.sterner("do_not_honor", "do_not_try_again")
    assert isinstance(next_step(Schedule(), FIRST, 1, code, FIRST), WaitForMethod)


#: What Stripe does not charge again without a new method, whatever the schedule says.
#: https://docs.stripe.com/billing/revenue-recovery/smart-retries
HARD = ("incorrect_number lost_card pickup_card stolen_card revocation_of_authorization "
        "revocation_of_all_authorizations authentication_required highest_risk_level "
        "transaction_not_allowed").split()  # fmt: skip
#: The codes of https://docs.stripe.com/declines/codes.
DOCUMENTED = """
authentication_not_handled authentication_required approve_with_id call_issuer card_not_supported
card_velocity_exceeded currency_not_supported do_not_honor do_not_try_again duplicate_transaction
expired_card fraudulent generic_decline incorrect_number incorrect_cvc incorrect_pin incorrect_zip
insufficient_funds invalid_account invalid_amount invalid_cvc invalid_expiry_month
invalid_expiry_year invalid_number invalid_pin issuer_not_available lost_card merchant_blacklist
new_account_information_available no_action_taken not_permitted offline_pin_required
online_or_offline_pin_required pickup_card pin_try_exceeded processing_error reenter_transaction
restricted_card revocation_of_all_authorizations revocation_of_authorization security_violation
service_not_allowed stolen_card stop_payment_order testmode_decline transaction_not_allowed
try_again_later withdrawal_count_limit_exceeded
""".split()


def test_every_documented_code_has_its_action():
    """I26"""
    assert [code for code in DOCUMENTED if code not in ACTIONS] == []
    assert [code for code in HARD if ACTIONS[code] == "retry"] == []
    # Every code that the simulator declines with is known.
    from paydesk.simulator.cards import DECLINES

    known = {(d.decline_code or d.code) for d in DECLINES.values()}
    assert known <= set(ACTIONS), known - set(ACTIONS)


def test_no_days_mean_that_the_first_failure_is_the_last():
    schedule = dunning.read({"days": [], "final": "downgrade", "downgrade_to": "free"})
    assert next_step(schedule, FIRST, 1, None, FIRST) == Final("downgrade", "free")
    assert next_step(schedule, FIRST, 1, "lost_card", FIRST) == Final("downgrade", "free")


@given(SCHEDULES, st.lists(st.tuples(st.integers(0, 200), st.sampled_from(sorted(ACTIONS))),
                           min_size=20, max_size=20))  # fmt: skip
def test_attempts_are_as_many_as_the_schedule_says_and_never_closer(schedule, runs):
    """I26: whatever the delays and the codes, it ends, and no two tries come in a rush."""
    now, attempts, tries = FIRST, 1, [FIRST]
    for late, code in runs:
        step = next_step(schedule, FIRST, attempts, code, now)
        if isinstance(step, Final):
            assert step.action == schedule.final
            break
        if isinstance(step, WaitForMethod):
            assert ACTIONS[code] == "new_method" and step.final_at >= now
            break
        assert step.at > now and step.left == len(schedule.days) - attempts
        assert ACTIONS[code] == "retry"
        now = step.at + timedelta(hours=late)
        attempts += 1
        tries.append(now)
    assert attempts <= len(schedule.days) + 1
    gaps = [b - a for a, b in pairwise((0, *schedule.days))]
    for gap, (earlier, later) in zip(gaps, pairwise(tries), strict=False):
        assert later - earlier >= timedelta(days=gap)


def test_money_that_comes_ends_it():
    """I26: nothing is asked for what did not fail."""
    with pytest.raises(ValueError, match="failure"):
        next_step(Schedule(), FIRST, 0, None, FIRST)


@given(SCHEDULES)
def test_a_schedule_is_read_back_as_it_was_written(schedule):
    assert dunning.read(dunning.to_json(schedule)) == schedule


def test_the_schema_and_the_code_have_the_same_default():
    import json
    import re
    from pathlib import Path

    found = Path(dunning.__file__).parent.parent / "db" / "migrations" / "0015_billing.sql"
    text = re.search(r"dunning jsonb not null default '(.*?)'", found.read_text()).group(1)
    assert dunning.read(json.loads(text)) == Schedule()


@pytest.mark.parametrize(
    ("data", "word"),
    [
        ({"days": [3, 1]}, "later than the one before"),
        ({"days": [0, 1]}, "from 1 on"),
        ({"days": [1, 1]}, "later than the one before"),
        ({"days": [1, 91]}, "90 days"),
        ({"days": list(range(1, 14))}, "12 times"),
        ({"days": "1,3"}, "a list of whole days"),
        ({"days": [1.5]}, "a list of whole days"),
        ({"days": [True]}, "a list of whole days"),
        ({"days": None}, "a list of whole days"),
        ({"final": "sue"}, "cancel, unpaid, downgrade"),
        ({"final": "downgrade"}, "downgrade_to"),
        ({"final": "cancel", "downgrade_to": "free"}, "downgrade_to"),
        ({"final": "downgrade", "downgrade_to": ""}, "a plan's key"),
        ({"day": [1]}, "knows no day"),
    ],
)
def test_what_is_no_schedule_is_refused_with_a_reason(data, word):
    with pytest.raises(InvalidRequest, match=word) as refused:
        dunning.read(data)
    assert refused.value.param == "dunning"
