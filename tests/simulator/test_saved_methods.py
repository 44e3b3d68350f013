"""Payment methods of a customer: default, attached, detached, wallets, what the bank refuses."""

import pytest
import stripe
from simulator_support import card_form, session_params
from test_payment_intents import pay

from paydesk.simulator import cli


def types(sandbox):
    return [event["type"] for event in sandbox.events()]


def default_of(client, customer_id):
    return client.v1.customers.retrieve(customer_id).invoice_settings.default_payment_method


def test_a_customers_default_method_is_set_changed_and_unset(sandbox, client):
    customer = client.v1.customers.create(
        {"payment_method": "pm_card_visa",
         "invoice_settings": {"default_payment_method": "pm_card_visa"}}
    )
    first = client.v1.payment_methods.list({"customer": customer.id}).data[0]
    assert customer.invoice_settings.default_payment_method == first.id
    second = client.v1.payment_methods.attach("pm_card_mastercard", {"customer": customer.id})
    changed = client.v1.customers.update(
        customer.id, {"invoice_settings": {"default_payment_method": second.id}}
    )
    assert changed.invoice_settings.default_payment_method == second.id
    (event,) = sandbox.events("customer.updated")
    was = event["data"]["previous_attributes"]["invoice_settings"]["default_payment_method"]
    assert was == first.id
    client.v1.customers.update(customer.id, {"invoice_settings": {"default_payment_method": ""}})
    assert default_of(client, customer.id) is None


def test_the_footer_of_invoices_changes_without_the_default(client):
    customer = client.v1.customers.create({"payment_method": "pm_card_visa"})
    (method,) = client.v1.payment_methods.list({"customer": customer.id}).data
    client.v1.customers.update(
        customer.id, {"invoice_settings": {"default_payment_method": method.id}}
    )
    changed = client.v1.customers.update(customer.id, {"invoice_settings": {"footer": "Thanks"}})
    assert changed.invoice_settings.default_payment_method == method.id


def test_a_method_of_another_customer_cannot_become_the_default(client):
    other = client.v1.customers.create()
    method = client.v1.payment_methods.attach("pm_card_visa", {"customer": other.id})
    customer = client.v1.customers.create()
    with pytest.raises(stripe.InvalidRequestError, match="must be attached"):
        client.v1.customers.update(
            customer.id, {"invoice_settings": {"default_payment_method": method.id}}
        )


def test_a_detached_method_is_no_default_any_more(sandbox, client):
    customer = client.v1.customers.create()
    method = client.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    client.v1.customers.update(
        customer.id, {"invoice_settings": {"default_payment_method": method.id}}
    )
    client.v1.payment_methods.detach(method.id)
    assert default_of(client, customer.id) is None
    assert types(sandbox)[-2:] == ["payment_method.detached", "customer.updated"]


def test_the_same_card_saved_twice_has_one_fingerprint(client):
    customer = client.v1.customers.create()
    for name in ("pm_card_visa", "pm_card_visa", "pm_card_mastercard"):
        client.v1.payment_methods.attach(name, {"customer": customer.id})
    listed = client.v1.payment_methods.list({"customer": customer.id}).data
    assert [one.card.brand for one in listed] == ["mastercard", "visa", "visa"]
    assert len({one.card.fingerprint for one in listed}) == 2


@pytest.mark.parametrize(
    ("name", "code"),
    [("visa_chargeDeclined", "card_declined"), ("chargeDeclinedExpiredCard", "expired_card"),
     ("chargeDeclinedIncorrectCvc", "incorrect_cvc")],
)
def test_a_card_the_bank_refuses_is_not_saved(client, name, code):
    customer = client.v1.customers.create()
    with pytest.raises(stripe.CardError) as refused:
        client.v1.payment_methods.attach(f"pm_card_{name}", {"customer": customer.id})
    assert refused.value.code == code
    assert client.v1.payment_methods.list({"customer": customer.id}).data == []


def test_a_card_that_declines_later_is_saved_and_then_declined(client):
    customer = client.v1.customers.create()
    method = client.v1.payment_methods.attach(
        "pm_card_chargeCustomerFail", {"customer": customer.id}
    )
    with pytest.raises(stripe.CardError) as refused:
        pay(client, method.id, customer=customer.id, off_session=True)
    assert refused.value.code == "card_declined"


def test_a_card_set_up_elsewhere_asks_for_nothing_off_session(client):
    customer = client.v1.customers.create()
    method = client.v1.payment_methods.attach(
        "pm_card_authenticationRequiredSetupForOffSession", {"customer": customer.id}
    )
    off = pay(client, method.id, customer=customer.id, off_session=True)
    on = pay(client, method.id, customer=customer.id, return_url="http://shop.test/back")
    assert (off.status, on.status) == ("succeeded", "requires_action")


@pytest.mark.parametrize(
    ("ending", "wallet"), [("_applePay", "apple_pay"), ("_googlePay", "google_pay"), ("", None)]
)
def test_a_wallet_is_named_by_the_method_and_by_the_charge(client, ending, wallet):
    intent = pay(client, f"pm_card_visa{ending}", expand=["latest_charge", "payment_method"])
    of_method = intent.payment_method.card.wallet
    of_charge = intent.latest_charge.payment_method_details.card.wallet
    assert [of and of.type for of in (of_method, of_charge)] == [wallet, wallet]


def test_a_token_of_a_wallet_makes_a_method_of_that_wallet(client):
    method = client.v1.payment_methods.create(
        {"type": "card", "card": {"token": "tok_mastercard_googlePay"}}
    )
    assert (method.card.brand, method.card.wallet.type) == ("mastercard", "google_pay")


def test_the_hosted_page_pays_out_of_a_wallet(sandbox, client, browser):
    session = client.v1.checkout.sessions.create(session_params())
    assert "in Apple Pay" in browser.get(f"/c/pay/{session.id}").text
    answer = browser.post(f"/c/pay/{session.id}", data=card_form(wallet="apple_pay"))
    assert answer.status_code == 303
    other = client.v1.checkout.sessions.create(session_params())
    assert sandbox.pay(other.id, wallet="google_pay").complete
    third = client.v1.checkout.sessions.create(session_params())
    command = ["pay", third.id, "--base", sandbox.url, "--wallet", "apple_pay"]
    assert cli.main(command) == 0
    wallets = [
        charge["payment_method_details"]["card"]["wallet"]["type"]
        for charge in sandbox.objects("charge")
    ]
    assert wallets == ["apple_pay", "google_pay", "apple_pay"]
