"""Reports of what was paid, sold, used and given back, by whom and at what risk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta

from paydesk import ids
from paydesk.flows import figure_rows, figures
from paydesk.flows.figure_asks import Ask, Build, Derive, filters, heads_of, nothing
from paydesk.flows.figures import Row
from paydesk.rules import figures as rules
from paydesk.rules.figure_names import PERIODS
from paydesk.rules.forecast import SEASONS, forecast
from paydesk.rules.ledger import CODES, CREDIT
from paydesk.tracker.models import PAID_STATES

CLEARING, REVENUE = CODES["clearing"], CODES["revenue"]
ISSUED, USAGE, BREAKAGE = CODES["issued"], CODES["usage"], CODES["breakage"]
BOUGHT = ("CREDIT_PURCHASE", "MEMBERSHIP_PAYMENT")
GIVEN_BACK = "CREDIT_CLAWBACK_REVERSAL"

# Payments and methods -----------------------------------------------------------------------------


def _payments(ask: Ask, period: str | None, dimensions: Sequence[str]) -> list[Row]:
    named = ["state" if d == "status" else d for d in dimensions]
    by = list(dict.fromkeys([*named, "state"]))
    found = figures.collect(ask.tx, ask.parts, ask.over, "payments", period=period, by=by,
                            where=filters(ask))  # fmt: skip
    rows = []
    for one in found:
        state, count = one["state"], one["payments"]
        rows.append({
            **one, "status": state,
            "succeeded": count if state in PAID_STATES else 0,
            "failed": count if state == "failed" else 0,
            "abandoned": count if state in ("expired", "canceled") else 0,
            "open": count if state in figure_rows.OPEN_STATES else 0,
            "given_back": one["refunded"], "captured_usd": one["usd"],
            "credits_sold": one["credits"],
        })  # fmt: skip
    return figure_rows.folded(rows, heads_of(period, dimensions))


def _rates(ask: Ask, row: Row) -> Row:
    settled = row["succeeded"] + row["failed"]
    return {
        "success_rate": rules.ratio(row["succeeded"], settled),
        "failure_rate": rules.ratio(row["failed"], settled),
        "average": row["captured"] // row["succeeded"] if row["succeeded"] else None,
    }


def _methods(ask: Ask, period: str | None, dimensions: Sequence[str]) -> list[Row]:
    """Payments, and the tries beside them."""
    by = list(dict.fromkeys([*dimensions, "state"]))
    tries = figures.collect(ask.tx, ask.parts, ask.over, "attempts", period=period, by=by,
                            where=filters(ask))  # fmt: skip
    rows = [{**one, "declined": one["attempts"] if one["state"] == "failed" else 0}
            for one in tries]  # fmt: skip
    return figure_rows.folded([*_payments(ask, period, dimensions), *rows],
                              heads_of(period, dimensions))  # fmt: skip


# Revenue ------------------------------------------------------------------------------------------


def _revenue(ask: Ask, period: str | None, dimensions: Sequence[str]) -> list[Row]:
    by = ["asset" if d == "currency" else d for d in dimensions]
    by = list(dict.fromkeys([*by, "asset", "reason", "debit", "credit"]))
    found = figures.collect(ask.tx, ask.parts, ask.over, "books", period=period, by=by,
                            where=filters(ask, {"currency": "asset"}))  # fmt: skip
    rows = [{**one, "currency": one["asset"], **_moved(one)}
            for one in found if one["asset"] != CREDIT]  # fmt: skip
    counted = [
        {name: one[name] for name in (*heads_of(period, dimensions), "succeeded", "failed")}
        for one in _payments(ask, period, dimensions)
    ]
    made = figure_rows.folded([*rows, *counted], heads_of(period, dimensions))
    return [one for one in made if any(one[n] for n in (*_FLOWS, "succeeded", "failed"))]


_FLOWS = ("gross", "refunds", "disputes", "fees", "from_wallets", "to_wallets", "withdrawn",
          "recognized")  # fmt: skip
#: Reasons of postings -> the figure that counts what leaves clearing by them.
_LEAVES = {
    "REFUND_PAID": "refunds", "REFUND_LOSS": "refunds", "REFUND_RETURNED": "refunds",
    "DISPUTE_WITHDRAWN": "disputes", "DISPUTE_REINSTATED": "disputes",
    "PROVIDER_FEE": "fees", "DISPUTE_FEE": "fees", "DISPUTE_FEE_BACK": "fees",
    "WITHDRAWAL_PAID": "withdrawn",
}  # fmt: skip


def _moved(one: Row) -> Row:
    """What a group of postings adds to each figure."""
    row: Row = {**dict.fromkeys(_FLOWS, 0), "unrated": 0}
    amount, usd, reason = one["amount"], one["usd"], one["reason"]
    if one["credit"] == REVENUE:
        row["recognized"] += amount
    elif one["debit"] == REVENUE:
        row["recognized"] -= amount
    if reason == "WALLET_PAYMENT":
        row["from_wallets"] = amount
    elif reason == "REFUND_PAID" and one["credit"] == CODES["wallet"]:
        row["to_wallets"] = amount
    elif reason == "PAYMENT_CAPTURE" and one["debit"] == CLEARING:
        row |= {"gross": amount, "gross_usd": usd, "unrated": one["unrated"]}
    elif reason in _LEAVES and CLEARING in (one["debit"], one["credit"]):
        sign = 1 if one["credit"] == CLEARING else -1
        name = _LEAVES[reason]
        row[name] = sign * amount
        row[f"{name}_usd"] = sign * usd
    return row


def _net(ask: Ask, row: Row) -> Row:
    return {
        "net": row["gross"] - row["refunds"] - row["disputes"] - row["fees"],
        "net_usd": row["gross_usd"] - row["refunds_usd"] - row["disputes_usd"] - row["fees_usd"],
        "success_rate": rules.ratio(row["succeeded"], row["succeeded"] + row["failed"]),
    }


def _forecast(ask: Ask, period: str | None, dimensions: Sequence[str]) -> list[Row]:
    """The periods after the last whole one of the range, by what went before."""
    step = period or "month"
    day, until = rules.period_start(step, ask.over.first_day), min(ask.over.end, ask.now)
    if rules.midnight(ask.over.zone, day) < ask.over.start:
        day = rules.next_period(step, day)
    whole = []
    while rules.midnight(ask.over.zone, rules.next_period(step, day)) <= until:
        whole.append(day)
        day = rules.next_period(step, day)
    net: dict[str, dict[date, int]] = {}
    for one in _revenue(ask, step, ["currency"]):
        net.setdefault(one["currency"], {})[one[step]] = _net(ask, one)["net"]
    rows = []
    for currency, found in sorted(net.items()):
        history = [found.get(one, 0) for one in whole]
        known = len(history) - next((n for n, v in enumerate(history) if v), len(history))
        begins = day
        for one in forecast(history, SEASONS[step], ask.periods):
            rows.append({"currency": currency, step: begins, "known": known, "low": one.low,
                         "high": one.high, "expected": one.expected})  # fmt: skip
            begins = rules.next_period(step, begins)
    if period is None:
        return figure_rows.folded(rows, dimensions)
    return sorted(rows, key=lambda one: (one[period], one["currency"]))


# Credits ------------------------------------------------------------------------------------------


def _credits(ask: Ask, period: str | None, dimensions: Sequence[str]) -> list[Row]:
    by_reason = "reason" in dimensions or "reason" in ask.where
    found = _credit_rows(ask, period)
    rows = figure_rows.folded([_credited(one) for one in found], heads_of(period, dimensions))
    if by_reason:
        return [{**one, "outstanding": None} for one in rows]
    balance = figures.credits_held(ask.tx, ask.over.start, ask.over.time_zone, recount=ask.recount)
    if not rows and period is None:
        rows = [dict.fromkeys((*figure_rows.SUMMED, "kept"), 0)]
    made = []
    for one in rows:
        balance += one["kept"]
        made.append({**one, "outstanding": balance})
    return made


def _credit_rows(ask: Ask, period: str | None) -> list[Row]:
    return figures.collect(
        ask.tx, ask.parts, ask.over, "books", period=period, by=["reason", "debit", "credit"],
        where={**filters(ask), "asset": CREDIT},
    )  # fmt: skip


def _credited(one: Row) -> Row:
    """What a group of postings of credits adds to each figure; `kept`: to what customers hold."""
    debit, credit, amount = one["debit"], one["credit"], one["amount"]
    row: Row = {**one, "kept": figures.kept(one)}
    if debit == ISSUED and one["reason"] != GIVEN_BACK:
        row["granted"] = amount
        row["bought" if one["reason"] in BOUGHT else "given"] = amount
    elif ISSUED in (debit, credit):
        row["taken_back"] = amount if credit == ISSUED else -amount
    elif credit == USAGE:
        row["spent"] = amount
    elif debit == USAGE:
        row["refunded"] = amount
    elif BREAKAGE in (debit, credit):
        row["expired"] = amount if credit == BREAKAGE else -amount
    return row


def _burned(ask: Ask, row: Row) -> Row:
    """Per day of the row's period, as far as it lies in the range; none for hours."""
    first, after = ask.over.first_day, ask.over.last_day + timedelta(days=1)
    period = next((p for p in PERIODS if p in row), None)
    if period == "hour":
        return {"burn_rate": None}
    if period is not None:
        begins = row[period]
        after = min(after, begins + timedelta(days=rules.days_in(period, begins)))
        first = max(first, begins)
    return {"burn_rate": rules.ratio(row["spent"] - row["refunded"], (after - first).days, 2)}


# What sold ----------------------------------------------------------------------------------------


def _goods(ask: Ask, period: str | None, dimensions: Sequence[str]) -> list[Row]:
    found = figures.collect(
        ask.tx, ask.parts, ask.over, "goods", period=period,
        by=list(dict.fromkeys([*dimensions, "promo"])), where=filters(ask),
    )  # fmt: skip
    rows = [
        {**one, "given_back": one["refunded"], "captured_usd": one["usd"],
         "credits_sold": one["credits"], "bonus_credits": one["bonus"]}
        for one in found
    ]  # fmt: skip
    return rows


def _packs(ask: Ask, period: str | None, dimensions: Sequence[str]) -> list[Row]:
    made = figure_rows.folded(_goods(ask, period, dimensions), heads_of(period, dimensions))
    return figure_rows.best_first(made, period)


def _promos(ask: Ask, period: str | None, dimensions: Sequence[str]) -> list[Row]:
    """Only what was bought with a code; codes by name."""
    code = ask.where.get("promo")
    plain = replace(ask, where={k: v for k, v in ask.where.items() if k != "promo"})
    names = {str(row["id"]): row["code"] for row in ask.tx.all("select id, code from promos")}
    rows = [{**one, "promo": names.get(one["promo"], one["promo"])}
            for one in _goods(plain, period, dimensions) if one["promo"]]  # fmt: skip
    rows = [one for one in rows if code is None or one["promo"].upper() == code.upper()]
    made = figure_rows.folded(rows, heads_of(period, dimensions))
    return figure_rows.best_first(made, period)


# Customers, risk, refunds -------------------------------------------------------------------------


def _customers(ask: Ask, period: str | None, dimensions: Sequence[str]) -> list[Row]:
    found = figure_rows.customers(
        ask.tx, ask.over, period, "customer" in dimensions, "currency" in dimensions,
        ask.where.get("currency"), ask.limit,
    )  # fmt: skip
    for one in found:
        if "customer" in one:
            one["customer"] = ids.show("customer", one["customer"])
    return found


def _patterns(ask: Ask, row: Row) -> Row:
    paid = row["succeeded"]
    return {
        "average": row["captured"] // paid if paid and row["captured"] is not None else None,
        "returning_customers": row["customers"] - row["new_customers"],
        "payments_per_customer": rules.ratio(paid, row["customers"], 2),
        "days_between": rules.ratio(row["gap_seconds"], row["gaps"] * 86_400, 2),
    }


def _risk(ask: Ask, period: str | None, dimensions: Sequence[str]) -> list[Row]:
    heads = heads_of(period, dimensions)
    weighed = figure_rows.assessments(ask.tx, ask.over, period)
    disputed = figure_rows.disputes(ask.tx, ask.over, period)
    paid = _payments(replace(ask, where={}), period, ["currency"])
    rows = [one for one in (*weighed, *disputed, *paid)
            if ask.where.get("currency") in (None, one["currency"])]  # fmt: skip
    kept = ("currency", *((period,) if period else ()), *figure_rows.RISK)
    return figure_rows.folded(
        [{name: one[name] for name in kept if name in one} for one in rows], heads
    )


def _disputed(ask: Ask, row: Row) -> Row:
    return {"dispute_rate": rules.ratio(row["disputes_opened"], row["succeeded"])}


def _refunds(ask: Ask, period: str | None, dimensions: Sequence[str]) -> list[Row]:
    rows = figure_rows.refunds(ask.tx, ask.over, period)
    for name, value in ask.where.items():
        rows = [one for one in rows if one[name] == value]
    return figure_rows.folded(rows, heads_of(period, dimensions))


KINDS: dict[str, tuple[Build, Derive]] = {
    "payments": (_payments, _rates),
    "methods": (_methods, _rates),
    "revenue": (_revenue, _net),
    "credits": (_credits, _burned),
    "packs": (_packs, nothing),
    "promos": (_promos, nothing),
    "customers": (_customers, _patterns),
    "risk": (_risk, _disputed),
    "refunds": (_refunds, nothing),
    "forecast": (_forecast, nothing),
}
