"""Invoices: their calls; what happens inside them is in invoicing.py."""

from __future__ import annotations

from typing import Any

from .. import errors, money, periods
from ..engine import Call, operation, public
from ..errors import StripeError
from . import (
    customers,
    invoice_lines,
    invoicing,
    listing,
    payment_methods,
    previews,
    search,
    test_clocks,
)

UNSIMULATED = {
    "account_tax_ids": "tax ids of accounts", "application_fee_amount": "application fees",
    "customer_account": "customer accounts", "default_source": "sources",
    "default_tax_rates": "tax rates", "discounts": "coupons", "from_invoice": "revisions",
    "on_behalf_of": "Connect", "shipping_cost": "shipping costs", "transfer_data": "transfers",
    "shipping_details": "shipping of invoices",
}
#: What may be changed of an invoice that is final.
WORDS = {"metadata", "auto_advance", "default_payment_method", "description", "footer"}
FIELDS = ("custom_fields", "description", "footer", "statement_descriptor")


def _found(call: Call, name: str = "invoice") -> dict[str, Any]:
    return call.find("invoice", call.path[name], "id")


def _check(call: Call, params: dict[str, Any]) -> None:
    listing.refuse_unsimulated(params, UNSIMULATED)
    if (params.get("automatic_tax") or {}).get("enabled"):
        raise errors.not_simulated("automatic tax", "automatic_tax")
    for name in ("automatically_finalizes_at", "effective_at"):
        if params.get(name):
            raise errors.not_simulated(f"a chosen {name}", name)


@operation("POST /v1/invoices")
def create(call: Call) -> dict[str, Any]:
    params = call.params
    _check(call, params)
    if not params.get("customer"):
        raise errors.missing_param("customer")
    customer = customers.living(call, params["customer"])
    with test_clocks.time_of(call, customer):
        return _create(call, customer)


def _create(call: Call, customer: dict[str, Any]) -> dict[str, Any]:
    params, subscription = call.params, None
    if params.get("subscription"):
        subscription = call.find("subscription", params["subscription"], "subscription", 400)
        if subscription["customer"] != customer["id"]:
            raise StripeError(
                "The subscription does not belong to this customer.", param="subscription"
            )
    currency = params.get("currency") or (subscription or customer)["currency"]
    waiting = [] if subscription or currency else _waiting(call, customer)
    currency = money.check_currency(
        currency or (waiting[0]["currency"] if waiting else "usd"), "currency"
    )
    taken: list[dict[str, Any]] = []
    if params.get("pending_invoice_items_behavior") == "include" or subscription:
        taken = invoice_lines.pending(
            call, customer["id"], currency, subscription["id"] if subscription else None
        )
    by_hand = params.get("collection_method") == "send_invoice"
    if by_hand and not (params.get("days_until_due") or params.get("due_date")):
        raise errors.missing_param("days_until_due")
    if not by_hand and (params.get("days_until_due") or params.get("due_date")):
        raise StripeError(
            "You can only specify a due date when `collection_method` is `send_invoice`.",
            param="due_date" if params.get("due_date") else "days_until_due",
        )
    due = params.get("due_date")
    if params.get("days_until_due"):
        due = call.now + params["days_until_due"] * periods.DAY_S
    given: dict[str, Any] = {
        "metadata": listing.merged_metadata({}, params.get("metadata")), "due_date": due,
        "collection_method": params.get("collection_method", "charge_automatically"),
        "number": params.get("number") or None,
        "default_payment_method": _method(call, customer["id"], params),
    }
    invoice = invoicing.draft(
        call, customer, reason="manual", currency=currency, lines=[], items=taken,
        period=(call.now, call.now), auto_advance=params.get("auto_advance", False),
        subscription=subscription, **given,
    )
    listing.assign(invoice, params, FIELDS)
    return invoicing.keep(call, invoice)


def _waiting(call: Call, customer: dict[str, Any]) -> list[dict[str, Any]]:
    found = call.tx.scan("invoiceitem", link=("customer", customer["id"]))
    return [one for one in found if one["invoice"] is None]


def _method(call: Call, customer: str, params: dict[str, Any]) -> str | None:
    wanted = params.get("default_payment_method")
    if not wanted:
        return None
    return payment_methods.of_customer(call, wanted, customer)["id"]


@operation("GET /v1/invoices/{invoice}")
def retrieve(call: Call) -> dict[str, Any]:
    return _found(call)


@operation("POST /v1/invoices/{invoice}")
def update(call: Call) -> dict[str, Any]:
    invoice, params = _found(call), call.params
    _check(call, params)
    with test_clocks.time_of(call, invoice):
        return _update(call, invoice, params)


def _update(call: Call, invoice: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    before = dict(invoice)
    if invoice["status"] != "draft" and set(params) - WORDS:
        raise StripeError(
            "Finalized invoices can't be updated in this way: only "
            f"{', '.join(sorted(WORDS))} can be changed.",
            param=sorted(set(params) - WORDS)[0],
        )
    if "collection_method" in params or "days_until_due" in params or "due_date" in params:
        raise errors.not_simulated("a change of how an invoice is collected", "collection_method")
    listing.assign(invoice, params, (*FIELDS, "number"))
    if params.get("default_payment_method"):
        invoice["default_payment_method"] = _method(call, invoice["customer"], params)
    if "auto_advance" in params:
        invoice["auto_advance"] = params["auto_advance"] and invoice["status"] in ("draft", "open")
        wanted = invoice["auto_advance"] and invoice["status"] == "draft"
        invoice["automatically_finalizes_at"] = call.now + invoicing.DRAFT_S if wanted else None
    invoice["metadata"] = listing.merged_metadata(invoice["metadata"], params.get("metadata"))
    invoicing.keep(call, invoice)
    previous = listing.changed(before, invoice)
    if previous:
        call.emit("invoice.updated", invoice, previous)
    return invoice


@operation("DELETE /v1/invoices/{invoice}")
def delete(call: Call) -> dict[str, Any]:
    invoice = _found(call)
    if invoice["status"] != "draft":
        raise StripeError("You can only delete draft invoices.", code="invoice_not_editable")
    if invoice["_subscription"]:
        raise StripeError(
            "You can't delete invoices created by subscriptions. Void the invoice instead."
        )
    with test_clocks.time_of(call, invoice):
        for item in list(call.tx.scan("invoiceitem", link=("customer", invoice["customer"]))):
            if item["invoice"] == invoice["id"]:
                call.save({**item, "invoice": None})
        call.emit("invoice.deleted", invoice)
    call.tx.remove(invoice["id"])
    return {"id": invoice["id"], "object": "invoice", "deleted": True}


@operation("GET /v1/invoices")
def list_all(call: Call) -> dict[str, Any]:
    params = call.params
    customer = params.get("customer")
    if params.get("subscription"):
        found = call.find("subscription", params["subscription"], "subscription", 400)
        customer = customer or found["customer"]

    def keep(invoice: dict[str, Any]) -> bool:
        return (
            params.get("status", invoice["status"]) == invoice["status"]
            and params.get("subscription", invoice["_subscription"]) == invoice["_subscription"]
            and params.get("collection_method", invoice["collection_method"])
            == invoice["collection_method"]
            and ("due_date" not in params or (
                invoice["due_date"] is not None
                and listing.in_range(invoice["due_date"], params["due_date"])
            ))
        )  # fmt: skip

    return listing.page(
        call, "invoice", "/v1/invoices", link=("customer", customer) if customer else None,
        keep=keep,
    )


@operation("GET /v1/invoices/search")
def find_matching(call: Call) -> dict[str, Any]:
    return search.page(call, "invoice", "/v1/invoices/search")


@operation("GET /v1/invoices/{invoice}/lines")
def list_lines(call: Call) -> dict[str, Any]:
    invoice = _found(call)
    lines = [public(one) for one in invoice["_lines"]]
    return listing.list_of(call, lines, f"/v1/invoices/{invoice['id']}/lines")


@operation("POST /v1/invoices/create_preview")
def create_preview(call: Call) -> dict[str, Any]:
    """What the next invoice would be; nothing of it is kept."""
    return previews.next_invoice(call, call.params)


@operation("POST /v1/invoices/{invoice}/finalize")
def finalize(call: Call) -> dict[str, Any]:
    invoice = _found(call)
    if invoice["status"] != "draft":
        raise StripeError(
            "This invoice is already finalized, you can't re-finalize a non-draft invoice.",
            code="invoice_not_editable",
        )
    with test_clocks.time_of(call, invoice):
        if "auto_advance" in call.params:
            invoice["auto_advance"] = call.params["auto_advance"]
        invoice = invoicing.finalize(call, invoice)
        charged = invoice["collection_method"] == "charge_automatically"
        if invoice["status"] == "open" and invoice["auto_advance"] and charged:
            call.later(lambda: _collect(call, invoice["id"]))
        return invoice


def _collect(call: Call, invoice_id: str) -> None:
    invoice = call.find("invoice", invoice_id, "invoice")
    if invoice["status"] == "open":
        invoicing.collect(call, invoice)


@operation("POST /v1/invoices/{invoice}/pay")
def pay(call: Call) -> dict[str, Any]:
    invoice, params = _found(call), call.params
    listing.refuse_unsimulated(params, {
        "source": "sources", "mandate": "mandates", "forgive": "forgiven remainders",
    })
    with test_clocks.time_of(call, invoice):
        if invoice["status"] == "draft":
            invoice = invoicing.finalize(call, invoice)
            if invoice["status"] == "paid":
                return invoice
        if invoice["status"] in ("paid", "void"):
            word = "already paid" if invoice["status"] == "paid" else "voided"
            raise StripeError(f"Invoice is {word}", code="invoice_not_editable")
        if params.get("paid_out_of_band"):
            return invoicing.pay_by_hand(call, invoice)
        return pay_with(
            call, invoice, params.get("payment_method"), params.get("off_session", True)
        )


def pay_with(
    call: Call, invoice: dict[str, Any], wanted: str | None, off_session: bool
) -> dict[str, Any]:
    """Charge an open invoice now; raises what the bank or 3-D Secure has against it."""
    method = invoicing.method_for(call, invoice, wanted)
    if method is None:
        raise StripeError(
            "There is no `default_payment_method` set on this Customer or Invoice. Please set one "
            "or name a `payment_method`.",
            code="resource_missing", param="payment_method",
        )
    invoice = invoicing.attempt(call, invoice, method, off_session=off_session)
    if invoice["status"] == "open":
        raise StripeError(
            "This payment requires additional user action before it can be completed successfully. "
            "Payment can be completed using the PaymentIntent associated with the invoice.",
            status=402, type="card_error", code="invoice_payment_intent_requires_action",
            keep=True,
        )
    return invoice


@operation("POST /v1/invoices/{invoice}/attach_payment")
def attach_payment(call: Call) -> dict[str, Any]:
    invoice, params = _found(call), call.params
    listing.refuse_unsimulated(params, {"payment_record": "records of payments"})
    if not params.get("payment_intent"):
        raise errors.missing_param("payment_intent")
    if invoice["status"] not in ("open", "uncollectible"):
        raise StripeError(
            f"This invoice has a status of {invoice['status']}: nothing pays it any more.",
            code="invoice_not_editable",
        )
    with test_clocks.time_of(call, invoice):
        intent = call.find("payment_intent", params["payment_intent"], "payment_intent", 400)
        return invoicing.attach(call, invoice, intent)


@operation("POST /v1/invoices/{invoice}/void")
def void(call: Call) -> dict[str, Any]:
    invoice = _found(call)
    if invoice["status"] not in ("open", "uncollectible"):
        raise StripeError(
            f"You can only pass in open or uncollectible invoices. This invoice has a status of "
            f"{invoice['status']}.",
            code="invoice_not_editable",
        )
    with test_clocks.time_of(call, invoice):
        return invoicing.void(call, invoice)


@operation("POST /v1/invoices/{invoice}/mark_uncollectible")
def mark_uncollectible(call: Call) -> dict[str, Any]:
    invoice = _found(call)
    if invoice["status"] != "open":
        raise StripeError(
            f"You can only mark open invoices as uncollectible. This invoice has a status of "
            f"{invoice['status']}.",
            code="invoice_not_editable",
        )
    with test_clocks.time_of(call, invoice):
        return invoicing.mark_uncollectible(call, invoice)


@operation("POST /v1/invoices/{invoice}/send")
def send(call: Call) -> dict[str, Any]:
    """Finalize where that is still to be done, and tell that the invoice was sent."""
    invoice = _found(call)
    with test_clocks.time_of(call, invoice):
        if invoice["collection_method"] != "send_invoice":
            raise StripeError(
                "You can only manually send an invoice if its collection method is 'send_invoice'."
            )
        if invoice["status"] == "draft":
            invoice = invoicing.finalize(call, invoice)
        call.emit("invoice.sent", invoice)
        return invoice


@operation("GET /v1/invoice_payments")
def list_payments(call: Call) -> dict[str, Any]:
    params = call.params
    wanted = params.get("payment") or {}

    def keep(payment: dict[str, Any]) -> bool:
        return (
            params.get("invoice", payment["invoice"]) == payment["invoice"]
            and params.get("status", payment["status"]) == payment["status"]
            and wanted.get("payment_intent", payment["payment"].get("payment_intent"))
            == payment["payment"].get("payment_intent")
            and wanted.get("type", payment["payment"]["type"]) == payment["payment"]["type"]
        )

    return listing.page(call, "invoice_payment", "/v1/invoice_payments", keep=keep)


@operation("GET /v1/invoice_payments/{invoice_payment}")
def retrieve_payment(call: Call) -> dict[str, Any]:
    return call.find("invoice_payment", call.path["invoice_payment"], "invoice_payment")
