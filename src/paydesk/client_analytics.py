"""The library's front for figures: `pay.analytics`, whose answers are small tables."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

from paydesk.client_parts import _Part
from paydesk.errors import InvalidRequest, Misconfigured
from paydesk.flows import attention, figure_reports
from paydesk.flows.figure_reports import Report
from paydesk.rules.figure_names import PERIODS, REPORTS

#: A day (`2026-01-31`), an instant, or its text.
When = str | date | datetime
#: Rows that are shown in a terminal or a notebook.
_SHOWN = 50


class Frame:
    """A report's rows as a table. Amounts are whole minor units, or Decimals of major units
    where `money="decimal"` was asked for; never floats.

    Rows are dictionaries: `frame.rows`, `for row in frame`, `frame[0]`.
    """

    def __init__(self, report: Report, money: str = "minor") -> None:
        if money not in ("minor", "decimal"):
            raise InvalidRequest('money is "minor" or "decimal".', param="money")
        self.report = report
        self.columns: tuple[str, ...] = (*report.by, *report.columns)
        exact = report.exact if money == "decimal" else dict
        self.rows: list[dict[str, Any]] = [exact(row) for row in report.rows]
        self.totals: list[dict[str, Any]] = [exact(row) for row in report.totals]
        self.total: dict[str, Any] = exact(report.total)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows[index]

    def to_pandas(self) -> Any:
        """A pandas.DataFrame; a period is its index. Raises Misconfigured without pandas."""
        try:
            import pandas
        except ImportError:
            raise _missing("pandas") from None
        frame = pandas.DataFrame(self.rows, columns=list(self.columns))
        period = self.columns[0] if self.columns[0] in PERIODS else None
        if period is None:
            return frame
        frame[period] = pandas.to_datetime(frame[period])
        return frame.set_index(period)

    def to_polars(self) -> Any:
        """A polars.DataFrame. Raises Misconfigured without polars."""
        try:
            import polars
        except ImportError:
            raise _missing("polars") from None
        columns = {name: [row.get(name) for row in self.rows] for name in self.columns}
        return polars.DataFrame(columns, strict=False)

    def to_csv(self, path: str | Path | None = None) -> str:
        """The rows with exact decimals and a header line; written to `path` where one is given."""
        text = self.report.csv()
        if path is not None:
            Path(path).write_text(text, encoding="utf-8", newline="")
        return text

    def explain(self) -> str:
        """What each figure counts, in which unit and where from; and the SQL that was run for this
        very table, with its values."""
        return self.report.explain()

    def __repr__(self) -> str:
        cells = [[_cell(row.get(name)) for name in self.columns] for row in self.rows[:_SHOWN]]
        widths = [max([len(name), *(len(row[i]) for row in cells)])
                  for i, name in enumerate(self.columns)]  # fmt: skip
        lines = [self.columns, *cells]
        text = "\n".join(
            "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
            for line in lines
        )
        more = len(self.rows) - _SHOWN
        return text + (f"\n… and {more} more rows" if more > 0 else "")

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self.columns)
        body = "".join(
            "<tr>" + "".join(f"<td style='text-align:right'>{html.escape(_cell(row.get(name)))}"
                             "</td>" for name in self.columns) + "</tr>"
            for row in self.rows[:_SHOWN]
        )  # fmt: skip
        about = html.escape(REPORTS[self.report.kind].about)
        return (f"<table><caption>{about}</caption><thead><tr>{head}</tr></thead>"
                f"<tbody>{body}</tbody></table>")  # fmt: skip


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _missing(name: str) -> Misconfigured:
    return Misconfigured(f"{name} is not installed: pip install {name}", param=name)


class Analytics(_Part):
    """Figures of a range: `start` and `end` (days, counted whole, or instants) or `last` ("30d",
    "12mo"), in the business's time zone or `tz`; by one of hour, day, week, month, year and further
    names. Without a range the last 30 days. Each raises InvalidRequest.
    """

    def payments(
        self, *, start: When | None = None, end: When | None = None, last: str | None = None,
        by: str | Sequence[str] | None = None, tz: str | None = None,
        currency: str | None = None, method: str | None = None, provider: str | None = None,
        country: str | None = None, money: str = "minor",
    ) -> Frame:  # fmt: skip
        """Payments made: how many, how they ended, what they brought. By status, reason too."""
        where = {"currency": currency, "method": method, "provider": provider, "country": country}
        return self._frame("payments", start, end, last, by, tz, where, money)

    def revenue(
        self, *, start: When | None = None, end: When | None = None, last: str | None = None,
        by: str | Sequence[str] | None = None, tz: str | None = None,
        currency: str | None = None, method: str | None = None, provider: str | None = None,
        country: str | None = None, money: str = "minor",
    ) -> Frame:  # fmt: skip
        """What came in and went out, from the books: gross, refunds, disputes, fees, net."""
        where = {"currency": currency, "method": method, "provider": provider, "country": country}
        return self._frame("revenue", start, end, last, by, tz, where, money)

    def credits(
        self, *, start: When | None = None, end: When | None = None, last: str | None = None,
        by: str | Sequence[str] | None = None, tz: str | None = None,
    ) -> Frame:  # fmt: skip
        """Credits issued, used, gone and outstanding."""
        return self._frame("credits", start, end, last, by, tz, {}, "minor")

    def packs(
        self, *, start: When | None = None, end: When | None = None, last: str | None = None,
        by: str | Sequence[str] | None = None, tz: str | None = None,
        currency: str | None = None, money: str = "minor",
    ) -> Frame:  # fmt: skip
        """What sold best: packs, items, services, top-ups."""
        return self._frame("packs", start, end, last, by, tz, {"currency": currency}, money)

    def promos(
        self, *, start: When | None = None, end: When | None = None, last: str | None = None,
        by: str | Sequence[str] | None = None, tz: str | None = None,
        currency: str | None = None, money: str = "minor",
    ) -> Frame:  # fmt: skip
        """What promo codes brought and cost."""
        return self._frame("promos", start, end, last, by, tz, {"currency": currency}, money)

    def customers(
        self, *, start: When | None = None, end: When | None = None, last: str | None = None,
        by: str | Sequence[str] | None = None, tz: str | None = None,
        currency: str | None = None, money: str = "minor", limit: int = 100,
    ) -> Frame:  # fmt: skip
        """Who pays: for the first time and again, how often; by customer, who paid most."""
        return self._frame(
            "customers", start, end, last, by, tz, {"currency": currency}, money, limit
        )

    def methods(
        self, *, start: When | None = None, end: When | None = None, last: str | None = None,
        by: str | Sequence[str] | None = None, tz: str | None = None,
        currency: str | None = None, provider: str | None = None, country: str | None = None,
        money: str = "minor",
    ) -> Frame:  # fmt: skip
        """How well each way to pay works; by reason, why tries were declined."""
        where = {"currency": currency, "provider": provider, "country": country}
        return self._frame("methods", start, end, last, by, tz, where, money)

    def risk(
        self, *, start: When | None = None, end: When | None = None, last: str | None = None,
        by: str | Sequence[str] | None = None, tz: str | None = None, money: str = "minor",
    ) -> Frame:  # fmt: skip
        """What the risk rules decided, what people made of it, and disputes."""
        return self._frame("risk", start, end, last, by, tz, {}, money)

    def refunds(
        self, *, start: When | None = None, end: When | None = None, last: str | None = None,
        by: str | Sequence[str] | None = None, tz: str | None = None, money: str = "minor",
    ) -> Frame:  # fmt: skip
        """Refunds asked for, and why."""
        return self._frame("refunds", start, end, last, by, tz, {}, money)

    def forecast(
        self, *, periods: int = 3, start: When | None = None, end: When | None = None,
        last: str | None = None, by: str | Sequence[str] | None = None, tz: str | None = None,
        currency: str | None = None, money: str = "minor",
    ) -> Frame:  # fmt: skip
        """Net revenue of the next months, weeks or days, by what the range, or the years before,
        brought: `expected`, and from `low` to `high`."""
        where = {"currency": currency}
        return self._frame("forecast", start, end, last, by, tz, where, money, periods=periods)

    def mrr(
        self, *, start: When | None = None, end: When | None = None, last: str | None = None,
        by: str | Sequence[str] | None = None, tz: str | None = None,
        currency: str | None = None, money: str = "minor", together: bool = False,
    ) -> Frame:  # fmt: skip
        """Monthly recurring revenue of subscriptions: opening, new, expansion, reactivation,
        contraction, churned, net and closing; by month of the last 12 where nothing is asked.
        `together`: all currencies, in US dollars."""
        return self._frame("mrr", start, end, last, by, tz, {"currency": currency}, money,
                           together=together)  # fmt: skip

    def churn(
        self, *, start: When | None = None, end: When | None = None, last: str | None = None,
        by: str | Sequence[str] | None = None, tz: str | None = None,
        currency: str | None = None, money: str = "minor",
    ) -> Frame:  # fmt: skip
        """Customers and recurring revenue that were lost, and the rates of both; by month of the
        last 12 where nothing is asked."""
        return self._frame("churn", start, end, last, by, tz, {"currency": currency}, money)

    def cohorts(
        self, *, start: When | None = None, end: When | None = None, last: str | None = None,
        by: str | Sequence[str] | None = None, tz: str | None = None,
        currency: str | None = None, money: str = "minor", together: bool = False,
    ) -> Frame:  # fmt: skip
        """Customers by the month (or week, or year) in which they first paid for a subscription,
        and what is left of them and their recurring revenue at each `age` in months; those of the
        last 12 where nothing is asked. `together`: all currencies, in US dollars."""
        return self._frame("cohorts", start, end, last, by, tz, {"currency": currency}, money,
                           together=together)  # fmt: skip

    def trials(
        self, *, start: When | None = None, end: When | None = None, last: str | None = None,
        by: str | Sequence[str] | None = None, tz: str | None = None, plan: str | None = None,
    ) -> Frame:  # fmt: skip
        """What became of trials, by when they began; by month of the last 12 where nothing is
        asked. By plan too."""
        return self._frame("trials", start, end, last, by, tz, {"plan": plan}, "minor")

    def subscriptions(
        self, *, start: When | None = None, end: When | None = None, last: str | None = None,
        by: str | Sequence[str] | None = None, tz: str | None = None,
        currency: str | None = None, plan: str | None = None, money: str = "minor",
    ) -> Frame:  # fmt: skip
        """How many subscriptions stand by plan and state at the end of the range, or of each
        period, with their seats and recurring revenue."""
        where = {"currency": currency, "plan": plan}
        return self._frame("subscriptions", start, end, last, by, tz, where, money)

    def attention(self) -> list[dict[str, Any]]:
        """What waits for a person, the worst first: `kind`, `tone` (bad, warn or info), `count` up
        to 99, `title`, `text`, `href` of its screen and `due_at`, the first deadline or None."""
        return attention.look(self._env)

    def _frame(
        self, kind: str, start: Any, end: Any, last: str | None, by: Any, tz: str | None,
        where: dict[str, str | None], money: str, limit: int = 100, periods: int | None = None,
        together: bool = False,
    ) -> Frame:  # fmt: skip
        if where.get("currency"):
            where = {**where, "currency": str(where["currency"]).lower()}
        found = figure_reports.report(
            self._env, kind, start=start, end=end, last=last, time_zone=tz, by=by, where=where,
            limit=limit, periods=periods, together=together,
        )  # fmt: skip
        return Frame(found, money)
