"""Events in the shapes of older API versions, for receivers that pin one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import older_billing

UI_MODES = {"hosted_page": "hosted", "embedded_page": "embedded", "elements": "custom"}
#: The words of a payment intent before 2019-02-11.
OLD_STATUS = {
    "requires_payment_method": "requires_source", "requires_action": "requires_source_action",
}
#: Before this version intents carry their charges, and charges their refunds.
LISTS_INSIDE = "2022-11-15"
#: Before this version an object says on its own what its `parent` says now.
BASIL = "2025-03-31"


def lists_inside(kind: str, version: str) -> str | None:
    """The kind of object that a payment intent or charge carries in this version, if any."""
    if version >= LISTS_INSIDE:
        return None
    return {"payment_intent": "charge", "charge": "refund"}.get(kind)


def downgrade(
    item: dict[str, Any], version: str, inside: list[dict[str, Any]], stored: dict[str, Any]
) -> dict[str, Any]:
    """The object, given in the newest shape, as an older API version has it.

    `inside` are the charges of an intent or the refunds of a charge, in that version's shapes;
    `stored` is the object with what the simulator keeps of it for itself. What changed, from new
    to old: 2026-03-25 `ui_mode` got longer words; 2025-03-31 payments lost `invoice` and `source`,
    charges `dispute`, sessions `shipping_details`, and what bills changed as older_billing.py
    says; 2024-04-10 the default capture became asynchronous and a product's `features` became
    `marketing_features`; 2022-11-15 intents got `latest_charge` in the place of their charges, and
    charges lost their refunds; 2019-02-11 what an intent needs is a payment method and an action,
    not a source and a source's action.
    """
    change = CHANGES.get(item["object"])
    return change(dict(item), version, inside, stored) if change else dict(item)


def _session(changed: dict[str, Any], version: str, *_: Any) -> dict[str, Any]:
    if version < "2026-03-25":
        changed["ui_mode"] = UI_MODES.get(changed["ui_mode"], changed["ui_mode"])
    if version < BASIL:
        collected = changed.pop("collected_information", None) or {}
        changed["shipping_details"] = collected.get("shipping_details")
    return changed


def _charge(
    changed: dict[str, Any], version: str, inside: list[dict[str, Any]], stored: dict[str, Any]
) -> dict[str, Any]:
    if version < BASIL:
        changed |= {
            "invoice": stored.get("_invoice"), "source": None, "destination": None,
            "dispute": stored.get("_dispute"), "order": None,
        }
    if version < LISTS_INSIDE:
        changed["refunds"] = list_of(inside, f"/v1/charges/{changed['id']}/refunds")
    return changed


def _payment_intent(
    changed: dict[str, Any], version: str, inside: list[dict[str, Any]], stored: dict[str, Any]
) -> dict[str, Any]:
    if version < BASIL:
        changed |= {"invoice": stored.get("_invoice"), "source": None}
    if version < "2024-04-10" and changed["capture_method"] == "automatic_async":
        changed["capture_method"] = "automatic"
    if version < LISTS_INSIDE:
        changed.pop("latest_charge", None)
        changed["charges"] = list_of(inside, f"/v1/charges?payment_intent={changed['id']}")
    if version < "2019-02-11":
        changed["status"] = OLD_STATUS.get(changed["status"], changed["status"])
        changed["allowed_source_types"] = changed.pop("payment_method_types", [])
        changed["next_source_action"] = changed.pop("next_action", None)
    return changed


def _product(changed: dict[str, Any], version: str, *_: Any) -> dict[str, Any]:
    if version < "2024-04-10":
        changed["features"] = changed.pop("marketing_features", [])
    return changed


def list_of(data: list[dict[str, Any]], url: str) -> dict[str, Any]:
    return {
        "object": "list", "data": data, "has_more": False, "total_count": len(data), "url": url,
    }


#: What an older version has differently, by kind of object.
CHANGES: dict[str, Callable[..., dict[str, Any]]] = {
    "charge": _charge, "checkout.session": _session, "payment_intent": _payment_intent,
    "product": _product,
    "invoice": older_billing.invoice, "invoiceitem": older_billing.invoice_item,
    "price": older_billing.price_event, "subscription": older_billing.subscription,
}
