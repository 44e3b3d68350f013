"""The bank's page for an intent of either kind, with or without a Checkout Session around it."""

from __future__ import annotations

from typing import Any

from ..engine import Call
from ..errors import StripeError
from . import checkout, confirmation, setup_confirmation

KINDS = ("payment_intent", "setup_intent")


def intent_of(call: Call, intent_id: str) -> dict[str, Any] | None:
    """The payment or setup intent with this id."""
    intent = call.tx.get(intent_id)
    return intent if intent is not None and intent["object"] in KINDS else None


def authenticate(
    call: Call, intent_id: str, passed: bool
) -> tuple[dict[str, Any] | None, StripeError | None]:
    """What the owner of the card did; an intent that waits for nobody stays as it is.

    Returns the intent as it is then, None where there is none, and the bank's refusal if any.
    """
    intent = intent_of(call, intent_id)
    refused = None
    if intent is not None and intent["status"] == "requires_action":
        life = confirmation if intent["object"] == "payment_intent" else setup_confirmation
        step = checkout.authenticated if intent.get("_session") else life.authenticate
        try:
            step(call, intent, passed)
        except StripeError as error:
            refused = error
    return intent_of(call, intent_id), refused
