"""Checkout Sessions: made by the shop, paid (or a card saved) on the hosted page, ended by time."""

from __future__ import annotations

from typing import Any

from .. import errors, ids, money, shapes
from ..engine import Call, operation
from ..errors import StripeError
from . import (
    catalog,
    checkout_subscriptions,
    confirmation,
    customers,
    listing,
    payment_intents,
    payment_methods,
    setup_confirmation,
    setup_intents,
)

LEAST_LIFE_S = 30 * 60
LONGEST_LIFE_S = 24 * 60 * 60
MAX_LINES = 100
#: What would change the sum or the way it is paid: refused, so that nobody counts on it.
UNSIMULATED = {
    "after_expiration": "recovery of expired sessions", "allow_promotion_codes": "promotion codes",
    "custom_fields": "custom fields",
    "optional_items": "optional items", "customer_account": "customer accounts",
    "saved_payment_method_options": "saved payment methods on the hosted page",
    "shipping_address_collection": "shipping addresses",
    "shipping_options": "shipping options",
    "payment_method_configuration": "payment method configurations",
}
#: What belongs to the other mode.
ELSEWHERE = {
    "payment": ("setup_intent_data", "subscription_data"),
    "setup": (
        "line_items", "payment_intent_data", "submit_type", "invoice_creation",
        "subscription_data",
    ),
    "subscription": (
        "setup_intent_data", "payment_intent_data", "customer_creation", "invoice_creation",
    ),
}
LINE_UNSIMULATED = {
    "adjustable_quantity": "adjustable quantities", "dynamic_tax_rates": "tax rates",
    "tax_rates": "tax rates",
}
INTENT_UNSIMULATED = {
    "application_fee_amount": "application fees", "on_behalf_of": "Connect",
    "transfer_data": "transfers",
}


@operation("POST /v1/checkout/sessions")
def create(call: Call) -> dict[str, Any]:
    params = call.params
    _check(call, params)
    mode = params.get("mode", "payment")
    expires_at = _expiry(call, params.get("expires_at"))
    session: dict[str, Any] = {
        **shapes.blank("checkout.session"),
        "id": ids.new("checkout.session"),
        "object": "checkout.session",
        "adaptive_pricing": {"enabled": False},
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "client_reference_id": params.get("client_reference_id"),
        "created": call.now,
        "custom_fields": [],
        "custom_text": shapes.blank("payment_pages_checkout_session_custom_text"),
        "customer": params.get("customer"),
        "customer_creation": params.get("customer_creation", "if_required"),
        "customer_email": listing.check_email(params.get("customer_email"), "customer_email"),
        "expires_at": expires_at,
        "livemode": False,
        "locale": params.get("locale"),
        "metadata": listing.merged_metadata({}, params.get("metadata")),
        "mode": mode,
        "payment_method_collection": "if_required" if mode == "payment" else "always",
        "payment_method_options": {"card": {"request_three_d_secure": _three_d_secure(params)}},
        "payment_method_types": ["card"],
        "permissions": None,
        "phone_number_collection": {"enabled": False},
        "shipping_options": [],
        "status": "open",
        "submit_type": params.get("submit_type"),
        "success_url": listing.check_url(params["success_url"], "success_url"),
        "ui_mode": "hosted_page",
        "url": None,
        "_merchant": (params.get("branding_settings") or {}).get("display_name"),
        **_of_mode(call, params, mode),
    }
    if params.get("customer"):
        session["customer_creation"] = None
        session["customer_details"] = _details_of(customers.living(call, params["customer"]))
    elif session["customer_email"]:
        session["customer_details"] = _details(session["customer_email"])
    if params.get("cancel_url"):
        session["cancel_url"] = listing.check_url(params["cancel_url"], "cancel_url")
    if mode == "setup":
        _add_setup_intent(call, session, params)
    return call.save(session, due_at=expires_at)


def _of_mode(call: Call, params: dict[str, Any], mode: str) -> dict[str, Any]:
    if mode == "setup":
        return _to_set_up(params)
    lines = _lines(call, params["line_items"])
    if mode == "payment":
        return _priced(call, params, lines)
    given = checkout_subscriptions.fields(call, params, lines)
    three_d_secure = {"card": {"request_three_d_secure": _three_d_secure(params)}}
    given["_intent"]["payment_method_options"] = three_d_secure
    return given | {"customer_creation": "always"}


def _priced(
    call: Call, params: dict[str, Any], lines: list[dict[str, Any]]
) -> dict[str, Any]:
    """The fields of a session in payment mode: its lines and what they come to."""
    if any(line["price"]["recurring"] for line in lines):
        raise StripeError(
            "You specified `payment` mode but passed a recurring price. Either switch to "
            "`subscription` mode or use only one-time prices.",
            param="line_items",
        )
    total = sum(line["amount_total"] for line in lines)
    currency = lines[0]["currency"]
    least = money.MINIMUM_MINOR.get(currency, 1)
    if 0 < total < least or total > money.MAXIMUM_MINOR:
        word, bound = ("least", least) if total < least else ("most", money.MAXIMUM_MINOR)
        raise StripeError(
            f"The Checkout Session's total amount due must add up to at {word} "
            f"{money.shown(bound, currency)} {currency}",
            code="amount_too_small" if word == "least" else "amount_too_large",
        )
    return {
        "amount_subtotal": total,
        "amount_total": total,
        "currency": currency,
        "payment_status": "unpaid" if total else "no_payment_required",
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        "_line_items": lines,
        "_intent": _intent_data(call, params),
    }


def _to_set_up(params: dict[str, Any]) -> dict[str, Any]:
    """The fields of a session that saves a card and takes no money."""
    currency = params.get("currency")
    if currency is None and not params.get("payment_method_types"):
        raise errors.missing_param("currency")
    return {
        "currency": money.check_currency(currency, "currency") if currency else None,
        "payment_status": "no_payment_required",
        "_line_items": [],
    }


def _add_setup_intent(call: Call, session: dict[str, Any], params: dict[str, Any]) -> None:
    """A session in setup mode has its intent from the beginning."""
    given = params.get("setup_intent_data") or {}
    listing.refuse_unsimulated(given, {"on_behalf_of": "Connect"})
    intent = setup_intents.make(
        call,
        {
            **given, "customer": session["customer"], "payment_method_types": ["card"],
            "payment_method_options": session["payment_method_options"],
        },
    )
    intent["_session"] = session["id"]
    call.save(intent)
    session["setup_intent"] = intent["id"]


def _check(call: Call, params: dict[str, Any]) -> None:
    mode = params.get("mode", "payment")
    if params.get("ui_mode", "hosted_page") != "hosted_page":
        raise errors.not_simulated("embedded Checkout pages", "ui_mode")
    for name in ("success_url",) if mode == "setup" else ("line_items", "success_url"):
        if not params.get(name):
            raise errors.missing_param(name)
    if params.get("discounts") and mode != "subscription":
        raise errors.not_simulated("coupons of single payments", "discounts")
    for name in ELSEWHERE[mode]:
        if params.get(name):
            raise StripeError(f"You can not pass `{name}` in `{mode}` mode.", param=name)
    listing.refuse_unsimulated(params, UNSIMULATED)
    listing.refuse_unsimulated(params.get("payment_intent_data", {}), INTENT_UNSIMULATED)
    for name in ("automatic_tax", "invoice_creation", "adaptive_pricing", "tax_id_collection"):
        if params.get(name, {}).get("enabled"):
            raise errors.not_simulated(name.replace("_", " "), name)
    for index, kind in enumerate(params.get("payment_method_types", ())):
        if kind != "card":
            raise errors.not_simulated(f"payments by {kind}", f"payment_method_types[{index}]")
    listing.exclusive(params, "customer", "customer_email")
    listing.exclusive(params, "customer", "customer_creation")


def _three_d_secure(params: dict[str, Any]) -> str:
    options = (params.get("payment_method_options") or {}).get("card") or {}
    return options.get("request_three_d_secure") or "automatic"


def _expiry(call: Call, asked: int | None) -> int:
    if asked is None:
        return call.now + LONGEST_LIFE_S
    if asked < call.now + LEAST_LIFE_S:
        raise StripeError(
            "The `expires_at` timestamp must be at least 30 minutes from Checkout Session "
            "creation.",
            param="expires_at",
        )
    if asked > call.now + LONGEST_LIFE_S:
        raise StripeError(
            "The `expires_at` timestamp must be less than 24 hours from Checkout Session creation.",
            param="expires_at",
        )
    return asked


def _lines(call: Call, given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if len(given) > MAX_LINES:
        raise StripeError(f"A session takes at most {MAX_LINES} line items.", param="line_items")
    lines = [_line(call, item, f"line_items[{index}]") for index, item in enumerate(given)]
    if len({line["currency"] for line in lines}) > 1:
        raise StripeError(
            "All line items of a Checkout Session must have the same currency.", param="line_items"
        )
    return lines


def _line(call: Call, item: dict[str, Any], param: str) -> dict[str, Any]:
    listing.refuse_unsimulated(item, LINE_UNSIMULATED)
    listing.exclusive(item, "price", "price_data")
    if item.get("price"):
        price = call.find("price", item["price"], f"{param}[price]", 400)
        if not price["active"]:
            raise StripeError(
                f"The price specified is inactive: {price['id']}.", param=f"{param}[price]"
            )
        product = call.find("product", price["product"], "product", 400)
        if not product["active"]:
            raise StripeError(
                f"The product of the price specified is inactive: {product['id']}.",
                param=f"{param}[price]",
            )
    elif item.get("price_data"):
        price, product = _inline_price(call, item["price_data"], f"{param}[price_data]")
    else:
        raise errors.missing_param(f"{param}[price]")
    quantity = item.get("quantity")
    if quantity is None:
        raise errors.missing_param(f"{param}[quantity]")
    if not 1 <= quantity <= 999_999:
        raise StripeError(
            "This value must be greater than or equal to 1.",
            code="parameter_invalid_integer", param=f"{param}[quantity]",
        )
    amount = price["unit_amount"] * quantity
    return {
        "id": ids.new("item"),
        "object": "item",
        "amount_discount": 0,
        "amount_subtotal": amount,
        "amount_tax": 0,
        "amount_total": amount,
        "currency": price["currency"],
        "description": product["name"],
        "metadata": listing.merged_metadata({}, item.get("metadata")),
        "price": call.show(price),
        "quantity": quantity,
        "_note": product["description"],
    }


def _inline_price(
    call: Call, data: dict[str, Any], param: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A price made for one session; its product is made too unless the data names one."""
    listing.exclusive(data, "product", "product_data")
    if data.get("product"):
        product = call.find("product", data["product"], f"{param}[product]", 400)
    elif data.get("product_data"):
        product = catalog.make_product(call, {**data["product_data"], "active": False})
        product["_inline"] = True
        call.save(product)
    else:
        raise errors.missing_param(f"{param}[product]")
    price = catalog.make_price(call, {**data, "active": False}, product["id"], param)
    price["_inline"] = True
    return call.save(price), product


def _intent_data(call: Call, params: dict[str, Any]) -> dict[str, Any]:
    """What the session's payment intent will be made of, checked now."""
    given = dict(params.get("payment_intent_data") or {})
    given["metadata"] = listing.merged_metadata(
        {}, given.get("metadata"), "payment_intent_data[metadata]"
    )
    listing.check_email(given.get("receipt_email"), "payment_intent_data[receipt_email]")
    given["payment_method_options"] = {"card": {"request_three_d_secure": _three_d_secure(params)}}
    return given


def _details(email: str | None, name: str | None = None) -> dict[str, Any]:
    return {
        **shapes.blank("payment_pages_checkout_session_customer_details"),
        "email": email, "name": name, "tax_exempt": "none", "tax_ids": [],
    }


def _details_of(customer: dict[str, Any]) -> dict[str, Any]:
    return _details(customer["email"], customer["name"])


@operation("GET /v1/checkout/sessions/{session}")
def retrieve(call: Call) -> dict[str, Any]:
    return _found(call)


def _found(call: Call) -> dict[str, Any]:
    session = call.find("checkout.session", call.path["session"], "session")
    return current(call, session)


def current(call: Call, session: dict[str, Any]) -> dict[str, Any]:
    """The session; one whose time is over is expired though the timer has not come to it yet."""
    if session["status"] == "open" and session["expires_at"] <= call.now:
        return expire(call, session)
    return session


@operation("POST /v1/checkout/sessions/{session}")
def update(call: Call) -> dict[str, Any]:
    session, params = _found(call), call.params
    for name in params:
        if name != "metadata":
            raise errors.not_simulated(f"the change of {name} of a session", name)
    session["metadata"] = listing.merged_metadata(session["metadata"], params.get("metadata"))
    return _keep(call, session)


def _keep(call: Call, session: dict[str, Any]) -> dict[str, Any]:
    due_at = session["expires_at"] if session["status"] == "open" else None
    return call.save(session, due_at=due_at)


@operation("GET /v1/checkout/sessions")
def list_all(call: Call) -> dict[str, Any]:
    params = call.params
    links = [(n, params[n]) for n in ("payment_intent", "customer") if params.get(n)]
    email = params.get("customer_details", {}).get("email")

    def keep(session: dict[str, Any]) -> bool:
        details = session["customer_details"] or {}
        return (
            all(session[name] == value for name, value in links)
            and params.get("status", session["status"]) == session["status"]
            and (email is None or details.get("email") == email)
            and params.get("subscription", session["subscription"]) == session["subscription"]
            and not params.get("payment_link")
        )

    return listing.page(
        call, "checkout.session", "/v1/checkout/sessions", link=links[0] if links else None,
        keep=keep,
    )


@operation("GET /v1/checkout/sessions/{session}/line_items")
def line_items(call: Call) -> dict[str, Any]:
    session = _found(call)
    return listing.list_of(
        call, session["_line_items"], f"/v1/checkout/sessions/{session['id']}/line_items"
    )


@operation("POST /v1/checkout/sessions/{session}/expire")
def expire_call(call: Call) -> dict[str, Any]:
    session = _found(call)
    if session["status"] != "open":
        raise StripeError(
            "Only Checkout Sessions with a status in [\"open\"] can be expired. This Checkout "
            f"Session has a status of `{session['status']}`."
        )
    return expire(call, session)


def expire(call: Call, session: dict[str, Any]) -> dict[str, Any]:
    """End an open session: nobody can pay it any more."""
    session["status"] = "expired"
    _keep(call, session)
    intent = intent_of(call, session)
    if intent and intent["object"] == "setup_intent":
        setup_confirmation.cancel(call, intent, None)
    elif intent and intent["status"] not in ("succeeded", "canceled", "requires_capture"):
        confirmation.cancel(call, intent, "expired")
    call.emit("checkout.session.expired", session)
    return session


def pay(
    call: Call, session: dict[str, Any], method: dict[str, Any] | None, contact: dict[str, Any]
) -> dict[str, Any]:
    """Pay an open session with a method, or without one where nothing is due.

    Returns the session: complete, or still open while 3-D Secure is asked for. A decline raises
    the card error and leaves the session open. A session that is not open is returned as it is.
    """
    session = current(call, session)
    if session["status"] != "open":
        return session
    session["_contact"] = contact
    if not needs_method(session):
        return _complete(call, session, None)
    assert method is not None
    intent = intent_of(call, session) or _make_intent(call, session)
    if intent["object"] == "setup_intent":
        intent["customer"] = _customer(call, session)
        _keep(call, session)
        intent = setup_confirmation.attempt(call, intent, method)
    else:
        _keep(call, session)
        intent = confirmation.attempt(call, intent, method)
    if intent["status"] in ("succeeded", "requires_capture"):
        return _complete(call, session, intent)
    return session


def needs_method(session: dict[str, Any]) -> bool:
    """Whether its page asks for a card: not where nothing is due."""
    if session["mode"] == "payment":
        return session["amount_total"] > 0
    return session["payment_method_collection"] == "always" or bool(session["amount_total"])


def intent_of(call: Call, session: dict[str, Any]) -> dict[str, Any] | None:
    """The session's payment or setup intent; in payment mode there is none before an attempt."""
    intent_id = session["payment_intent"] or session["setup_intent"] or session.get("_intent_id")
    return call.tx.get(intent_id) if intent_id else None


def _make_intent(call: Call, session: dict[str, Any]) -> dict[str, Any]:
    if session["mode"] == "subscription" and not session["amount_total"]:
        intent = checkout_subscriptions.setup_intent(call, session, _customer(call, session))
        session["_intent_id"] = intent["id"]
        return intent
    intent = payment_intents.make(
        call,
        {
            **session["_intent"], "amount": session["amount_total"],
            "currency": session["currency"], "customer": _customer(call, session),
            "payment_method_types": ["card"],
        },
    )
    intent["_session"] = session["id"]
    call.save(intent)
    # In subscription mode it is the invoice that tells of the payment, not the session.
    name = "_intent_id" if session["mode"] == "subscription" else "payment_intent"
    session[name] = intent["id"]
    return intent


def _customer(call: Call, session: dict[str, Any]) -> str | None:
    """The session's customer; one that is to be created is made at the first attempt to pay."""
    if session["customer_creation"] == "always" and not session.get("_customer"):
        contact = session.get("_contact", {})
        customer = customers.make(call, email=contact.get("email"), name=contact.get("name"))
        session["_customer"] = customer["id"]
    return session["customer"] or session.get("_customer")


def authenticated(call: Call, intent: dict[str, Any], passed: bool) -> dict[str, Any]:
    """The outcome of 3-D Secure for an intent of a session; returns the intent."""
    session = call.find("checkout.session", intent["_session"], "session")
    if current(call, session)["status"] != "open":
        return call.find(intent["object"], intent["id"], "intent")
    life = confirmation if intent["object"] == "payment_intent" else setup_confirmation
    intent = life.authenticate(call, intent, passed)
    if intent["status"] in ("succeeded", "requires_capture"):
        _complete(call, session, intent)
    return intent


def _complete(
    call: Call, session: dict[str, Any], intent: dict[str, Any] | None
) -> dict[str, Any]:
    contact = session.get("_contact", {})
    email, name = contact.get("email"), contact.get("name")
    session |= {
        "status": "complete",
        "customer": _customer(call, session),
        "customer_details": _details(email, name),
        "collected_information": {
            "business_name": None, "individual_name": None, "shipping_details": None,
        },
    }
    if intent and intent["object"] == "payment_intent" and intent["status"] == "succeeded":
        session["payment_status"] = "paid"
    if session["mode"] == "subscription":
        checkout_subscriptions.begin(call, session, session["customer"], intent)
    _keep(call, session)
    call.emit("checkout.session.completed", session)
    return session


def method_from_page(
    call: Call, card: Any, month: int, year: int, contact: dict[str, Any],
    wallet: str | None = None,
) -> dict[str, Any]:
    """The payment method typed on the hosted page, or taken out of a wallet there."""
    payment_methods.check_expiry(call, month, year, "")
    billing = {"email": contact.get("email"), "name": contact.get("name")}
    return payment_methods.make(
        call, card, exp_month=month, exp_year=year, cvc_check="pass", billing=billing,
        wallet=wallet,
    )
