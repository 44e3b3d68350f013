"""Reports: figures of a range of time, by whatever is asked, with their totals and definitions.

Every figure is named and defined in `rules/figure_names.py`; nothing decides by what is read here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from paydesk import ids
from paydesk.errors import InvalidRequest
from paydesk.flows import (
    figure_cohorts,
    figure_dollars,
    figure_parts,
    figure_recurring,
    figure_rows,
    figures,
)
from paydesk.flows.figure_parts import Parts
from paydesk.flows.figure_statements import Heard, Statement
from paydesk.flows.figures import Row
from paydesk.rules import figures as rules
from paydesk.rules.figure_names import FIGURES, PERIODS, REPORTS
from paydesk.rules.figures import Range
from paydesk.rules.forecast import SEASONS, forecast
from paydesk.rules.ledger import CODES, CREDIT
from paydesk.tracker.models import PAID_STATES

if TYPE_CHECKING:
    from paydesk.db.postgres import Tx
    from paydesk.env import Env

CLEARING, REVENUE = CODES["clearing"], CODES["revenue"]
ISSUED, USAGE, BREAKAGE = CODES["issued"], CODES["usage"], CODES["breakage"]
BOUGHT = ("CREDIT_PURCHASE", "MEMBERSHIP_PAYMENT")
GIVEN_BACK = "CREDIT_CLAWBACK_REVERSAL"


@dataclass(frozen=True, slots=True)
class Report:
    """Figures in rows. A row has a member for each of `by`, then for each of `columns`.

    Amounts are minor units of the row's currency, `…_usd` US cents. `totals` has a row for each
    currency, `total` what adds up across them. `as_of`: when it was read. `behind`: customers
    whose last changes of earlier days are not in it yet; 0 nearly always. `statements`: what was
    asked of the database, in order.
    """

    kind: str
    over: Range
    by: tuple[str, ...]
    columns: tuple[str, ...]
    rows: list[Row]
    totals: list[Row]
    total: Row
    as_of: datetime
    behind: int
    statements: tuple[Statement, ...] = field(default=(), repr=False, compare=False)

    def explain(self) -> str:
        """What each figure counts and where from, and the SQL that was run for this very report,
        with its values, as anybody may run it again."""
        width = max(len(name) for name in self.columns)
        lines = [REPORTS[self.kind].about, ""]
        lines += [
            f"{name.ljust(width)}  {FIGURES[name].definition} [{FIGURES[name].unit};"
            f" {FIGURES[name].source}]"
            for name in self.columns
        ]
        lines += ["", f"-- Read at {self.as_of.isoformat()}, in one snapshot, by:"]
        lines += [f"\n{one.text};" for one in self.statements]
        return "\n".join(lines)

    def exact(self, row: Row) -> Row:
        """A row with its amounts as exact decimals of major units."""
        currency = row.get("currency")
        found = dict(row)
        for name in self.columns:
            unit, value = FIGURES[name].unit, row.get(name)
            if value is None:
                continue
            if unit == "money" and currency:
                found[name] = Decimal(rules.decimal_text(value, currency))
            elif unit == "usd":
                found[name] = Decimal(rules.decimal_text(value, "usd"))
        return found

    def csv(self) -> str:
        """A header line, then the rows with exact decimals; safe to open in a spreadsheet."""
        return rules.csv_text((*self.by, *self.columns), [self.exact(row) for row in self.rows])


@dataclass(frozen=True, slots=True)
class _Ask:
    """What the builders of rows need."""

    tx: Tx
    over: Range
    parts: Parts
    where: Mapping[str, Any]
    limit: int
    recount: bool
    now: datetime
    periods: int
    period: str | None
    max_age_days: int
    together: bool
    #: What was read already for other heads of the same report.
    memo: dict[str, list[Row]] = field(default_factory=dict)


def report(
    env: Env,
    kind: str,
    *,
    start: str | date | datetime | None = None,
    end: str | date | datetime | None = None,
    last: str | None = None,
    time_zone: str | None = None,
    by: str | Sequence[str] | None = None,
    where: Mapping[str, str | None] | None = None,
    limit: int = 100,
    periods: int | None = None,
    recount: bool = False,
    together: bool = False,
) -> Report:
    """A report of `REPORTS`. Without a range the last 30 days (12 months of recurring revenue,
    churn and trials), in the business's time zone.

    `where`: only rows of this currency, method, provider, country, purpose or plan. `limit`: the
    most customers that a report by customer names. `periods`: how many to forecast. `recount`:
    from the raw rows alone, whatever is counted already; it says the same and takes longer.
    `together`: recurring revenue and cohorts of all currencies, in US dollars.
    Raises InvalidRequest.
    """
    assert kind in REPORTS, f"{kind!r} is no report"
    now = env.now()
    period, dimensions = rules.grouping(kind, by, together=together)
    if kind == "forecast" and start is None and end is None:
        last = last or rules.FORECAST_RANGES[period or "month"]
    elif start is None and end is None:
        last = last or rules.RANGES.get(kind)
    if periods is not None and (kind != "forecast" or not 1 <= periods <= rules.MOST_FORECAST):
        raise InvalidRequest(
            f"A forecast takes 1 to {rules.MOST_FORECAST} periods, other reports none.",
            param="periods",
        )
    over = rules.range_of(start, end, last, now, time_zone or env.settings.time_zone)
    told = {name: value for name, value in (where or {}).items() if value is not None}
    for name in told:
        if name not in REPORTS[kind].dimensions:
            raise InvalidRequest(f"{kind} has no filter {name[:40]!r}.", param=name)
    build, derive = _KINDS[kind]
    with env.db.snapshot() as snapshot:
        heard = Heard(snapshot)
        tx = cast("Tx", heard)
        parts = figure_parts.raw(over) if recount else figure_parts.parts_of(
            tx, over, period or ("month" if kind == "forecast" else None)
        )
        ask = _Ask(tx, over, parts, told, limit, recount, now, periods or rules.FORECAST_PERIODS,
                   period, env.settings.rate_max_age_days, together)  # fmt: skip
        heads = ((period,) if period else ()) + dimensions
        found = build(ask, period, dimensions)
        if len(found) > rules.MAX_ROWS:
            raise InvalidRequest(f"More than {rules.MAX_ROWS:,} rows; ask for less.", param="by")
        columns = figure_rows.columns_of(kind, heads)
        rows = [_row(derive, ask, heads, columns, one) for one in found]
        by_currency = ("currency",) if REPORTS[kind].has_currency else ()
        sums = _again(ask, build, kind, found, by_currency)
        totals = [_row(derive, ask, by_currency, columns, one) for one in sums]
        alls = _again(ask, build, kind, found, ()) if by_currency else sums
        plain = tuple(n for n in columns if FIGURES[n].unit != "money" or not by_currency)
        total = _row(derive, ask, (), columns, alls[0]) if alls else {}
    return Report(
        kind, over, heads, columns, rows, totals if by_currency else [],
        {name: total.get(name) for name in plain}, now, ask.parts.behind,
        tuple(heard.statements),
    )  # fmt: skip


def _again(
    ask: _Ask, build: Build, kind: str, found: list[Row], heads: tuple[str, ...]
) -> list[Row]:
    """The rows anew with these heads only; counted again where parts do not add up."""
    if kind in _COUNTED_AGAIN:
        return build(ask, None, heads)
    return figure_rows.folded(found, heads)


def _row(
    derive: Derive, ask: _Ask, heads: Sequence[str], columns: Sequence[str], one: Row
) -> Row:
    whole = {**one, **derive(ask, one)}
    return {name: whole.get(name) for name in (*heads, *columns)}


# Payments and methods -----------------------------------------------------------------------------

Build = Callable[[_Ask, "str | None", Sequence[str]], list[Row]]
Derive = Callable[[_Ask, Row], Row]


def _where(ask: _Ask, names: Mapping[str, str] | None = None) -> dict[str, Any]:
    named = {"status": "state", **(names or {})}
    return {named.get(name, name): value for name, value in ask.where.items()
            if name not in PERIODS}  # fmt: skip


def _payments(ask: _Ask, period: str | None, dimensions: Sequence[str]) -> list[Row]:
    named = ["state" if d == "status" else d for d in dimensions]
    by = list(dict.fromkeys([*named, "state"]))
    found = figures.collect(ask.tx, ask.parts, ask.over, "payments", period=period, by=by,
                            where=_where(ask))  # fmt: skip
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
    return figure_rows.folded(rows, _heads(period, dimensions))


def _heads(period: str | None, dimensions: Sequence[str]) -> tuple[str, ...]:
    return ((period,) if period else ()) + tuple(dimensions)


def _rates(ask: _Ask, row: Row) -> Row:
    settled = row["succeeded"] + row["failed"]
    return {
        "success_rate": rules.ratio(row["succeeded"], settled),
        "failure_rate": rules.ratio(row["failed"], settled),
        "average": row["captured"] // row["succeeded"] if row["succeeded"] else None,
    }


def _methods(ask: _Ask, period: str | None, dimensions: Sequence[str]) -> list[Row]:
    """Payments, and the tries beside them."""
    by = list(dict.fromkeys([*dimensions, "state"]))
    tries = figures.collect(ask.tx, ask.parts, ask.over, "attempts", period=period, by=by,
                            where=_where(ask))  # fmt: skip
    rows = [{**one, "declined": one["attempts"] if one["state"] == "failed" else 0}
            for one in tries]  # fmt: skip
    return figure_rows.folded([*_payments(ask, period, dimensions), *rows],
                              _heads(period, dimensions))  # fmt: skip


# Revenue ------------------------------------------------------------------------------------------


def _revenue(ask: _Ask, period: str | None, dimensions: Sequence[str]) -> list[Row]:
    by = ["asset" if d == "currency" else d for d in dimensions]
    by = list(dict.fromkeys([*by, "asset", "reason", "debit", "credit"]))
    found = figures.collect(ask.tx, ask.parts, ask.over, "books", period=period, by=by,
                            where=_where(ask, {"currency": "asset"}))  # fmt: skip
    rows = [{**one, "currency": one["asset"], **_moved(one)}
            for one in found if one["asset"] != CREDIT]  # fmt: skip
    counted = [
        {name: one[name] for name in (*_heads(period, dimensions), "succeeded", "failed")}
        for one in _payments(ask, period, dimensions)
    ]
    made = figure_rows.folded([*rows, *counted], _heads(period, dimensions))
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


def _net(ask: _Ask, row: Row) -> Row:
    return {
        "net": row["gross"] - row["refunds"] - row["disputes"] - row["fees"],
        "net_usd": row["gross_usd"] - row["refunds_usd"] - row["disputes_usd"] - row["fees_usd"],
        "success_rate": rules.ratio(row["succeeded"], row["succeeded"] + row["failed"]),
    }


def _forecast(ask: _Ask, period: str | None, dimensions: Sequence[str]) -> list[Row]:
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


def _credits(ask: _Ask, period: str | None, dimensions: Sequence[str]) -> list[Row]:
    by_reason = "reason" in dimensions or "reason" in ask.where
    found = _credit_rows(ask, period)
    rows = figure_rows.folded([_credited(one) for one in found], _heads(period, dimensions))
    if by_reason:
        return [{**one, "outstanding": None} for one in rows]
    balance = figures.credits_held(
        ask.tx, ask.over.start, ask.over.time_zone, recount=ask.recount
    )
    if not rows and period is None:
        rows = [dict.fromkeys((*figure_rows.SUMMED, "kept"), 0)]
    made = []
    for one in rows:
        balance += one["kept"]
        made.append({**one, "outstanding": balance})
    return made


def _credit_rows(ask: _Ask, period: str | None) -> list[Row]:
    return figures.collect(
        ask.tx, ask.parts, ask.over, "books", period=period, by=["reason", "debit", "credit"],
        where={**_where(ask), "asset": CREDIT},
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


def _burned(ask: _Ask, row: Row) -> Row:
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


def _goods(ask: _Ask, period: str | None, dimensions: Sequence[str]) -> list[Row]:
    found = figures.collect(
        ask.tx, ask.parts, ask.over, "goods", period=period,
        by=list(dict.fromkeys([*dimensions, "promo"])), where=_where(ask),
    )  # fmt: skip
    rows = [
        {**one, "given_back": one["refunded"], "captured_usd": one["usd"],
         "credits_sold": one["credits"], "bonus_credits": one["bonus"]}
        for one in found
    ]  # fmt: skip
    return rows


def _packs(ask: _Ask, period: str | None, dimensions: Sequence[str]) -> list[Row]:
    made = figure_rows.folded(_goods(ask, period, dimensions), _heads(period, dimensions))
    return figure_rows.best_first(made, period)


def _promos(ask: _Ask, period: str | None, dimensions: Sequence[str]) -> list[Row]:
    """Only what was bought with a code; codes by name."""
    code = ask.where.get("promo")
    plain = replace(ask, where={k: v for k, v in ask.where.items() if k != "promo"})
    names = {str(row["id"]): row["code"] for row in ask.tx.all("select id, code from promos")}
    rows = [{**one, "promo": names.get(one["promo"], one["promo"])}
            for one in _goods(plain, period, dimensions) if one["promo"]]  # fmt: skip
    rows = [one for one in rows if code is None or one["promo"].upper() == code.upper()]
    made = figure_rows.folded(rows, _heads(period, dimensions))
    return figure_rows.best_first(made, period)


# Customers, risk, refunds -------------------------------------------------------------------------


def _customers(ask: _Ask, period: str | None, dimensions: Sequence[str]) -> list[Row]:
    found = figure_rows.customers(
        ask.tx, ask.over, period, "customer" in dimensions, "currency" in dimensions,
        ask.where.get("currency"), ask.limit,
    )  # fmt: skip
    for one in found:
        if "customer" in one:
            one["customer"] = ids.show("customer", one["customer"])
    return found


def _patterns(ask: _Ask, row: Row) -> Row:
    paid = row["succeeded"]
    return {
        "average": row["captured"] // paid if paid and row["captured"] is not None else None,
        "returning_customers": row["customers"] - row["new_customers"],
        "payments_per_customer": rules.ratio(paid, row["customers"], 2),
        "days_between": rules.ratio(row["gap_seconds"], row["gaps"] * 86_400, 2),
    }


def _risk(ask: _Ask, period: str | None, dimensions: Sequence[str]) -> list[Row]:
    heads = _heads(period, dimensions)
    weighed = figure_rows.assessments(ask.tx, ask.over, period)
    disputed = figure_rows.disputes(ask.tx, ask.over, period)
    paid = _payments(replace(ask, where={}), period, ["currency"])
    rows = [one for one in (*weighed, *disputed, *paid)
            if ask.where.get("currency") in (None, one["currency"])]  # fmt: skip
    kept = ("currency", *((period,) if period else ()), *figure_rows.RISK)
    return figure_rows.folded(
        [{name: one[name] for name in kept if name in one} for one in rows], heads
    )


def _disputed(ask: _Ask, row: Row) -> Row:
    return {"dispute_rate": rules.ratio(row["disputes_opened"], row["succeeded"])}


def _refunds(ask: _Ask, period: str | None, dimensions: Sequence[str]) -> list[Row]:
    rows = figure_rows.refunds(ask.tx, ask.over, period)
    for name, value in ask.where.items():
        rows = [one for one in rows if one[name] == value]
    return figure_rows.folded(rows, _heads(period, dimensions))


# Subscriptions ------------------------------------------------------------------------------------


def _moves(ask: _Ask, period: str | None) -> list[Row]:
    """Recurring revenue and its changes; what was read for the rows serves the totals too."""
    if "moved" not in ask.memo:
        ask.memo["moved"] = figure_recurring.moved(
            ask.tx, ask.over, ask.period, ask.where.get("currency")
        )
    return figure_recurring.movements(ask.memo["moved"], ask.over, period, ask.now)


def _mrr(ask: _Ask, period: str | None, dimensions: Sequence[str]) -> list[Row]:
    made = _moves(ask, period)
    figure_dollars.rate_movements(ask.tx, made, ask.over, period, ask.now, ask.max_age_days)
    return _by(made, period, dimensions)


def _churn(ask: _Ask, period: str | None, dimensions: Sequence[str]) -> list[Row]:
    return _by(_moves(ask, period), period, dimensions)


def _by(made: list[Row], period: str | None, dimensions: Sequence[str]) -> list[Row]:
    """Rows of movements by period and currency, or by period alone."""
    for one in made:
        one[period or ""] = one["bucket"]
    heads = _heads(period, dimensions)
    if "currency" not in dimensions:
        return figure_dollars.together(made, heads)
    return sorted(made, key=lambda one: [one[h] for h in heads])


def _churned(ask: _Ask, row: Row) -> Row:
    rate = {"customer_churn": rules.ratio(row["customers_churned"], row["customers_opening"])}
    if row["mrr_opening"] is None:  # Of several currencies.
        return rate
    lost = row["mrr_churned"] + row["mrr_contraction"]
    won = row["mrr_expansion"] + row["mrr_reactivation"]
    return {
        **rate, "revenue_churn": rules.ratio(lost, row["mrr_opening"]),
        "net_revenue_churn": rules.ratio(lost - won, row["mrr_opening"]),
    }  # fmt: skip


def _cohorts(ask: _Ask, period: str | None, dimensions: Sequence[str]) -> list[Row]:
    """Without an age, all cohorts as they stand when the range ends."""
    assert ask.period is not None
    if "cohorts" not in ask.memo:
        ask.memo["cohorts"] = figure_cohorts.cohorts(
            ask.tx, ask.over, ask.period, ask.where.get("currency"), ask.now, ask.max_age_days
        )
    rows, heads = ask.memo["cohorts"], _heads(period, dimensions)
    if "age" not in dimensions:
        rows = figure_cohorts.last_ones(rows)
    if "currency" not in dimensions:
        return figure_dollars.together(rows, heads)
    return sorted(rows, key=lambda one: [one[h] for h in heads])


def _retained(ask: _Ask, row: Row) -> Row:
    worth = row["cohort_mrr"] is not None
    return {
        "customer_retention": rules.ratio(row["customers_kept"], row["cohort_customers"]),
        "net_revenue_retention":
            rules.ratio(row["mrr_kept"], row["cohort_mrr"]) if worth else None,
        "net_revenue_retention_usd":
            rules.ratio(row["mrr_kept_usd"], row["cohort_mrr_usd"])
            if not row["mrr_unrated"] else None,
    }  # fmt: skip


def _trials(ask: _Ask, period: str | None, dimensions: Sequence[str]) -> list[Row]:
    rows = figure_recurring.trials(ask.tx, ask.over, period, ask.where.get("plan"))
    return figure_rows.folded(rows, _heads(period, dimensions))


def _converted(ask: _Ask, row: Row) -> Row:
    won, lost = row["trials_converted"], row["trials_lost"]
    return {"trial_conversion": rules.ratio(won, won + lost)}


def _standing(ask: _Ask, period: str | None, dimensions: Sequence[str]) -> list[Row]:
    return figure_recurring.standing(ask.tx, ask.over, period, dimensions, ask.where, ask.now)


def _nothing(ask: _Ask, row: Row) -> Row:
    return {}


#: Reports whose totals are not the sums of their rows.
_COUNTED_AGAIN = frozenset({"customers", "credits", "mrr", "churn", "cohorts",
                            "subscriptions"})  # fmt: skip


_KINDS: dict[str, tuple[Build, Derive]] = {
    "payments": (_payments, _rates),
    "methods": (_methods, _rates),
    "revenue": (_revenue, _net),
    "credits": (_credits, _burned),
    "packs": (_packs, _nothing),
    "promos": (_promos, _nothing),
    "customers": (_customers, _patterns),
    "risk": (_risk, _disputed),
    "refunds": (_refunds, _nothing),
    "forecast": (_forecast, _nothing),
    "mrr": (_mrr, _nothing),
    "churn": (_churn, _churned),
    "cohorts": (_cohorts, _retained),
    "trials": (_trials, _converted),
    "subscriptions": (_standing, _nothing),
}
