"""Reports: figures of a range of time, by whatever is asked, with their totals and definitions.

Every figure is named and defined in `rules/figure_names.py`; nothing decides by what is read here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, cast

from paydesk.errors import InvalidRequest
from paydesk.flows import figure_parts, figure_plans, figure_rows, figure_sales
from paydesk.flows.figure_asks import Ask, Build, Derive
from paydesk.flows.figure_statements import Heard, Statement
from paydesk.flows.figures import Row
from paydesk.rules import figures as rules
from paydesk.rules.figure_names import FIGURES, REPORTS
from paydesk.rules.figures import Range

if TYPE_CHECKING:
    from paydesk.db.postgres import Tx
    from paydesk.env import Env


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
        step = period or ("month" if kind == "forecast" else None)
        parts = figure_parts.raw(over) if recount else figure_parts.parts_of(tx, over, step)
        ask = Ask(tx, over, parts, told, limit, recount, now, periods or rules.FORECAST_PERIODS,
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
    ask: Ask, build: Build, kind: str, found: list[Row], heads: tuple[str, ...]
) -> list[Row]:
    """The rows anew with these heads only; counted again where parts do not add up."""
    if kind in _COUNTED_AGAIN:
        return build(ask, None, heads)
    return figure_rows.folded(found, heads)


def _row(derive: Derive, ask: Ask, heads: Sequence[str], columns: Sequence[str], one: Row) -> Row:
    whole = {**one, **derive(ask, one)}
    return {name: whole.get(name) for name in (*heads, *columns)}


#: Reports whose totals are not the sums of their rows.
_COUNTED_AGAIN = frozenset({"customers", "credits", "mrr", "churn", "cohorts",
                            "subscriptions"})  # fmt: skip

_KINDS: dict[str, tuple[Build, Derive]] = {**figure_sales.KINDS, **figure_plans.KINDS}
