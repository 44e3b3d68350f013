"""What a shop with subscriptions has to look at: every state of what the dashboard shows."""

from __future__ import annotations

from typing import Any

from desk_process import Desk, eventually

#: Stripe's card whose payments are disputed at once.
DISPUTED = "4000000000000259"
SUBSCRIBERS = [
    ("subscriber-1", "nina@fjord.example", "Nina Dahl"),
    ("subscriber-2", "omar@souk.example", "Omar Haddad"),
    ("subscriber-3", "yuki@kumo.example", "Yuki Sato"),
    ("subscriber-4", "lena@werft.example", "Lena Vogt"),
]


def fill_billing(desk: Desk, paid: dict[str, Any]) -> dict[str, Any]:
    """Subscriptions, invoices, a refund to decide, a dispute, wallets, payments to review.

    `paid`: a checkout that was paid, part of which somebody asks back. Answers ids to look at.
    """
    for external_id, email, name in SUBSCRIBERS:
        body = {"external_id": external_id, "email": email, "name": name,
                "metadata": {"country": "FR"}}  # fmt: skip
        desk.api("POST", "/v1/customers", body)
        desk.api("POST", "/v1/payment_methods",
                 {"customer": external_id, "token": "pm_card_visa", "default": True})  # fmt: skip
    desk.api("POST", "/v1/tax-rates",
             {"name": "VAT", "country": "FR", "percent": "20", "inclusive": False})  # fmt: skip
    plans = _plans(desk)
    subs = [
        desk.api("POST", "/v1/subscriptions",
                 {"customer": who[0], "plan": plans[number % len(plans)], "trial_days": 0})
        for number, who in enumerate(SUBSCRIBERS)
    ]  # fmt: skip
    desk.api("POST", f"/v1/subscriptions/{subs[1]['id']}/cancel",
             {"at": "period_end", "reason": "too_expensive"})  # fmt: skip
    desk.api("POST", f"/v1/subscriptions/{subs[2]['id']}/pause", {})
    open_ = desk.api("POST", "/v1/invoices", {
        "customer": "subscriber-1", "currency": "usd", "memo": "Thank you for the workshop.",
        "items": [{"description": "Onboarding workshop", "amount": 45000},
                  {"description": "Extra seat, first month", "unit_amount": 1500, "quantity": 3}],
    })  # fmt: skip
    return {
        "subscriber": subs[0]["customer"], "subscription": subs[0]["id"],
        "ending": subs[1]["id"], "paused": subs[2]["id"], "plan": plans[0],
        "invoice": subs[0]["latest_invoice"], "open_invoice": open_["id"],
        **_ways_back(desk, paid), **_wallets(desk), **_risk(desk),
    }  # fmt: skip


def _plans(desk: Desk) -> list[str]:
    """Two plans of one family that cost something."""
    for position, (key, name, amount) in enumerate(
        (("studio", "Studio", 2900), ("agency", "Agency", 9900))
    ):
        desk.api("PUT", f"/v1/plans/{key}", {
            "name": name, "family": "studio", "amount": amount, "currency": "usd",
            "credits": 200, "position": position, "most_quantity": 20,
            "grants": [{"type": "exports"}],
            "description": f"{name}: exports, shared libraries, 200 credits each month.",
        })  # fmt: skip
    return ["studio", "agency"]


def _ways_back(desk: Desk, paid: dict[str, Any]) -> dict[str, Any]:
    key = desk.api("POST", "/v1/keys", {"name": "Help desk", "role": "support"})
    refund = desk.api(
        "POST", f"/v1/payments/{paid['payment']['id']}/refunds",
        {"amount": 300, "reason": "requested_by_customer", "note": "Bought the wrong pack."},
        key=key["secret"],
    )  # fmt: skip
    desk.buy("subscriber-4", card=DISPUTED, email="lena@werft.example")
    dispute = eventually(lambda: desk.api("GET", "/v1/disputes")["data"], what="no dispute came")
    return {"refund": refund["id"], "dispute": dispute[0]["id"]}


def _wallets(desk: Desk) -> dict[str, Any]:
    desk.api("POST", "/v1/payments", {
        "customer": "subscriber-1", "amount": 5000, "currency": "usd", "wallet": True,
        "payment_method": "pm_card_visa", "confirm": True,
    })  # fmt: skip
    wallet = eventually(
        lambda: [one for one in desk.api("GET", "/v1/wallets?customer=subscriber-1")["data"]
                 if one["balance"]], what="the wallet stays empty",
    )[0]  # fmt: skip
    return {"wallet": wallet["id"]}


def _risk(desk: Desk) -> dict[str, Any]:
    desk.api("PUT", "/v1/risk/lists", {"kind": "email_domain", "value": "burner.example",
                                       "action": "review", "reason": "Seen in May."})  # fmt: skip
    desk.api("POST", "/v1/customers",
             {"external_id": "odd-1", "email": "x1@burner.example", "name": "Nobody Inparticular"})
    made = desk.api("POST", "/v1/checkouts", {"customer": "odd-1", "pack": "studio",
                                              "email": "x1@burner.example"})  # fmt: skip
    found = desk.api("GET", "/v1/risk/assessments?queue=true")["data"]
    return {"odd": made["id"], "assessment": found[0]["id"] if found else None}
