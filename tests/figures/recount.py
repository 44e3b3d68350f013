"""Figures counted a second time, in plain loops over whole tables: what reports must say."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

PAID = {"succeeded", "partially_refunded", "refunded"}
REVENUE = ("gross", "refunds", "disputes", "fees", "from_wallets", "to_wallets", "withdrawn",
           "recognized", "gross_usd", "refunds_usd", "disputes_usd", "fees_usd",
           "unrated")  # fmt: skip


class Tables:
    """Every row that figures are made of."""

    def __init__(self, desk: Any) -> None:
        self.payments = desk.all("select * from payments where deleted_at is null")
        self.transfers = desk.all("select * from transfers")
        self.refunds = desk.all("select * from refunds")
        self.disputes = desk.all("select * from disputes")
        self.attempts = desk.all("select * from attempts")
        self.accounts = desk.all("select code, asset, balance from accounts")
        self.promos = {r["id"]: r["code"] for r in desk.all("select id, code from promos")}
        self.uses = {r["payment_id"]: r["bonus_credits"]
                     for r in desk.all("select payment_id, bonus_credits from promo_uses")}
        self.by_id = {row["id"]: row for row in self.payments}


def label(at: datetime, zone: str, period: str | None) -> Any:
    """The period in which a moment lies."""
    local = at.astimezone(ZoneInfo(zone))
    day = local.date()
    if period == "hour":
        return local.replace(minute=0, second=0, microsecond=0).astimezone(ZoneInfo("UTC"))
    if period == "week":
        return day - timedelta(days=day.weekday())
    if period == "month":
        return date(day.year, day.month, 1)
    return date(day.year, 1, 1) if period == "year" else day


def usd(amount: int, currency: str, payment: dict[str, Any] | None) -> int | None:
    if currency == "usd":
        return amount
    if payment is None or payment["usd_minor"] is None or payment["currency"] != currency:
        return None
    worth = Decimal(amount) * payment["usd_minor"] / payment["asked_minor"]
    return int(worth.quantize(Decimal(1), ROUND_HALF_UP))


def rate(part: int, whole: int) -> Decimal | None:
    if not whole:
        return None
    return (Decimal(part) / whole).quantize(Decimal("0.0001"), ROUND_HALF_UP)


def inside(at: datetime, over: Any) -> bool:
    return over.start <= at < over.end


def _way(row: dict[str, Any] | None, name: str) -> str:
    if name == "status":
        return row["state"] if row else ""
    if name == "reason":
        return (row["error_code"] or "unknown") if row and row["state"] == "failed" else ""
    return (row[name] or "") if row else ""


def payments(t: Tables, over: Any, period: str | None, by: list[str]) -> dict[Any, dict[str, Any]]:
    made: dict[Any, Counter[str]] = defaultdict(Counter)
    for p in t.payments:
        if not inside(p["created_at"], over):
            continue
        key = ((label(p["created_at"], over.time_zone, period),) if period else ()) + tuple(
            _way(p, name) for name in by
        )
        one, worth = made[key], usd(p["captured_minor"], p["currency"], p)
        one["payments"] += 1
        one["succeeded"] += p["state"] in PAID
        one["failed"] += p["state"] == "failed"
        one["abandoned"] += p["state"] in {"expired", "canceled"}
        one["open"] += p["state"] in {"pending", "processing", "requires_action", "authorized"}
        one["asked"] += p["asked_minor"]
        one["captured"] += p["captured_minor"]
        one["given_back"] += p["refunded_minor"]
        one["captured_usd"] += worth or 0
        one["unrated"] += worth is None and p["captured_minor"] > 0
        one["credits_sold"] += p["credits_to_add"] if p["credits_added_at"] else 0
        one["disputed"] += p["disputed"]
    found = {}
    for key, one in made.items():
        found[key] = {
            **{n: one[n] for n in ("payments", "succeeded", "failed", "abandoned", "open", "asked",
               "captured", "given_back", "captured_usd", "unrated", "credits_sold", "disputed")},
            "success_rate": rate(one["succeeded"], one["succeeded"] + one["failed"]),
            "failure_rate": rate(one["failed"], one["succeeded"] + one["failed"]),
            "average": one["captured"] // one["succeeded"] if one["succeeded"] else None,
        }  # fmt: skip
    return found


def revenue(t: Tables, over: Any, period: str | None, by: list[str]) -> dict[Any, dict[str, Any]]:
    made: dict[Any, Counter[str]] = defaultdict(Counter)
    for x in t.transfers:
        if x["asset"] == "CREDIT" or not inside(x["effective_at"], over):
            continue
        p = t.by_id.get(x["subject_id"])
        key = ((label(x["effective_at"], over.time_zone, period),) if period else ()) + tuple(
            x["asset"] if name == "currency" else _way(p, name) for name in by
        )
        one, why, amount = made[key], x["reason"], x["amount"]
        worth = usd(amount, x["asset"], p)
        one["recognized"] += amount * ((x["credit"] == 6) - (x["debit"] == 6))
        if why == "PAYMENT_CAPTURE":
            one["gross"] += amount
            one["gross_usd"] += worth or 0
            one["unrated"] += worth is None
        if why == "WALLET_PAYMENT":
            one["from_wallets"] += amount
        if why == "REFUND_PAID" and x["credit"] == 2:
            one["to_wallets"] += amount
        for name, out, back in (
            ("refunds", {"REFUND_PAID", "REFUND_LOSS"}, {"REFUND_RETURNED"}),
            ("disputes", {"DISPUTE_WITHDRAWN"}, {"DISPUTE_REINSTATED"}),
            ("fees", {"PROVIDER_FEE", "DISPUTE_FEE"}, {"DISPUTE_FEE_BACK"}),
        ):
            if why in out and x["credit"] == 10:
                one[name] += amount
                one[f"{name}_usd"] += worth or 0
            if why in back and x["debit"] == 10:
                one[name] -= amount
                one[f"{name}_usd"] -= worth or 0
    counts = payments(t, over, period, by)
    found = {}
    for key in {*made, *counts}:
        one = {name: made[key][name] for name in REVENUE}
        one["net"] = one["gross"] - one["refunds"] - one["disputes"] - one["fees"]
        one["net_usd"] = (one["gross_usd"] - one["refunds_usd"] - one["disputes_usd"]
                          - one["fees_usd"])  # fmt: skip
        one["success_rate"] = counts.get(key, {}).get("success_rate")
        settled = sum(counts.get(key, {}).get(n, 0) for n in ("succeeded", "failed"))
        flows = any(one[n] for n in REVENUE[:8])
        if flows or settled:
            found[key] = one
    return found


def credits(t: Tables, over: Any, period: str | None) -> dict[Any, dict[str, Any]]:
    made: dict[Any, Counter[str]] = defaultdict(Counter)
    held: Counter[Any] = Counter()
    before = 0
    for x in t.transfers:
        if x["asset"] != "CREDIT":
            continue
        kept = x["amount"] * ((x["credit"] in (1, 3)) - (x["debit"] in (1, 3)))
        if x["effective_at"] < over.start:
            before += kept
        if not inside(x["effective_at"], over):
            continue
        key = (label(x["effective_at"], over.time_zone, period),)
        one, amount, why = made[key], x["amount"], x["reason"]
        held[key] += kept
        if x["debit"] == 11 and why != "CREDIT_CLAWBACK_REVERSAL":
            one["granted"] += amount
            one["bought"] += amount if why == "CREDIT_PURCHASE" else 0
        elif 11 in (x["debit"], x["credit"]):
            one["taken_back"] += amount if x["credit"] == 11 else -amount
        one["spent"] += amount * (x["credit"] == 7)
        one["refunded"] += amount * (x["debit"] == 7)
        one["expired"] += amount * ((x["credit"] == 8) - (x["debit"] == 8))
    found = {}
    for key in sorted(made):
        before += held[key]
        one = made[key]
        found[key] = {
            **{n: one[n] for n in ("granted", "bought", "spent", "refunded", "expired",
                                   "taken_back")},
            "given": one["granted"] - one["bought"], "outstanding": before,
        }  # fmt: skip
    return found


def goods(t: Tables, over: Any, head: str) -> dict[Any, dict[str, Any]]:
    """By product, or by promo code, and currency."""
    made: dict[Any, Counter[str]] = defaultdict(Counter)
    for p in t.payments:
        if not inside(p["created_at"], over) or not p["captured_minor"]:
            continue
        if head == "promo" and not p["promo_id"]:
            continue
        item = ((p["terms"] or {}).get("goods") or {}).get("key")
        name = t.promos[p["promo_id"]] if head == "promo" else (
            p["package_id"] or item or p["purpose"])
        one, worth = made[name, p["currency"]], usd(p["captured_minor"], p["currency"], p)
        one["sold"] += 1
        one["captured"] += p["captured_minor"]
        one["given_back"] += p["refunded_minor"]
        one["discount"] += p["discount_minor"]
        one["captured_usd"] += worth or 0
        one["unrated"] += worth is None
        if head == "promo":
            one["bonus_credits"] += t.uses.get(p["id"], 0)
    names = ("sold", "captured", "given_back", "discount", "captured_usd", "unrated")
    return {key: {n: one[n] for n in names} for key, one in made.items()}


def customers(t: Tables, over: Any) -> dict[Any, dict[str, Any]]:
    """By currency."""
    per: dict[Any, list[Any]] = defaultdict(list)
    first: dict[Any, datetime] = {}
    for p in sorted(t.payments, key=lambda p: p["created_at"]):
        if p["captured_minor"]:
            first.setdefault(p["customer_id"], p["created_at"])
            if inside(p["created_at"], over):
                per[p["currency"], p["customer_id"]].append(p)
    made: dict[Any, Counter[str]] = defaultdict(Counter)
    for (currency, customer), rows in per.items():
        one = made[currency,]
        one["customers"] += 1
        one["new_customers"] += first[customer] == rows[0]["created_at"]
        one["repeat_customers"] += len(rows) > 1
        one["succeeded"] += len(rows)
        one["captured"] += sum(p["captured_minor"] for p in rows)
    names = ("customers", "new_customers", "repeat_customers", "succeeded", "captured")
    return {
        key: {**{n: one[n] for n in names},
              "returning_customers": one["customers"] - one["new_customers"]}
        for key, one in made.items()
    }  # fmt: skip


def tries(t: Tables, over: Any) -> dict[Any, dict[str, int]]:
    """Attempts by provider and currency."""
    made: dict[Any, Counter[str]] = defaultdict(Counter)
    for a in t.attempts:
        p = t.by_id.get(a["payment_id"])
        if p is not None and inside(p["created_at"], over):
            one = made[a["provider"], p["currency"]]
            one["attempts"] += 1
            one["declined"] += a["state"] == "failed"
    return {key: {n: one[n] for n in ("attempts", "declined")} for key, one in made.items()}


def refunds(t: Tables, over: Any) -> dict[Any, dict[str, int]]:
    made: dict[Any, Counter[str]] = defaultdict(Counter)
    for r in t.refunds:
        if inside(r["created_at"], over):
            one = made[r["reason"] or "", r["currency"]]
            one["refund_count"] += 1
            one["refund_amount"] += r["amount_minor"]
            one["paid_back"] += r["amount_minor"] * (r["state"] == "succeeded")
            one["pending"] += r["amount_minor"] * (r["state"] in {"requested", "pending"})
    names = ("refund_count", "refund_amount", "paid_back", "pending")
    return {key: {n: one[n] for n in names} for key, one in made.items()}


def disputes(t: Tables, over: Any) -> dict[Any, dict[str, int]]:
    made: dict[Any, Counter[str]] = defaultdict(Counter)
    for d in t.disputes:
        if inside(d["opened_at"], over):
            one = made[d["currency"],]
            one["disputes_opened"] += 1
            one["disputes_won"] += d["state"] == "won"
            one["disputes_lost"] += d["state"] == "lost"
            one["disputed_amount"] += d["amount_minor"]
    names = ("disputes_opened", "disputes_won", "disputes_lost", "disputed_amount")
    return {key: {n: one[n] for n in names} for key, one in made.items()}
