"""Writes docs/figures.md from the definitions of figures and reports; `--check` compares."""

# ruff: noqa: E501

from __future__ import annotations

import argparse
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "figures.md"

HEAD = """# Figures

What every figure of a report counts. This page is made by `tools/figures_page.py` from the definitions that the reports themselves use; a test counts each of them again from the raw rows of random histories.

## Asking

By HTTP `GET /v1/reports/revenue?from=2026-01-01&to=2026-01-31&by=week,method`, with `format=csv` for a spreadsheet; `GET /v1/reports/definitions` is this page as JSON. On the command line `paydesk report revenue --last 12w --by week --chart`. In Python:

```python
from paydesk import Paydesk

with Paydesk() as pay:
    daily = pay.analytics.revenue(last="30d", by="day", currency="usd")
    assert daily.columns[:3] == ("day", "currency", "gross")
    print(daily)
    print(daily.explain())
```

`daily.rows` are dictionaries; `to_pandas()` and `to_polars()` make data frames where those are installed.

- **Range.** `from` and `to` are days, `to` counted whole, or instants, at which the range ends. `last` is 24h, 30d, 12w, 6mo or 2y up to now. With nothing, 30 days.
- **Time zone.** Days are those of `PAYDESK_TIME_ZONE`, or of `tz`. A day on which the clocks change has 23 or 25 hours; where they skip midnight it begins when they do.
- **Amounts.** Whole minor units of the row's currency, never added across currencies. As CSV they are exact decimals. Figures that end in `_usd` are US cents at the rate that was stored with each payment; `unrated` says how many payments had none.
- **Days and months are kept.** A day that has ended is counted once and kept, and counted anew when a late refund or dispute changes it; a month is added up from its days. What is not kept, such as today, is counted from the rows, so that a report is exact at the instant it is read. A range in another time zone takes the days and months that lie wholly in one of its periods and counts the hours at the edges; by day or hour it is counted from the rows wherever the two midnights differ. `behind` names how many customers' last changes of earlier days are not counted yet; it is 0 but after an outage of the worker.
- **Proof.** `paydesk doctor` counts every kept day again and compares it with the rows, and the sums with the days. `paydesk report rebuild` makes all of them anew.
- **The SQL.** `daily.explain()`, `paydesk report revenue --explain` and `?explain=1` (as `statements`) tell what each figure counts and the very statements that this report ran, in order and with their values; anybody can run them with `psql`. What they answer is grouped and added up as the definitions say. A test runs them again for every report and compares.

## Forecast

`GET /v1/reports/forecast?by=month&periods=6`, `paydesk report forecast --by week --periods 8 --chart`, `pay.analytics.forecast(by="day", periods=14)`. It says what net revenue the next periods bring if things go on as they did, the current, unfinished period among them:

1. The history is net revenue by whole month, week or day of the range (48 months, 156 weeks or 182 days where none is named), for each currency by itself, from the first period with revenue on. A range that ended in the past says what would have been said then.
2. With two seasons of history or more (a season is 12 months, 52 weeks or 7 days) a period is expected to bring what the same one brought a season before, plus the mean change from the last season but one to the last, for each season between.
3. With less, every period is expected to bring the mean of the last season's periods, or of as many as there are. With fewer than three there is no forecast.
4. The same rule is asked for each past period with what was known just before it. Four fifths of those answers were wrong by no more than some amount; `low` and `high` lie that far from `expected`, times the square root of how many periods ahead it is. With fewer than four such answers there is no range.

All of it is whole minor units, halves rounded upwards, so that the same rows always give the same forecast. It knows nothing of prices to come, campaigns or holidays that move.

## Subscriptions

`GET /v1/reports/mrr?by=month`, `paydesk report churn --last 12mo --chart`, and in Python:

```python
with Paydesk() as pay:
    monthly = pay.analytics.mrr(last="12mo", currency="usd")
    assert monthly.columns[2:4] == ("mrr_opening", "mrr_new")
    pay.analytics.churn(by="month")
    pay.analytics.trials(by="month,plan")
    pay.analytics.subscriptions(by="plan,status")
    left = pay.analytics.cohorts(by="month", last="12mo")
    assert left.columns[:3] == ("month", "currency", "age")
    everywhere = pay.analytics.mrr(together=True)
    assert everywhere.columns[0] == "month"
```

What each subscription is, and brings in a month, is kept in `subscription_history`: a row whenever its state, plan, seats or price change, written with the change itself and never altered. So a report of a past month says today what it said then, and opening + new + expansion + reactivation - contraction - churned is always the closing, in every period and over any number of them.

- **A month** is the twelfth part of a year, whatever its length: a yearly price counts 1/12, one by the week 52/12, one by the day 365/12, and one for every n of them the n-th part. It is rounded half up to the minor unit once, for each subscription with all its seats.
- **What counts**: `active` and `past_due`, from the first paid invoice on (one that asked for nothing is paid). Not `incomplete`, `trialing`, `paused`, `unpaid` and what has ended. A trial's first charge that fails leaves it `past_due`, and it counts when it is paid. One that Stripe bills counts from when Stripe calls it active; of its codes only those for ever are taken off.
- **Price**: that which was agreed on, less a code for ever, or for so many periods while they last; a code for the first period takes nothing off. Taxes that come on top are not in it, those that a price includes are.
- **Changes are a customer's**, over all subscriptions in one currency, at the instant they happen: whoever cancels a plan and keeps another contracts, whoever pauses is churned, and back when it is resumed. Someone who leaves and comes back within a month is in both figures of that month. What waits for the period's end counts from there.
- **Currencies** are never added: each has its rows, and a customer who pays in two counts in both.
- **In US dollars** each row of `mrr` and `cohorts` says the same with `_usd`, at the stored rate that was known at that instant: the opening at that of the period's beginning, the rest at that of its end, or of now. So one period's closing is the next one's opening, and `mrr_rates_usd` is what exchange rates alone made of it. Where none of the last `PAYDESK_RATE_MAX_AGE_DAYS` was known the figure is empty and `mrr_unrated` counts. `together` (`?together=true`, `--together`, `together=True`) has one row for all currencies, with these figures only. A rate that is entered late for an earlier day changes what is told of it.
- **Trials** are counted where they began: a month's row goes on changing until the last of them is decided.

`paydesk doctor` reckons every subscription's price a month again, and every change from the rows before it.

### Cohorts

`GET /v1/reports/cohorts?by=month`, `paydesk report cohorts --chart` (a heat map of shades and percent), the dashboard's Reports, `pay.analytics.cohorts()`. A row is a cohort (the first day of its week, month or year in the business's time zone), a currency and an `age` in periods: 0 is the cohort's own, and each is told up to the range's end, or to now, so the last one may be unfinished. The range says whose first payment counts; totals are all of them as they stand when it ends.

- A **customer** is in one cohort of a currency for good: that of the first recurring revenue in it. Trials that never pay, and free plans, are in none. A refund changes nothing, since the subscription goes on; its end does.
- Whoever **comes back** is kept again in the first cohort; more seats or a dearer plan raise what is kept, so `net_revenue_retention` may be above 1. Whoever goes over to another **currency** is lost to one cohort and new in another.
- Over all cohorts, what is kept at a month's end is `customers_closing` and `mrr_closing` of that month, where the range begins early enough; in US dollars but for the cents that each row rounds.

### Beside other tools

What differs from how others publish that they count (as read when this was written; theirs may change):

| what | here | elsewhere |
|---|---|---|
| what counts as recurring | active and past due, paid for at least once, without trials, free plans and added taxes | Stripe: the same states, without metered prices too. ChartMogul: what is past due is a setting |
| codes | for ever, and for so many periods while they last | Stripe: by default those for ever alone |
| pause | churned, and back when it is resumed | a tool that bills nothing in a pause may keep the customer as active |
| when a cancellation counts | when the subscription ends | ChartMogul: the same by default; at the end of what was paid for, or when it is scheduled, by choice |
| a plan that costs nothing | churned | ChartMogul: active by default |
| customer churn | left / those who were there at the beginning; who came and left in one period is in the first figure only | Stripe and Baremetrics divide what left in 30 days with those who came in them counted in |
| net revenue churn | expansion and reactivation are taken off | Baremetrics published it with expansion alone |
| trial conversion | of the trials that began in the period, those decided by now | Stripe: of a rolling 30 days. Baremetrics: conversions and new trials of the same time |
| exchange rates | a movement of its own, `mrr_rates_usd`; currencies are never added otherwise | Stripe: one currency, with the rates' effect as an item of its growth |
| cohorts | customers by the first payment; revenue against what they came with | ChartMogul: by the start of the first subscription |

## Reports
"""


def page() -> str:
    """The whole page."""
    from paydesk.rules.figure_names import FIGURES, REPORTS

    parts = [HEAD]
    for name, one in REPORTS.items():
        by = ", ".join(f"`{d}`" for d in one.dimensions)
        figures = ", ".join(f"`{f}`" for f in one.figures)
        parts.append(f"\n### {name}\n{one.about}\n\nBy {by}. Figures: {figures}.\n")
    parts.append("\n## Definitions\n\n| Figure | Unit | What it counts | From |\n|---|---|---|---|\n")
    parts += [f"| `{name}` | {one.unit} | {one.definition} | {one.source} |\n"
              for name, one in FIGURES.items()]  # fmt: skip
    return "".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when the page is not current")
    text = page()
    if parser.parse_args().check:
        is_current = PAGE.exists() and PAGE.read_text(encoding="utf-8") == text
        print("current" if is_current else "not current: run figures_page.py")
        return 0 if is_current else 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
