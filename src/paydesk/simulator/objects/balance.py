"""The balance, its transactions, and the account they belong to."""

from __future__ import annotations

from typing import Any

from ..engine import Call, operation
from . import listing

ACCOUNT_ID = "acct_1SandboxOnThisDesk"


@operation("GET /v1/balance_transactions/{id}")
def retrieve_transaction(call: Call) -> dict[str, Any]:
    return call.find("balance_transaction", call.path["id"], "id")


@operation("GET /v1/balance_transactions")
def list_transactions(call: Call) -> dict[str, Any]:
    """Newest first; `payout` keeps those that went to the bank with it."""
    wanted = {n: call.params[n] for n in ("currency", "source", "type") if call.params.get(n)}
    if "currency" in wanted:
        wanted["currency"] = wanted["currency"].lower()
    if call.params.get("payout"):
        wanted["_payout"] = call.find("payout", call.params["payout"], "payout", 400)["id"]
    return listing.page(
        call, "balance_transaction", "/v1/balance_transactions",
        keep=lambda item: all(item.get(name) == value for name, value in wanted.items()),
    )


@operation("GET /v1/balance")
def balance(call: Call) -> dict[str, Any]:
    """What may be paid out and what is still on its way, by currency."""
    sums: dict[str, dict[str, int]] = {"available": {}, "pending": {}}
    for item in call.tx.scan("balance_transaction"):
        part = "available" if item["available_on"] <= call.now else "pending"
        sums[part][item["currency"]] = sums[part].get(item["currency"], 0) + item["net"]

    def amounts(part: str) -> list[dict[str, Any]]:
        return [
            {"amount": amount, "currency": currency, "source_types": {"card": amount}}
            for currency, amount in sorted((sums[part] or {"usd": 0}).items())
        ]

    return {
        "object": "balance", "available": amounts("available"), "livemode": False,
        "pending": amounts("pending"),
    }


@operation("GET /v1/account")
def account(call: Call) -> dict[str, Any]:
    return {
        "id": ACCOUNT_ID, "object": "account", "charges_enabled": True, "country": "US",
        "default_currency": "usd", "details_submitted": True, "email": None, "metadata": {},
        "payouts_enabled": True, "type": "standard",
    }
