"""The life of a setup intent: a card is saved for later, with 3-D Secure, or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import cards, errors, ids
from ..cards import Decline
from ..engine import Call
from ..errors import StripeError
from . import confirmation, payment_methods

AUTHENTICATION_FAILED = (
    "The latest attempt to set up the payment method has failed because authentication failed."
)
#: Told of every intent that succeeded.
SUCCEEDED: list[Callable[[Call, dict[str, Any]], None]] = []
CANCELABLE = ("requires_payment_method", "requires_confirmation", "requires_action")


def attempt(
    call: Call, intent: dict[str, Any], method: dict[str, Any], *, authenticated: bool = False
) -> dict[str, Any]:
    """Try to save the method; returns the intent as it is afterwards.

    Where the card asks for 3-D Secure the intent waits in `requires_action`. A refusal raises the
    card error; the intent and its events stay.
    """
    card = payment_methods.card_of(method)
    intent |= {"payment_method": method["id"], "last_setup_error": None, "next_action": None}
    if not authenticated and _needs_authentication(intent, card):
        _record(call, intent, method, "requires_action")
        intent |= {"status": "requires_action", "next_action": confirmation.next_action(intent)}
        call.save(intent)
        call.emit("setup_intent.requires_action", intent)
        return intent
    if card.saving_decline is not None:
        raise _declined(call, intent, method, cards.DECLINES[card.saving_decline], authenticated)
    return _succeed(call, intent, method, authenticated)


def _needs_authentication(intent: dict[str, Any], card: cards.TestCard) -> bool:
    if card.three_d_secure != "optional":
        return card.three_d_secure is not None
    options = (intent["payment_method_options"] or {}).get("card") or {}
    return options.get("request_three_d_secure") in ("any", "challenge")


def _succeed(
    call: Call, intent: dict[str, Any], method: dict[str, Any], authenticated: bool
) -> dict[str, Any]:
    if intent["usage"] == "off_session":
        method["_set_up"] = True
    attached = bool(intent["customer"]) and not method["customer"]
    if attached:
        method["customer"] = intent["customer"]
    call.save(method)
    _record(call, intent, method, "succeeded", authenticated=authenticated)
    intent["status"] = "succeeded"
    call.save(intent)
    if attached:
        call.emit("payment_method.attached", method)
    call.emit("setup_intent.succeeded", intent)
    for hear in SUCCEEDED:
        hear(call, intent)
    return intent


def _declined(
    call: Call, intent: dict[str, Any], method: dict[str, Any], decline: Decline, asked: bool
) -> StripeError:
    """Note the refusal on the intent and return the card error that tells of it."""
    error = payment_methods.card_error(decline, keep=True, payment_method=call.show(method))
    _fail(call, intent, method, error, authenticated=asked)
    error.fields["setup_intent"] = call.show(intent)
    return error


def _fail(
    call: Call, intent: dict[str, Any], method: dict[str, Any], error: StripeError,
    *, authenticated: bool,
) -> None:
    _record(call, intent, method, "failed", error=error, authenticated=authenticated)
    intent |= {
        "status": "requires_payment_method", "payment_method": None, "next_action": None,
        "last_setup_error": dict(error.fields),
    }
    call.save(intent)
    call.emit("setup_intent.setup_failed", intent)


def authenticate(call: Call, intent: dict[str, Any], passed: bool) -> dict[str, Any]:
    """The outcome of the 3-D Secure page; a refusal after it raises as `attempt` does."""
    method = call.find("payment_method", intent["payment_method"], "payment_method")
    if passed:
        return attempt(call, intent, method, authenticated=True)
    error = StripeError(
        AUTHENTICATION_FAILED, code="setup_intent_authentication_failure",
        payment_method=call.show(method),
    )
    _fail(call, intent, method, error, authenticated=False)
    return intent


def cancel(call: Call, intent: dict[str, Any], reason: str | None) -> dict[str, Any]:
    """End an intent that has saved nothing."""
    if intent["status"] not in CANCELABLE:
        raise errors.unexpected_state(
            f"You cannot cancel this SetupIntent because it has a status of {intent['status']}. "
            "Only a SetupIntent with one of the following statuses may be canceled: "
            f"{', '.join(CANCELABLE)}.",
            call.show(intent),
        )
    intent |= {"status": "canceled", "cancellation_reason": reason, "next_action": None}
    call.save(intent)
    call.emit("setup_intent.canceled", intent)
    return intent


def _record(
    call: Call, intent: dict[str, Any], method: dict[str, Any], status: str,
    *, error: StripeError | None = None, authenticated: bool = False,
) -> None:
    """The attempt as an object of its own; one that waited for the card's owner goes on."""
    latest = call.tx.get(intent["latest_attempt"]) if intent["latest_attempt"] else None
    waiting = (
        latest is not None and latest["status"] == "requires_action"
        and latest["payment_method"] == method["id"]
    )
    own = method["card"]
    card = {
        name: own[name]
        for name in ("brand", "checks", "country", "exp_month", "exp_year", "fingerprint",
                     "funding", "last4")
    }
    wallet = own["wallet"] and {k: v for k, v in own["wallet"].items() if k != "dynamic_last4"}
    card |= {"network": own["brand"], "wallet": wallet, "three_d_secure": None}
    if authenticated:
        card["three_d_secure"] = {
            "authentication_flow": "challenge", "electronic_commerce_indicator": "05",
            "result": "authenticated", "result_reason": None, "transaction_id": ids.token(24),
            "version": "2.2.0",
        }
    attempted = {
        "id": latest["id"] if latest and waiting else ids.new("setup_attempt"),
        "object": "setup_attempt",
        "application": None,
        "attach_to_self": False,
        "created": latest["created"] if latest and waiting else call.now,
        "customer": intent["customer"],
        "customer_account": None,
        "flow_directions": None,
        "livemode": False,
        "on_behalf_of": None,
        "payment_method": method["id"],
        "payment_method_details": {"card": card, "type": "card"},
        "setup_error": dict(error.fields) if error else None,
        "setup_intent": intent["id"],
        "status": status,
        "usage": intent["usage"],
    }
    call.save(attempted)
    intent["latest_attempt"] = attempted["id"]
