"""The process dies at every named place of a purchase, once and twice; the sweeps set it right."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from purchase import PROVE

from paydesk import crash
from paydesk.crash import POINTS, CrashNow
from paydesk.errors import PaydeskError
from paydesk.flows import checkout
from paydesk.flows.checkout import StartCheckout
from paydesk.ids import request_key

#: Where a purchase with a promo code can die, by the part of it.
START = [
    "promo_before_commit", "promo_after_reserve", "checkout_before_intend_commit",
    "checkout_after_intend", "before_provider_call", "after_provider_call",
    "call_before_done_commit", "call_after_done",
]  # fmt: skip
WEBHOOK = [
    "webhook_before_store_commit", "webhook_after_store", "fulfil_before_goods",
    "fulfil_after_goods", "apply_before_commit", "apply_after_commit", "inbox_after_done",
]  # fmt: skip
VERIFY = [
    "verify_before_apply", "apply_after_fetch", "fulfil_before_goods", "fulfil_after_goods",
    "apply_before_commit", "apply_after_commit", "verify_after_apply",
]  # fmt: skip
SWEEP = ["apply_after_fetch", "apply_before_commit", "apply_after_commit"]
#: Places of other parts, which die in tests of their own.
ELSEWHERE = {"spend_before_step", "spend_before_commit", "spend_after_commit",
             "refill_after_look", "refill_before_commit",
             "clock_after_move", "clock_after_step", "clock_before_finish",
             "provider_clock_made", "provider_clock_moved", "provider_clock_before_look",
             "subscribe_before_commit", "subscribe_after_commit", "renewal_invoiced",
             "renewal_before_commit", "renewal_after_commit", "dunning_before_commit",
             "dunning_after_commit", "change_before_commit", "change_after_commit",
             "drop_before_commit", "drop_after_commit",
             "publish_before_commit", "publish_after_commit", "old_call_before_settle",
             "refund_before_commit", "refund_after_commit", "withdrawal_before_commit",
             "reconcile_after_drifts", "reconcile_after_repair", "statement_line_taken",
             "invoice_before_commit", "number_before_commit", "number_after_draw",
             "catalog_product_made", "catalog_price_made", "catalog_price_set",
             "catalog_adopted", "plan_price_made"}  # fmt: skip

TIMES = (1, 2)


def test_every_crash_point_of_a_purchase_is_tried():
    assert set(POINTS) == {*START, *WEBHOOK, *VERIFY} | ELSEWHERE


def die(desk, point, times, task):
    """Run the task until it dies there, then let it die there once more while sweeps recover."""
    crash.arm(point)
    with pytest.raises(CrashNow):
        task()
    assert not crash.armed()
    if times == 2:
        crash.arm(point)


def order(desk):
    desk.make.promo("WELCOME10", percent_off=10, cap=100, per_customer=1)
    user = desk.make.user()
    return user, StartCheckout(
        customer_id=user.uuid, pack="creator", promo="WELCOME10",
        request_key=request_key("app", f"order-{user.external_id}"),
    )  # fmt: skip


def start_again(desk, what):
    """What an application does that got no answer: the same request with the same key."""
    for _ in range(4):
        desk.clock.advance(minutes=2)
        try:
            return checkout.start(desk.env, what)
        except (PaydeskError, CrashNow):
            continue
    return checkout.start(desk.env, what)


def assert_bought_once(desk, user):
    crash.disarm()
    desk.recover(rounds=2)
    rows = desk.all("select id, state, captured_minor, promo_id from payments")
    assert [(row["state"], row["captured_minor"]) for row in rows] == [("succeeded", 899)]
    assert [row["granted"] for row in desk.all("select granted from batches")] == [150]
    assert desk.all("select used::int from promo_counts") == [{"used": 1}]
    assert desk.all("select state from promo_uses") == [{"state": "used"}]
    assert {row["state"] for row in desk.all("select state from fulfillments")} == {"done"}
    assert {row["state"] for row in desk.all("select state from provider_calls")} == {"done"}
    assert {row["state"] for row in desk.all("select state from provider_events")} <= {"done"}
    assert len(desk.sim.objects("checkout.session")) == 1
    assert desk.all("select customer_id from news") == []


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("point", START)
def test_a_checkout_that_dies_goes_on_with_the_same_key(desk, point, times):
    """I5 I6 I27 S2.9: one payment, one session, one use of the code."""
    user, what = order(desk)
    die(desk, point, times, lambda: checkout.start(desk.env, what))
    view = start_again(desk, what)
    assert view.url
    desk.pay(view)
    desk.deliver(view)
    assert_bought_once(desk, user)


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("point", START)
def test_a_checkout_that_dies_and_is_forgotten_ends_by_itself(desk, point, times):
    """I6 I18: nobody comes back: nothing stays open here or there, the code's use goes back."""
    _, what = order(desk)
    die(desk, point, times, lambda: checkout.start(desk.env, what))
    desk.recover(rounds=14)
    crash.disarm()
    desk.recover(rounds=2)
    assert {row["state"] for row in desk.all("select state from payments")} <= {"expired"}
    assert {one["status"] for one in desk.sim.objects("checkout.session")} <= {"expired"}
    assert desk.all("select coalesce(sum(used), 0)::int as used from promo_counts") == [{"used": 0}]
    assert {row["state"] for row in desk.all("select state from promo_uses")} <= {"released"}
    assert desk.all("select id from batches") == []


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("point", WEBHOOK)
def test_a_webhook_that_dies_is_made_up_for_by_sweeps_alone(desk, point, times):
    """I1 I5 I6: no redelivery, no verify; what was never stored, the session's end finds."""
    user, what = order(desk)
    view = checkout.start(desk.env, what)
    desk.pay(view)
    (event,) = desk.events(view, "checkout.session.completed")
    die(desk, point, times, lambda: desk.receive(event))
    desk.recover(rounds=12)
    assert_bought_once(desk, user)


@pytest.mark.parametrize("point", WEBHOOK)
def test_a_webhook_that_died_may_come_again_at_once(desk, point):
    """I1 I29: the provider got no answer and sends it again."""
    user, what = order(desk)
    view = checkout.start(desk.env, what)
    desk.pay(view)
    (event,) = desk.events(view, "checkout.session.completed")
    die(desk, point, 1, lambda: desk.receive(event))
    desk.receive(event)
    assert desk.balance(view) == 150
    assert_bought_once(desk, user)


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("point", VERIFY)
def test_a_verify_that_dies_is_made_up_for_by_sweeps_alone(desk, point, times):
    """I1 I6 S2.10: and no webhook ever comes."""
    user, what = order(desk)
    view = checkout.start(desk.env, what)
    desk.pay(view)
    die(desk, point, times, lambda: checkout.verify(desk.env, view.payment.session_ref))
    desk.recover(rounds=12)
    assert_bought_once(desk, user)


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("point", SWEEP)
def test_a_sweep_that_dies_while_it_ends_a_session_ends_it_the_next_time(desk, point, times):
    """I6 I18."""
    _, what = order(desk)
    checkout.start(desk.env, what)
    desk.clock.advance(minutes=31)
    die(desk, point, times, lambda: desk.sweep("sessions"))
    desk.recover(rounds=4)
    crash.disarm()
    assert [row["state"] for row in desk.all("select state from payments")] == ["expired"]
    assert [one["status"] for one in desk.sim.objects("checkout.session")] == ["expired"]
    assert desk.all("select used::int from promo_counts") == [{"used": 0}]


@pytest.mark.prove
@pytest.mark.parametrize("point", START[2:] + WEBHOOK if PROVE else ["after_provider_call",
                                                                   "apply_before_commit"])
def test_a_process_that_really_ends_there_leaves_the_same(desk, point, tmp_path):
    """I5 I6: not an exception but the end of the process, with nothing closed or rolled back."""
    user, what = order(desk)
    view = None if point in START else checkout.start(desk.env, what)
    told = (
        "import json, sys\n"
        "from uuid import UUID\n"
        "from paydesk import crash\n"
        "from paydesk.assemble import build_env\n"
        "from paydesk.flows import checkout, inbox\n"
        "from paydesk.settings import Settings\n"
        "told = json.load(sys.stdin)\n"
        "env = build_env(Settings(**told['settings']), start_missing=False)\n"
        "crash.arm(told['point'], 'exit')\n"
        "if told['event'] is None:\n"
        "    checkout.start(env, checkout.StartCheckout(customer_id=UUID(told['customer']),"
        " pack='creator', promo='WELCOME10', request_key=UUID(told['key'])))\n"
        "else:\n"
        "    inbox.receive(env, 'stripe', told['event'].encode(), told['headers'])\n"
    )
    settings = desk.env.settings
    event = None
    if view is not None:
        desk.pay(view)
        (event,) = desk.events(view, "checkout.session.completed")
    given = {
        "point": point, "customer": str(user.uuid), "key": str(what.request_key),
        "event": event.body.decode() if event else None,
        "headers": event.headers if event else None,
        "settings": {"database_url": settings.database_url, "simulator_url": desk.sim.url,
                     "stripe_webhook_secret": settings.stripe_webhook_secret},
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", told], input=json.dumps(given), text=True, cwd=tmp_path,
        capture_output=True, timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == crash.EXIT_STATUS, done.stderr
    if view is None:
        view = start_again(desk, what)
        desk.pay(view)
        desk.deliver(view)
    else:
        desk.recover()
    assert_bought_once(desk, user)
