"""Access as a pure function of its records; and months by the calendar."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paydesk.errors import InvalidRequest
from paydesk.rules import access
from paydesk.rules.access import Grant, Revocation
from paydesk.rules.calendar import add_months

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def at(days: float) -> datetime:
    return NOW + timedelta(days=days)


def grant(number: int = 1, resource: str = "course:python", start: float = 0,
          end: float | None = None) -> Grant:  # fmt: skip
    kind, name = access.parse(resource)
    return Grant(id=UUID(int=number), type=kind, resource=name, source="admin", source_id=None,
                 starts_at=at(start), expires_at=None if end is None else at(end),
                 given_at=at(start))  # fmt: skip


def days(number: int, given: float, lasts: float) -> Grant:
    """Bought days, which follow what is there."""
    made = grant(number, start=given, end=given + lasts)
    return replace(made, follows=True)


def lie(grants, voids=(), when=0.0) -> dict[int, tuple[float, float]]:
    """Where grants lie, in days: {number: (start, end)}; only those that are not void."""
    return {
        one.grant.id.int: tuple((x - NOW) / timedelta(days=1)
                                for x in (one.grant.starts_at, one.grant.expires_at))
        for one in access.place(grants, voids, at(when)) if one.void_since is None
    }  # fmt: skip


def void(number: int, since: float, until: float | None = None) -> Revocation:
    return Revocation(grant_id=UUID(int=number), revoked_at=at(since),
                      reinstated_at=None if until is None else at(until))  # fmt: skip


def asked(grants, voids=(), resource="course:python", when=5.0):
    return access.decide(grants, list(voids), *access.parse(resource), at(when))


def test_access_begins_with_its_start_and_ends_before_its_end():
    """S1.49 I20"""
    one = grant(start=1, end=5)
    told = [asked([one], when=day).reason for day in (0.99, 1, 4.99, 5)]
    assert told == ["not_yet", "granted", "granted", "expired"]
    assert asked([]).reason == "not_purchased"
    assert asked([one], when=3).expires_at == at(5)


# S1.49!
def test_a_grant_of_a_whole_type_and_of_the_platform_cover_single_things():
    """S1.49: course:*, platform."""
    assert asked([grant(resource="course:*")]).allowed
    assert asked([grant(resource="platform")]).allowed
    assert asked([grant(resource="platform")], resource="lab:7").allowed
    assert asked([grant(resource="course:*")], resource="lab:7").reason == "not_purchased"
    assert asked([grant(resource="course:python")], resource="course:*").reason == "not_purchased"
    assert asked([grant(resource="course:python")], resource="platform").reason == "not_purchased"
    assert asked([grant(resource="exports")], resource="exports").allowed


def test_a_revocation_holds_until_it_is_undone():
    """I20: and each revocation only undoes itself."""
    one = grant()
    assert [asked([one], [void(1, 2, 6)], when=d).reason for d in (1, 2, 5.9, 6)] == [
        "granted", "revoked", "revoked", "granted"]  # fmt: skip
    assert asked([one], [void(1, 2, 6), void(1, 3)], when=7).reason == "revoked"
    assert asked([one, grant(2)], [void(1, 2)]).grant == grant(2)


def test_what_ended_first_is_the_reason():
    one = grant(end=4)
    assert asked([one], [void(1, 3)], when=9).reason == "revoked"
    assert asked([one], [void(1, 6)], when=9).reason == "expired"
    assert asked([one, grant(2, start=20)], when=9).reason == "not_yet"


def test_the_longest_grant_is_named_and_following_ones_prolong():
    """S1.49: until is when access really ends."""
    first, second, third = grant(1, end=10), grant(2, start=8, end=20), grant(3, start=21, end=30)
    found = asked([first, second, third])
    assert (found.grant, found.expires_at) == (first, at(20))
    assert asked([first, grant(4)]).expires_at is None


def test_bought_days_follow_one_another_and_move_up_when_one_is_taken_away():
    """I20: no gap remains, and what was used stays used."""
    two = [days(1, 0, 30), days(2, 0, 30)]
    assert lie(two) == {1: (0, 30), 2: (30, 60)}
    assert lie(two, [void(1, 10)], 10) == {2: (10, 40)}
    assert lie(two, [void(2, 10)], 10) == {1: (0, 30)}
    assert lie(two, [void(1, 10)], 9) == {1: (0, 30), 2: (30, 60)}
    told = [asked(two, [void(1, 10)], when=day).reason for day in (9, 10, 39, 40)]
    assert told == ["granted", "granted", "granted", "expired"]


def test_days_lie_where_they_lay_before_once_the_taking_is_undone():
    """I20: exactly, whatever was bought or taken in between."""
    three = [days(1, 0, 30), days(2, 0, 30), days(3, 12, 30)]
    assert lie(three, [void(1, 10)], 13) == {2: (10, 40), 3: (40, 70)}
    assert lie(three, [void(1, 10, 20)], 20) == {1: (0, 30), 2: (30, 60), 3: (60, 90)}
    both = [void(1, 10, 20), void(2, 11)]
    assert lie(three, both, 13) == {3: (12, 42)}
    assert lie(three, both, 20) == {1: (0, 30), 3: (30, 60)}
    assert lie(three, [void(1, 10), void(1, 12, 20)], 20) == {2: (10, 40), 3: (40, 70)}


def test_bought_days_wait_for_earlier_access_that_ends_and_for_no_other():
    fixed = grant(1, start=0, end=20)
    assert lie([fixed, days(2, 5, 10)]) == {1: (0, 20), 2: (20, 30)}
    assert lie([grant(1, start=6, end=20), days(2, 5, 10)])[2] == (5, 15)
    assert lie([grant(1, start=8, end=20), days(2, 5, 10)])[2] == (5, 15)
    assert access.place([grant(1), days(2, 5, 10)], [], at(5))[1].grant.starts_at == at(5)
    other = grant(1, resource="course:*", start=0, end=20)
    assert lie([other, days(2, 5, 10)])[2] == (5, 15)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5)), max_size=6),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12), st.none() | st.integers(0, 6)),
             max_size=8),
    st.integers(0, 40),
)  # fmt: skip
def test_no_bought_day_is_lost_or_given_twice(bought, taken, when):
    """I20: bought days that hold do not overlap, keep their length, and leave no gap between
    their gift and their end but what nobody had paid for."""
    grants = [days(n, given, lasts) for n, (given, lasts) in enumerate(sorted(bought))]
    voids = [void(n, since, None if lasts is None else since + lasts) for n, since, lasts in taken]
    placed = access.place(grants, voids, at(when))
    good = [one.grant for one in placed if one.void_since is None]
    for one in good:
        was = grants[one.id.int]
        assert one.expires_at - one.starts_at == was.expires_at - was.starts_at
        assert one.starts_at >= was.given_at
    good.sort(key=lambda one: one.starts_at)
    assert all(a.expires_at <= b.starts_at for a, b in pairwise(good))
    spent = [(one.grant.starts_at, min(one.grant.expires_at, one.void_since)) for one in placed
             if one.void_since is not None]  # fmt: skip
    covered = [*spent, *((one.starts_at, one.expires_at) for one in good)]
    for one in good:
        moment = one.given_at
        while moment < one.starts_at:
            assert any(begins <= moment < ends for begins, ends in covered), (one, moment)
            moment += timedelta(days=1)
    open_ = [one for one in voids if one.reinstated_at is None or one.reinstated_at > at(when)]
    assert access.place(grants, open_, at(when)) == placed


instants = st.integers(0, 12)
grants_made = st.lists(
    st.tuples(st.sampled_from(["course:python", "course:*", "platform", "lab:1"]), instants,
              st.none() | st.integers(1, 6)),
    max_size=6,
)  # fmt: skip
voids_made = st.lists(
    st.tuples(st.integers(0, 5), instants, st.none() | st.integers(0, 6)), max_size=6
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(grants_made, voids_made, instants, st.randoms())
def test_access_is_that_some_grant_holds_and_order_does_not_matter(made, voided, when, random):
    """I20: against the plain definition, for any records, in any order."""
    grants = [
        grant(n, resource, start, None if lasts is None else start + lasts)
        for n, (resource, start, lasts) in enumerate(made)
    ]
    voids = [void(n, since, None if lasts is None else since + lasts) for n, since, lasts in voided]

    def plain(one: Grant) -> bool:
        if one.type not in ("course", "platform"):
            return False
        is_void = any(
            v.grant_id == one.id and v.revoked_at <= at(when)
            and (v.reinstated_at is None or at(when) < v.reinstated_at) for v in voids
        )  # fmt: skip
        is_on = one.starts_at <= at(when) and (one.expires_at is None or at(when) < one.expires_at)
        return is_on and not is_void

    found = asked(grants, voids, when=when)
    assert found.allowed == any(plain(one) for one in grants)
    assert found.reason in access.REASONS
    if found.allowed:
        assert plain(found.grant)
        if found.expires_at is not None:
            assert found.expires_at > at(when)
    mixed, mixed_voids = [*grants], [*voids]
    random.shuffle(mixed)
    random.shuffle(mixed_voids)
    assert asked(mixed, mixed_voids, when=when) == found


@pytest.mark.parametrize("text", ["", ":python", "course:", "a b:c", "course:a b", "x" * 400,
                                  "\x00:a", "course:\ud800"])  # fmt: skip
def test_what_names_no_resource_is_refused(text):
    with pytest.raises(InvalidRequest):
        access.parse(text)


def test_a_resource_id_may_hold_colons():
    assert access.parse("course:a:b") == ("course", "a:b")


def test_months_are_counted_from_the_anchor_and_clamped():
    """I22 S0.29: 31 Jan, 28 or 29 Feb, 31 Mar; six months of a membership."""
    january = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
    assert [add_months(january, n).day for n in (0, 1, 2, 3, 12, 13)] == [31, 28, 31, 30, 31, 28]
    assert add_months(datetime(2028, 1, 31, tzinfo=UTC), 1).day == 29
    leap = datetime(2028, 2, 29, tzinfo=UTC)
    assert add_months(leap, 12) == datetime(2029, 2, 28, tzinfo=UTC)
    assert add_months(leap, 48) == datetime(2032, 2, 29, tzinfo=UTC)
    assert add_months(datetime(2025, 1, 2, tzinfo=UTC), 6) == datetime(2025, 7, 2, tzinfo=UTC)


def test_only_a_subscription_that_owes_changes_the_reason():
    """S1.49: what was bought, given or still holds keeps its reason."""
    sub = UUID(int=77)
    ended = replace(grant(end=5), source="subscription", source_id=sub)
    found = asked([ended], when=9)
    assert access.asks_subscription(found) == sub
    reasons = {access.owing(found, one).reason for one in ("active", "canceled", "paused", None)}
    assert reasons == {"expired"}
    assert [access.owing(found, one).reason for one in access.OWING] == ["past_due", "unpaid"]
    assert access.asks_subscription(asked([ended], when=1)) is None
    assert access.asks_subscription(asked([grant(end=5)], when=9)) is None
    assert access.asks_subscription(asked([])) is None
