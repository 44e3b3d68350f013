"""Invoice items: what is put on a draft, or waits for the customer's next invoice."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

from .. import errors, money
from ..engine import Call, operation
from ..errors import StripeError
from . import customers, invoice_lines, invoicing, listing, prices_inline, test_clocks

UNSIMULATED = {
    "discounts": "coupons", "tax_rates": "tax rates", "customer_account": "customer accounts",
    "quantity_decimal": "parts of quantities", "tax_code": "tax codes",
}


@operation("POST /v1/invoiceitems")
def create(call: Call) -> dict[str, Any]:
    params = call.params
    listing.refuse_unsimulated(params, UNSIMULATED)
    invoice = None
    if params.get("invoice"):
        invoice = call.find("invoice", params["invoice"], "invoice", 400)
    wanted = params.get("customer") or (invoice or {}).get("customer")
    if not wanted:
        raise errors.missing_param("customer")
    customer = customers.living(call, wanted)
    with test_clocks.time_of(call, customer):
        item = _create(call, customer, invoice)
        if invoice is not None:
            before = dict(invoice)
            invoicing.add(call, invoice, [], [item])
            invoicing.keep(call, invoice)
            call.emit("invoice.updated", invoice, listing.changed(before, invoice))
        return item


def _create(
    call: Call, customer: dict[str, Any], invoice: dict[str, Any] | None
) -> dict[str, Any]:
    params = call.params
    if invoice is not None:
        if invoice["customer"] != customer["id"]:
            raise StripeError("The invoice belongs to another customer.", param="invoice")
        _editable(invoice)
    subscription = params.get("subscription")
    if subscription:
        found = call.find("subscription", subscription, "subscription", 400)
        if found["customer"] != customer["id"]:
            raise StripeError("The subscription belongs to another customer.", param="subscription")
    elif invoice is not None:
        subscription = invoice["_subscription"]
    amount, currency, price, quantity = priced(call, params, customer)
    if invoice is not None and invoice["currency"] != currency:
        raise StripeError(
            f"The currency of the invoice item ({currency}) and of the invoice "
            f"({invoice['currency']}) must be the same.",
            param="currency",
        )
    period = params.get("period") or {"start": call.now, "end": call.now}
    product = call.tx.get(price["product"]) if price else None
    return invoice_lines.make(
        call, customer, amount=amount, currency=currency,
        description=params.get("description") or (product or {}).get("name"),
        period=(period["start"], period["end"]), price=price, quantity=quantity,
        metadata=listing.merged_metadata({}, params.get("metadata")), subscription=subscription,
        discountable=params.get("discountable", amount >= 0),
    )


def priced(
    call: Call, params: dict[str, Any], customer: dict[str, Any]
) -> tuple[int, str, dict[str, Any] | None, int]:
    """Amount, currency, price and quantity of an item that names an amount, a price or its data."""
    given = (params.get("pricing") or {}).get("price")
    names = {**params, "pricing": given}
    listing.exclusive(names, "amount", "pricing", "price_data")
    quantity = params.get("quantity", 1)
    if given or params.get("price_data"):
        price = prices_inline.chosen(
            call, {"price": given, "price_data": params.get("price_data")}, "pricing",
            recurring=False,
        )
        return price["unit_amount"] * quantity, price["currency"], price, quantity
    currency = money.check_currency(
        params.get("currency") or customer["currency"] or "usd", "currency"
    )
    if params.get("unit_amount_decimal"):
        return _exact(params["unit_amount_decimal"]) * quantity, currency, None, quantity
    if params.get("amount") is None:
        raise errors.missing_param("amount")
    if params.get("quantity"):
        raise StripeError("You cannot specify `quantity` with `amount`.", param="quantity")
    return params["amount"], currency, None, 1


def _exact(text: str) -> int:
    try:
        exact = Decimal(text)
        whole = int(exact)
    except (InvalidOperation, ValueError, OverflowError):
        raise StripeError("Invalid decimal", param="unit_amount_decimal")
    if exact != whole:
        raise errors.not_simulated("parts of a minor unit", "unit_amount_decimal")
    return whole


def _editable(invoice: dict[str, Any]) -> None:
    if invoice["status"] != "draft":
        raise StripeError(
            "The specified invoice is already finalized and cannot be modified.",
            code="invoice_not_editable", param="invoice",
        )


def _found(call: Call) -> dict[str, Any]:
    return call.find("invoiceitem", call.path["invoiceitem"], "invoiceitem")


@operation("GET /v1/invoiceitems/{invoiceitem}")
def retrieve(call: Call) -> dict[str, Any]:
    return _found(call)


@operation("POST /v1/invoiceitems/{invoiceitem}")
def update(call: Call) -> dict[str, Any]:
    item, params = _found(call), call.params
    listing.refuse_unsimulated(params, UNSIMULATED)
    for name in ("pricing", "price_data", "quantity", "unit_amount_decimal"):
        if params.get(name) is not None:
            raise errors.not_simulated(f"a change of the {name} of an invoice item", name)
    if "amount" in params and item["_price"]:
        raise StripeError("The amount of an item with a price cannot be changed.", param="amount")
    invoice = call.tx.get(item["invoice"] or "", "invoice")
    if invoice is not None:
        _editable(invoice)
    with test_clocks.time_of(call, item):
        invoice_lines.changed_amounts(item, params)
        call.save(item)
        if invoice is not None:
            _replace(call, invoice, item, [invoice_lines.line_of(item)])
    return item


def _replace(
    call: Call, invoice: dict[str, Any], item: dict[str, Any], lines: list[dict[str, Any]]
) -> None:
    """Put other lines, or none, in the place of an item's on a draft."""
    before, kept = dict(invoice), []
    for line in invoice["_lines"]:
        parent = line["parent"] or {}
        own = parent.get("invoice_item_details") or parent.get("subscription_item_details") or {}
        if own.get("invoice_item") != item["id"]:
            kept.append(line)
        else:
            kept += [{**one, "id": line["id"], "invoice": invoice["id"]} for one in lines]
    invoice["_lines"] = kept
    invoicing.sum_up(invoice)
    invoicing.keep(call, invoice)
    call.emit("invoice.updated", invoice, listing.changed(before, invoice))


@operation("DELETE /v1/invoiceitems/{invoiceitem}")
def delete(call: Call) -> dict[str, Any]:
    item = _found(call)
    invoice = call.tx.get(item["invoice"] or "", "invoice")
    if invoice is not None:
        _editable(invoice)
    with test_clocks.time_of(call, item):
        call.emit("invoiceitem.deleted", item)
        call.tx.remove(item["id"])
        if invoice is not None:
            _replace(call, invoice, item, [])
    return {"id": item["id"], "object": "invoiceitem", "deleted": True}


@operation("GET /v1/invoiceitems")
def list_all(call: Call) -> dict[str, Any]:
    params = call.params
    customer = params.get("customer")

    def keep(item: dict[str, Any]) -> bool:
        waits = item["invoice"] is None
        return (
            params.get("invoice", item["invoice"]) == item["invoice"]
            and params.get("pending", waits) == waits
        )

    return listing.page(
        call, "invoiceitem", "/v1/invoiceitems",
        link=("customer", customer) if customer else None, keep=keep,
    )
