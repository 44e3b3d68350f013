"""Services: made inactive, activated by their payment, ended by the calendar."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from goods_support import bought, given_back, membership, reason, service, taken_back

from paydesk.errors import AlreadyPurchased, NotFound
from paydesk.flows import access, services
from paydesk.rules.money import USD


def test_a_service_is_inactive_until_its_payment_and_runs_its_months(desk):
    """S0.25 S0.29: the payment activates it; six months by the calendar."""
    membership(desk)
    desk.clock.set(datetime(2026, 8, 31, 12, tzinfo=UTC))
    view = desk.open(service="premium_membership")
    one = service(desk, view)
    assert (one.state, one.active, one.starts_at) == ("pending", False, None)
    assert (one.fee, one.duration_months) == (USD("549.99"), 6)
    assert one.expires_at == datetime(2027, 2, 28, 12, tzinfo=UTC)
    desk.pay(view)
    desk.deliver(view)
    one = service(desk, view)
    assert (one.state, one.active, one.starts_at) == ("active", True, desk.env.now())
    assert one.expires_at == datetime(2027, 2, 28, 12, tzinfo=UTC)
    may = access.can(desk.env, view.customer_id, "course:anything")
    assert may and may.source.startswith("srv_") and may.expires_at == one.expires_at
    row = desk.all("select payment_type, service_id from payments")[0]
    assert row == {"payment_type": "subscription", "service_id": one.id}
    assert {"service.activated", "access.granted"} <= set(desk.events_of(view))


def test_the_time_of_a_service_begins_with_the_payment_not_with_the_order(desk):
    """S0.29"""
    membership(desk)
    view = desk.open(service="premium_membership")
    desk.clock.advance(minutes=20)
    desk.pay(view)
    desk.deliver(view)
    assert service(desk, view).starts_at == desk.env.now()


def test_a_service_that_runs_is_not_sold_again_and_one_that_ended_is_renewed(desk):
    """S1.47 I21 S0.24"""
    membership(desk, duration_months=1)
    user = desk.make.user()
    first = bought(desk, user, service="premium_membership")
    with pytest.raises(AlreadyPurchased):
        desk.open(user, service="premium_membership")
    desk.clock.set(service(desk, first).expires_at)
    second = bought(desk, user, service="premium_membership")
    assert (service(desk, first).state, service(desk, second).state) == ("ended", "active")
    types = desk.all("select payment_type from payments order by created_at")
    assert [row["payment_type"] for row in types] == ["subscription", "renewal"]


def test_a_service_ends_on_time_and_is_told_of_once(desk):
    """S0.25 I20 I28: access ends by the clock alone; the sweep only tells."""
    membership(desk)
    view = bought(desk, desk.make.user(), service="premium_membership")
    until = service(desk, view).expires_at
    desk.clock.set(until - timedelta(seconds=1))
    assert reason(desk, view, "course:x") == "granted"
    assert services.end_due(desk.env) == 0 and access.end_due(desk.env) == 0
    desk.clock.set(until)
    assert reason(desk, view, "course:x") == "expired"
    assert service(desk, view).state == "ended"
    assert (services.end_due(desk.env), access.end_due(desk.env)) == (1, 1)
    assert (services.end_due(desk.env), access.end_due(desk.env)) == (0, 0)
    one = service(desk, view)
    assert (one.state, one.ended_at, one.end_reason) == ("ended", until, "expired")
    told = desk.events_of(view)
    assert (told.count("service.ended"), told.count("access.expired")) == (1, 1)


def test_a_service_taken_back_ends_and_comes_back_for_what_is_left_of_it(desk):
    """I9 I20"""
    membership(desk)
    view = bought(desk, desk.make.user(), service="premium_membership")
    until, refund, dispute = service(desk, view).expires_at, uuid4(), uuid4()
    assert taken_back(desk, view, refund) == [1, 1, 0]
    assert taken_back(desk, view, dispute, "dispute") == [1, 0, 0]
    assert (service(desk, view).state, reason(desk, view, "lab:1")) == ("canceled", "revoked")
    desk.clock.advance(days=10)
    assert given_back(desk, view, dispute) == [0, 0, 0]
    assert given_back(desk, view, refund) == [1, 1, 0]
    one = service(desk, view)
    assert (one.state, one.expires_at, one.ended_at) == ("active", until, None)
    assert reason(desk, view, "lab:1") == "granted"
    taken_back(desk, view, refund)
    desk.clock.set(until)
    assert given_back(desk, view, refund) == [0, 0, 0]
    assert service(desk, view).state == "ended"


def test_a_service_is_not_restored_beside_one_that_followed_it(desk):
    membership(desk)
    user, refund = desk.make.user(), uuid4()
    first = bought(desk, user, service="premium_membership")
    taken_back(desk, first, refund)
    second = bought(desk, user, service="premium_membership")
    assert given_back(desk, first, refund)[1] == 0
    assert (service(desk, first).state, service(desk, second).state) == ("canceled", "active")


def test_an_unpaid_service_shows_as_canceled(desk):
    """S0.29"""
    from paydesk.flows import checkout

    membership(desk)
    view = desk.open(service="premium_membership")
    checkout.expire_now(desk.env, view.customer_id, view.id)
    assert service(desk, view).state == "canceled"
    assert desk.open(desk.make.user(), service="premium_membership").status == "open"


def test_services_are_listed_and_anothers_is_not_there(desk):
    """S0.37"""
    membership(desk)
    user = desk.make.user()
    view = bought(desk, user, service="premium_membership")
    one = service(desk, view)
    assert services.list_(desk.env, user.uuid) == [one]
    assert services.list_(desk.env, state="active", service_type="premium_membership") == [one]
    assert services.list_(desk.env, user.uuid, state="ended") == []
    assert services.list_(desk.env, user.uuid, after=one.id) == []
    with pytest.raises(NotFound):
        services.get(desk.env, desk.make.user().uuid, one.id)
