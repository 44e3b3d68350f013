"""Payment intents: cards, declines, 3-D Secure, capture, cancellation, off-session."""

import httpx
import pytest
import stripe

from paydesk.simulator.cards import CARDS, DECLINES


def pay(client, method="pm_card_visa", **more):
    return client.v1.payment_intents.create(
        {
            "amount": 999, "currency": "usd", "confirm": True, "payment_method": method,
            "payment_method_types": ["card"], **more,
        }
    )


def types(sandbox):
    return [event["type"] for event in sandbox.events() if "payment_method" not in event["type"]]


def test_an_intent_goes_from_creation_to_success_in_steps(sandbox, client):
    intent = client.v1.payment_intents.create({"amount": 999, "currency": "usd"})
    assert intent.status == "requires_payment_method"
    intent = client.v1.payment_intents.update(intent.id, {"payment_method": "pm_card_visa"})
    assert intent.status == "requires_confirmation"
    intent = client.v1.payment_intents.confirm(intent.id, {"return_url": "http://shop.test/"})
    assert (intent.status, intent.amount_received) == ("succeeded", 999)
    assert types(sandbox) == [
        "payment_intent.created", "charge.succeeded", "payment_intent.succeeded", "charge.updated",
    ]


def test_the_fee_is_two_point_nine_percent_and_thirty_cents(client):
    for amount, fee in ((999, 59), (1000, 59), (50, 31), (10_000, 320), (12_345, 388)):
        intent = pay(client, amount=amount, capture_method="automatic",
                     expand=["latest_charge.balance_transaction"])
        transaction = intent.latest_charge.balance_transaction
        assert (transaction.fee, transaction.net) == (fee, amount - fee)


def test_an_asynchronous_capture_books_the_balance_after_the_answer(sandbox, client):
    intent = pay(client, expand=["latest_charge"])
    assert intent.latest_charge.balance_transaction is None
    charge = client.v1.charges.retrieve(intent.latest_charge.id)
    assert charge.balance_transaction.startswith("txn_")
    (updated,) = sandbox.events("charge.updated")
    assert updated["data"]["previous_attributes"] == {"balance_transaction": None}
    assert updated["data"]["object"]["balance_transaction"] == charge.balance_transaction


def test_money_becomes_available_after_two_days(sandbox, client):
    pay(client, amount=1000)
    before = client.v1.balance.retrieve()
    assert (before.available[0].amount, before.pending[0].amount) == (0, 941)
    sandbox.advance(2 * 86_400)
    after = client.v1.balance.retrieve()
    assert (after.available[0].amount, after.pending[0].amount) == (941, 0)


@pytest.mark.parametrize("card", [c for c in CARDS.values() if c.decline and not c.three_d_secure],
                         ids=lambda card: card.name)
def test_each_declining_card_says_why(sandbox, client, card):
    with pytest.raises(stripe.CardError) as declined:
        pay(client, f"pm_card_{card.name}")
    error, expected = declined.value.error, DECLINES[card.decline]
    assert declined.value.http_status == 402
    assert (error.code, error.decline_code) == (expected.code, expected.decline_code)
    intent = client.v1.payment_intents.retrieve(error.payment_intent.id)
    assert intent.status == "requires_payment_method"
    assert intent.payment_method is None
    assert intent.last_payment_error.charge == error.charge
    charge = client.v1.charges.retrieve(error.charge)
    assert (charge.status, charge.paid, charge.amount_captured) == ("failed", False, 0)
    assert types(sandbox) == [
        "payment_intent.created", "charge.failed", "payment_intent.payment_failed",
    ]


def test_a_declined_intent_can_be_paid_with_another_card(client):
    with pytest.raises(stripe.CardError) as declined:
        pay(client, "pm_card_visa_chargeDeclined")
    intent_id = declined.value.error.payment_intent.id
    intent = client.v1.payment_intents.confirm(intent_id, {"payment_method": "pm_card_mastercard"})
    assert intent.status == "succeeded"
    assert len(client.v1.charges.list({"payment_intent": intent_id}).data) == 2


def test_a_confirmation_without_a_return_url_is_refused_where_redirects_are_possible(client):
    intent = client.v1.payment_intents.create(
        {"amount": 999, "currency": "usd", "payment_method": "pm_card_visa"}
    )
    with pytest.raises(stripe.InvalidRequestError, match="return_url"):
        client.v1.payment_intents.confirm(intent.id)
    never = client.v1.payment_intents.create(
        {
            "amount": 999, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True,
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
        }
    )
    assert never.status == "succeeded"


@pytest.mark.parametrize("outcome", ["complete", "fail"])
def test_three_d_secure_leads_over_the_banks_page_back_to_the_shop(
    sandbox, client, browser, outcome
):
    intent = pay(client, "pm_card_authenticationRequired", return_url="http://shop.test/back?a=1")
    assert intent.status == "requires_action"
    url = intent.next_action.redirect_to_url.url
    assert "Complete authentication" in browser.get(url).text
    answer = browser.post(url, data={"outcome": outcome})
    assert answer.status_code == 303
    query = httpx.URL(answer.headers["location"]).params
    intent = client.v1.payment_intents.retrieve(intent.id)
    assert (query["payment_intent"], query["a"]) == (intent.id, "1")
    if outcome == "complete":
        assert (intent.status, query["redirect_status"]) == ("succeeded", "succeeded")
        charge = client.v1.charges.retrieve(intent.latest_charge)
        assert charge.payment_method_details.card.three_d_secure.result == "authenticated"
    else:
        assert (intent.status, query["redirect_status"]) == ("requires_payment_method", "failed")
        assert intent.last_payment_error.code == "payment_intent_authentication_failure"
    assert types(sandbox)[:2] == ["payment_intent.created", "payment_intent.requires_action"]


def test_three_d_secure_passed_twice_charges_once(sandbox, client, browser):
    intent = pay(client, "pm_card_authenticationRequired", return_url="http://shop.test/")
    url = intent.next_action.redirect_to_url.url
    answers = [browser.post(url, data={"outcome": "complete"}) for _ in range(2)]
    assert answers[0].headers["location"] == answers[1].headers["location"]
    assert len(sandbox.events("charge.succeeded")) == 1


def test_a_card_that_is_declined_after_three_d_secure(client, browser):
    intent = pay(client, "pm_card_threeDSecureRequiredChargeDeclined",
                 return_url="http://shop.test/")
    answer = browser.post(intent.next_action.redirect_to_url.url, data={"outcome": "complete"})
    assert "redirect_status=failed" in answer.headers["location"]
    intent = client.v1.payment_intents.retrieve(intent.id)
    assert intent.last_payment_error.decline_code == "generic_decline"


def test_error_on_requires_action_declines_at_once(client):
    with pytest.raises(stripe.CardError) as declined:
        pay(client, "pm_card_authenticationRequired", error_on_requires_action=True)
    assert declined.value.code == "authentication_required"


def save_card(client, browser, method):
    """A customer whose card was set up for later by a first payment."""
    customer = client.v1.customers.create({"email": "maya@northwind.test"})
    intent = pay(client, method, customer=customer.id, setup_future_usage="off_session",
                 return_url="http://shop.test/")
    if intent.status == "requires_action":
        browser.post(intent.next_action.redirect_to_url.url, data={"outcome": "complete"})
    saved = client.v1.customers.payment_methods.list(customer.id).data
    assert len(saved) == 1
    return customer.id, saved[0].id


def test_a_saved_card_is_charged_off_session(client, browser):
    customer, method = save_card(client, browser, "pm_card_authenticationRequiredOnSetup")
    intent = pay(client, method, customer=customer, off_session=True)
    assert intent.status == "succeeded"


def test_an_off_session_charge_that_needs_the_customer_is_declined(client, browser):
    customer, method = save_card(client, browser, "pm_card_authenticationRequired")
    with pytest.raises(stripe.CardError) as declined:
        pay(client, method, customer=customer, off_session=True)
    assert declined.value.code == "authentication_required"
    intent = client.v1.payment_intents.retrieve(declined.value.error.payment_intent.id)
    assert intent.status == "requires_payment_method"


def test_a_method_used_without_a_customer_cannot_be_used_again(client):
    method = client.v1.payment_methods.create({"type": "card", "card": {"token": "tok_visa"}})
    pay(client, method.id)
    with pytest.raises(stripe.InvalidRequestError, match="may not be used again"):
        pay(client, method.id)


def test_a_method_of_another_customer_is_refused(client, browser):
    _, method = save_card(client, browser, "pm_card_visa")
    other = client.v1.customers.create()
    with pytest.raises(stripe.InvalidRequestError, match="belongs to"):
        pay(client, method, customer=other.id)


def test_manual_capture_takes_the_money_later(sandbox, client):
    intent = pay(client, capture_method="manual")
    assert (intent.status, intent.amount_capturable) == ("requires_capture", 999)
    charge = client.v1.charges.retrieve(intent.latest_charge)
    assert (charge.captured, charge.amount_captured) == (False, 0)
    intent = client.v1.payment_intents.capture(intent.id)
    assert (intent.status, intent.amount_received) == ("succeeded", 999)
    assert types(sandbox) == [
        "payment_intent.created", "charge.succeeded", "payment_intent.amount_capturable_updated",
        "charge.captured", "payment_intent.succeeded",
    ]


def test_a_partial_capture_releases_the_rest(client):
    intent = pay(client, capture_method="manual")
    intent = client.v1.payment_intents.capture(intent.id, {"amount_to_capture": 700})
    charge = client.v1.charges.retrieve(
        intent.latest_charge, {"expand": ["balance_transaction", "refunds"]}
    )
    assert (intent.amount_received, charge.amount_captured) == (700, 700)
    assert (charge.amount_refunded, charge.refunded) == (299, False)
    assert charge.balance_transaction.amount == 700
    assert charge.refunds.data[0].balance_transaction is None


def test_more_than_was_authorized_cannot_be_captured(client):
    intent = pay(client, capture_method="manual")
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.payment_intents.capture(intent.id, {"amount_to_capture": 1000})
    assert refused.value.code == "amount_too_large"


def test_a_captured_intent_cannot_be_captured_again(client):
    intent = pay(client)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.payment_intents.capture(intent.id)
    assert refused.value.code == "payment_intent_unexpected_state"


def test_canceling_an_authorization_releases_it(sandbox, client):
    intent = pay(client, capture_method="manual")
    intent = client.v1.payment_intents.cancel(
        intent.id, {"cancellation_reason": "requested_by_customer"}
    )
    assert (intent.status, intent.amount_capturable) == ("canceled", 0)
    charge = client.v1.charges.retrieve(intent.latest_charge)
    assert (charge.refunded, charge.balance_transaction) == (True, None)
    assert types(sandbox)[-3:] == ["charge.refunded", "refund.created", "payment_intent.canceled"]


def test_an_authorization_ends_by_itself_after_seven_days(sandbox, client):
    intent = pay(client, capture_method="manual")
    sandbox.advance(7 * 86_400)
    intent = client.v1.payment_intents.retrieve(intent.id)
    assert (intent.status, intent.cancellation_reason) == ("canceled", "automatic")
    assert sandbox.events("charge.expired")


@pytest.mark.parametrize("call", ["cancel", "confirm"])
def test_a_paid_intent_cannot_be_canceled_or_confirmed(client, call):
    intent = pay(client)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        getattr(client.v1.payment_intents, call)(intent.id)
    assert refused.value.code == "payment_intent_unexpected_state"
    assert refused.value.error.payment_intent.status == "succeeded"


def test_metadata_is_merged_and_unset(client):
    intent = client.v1.payment_intents.create(
        {"amount": 500, "currency": "usd", "metadata": {"a": "1", "b": "2"}}
    )
    intent = client.v1.payment_intents.update(intent.id, {"metadata": {"b": "", "c": "3"}})
    assert intent.metadata.to_dict() == {"a": "1", "c": "3"}
    intent = client.v1.payment_intents.update(intent.id, {"metadata": ""})
    assert intent.metadata.to_dict() == {}


def test_search_finds_by_metadata_status_and_amount(client):
    found = pay(client, metadata={"order": "42", "it's": "quoted"})
    pay(client, amount=5000, metadata={"order": "43"})
    search = client.v1.payment_intents.search

    def ids(query):
        return [one.id for one in search({"query": query}).data]

    assert ids("metadata['order']:'42' AND status:'succeeded'") == [found.id]
    assert ids("metadata[\"it's\"]:'quoted'") == [found.id]
    assert ids("amount<1000") == [found.id]
    assert ids("-metadata['order']:'43'") == [found.id]
    assert len(ids("amount:999 OR amount:5000")) == 2
    assert ids("status:'canceled'") == []


@pytest.mark.parametrize("query", ["", "status", "status:'a' AND", "a:'1' AND b:'2' OR c:'3'"])
def test_a_search_that_cannot_be_read_is_refused(client, query):
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.payment_intents.search({"query": query})


def test_search_pages_follow_one_another(client):
    made = [pay(client).id for _ in range(5)]
    found = list(client.v1.payment_intents.search(
        {"query": "status:'succeeded'", "limit": 2}).auto_paging_iter())
    assert [one.id for one in found] == made[::-1]


@pytest.mark.parametrize(
    ("params", "what"),
    [
        ({"application_fee_amount": 5}, "application fees"),
        ({"payment_method_types": ["ideal"]}, "ideal"),
        ({"transfer_data": {"destination": "acct_1"}}, "transfers"),
    ],
)
def test_what_the_simulator_does_not_have_is_refused_not_ignored(client, params, what):
    with pytest.raises(stripe.InvalidRequestError, match=what):
        client.v1.payment_intents.create({"amount": 500, "currency": "usd", **params})


def test_amounts_of_currencies_without_and_with_three_digits(client):
    assert pay(client, amount=500, currency="JPY").currency == "jpy"
    assert pay(client, amount=1500, currency="kwd").amount_received == 1500
