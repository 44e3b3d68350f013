"""The inbox: signatures, repeats, foreign and unknown events, poison, parking and replay."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
from purchase import DECLINED, SECRET, Desk, signed

from paydesk import ids
from paydesk.errors import BodyTooLarge, InvalidSignature, MalformedRequest, Unavailable
from paydesk.flows import attempts, charges, inbox, payment_trail, sweeps
from paydesk.providers.stripe_shapes import check_signature, read_event


def event(desk: Desk, view, kind="checkout.session.completed", **more):
    found = desk.events(view, kind)[0].event
    return json.dumps({**found, **more}).encode()


def rows(desk):
    return desk.all(
        "select event_id, type, state, tries, deliveries, error from provider_events"
        " order by received_at, event_id"
    )


# Signatures ------------------------------------------------------------------------------------


# S1.15!
def test_only_our_secrets_and_a_near_time_stamp_pass():
    """I31 S1.15 S4.3: also the next secret of a roll, and nothing else."""
    body, now = b'{"id": "evt_1"}', 1_700_000_000

    def passes(header, secrets=(SECRET,)):
        try:
            check_signature(body, header, list(secrets), now_s=now, tolerance_s=300)
        except InvalidSignature:
            return False
        return True

    good = signed(body, at=now)["Stripe-Signature"]
    assert passes(good)
    assert passes(good, ("whsec_new", SECRET))
    assert passes(good + ",v0=old,v1=" + "0" * 64)
    assert passes(signed(body, at=now - 300)["Stripe-Signature"])
    assert passes(signed(body, at=now + 300)["Stripe-Signature"])
    refused = [
        None, "", "t=,v1=", "v1=" + "0" * 64, f"t={now}", good.replace("v1", "v0"),
        good[:-1], good + "0", good.replace("t=", "t=1"), good + ",t=5", "t=1e9,v1=aa",
        "t=-5,v1=aa", "é" + good, good.replace("v1=", "v1=é"), "t=" + "9" * 5000, "x" * 9000,
        ",".join([good] + ["v1=" + "0" * 64] * 40), f"t=٣{now},v1=aa",
        signed(body, at=now - 301)["Stripe-Signature"],
        signed(body, at=now + 301)["Stripe-Signature"],
        signed(body + b" ", at=now)["Stripe-Signature"],
        signed(body, at=now, secret="whsec_other")["Stripe-Signature"],
    ]  # fmt: skip
    assert [header for header in refused if passes(header)] == []
    assert not passes(good, ())


@pytest.mark.parametrize("secret", ["", "whsec_other", SECRET + " "])
def test_a_forged_webhook_is_refused_and_leaves_nothing(desk, secret):
    """I31 I32: 400, and no row."""
    view = desk.open()
    desk.pay(view)
    body = event(desk, view)
    if secret.strip() == SECRET:
        body_sent, headers = body.replace(b'"usd"', b'"eur"'), signed(body)
    else:
        body_sent, headers = body, signed(body, secret=secret)
    with pytest.raises(InvalidSignature) as refused:
        inbox.receive(desk.env, "stripe", body_sent, headers)
    assert refused.value.http_status == 400
    assert rows(desk) == []
    assert desk.payment(view).state == "pending"


def test_old_and_future_webhooks_are_refused_both_ways(desk):
    """I31: the tolerance has two sides."""
    view = desk.open()
    desk.pay(view)
    body = event(desk, view)
    for shift in (-301, 302, 10**6):
        with pytest.raises(InvalidSignature):
            inbox.receive(desk.env, "stripe", body, signed(body, at=int(time.time()) + shift))
    assert rows(desk) == []


@pytest.mark.parametrize("body", [
    b"", b"[]", b"null", b'"text"', b"{", b"\xff\xfe", b"[" * 100_000,
    b'{"a":' * 50_000 + b"1" + b"}" * 50_000, b'{"id": NaN}',
    b'{"a":' * 2000 + b'"\\ud800"' + b"}" * 2000,
])  # fmt: skip
def test_a_signed_body_that_is_no_object_is_refused(desk, body):
    """I31: 400, never a fault of ours."""
    with pytest.raises((MalformedRequest, BodyTooLarge)) as refused:
        inbox.receive(desk.env, "stripe", body, signed(body))
    assert refused.value.http_status in (400, 413)
    assert rows(desk) == []


def test_a_body_too_large_is_refused_before_it_is_hashed(desk):
    body = b"{" + b" " * desk.env.settings.max_body_bytes + b"}"
    with pytest.raises(BodyTooLarge):
        inbox.receive(desk.env, "stripe", body, {})


# Stored and parked -----------------------------------------------------------------------------


@pytest.mark.parametrize("told", [
    {}, {"id": "evt_1"}, {"id": 5, "type": "x"}, {"id": "evt_1", "type": "charge.succeeded"},
    {"id": "evt_1", "type": "charge.succeeded", "data": []},
    {"id": "evt_1", "type": "payment_intent.succeeded", "data": {"object": {}}},
    {"id": "evt\u0000", "type": "a b", "data": {"object": {"id": "é"}}},
])  # fmt: skip
def test_a_signed_event_that_lacks_fields_is_stored_and_parked(desk, told):
    """I30: acknowledged, visible, no fault."""
    body = json.dumps(told).encode()
    answer = inbox.receive(desk.env, "stripe", body, signed(body))
    assert [one.state for one in answer] == ["parked"]
    assert [row["state"] for row in rows(desk)] == ["parked"]
    assert rows(desk)[0]["error"]


@pytest.mark.parametrize("kind", [
    "customer.tax_id.updated", "invoiceitem.created", "never.heard.of",
    "radar.early_fraud_warning.created", "v2.core.event",
])  # fmt: skip
def test_unknown_types_are_stored_and_acknowledged(desk, kind):
    """I30 S4.32."""
    told = {"id": "evt_9", "type": kind, "api_version": "2099-01-01",
            "data": {"object": {"id": "x", "object": "thing"}}}  # fmt: skip
    body = json.dumps(told).encode()
    answer = inbox.receive(desk.env, "stripe", body, signed(body))
    assert [(one.state, one.type) for one in answer] == [("done", kind)]


@pytest.mark.parametrize("wrong", [{"livemode": True}, {"account": "acct_of_somebody"}])
def test_an_event_of_another_account_or_mode_changes_nothing(desk, wrong):
    """I32: stored, parked, and a redelivery does not help it."""
    view = desk.open()
    desk.pay(view)
    body = event(desk, view, **wrong)
    for _ in range(2):
        answer = inbox.receive(desk.env, "stripe", body, signed(body))
        assert [one.state for one in answer] == ["parked"]
    assert desk.payment(view).state == "pending"
    assert desk.balance(view) == 0


def test_a_replayed_genuine_webhook_changes_nothing(desk):
    """I32 S2.12: the second delivery is known."""
    view = desk.open()
    desk.pay(view)
    desk.deliver(view)
    before = desk.standing(view)
    for one in desk.events(view):
        assert all(answer.is_duplicate for answer in desk.receive(one))
    assert desk.standing(view) == before
    assert all(row["deliveries"] == 2 for row in rows(desk))


def test_the_same_event_under_another_id_changes_nothing(desk):
    """I1 C14: the fact counts, not the message."""
    view = desk.open()
    desk.pay(view)
    for number in range(3):
        body = event(desk, view, id=f"evt_copy_{number}")
        inbox.receive(desk.env, "stripe", body, signed(body))
    assert desk.balance(view) == 150
    assert desk.payment(view).captured == desk.payment(view).amount


# Shapes ----------------------------------------------------------------------------------------


# S1.22!
def test_both_names_of_a_failed_intent_are_accepted(desk):
    """C15 S1.22."""
    for kind in ("payment_intent.failed", "payment_intent.payment_failed"):
        view = desk.open()
        desk.pay(view, card=DECLINED)
        body = event(desk, view, "payment_intent.payment_failed", type=kind, id=f"evt_{kind}")
        assert inbox.receive(desk.env, "stripe", body, signed(body))[0].state == "done"
        assert desk.payment(view).error_code
        assert "payment.declined" in desk.events_of(view)


def test_an_intent_in_the_old_shape_is_read_too(desk):
    """C26: `charges.data` instead of `latest_charge`."""
    view = desk.open()
    desk.pay(view)
    told = desk.events(view, "payment_intent.succeeded")[0].event
    intent = told["data"]["object"]
    charge = desk.sim.get(intent.pop("latest_charge"))
    intent["charges"] = {"object": "list", "data": [charge]}
    intent.pop("payment_method_types", None)
    told["api_version"] = "2020-08-27"
    body = json.dumps(told).encode()
    read = read_event(body)
    assert read.charge is not None
    assert (read.charge.status, read.charge.method) == ("succeeded", "card")
    inbox.receive(desk.env, "stripe", body, signed(body))
    assert (desk.balance(view), desk.payment(view).method) == (150, "card")


@pytest.mark.parametrize(
    "missing", ["amount_total", "payment_intent", "payment_status", "metadata"]
)
def test_a_needed_field_that_is_missing_is_read_from_the_provider(desk, missing):
    """C26: re-read rather than guess."""
    view = desk.open()
    desk.pay(view)
    told = desk.events(view, "checkout.session.completed")[0].event
    del told["data"]["object"][missing]
    body = json.dumps(told).encode()
    inbox.receive(desk.env, "stripe", body, signed(body))
    assert (desk.balance(view), desk.payment(view).state) == (150, "succeeded")


def test_an_event_that_claims_what_the_provider_does_not_show_waits(desk):
    """I35: somebody with the secret, or a stale message, is not believed against the provider."""
    view = desk.open()
    desk.pay(view)
    paid = desk.events(view, "checkout.session.completed")[0].event
    other = desk.open()
    session = paid["data"]["object"]
    session["id"] = other.payment.session_ref
    session["payment_intent"] = None
    session["metadata"] = {"payment_id": None}
    session["payment_status"] = "paid"
    body = json.dumps({**paid, "id": "evt_claims"}).encode()
    inbox.receive(desk.env, "stripe", body, signed(body))
    assert desk.payment(other).state == "pending"
    assert desk.balance(other) == 0


def test_an_event_of_a_payment_that_is_not_known_waits_and_is_parked(desk):
    """I29: back-off, then parked; a person sees it and can replay it."""
    view = desk.open()
    desk.pay(view)
    told = desk.events(view, "checkout.session.completed")[0].event
    unknown = ids.show("payment", ids.new_owned(view.customer_id))
    told["data"]["object"]["metadata"] = {"payment_id": unknown}
    told["data"]["object"]["id"] = "cs_test_of_another_desk"
    body = json.dumps({**told, "id": "evt_foreign"}).encode()
    assert inbox.receive(desk.env, "stripe", body, signed(body))[0].state == "waiting"
    for _ in range(desk.env.settings.inbox_max_tries):
        desk.clock.advance(hours=2)
        desk.sweep("inbox")
    assert [row["state"] for row in rows(desk)] == ["parked"]
    assert inbox.receive(desk.env, "stripe", body, signed(body))[0].state == "waiting"
    assert inbox.replay(desk.env, "stripe", "", "evt_foreign") == "waiting"


def test_where_events_are_no_proof_the_provider_is_asked_each_time(desk):
    """Data rule 4: the setting; the end is the same."""
    env = replace(desk.env, settings=replace(desk.env.settings, events_are_proof=False))
    careful = Desk(env, desk.sim, desk.make, desk.clock)
    view = careful.open()
    careful.pay(view)
    careful.sim.fault("500", "/v1/checkout/sessions/*")
    one = careful.events(view, "checkout.session.completed")[0]
    assert careful.receive(one)[0].state == "waiting"
    assert careful.balance(view) == 0
    assert careful.receive(one)[0].state == "done"
    assert careful.balance(view) == 150


def test_customers_whose_clocks_are_ahead_share_no_transaction(desk):
    """I25: five minutes of skew between processes; each is credited all the same, once."""
    views = [desk.open() for _ in range(3)]
    for view in views:
        desk.pay(view)
    desk.clock.advance(minutes=5)
    for view in views[:2]:
        desk.deliver(view, "payment_intent.succeeded")
    desk.clock.advance(minutes=-5)
    batch = [one for view in views for one in desk.events(view, "checkout.session.completed")]
    inbox.receive_many(desk.env, "stripe", [(one.body, one.headers) for one in batch])
    assert [desk.balance(view) for view in views] == [150] * 3


# Poison ----------------------------------------------------------------------------------------


def test_a_poison_event_parks_and_delays_no_other(desk, monkeypatch):
    """I29: its group goes one by one, it waits with back-off, and replay settles it later."""
    good, bad, late = desk.open(), desk.open(), desk.open()
    for view in (good, bad, late):
        desk.pay(view)
    real = attempts.save

    def save(tx, changed, added, now):
        changed = list(changed)
        if any(one.payment_id == bad.payment.id for one in changed):
            raise ZeroDivisionError("poison")
        return real(tx, changed, added, now)

    monkeypatch.setattr(attempts, "save", save)
    monkeypatch.setattr(sweeps, "raises_faults", False)
    events = [desk.events(v, "checkout.session.completed")[0] for v in (bad, good, late)]
    answers = inbox.receive_many(desk.env, "stripe", [(e.body, e.headers) for e in events])
    assert [answer[0].state for answer in answers] == ["waiting", "done", "done"]
    assert [desk.balance(view) for view in (good, bad, late)] == [150, 0, 150]
    for _ in range(desk.env.settings.inbox_max_tries):
        desk.clock.advance(hours=2)
        desk.sweep("inbox")
    parked = [row for row in rows(desk) if row["state"] == "parked"]
    assert [row["event_id"] for row in parked] == [events[0].event_id]
    assert "ZeroDivisionError" in parked[0]["error"]
    monkeypatch.undo()
    for _ in range(2):
        assert inbox.replay(desk.env, "stripe", "", events[0].event_id) == "done"
    assert desk.balance(bad) == 150
    assert desk.payment(bad).fulfillment.path == "admin"


def test_stored_is_acknowledged_even_where_nothing_can_be_applied(desk, monkeypatch):
    """I5 I28: the row is the promise; the sweep keeps it."""
    view = desk.open()
    desk.pay(view)

    def settle(env, claims):
        raise Unavailable("the database is away")

    monkeypatch.setattr(charges, "settle", settle)
    one = desk.events(view, "checkout.session.completed")[0]
    assert desk.receive(one)[0].state in ("new", "waiting")
    monkeypatch.undo()
    desk.clock.advance(minutes=2)
    desk.sweep("inbox")
    assert desk.balance(view) == 150
    assert desk.payment(view).fulfillment.path == "sweep"


def test_a_provider_that_is_away_parks_no_event(desk):
    """I40: an outage is no fault of the event, however long."""
    desk.env.providers.circuit("stripe").rest_s = 0.05
    view = desk.open()
    desk.pay(view)
    told = desk.events(view, "checkout.session.completed")[0].event
    told["data"]["object"]["amount_total"] += 1
    body = json.dumps(told).encode()
    desk.sim.config(faults=[{"kind": "500", "path": "/v1/checkout/sessions/*", "times": 1000}])
    inbox.receive(desk.env, "stripe", body, signed(body))
    for _ in range(desk.env.settings.inbox_max_tries + 2):
        desk.clock.advance(hours=2)
        desk.sweep("inbox")
    assert [row["state"] for row in rows(desk)] == ["waiting"]
    desk.sim.config(faults=[])
    desk.clock.advance(hours=2)
    _until_closed(desk)
    desk.sweep("inbox")
    assert desk.balance(view) == 150


def _until_closed(desk):
    """Wait until the provider's circuit lets a call try again."""
    end = time.monotonic() + 60
    while desk.env.providers.health()["stripe"] == "open" and time.monotonic() < end:
        time.sleep(0.05)


def test_of_a_group_each_change_names_the_event_that_brought_it(desk):
    """S1.4 I46: many payments' events in one transaction, two of one customer among them."""
    views = [desk.open(desk.make.user(f"user_{n}")) for n in range(3)]
    for view in views:
        desk.pay(view)
    sent = [one for view in views for one in desk.events(view)]
    answers = inbox.receive_many(desk.env, "stripe", [(one.body, one.headers) for one in sent])
    assert len(answers) > 6
    for view in views:
        own = {one.event["id"] for one in desk.events(view)}
        found = desk.all(
            "select type, cause from events where customer_id = %(customer)s"
            " and cause->>'via' = 'webhook'", customer=view.customer_id,
        )  # fmt: skip
        assert {"payment.succeeded", "checkout.completed"} < {row["type"] for row in found}
        named = {row["cause"].get("event") for row in found}
        assert len(named) == 1 and named <= own, found
        with desk.env.db.read() as tx:
            steps = payment_trail.timeline(tx, desk.payment(view))
        assert {"event": named.pop()} in [step.cause for step in steps]


def test_of_two_payments_of_one_customer_each_names_its_own_event(desk):
    # S1.4 I46
    who = desk.make.user("user_1")
    desk.make.pack("other")
    views = [desk.open(who), desk.open(who, pack="other")]
    for view in views:
        desk.pay(view)
    sent = [one for view in views for one in desk.events(view)]
    inbox.receive_many(desk.env, "stripe", [(one.body, one.headers) for one in sent])
    for view in views:
        own = {one.event["id"] for one in desk.events(view)}
        with desk.env.db.read() as tx:
            steps = payment_trail.timeline(tx, desk.payment(view))
        paid = [s.cause.get("event") for s in steps if s.type == "payment.succeeded"]
        assert len(paid) == 1 and paid[0] in own


def test_what_a_group_could_not_apply_together_names_its_event_too(desk):
    # S1.4 I46: the provider has to be asked, one by one.
    env = replace(desk.env, settings=replace(desk.env.settings, events_are_proof=False))
    views = [desk.open(desk.make.user(f"user_{n}")) for n in range(2)]
    for view in views:
        desk.pay(view)
    sent = [one for view in views for one in desk.events(view)]
    inbox.receive_many(env, "stripe", [(one.body, one.headers) for one in sent])
    for view in views:
        own = {one.event["id"] for one in desk.events(view)}
        with desk.env.db.read() as tx:
            steps = payment_trail.timeline(tx, desk.payment(view))
        paid = [s.cause.get("event") for s in steps if s.type == "payment.succeeded"]
        assert len(paid) == 1 and paid[0] in own
