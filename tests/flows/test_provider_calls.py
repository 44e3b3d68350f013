"""A provider that is slow, away, overloaded or lies: one session, one charge, and an end."""

from __future__ import annotations

import hashlib
import hmac
import threading
import time
from dataclasses import fields, replace
from datetime import UTC, datetime

import pytest
from purchase import Desk

from paydesk import crash, providers
from paydesk.clock import SystemClock
from paydesk.crash import CrashNow
from paydesk.errors import (
    IdempotencyInProgress,
    InvalidSignature,
    NotFound,
    NotSupported,
    OutcomeUnknown,
    PaymentFailed,
    ProviderUnavailable,
)
from paydesk.flows import checkout, inbox, provider_calls
from paydesk.flows.checkout import StartCheckout
from paydesk.ids import request_key
from paydesk.providers.base import Charge, Provider, Providers, RemoteCheckout
from paydesk.providers.circuit import Circuit
from paydesk.rules.money import USD
from paydesk.settings import Settings

SESSIONS = "/v1/checkout/sessions"


def what(user, **more):
    told = {"customer_id": user.uuid, "pack": "creator", **more}
    return StartCheckout(**told, request_key=request_key("app", "order-1"))


def calls(desk):
    return desk.all("select state, tries, error from provider_calls order by created_at")


@pytest.fixture
def hasty(desk):
    """The same desk with a provider that is waited for one second."""
    settings = replace(desk.env.settings, provider_timeout_s=1)
    offered = providers.load(settings)
    yield Desk(
        replace(desk.env, settings=settings, providers=offered), desk.sim, desk.make, desk.clock
    )
    offered.close()


# I28
def test_a_call_is_its_senders_alone_for_as_long_as_a_provider_may_take(desk):
    """Waiting for a free place and for the answer, with the longest timeout that may be set."""
    (most,) = [one.metadata["most"] for one in fields(Settings) if one.name == "provider_timeout_s"]
    crash.arm("checkout_after_intend")
    with pytest.raises(CrashNow):
        checkout.start(desk.env, what(desk.make.user()))
    (row,) = desk.all("select customer_id, id from provider_calls where state = 'intended'")
    with desk.env.db.read() as tx:
        call = provider_calls.read(tx, row["customer_id"], row["id"])
    env = replace(desk.env, settings=replace(desk.env.settings, provider_timeout_s=most))
    desk.clock.advance(seconds=provider_calls.LEASE_S - 2 * most + 10)
    kept = provider_calls.keep(env, call)
    assert kept is not None
    assert (kept.try_at - env.now()).total_seconds() >= 2 * most


@pytest.mark.parametrize("kind", ["429", "500", "drop_before", "500_after", "drop_after"])
def test_an_unclear_answer_opens_no_second_session(desk, kind):
    """I27 I40: the caller hears so, repeats with the same key, and gets the one session."""
    user = desk.make.user()
    desk.sim.fault(kind, SESSIONS)
    with pytest.raises((OutcomeUnknown, ProviderUnavailable)) as raised:
        checkout.start(desk.env, what(user))
    assert raised.value.http_status == 503
    assert calls(desk)[0]["state"] == "unknown"
    assert desk.all("select state from payments") == [{"state": "pending"}]
    if kind == "500_after":  # Stripe keeps the answer of a key, its own failure too.
        desk.recover(minutes=200, rounds=9)
        assert {row["state"] for row in desk.all("select state from payments")} == {"expired"}
        assert len(desk.sim.objects("checkout.session")) == 1
        return
    view = checkout.start(desk.env, what(user))
    assert view.url
    assert len(desk.sim.objects("checkout.session")) == 1
    assert [row["state"] for row in calls(desk)] == ["done"]
    desk.pay(view)
    desk.deliver(view)
    assert desk.balance(view) == 150


def test_a_lying_provider_that_times_out_after_success_is_found_out_by_the_sweep(hasty):
    """I6 I40: nobody repeats; the identical request under the same key gives the same session."""
    hasty.sim.fault("timeout_after", SESSIONS, seconds=3)
    started = time.monotonic()
    with pytest.raises(OutcomeUnknown):
        checkout.start(hasty.env, what(hasty.make.user()))
    assert time.monotonic() - started < 2.5
    hasty.clock.advance(minutes=2)
    hasty.sweep("provider_calls")
    sessions = hasty.sim.objects("checkout.session")
    row = hasty.all("select session_ref from payments")[0]
    assert [one["id"] for one in sessions] == [row["session_ref"]]
    assert [row["state"] for row in calls(hasty)] == ["done"]


def test_an_event_can_outrun_the_answer_that_was_lost(hasty):
    """I1 I6: the customer paid on a session of which we only hear by webhook."""
    hasty.sim.fault("timeout_after", SESSIONS, seconds=3)
    user = hasty.make.user()
    with pytest.raises(OutcomeUnknown):
        checkout.start(hasty.env, what(user))
    (session,) = hasty.sim.objects("checkout.session")
    hasty.sim.pay(session["id"])
    for one in hasty.sim.deliveries(about=session["id"]):
        hasty.receive(one)
    view = checkout.start(hasty.env, what(user))
    assert (view.status, hasty.balance(view)) == ("complete", 150)
    assert view.payment.session_ref == session["id"]
    assert [row["state"] for row in calls(hasty)] == ["done"]


def test_a_call_too_old_to_repeat_is_searched_for_ended_and_never_sent_again(hasty):
    """I6: after 23 hours the key may be forgotten there."""
    hasty.sim.fault("timeout_after", SESSIONS, seconds=3)
    with pytest.raises(OutcomeUnknown):
        checkout.start(hasty.env, what(hasty.make.user()))
    hasty.clock.advance(hours=23, minutes=1)
    hasty.sweep("provider_calls")
    sessions = hasty.sim.objects("checkout.session")
    assert [one["status"] for one in sessions] == ["expired"]
    assert hasty.all("select state from payments") == [{"state": "expired"}]
    assert [row["state"] for row in calls(hasty)] == ["done"]


def test_an_old_call_whose_session_was_paid_is_found_and_credited(hasty):
    """I1 I6: late, but once."""
    hasty.sim.fault("timeout_after", SESSIONS, seconds=3)
    with pytest.raises(OutcomeUnknown):
        checkout.start(hasty.env, what(hasty.make.user()))
    (session,) = hasty.sim.objects("checkout.session")
    hasty.sim.pay(session["id"])
    hasty.clock.advance(hours=30)
    hasty.sweep("provider_calls")
    assert hasty.all("select state, captured_minor::int as c from payments") == [
        {"state": "succeeded", "c": 999}
    ]
    assert hasty.all("select granted::int from batches") == [{"granted": 150}]


def test_an_old_call_that_opened_nothing_ends_its_payment(desk):
    """I6 I18: the provider knows of none: refused, expired, the code's use goes back."""
    desk.make.promo("WELCOME10", percent_off=10, cap=5)
    desk.sim.fault("500", SESSIONS)
    with pytest.raises(OutcomeUnknown):
        checkout.start(desk.env, what(desk.make.user(), promo="WELCOME10"))
    desk.clock.advance(hours=24)
    desk.sweep("provider_calls")
    assert desk.sim.objects("checkout.session") == []
    assert [row["state"] for row in calls(desk)] == ["refused"]
    assert desk.all("select state, error_code from payments") == [
        {"state": "expired", "error_code": "never_opened"}
    ]
    assert desk.all("select used::int from promo_counts") == [{"used": 0}]


def test_a_refused_request_fails_the_payment_for_good(desk):
    """PAY002 I27: less than the provider takes; the repeat hears the same and opens nothing."""
    user = desk.make.user()
    order = what(user, pack=None, amount=USD("0.10"))
    heard = []
    for _ in range(2):
        with pytest.raises(PaymentFailed) as refused:
            checkout.start(desk.env, order)
        heard.append(refused.value.to_problem())
    assert heard[0] == heard[1]
    assert (heard[0]["status"], heard[0]["legacy_code"]) == (402, "PAY002")
    assert desk.all("select state from payments") == [{"state": "failed"}]
    assert desk.all("select state, ended_at is not null as ended from attempts") == [
        {"state": "failed", "ended": True}
    ]
    assert [row["state"] for row in calls(desk)] == ["refused"]


def test_a_session_ends_by_the_databases_clock_where_the_machines_is_wrong(desk, monkeypatch):
    """I25: five minutes late, and Stripe would refuse every session as too short."""
    real = time.time
    monkeypatch.setattr("paydesk.providers.stripe.time.time", lambda: real() - 600)
    clock = SystemClock()
    clock.measure(lambda: datetime.fromtimestamp(real(), UTC))
    checkout.start(replace(desk.env, clock=clock), what(desk.make.user()))
    (session,) = desk.sim.objects("checkout.session")
    assert session["expires_at"] - session["created"] == pytest.approx(2100, abs=60)


def test_a_running_call_is_not_sent_twice(desk):
    """I27: while one has the lease, the same key answers 409."""
    user = desk.make.user()
    desk.sim.fault("slow", SESSIONS, seconds=1)
    answers = []
    thread = threading.Thread(
        target=lambda: answers.append(checkout.start(desk.env, what(user)).id)
    )
    thread.start()
    end = time.monotonic() + 60
    while not calls(desk) and time.monotonic() < end:
        time.sleep(0.01)
    with pytest.raises(IdempotencyInProgress):
        checkout.start(desk.env, what(user))
    thread.join(60)
    assert answers == [checkout.start(desk.env, what(user)).id]
    assert len(desk.sim.objects("checkout.session")) == 1


# The circuit -----------------------------------------------------------------------------------


def test_a_circuit_opens_after_failures_and_closes_again():
    """I40: an ill provider costs its callers no time, and is tried again."""
    circuit = Circuit("teller", size=2, timeout_s=5, rest_s=0.05)

    def ill():
        raise OutcomeUnknown()

    for _ in range(8):
        with pytest.raises(OutcomeUnknown):
            circuit.call(ill)
    assert circuit.state == "open"
    with pytest.raises(ProviderUnavailable):
        circuit.call(lambda: 1)
    end = time.monotonic() + 60
    while circuit.state == "open" and time.monotonic() < end:
        time.sleep(0.01)
    assert circuit.call(lambda: 1) == 1
    assert circuit.state == "closed"
    circuit.close()


def test_a_circuit_bounds_the_calls_under_way_and_their_time():
    """I40 I44: bounded, and whoever waits too long hears that nothing was sent."""
    circuit = Circuit("teller", size=1, timeout_s=0.2)
    free = threading.Event()
    with pytest.raises(OutcomeUnknown):
        circuit.call(free.wait)
    with pytest.raises(ProviderUnavailable):
        circuit.call(lambda: 1)
    free.set()
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            assert circuit.call(lambda: 2) == 2
            break
        except ProviderUnavailable:
            continue
    circuit.close()


# Other providers -------------------------------------------------------------------------------


class Teller(Provider):
    """An invented provider with asynchronous methods and only what it must have."""

    name = "teller"
    can = frozenset({"checkout", "fetch"})

    def __init__(self, settings):
        super().__init__(settings)
        self.status, self.ended, self.asked, self.is_away = "pending", False, 0, False

    async def create_checkout(self, order):
        if self.is_away:
            raise OutcomeUnknown()
        return RemoteCheckout(id=f"t-{order.id}", url=f"https://teller.example/{order.id}",
                              expires_in=600)  # fmt: skip

    async def fetch(self, ref):
        self.asked += 1
        return Charge(ref=ref, status=self.status, amount=USD("9.99"), ended=self.ended)

    def parse_webhook(self, body, headers):
        self.verify_hmac(body, headers["x-signature"], "secret")
        return [providers.ProviderEvent(id=body.decode(), kind="charge.updated",
                                        ref=body.decode().partition(":")[2])]  # fmt: skip


@pytest.fixture
def teller(desk):
    one = Teller(desk.env.settings)
    offered = Providers(desk.env.settings, {"teller": one}, "teller")
    yield Desk(replace(desk.env, providers=offered), desk.sim, desk.make, desk.clock), one
    offered.close()


def test_a_provider_with_async_methods_sells_and_verifies(teller):
    """Section 4.9 of the experience: an event is a hint, the core asks before money moves."""
    desk, provider = teller
    view = desk.open()
    ref = view.payment.session_ref
    assert view.url.startswith("https://teller.example/")
    body = f"e1:{ref}".encode()
    mac = hmac.new(b"secret", body, hashlib.sha256).hexdigest()
    with pytest.raises(InvalidSignature):
        inbox.receive(desk.env, "teller", body, {"x-signature": "0" * 64})
    inbox.receive(desk.env, "teller", body, {"x-signature": mac})
    assert (desk.payment(view).state, provider.asked) == ("pending", 1)
    provider.status = "succeeded"
    assert inbox.replay(desk.env, "teller", "", f"e1:{ref}") == "done"
    assert desk.balance(view) == 150


def test_what_a_provider_cannot_do_is_said_and_not_tried(teller):
    """Its sessions end by its own clock, and only its word ends ours."""
    desk, provider = teller
    with pytest.raises(NotSupported):
        provider.refund("t", USD("1"), "k")
    with pytest.raises(NotFound):
        _ = desk.env.providers["moncash"]
    view = desk.open()
    with pytest.raises(NotSupported):
        checkout.expire_now(desk.env, view.customer_id, view.id)
    desk.clock.advance(minutes=40)
    desk.sweep("sessions")
    assert desk.payment(view).state == "pending"
    provider.status, provider.ended = "expired", True
    desk.clock.advance(minutes=3)
    desk.sweep("sessions")
    assert desk.payment(view).state == "expired"


def test_an_old_call_that_cannot_be_searched_ends_and_is_flagged(teller):
    """I6: nobody can know; a person is told."""
    desk, provider = teller
    provider.is_away = True
    with pytest.raises(OutcomeUnknown):
        desk.open()
    desk.clock.advance(hours=24)
    desk.sweep("provider_calls")
    assert desk.all("select state, review, error_code from payments") == [
        {"state": "expired", "review": "outcome_unknown", "error_code": "outcome_unknown"}
    ]
