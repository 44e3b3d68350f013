"""A change at the period's end where Stripe runs the subscription: planned there, shown here."""

from __future__ import annotations

import contextlib
import json
import random
from datetime import timedelta
from types import SimpleNamespace

import pytest
from provider_run import There
from purchase import signed

from paydesk import crash
from paydesk.crash import CrashNow
from paydesk.errors import (
    Conflict,
    InvalidRequest,
    InvalidTransition,
    PaydeskError,
    PaymentFailed,
    PreviewOutdated,
)
from paydesk.flows import clocks, customers, inbox, subscription_pending
from paydesk.flows import provider_billing_events as news
from paydesk.flows import subscription_changes as changes
from paydesk.flows import subscription_pauses as pauses
from paydesk.ids import request_key
from paydesk.rules import periods
from paydesk.rules.money import USD


@pytest.fixture
def there(billing) -> There:
    return There(billing)


@pytest.fixture
def sub(there):
    """A customer's running subscription of the bigger of two plans."""
    there.plan("pro", most_quantity=50, credits=20)
    there.plan("max", price=USD("50.00"), most_quantity=50, credits=100)
    return there.begin(there.user(), "max")


def change(there, sub, plan=None, at="period_end", **more):
    return changes.change(there.env, sub.customer_id, sub.id, plan=plan, at=at, **more)


def waits(view):
    return view.next and (view.next["plan"], view.next["quantity"])


def schedule(there, sub):
    """The schedule on it there, if any."""
    ref = there.remote(sub)["schedule"]
    return there.sim.get(ref) if ref else None


def told(there, sub):
    """What was told of it, without its times."""
    rows = there.billing.all(
        "select type, data from events where subject_id = %(s)s order by seq", s=sub.id)
    return [(row["type"].removeprefix("subscription."), row["data"].get("changed"),
             row["data"].get("plan_next")) for row in rows]  # fmt: skip


# S1.29 S1.44
def test_it_is_previewed_waits_and_comes_with_the_next_periods_invoice(there, sub):
    seen = changes.preview(there.env, sub.customer_id, sub.id, plan="pro", at="period_end")
    assert (seen.when, seen.due_now, seen.total, seen.lines) == (
        "period_end", USD("0.00"), USD("0.00"), ())  # fmt: skip
    assert (seen.next_at, seen.next_amount) == (sub.period_end, USD("20.00"))
    after = change(there, sub, "pro", expect=seen)
    assert (after.plan_key, waits(after)) == ("max", ("pro", 1))
    assert set(after.next) == {"plan_id", "plan_version", "plan", "quantity"}
    assert told(there, sub)[-1] == ("updated", ["next"], "pro")
    (now, later) = schedule(there, sub)["phases"]
    assert (now["end_date"], later["proration_behavior"]) == (
        int(sub.period_end.timestamp()), "none")  # fmt: skip
    there.deliver()
    assert len(there.billing.invoices(sub)) == 1
    there.months()
    after = there.look(sub)
    assert (after.plan_key, after.price, after.next) == ("pro", USD("20.00"), None)
    assert there.billing.invoices(sub)[1] == (1, "paid", 2000, 2000)
    assert there.billing.can(sub, "tier:pro")
    assert not there.billing.can(sub, "tier:max")
    assert there.billing.balance(sub) == 20
    there.months()
    assert (there.look(sub).plan_key, schedule(there, sub)) == ("pro", None)
    assert [one[2] for one in there.billing.invoices(sub)] == [5000, 2000, 2000]
    assert there.parked() == []


# S1.29!
def test_a_plans_own_policy_is_kept(there, sub):
    # downgrade_when is the period's end, upgrade_when now, where nobody says otherwise
    assert waits(change(there, sub, "pro", at=None)) == ("pro", 1)
    after = changes.change(there.env, sub.customer_id, sub.id, quantity=2)
    assert (after.quantity, after.next) == (2, None)  # An upgrade, at once: it comes instead.
    there.plan("late", price=USD("30.00"), upgrade_when="period_end", downgrade_when="now")
    after = change(there, after, "late", at="now", quantity=1)
    assert (after.plan_key, after.next) == ("late", None)
    assert waits(change(there, after, "max", at=None)) == ("max", 1)
    assert change(there, after, "pro", at=None).plan_key == "pro"


def test_the_books_do_not_depend_on_how_it_was_heard_of(there):
    # S1.16 C26: in order, shuffled, twice, or lost and found by the sweep
    there.plan("pro", credits=20)
    there.plan("max", price=USD("50.00"), credits=100)
    ways = [{}, {"shuffle": random.Random(1)}, {"shuffle": random.Random(2), "twice": 2},
            {"version": "2023-10-16"}, None]  # fmt: skip
    found = []
    for way in ways:
        sub = there.begin(there.user(), "max")
        change(there, sub, "pro")
        found.append((sub, way))
    there.go_on(days=31, hours=2)
    waiting = there.waiting()
    for sub, way in found:
        ref = there.look(sub).provider_ref
        customer = there.ref(sub.customer_id)
        if way is None:
            news.look(there.env, sub.customer_id, sub.id)
            continue
        version = way.get("version")
        mine = [one for one in there.sim.deliveries(version=version)
                if one.event_id in {w.event_id for w in waiting}
                and (ref in one.body.decode() or customer in one.body.decode())]  # fmt: skip
        mine *= way.get("twice", 1)
        if "shuffle" in way:
            way["shuffle"].shuffle(mine)
        for one in mine:
            there.receive(one)
    shapes = []
    for sub, _ in found:
        rows = there.rows(sub)
        after = there.look(sub)
        assert (after.plan_key, after.next) == ("pro", None)
        shapes.append((
            [one[1:6] for one in rows["invoices"]], rows["transfers"],
            sorted(one[:3] for one in rows["batches"]),
            sorted(one[1:4] for one in rows["payments"]), sorted(row[:2] for row in rows["access"]),
        ))  # fmt: skip
    for one in shapes[1:]:
        assert one == shapes[0]


def test_it_is_taken_back_by_dropping_it_or_by_a_change_to_what_runs(there, sub):
    change(there, sub, "pro")
    key = request_key("app", "drop")
    for _ in range(2):
        after = subscription_pending.drop(there.env, sub.customer_id, sub.id, request_key=key)
        assert (after.plan_key, after.next, schedule(there, sub)) == ("max", None, None)
    assert told(there, sub)[-1] == ("updated", ["next"], None)
    change(there, sub, "pro")
    # A repeated request takes back no second change, nor does one that means another.
    assert waits(subscription_pending.drop(
        there.env, sub.customer_id, sub.id, request_key=key)) == ("pro", 1)  # fmt: skip
    assert waits(subscription_pending.drop(
        there.env, sub.customer_id, sub.id, waits="another")) == ("pro", 1)  # fmt: skip
    seen = changes.preview(there.env, sub.customer_id, sub.id, plan="max")
    assert (seen.when, seen.due_now) == ("now", USD("0.00"))
    after = change(there, sub, "max", at=None)
    assert (after.plan_key, after.next, schedule(there, sub)) == ("max", None, None)
    with pytest.raises(InvalidRequest):
        change(there, sub, "max")
    there.months()
    assert there.billing.invoices(sub)[1] == (1, "paid", 5000, 5000)


def test_another_replaces_it(there, sub):
    first = change(there, sub, "pro")
    seen = changes.preview(there.env, sub.customer_id, sub.id, quantity=3, at="period_end")
    after = change(there, sub, quantity=3, expect=seen)
    assert (waits(first), waits(after)) == (("pro", 1), ("max", 3))
    assert len(there.sim.objects("subscription_schedule")) == 1
    with pytest.raises(PreviewOutdated):
        change(there, sub, "pro", expect=seen)
    there.deliver(shuffle=random.Random(3))
    assert waits(there.look(sub)) == ("max", 3)
    there.months()
    after = there.look(sub)
    assert (after.plan_key, after.quantity, after.next) == ("max", 3, None)
    assert there.billing.invoices(sub)[1] == (1, "paid", 15_000, 15_000)


def test_a_change_now_comes_instead_unless_its_charge_fails(there, sub):
    change(there, sub, "pro")
    there.go_on(days=10)
    method = there.remote(sub)["default_payment_method"]
    there.billing.reissue(SimpleNamespace(ref=method), "chargeCustomerFail")
    with pytest.raises(PaymentFailed):
        change(there, sub, quantity=2, at="now")
    assert (there.look(sub).quantity, waits(there.look(sub))) == (1, ("pro", 1))
    there.billing.reissue(SimpleNamespace(ref=method), "visa")
    after = change(there, sub, quantity=2, at="now")
    assert (after.quantity, after.next, schedule(there, sub)) == (2, None, None)
    assert told(there, sub)[-1][:2] == ("updated", ["quantity"])
    there.months()
    assert (there.look(sub).plan_key, there.look(sub).quantity) == ("max", 2)


# S1.28
def test_canceling_comes_instead_and_what_ends_is_not_planned_ahead(there, sub):
    change(there, sub, "pro")
    after = changes.cancel(there.env, sub.customer_id, sub.id)
    assert (after.cancel_at, after.next) == (sub.period_end, None)
    assert (schedule(there, sub), there.remote(sub)["cancel_at_period_end"]) == (None, True)
    with pytest.raises(Conflict):
        change(there, sub, "pro")
    after = changes.reactivate(there.env, sub.customer_id, sub.id)
    assert (after.cancel_at, after.next) == (None, None)
    assert waits(change(there, sub, "pro")) == ("pro", 1)
    after = changes.cancel(there.env, sub.customer_id, sub.id, at="now")
    assert (after.state, after.next) == ("canceled", None)
    there.deliver(shuffle=random.Random(4))
    assert (there.look(sub).state, there.look(sub).next) == ("canceled", None)
    assert {one["status"] for one in there.sim.objects("subscription_schedule")} == {"released"}
    assert there.parked() == []


def test_a_pause_does_not_hold_it_up(there, sub):
    change(there, sub, "pro")
    after = pauses.pause(there.env, sub.customer_id, sub.id)
    assert (after.state, waits(after)) == ("paused", ("pro", 1))
    there.months()
    assert (there.look(sub).state, there.look(sub).plan_key) == ("paused", "pro")
    assert not there.billing.can(sub, "tier:pro")
    pauses.resume(there.env, sub.customer_id, sub.id)
    there.months()
    assert there.billing.can(sub, "tier:pro")
    assert there.billing.invoices(sub)[-1] == (2, "paid", 2000, 2000)


# S1.45
def test_a_method_that_is_set_meanwhile_is_charged_for_it(there, sub):
    there.card(sub.customer_id)
    there.deliver()
    saved = there.billing.all(
        "select id, ref from payment_methods where customer_id = %(c)s and is_default",
        c=sub.customer_id)[0]
    change(there, sub, "pro")
    after = changes.set_method(there.env, sub.customer_id, sub.id, saved["id"])
    assert (after.method_id, waits(after)) == (saved["id"], ("pro", 1))
    there.months()
    assert there.remote(sub)["default_payment_method"] == saved["ref"]
    assert (there.look(sub).plan_key, there.look(sub).method_id) == ("pro", saved["id"])


# S1.44
def test_another_interval_begins_its_cycle_at_the_periods_end(there, sub):
    there.plan("year", price=USD("200.00"), interval="year", credits=50)
    after = change(there, sub, "year")
    assert waits(after) == ("year", 1)
    there.months()
    after = there.look(sub)
    assert (after.plan_key, after.period, after.period_start) == ("year", 1, sub.period_end)
    assert after.period_end - after.period_start >= timedelta(days=365)
    assert there.billing.invoices(sub)[1] == (1, "paid", 20_000, 20_000)
    assert there.billing.balance(sub) == 50


# S1.56 S1.29
def test_a_clock_leads_it_and_it_is_as_where_this_desk_bills(there, env):
    # I18: plan, access and credits are the same before the period's end and after it
    there.plan("pro", credits=20)
    there.plan("max", price=USD("50.00"), credits=100)
    mine = clocks.create(env)
    theirs, ours = (customers.ensure(env, name, clock=mine.uuid) for name in ("ada", "bo"))
    begun = there.subscribe(theirs, "max")
    there.sim.pay(begun.page_ref)
    news.look(env, begun.customer_id, begun.id)
    there.billing.card(ours)
    subs = [there.look(begun), there.billing.subscribe(ours, "max")]
    for one in subs:
        assert waits(change(there, one, "pro")) == ("pro", 1)

    def stand():
        return [(
            view.plan_key, view.state, view.price, waits(view), view.period,
            there.billing.can(view, "tier:pro"), there.billing.can(view, "tier:max"),
            there.billing.balance(view), len(there.billing.invoices(view)),
        ) for view in map(there.look, subs)]  # fmt: skip

    clocks.advance(env, mine, by=timedelta(days=27))
    assert stand()[0] == stand()[1]
    assert stand()[0][:4] == ("max", "active", USD("50.00"), ("pro", 1))
    for _ in range(2):
        clocks.advance(env, mine, by=timedelta(days=31))
        assert stand()[0] == stand()[1]
        assert stand()[0][:4] == ("pro", "active", USD("20.00"), None)


def test_what_somebody_plans_or_lets_go_there_is_followed(there, sub):
    # S1.16: at Stripe's dashboard; what is for a later period is shown when that is the next
    ref = there.remote(sub)["id"]
    made = there.sim.request("POST", "/v1/subscription_schedules", {"from_subscription": ref})
    path, (now,) = f"/v1/subscription_schedules/{made['id']}", made["phases"]
    second = periods.boundary(sub.period_start, "month", 1, 2)

    def plan_ahead(price):
        there.sim.request("POST", path, {"phases": [
            {"items": [{"price": now["items"][0]["price"], "quantity": 1}],
             "start_date": now["start_date"], "end_date": int(second.timestamp())},
            {"items": [{"price": price, "quantity": 2}], "duration": {"interval": "month"}}]})
        there.deliver()

    plan_ahead(there.price_there(1500, lookup_key="pro"))
    assert there.look(sub).next is None
    there.months()
    assert (there.look(sub).plan_key, waits(there.look(sub))) == ("max", ("pro", 2))
    assert ("updated", ["next"], "pro") in told(there, sub)
    plan_ahead(there.price_there(700))  # It stands for no plan.
    assert there.look(sub).next is None
    plan_ahead(there.price_there(1500, lookup_key="max"))
    assert waits(there.look(sub)) == ("max", 2)
    there.sim.request("POST", f"{path}/release", {})
    there.deliver()
    assert there.look(sub).next is None
    assert there.parked() == []


def test_one_planned_there_for_the_periods_end_waits_here_and_is_taken_over(there, sub):
    change(there, sub, "pro")
    pro = there.sim.objects("subscription_schedule")[0]["phases"][1]["items"][0]["price"]
    subscription_pending.drop(there.env, sub.customer_id, sub.id)
    made = there.sim.request("POST", "/v1/subscription_schedules", {
        "from_subscription": there.remote(sub)["id"]})  # fmt: skip
    (now,) = made["phases"]
    mine = {"price": now["items"][0]["price"], "quantity": 1}
    there.sim.request("POST", f"/v1/subscription_schedules/{made['id']}", {
        "end_behavior": "cancel", "phases": [
            {"items": [mine], "start_date": now["start_date"], "end_date": now["end_date"]},
            {"items": [{"price": pro, "quantity": 4}], "duration": {"interval": "month"}}]})
    there.deliver(shuffle=random.Random(5))
    assert waits(there.look(sub)) == ("pro", 4)
    with pytest.raises(Conflict):  # It ends after that.
        change(there, sub, "pro", quantity=3)
    after = changes.reactivate(there.env, sub.customer_id, sub.id)
    assert (after.next, after.cancel_at, schedule(there, sub)) == (None, None, None)
    # A schedule of the running phase alone is taken over.
    made = there.sim.request("POST", "/v1/subscription_schedules", {
        "from_subscription": there.remote(sub)["id"]})  # fmt: skip
    assert waits(change(there, sub, "pro", quantity=3)) == ("pro", 3)
    assert schedule(there, sub)["id"] == made["id"]


def test_a_thin_event_of_a_schedule_leads_to_its_subscription(there, sub):
    change(there, sub, "pro")
    ref = schedule(there, sub)["id"]
    there.deliver()
    there.sim.request("POST", f"/v1/subscription_schedules/{ref}/release", {})
    thin = {
        "id": "evt_thin", "object": "v2.core.event", "livemode": False,
        "type": "v1.subscription_schedule.released",
        "created": there.env.now().isoformat(),
        "related_object": {"id": ref, "type": "subscription_schedule",
                           "url": f"/v1/subscription_schedules/{ref}"},
    }  # fmt: skip
    body = json.dumps(thin).encode()
    (found,) = inbox.receive(there.env, "stripe", body, signed(body))
    assert (found.state, there.look(sub).next) == ("done", None)


POINTS = ["change_before_commit", "change_after_commit", "before_provider_call",
          "after_provider_call", "call_before_done_commit", "call_after_done",
          "apply_after_fetch", "apply_before_commit", "apply_after_commit"]  # fmt: skip


# I5 I6 S2.9
@pytest.mark.parametrize("point", POINTS)
def test_a_plan_ahead_that_dies_is_made_once(there, sub, point):
    key = request_key("app", "later")
    crash.arm(point)
    with pytest.raises(CrashNow):
        change(there, sub, "pro", request_key=key)
    crash.disarm()
    there.billing.recover(rounds=3)
    there.deliver()
    for _ in range(3):
        try:
            change(there, sub, "pro", request_key=key)
            break
        except PaydeskError:
            there.billing.recover(rounds=1)
    assert waits(there.look(sub)) == ("pro", 1)
    assert len(there.sim.objects("subscription_schedule")) == 1
    there.months()
    assert there.look(sub).plan_key == "pro"
    assert {row["state"] for row in there.billing.all("select state from provider_calls")} == {
        "done"}  # fmt: skip


@pytest.mark.parametrize("lost", ["create", "update", "retrieve"])
@pytest.mark.parametrize("before", [True, False])
def test_a_death_between_the_calls_to_stripe_leaves_nothing_half(there, sub, lost, before):
    # I5 I6: the schedule that stands on it is taken over
    import stripe

    calls = there.env.providers["stripe"]._client.v1
    calls = calls.subscriptions if lost == "retrieve" else calls.subscription_schedules
    real = getattr(calls, lost)

    def dies(*args):
        setattr(calls, lost, real)
        if not before:
            real(*args)
        raise stripe.APIConnectionError("gone")

    setattr(calls, lost, dies)
    key = request_key("app", "later")
    with pytest.raises(PaydeskError):
        change(there, sub, "pro", request_key=key)
    there.billing.clock.advance(minutes=5)
    there.billing.recover(rounds=3)
    assert waits(there.look(sub)) == ("pro", 1)
    assert waits(change(there, sub, "pro", request_key=key)) == ("pro", 1)
    assert len(there.sim.objects("subscription_schedule")) == 1
    assert {row["state"] for row in there.billing.all("select state from provider_calls")} == {
        "done"}  # fmt: skip


def test_what_stripe_refuses_changes_nothing(there, sub):
    import stripe

    calls = there.env.providers["stripe"]._client.v1.subscription_schedules

    def refuses(*args):
        raise stripe.InvalidRequestError("No.", "phases", http_status=400)

    calls.update = refuses
    with pytest.raises(PaymentFailed):
        change(there, sub, "pro")
    assert (there.look(sub).next, schedule(there, sub)) == (None, None)
    del calls.update
    assert waits(change(there, sub, "pro")) == ("pro", 1)


def test_one_that_another_makes_in_the_same_moment_is_taken_over(there, sub):
    calls = there.env.providers["stripe"]._client.v1.subscription_schedules
    real = calls.create

    def second(*args):
        there.sim.request("POST", "/v1/subscription_schedules", args[0])
        return real(*args)

    calls.create = second
    assert waits(change(there, sub, "pro")) == ("pro", 1)
    assert len(there.sim.objects("subscription_schedule")) == 1


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whatever_is_asked_for_and_however_it_is_heard_of_both_say_the_same(there, sub, seed):
    # I27: what waits and what runs here is what waits and runs at Stripe
    rng = random.Random(seed)
    whose = (there.env, sub.customer_id, sub.id)

    def begin_later():
        change(there, sub, rng.choice(["pro", "max"]), quantity=rng.randint(1, 3))

    deeds = {
        "later": begin_later, "later too": begin_later,
        "now": lambda: change(there, sub, rng.choice(["pro", "max"]), "now",
                              quantity=rng.randint(1, 3)),
        "drop": lambda: subscription_pending.drop(*whose),
        "cancel": lambda: changes.cancel(*whose), "reactivate": lambda: changes.reactivate(*whose),
        "pause": lambda: pauses.pause(*whose, resume_at=None),
        "resume": lambda: pauses.resume(*whose),
        "release": lambda: there.sim.request(
            "POST", f"/v1/subscription_schedules/{there.remote(sub)['schedule']}/release", {}),
        "days": lambda: there.go_on(days=rng.randint(1, 12)),
    }  # fmt: skip
    for _ in range(25):
        what = rng.choice(sorted(deeds))
        if what == "release" and there.remote(sub)["schedule"] is None:
            continue
        # Stripe refuses what nobody has heard yet that it cannot be.
        with contextlib.suppress(Conflict, InvalidRequest, InvalidTransition, PaymentFailed):
            deeds[what]()
        if rng.random() < 0.7:
            there.deliver(shuffle=rng, twice=rng.choice([1, 2]))
    there.deliver(shuffle=rng)
    view, remote, plan = there.look(sub), there.remote(sub), schedule(there, sub)
    (item,) = remote["items"]["data"]
    assert (view.price.minor, view.quantity) == (item["price"]["unit_amount"], item["quantity"])
    ahead = [one for one in plan["phases"]
             if one["start_date"] == item["current_period_end"]] if plan else []  # fmt: skip
    prices = {there.sim.get(one["price"])["unit_amount"]: one["quantity"]
              for phase in ahead for one in phase["items"]}  # fmt: skip
    amounts = {"pro": 2000, "max": 5000}
    mine = {amounts[view.next["plan"]]: view.next["quantity"]} if view.next else {}
    running = {view.price.minor: view.quantity}
    assert mine == ({} if prices == running else prices)
    assert there.parked() == []


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("what", ["change", "cancel", "method", "drop"])
def test_a_death_as_the_schedule_is_let_go_loses_nothing(there, sub, what, sent):
    # I5 I6: a change now is made once, a cancellation stands, and what waited waits on
    import stripe

    there.card(sub.customer_id)
    there.deliver()
    saved = there.billing.all("select id, ref from payment_methods where is_default")[0]
    change(there, sub, "pro")
    calls = there.env.providers["stripe"]._client.v1.subscription_schedules
    real = calls.release

    def dies(*args):
        calls.release = real
        if sent:
            real(*args)
        raise stripe.APIConnectionError("gone")

    calls.release = dies
    whose = (there.env, sub.customer_id, sub.id)
    with pytest.raises(PaydeskError):
        {"change": lambda: changes.change(*whose, quantity=2, at="now"),
         "cancel": lambda: changes.cancel(*whose),
         "method": lambda: changes.set_method(*whose, saved["id"]),
         "drop": lambda: subscription_pending.drop(*whose)}[what]()
    there.billing.clock.advance(minutes=5)
    there.billing.recover(rounds=3)
    after = there.look(sub)
    assert waits(after) == (("pro", 1) if what == "method" else None)
    assert (schedule(there, sub) is None) == (what != "method")
    assert after.quantity == (2 if what == "change" else 1)
    assert (after.cancel_at is None) == (what != "cancel")
    assert {row["state"] for row in there.billing.all("select state from provider_calls")} == {
        "done"}  # fmt: skip
    assert len(there.billing.invoices(sub)) == (2 if what == "change" else 1)


@pytest.mark.parametrize("point", ["after_provider_call", "call_before_done_commit"])
def test_a_method_whose_command_dies_keeps_what_waits(there, sub, point):
    there.card(sub.customer_id)
    there.deliver()
    saved = there.billing.all("select id, ref from payment_methods where is_default")[0]
    change(there, sub, "pro")
    crash.arm(point)
    with pytest.raises(CrashNow):
        changes.set_method(there.env, sub.customer_id, sub.id, saved["id"])
    crash.disarm()
    there.billing.recover(rounds=3)
    assert (waits(there.look(sub)), there.look(sub).method_id) == (("pro", 1), saved["id"])
    there.months()
    assert there.remote(sub)["default_payment_method"] == saved["ref"]


@pytest.mark.parametrize("point", ["change_after_commit", "before_provider_call",
                                   "after_provider_call", "call_after_done"])
def test_what_comes_instead_is_carried_out_once_wherever_it_died(there, sub, point):
    # I5: canceling lets go of the schedule first
    change(there, sub, "pro")
    crash.arm(point)
    with pytest.raises(CrashNow):
        changes.cancel(there.env, sub.customer_id, sub.id)
    crash.disarm()
    there.billing.recover(rounds=3)
    there.deliver()
    after = there.look(sub)
    assert (after.cancel_at, after.next, schedule(there, sub)) == (sub.period_end, None, None)


def test_one_that_is_sent_after_its_period_changes_nothing_by_itself(there, sub):
    # The change was meant for an end that has passed: whoever asked hears of it.
    key = request_key("app", "later")
    crash.arm("before_provider_call")
    with pytest.raises(CrashNow):
        change(there, sub, "pro", request_key=key)
    crash.disarm()
    there.go_on(days=31, hours=2)
    there.billing.recover(rounds=3)
    there.deliver()
    after = there.look(sub)
    assert (after.plan_key, after.next, schedule(there, sub)) == ("max", None, None)
