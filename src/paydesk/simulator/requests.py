"""Calls from inside the process: the API without HTTP, and the checkout page without a browser."""

from __future__ import annotations

from typing import Any

from . import api, cards, forms
from .cli import Payment
from .engine import Call, Simulator
from .errors import StripeError
from .objects import checkout
from .store import decode


def ask(
    sim: Simulator, method: str, path: str, params: dict[str, Any], *, base_url: str, **more: Any
) -> dict[str, Any]:
    """An API call; `params` nested as in the SDK. Raises StripeError."""
    key, values = api.route(method, path)
    cast = forms.cast(key, as_form(params))
    work = sim.api_work(key, cast, path=values, base_url=base_url, **more)
    answer = sim.store.call(work)
    body = decode(answer.body)
    if answer.status >= 400:
        raise StripeError(body["error"].get("message", ""), status=answer.status,
                          type=body["error"]["type"], code=body["error"].get("code"))
    return body


def as_form(value: Any) -> Any:
    """Parameters as the form would carry them: texts all through, lists by index."""
    if isinstance(value, dict):
        return {name: as_form(item) for name, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return {str(index): as_form(item) for index, item in enumerate(value)}
    return str(value).lower() if isinstance(value, bool) else str(value)


def pay_page(
    call: Call, session_id: str, card: str, approve: bool, email: str, wallet: str | None
) -> Payment:
    """Pay a session as its page would."""
    session = call.tx.get(session_id, "checkout.session")
    if session is None:
        return Payment("unknown")
    contact = {"email": session["customer_email"] or email, "name": "Ada Buyer"}
    try:
        chosen = cards.by_number(card)
        if checkout.current(call, session)["status"] == "open":
            method = checkout.method_from_page(call, chosen, 12, 2040, contact, wallet)
            session = checkout.pay(call, session, method, contact)
        if session["status"] == "open":
            intent = checkout.intent_of(call, session) or {}
            intent = checkout.authenticated(call, intent, approve)
            session = call.find("checkout.session", session_id, "session")
            if intent["status"] == "requires_payment_method":
                name = "payment" if intent["object"] == "payment_intent" else "setup"
                failed = intent[f"last_{name}_error"]["message"]
                return Payment("authentication_failed", None, failed)
    except StripeError as error:
        return Payment("declined", None, str(error), error.code, error.fields.get("decline_code"))
    url = session["success_url"].replace("{CHECKOUT_SESSION_ID}", session_id)
    return Payment(session["status"], url if session["status"] == "complete" else None)
