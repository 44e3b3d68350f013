"""Reports of subscriptions: recurring revenue, churn, cohorts, trials, and how they stand."""

from __future__ import annotations

from collections.abc import Sequence

from paydesk.flows import figure_cohorts, figure_dollars, figure_recurring, figure_rows
from paydesk.flows.figure_asks import Ask, Build, Derive, heads_of, nothing
from paydesk.flows.figures import Row
from paydesk.rules import figures as rules


def _moves(ask: Ask, period: str | None) -> list[Row]:
    """Recurring revenue and its changes; what was read for the rows serves the totals too."""
    if "moved" not in ask.memo:
        ask.memo["moved"] = figure_recurring.moved(
            ask.tx, ask.over, ask.period, ask.where.get("currency")
        )
    return figure_recurring.movements(ask.memo["moved"], ask.over, period, ask.now)


def _mrr(ask: Ask, period: str | None, dimensions: Sequence[str]) -> list[Row]:
    made = _moves(ask, period)
    figure_dollars.rate_movements(ask.tx, made, ask.over, period, ask.now, ask.max_age_days)
    return _by(made, period, dimensions)


def _churn(ask: Ask, period: str | None, dimensions: Sequence[str]) -> list[Row]:
    return _by(_moves(ask, period), period, dimensions)


def _by(made: list[Row], period: str | None, dimensions: Sequence[str]) -> list[Row]:
    """Rows of movements by period and currency, or by period alone."""
    for one in made:
        one[period or ""] = one["bucket"]
    heads = heads_of(period, dimensions)
    if "currency" not in dimensions:
        return figure_dollars.together(made, heads)
    return sorted(made, key=lambda one: [one[h] for h in heads])


def _churned(ask: Ask, row: Row) -> Row:
    rate = {"customer_churn": rules.ratio(row["customers_churned"], row["customers_opening"])}
    if row["mrr_opening"] is None:  # Of several currencies.
        return rate
    lost = row["mrr_churned"] + row["mrr_contraction"]
    won = row["mrr_expansion"] + row["mrr_reactivation"]
    return {
        **rate, "revenue_churn": rules.ratio(lost, row["mrr_opening"]),
        "net_revenue_churn": rules.ratio(lost - won, row["mrr_opening"]),
    }  # fmt: skip


def _cohorts(ask: Ask, period: str | None, dimensions: Sequence[str]) -> list[Row]:
    """Without an age, all cohorts as they stand when the range ends."""
    assert ask.period is not None
    if "cohorts" not in ask.memo:
        ask.memo["cohorts"] = figure_cohorts.cohorts(
            ask.tx, ask.over, ask.period, ask.where.get("currency"), ask.now, ask.max_age_days
        )
    rows, heads = ask.memo["cohorts"], heads_of(period, dimensions)
    if "age" not in dimensions:
        rows = figure_cohorts.last_ones(rows)
    if "currency" not in dimensions:
        return figure_dollars.together(rows, heads)
    return sorted(rows, key=lambda one: [one[h] for h in heads])


def _retained(ask: Ask, row: Row) -> Row:
    worth = row["cohort_mrr"] is not None
    return {
        "customer_retention": rules.ratio(row["customers_kept"], row["cohort_customers"]),
        "net_revenue_retention":
            rules.ratio(row["mrr_kept"], row["cohort_mrr"]) if worth else None,
        "net_revenue_retention_usd":
            rules.ratio(row["mrr_kept_usd"], row["cohort_mrr_usd"])
            if not row["mrr_unrated"] else None,
    }  # fmt: skip


def _trials(ask: Ask, period: str | None, dimensions: Sequence[str]) -> list[Row]:
    rows = figure_recurring.trials(ask.tx, ask.over, period, ask.where.get("plan"))
    return figure_rows.folded(rows, heads_of(period, dimensions))


def _converted(ask: Ask, row: Row) -> Row:
    won, lost = row["trials_converted"], row["trials_lost"]
    return {"trial_conversion": rules.ratio(won, won + lost)}


def _standing(ask: Ask, period: str | None, dimensions: Sequence[str]) -> list[Row]:
    return figure_recurring.standing(ask.tx, ask.over, period, dimensions, ask.where, ask.now)


KINDS: dict[str, tuple[Build, Derive]] = {
    "mrr": (_mrr, nothing),
    "churn": (_churn, _churned),
    "cohorts": (_cohorts, _retained),
    "trials": (_trials, _converted),
    "subscriptions": (_standing, nothing),
}
