"""What a subscription is of: its items, what they are charged, and the calls of one item."""

from __future__ import annotations

from typing import Any

from .. import errors, ids, money, periods
from ..engine import Call
from ..errors import StripeError
from . import invoice_lines, listing, prices_inline

MAX_ITEMS = 20
UNSIMULATED = {
    "billing_thresholds": "billing thresholds", "discounts": "coupons", "tax_rates": "tax rates",
}


def build(
    call: Call, given: dict[str, Any], subscription_id: str, period: tuple[int, int], param: str,
    old: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """An item as a call describes it: a new one, or `old` with what the call changes."""
    listing.refuse_unsimulated(given, UNSIMULATED)
    price = old["price"] if old else None
    if price is None or given.get("price") or given.get("price_data"):
        kept = old is not None and given.get("price") == old["price"]["id"]
        if not kept:
            found = given.get("_price") or prices_inline.chosen(call, given, param, recurring=True)
            price = call.show(found)
    assert price is not None
    quantity = given.get("quantity", old["quantity"] if old else 1)
    if not 0 <= quantity <= 1_000_000:
        raise StripeError(
            "This value must be greater than or equal to 0.",
            code="parameter_invalid_integer", param=f"{param}[quantity]",
        )
    return {
        "id": old["id"] if old else ids.new("subscription_item"),
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": old["created"] if old else call.now,
        "current_period_end": period[1],
        "current_period_start": period[0],
        "discounts": [],
        "metadata": listing.merged_metadata(old["metadata"] if old else {}, given.get("metadata")),
        "price": price,
        "quantity": quantity,
        "subscription": subscription_id,
        "tax_rates": [],
    }


def check(items: list[dict[str, Any]]) -> None:
    """Refuse what cannot be billed together."""
    if not items:
        raise errors.missing_param("items")
    if len(items) > MAX_ITEMS:
        raise StripeError(
            f"A subscription can have at most {MAX_ITEMS} items.", param="items"
        )
    if len({one["price"]["currency"] for one in items}) > 1:
        raise StripeError(
            "All prices of a subscription must have the same currency.", param="items"
        )
    if len({rhythm_of(one) for one in items}) > 1:
        raise errors.not_simulated("items with different billing intervals", "items")
    if len({one["price"]["id"] for one in items}) < len(items):
        raise StripeError(
            "Cannot add multiple subscription items with the same price.", param="items"
        )


def rhythm_of(item: dict[str, Any]) -> tuple[str, int]:
    recurring = item["price"]["recurring"]
    return recurring["interval"], recurring["interval_count"]


def amount_of(item: dict[str, Any]) -> int:
    return item["price"]["unit_amount"] * item["quantity"]


def name_of(call: Call, item: dict[str, Any]) -> str:
    product = call.tx.get(item["price"]["product"]) or {}
    return product.get("name", item["price"]["product"])


def _rhythm_text(item: dict[str, Any]) -> str:
    interval, count = rhythm_of(item)
    return interval if count == 1 else f"every {count} {interval}s"


def line(
    call: Call, item: dict[str, Any], period: tuple[int, int], *, trial: bool = False,
    part: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """What an item is charged for a period: nothing in a trial; `part` is of how many seconds of
    how many, where the period is shorter than the price's."""
    amount, name = amount_of(item), name_of(call, item)
    unit = money.shown(item["price"]["unit_amount"], item["price"]["currency"])
    text = f"{item['quantity']} × {name} (at {unit} / {_rhythm_text(item)})"
    if trial:
        amount, text = 0, f"Trial period for {name}"
    elif part is not None:
        amount, text = periods.share(amount, *part), text_of(item, name, "Time on", None)
    return invoice_lines.line(
        amount=amount, currency=item["price"]["currency"], description=text, period=period,
        price=item["price"], quantity=item["quantity"], metadata=item["metadata"],
        parent=invoice_lines.of_item(item["subscription"], item["id"], proration=part is not None),
    )


def text_of(item: dict[str, Any], name: str, words: str, after: int | None) -> str:
    count = f"{item['quantity']} × " if item["quantity"] != 1 else ""
    end = "" if after is None else f" after {periods.date(after)}"
    return f"{words} {count}{name}{end}"


def prorate(
    call: Call, customer: dict[str, Any], item: dict[str, Any], at: int, *, sign: int,
    credited: dict[str, Any] | None = None,
) -> dict[str, Any] | None:
    """The rest of an item's period as an invoice item that waits: given back (-1) or charged (1).

    To the second, rounded half away from zero; nothing where there is nothing to charge.
    """
    start, end = item["current_period_start"], item["current_period_end"]
    amount = sign * periods.share(amount_of(item), end - at, end - start)
    if item["quantity"] == 0 or end <= at:
        return None
    words = "Remaining time on" if sign > 0 else "Unused time on"
    return invoice_lines.make(
        call, customer, amount=amount, currency=item["price"]["currency"],
        description=text_of(item, name_of(call, item), words, at), period=(at, end),
        price=item["price"], quantity=item["quantity"], metadata=item["metadata"],
        subscription=item["subscription"], subscription_item=item["id"], proration=True,
        credited=credited, discountable=False,
    )


def add_once(
    call: Call, customer: dict[str, Any], given: list[dict[str, Any]] | None, subscription_id: str
) -> None:
    """One-time prices that join the next invoice of a subscription."""
    for index, item in enumerate(given or ()):
        listing.refuse_unsimulated(item, {
            "discounts": "coupons", "tax_rates": "tax rates", "period": "periods of added items",
        })
        price = item.get("_price") or prices_inline.chosen(
            call, item, f"add_invoice_items[{index}]", recurring=False
        )
        product, quantity = call.tx.get(price["product"]) or {}, item.get("quantity", 1)
        invoice_lines.make(
            call, customer, amount=price["unit_amount"] * quantity, currency=price["currency"],
            description=product.get("name"), period=(call.now, call.now), price=call.show(price),
            quantity=quantity, metadata=item.get("metadata"), subscription=subscription_id,
        )
