"""Setup intents: their calls; what happens inside them is in setup_confirmation.py."""

from __future__ import annotations

from typing import Any

from .. import errors, ids, shapes
from ..engine import Call, operation
from ..errors import StripeError
from . import confirmation, customers, listing, payment_intents, setup_confirmation

UNSIMULATED = {
    "attach_to_self": "Connect", "confirmation_token": "confirmation tokens",
    "customer_account": "customer accounts", "on_behalf_of": "Connect",
    "flow_directions": "flow directions", "single_use": "single use mandates",
    "payment_method_configuration": "payment method configurations",
}
WORDS = ("metadata", "description")


def make(call: Call, given: dict[str, Any]) -> dict[str, Any]:
    """A new intent, saved and announced; `given` is as the call that creates one has it."""
    intent_id = ids.new("setup_intent")
    own_types = given.get("payment_method_types")
    automatic = given.get("automatic_payment_methods") or {"enabled": not own_types}
    intent: dict[str, Any] = {
        **shapes.blank("setup_intent"),
        "id": intent_id,
        "object": "setup_intent",
        "automatic_payment_methods": {
            "allow_redirects": automatic.get("allow_redirects", "always"), "enabled": True,
        } if automatic["enabled"] else None,
        "client_secret": f"{intent_id}_secret_{ids.token(25)}",
        "created": call.now,
        "customer": given.get("customer"),
        "description": given.get("description") or None,
        "livemode": False,
        "metadata": listing.merged_metadata({}, given.get("metadata")),
        "payment_method_options": {"card": _card_options(given, None)},
        "payment_method_types": own_types or list(payment_intents.TYPES),
        "status": "requires_payment_method",
        "usage": given.get("usage", "off_session"),
    }
    call.save(intent)
    call.emit("setup_intent.created", intent)
    return intent


def _card_options(given: dict[str, Any], old: dict[str, Any] | None) -> dict[str, Any]:
    start = old or {
        "mandate_options": None, "network": None, "request_three_d_secure": "automatic",
    }
    asked = (given.get("payment_method_options") or {}).get("card") or {}
    taken = ("request_three_d_secure", "network")
    return {**start, **{name: asked[name] for name in taken if asked.get(name)}}


def _check(call: Call, params: dict[str, Any]) -> None:
    listing.refuse_unsimulated(params, UNSIMULATED)
    payment_intents.check_types(params)
    if params.get("customer"):
        customers.living(call, params["customer"])


@operation("POST /v1/setup_intents")
def create(call: Call) -> dict[str, Any]:
    params = call.params
    _check(call, params)
    for name in ("return_url", "mandate_data"):
        if params.get(name) and not params.get("confirm"):
            raise StripeError(
                f"The parameter `{name}` cannot be passed when creating a SetupIntent unless "
                "`confirm` is set to true.",
                param=name,
            )
    intent = make(call, params)
    payment_intents.take_method(call, intent, params)
    call.save(intent)
    return _confirm(call, intent, params) if params.get("confirm") else intent


def _confirm(call: Call, intent: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    confirmation.check_confirmation(call, intent, params)
    method = call.find("payment_method", intent["payment_method"], "payment_method", 400)
    return setup_confirmation.attempt(call, intent, method)


@operation("GET /v1/setup_intents/{intent}")
def retrieve(call: Call) -> dict[str, Any]:
    intent = _found(call)
    payment_intents.check_secret(call.params, intent)
    return intent


def _found(call: Call) -> dict[str, Any]:
    return call.find("setup_intent", call.path["intent"], "intent")


@operation("POST /v1/setup_intents/{intent}")
def update(call: Call) -> dict[str, Any]:
    intent, params = _found(call), call.params
    _check(call, params)
    if intent["status"] not in setup_confirmation.CANCELABLE and set(params) - set(WORDS):
        raise errors.unexpected_state(
            f"This SetupIntent could not be updated because it has a status of {intent['status']}.",
            call.show(intent),
        )
    listing.assign(intent, params, ("customer", "description", "payment_method_types"))
    options = (intent["payment_method_options"] or {}).get("card")
    intent["payment_method_options"] = {"card": _card_options(params, options)}
    intent["metadata"] = listing.merged_metadata(intent["metadata"], params.get("metadata"))
    payment_intents.take_method(call, intent, params)
    return call.save(intent)


@operation("POST /v1/setup_intents/{intent}/confirm")
def confirm(call: Call) -> dict[str, Any]:
    intent, params = _found(call), call.params
    listing.refuse_unsimulated(params, UNSIMULATED)
    payment_intents.check_secret(params, intent)
    payment_intents.refuse_checkout(intent, "confirm")
    given = params.get("payment_method") or params.get("payment_method_data")
    if intent["status"] not in confirmation.CONFIRMABLE:
        raise errors.unexpected_state(
            f"You cannot confirm this SetupIntent because it has a status of {intent['status']}.",
            call.show(intent),
        )
    if intent["status"] == "requires_action" and not given:
        raise errors.unexpected_state(
            "You cannot confirm this SetupIntent because it waits for the customer's action.",
            call.show(intent),
        )
    options = (intent["payment_method_options"] or {}).get("card")
    intent["payment_method_options"] = {"card": _card_options(params, options)}
    payment_intents.take_method(call, intent, params)
    return _confirm(call, intent, params)


@operation("POST /v1/setup_intents/{intent}/cancel")
def cancel(call: Call) -> dict[str, Any]:
    intent = _found(call)
    payment_intents.refuse_checkout(intent, "cancel")
    return setup_confirmation.cancel(call, intent, call.params.get("cancellation_reason"))


@operation("GET /v1/setup_intents")
def list_all(call: Call) -> dict[str, Any]:
    params = call.params
    listing.refuse_unsimulated(params, UNSIMULATED)
    customer, method = params.get("customer"), params.get("payment_method")
    return listing.page(
        call, "setup_intent", "/v1/setup_intents",
        link=("customer", customer) if customer else None,
        keep=lambda intent: not method or intent["payment_method"] == method,
    )


@operation("GET /v1/setup_attempts")
def list_attempts(call: Call) -> dict[str, Any]:
    intent = call.find("setup_intent", call.params["setup_intent"], "setup_intent", 400)
    return listing.page(
        call, "setup_attempt", "/v1/setup_attempts",
        keep=lambda attempted: attempted["setup_intent"] == intent["id"],
    )
