"""Coupons, and what they take off: of a Checkout Session and of its subscription's invoices."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from .. import errors, ids, money, periods, shapes
from ..engine import Call, operation
from ..errors import StripeError
from . import listing

UNSIMULATED = {
    "applies_to": "coupons of some products", "currency_options": "currency options",
    "max_redemptions": "limits of coupons", "redeem_by": "ends of coupons",
}


@operation("POST /v1/coupons")
def create(call: Call) -> dict[str, Any]:
    params = call.params
    listing.refuse_unsimulated(params, UNSIMULATED)
    percent, amount = params.get("percent_off"), params.get("amount_off")
    if (percent is None) == (amount is None):
        raise errors.missing_param("percent_off" if percent is None else "amount_off")
    if percent is not None and not 0 < percent <= 100:
        raise StripeError("percent_off must be between 0 and 100.", param="percent_off")
    if amount is not None and amount <= 0:
        raise StripeError("amount_off must be positive.", param="amount_off")
    if amount is not None and not params.get("currency"):
        raise errors.missing_param("currency")
    duration, months = params.get("duration", "once"), params.get("duration_in_months")
    if (duration == "repeating") != (months is not None):
        raise errors.missing_param("duration_in_months")
    coupon_id = params.get("id") or ids.token(8)
    if call.tx.get(coupon_id) is not None:
        raise StripeError(
            "Coupon already exists.", code="resource_already_exists", param="id"
        )
    coupon: dict[str, Any] = {
        **shapes.blank("coupon"),
        "id": coupon_id,
        "object": "coupon",
        "amount_off": amount,
        "created": call.now,
        "currency": money.check_currency(params["currency"], "currency") if amount else None,
        "duration": duration,
        "duration_in_months": months,
        "livemode": False,
        "metadata": listing.merged_metadata({}, params.get("metadata")),
        "name": params.get("name"),
        "percent_off": percent,
        "times_redeemed": 0,
        "valid": True,
    }
    for name in ("applies_to", "currency_options"):
        coupon.pop(name, None)
    return call.save(coupon)


def _found(call: Call) -> dict[str, Any]:
    return call.find("coupon", call.path["coupon"], "coupon")


@operation("GET /v1/coupons/{coupon}")
def retrieve(call: Call) -> dict[str, Any]:
    return _found(call)


@operation("GET /v1/coupons")
def list_all(call: Call) -> dict[str, Any]:
    return listing.page(call, "coupon", "/v1/coupons")


@operation("DELETE /v1/coupons/{coupon}")
def delete(call: Call) -> dict[str, Any]:
    """It is given to nobody any more; who has it keeps it."""
    coupon = _found(call)
    call.tx.remove(coupon["id"])
    return {"id": coupon["id"], "object": "coupon", "deleted": True}


# What they take off -------------------------------------------------------------------------------


def chosen(call: Call, params: dict[str, Any], currency: str) -> list[dict[str, Any]]:
    """The coupons that a Checkout Session names, as it keeps them."""
    found = []
    for index, given in enumerate(params.get("discounts") or ()):
        if given.get("promotion_code"):
            raise errors.not_simulated("promotion codes", "discounts")
        coupon = call.find("coupon", given.get("coupon") or "", f"discounts[{index}][coupon]", 400)
        if coupon["currency"] not in (None, currency):
            raise StripeError("The coupon is of another currency.", param="discounts")
        found.append(coupon)
    if len(found) > 1:
        raise StripeError("A session takes at most one discount.", param="discounts")
    return found


def begin(
    call: Call, coupon: dict[str, Any], subscription: dict[str, Any], customer: str
) -> dict[str, Any]:
    """A subscription's discount by a coupon, from now on."""
    end = None
    if coupon["duration"] == "repeating":
        end = periods.boundary(call.now, "month", coupon["duration_in_months"], 1)
    discount = {
        **shapes.blank("discount"),
        "id": f"di_1{ids.token(23)}",
        "object": "discount",
        "customer": customer,
        "end": end,
        "source": {"coupon": coupon["id"], "type": "coupon"},
        "start": call.now,
        "subscription": subscription["id"],
        "_coupon": coupon,
    }
    discount.pop("customer_account", None)
    stored = call.tx.get(coupon["id"])
    if stored is not None:
        call.save({**stored, "times_redeemed": stored["times_redeemed"] + 1})
    call.tx.put(discount, hidden=True)
    return discount


def use(call: Call, subscription: dict[str, Any], invoice: dict[str, Any]) -> None:
    """Take a subscription's discounts off a draft of it; one for a single invoice is used up."""
    kept = []
    for discount in subscription.get("_off", ()):
        if discount["end"] is not None and discount["end"] <= call.now:
            continue
        charged = sum(one["amount"] for one in invoice["_lines"]) > 0
        if charged:
            invoice["_off"] = [*invoice.get("_off", []), discount]
            invoice["discounts"] = [*invoice["discounts"], discount["id"]]
        if not charged or discount["_coupon"]["duration"] != "once":
            kept.append(discount)
    if subscription.get("_off"):
        subscription |= {"_off": kept, "discounts": [one["id"] for one in kept]}


def take_off(invoice: dict[str, Any]) -> int:
    """Set what is taken off each line and the whole; returns the whole."""
    off = invoice.get("_off") or ()
    lines = [one for one in invoice["_lines"] if one["discountable"]]
    base = sum(one["amount"] for one in lines)
    if not off or base <= 0:
        return 0
    total = 0
    for line in lines:
        line["discount_amounts"] = []
    sums = []
    for discount in off:
        parts = shares(discount["_coupon"], [one["amount"] for one in lines])
        for line, part in zip(lines, parts, strict=True):
            line["discount_amounts"].append({"amount": part, "discount": discount["id"]})
        sums.append({"amount": sum(parts), "discount": discount["id"]})
        total += sum(parts)
    invoice["total_discount_amounts"] = sums
    return total


def shares(coupon: dict[str, Any], amounts: list[int]) -> list[int]:
    """What a coupon takes off each amount: of a fixed sum each its share, the last the rest."""
    if coupon["percent_off"] is not None:
        part = Decimal(str(coupon["percent_off"])) / 100
        return [int((one * part).quantize(Decimal(1), ROUND_HALF_UP)) for one in amounts]
    base = sum(amounts)
    whole = min(coupon["amount_off"], max(0, base))
    found = [whole * one // base if base else 0 for one in amounts]
    found[-1] += whole - sum(found)
    return found
