"""Checkout Sessions: what they are made of, how they end, which events they send."""

import pytest
import stripe
from simulator_support import session_params

SUCCESS = [
    "payment_intent.created", "charge.succeeded", "payment_intent.succeeded",
    "checkout.session.completed", "charge.updated",
]


def types(sandbox):
    return [event["type"] for event in sandbox.events()]


def test_a_new_session_is_open_unpaid_and_has_a_link(sandbox, client):
    session = client.v1.checkout.sessions.create(
        session_params(client_reference_id="user-7", metadata={"pack": "creator"},
                       customer_email="maya@northwind.test")
    )
    assert (session.status, session.payment_status, session.amount_total) == ("open", "unpaid", 999)
    assert session.url == f"{sandbox.url}/c/pay/{session.id}"
    assert (session.client_reference_id, session.metadata["pack"]) == ("user-7", "creator")
    assert session.payment_intent is None
    assert session.livemode is False
    assert session.expires_at == session.created + 86_400
    assert sandbox.events() == []


def test_a_paid_session_sends_its_events_in_order(sandbox, client):
    session = client.v1.checkout.sessions.create(
        session_params(payment_intent_data={"metadata": {"order": "42"}, "description": "Pack"})
    )
    assert sandbox.pay(session.id).complete
    assert types(sandbox) == SUCCESS
    paid = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent"]})
    assert (paid.status, paid.payment_status, paid.url) == ("complete", "paid", None)
    assert paid.customer_details.email == "buyer@example.com"
    assert paid.payment_intent.metadata["order"] == "42"
    charge = client.v1.charges.retrieve(paid.payment_intent.latest_charge)
    assert (charge.metadata["order"], charge.description) == ("42", "Pack")
    (completed,) = sandbox.events("checkout.session.completed")
    assert completed["data"]["object"]["payment_intent"] == paid.payment_intent.id
    assert completed["data"]["object"]["payment_status"] == "paid"


def test_a_decline_leaves_the_session_open_for_another_card(sandbox, client):
    session = client.v1.checkout.sessions.create(session_params())
    declined = sandbox.pay(session.id, "4000000000009995")
    assert (declined.status, declined.decline_code) == ("declined", "insufficient_funds")
    assert client.v1.checkout.sessions.retrieve(session.id).status == "open"
    assert sandbox.pay(session.id).complete
    # Six events, the order that a shop's handling must not depend on.
    assert types(sandbox)[:6] == [
        "payment_intent.created", "charge.failed", "payment_intent.payment_failed",
        "charge.succeeded", "payment_intent.succeeded", "checkout.session.completed",
    ]
    intents = {event["data"]["object"].get("payment_intent") for event in sandbox.events()}
    assert len(intents - {None}) == 1


def test_three_d_secure_on_the_way(sandbox, client):
    session = client.v1.checkout.sessions.create(session_params())
    failed = sandbox.pay(session.id, "4000002760003184", approve=False)
    assert failed.status == "authentication_failed"
    assert sandbox.pay(session.id, "4000002760003184").complete
    assert types(sandbox) == [
        "payment_intent.created", "payment_intent.requires_action",
        "payment_intent.payment_failed", "payment_intent.requires_action", *SUCCESS[1:],
    ]


def test_paying_twice_charges_once(sandbox, client):
    session = client.v1.checkout.sessions.create(session_params())
    first, second = sandbox.pay(session.id), sandbox.pay(session.id)
    assert first == second
    assert len(sandbox.events("charge.succeeded")) == 1


def test_manual_capture_completes_the_session_unpaid(sandbox, client):
    session = client.v1.checkout.sessions.create(
        session_params(payment_intent_data={"capture_method": "manual"})
    )
    assert sandbox.pay(session.id).complete
    paid = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent"]})
    assert (paid.status, paid.payment_status) == ("complete", "unpaid")
    assert paid.payment_intent.status == "requires_capture"
    captured = client.v1.payment_intents.capture(paid.payment_intent.id)
    assert captured.status == "succeeded"


def test_a_customer_may_be_given_or_made(sandbox, client):
    customer = client.v1.customers.create({"email": "maya@northwind.test", "name": "Maya"})
    session = client.v1.checkout.sessions.create(
        session_params(customer=customer.id,
                       payment_intent_data={"setup_future_usage": "off_session"})
    )
    sandbox.pay(session.id)
    assert len(client.v1.customers.payment_methods.list(customer.id).data) == 1
    made = client.v1.checkout.sessions.create(session_params(customer_creation="always"))
    sandbox.pay(made.id, email="noor@example.test")
    paid = client.v1.checkout.sessions.retrieve(made.id, {"expand": ["customer"]})
    assert paid.customer.email == "noor@example.test"
    assert client.v1.payment_intents.retrieve(paid.payment_intent).customer == paid.customer.id


def test_prices_and_quantities_add_up(client):
    product = client.v1.products.create({"name": "Pack"})
    price = client.v1.prices.create(
        {"currency": "usd", "unit_amount": 250, "product": product.id}
    )
    lines = [{"price": price.id, "quantity": 3}, *session_params()["line_items"]]
    session = client.v1.checkout.sessions.create(session_params(line_items=lines))
    assert session.amount_total == 3 * 250 + 999
    listed = client.v1.checkout.sessions.line_items.list(session.id, {"limit": 1})
    assert (listed.data[0].quantity, listed.data[0].amount_total) == (3, 750)
    assert listed.has_more
    rest = client.v1.checkout.sessions.line_items.list(
        session.id, {"starting_after": listed.data[0].id}
    )
    assert [line.description for line in rest.data] == ["Creator Pack"]


def test_a_session_of_nothing_needs_no_payment(sandbox, client):
    price = {"currency": "usd", "unit_amount": 0, "product_data": {"name": "Trial"}}
    session = client.v1.checkout.sessions.create(
        session_params(line_items=[{"price_data": price, "quantity": 1}])
    )
    assert session.payment_status == "no_payment_required"
    assert sandbox.pay(session.id).complete
    assert types(sandbox) == ["checkout.session.completed"]


@pytest.mark.parametrize("seconds", [0, 1799, 86_401, 10_000_000])
def test_a_session_lives_between_thirty_minutes_and_a_day(sandbox, client, seconds):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.checkout.sessions.create(
            session_params(expires_at=sandbox.sim.now() + seconds)
        )
    assert refused.value.param == "expires_at"


def test_a_session_expires_by_itself_and_says_so(sandbox, client):
    session = client.v1.checkout.sessions.create(
        session_params(expires_at=sandbox.sim.now() + 1810)
    )
    sandbox.advance(1805)
    assert client.v1.checkout.sessions.retrieve(session.id).status == "open"
    sandbox.advance(10)
    expired = client.v1.checkout.sessions.retrieve(session.id)
    assert (expired.status, expired.payment_status, expired.url) == ("expired", "unpaid", None)
    assert types(sandbox) == ["checkout.session.expired"]
    assert sandbox.pay(session.id).status == "expired"
    assert types(sandbox) == ["checkout.session.expired"]


def test_a_session_ended_by_the_shop_cancels_a_begun_payment(sandbox, client):
    session = client.v1.checkout.sessions.create(session_params())
    sandbox.pay(session.id, "4000000000000002")
    client.v1.checkout.sessions.expire(session.id)
    assert types(sandbox)[-2:] == ["payment_intent.canceled", "checkout.session.expired"]
    with pytest.raises(stripe.InvalidRequestError, match="can be expired"):
        client.v1.checkout.sessions.expire(session.id)


def test_a_paid_session_cannot_be_expired(sandbox, client):
    session = client.v1.checkout.sessions.create(session_params())
    sandbox.pay(session.id)
    with pytest.raises(stripe.InvalidRequestError, match="complete"):
        client.v1.checkout.sessions.expire(session.id)


@pytest.mark.parametrize("call", ["cancel", "confirm"])
def test_the_intent_of_a_session_belongs_to_the_session(sandbox, client, call):
    session = client.v1.checkout.sessions.create(session_params())
    sandbox.pay(session.id, "4000000000000002")
    intent = client.v1.checkout.sessions.retrieve(session.id).payment_intent
    with pytest.raises(stripe.InvalidRequestError, match="Checkout Session"):
        getattr(client.v1.payment_intents, call)(intent)


def test_metadata_of_a_session_can_be_changed_and_sessions_are_found_by_status(sandbox, client):
    first = client.v1.checkout.sessions.create(session_params(metadata={"a": "1"}))
    second = client.v1.checkout.sessions.create(session_params())
    changed = client.v1.checkout.sessions.update(first.id, {"metadata": {"b": "2"}})
    assert changed.metadata.to_dict() == {"a": "1", "b": "2"}
    sandbox.pay(second.id)
    by_status = client.v1.checkout.sessions.list({"status": "open"}).data
    assert [one.id for one in by_status] == [first.id]
    email = {"email": "buyer@example.com"}
    by_email = client.v1.checkout.sessions.list({"customer_details": email})
    assert [one.id for one in by_email.data] == [second.id]


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"line_items": None}, "line_items", "parameter_missing"),
        ({"success_url": None}, "success_url", "parameter_missing"),
        ({"success_url": "javascript:alert(1)"}, "success_url", "url_invalid"),
        ({"cancel_url": "shop"}, "cancel_url", "url_invalid"),
        ({"mode": "subscription"}, "line_items", None),
        ({"mode": "gift"}, "mode", None),
        ({"customer": "cus_nobody"}, "customer", "resource_missing"),
        ({"customer_email": "nobody"}, "customer_email", "email_invalid"),
        ({"discounts": [{"coupon": "x"}]}, "discounts", None),
        ({"automatic_tax": {"enabled": True}}, "automatic_tax", None),
        ({"payment_method_types": ["klarna"]}, "payment_method_types[0]", None),
        ({"line_items": [{"price": "price_none", "quantity": 1}]}, "line_items[0][price]",
         "resource_missing"),
        ({"line_items": [{"price_data": {"currency": "usd", "unit_amount": 10,
                                         "product_data": {"name": "Pack"}}, "quantity": 1}]},
         None, "amount_too_small"),
        ({"line_items": [{"price_data": {"unit_amount": 999, "product_data": {"name": "Pack"}},
                          "quantity": 1}]}, "line_items[0][price_data][currency]",
         "parameter_missing"),
        ({"line_items": [{"price_data": {"currency": "usd", "unit_amount": 999,
                                         "product_data": {"name": "Pack"}}}]},
         "line_items[0][quantity]", "parameter_missing"),
        ({"line_items": [{"price_data": {"currency": "usd", "unit_amount": 999,
                                         "product_data": {"name": "Pack"}}, "quantity": 0}]},
         "line_items[0][quantity]", "parameter_invalid_integer"),
    ],
)
def test_a_session_that_cannot_be_paid_is_refused(client, change, param, code):
    params = {k: v for k, v in session_params(**change).items() if v is not None}
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.checkout.sessions.create(params)
    assert refused.value.http_status == 400
    assert (refused.value.param, refused.value.code) == (param, code)


def test_customer_and_email_exclude_each_other(client):
    customer = client.v1.customers.create()
    with pytest.raises(stripe.InvalidRequestError, match="only specify one"):
        client.v1.checkout.sessions.create(
            session_params(customer=customer.id, customer_email="maya@northwind.test")
        )
