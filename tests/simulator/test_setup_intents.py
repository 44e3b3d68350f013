"""Setup intents and Checkout Sessions that save a card: confirmed, authenticated, refused."""

import httpx
import pytest
import stripe
from simulator_support import card_form
from test_payment_intents import pay

BACK = "http://shop.test/cards?a=1"


def set_up(client, method="pm_card_visa", **more):
    return client.v1.setup_intents.create(
        {"confirm": True, "payment_method": method, "return_url": BACK, **more}
    )


def types(sandbox):
    return [event["type"] for event in sandbox.events()]


def setup_session(client, **more):
    return client.v1.checkout.sessions.create(
        {"mode": "setup", "currency": "usd", "success_url": "http://shop.test/saved", **more}
    )


def methods_of(client, customer):
    return client.v1.payment_methods.list({"customer": customer.id}).data


def test_a_card_is_saved_in_steps_and_belongs_to_the_customer(sandbox, client):
    customer = client.v1.customers.create()
    intent = client.v1.setup_intents.create(
        {"customer": customer.id, "metadata": {"order": "7"}, "description": "Card on file"}
    )
    assert (intent.status, intent.usage) == ("requires_payment_method", "off_session")
    assert intent.client_secret.startswith(f"{intent.id}_secret_")
    intent = client.v1.setup_intents.update(intent.id, {"payment_method": "pm_card_visa"})
    assert intent.status == "requires_confirmation"
    intent = client.v1.setup_intents.confirm(intent.id, {"return_url": BACK})
    assert intent.status == "succeeded"
    (method,) = methods_of(client, customer)
    assert method.id == intent.payment_method
    assert types(sandbox) == [
        "customer.created", "setup_intent.created", "payment_method.attached",
        "setup_intent.succeeded",
    ]
    assert pay(client, method.id, customer=customer.id, off_session=True).status == "succeeded"


def test_an_intent_without_a_customer_leaves_a_method_that_can_be_attached_later(client):
    intent = set_up(client)
    customer = client.v1.customers.create()
    attached = client.v1.payment_methods.attach(intent.payment_method, {"customer": customer.id})
    assert attached.customer == customer.id


@pytest.mark.parametrize(("usage", "asked"), [("off_session", False), ("on_session", True)])
def test_a_card_set_up_for_off_session_use_asks_for_nothing_later(sandbox, client, usage, asked):
    customer = client.v1.customers.create()
    intent = set_up(
        client, "pm_card_authenticationRequiredOnSetup", customer=customer.id, usage=usage
    )
    assert intent.status == "requires_action"
    assert sandbox.authenticate(intent.id)["status"] == "succeeded"
    (method,) = methods_of(client, customer)
    if not asked:
        paid = pay(client, method.id, customer=customer.id, off_session=True)
        assert paid.status == "succeeded"
        return
    with pytest.raises(stripe.CardError) as refused:
        pay(client, method.id, customer=customer.id, off_session=True)
    assert refused.value.code == "authentication_required"


@pytest.mark.parametrize("outcome", ["complete", "fail"])
def test_the_owner_is_asked_on_a_page_and_sent_back(sandbox, client, browser, outcome):
    customer = client.v1.customers.create()
    intent = set_up(client, "pm_card_authenticationRequired", customer=customer.id)
    assert intent.next_action.type == "redirect_to_url"
    page = browser.get(intent.next_action.redirect_to_url.url)
    assert "to save your card ending in 3184" in " ".join(page.text.split())
    answer = browser.post(page.url, data={"outcome": outcome})
    query = httpx.URL(answer.headers["location"]).params
    intent = client.v1.setup_intents.retrieve(intent.id, {"expand": ["latest_attempt"]})
    assert (query["setup_intent"], query["a"]) == (intent.id, "1")
    assert query["setup_intent_client_secret"] == intent.client_secret
    if outcome == "complete":
        assert (query["redirect_status"], intent.status) == ("succeeded", "succeeded")
        attempted = intent.latest_attempt.payment_method_details.card.three_d_secure
        assert attempted.result == "authenticated"
        assert len(methods_of(client, customer)) == 1
    else:
        assert (query["redirect_status"], intent.status) == ("failed", "requires_payment_method")
        assert intent.last_setup_error.code == "setup_intent_authentication_failure"
        assert intent.latest_attempt.status == "failed"
        assert methods_of(client, customer) == []
    assert len(client.v1.setup_attempts.list({"setup_intent": intent.id}).data) == 1


def test_without_a_return_url_the_browsers_library_is_to_ask(client):
    intent = client.v1.setup_intents.create(
        {"confirm": True, "payment_method": "pm_card_authenticationRequired",
         "payment_method_types": ["card"]}
    )
    assert intent.next_action.type == "use_stripe_sdk"


@pytest.mark.parametrize(
    ("name", "code"),
    [("visa_chargeDeclined", "card_declined"), ("chargeDeclinedExpiredCard", "expired_card")],
)
def test_a_card_the_bank_refuses_is_not_saved_and_another_can_be(sandbox, client, name, code):
    customer = client.v1.customers.create()
    with pytest.raises(stripe.CardError) as refused:
        set_up(client, f"pm_card_{name}", customer=customer.id)
    intent = refused.value.error.setup_intent
    assert (refused.value.code, intent.status) == (code, "requires_payment_method")
    assert methods_of(client, customer) == []
    assert types(sandbox)[-1] == "setup_intent.setup_failed"
    intent = client.v1.setup_intents.confirm(
        intent.id, {"payment_method": "pm_card_visa", "return_url": BACK}
    )
    assert (intent.status, intent.last_setup_error) == ("succeeded", None)
    assert len(client.v1.setup_attempts.list({"setup_intent": intent.id}).data) == 2


def test_another_card_is_another_attempt(sandbox, client):
    intent = set_up(client, "pm_card_authenticationRequired")
    intent = client.v1.setup_intents.confirm(
        intent.id, {"payment_method": "pm_card_visa", "return_url": BACK}
    )
    assert (intent.status, intent.next_action) == ("succeeded", None)
    attempts = client.v1.setup_attempts.list({"setup_intent": intent.id}).data
    assert [one.status for one in attempts] == ["succeeded", "requires_action"]
    assert sandbox.authenticate(intent.id, succeed=False)["status"] == "succeeded"


def test_a_card_is_declined_after_its_owner_was_asked(sandbox, client):
    intent = set_up(client, "pm_card_threeDSecureRequiredChargeDeclined")
    after = sandbox.authenticate(intent.id)
    assert after["status"] == "requires_payment_method"
    assert after["last_setup_error"]["code"] == "card_declined"


def test_an_intent_is_canceled_once_and_not_after_success(sandbox, client):
    intent = client.v1.setup_intents.create()
    canceled = client.v1.setup_intents.cancel(intent.id, {"cancellation_reason": "abandoned"})
    assert (canceled.status, canceled.cancellation_reason) == ("canceled", "abandoned")
    assert types(sandbox)[-1] == "setup_intent.canceled"
    for done in (intent, set_up(client)):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            client.v1.setup_intents.cancel(done.id)
        assert refused.value.code == "setup_intent_unexpected_state"
        with pytest.raises(stripe.InvalidRequestError):
            client.v1.setup_intents.confirm(done.id, {"return_url": BACK})


def test_intents_are_listed_by_customer_and_by_method(client):
    customer = client.v1.customers.create()
    mine = set_up(client, customer=customer.id)
    set_up(client)
    of_customer = client.v1.setup_intents.list({"customer": customer.id}).data
    of_method = client.v1.setup_intents.list({"payment_method": mine.payment_method}).data
    assert [one.id for one in of_customer] == [one.id for one in of_method] == [mine.id]


def test_an_intent_needs_a_method_and_a_way_back(client):
    intent = client.v1.setup_intents.create()
    with pytest.raises(stripe.InvalidRequestError, match="missing a payment method"):
        client.v1.setup_intents.confirm(intent.id, {"return_url": BACK})
    with pytest.raises(stripe.InvalidRequestError, match="return_url"):
        client.v1.setup_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})
    with pytest.raises(stripe.InvalidRequestError, match="client_secret"):
        client.v1.setup_intents.retrieve(intent.id, {"client_secret": "seti_1_secret_wrong"})
    with pytest.raises(stripe.InvalidRequestError) as missing:
        client.v1.setup_intents.retrieve("seti_nobody")
    assert missing.value.code == "resource_missing"


@pytest.mark.parametrize("succeed", [True, False])
def test_a_saved_card_that_asks_its_owner_gives_a_page_to_open(
    sandbox, client, browser, succeed
):
    customer = client.v1.customers.create()
    setup = set_up(client, "pm_card_authenticationRequired", customer=customer.id)
    sandbox.authenticate(setup.id)
    intent = pay(
        client, setup.payment_method, customer=customer.id, off_session=False, return_url=BACK
    )
    url = intent.next_action.redirect_to_url.url
    assert "Complete authentication" in browser.get(url).text
    after = sandbox.authenticate(intent.id, succeed=succeed)
    assert after["status"] == ("succeeded" if succeed else "requires_payment_method")


def test_a_session_in_setup_mode_saves_the_card_of_its_page(sandbox, client, browser):
    customer = client.v1.customers.create({"email": "maya@northwind.test"})
    session = setup_session(
        client, customer=customer.id, setup_intent_data={"metadata": {"user": "7"}}
    )
    assert (session.payment_status, session.amount_total) == ("no_payment_required", None)
    page = browser.get(f"/c/pay/{session.id}").text
    assert "Save your card" in page
    assert "Nothing is charged now" in page
    assert "$" not in page
    answer = browser.post(f"/c/pay/{session.id}", data=card_form())
    assert answer.headers["location"] == "http://shop.test/saved"
    session = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["setup_intent"]})
    assert (session.status, session.setup_intent.status) == ("complete", "succeeded")
    assert session.setup_intent.metadata.to_dict() == {"user": "7"}
    (method,) = methods_of(client, customer)
    assert method.id == session.setup_intent.payment_method
    assert types(sandbox) == [
        "customer.created", "setup_intent.created", "payment_method.attached",
        "setup_intent.succeeded", "checkout.session.completed",
    ]
    assert sandbox.objects("charge") == []
    assert "Your card is saved" in browser.get(f"/c/pay/{session.id}").text


@pytest.mark.parametrize("approve", [True, False])
def test_a_session_in_setup_mode_leads_over_the_banks_page(sandbox, client, approve):
    session = setup_session(client, customer_creation="always")
    for pay_it in (sandbox.pay, sandbox.pay_by_http)[: 1 if approve else 2]:
        result = pay_it(session.id, "4000002760003184", approve=approve)
        assert result.status == ("complete" if approve else "authentication_failed")
    session = client.v1.checkout.sessions.retrieve(session.id)
    assert bool(session.customer) == approve
    if approve:
        (method,) = client.v1.payment_methods.list({"customer": session.customer}).data
        assert method.card.last4 == "3184"


def test_a_refused_card_leaves_the_session_open(sandbox, client, browser):
    session = setup_session(client)
    answer = browser.post(f"/c/pay/{session.id}", data=card_form("4000000000000002"))
    assert (answer.status_code, "Your card was declined" in answer.text) == (402, True)
    assert sandbox.pay(session.id).complete


def test_a_session_in_setup_mode_that_expires_cancels_its_intent(sandbox, client):
    session = setup_session(client)
    assert client.v1.checkout.sessions.expire(session.id).status == "expired"
    assert client.v1.setup_intents.retrieve(session.setup_intent).status == "canceled"
    assert types(sandbox)[-2:] == ["setup_intent.canceled", "checkout.session.expired"]


@pytest.mark.parametrize(
    "more", [{"line_items": [{"price": "price_1", "quantity": 1}]}, {"submit_type": "pay"},
             {"currency": "xxx"}, {"mode": "payment"}],
)
def test_a_session_in_setup_mode_takes_nothing_of_a_payment(client, more):
    with pytest.raises(stripe.InvalidRequestError):
        setup_session(client, setup_intent_data={"description": "x"}, **more)
