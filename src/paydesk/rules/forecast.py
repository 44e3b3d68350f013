"""The forecast of a series: last season again, moved by the trend, with the range of past errors.

Whole numbers in, whole numbers out: the same history always says the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt

#: Periods that make a season: a week of days, a year of weeks, a year of months.
SEASONS = {"day": 7, "week": 52, "month": 12}
#: With fewer periods nothing is said.
LEAST = 3
#: With fewer past forecasts to judge by, no range is said.
LEAST_ERRORS = 4


@dataclass(frozen=True, slots=True)
class Expected:
    """A period to come. `low` and `high` are None where too little is known for a range."""

    expected: int
    low: int | None
    high: int | None


def forecast(history: Sequence[int], season: int, steps: int) -> list[Expected]:
    """The next `steps` periods after a history of whole ones, oldest first; [] of too short a one.

    With two seasons or more: the same period one season before, plus the mean change between the
    last two seasons for each season that lies between. With less: the mean of the last season's
    periods, or of as many as there are. The range is what four fifths of the same forecasts, made
    one period ahead at each past period, stayed within; it widens by the root of the steps.
    """
    known = _begun(history)
    if len(known) < LEAST:
        return []
    errors = sorted(
        abs(known[n] - _ahead(known[:n], season, 1)) for n in range(LEAST, len(known))
    )
    made = []
    for step in range(1, steps + 1):
        expected = _ahead(known, season, step)
        if len(errors) < LEAST_ERRORS:
            made.append(Expected(expected, None, None))
            continue
        width = isqrt(errors[-(-4 * len(errors) // 5) - 1] ** 2 * step)
        made.append(Expected(expected, expected - width, expected + width))
    return made


def _begun(history: Sequence[int]) -> Sequence[int]:
    """Without the empty periods before the first one with something in it."""
    first = next((n for n, value in enumerate(history) if value), len(history))
    return history[first:]


def _ahead(known: Sequence[int], season: int, step: int) -> int:
    """The period so many steps after these."""
    if len(known) < 2 * season:
        last = known[-season:]
        return _half_up(sum(last), len(last))
    seasons = -(-step // season)
    trend = _half_up((sum(known[-season:]) - sum(known[-2 * season : -season])) * seasons, season)
    return known[len(known) + step - 1 - seasons * season] + trend


def _half_up(part: int, whole: int) -> int:
    """part / whole, rounded, halves upwards."""
    return (2 * part + whole) // (2 * whole)
