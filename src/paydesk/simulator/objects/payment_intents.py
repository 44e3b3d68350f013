"""Payment intents: their calls; what happens inside them is in confirmation.py."""

from __future__ import annotations

from typing import Any

from .. import errors, ids, money, shapes
from ..engine import Call, operation
from ..errors import StripeError
from . import confirmation, customers, listing, payment_methods, search

UNSIMULATED = {
    "application_fee_amount": "application fees", "confirmation_token": "confirmation tokens",
    "customer_account": "customer accounts", "mandate": "mandates", "on_behalf_of": "Connect",
    "transfer_data": "transfers", "hooks": "hooks",
    "payment_method_configuration": "payment method configurations",
}
FIELDS = (
    "description", "receipt_email", "setup_future_usage", "shipping", "statement_descriptor",
    "statement_descriptor_suffix", "transfer_group",
)
#: Payment methods of the account where a call names none: the simulator has cards only.
TYPES = ["card"]
CLOSED = ("succeeded", "canceled", "processing", "requires_capture")


def make(call: Call, given: dict[str, Any]) -> dict[str, Any]:
    """A new intent, saved and announced; `given` is as the call that creates one has it."""
    intent_id = ids.new("payment_intent")
    own_types = given.get("payment_method_types")
    automatic = given.get("automatic_payment_methods") or {"enabled": not own_types}
    enabled = automatic["enabled"]
    intent: dict[str, Any] = {
        **shapes.blank("payment_intent"),
        "id": intent_id,
        "object": "payment_intent",
        "amount": given["amount"],
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "automatic_payment_methods": {
            "allow_redirects": automatic.get("allow_redirects", "always"), "enabled": True,
        } if enabled else None,
        "capture_method": given.get("capture_method", "automatic_async"),
        "client_secret": f"{intent_id}_secret_{ids.token(25)}",
        "confirmation_method": given.get("confirmation_method", "automatic"),
        "created": call.now,
        "currency": given["currency"],
        "customer": given.get("customer"),
        "livemode": False,
        "metadata": listing.merged_metadata({}, given.get("metadata")),
        "payment_method_options": {"card": _card_options(given, None)},
        "payment_method_types": own_types or list(TYPES),
        "status": "requires_payment_method",
    }
    listing.assign(intent, given, FIELDS)
    if intent["shipping"]:
        intent["shipping"] = _shipping(intent["shipping"])
    listing.check_email(intent["receipt_email"], "receipt_email")
    call.save(intent)
    call.emit("payment_intent.created", intent)
    return intent


def _card_options(given: dict[str, Any], old: dict[str, Any] | None) -> dict[str, Any]:
    start = old or {
        "installments": None, "mandate_options": None, "network": None,
        "request_three_d_secure": "automatic",
    }
    asked = (given.get("payment_method_options") or {}).get("card") or {}
    taken = ("request_three_d_secure", "setup_future_usage", "network")
    return {**start, **{name: asked[name] for name in taken if asked.get(name)}}


def _shipping(given: dict[str, Any]) -> dict[str, Any]:
    address = {**shapes.blank("address"), **given["address"]}
    return {**shapes.blank("shipping"), **given, "address": address}


def _check(call: Call, params: dict[str, Any]) -> None:
    """Refuse what cannot be: unknown currency, amounts, customers, kinds of payment."""
    listing.refuse_unsimulated(params, UNSIMULATED)
    if params.get("automatic_payment_methods", {}).get("enabled"):
        listing.exclusive(params, "automatic_payment_methods", "payment_method_types")
    check_types(params)
    if params.get("customer"):
        customers.living(call, params["customer"])


def check_types(params: dict[str, Any]) -> None:
    for index, kind in enumerate(params.get("payment_method_types", ())):
        if kind != "card":
            raise errors.not_simulated(
                f"payments by {kind}", f"payment_method_types[{index}]"
            )


def check_secret(params: dict[str, Any], intent: dict[str, Any]) -> None:
    """Whoever names a client secret has to name this intent's."""
    secret = params.get("client_secret")
    if secret and secret != intent["client_secret"]:
        raise StripeError(
            f"The client_secret does not belong to this {_named(intent)}.", param="client_secret"
        )


def _named(intent: dict[str, Any]) -> str:
    return "PaymentIntent" if intent["object"] == "payment_intent" else "SetupIntent"


@operation("POST /v1/payment_intents")
def create(call: Call) -> dict[str, Any]:
    params = call.params
    _check(call, params)
    currency = money.check_currency(params["currency"], "currency")
    money.check_amount(params["amount"], currency)
    for name in ("off_session", "return_url", "error_on_requires_action"):
        if params.get(name) and not params.get("confirm"):
            raise StripeError(
                f"The parameter `{name}` cannot be passed when creating a PaymentIntent unless "
                "`confirm` is set to true.",
                param=name,
            )
    intent = make(call, {**params, "currency": currency})
    take_method(call, intent, params)
    call.save(intent)
    return _confirm(call, intent, params) if params.get("confirm") else intent


def take_method(call: Call, intent: dict[str, Any], params: dict[str, Any]) -> None:
    """Put the method the call names on the intent, so that it can be confirmed."""
    listing.exclusive(params, "payment_method", "payment_method_data")
    if params.get("payment_method"):
        method = payment_methods.resolve(call, params["payment_method"])
    elif params.get("payment_method_data"):
        method = payment_methods.from_data(
            call, params["payment_method_data"], "payment_method_data"
        )
    else:
        return
    if method["customer"] and method["customer"] != intent["customer"]:
        raise StripeError(
            f"The provided PaymentMethod cannot be attached to this {_named(intent)}: it belongs "
            f"to the Customer {method['customer']}. Include that Customer in the `customer` "
            "parameter.",
            param="payment_method",
        )
    if method.get("_consumed"):
        raise StripeError(
            "The provided PaymentMethod was previously used with a PaymentIntent without Customer "
            "attachment, or was detached from a Customer, and may not be used again.",
            param="payment_method",
        )
    intent["payment_method"] = method["id"]
    if intent["status"] == "requires_payment_method":
        intent["status"] = "requires_confirmation"


def _confirm(call: Call, intent: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    confirmation.check_confirmation(call, intent, params)
    intent["_error_on_requires_action"] = params.get("error_on_requires_action", False)
    method = call.find("payment_method", intent["payment_method"], "payment_method", 400)
    return confirmation.attempt(
        call, intent, method, off_session=params.get("off_session") not in (None, False)
    )


@operation("GET /v1/payment_intents/{intent}")
def retrieve(call: Call) -> dict[str, Any]:
    intent = _found(call)
    check_secret(call.params, intent)
    return intent


def _found(call: Call) -> dict[str, Any]:
    return call.find("payment_intent", call.path["intent"], "intent")


@operation("POST /v1/payment_intents/{intent}")
def update(call: Call) -> dict[str, Any]:
    intent, params = _found(call), call.params
    _check(call, params)
    only_words = not set(params) - {"metadata", "description", "receipt_email", "transfer_group"}
    if intent["status"] in CLOSED and not only_words:
        raise errors.unexpected_state(
            "This PaymentIntent could not be updated because it has a status of "
            f"{intent['status']}.",
            call.show(intent),
        )
    if "currency" in params:
        intent["currency"] = money.check_currency(params["currency"], "currency")
    if "amount" in params:
        refuse_checkout(intent, "update the amount of")
        intent["amount"] = params["amount"]
    money.check_amount(intent["amount"], intent["currency"])
    listing.assign(intent, params, (*FIELDS, "customer", "capture_method", "payment_method_types"))
    listing.check_email(intent["receipt_email"], "receipt_email")
    options = intent["payment_method_options"] or {}
    intent["payment_method_options"] = {"card": _card_options(params, options.get("card"))}
    intent["metadata"] = listing.merged_metadata(intent["metadata"], params.get("metadata"))
    take_method(call, intent, params)
    return call.save(intent, due_at=_due(intent))


def _due(intent: dict[str, Any]) -> int | None:
    """When an authorization ends by itself."""
    if intent["status"] != "requires_capture":
        return None
    return intent["created"] + confirmation.charges.AUTHORIZATION_S


def refuse_checkout(intent: dict[str, Any], verb: str) -> None:
    if intent.get("_invoice") and verb != "confirm":
        raise StripeError(
            f"You cannot {verb} this {_named(intent)} because it was created by an Invoice. Void "
            "the invoice instead, or let the customer pay it.",
            code=f"{intent['object']}_unexpected_state",
        )
    if intent.get("_session"):
        raise StripeError(
            f"You cannot {verb} this {_named(intent)} because it was created by a Checkout "
            "Session. Expire the Checkout Session instead, or let the customer complete it.",
            code=f"{intent['object']}_unexpected_state",
        )


@operation("POST /v1/payment_intents/{intent}/confirm")
def confirm(call: Call) -> dict[str, Any]:
    intent, params = _found(call), call.params
    listing.refuse_unsimulated(params, UNSIMULATED)
    check_secret(params, intent)
    refuse_checkout(intent, "confirm")
    if intent["status"] not in confirmation.CONFIRMABLE:
        word = {
            "succeeded": "it has already succeeded after being previously confirmed",
            "requires_capture": "it has already been confirmed and waits to be captured",
        }.get(intent["status"], f"it has a status of {intent['status']}")
        raise errors.unexpected_state(
            f"You cannot confirm this PaymentIntent because {word}.", call.show(intent)
        )
    given = params.get("payment_method") or params.get("payment_method_data")
    if intent["status"] == "requires_action" and not given:
        raise errors.unexpected_state(
            "You cannot confirm this PaymentIntent because it waits for the customer's action.",
            call.show(intent),
        )
    listing.assign(intent, params, ("receipt_email", "setup_future_usage", "shipping"))
    if intent["shipping"]:
        intent["shipping"] = _shipping(intent["shipping"])
    options = (intent["payment_method_options"] or {}).get("card")
    intent["payment_method_options"] = {"card": _card_options(params, options)}
    take_method(call, intent, params)
    return _confirm(call, intent, params)


@operation("POST /v1/payment_intents/{intent}/capture")
def capture(call: Call) -> dict[str, Any]:
    intent, params = _found(call), call.params
    listing.refuse_unsimulated(params, UNSIMULATED)
    if params.get("final_capture") is False:
        raise errors.not_simulated("multicapture", "final_capture")
    intent["metadata"] = listing.merged_metadata(intent["metadata"], params.get("metadata"))
    return confirmation.capture(call, intent, params.get("amount_to_capture"))


@operation("POST /v1/payment_intents/{intent}/cancel")
def cancel(call: Call) -> dict[str, Any]:
    intent = _found(call)
    if intent["status"] != "requires_capture":
        refuse_checkout(intent, "cancel")
    return confirmation.cancel(call, intent, call.params.get("cancellation_reason"))


@operation("GET /v1/payment_intents")
def list_all(call: Call) -> dict[str, Any]:
    customer = call.params.get("customer")
    return listing.page(
        call, "payment_intent", "/v1/payment_intents",
        link=("customer", customer) if customer else None,
    )


@operation("GET /v1/payment_intents/search")
def find_matching(call: Call) -> dict[str, Any]:
    return search.page(call, "payment_intent", "/v1/payment_intents/search")
