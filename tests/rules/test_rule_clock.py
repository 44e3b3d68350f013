"""The one clock: it follows the database's, not the machine's; the tests' clock stands."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from paydesk.clock import FixedClock, SystemClock


def test_the_system_clock_is_aware_and_near_the_machines():
    now = SystemClock().now()
    assert now.tzinfo is UTC
    assert abs(now - datetime.now(UTC)) < timedelta(seconds=5)


@pytest.mark.parametrize("minutes", [-5, 5])
def test_the_system_clock_takes_over_the_databases_time(minutes):  # I25
    clock = SystemClock()
    clock.measure(lambda: datetime.now(UTC) + timedelta(minutes=minutes))
    away = clock.now() - datetime.now(UTC)
    assert abs(away - timedelta(minutes=minutes)) < timedelta(seconds=5)


def test_the_offset_is_not_measured_again_before_its_time():  # I25
    calls = []

    def there() -> datetime:
        calls.append(1)
        return datetime.now(UTC)

    clock = SystemClock(measure_every_s=60)
    for _ in range(3):
        clock.measure(there)
    assert len(calls) == 1
    eager = SystemClock(measure_every_s=0)
    for _ in range(3):
        eager.measure(there)
    assert len(calls) == 4


def test_a_step_of_the_machines_clock_does_not_move_it(monkeypatch):  # I25
    clock = SystemClock()
    before = clock.now()
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert timedelta(0) <= clock.now() - before < timedelta(seconds=5)


def test_the_fixed_clock_stands_until_it_is_moved():
    clock = FixedClock(datetime(2026, 2, 27, tzinfo=UTC))
    assert clock.now() == clock.now()
    assert clock.advance(days=2, hours=1, minutes=2, seconds=3) == datetime(
        2026, 3, 1, 1, 2, 3, tzinfo=UTC
    )
    clock.set(datetime(2026, 1, 1, tzinfo=UTC))
    assert clock.now() == datetime(2026, 1, 1, tzinfo=UTC)
