"""Stripe's test clocks follow a desk's clock: whoever dies on the way goes on, in due order."""

from __future__ import annotations

from datetime import timedelta

import pytest
from provider_run import There

from paydesk import crash
from paydesk.crash import CrashNow
from paydesk.errors import OutcomeUnknown, ProviderUnavailable
from paydesk.flows import clocks, customers
from paydesk.flows import provider_billing_events as news
from paydesk.ids import request_key
from paydesk.worker import Worker

DAY = timedelta(days=1)
CLOCK = "test_helpers.test_clock"


@pytest.fixture
def there(billing) -> There:
    return There(billing)


@pytest.fixture
def mine(env):
    return clocks.create(env)


@pytest.fixture
def clocked(env, mine):
    return lambda name: customers.ensure(env, name, clock=mine.uuid)


def begin(there, who, **more):
    """Subscribe and pay on the page; the desk asks, no webhook comes."""
    sub = there.subscribe(who, **more)
    there.sim.pay(sub.page_ref)
    news.look(there.env, sub.customer_id, sub.id)
    return there.look(sub)


def renewed(there, sub, mine):
    """That two months were paid for, each once, and stand where the provider has them."""
    (paid,) = there.billing.all(
        "select count(*) as n from payments where customer_id = %(id)s and state = 'succeeded'",
        id=sub.customer_id,
    )
    after = there.look(sub)
    assert (paid["n"], after.state) == (2, "active")
    assert after.period_start == sub.period_end
    (one,) = there.sim.objects(CLOCK)
    assert one["frozen_time"] == int(clocks.get(there.env, mine).now.timestamp())
    return True


# S1.56 I5
def test_a_beginning_that_died_comes_to_the_same_clock_and_customer(there, clocked):
    there.plan("pro")
    who, key = clocked("ada"), request_key("app", "order")
    crash.arm("provider_clock_made")
    with pytest.raises(CrashNow):
        there.subscribe(who, request_key=key)
    crash.disarm()
    sub = there.subscribe(who, request_key=key)
    (one,) = there.sim.objects(CLOCK)
    (person,) = there.sim.objects("customer")
    assert person["test_clock"] == one["id"] and sub.page_ref


# S1.56 I18
@pytest.mark.parametrize("by_worker", [True, False])
@pytest.mark.parametrize("point", ["provider_clock_moved", "provider_clock_before_look",
                                   "apply_after_fetch", "apply_after_commit"])  # fmt: skip
def test_an_advance_that_died_goes_on_to_where_it_should_be(
    there, env, mine, clocked, point, by_worker
):
    there.plan("pro")
    sub = begin(there, clocked("ada"))
    crash.arm(point, nth=2)
    with pytest.raises(CrashNow):
        clocks.advance(env, mine, by=32 * DAY)
    crash.disarm()
    if by_worker:
        Worker(env).run_once("clocks")
    else:
        clocks.advance(env, mine, mine.now + 32 * DAY)
    assert renewed(there, sub, mine)
    assert there.billing.can(sub, "tier:pro")


# S1.56
def test_what_stripe_tells_of_while_it_is_ahead_waits_for_the_desk(there, env, mine, clocked):
    there.plan("pro")
    sub = begin(there, clocked("ada"))
    there.deliver()
    crash.arm("provider_clock_moved", nth=2)
    with pytest.raises(CrashNow):
        clocks.advance(env, mine, by=32 * DAY)
    crash.disarm()
    there.deliver()
    assert there.look(sub).period_end == sub.period_end
    clocks.advance(env, mine, mine.now + 32 * DAY)
    assert renewed(there, sub, mine)
    there.billing.clock.advance(days=1)
    Worker(env).run_once("inbox")
    assert renewed(there, sub, mine)
    waiting = "select 1 from provider_events where state in ('waiting', 'parked')"
    assert there.billing.all(waiting) == []


# S1.56
def test_a_shorter_subscription_of_stripes_own_makes_the_steps_shorter(
    there, env, mine, clocked
):
    there.plan("pro")
    who = clocked("ada")
    sub = begin(there, who)
    there.card(who)
    there.begin_there(who, there.price_there(500, "day"))
    clocks.advance(env, mine, by=32 * DAY)
    assert renewed(there, sub, mine)


# S1.56
def test_a_provider_that_is_away_keeps_the_clock_waiting_and_it_goes_on(
    there, env, mine, clocked
):
    there.plan("pro")
    sub = begin(there, clocked("ada"))
    there.sim.fault("drop_before", "/v1/test_helpers/*", times=50)
    with pytest.raises((ProviderUnavailable, OutcomeUnknown)):
        clocks.advance(env, mine, by=32 * DAY)
    stopped = clocks.get(env, mine)
    assert (stopped.state, stopped.now) == ("failed", mine.now)
    there.sim.config(faults=[])
    clocks.advance(env, mine, mine.now + 32 * DAY)
    assert renewed(there, sub, mine)


# S1.56
def test_two_customers_of_one_clock_stand_on_one_of_stripes(there, env, mine, clocked):
    there.plan("pro")
    subs = [begin(there, clocked(name)) for name in ("ada", "bo")]
    clocks.advance(env, mine, by=32 * DAY)
    assert all(renewed(there, sub, mine) for sub in subs)
