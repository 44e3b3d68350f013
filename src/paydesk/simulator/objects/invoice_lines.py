"""Invoice items that wait for an invoice, and the lines that invoices are made of."""

from __future__ import annotations

from typing import Any

from .. import ids, money, shapes
from ..engine import Call
from ..errors import StripeError
from . import listing

LARGEST = money.MAXIMUM_MINOR


def line(
    *, amount: int, currency: str, description: str | None, period: tuple[int, int],
    price: dict[str, Any] | None = None, quantity: int = 1, metadata: dict[str, str] | None = None,
    parent: dict[str, Any] | None = None, discountable: bool = True,
) -> dict[str, Any]:
    """A line of an invoice; the amount is for the whole quantity, in minor units."""
    return {
        "id": ids.new("line_item"),
        "object": "line_item",
        "amount": amount,
        "currency": currency,
        "description": description,
        "discount_amounts": [],
        "discountable": discountable,
        "discounts": [],
        "invoice": None,
        "livemode": False,
        "metadata": metadata or {},
        "parent": parent,
        "period": {"start": period[0], "end": period[1]},
        "pretax_credit_amounts": [],
        "pricing": pricing(price),
        "quantity": quantity,
        "quantity_decimal": str(quantity),
        "subscription": _subscription_in(parent),
        "subtotal": amount,
        "taxes": [],
        "_price": price,
    }


def _subscription_in(parent: dict[str, Any] | None) -> str | None:
    for name in ("subscription_item_details", "invoice_item_details"):
        details = (parent or {}).get(name)
        if details:
            return details["subscription"]
    return None


def pricing(price: dict[str, Any] | None) -> dict[str, Any] | None:
    if price is None:
        return None
    return {
        "price_details": {"price": price["id"], "product": price["product"]},
        "type": "price_details", "unit_amount_decimal": price["unit_amount_decimal"],
    }


def of_item(subscription_id: str, item_id: str, **more: Any) -> dict[str, Any]:
    """The `parent` of a line that a subscription's item makes."""
    details = {
        "invoice_item": None, "proration": False, "proration_details": {"credited_items": None},
        "subscription": subscription_id, "subscription_item": item_id, **more,
    }
    return {
        "invoice_item_details": None, "subscription_item_details": details,
        "type": "subscription_item_details",
    }


def make(
    call: Call, customer: dict[str, Any], *, amount: int, currency: str, description: str | None,
    period: tuple[int, int], price: dict[str, Any] | None = None, quantity: int = 1,
    metadata: dict[str, str] | None = None, subscription: str | None = None,
    subscription_item: str | None = None, proration: bool = False,
    credited: dict[str, Any] | None = None, discountable: bool = True,
) -> dict[str, Any]:
    """An invoice item that waits for an invoice, saved and announced."""
    if abs(amount) > LARGEST:
        raise StripeError(
            f"Amount must be no more than {money.shown(LARGEST, currency)}",
            code="amount_too_large", param="amount",
        )
    parent = None
    if subscription:
        details = {"subscription": subscription}
        if subscription_item:
            details["subscription_item"] = subscription_item
        parent = {"subscription_details": details, "type": "subscription_details"}
    item = {
        **shapes.blank("invoiceitem"),
        "id": ids.new("invoiceitem"),
        "object": "invoiceitem",
        "amount": amount,
        "currency": currency,
        "customer": customer["id"],
        "date": call.now,
        "description": description,
        "discountable": discountable,
        "discounts": [],
        "livemode": False,
        "metadata": metadata or {},
        "net_amount": amount,
        "parent": parent,
        "period": {"start": period[0], "end": period[1]},
        "pricing": pricing(price),
        "proration": proration,
        "proration_details": {"credited_items": None, "discount_amounts": []},
        "quantity": quantity,
        "quantity_decimal": str(quantity),
        "tax_rates": [],
        "test_clock": customer.get("test_clock"),
        "_price": price,
        "_subscription": subscription,
        "_credited": credited,
    }
    if credited:
        item["proration_details"] = {
            "credited_items": {
                "invoice_line_item_details": credited, "type": "invoice_line_items",
            },
            "discount_amounts": [],
        }
    call.save(item)
    call.emit("invoiceitem.created", item)
    return item


def line_of(item: dict[str, Any]) -> dict[str, Any]:
    """The line that an invoice item becomes."""
    details = (item["parent"] or {}).get("subscription_details") or {}
    credited = {"credited_items": item["_credited"]}
    if details.get("subscription_item"):
        parent = of_item(
            details["subscription"], details["subscription_item"], invoice_item=item["id"],
            proration=item["proration"], proration_details=credited,
        )
    else:
        parent = {
            "invoice_item_details": {
                "invoice_item": item["id"], "proration": item["proration"],
                "proration_details": credited, "subscription": details.get("subscription"),
            },
            "subscription_item_details": None,
            "type": "invoice_item_details",
        }
    return line(
        amount=item["amount"], currency=item["currency"], description=item["description"],
        period=(item["period"]["start"], item["period"]["end"]), price=item["_price"],
        quantity=item["quantity"], metadata=item["metadata"], parent=parent,
        discountable=item["discountable"],
    )


def pending(
    call: Call, customer_id: str, currency: str, subscription: str | None
) -> list[dict[str, Any]]:
    """The items of a customer that wait for an invoice, oldest first.

    A subscription's invoice takes its own and those of no subscription, any other the latter.
    """
    found = call.tx.scan("invoiceitem", link=("customer", customer_id))
    return [
        item for item in found
        if item["invoice"] is None and item["currency"] == currency
        and item["_subscription"] in (None, subscription)
    ][::-1]


def changed_amounts(item: dict[str, Any], params: dict[str, Any]) -> None:
    """Take over what a call changes of an item that waits or stands on a draft."""
    listing.assign(item, params, ("description", "discountable"))
    item["metadata"] = listing.merged_metadata(item["metadata"], params.get("metadata"))
    if "period" in params:
        item["period"] = params["period"]
    if "amount" in params:
        item |= {"amount": params["amount"], "net_amount": params["amount"]}
