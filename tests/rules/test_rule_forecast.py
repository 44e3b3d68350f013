"""Forecasts: last season moved by the trend, whole numbers, and a range from past errors."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from paydesk.rules.forecast import LEAST, SEASONS, Expected, forecast

AMOUNTS = st.lists(st.integers(-(10**12), 10**12), max_size=60)


def test_a_season_that_repeats_is_expected_again_without_a_range_around_it():  # S3.22
    week = [100, 200, 300, 400, 500, 600, 700]
    made = forecast(week * 60, 7, 9)
    assert [one.expected for one in made] == [*week, 100, 200]
    assert all(one.low == one.expected == one.high for one in made)


def test_growth_from_season_to_season_goes_on():
    first, second = [100] * 12, [160] * 12
    made = forecast(first + second, 12, 24)
    assert [one.expected for one in made] == [220] * 12 + [280] * 12


def test_less_than_two_seasons_is_their_mean_and_less_than_three_periods_nothing():
    assert forecast([10, 21], 12, 3) == []
    assert forecast([10, 20, 31], 12, 1) == [Expected(20, None, None)]
    assert forecast([0, 0, 0, 10, 20], 12, 1) == []  # Before the first sale there is no history.


def test_the_range_widens_by_the_root_of_the_steps():
    made = forecast([100, 120, 80, 130, 70, 125, 90, 110], 12, 4)
    widths = [one.high - one.expected for one in made]
    assert widths[3] == 2 * widths[0] > 0 and widths == sorted(widths)
    assert [one.expected - one.low for one in made] == widths


def test_halves_are_rounded_upwards():
    assert forecast([1, 1, 2, 2], 12, 1)[0].expected == 2
    assert forecast([-1, -1, -2, -2], 12, 1)[0].expected == -1


@given(AMOUNTS, st.sampled_from(sorted(SEASONS.values())), st.integers(1, 30))
def test_any_history_gives_whole_ordered_numbers_and_the_same_again(history, season, steps):
    made = forecast(history, season, steps)
    assert made == forecast(list(history), season, steps)
    assert len(made) in (0, steps)
    begun = next((n for n, v in enumerate(history) if v), len(history))
    assert bool(made) == (len(history) - begun >= LEAST)
    for one in made:
        assert type(one.expected) is int
        assert one.low is None or one.low <= one.expected <= one.high


@given(AMOUNTS, st.integers(1, 10))
def test_a_forecast_scales_with_what_it_is_of(history, steps):
    """Twice the revenue of every period is twice the forecast, but for the rounding."""
    once = forecast(history, 7, steps)
    twice = forecast([2 * v for v in history], 7, steps)
    assert all(abs(b.expected - 2 * a.expected) <= 2 for a, b in zip(once, twice, strict=True))
