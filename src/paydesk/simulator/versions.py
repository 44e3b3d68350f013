"""Events in the shapes of older API versions, for receivers that pin one."""

from __future__ import annotations

from typing import Any

UI_MODES = {"hosted_page": "hosted", "embedded_page": "embedded", "elements": "custom"}
#: The words of a payment intent before 2019-02-11.
OLD_STATUS = {
    "requires_payment_method": "requires_source", "requires_action": "requires_source_action",
}
#: Before this version intents carry their charges, and charges their refunds.
LISTS_INSIDE = "2022-11-15"


def lists_inside(kind: str, version: str) -> str | None:
    """The kind of object that a payment intent or charge carries in this version, if any."""
    if version >= LISTS_INSIDE:
        return None
    return {"payment_intent": "charge", "charge": "refund"}.get(kind)


def downgrade(
    item: dict[str, Any], version: str, inside: list[dict[str, Any]], dispute: str | None = None
) -> dict[str, Any]:
    """The object, given in the newest shape, as an older API version has it.

    `inside` are the charges of an intent or the refunds of a charge, in that version's shapes;
    `dispute` is the id of a charge's dispute. What changed, from new to old: 2026-03-25 `ui_mode`
    got longer words; 2025-03-31 payments lost `invoice` and `source`, charges `dispute`, sessions
    `shipping_details`; 2024-04-10 the default capture became asynchronous and a product's
    `features` became `marketing_features`; 2022-11-15 intents got `latest_charge` in the place of
    their charges, and charges lost their refunds; 2019-02-11 what an intent needs is a payment
    method and an action, not a source and a source's action.
    """
    kind, changed = item["object"], dict(item)
    if kind == "checkout.session":
        if version < "2026-03-25":
            changed["ui_mode"] = UI_MODES.get(item["ui_mode"], item["ui_mode"])
        if version < "2025-03-31":
            collected = changed.pop("collected_information", None) or {}
            changed["shipping_details"] = collected.get("shipping_details")
    if kind in ("payment_intent", "charge") and version < "2025-03-31":
        changed |= {"invoice": None, "source": None}
    if kind == "charge":
        if version < "2025-03-31":
            changed |= {"destination": None, "dispute": dispute, "order": None}
        if version < LISTS_INSIDE:
            changed["refunds"] = _list_of(inside, f"/v1/charges/{item['id']}/refunds")
    if kind == "product" and version < "2024-04-10":
        changed["features"] = changed.pop("marketing_features", [])
    if kind == "payment_intent":
        if version < "2024-04-10" and item["capture_method"] == "automatic_async":
            changed["capture_method"] = "automatic"
        if version < LISTS_INSIDE:
            changed.pop("latest_charge", None)
            changed["charges"] = _list_of(inside, f"/v1/charges?payment_intent={item['id']}")
        if version < "2019-02-11":
            changed["status"] = OLD_STATUS.get(item["status"], item["status"])
            changed["allowed_source_types"] = changed.pop("payment_method_types", [])
            changed["next_source_action"] = changed.pop("next_action", None)
    return changed


def _list_of(data: list[dict[str, Any]], url: str) -> dict[str, Any]:
    return {
        "object": "list", "data": data, "has_more": False, "total_count": len(data), "url": url,
    }
