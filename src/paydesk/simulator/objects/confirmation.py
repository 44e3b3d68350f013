"""The life of a payment intent: attempts, 3-D Secure, declines, capture, cancellation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .. import cards, errors, ids, money
from ..cards import Decline
from ..engine import Call
from ..errors import StripeError
from . import charges, disputes, listing, payment_methods, refunds

AUTHENTICATION_FAILED = (
    "The provided PaymentMethod has failed authentication. You can provide payment_method_data or "
    "a new PaymentMethod to attempt to fulfill this PaymentIntent again."
)
#: Told of every attempt to pay an intent, once its own events are out.
OUTCOMES: list[Callable[[Call, dict[str, Any]], None]] = []
CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")


def attempt(
    call: Call,
    intent: dict[str, Any],
    method: dict[str, Any],
    *,
    off_session: bool = False,
    authenticated: bool = False,
) -> dict[str, Any]:
    """Try to charge the method for the intent; returns the intent as it is afterwards.

    Where the card asks for 3-D Secure the intent waits in `requires_action`. A decline raises
    the card error; the failed charge, the intent and their events stay.
    """
    card = payment_methods.card_of(method)
    intent |= {"payment_method": method["id"], "last_payment_error": None, "next_action": None}
    if _needs_authentication(intent, method, card, off_session) and not authenticated:
        # Billing asks the owner of the card where the bank wants that; others are refused.
        refused = off_session and not intent.get("_invoice")
        if refused or intent.get("_error_on_requires_action"):
            raise _declined(call, intent, method, cards.DECLINES["authentication_required"])
        return _ask_for_authentication(call, intent)
    if card.decline is not None:
        raise _declined(call, intent, method, cards.DECLINES[card.decline])
    return _succeed(call, intent, method, authenticated)


def _needs_authentication(
    intent: dict[str, Any], method: dict[str, Any], card: cards.TestCard, off_session: bool
) -> bool:
    if card.three_d_secure == "required":
        return True
    if card.three_d_secure == "unless_set_up":
        return not (off_session and method["customer"] and method.get("_set_up"))
    if card.three_d_secure == "on_session":
        return not off_session
    options = (intent.get("payment_method_options") or {}).get("card") or {}
    return (
        card.three_d_secure == "optional"
        and options.get("request_three_d_secure") in ("any", "challenge")
        and not off_session
    )


def _ask_for_authentication(call: Call, intent: dict[str, Any]) -> dict[str, Any]:
    intent |= {"status": "requires_action", "next_action": next_action(intent)}
    call.save(intent)
    call.emit("payment_intent.requires_action", intent)
    _told(call, intent)
    return intent


def _told(call: Call, intent: dict[str, Any]) -> None:
    for hear in OUTCOMES:
        hear(call, intent)


def next_action(intent: dict[str, Any]) -> dict[str, Any]:
    """Where the owner of the card has to go; the page's address is filled in when it is shown."""
    return_url = intent.get("_return_url")
    if return_url:
        return {
            "type": "redirect_to_url", "redirect_to_url": {"return_url": return_url, "url": None},
        }
    return {
        "type": "use_stripe_sdk",
        "use_stripe_sdk": {"type": "three_d_secure_redirect", "source": f"src_{ids.token(24)}"},
    }


def check_confirmation(call: Call, intent: dict[str, Any], params: dict[str, Any]) -> None:
    """Refuse to confirm an intent of either kind without a method or a way back to the shop."""
    kind = "PaymentIntent" if intent["object"] == "payment_intent" else "SetupIntent"
    if not intent["payment_method"]:
        raise errors.unexpected_state(
            f"You cannot confirm this {kind} because it's missing a payment method. You can "
            f"either update the {kind} with a payment method and then confirm it again, or "
            "confirm it again directly with a payment method.",
            call.show(intent),
        )
    automatic, return_url = intent["automatic_payment_methods"], params.get("return_url")
    redirects = automatic and automatic["allow_redirects"] != "never"
    if redirects and not return_url and not params.get("use_stripe_sdk"):
        raise StripeError(
            f"This {kind} is configured to accept payment methods enabled in your Dashboard. "
            "Because some of these payment methods might redirect your customer off of your page, "
            "you must provide a `return_url`. If you don't want to accept redirect-based payment "
            "methods, set `automatic_payment_methods[enabled]` to `true` and "
            "`automatic_payment_methods[allow_redirects]` to `never`.",
            **{intent["object"]: call.show(intent)},
        )
    if return_url:
        intent["_return_url"] = listing.check_url(return_url, "return_url")


def _declined(
    call: Call, intent: dict[str, Any], method: dict[str, Any], decline: Decline
) -> StripeError:
    """Record the failed charge and return the card error that tells of it."""
    switches = call.sim.switches
    decline = replace(
        decline, advice=switches.advice_code or decline.advice,
        network_advice=switches.network_advice_code or decline.network_advice,
    )
    charge = charges.make(call, intent, method, captured=False, decline=decline)
    error = payment_methods.card_error(
        decline, keep=True, charge=charge["id"], payment_method=call.show(method)
    )
    intent |= {
        "status": "requires_payment_method",
        "payment_method": None,
        "latest_charge": charge["id"],
        "last_payment_error": dict(error.fields),
    }
    call.save(intent)
    call.emit("charge.failed", charge)
    call.emit("payment_intent.payment_failed", intent)
    error.fields["payment_intent"] = call.show(intent)
    _told(call, intent)
    return error


def _succeed(
    call: Call, intent: dict[str, Any], method: dict[str, Any], authenticated: bool
) -> dict[str, Any]:
    manual = intent["capture_method"] == "manual"
    at_once = intent["capture_method"] == "automatic"
    charge = charges.make(
        call, intent, method, captured=not manual, authenticated=authenticated
    )
    if at_once:
        charges.settle(call, charge)
    _keep_method(call, intent, method)
    intent["latest_charge"] = charge["id"]
    if manual:
        intent |= {"status": "requires_capture", "amount_capturable": intent["amount"]}
    else:
        intent |= {"status": "succeeded", "amount_received": intent["amount"]}
    call.save(intent, due_at=call.now + charges.AUTHORIZATION_S if manual else None)
    call.emit("charge.succeeded", charge)
    if manual:
        call.emit("payment_intent.amount_capturable_updated", intent)
    else:
        call.emit("payment_intent.succeeded", intent)
    if not manual and not at_once:
        charges.settle_later(call, charge["id"])
    if not manual:
        disputes.after_success(call, charge["id"])
    _told(call, intent)
    return intent


def _keep_method(call: Call, intent: dict[str, Any], method: dict[str, Any]) -> None:
    """Save the method to the customer where that was asked for; a loose one is used up."""
    if intent["setup_future_usage"] and intent["customer"]:
        if intent["setup_future_usage"] == "off_session":
            method["_set_up"] = True
        if not method["customer"]:
            method["customer"] = intent["customer"]
            call.save(method)
            call.emit("payment_method.attached", method)
            return
    elif not method["customer"]:
        method["_consumed"] = True
    call.save(method)


def authenticate(call: Call, intent: dict[str, Any], passed: bool) -> dict[str, Any]:
    """The outcome of the 3-D Secure page; a decline after it raises as `attempt` does."""
    method = call.find("payment_method", intent["payment_method"], "payment_method")
    if passed:
        return attempt(call, intent, method, authenticated=True)
    error = StripeError(
        AUTHENTICATION_FAILED, code="payment_intent_authentication_failure",
        payment_method=call.show(method),
    )
    intent |= {
        "status": "requires_payment_method", "payment_method": None, "next_action": None,
        "last_payment_error": dict(error.fields),
    }
    call.save(intent)
    call.emit("payment_intent.payment_failed", intent)
    _told(call, intent)
    return intent


def capture(call: Call, intent: dict[str, Any], amount: int | None) -> dict[str, Any]:
    """Take the authorized money, or a part of it; what is left is released."""
    if intent["status"] != "requires_capture":
        raise errors.unexpected_state(
            "This PaymentIntent could not be captured because it has a status of "
            f"{intent['status']}. Only a PaymentIntent with one of the following statuses may be "
            "captured: requires_capture.",
            call.show(intent),
        )
    amount = int(intent["amount_capturable"]) if amount is None else amount
    if amount < 1:
        raise StripeError(
            "This value must be greater than or equal to 1.",
            code="parameter_invalid_integer", param="amount_to_capture",
        )
    if amount > intent["amount_capturable"]:
        left = money.shown(intent["amount_capturable"], intent["currency"])
        raise StripeError(
            "The requested capture amount is greater than the amount you can capture for this "
            f"PaymentIntent, which is {left}.",
            code="amount_too_large", param="amount_to_capture",
        )
    charge = call.find("charge", intent["latest_charge"], "charge")
    charge |= {"captured": True, "amount_captured": amount}
    charges.settle(call, charge)
    intent |= {"status": "succeeded", "amount_capturable": 0, "amount_received": amount}
    call.save(intent)
    if amount < charge["amount"]:
        refunds.make(call, charge, charge["amount"] - amount, booked=False)
    call.emit("charge.captured", charge)
    call.emit("payment_intent.succeeded", intent)
    disputes.after_success(call, charge["id"])
    return intent


def cancel(call: Call, intent: dict[str, Any], reason: str | None) -> dict[str, Any]:
    """End an intent that has taken no money; an authorization is released."""
    if intent["status"] in ("succeeded", "canceled", "processing"):
        raise errors.unexpected_state(
            f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}. "
            "Only a PaymentIntent with one of the following statuses may be canceled: "
            "requires_payment_method, requires_capture, requires_confirmation, requires_action.",
            call.show(intent),
        )
    held = intent["status"] == "requires_capture"
    intent |= {
        "status": "canceled", "canceled_at": call.now, "cancellation_reason": reason,
        "amount_capturable": 0, "next_action": None,
    }
    call.save(intent)
    if held:
        charge = call.find("charge", intent["latest_charge"], "charge")
        why = "expired_uncaptured_charge" if reason == "automatic" else None
        refunds.make(call, charge, charge["amount"], booked=False, reason=why)
        if reason == "automatic":
            call.emit("charge.expired", charge)
    call.emit("payment_intent.canceled", intent)
    return intent
