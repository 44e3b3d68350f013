"""Holds: where released credits go, as a pure decision."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paydesk.errors import InvalidRequest
from paydesk.rules import holds
from paydesk.rules.holds import Part, Taken

NOW = datetime(2026, 1, 14, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=1)


def taken(batch: str, amount: int, owed: int = 0, expires_at: datetime | None = LATER) -> Taken:
    return Taken(batch_id=batch, amount=amount, owed=owed, expires_at=expires_at)


def test_the_batch_taken_from_last_is_given_back_first():  # I15
    found = holds.release([taken("old", 30), taken("new", 20)], 25, NOW)
    assert found == [Part(batch_id="new", back=20), Part(batch_id="old", back=5)]


def test_what_a_batch_owes_is_repaid_and_what_has_ended_lapses():  # I8 I17
    batches = [taken("ended", 30, expires_at=NOW), taken("owes", 20, owed=8)]
    assert holds.release(batches, 50, NOW) == [
        Part(batch_id="owes", repaid=8, back=12), Part(batch_id="ended", lapsed=30),
    ]  # fmt: skip
    assert holds.release([taken("both", 10, 4, NOW)], 10, NOW) == [
        Part(batch_id="both", repaid=4, lapsed=6)
    ]


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 60), st.booleans()), min_size=1,
                max_size=6), st.data())  # fmt: skip
def test_a_release_conserves_credits(rows, data):  # I15
    batches = [
        taken(str(i), amount, owed, NOW if ended else LATER)
        for i, (amount, owed, ended) in enumerate(rows)
    ]
    total = sum(one.amount for one in batches)
    amount = data.draw(st.integers(1, total))
    parts = holds.release(batches, amount, NOW)
    assert sum(p.back + p.repaid + p.lapsed for p in parts) == amount
    by_id = {one.batch_id: one for one in batches}
    for part in parts:
        one = by_id[part.batch_id]
        assert 0 < part.back + part.repaid + part.lapsed <= one.amount
        assert part.repaid <= one.owed and not (part.back and part.lapsed)


def test_a_capture_is_a_whole_number_within_the_hold():
    assert [holds.captured(50, wanted) for wanted in (None, 0, 37, 50)] == [50, 0, 37, 50]
    for wrong in (51, -1, True, 1.5, "3"):
        with pytest.raises(InvalidRequest):
            holds.captured(50, wrong)
