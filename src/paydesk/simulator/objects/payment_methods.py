"""Payment methods: cards only, and only Stripe's published test cards."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from .. import cards, errors, ids, shapes
from ..cards import Decline, TestCard
from ..engine import Call, operation
from ..errors import StripeError
from . import listing


def make(
    call: Call,
    card: TestCard,
    *,
    exp_month: int = 12,
    exp_year: int | None = None,
    cvc_check: str | None = "pass",
    billing: dict[str, Any] | None = None,
    metadata: dict[str, str] | None = None,
    wallet: str | None = None,
) -> dict[str, Any]:
    """A new payment method of a test card, saved but not attached to anyone.

    `wallet` is apple_pay or google_pay where the card comes out of one.
    """
    year = datetime.fromtimestamp(call.now, UTC).year
    method = {
        "id": ids.new("payment_method"),
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": billing_details(billing or {}),
        "card": {
            **shapes.blank("payment_method_card"),
            "brand": card.brand,
            "checks": {
                "address_line1_check": None, "address_postal_code_check": None,
                "cvc_check": "fail" if card.decline == "incorrect_cvc" else cvc_check,
            },
            "country": card.country,
            "display_brand": card.brand,
            "exp_month": exp_month,
            "exp_year": exp_year or year + 3,
            "fingerprint": card.fingerprint,
            "funding": card.funding,
            "last4": card.last4,
            "networks": {"available": [card.brand], "preferred": None},
            "regulated_status": "unregulated",
            "three_d_secure_usage": {"supported": card.brand != "amex"},
            "wallet": _wallet(wallet, card),
        },
        "created": call.now,
        "customer": None,
        "customer_account": None,
        "livemode": False,
        "metadata": metadata or {},
        "type": "card",
        # Which test card it is, as an index of the published list: never a number somebody typed.
        "_card": card.name,
    }
    return call.save(method)


def _wallet(wallet: str | None, card: TestCard) -> dict[str, Any] | None:
    return {"type": wallet, wallet: {}, "dynamic_last4": card.last4} if wallet else None


def billing_details(given: dict[str, Any]) -> dict[str, Any]:
    address = {**shapes.blank("address"), **(given.get("address") or {})}
    return {
        "address": address,
        "email": listing.check_email(given.get("email"), "billing_details[email]"),
        "name": given.get("name") or None,
        "phone": given.get("phone") or None,
        "tax_id": given.get("tax_id"),
    }


def card_of(method: dict[str, Any]) -> TestCard:
    card = cards.by_token(f"pm_card_{method['_card']}")
    assert card is not None
    return card


def check_expiry(call: Call, month: int, year: int, prefix: str) -> None:
    """Refuse a date that is no date or has passed, with Stripe's card errors."""
    today = datetime.fromtimestamp(call.now, UTC)
    if not 1 <= month <= 12:
        raise StripeError(
            "Your card's expiration month is invalid.",
            status=402, type="card_error", code="invalid_expiry_month", param=f"{prefix}exp_month",
        )
    if (year, month) < (today.year, today.month) or year > today.year + 50:
        raise StripeError(
            "Your card's expiration year is invalid.",
            status=402, type="card_error", code="invalid_expiry_year", param=f"{prefix}exp_year",
        )


def from_data(call: Call, params: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The payment method that `payment_method_data` or `POST /v1/payment_methods` describes."""
    kind = params.get("type")
    if kind is None:
        raise errors.missing_param(f"{prefix}type")
    if kind != "card":
        raise errors.not_simulated(f"payment methods of type {kind}", f"{prefix}type")
    given = params.get("card")
    if not given:
        raise errors.missing_param(f"{prefix}card")
    more: dict[str, Any] = {
        "billing": params.get("billing_details"),
        "metadata": listing.merged_metadata({}, params.get("metadata")),
    }
    if "token" in given:
        card = cards.by_token(given["token"])
        if card is None or not given["token"].startswith("tok_"):
            raise errors.missing_object("token", given["token"], "card[token]", 400)
        return make(call, card, wallet=cards.wallet_of(given["token"]), **more)
    card = cards.by_number(given["number"])
    year = given["exp_year"] + 2000 if given["exp_year"] < 100 else given["exp_year"]
    check_expiry(call, given["exp_month"], year, "card")
    return make(
        call, card, exp_month=given["exp_month"], exp_year=year,
        cvc_check="unchecked" if given.get("cvc") else None, **more,
    )


def resolve(call: Call, wanted: str, param: str = "payment_method") -> dict[str, Any]:
    """The payment method with this id; a `pm_card_*` name makes a new one, as Stripe does."""
    card = cards.by_token(wanted) if wanted.startswith("pm_card_") else None
    if card is not None:
        return make(call, card, wallet=cards.wallet_of(wanted))
    return call.find("payment_method", wanted, param, 400)


def attach(call: Call, method_id: str, customer_id: str) -> dict[str, Any]:
    method = resolve(call, method_id)
    if method["customer"] == customer_id:
        return method
    if method["customer"]:
        raise StripeError(
            "The payment method you provided has already been attached to a customer."
        )
    if method.get("_consumed"):
        raise StripeError(
            "This PaymentMethod was previously used without being attached to a Customer or was "
            "detached from a Customer, and may not be used again."
        )
    method["customer"] = customer_id
    call.save(method)
    call.emit("payment_method.attached", method)
    return method


@operation("POST /v1/payment_methods")
def create(call: Call) -> dict[str, Any]:
    return from_data(call, call.params)


@operation("GET /v1/payment_methods/{payment_method}")
def retrieve(call: Call) -> dict[str, Any]:
    return call.find("payment_method", call.path["payment_method"], "payment_method")


@operation("POST /v1/payment_methods/{payment_method}")
def update(call: Call) -> dict[str, Any]:
    method = call.find("payment_method", call.path["payment_method"], "payment_method")
    before, params = dict(method), call.params
    if not method["customer"]:
        raise StripeError(
            "You must save this PaymentMethod to a customer before you can update it."
        )
    if "billing_details" in params:
        method["billing_details"] = billing_details(
            {**method["billing_details"], **params["billing_details"]}
        )
    dates = {k: v for k, v in params.get("card", {}).items() if k in ("exp_month", "exp_year")}
    if dates:
        method["card"] = {**method["card"], **dates}
        check_expiry(call, method["card"]["exp_month"], method["card"]["exp_year"], "card")
    listing.assign(method, params, ("allow_redisplay",))
    method["metadata"] = listing.merged_metadata(method["metadata"], params.get("metadata"))
    previous = listing.changed(before, method)
    if previous:
        call.save(method)
        call.emit("payment_method.updated", method, previous)
    return method


@operation("POST /v1/payment_methods/{payment_method}/attach")
def attach_call(call: Call) -> dict[str, Any]:
    if not call.params.get("customer"):
        raise errors.missing_param("customer")
    customer = call.find("customer", call.params["customer"], "customer", 400)
    method = resolve(call, call.path["payment_method"])
    refused = card_of(method).saving_decline
    if refused and not method["customer"]:
        raise card_error(cards.DECLINES[refused])
    return attach(call, method["id"], customer["id"])


def card_error(decline: Decline, **more: Any) -> StripeError:
    """The error of a bank that refuses a card."""
    return StripeError(
        decline.message,
        status=402,
        type="card_error",
        code=decline.code,
        param={"incorrect_cvc": "cvc", "expired_card": "exp_month"}.get(decline.code),
        decline_code=decline.decline_code,
        advice_code=decline.advice,
        network_advice_code=decline.network_advice,
        **more,
    )


@operation("POST /v1/payment_methods/{payment_method}/detach")
def detach(call: Call) -> dict[str, Any]:
    method = call.find("payment_method", call.path["payment_method"], "payment_method")
    if not method["customer"]:
        raise StripeError(
            "The payment method you provided is not attached to a customer so detachment is "
            "impossible."
        )
    before = dict(method)
    method |= {"customer": None, "_consumed": True}
    call.save(method)
    call.emit("payment_method.detached", method, listing.changed(before, method))
    _forget_default(call, before["customer"], method["id"])
    return method


def _forget_default(call: Call, customer_id: str, method_id: str) -> None:
    """A method that is gone is nobody's default any more."""
    customer = call.find("customer", customer_id, "customer")
    settings = customer.get("invoice_settings") or {}
    if settings.get("default_payment_method") != method_id:
        return
    before = dict(customer)
    customer["invoice_settings"] = {**settings, "default_payment_method": None}
    call.save(customer)
    call.emit("customer.updated", customer, listing.changed(before, customer))


@operation("GET /v1/payment_methods")
def list_all(call: Call) -> dict[str, Any]:
    customer, wanted = call.params.get("customer"), call.params.get("type")
    if customer:
        call.find("customer", customer, "customer", 400)
    return listing.page(
        call, "payment_method", "/v1/payment_methods",
        link=("customer", customer) if customer else None,
        keep=lambda m: bool(m["customer"]) and (not wanted or m["type"] == wanted),
    )


def of_customer(call: Call, method_id: str, customer_id: str) -> dict[str, Any]:
    method = call.find("payment_method", method_id, "payment_method")
    if method["customer"] != customer_id:
        raise errors.missing_object("payment_method", method_id, "payment_method")
    return method
