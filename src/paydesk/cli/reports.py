"""`paydesk report`: figures as a table, a chart, CSV or JSON lines; and the days' upkeep."""

from __future__ import annotations

import sys
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any

import typer

from paydesk import causes
from paydesk.cli import context, output
from paydesk.cli.output import Column

reports = typer.Typer(
    help="Figures: revenue, payments, credits, mrr, churn, cohorts.", no_args_is_help=True
)

_BLOCKS = "▏▎▍▌▋▊▉█"
_WIDTH = 40
#: What --chart draws of each report.
_DRAWN = {"revenue": "net", "credits": "spent", "refunds": "refund_amount",
          "customers": "customers", "risk": "assessments",
          "forecast": "expected", "mrr": "mrr_closing", "churn": "customers_churned",
          "trials": "trials_converted", "subscriptions": "subscriptions"}  # fmt: skip


#: What stays of each report where the terminal is narrow, the first the longest; the others after.
_FIRST = {
    "revenue": ("net", "gross", "refunds", "fees"),
    "mrr": ("mrr_closing", "mrr_net", "mrr_new", "mrr_churned"),
    "churn": ("customer_churn", "revenue_churn", "net_revenue_churn", "customers_churned"),
    "cohorts": ("customer_retention", "net_revenue_retention", "cohort_customers"),
}


def add_to(app: typer.Typer) -> None:
    app.add_typer(reports, name="report")


From = Annotated[str | None, typer.Option("--from", help="First day, like 2026-01-01.")]
To = Annotated[str | None, typer.Option("--to", help="Last day, counted whole.")]
Last = Annotated[str | None, typer.Option(help="24h, 30d, 12w, 6mo or 2y up to now.")]
By = Annotated[str | None, typer.Option(help="day, week, month, method, country … with commas.")]
Zone = Annotated[str | None, typer.Option(help="IANA time zone; the business's.")]
Code = Annotated[str | None, typer.Option(help="Only this currency.")]
Chart = Annotated[bool, typer.Option("--chart", help="Bars instead of figures.")]
Explain = Annotated[
    bool, typer.Option("--explain", help="What each figure counts, and the SQL that was run.")
]
Together = Annotated[
    bool, typer.Option("--together", help="All currencies together, in US dollars.")
]
Form = Annotated[str, typer.Option("--output", "-o", help="table, json or csv; json when piped.")]


def _run(
    kind: str, from_: str | None, to: str | None, last: str | None, by: str | None,
    tz: str | None, currency: str | None, chart: bool, form: str, periods: int | None = None,
    explain: bool = False, together: bool = False,
) -> None:  # fmt: skip
    from paydesk.flows import figure_reports

    if form not in ("", "table", "json", "csv"):
        raise typer.BadParameter("-o takes table, json or csv")
    with context.opened() as env:
        found = figure_reports.report(
            env, kind, start=from_, end=to, last=last, by=by, time_zone=tz,
            where={"currency": currency and currency.lower()}, periods=periods,
            together=together,
        )  # fmt: skip
    if explain:
        sys.stdout.write(found.explain() + "\n")
    elif form == "csv":
        sys.stdout.write(found.csv())
    elif chart and kind == "cohorts":
        _draw_heat(found)
    elif chart:
        _draw(found)
    else:
        first = [n for n in _FIRST.get(kind, ()) if n in found.columns]
        ranks = [*first, *(n for n in found.columns if n not in first)]
        columns = [Column(n.upper(), n, rank=0) for n in found.by]
        columns += [Column(n.upper().replace("_", " "), n, right=True, rank=ranks.index(n))
                    for n in found.columns]  # fmt: skip
        rows = [_texts(found.exact(row), found.columns) for row in found.rows]
        if output.is_table(form):
            rows = [_percents(row, found.columns) for row in rows]
        left = output.rows(rows, columns, form)
        if left:
            output.note(f"[dim]No room for {', '.join(left)}; -o csv has every figure.[/dim]")
        if found.behind:
            output.note(f"Changes of {found.behind:,} customers are not counted yet.")


def _texts(row: dict[str, Any], columns: tuple[str, ...]) -> dict[str, Any]:
    """Counts stay numbers; decimals, days and instants become their text."""
    return {name: value if (name in columns and isinstance(value, int)) or value is None
            else _text(value) for name, value in row.items()}  # fmt: skip


def _percents(row: dict[str, Any], columns: tuple[str, ...]) -> dict[str, Any]:
    """Rates as people read them: 0.0412 is 4.12%."""
    from paydesk.rules.figure_names import FIGURES

    return {
        name: f"{Decimal(value):.2%}" if name in columns and FIGURES[name].unit == "ratio"
        and value is not None else value
        for name, value in row.items()
    }  # fmt: skip


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%MZ")
    return value.isoformat() if isinstance(value, date) else str(value)


def _draw(found: Any) -> None:
    """A bar for each row, as long as its main figure is large."""
    name = _DRAWN.get(found.kind, "captured")
    if found.rows and found.kind == "mrr" and "currency" not in found.by:
        name += "_usd"
    exact = [found.exact(row) for row in found.rows]
    most = max([row[name] or 0 for row in found.rows], default=0)
    heads = ["  ".join(_text(row[by]) for by in found.by) for row in exact]
    width = max([len(head) for head in heads], default=0)
    output.console().print(f"[dim]{name}[/dim]")
    for head, plain, row in zip(heads, found.rows, exact, strict=True):
        eighths = max(0, plain[name] or 0) * _WIDTH * 8 // most if most > 0 else 0
        bar = "█" * (eighths // 8) + (_BLOCKS[eighths % 8 - 1] if eighths % 8 else "")
        amount = "–" if row[name] is None else f"{row[name]:,}"
        output.console().print(f"{head.ljust(width)}  {bar.ljust(_WIDTH)}  {amount}", markup=False)


#: The share that is left, from none to all, as one character.
_SHADES = " ░▒▓█"


def _draw_heat(found: Any) -> None:
    """A line for each cohort, a cell for each age: how many of its customers are left, in percent,
    and as dark as that. Below each currency what is left of the revenue."""
    period = found.by[0]
    currencies = sorted({row.get("currency", "usd") for row in found.rows})
    say = output.console()
    for code in currencies:
        rows = [row for row in found.rows if row.get("currency", "usd") == code]
        for figure in ("customer_retention", "net_revenue_retention"):
            name = figure if "currency" in found.by or figure.startswith("c") else f"{figure}_usd"
            say.print(f"{name}  {code if 'currency' in found.by else 'together'}", markup=False)
            for line in _heat(rows, period, name):
                say.print(line, markup=False, highlight=False, soft_wrap=True)


def _heat(rows: list[dict[str, Any]], period: str, name: str) -> list[str]:
    cohorts: dict[Any, dict[int, dict[str, Any]]] = {}
    for row in rows:
        cohorts.setdefault(row[period], {})[row["age"]] = row
    ages = max([row["age"] for row in rows], default=-1) + 1
    head = " ".join(f"{age:>5}" for age in range(ages))
    lines = [f"{period.ljust(10)}  {'n':>7}  {head}"]
    for day, cells in sorted(cohorts.items()):
        told = " ".join(_shade(cells[age][name]) for age in range(ages) if age in cells)
        lines.append(f"{day.isoformat()}  {cells[0]['cohort_customers']:>7,}  {told}")
    return lines


def _shade(share: Any) -> str:
    if share is None:
        return "    –"
    percent = int((share * 1000 + 5) // 10)
    return f"{_SHADES[min(4, -(-min(percent, 100) * 4 // 100))]}{percent:>3}%"


def _command(kind: str, about: str) -> None:
    @reports.command(kind, help=about)
    def run(
        from_: From = None, to: To = None, last: Last = None, by: By = None, tz: Zone = None,
        currency: Code = None, chart: Chart = False, explain: Explain = False,
        output_: Form = "",
    ) -> None:  # fmt: skip
        _run(kind, from_, to, last, by, tz, currency, chart, output_, explain=explain)


def _rated_command(kind: str, about: str) -> None:
    @reports.command(kind, help=about)
    def run(
        from_: From = None, to: To = None, last: Last = None, by: By = None, tz: Zone = None,
        currency: Code = None, chart: Chart = False, together: Together = False,
        explain: Explain = False, output_: Form = "",
    ) -> None:  # fmt: skip
        _run(kind, from_, to, last, by, tz, currency, chart, output_, explain=explain,
             together=together)  # fmt: skip


_command("payments", "Payments made: how many, how they ended, what they brought.")
_command("revenue", "Money that moved, from the books: gross, refunds, disputes, fees, net.")
_command("credits", "Credits issued, used, gone and outstanding.")
_command("packs", "What sold best: packs, items, services, top-ups.")
_command("promos", "What promo codes brought and cost.")
_command("customers", "Who pays, for the first time and again.")
_command("methods", "How well each way to pay works.")
_command("risk", "What the risk rules decided, and disputes.")
_command("refunds", "Refunds asked for, and why.")
_rated_command("mrr", "Monthly recurring revenue of subscriptions, and what changed it.")
_command("churn", "Customers and recurring revenue that were lost.")
_rated_command("cohorts", "Customers by when they first paid, and what is left of them.")
_command("trials", "What became of trials, by when they began.")
_command("subscriptions", "Subscriptions by plan and state.")


@reports.command("forecast")
def forecast(
    periods: Annotated[int, typer.Option(help="How many to look ahead.")] = 3,
    from_: From = None, to: To = None, last: Last = None, by: By = None, tz: Zone = None,
    currency: Code = None, chart: Chart = False, explain: Explain = False, output_: Form = "",
) -> None:  # fmt: skip
    """What net revenue the next months, weeks or days will bring if it goes on as it did."""
    _run("forecast", from_, to, last, by, tz, currency, chart, output_, periods, explain)


@reports.command("explain")
def explain(report: Annotated[str, typer.Argument(help="revenue, payments, credits …")]) -> None:
    """What each figure of a report counts, and where from."""
    from paydesk.rules.figure_names import FIGURES, REPORTS

    if report not in REPORTS:
        raise typer.BadParameter(f"one of {', '.join(REPORTS)}")
    say = output.console()
    say.print(REPORTS[report].about)
    for name in REPORTS[report].figures:
        one = FIGURES[name]
        say.print(f"\n{name}  ({one.unit})\n  {one.definition}\n  {one.source}", markup=False)


@reports.command("rebuild")
def rebuild(
    catch_up: Annotated[
        bool, typer.Option("--catch-up", help="Only what is not computed yet.")
    ] = False,
) -> None:
    """Compute the tables of days and months anew, as after an import; safe to stop and to
    repeat."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from paydesk.flows import rollups

    with context.opened() as env, causes.by("cli", "report rebuild"), Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TimeRemainingColumn(), console=output.console(stderr=True),
    ) as bar:  # fmt: skip
        task = bar.add_task("days", total=None)

        def on_day(day: date, left: int) -> None:
            count = bar.tasks[0].completed + 1
            bar.update(task, completed=count, total=count + left, description=day.isoformat())

        done = (rollups.compute if catch_up else rollups.rebuild)(env, on_day=on_day)
    output.note(f"{done:,} days and months computed.")
