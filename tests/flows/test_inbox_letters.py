"""Letters that no database takes, in every member of an event and of an answer: what was signed is
stored and acknowledged, spoils no other, and nothing raises."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from purchase import DECLINED, Desk, signed

from paydesk.errors import MalformedRequest, ProviderRefused, Unavailable
from paydesk.flows import inbox, inbox_rows
from paydesk.providers import http, texts
from paydesk.providers.base import Providers
from paydesk.providers.btcpay import BTCPay
from paydesk.providers.paypal import PayPal
from paydesk.providers.stripe import Stripe
from paydesk.providers.stripe_shapes import read_event
from paydesk.settings import Settings

ODD = ["a\0b", "half \ud800 of a pair", "\udfff", "\0", "x" * 3000, "\u202e\x1b[31m\r\n", 10**400,
       -1, True, None, [], {}, [["x"]], ""]  # fmt: skip
SAMPLE = 300


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every member that holds no others."""
    if isinstance(value, dict | list):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield path, key
            yield from leaves(one, (*path, key))


def spoiled(event: dict[str, Any], path: tuple[Any, ...], key: Any, odd: Any) -> dict[str, Any]:
    """The event with something else in one place."""
    found = copy.deepcopy(event)
    at = found
    for one in path:
        at = at[one]
    at[key] = odd
    return found


def every(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each event with each odd thing in each place."""
    return [spoiled(event, path, key, odd) for event in events
            for path, key in leaves(event) for odd in ODD]  # fmt: skip


def deliver(desk: Desk, events: list[dict[str, Any]]) -> list[Any]:
    bodies = [json.dumps(one).encode() for one in events]
    return inbox.receive_many(desk.env, "stripe", [(body, signed(body)) for body in bodies])


def test_every_signed_event_is_stored_whatever_letters_it_has(desk, seed):
    # I29 I30 I31: in groups with good ones, which are applied
    view = desk.open()
    desk.pay(view, card=DECLINED)
    desk.pay(view)
    (intent,) = desk.sim.objects("payment_intent")
    desk.sim.refund(intent["id"], 300)
    desk.sim.dispute(intent["id"], 699)
    good = [one.event for one in desk.sim.deliveries()]
    bad = random.Random(seed).sample(every(good), SAMPLE)
    names = {one["id"] for one in good}
    bad = [{**one, "id": f"evt_{n}"} if repr(one["id"]) in map(repr, names) else one
           for n, one in enumerate(bad)]  # fmt: skip
    for start in range(0, len(bad), 50):
        for answer in deliver(desk, bad[start : start + 50]):
            assert isinstance(answer, list), answer
            assert answer[0].state in ("new", "waiting", "done", "parked")
    deliver(desk, good)
    desk.recover()
    assert desk.payment(view).captured.minor == 999
    for row in desk.all("select type, error from provider_events where state <> 'done'"):
        assert "Error:" not in (row["error"] or ""), row


@pytest.mark.parametrize("odd", ["\0", "\ud800", "\udfff\ud83d"])
def test_a_decline_in_odd_letters_is_kept_with_its_words(desk, odd):
    # I29: and its letters that can be kept
    view = desk.open()
    desk.pay(view, card=DECLINED)
    (event,) = [one.event for one in desk.sim.deliveries("payment_intent.payment_failed")]
    event["data"]["object"]["last_payment_error"]["message"] = f"Not{odd}enough"
    (answer,) = deliver(desk, [event])
    assert answer[0].state == "done"
    (row,) = desk.all("select error_message from attempts where state = 'failed'")
    assert row["error_message"].startswith("Not\ufffd")
    assert row["error_message"].endswith("enough")


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_json_is_none_beside_odd_letters_either(word):
    plain = f'{{"id": "evt_1", "n": {word}}}'
    for text in (plain, plain.replace("evt_1", "\\ud800")):
        with pytest.raises(Exception, match="not JSON"):
            read_event(text.encode())


# Other providers -------------------------------------------------------------------------------

PAYPAL = [
    {"id": "WH-1", "event_type": "CHECKOUT.ORDER.APPROVED", "resource": {
        "id": "5" * 17, "purchase_units": [{"custom_id": "pay_x"}]}},
    {"id": "WH-2", "event_type": "PAYMENT.CAPTURE.COMPLETED", "resource": {
        "id": "6" * 17, "custom_id": "pay_x",
        "supplementary_data": {"related_ids": {"order_id": "5" * 17}}}},
    {"id": "WH-3", "event_type": "PAYMENT.CAPTURE.REFUNDED", "resource": {
        "id": "7" * 17, "links": [{"rel": "up", "href": "https://x.example/captures/6"}]}},
    {"id": "WH-4", "event_type": "CUSTOMER.DISPUTE.CREATED", "resource": {
        "dispute_id": "PP-D-1", "disputed_transactions": [
            {"seller_transaction_id": "6" * 17, "custom": "pay_x"}]}},
]  # fmt: skip
BTCPAY = [{"deliveryId": "d1", "originalDeliveryId": "d0", "type": "InvoiceSettled",
           "storeId": "store", "invoiceId": "inv_1", "metadata": {"orderId": "pay_x"}}]  # fmt: skip


@pytest.mark.parametrize(("name", "kind", "events"), [
    ("paypal", PayPal, PAYPAL), ("btcpay", BTCPay, BTCPAY)])  # fmt: skip
def test_every_event_of_the_others_can_be_stored_too(desk, name, kind, events):
    # I30: what names nothing is parked, with a reason; only what has no id at all is refused
    settings = Settings(paypal_url="https://api-m.paypal.com", btcpay_store_id="store")
    adapter = kind(settings)
    offered = Providers(settings, {name: adapter}, name)
    env = replace(desk.env, providers=offered)
    rows = []
    for n, told in enumerate(every(events)):
        try:
            event = adapter.read_event(json.dumps(told), None)
        except inbox.PaydeskError:
            assert told.get("id") in (*ODD, None) or name == "btcpay"
            continue
        rows.append(inbox_rows.row_of(env, name, replace(event, id=f"{n}-{event.id}")))
    assert len(rows) > 0.8 * len(every(events))
    kept = inbox_rows.store(env, rows)
    assert len(kept) == len({row.key for row in rows})
    with env.db.read() as tx:
        for row in tx.all("select * from provider_events"):
            inbox_rows.stored(env, row)
        parked = tx.all("select error from provider_events where state = 'parked'")
    assert {row["error"] for row in parked} >= {"ref: no name of anything"}
    offered.close()


@pytest.mark.parametrize("kind", [PayPal, BTCPay])
def test_a_body_nested_too_deep_is_refused_by_the_others_too(kind):
    # I31
    body = '{"a":' * 2000 + '"\\u0000"' + "}" * 2000
    whole = f'{{"id": "1", "type": "x", "deliveryId": "1", "b": {body}}}'
    with pytest.raises(MalformedRequest):
        kind(Settings()).read_event(whole, None)


class Careless(Stripe):
    """An adapter that checks nothing of what it reads."""

    def parse_webhook(self, body: bytes, headers: Any) -> list[Any]:
        if body == b"fault":
            raise ZeroDivisionError("a fault of the adapter's own")
        return [replace(one, id=one.id[4:]) if one.id.startswith("raw ") else one
                for one in super().parse_webhook(body, headers)]  # fmt: skip


def test_an_adapters_fault_at_one_delivery_stops_no_other(desk):
    # I29: it is sent again, as after a mend
    careless = Careless(desk.env.settings)
    offered = Providers(desk.env.settings, {"stripe": careless}, "stripe")
    env = replace(desk.env, providers=offered)
    view = desk.open()
    desk.pay(view)
    (good,) = desk.events(view, "checkout.session.completed")
    first, second = inbox.receive_many(env, "stripe", [(b"fault", {}), (good.body, good.headers)])
    assert isinstance(first, Unavailable) and first.http_status == 503
    assert second[0].state == "done"
    assert desk.balance(view) == 150
    offered.close()


# Answers ---------------------------------------------------------------------------------------


def test_an_answers_texts_can_be_kept():
    found = http.decode(rb'{"a": ["x\u0000y", {"b\ud800": "\udfff"}], "pair": "\ud83d\ude00"}')
    assert found == {"a": ["x\ufffdy", {"b\ufffd": "\ufffd"}], "pair": "😀"}
    assert texts.text("Grüße 😀 \0") == "Grüße 😀 \ufffd"


def test_a_refusal_in_odd_letters_is_a_refusal(desk):
    import stripe

    def send() -> Any:
        raise stripe.InvalidRequestError("No\0 \ud800", "x", code="odd\0", http_status=400)

    with pytest.raises(ProviderRefused) as caught:
        desk.env.providers["stripe"]._ask(send)
    assert (caught.value.detail, caught.value.provider_code) == ("No\ufffd \ufffd", "odd\ufffd")
