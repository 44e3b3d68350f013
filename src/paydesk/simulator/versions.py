"""Events in the shapes of older API versions, for receivers that pin one."""

from __future__ import annotations

from typing import Any

UI_MODES = {"hosted_page": "hosted", "embedded_page": "embedded", "elements": "custom"}


def downgrade(item: dict[str, Any], version: str, charges: list[dict[str, Any]]) -> dict[str, Any]:
    """The object as an older API version has it; `charges` are those of a payment intent.

    2022-08-01 and before: a payment intent carries its charges. Before 2022-11-15 a charge
    carries its refunds. Before 2024-04-10 `automatic` is the capture method's default. Before
    2025-03-31 payments name an invoice. Before 2026-03-25 `ui_mode` has its shorter words.
    """
    kind, changed = item["object"], dict(item)
    if kind == "checkout.session" and version < "2026-03-25":
        changed["ui_mode"] = UI_MODES.get(item["ui_mode"], item["ui_mode"])
    if kind in ("payment_intent", "charge") and version < "2025-03-31":
        changed["invoice"] = None
    if kind == "payment_intent":
        if version < "2024-04-10" and item["capture_method"] == "automatic_async":
            changed["capture_method"] = "automatic"
        if version < "2022-11-15":
            del changed["latest_charge"]
            changed["charges"] = _list_of(
                [downgrade(charge, version, []) for charge in charges],
                f"/v1/charges?payment_intent={item['id']}",
            )
    if kind == "charge" and version < "2022-11-15":
        changed["refunds"] = _list_of([], f"/v1/charges/{item['id']}/refunds")
    return changed


def _list_of(data: list[dict[str, Any]], url: str) -> dict[str, Any]:
    return {
        "object": "list", "data": data, "has_more": False, "total_count": len(data), "url": url,
    }
