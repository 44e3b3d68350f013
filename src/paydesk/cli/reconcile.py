"""The command that compares a provider's books with ours."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from paydesk import causes, ids
from paydesk.cli import context, output
from paydesk.cli.output import Column, Output
from paydesk.errors import InvalidRequest
from paydesk.rules.money import Money

_AGO = re.compile(r"(\d{1,4})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
#: How each kind of drift is shown: its sign and its words.
_SIGNS = {
    "missing_here": ("+", "missing here"), "missing_there": ("-", "missing there"),
    "amount": ("≠", "amount"), "currency": ("≠", "currency"), "status": ("?", "status"),
    "fee": ("?", "fee"),
}  # fmt: skip


def add_to(app: typer.Typer) -> None:
    app.command("reconcile")(reconcile)


def reconcile(
    provider: Annotated[str, typer.Option(help="Whose books.")] = "stripe",
    since: Annotated[str, typer.Option(help="30d, 12h, or a date.")] = "30d",
    until: Annotated[str | None, typer.Option(help="As --since; now without it.")] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Record what is missing here.")] = False,
    resume: Annotated[str | None, typer.Option(help="Go on with this run, rec_…")] = None,
    live: context.Live = False,
    output_: Output = "",
) -> None:
    """Compare a provider's books with ours, item by item. Exit code 1 where something differs."""
    from paydesk.flows import reconcile as flow

    as_table = output.is_table(output_)
    with context.opened(live=live or not fix) as env:
        now = env.now()
        if resume is not None:
            run = flow.get(env, ids.parse("reconciliation", resume))
        else:
            run = flow.start(env, provider, _instant(since, now, "since"),
                             _instant(until, now, "until") if until else None, fix=fix,
                             by=causes.actor("cli"))  # fmt: skip
        shown = ids.show("reconciliation", run.id)
        try:
            with _Bars(run.provider) as bars:
                run = flow.carry_on(env, run.id, progress=bars.tell)
        except BaseException:
            output.note(f"Go on with: paydesk reconcile --resume {shown}")
            raise
        found = flow.drifts(env, run.id, limit=10_000)
    if as_table:
        _table(run, found)
    else:
        _lines(run, found)
    if run.has_drift:
        raise SystemExit(output.PROBLEM)


def _instant(text: str, now: datetime, param: str) -> datetime:
    """30d ago, or an instant; a plain date begins at midnight UTC."""
    if ago := _AGO.fullmatch(text.strip()):
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(f"{text[:40]!r} is no time: say 30d, 12h or 2026-01-31.",
                             param=param) from None  # fmt: skip
    return found if found.tzinfo else found.replace(tzinfo=UTC)


class _Bars:
    """A progress bar for each of the provider's lists, where a person looks."""

    def __init__(self, provider: str) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeRemainingColumn as Remaining

        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining(),
            console=output.console(stderr=True), disable=not sys.stderr.isatty(),
        )  # fmt: skip
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> _Bars:
        self._bars.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bars.stop()

    def tell(self, step: str, done: int, total: int) -> None:
        if step not in self._tasks:
            self._tasks[step] = self._bars.add_task(f"Fetching {step}s", total=total)
        self._bars.update(self._tasks[step], completed=done, total=max(total, 1))


def _lines(run: Any, found: Sequence[Any]) -> None:
    """The differences as JSON lines, and the run itself last."""
    for one in found:
        output.print_json({
            "object": "drift", "kind": one.kind, "reference": one.ref, "type": one.type,
            "status": one.state, "customer": _shown("customer", one.customer_id),
            "ours": one.ours, "theirs": one.theirs, "error": one.error,
        })  # fmt: skip
    output.print_json({
        "object": "reconciliation", "id": ids.show("reconciliation", run.id),
        "provider": run.provider, "since": run.since, "until": run.until, "status": run.state,
        "fix": not run.is_dry, "counts": run.counts, "has_drift": run.has_drift,
    })  # fmt: skip


def _shown(kind: str, value: Any) -> str | None:
    return ids.show(kind, value) if value else None


def _table(run: Any, found: Sequence[Any]) -> None:
    """A line for what agrees, and one for each kind of difference."""
    matched = sum(counts.get("matched", 0) for counts in run.counts.values())
    rows = [{"sign": "✓", "what": "matched", "theirs": matched, "ours": matched, "refs": "",
             "amount": _sums(run.counts.get("payment", {}).get("amounts", {}))}]  # fmt: skip
    for type, (sign, words) in _SIGNS.items():
        some = [one for one in found if one.type == type]
        if some:
            rows.append({
                "sign": sign, "what": words, "theirs": sum(one.theirs is not None for one in some),
                "ours": sum(one.ours is not None for one in some), "refs": _refs(some),
                "amount": _amount(type, some),
            })  # fmt: skip
    output.rows(
        rows,
        [Column("", "sign"), Column("", "what"), Column("PROVIDER", "theirs", right=True),
         Column("OURS", "ours", right=True), Column("REFERENCES", "refs", rank=1),
         Column("AMOUNT", "amount", right=True)],
        "table",
    )  # fmt: skip
    foreign = sum(counts.get("foreign", 0) for counts in run.counts.values())
    if foreign:
        output.note(f"{foreign:,} objects are another program's and were left alone.")
    output.note(_advice(run, found))


def _refs(some: Sequence[Any]) -> str:
    names = [one.ref if len(one.ref) < 16 else f"{one.ref[:12]}…" for one in some[:2]]
    return " ".join([*names, *([f"+{len(some) - 2}"] if len(some) > 2 else [])])


def _amount(type: str, some: Sequence[Any]) -> str:
    """The sum that is concerned; of a single amount that differs, both."""
    if type == "amount" and len(some) == 1 and some[0].ours and some[0].theirs:
        ours, theirs = some[0].ours, some[0].theirs
        both = (Money(side["amount"], side["currency"], minor=True) for side in (theirs, ours))
        return " vs ".join(str(one) for one in both)
    sums: dict[str, int] = {}
    for one in some:
        side = one.theirs or one.ours
        if side.get("amount"):
            sums[side["currency"]] = sums.get(side["currency"], 0) + side["amount"]
    return _sums(sums)


def _sums(by_currency: dict[str, int]) -> str:
    return ", ".join(str(Money(n, code, minor=True)) for code, n in sorted(by_currency.items()))


def _advice(run: Any, found: Sequence[Any]) -> str:
    states = [one.state for one in found]
    manual = "Amount differences are never fixed automatically."
    if run.state != "done":
        return f"The run is {run.state}."
    if not found:
        return "The books agree."
    if run.is_dry:
        n = states.count("open")
        return (f"Run again with --fix to record {n:,}. " if n else "") + manual
    fixed, left = states.count("fixed"), len(states) - states.count("fixed")
    return f"{fixed:,} recorded, {left:,} left to a person." + (f" {manual}" if left else "")
