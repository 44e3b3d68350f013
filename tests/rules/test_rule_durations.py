"""Lengths of time as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from paydesk.errors import InvalidRequest
from paydesk.rules.durations import duration


@pytest.mark.parametrize(
    ("text", "found"),
    [("31d", timedelta(days=31)), ("1d12h", timedelta(hours=36)), ("2w", timedelta(14)),
     ("90m", timedelta(minutes=90)), ("1h1m1s", timedelta(seconds=3661)), ("0s", timedelta(0))],
)  # fmt: skip
def test_units_are_added_up(text, found):
    assert duration(text) == found


@pytest.mark.parametrize("text", ["", "d", "31", "1h1d", "1d1d", "-1d", "1.5d", "1 d", "1y", "١d"])
def test_anything_else_is_refused(text):
    with pytest.raises(InvalidRequest):
        duration(text)
