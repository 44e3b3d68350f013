"""Subscriptions, invoices and their items in the shapes of older API versions.

Three steps are known. Since 2025-03-31 the period stands on a subscription's items, an invoice
says in `parent` what it is of, its lines in `parent` and `pricing`, and it does not name its
payment any more. Before that version the period stands on the subscription, which also has `plan`
and `quantity` where it has one item, and invoices have `subscription`, `payment_intent`, `charge`
and `paid`. Before 2024-04-10 an invoice's `rendering` is called `rendering_options`.
"""

from __future__ import annotations

from typing import Any

BASIL, RENDERING = "2025-03-31", "2024-04-10"
#: Fields that invoices have had since 2025-03-31.
NEWER = (
    "amount_overpaid", "amount_paid_off_stripe", "confirmation_secret", "customer_account",
    "parent", "payments", "total_pretax_credit_amounts", "total_taxes",
)


def plan(price: dict[str, Any]) -> dict[str, Any] | None:
    """The price as a plan, which only a recurring one is."""
    recurring = price["recurring"]
    if recurring is None:
        return None
    return {
        "id": price["id"], "object": "plan", "active": price["active"], "aggregate_usage": None,
        "amount": price["unit_amount"], "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": price["billing_scheme"], "created": price["created"],
        "currency": price["currency"], "interval": recurring["interval"],
        "interval_count": recurring["interval_count"], "livemode": False,
        "metadata": price["metadata"], "meter": None, "nickname": price["nickname"],
        "product": price["product"], "tiers_mode": None, "transform_usage": None,
        "trial_period_days": None, "usage_type": recurring["usage_type"],
    }


def price_of(price: dict[str, Any]) -> dict[str, Any]:
    """A price as versions before 2025-03-31 have it."""
    recurring = price["recurring"]
    if recurring is None:
        return price
    return {
        **price, "recurring": {**recurring, "aggregate_usage": None, "trial_period_days": None},
    }


def price_event(changed: dict[str, Any], version: str, *_: Any) -> dict[str, Any]:
    return price_of(changed) if version < BASIL else changed


def subscription(changed: dict[str, Any], version: str, *_: Any) -> dict[str, Any]:
    if version >= BASIL:
        return changed
    items = changed["items"]["data"]
    for name in ("billing_mode", "billing_schedules", "customer_account", "managed_payments"):
        changed.pop(name, None)
    changed["items"] = {
        **changed["items"], "data": [_item(one) for one in items], "total_count": len(items),
    }
    one = items[0] if len(items) == 1 else None
    return changed | {
        "current_period_start": max(one["current_period_start"] for one in items),
        "current_period_end": min(one["current_period_end"] for one in items),
        "discount": None,
        "plan": plan(one["price"]) if one else None,
        "quantity": one["quantity"] if one else None,
    }


def _item(item: dict[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in item.items() if not k.startswith("current_period_")}
    return kept | {"plan": plan(item["price"]), "price": price_of(item["price"])}


def invoice(
    changed: dict[str, Any], version: str, _: Any, stored: dict[str, Any]
) -> dict[str, Any]:
    if version < RENDERING:
        changed["rendering_options"] = changed.pop("rendering", None)
    if version >= BASIL:
        return changed
    details = (changed.get("parent") or {}).get("subscription_details") or {}
    for name in NEWER:
        changed.pop(name, None)
    kept = {line["id"]: line for line in stored.get("_lines", ())}
    lines = changed["lines"]
    changed["lines"] = {
        **lines, "data": [_line(one, kept.get(one["id"], one)) for one in lines["data"]],
        "total_count": len(kept) or len(lines["data"]),
    }
    if "subscription_proration_date" in details:
        changed["subscription_proration_date"] = details["subscription_proration_date"]
    return changed | {
        "application_fee_amount": None, "charge": stored.get("_charge"), "discount": None,
        "paid": changed["status"] == "paid",
        "paid_out_of_band": bool(stored.get("_out_of_band")),
        "payment_intent": stored.get("_intent"), "quote": None,
        "subscription": details.get("subscription"),
        "subscription_details": {"metadata": details.get("metadata")},
        "tax": None, "total_tax_amounts": [], "transfer_data": None,
    }


def _line(line: dict[str, Any], stored: dict[str, Any]) -> dict[str, Any]:
    changed = dict(line)
    parent, price = changed.pop("parent") or {}, stored.get("_price")
    for name in ("pricing", "subtotal", "taxes", "pretax_credit_amounts", "quantity_decimal"):
        changed.pop(name, None)
    own = parent.get("subscription_item_details") or parent.get("invoice_item_details") or {}
    if own.get("invoice_item"):
        changed["invoice_item"] = own["invoice_item"]
    if own.get("subscription_item"):
        changed["subscription_item"] = own["subscription_item"]
    return changed | {
        "amount_excluding_tax": line["amount"],
        "plan": plan(price) if price else None,
        "price": price_of(price) if price else None,
        "proration": own.get("proration", False),
        "proration_details": own.get("proration_details") or {"credited_items": None},
        "subscription": own.get("subscription"),
        "tax_amounts": [], "tax_rates": [],
        "type": "invoiceitem" if own.get("invoice_item") else "subscription",
        "unit_amount_excluding_tax": price["unit_amount_decimal"] if price else None,
    }


def invoice_item(
    changed: dict[str, Any], version: str, _: Any, stored: dict[str, Any]
) -> dict[str, Any]:
    if version >= BASIL:
        return changed
    details = (changed.pop("parent", None) or {}).get("subscription_details") or {}
    price = stored.get("_price")
    for name in ("pricing", "net_amount", "proration_details", "quantity_decimal",
                 "customer_account"):
        changed.pop(name, None)
    if details.get("subscription_item"):
        changed["subscription_item"] = details["subscription_item"]
    unit = price["unit_amount"] if price else changed["amount"]
    return changed | {
        "plan": plan(price) if price else None, "price": price_of(price) if price else None,
        "subscription": details.get("subscription"), "unit_amount": unit,
        "unit_amount_decimal": str(unit),
    }
