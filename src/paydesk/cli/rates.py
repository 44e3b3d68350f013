"""Commands about exchange rates: import a file, enter one, list them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from paydesk import causes, ids
from paydesk.cli import context, output
from paydesk.cli.output import Column, Output

rates = typer.Typer(help="Exchange rates.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(rates, name="rates")


def _rate(one: Any) -> dict[str, Any]:
    from paydesk.rules.rates import plain

    return {
        "id": ids.show("rate", one.id), "base": one.base, "quote": one.quote,
        "rate": plain(one.rate), "source": one.source, "at": one.at,
        "entered_by": one.entered_by,
    }  # fmt: skip


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """A progress bar where a person looks; on the error stream, so that pipes stay clean."""
    import sys

    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as bars:
        task = bars.add_task("rates", total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


_RATES = [
    Column("BASE", "base"), Column("QUOTE", "quote"), Column("RATE", "rate", right=True),
    Column("SINCE", "at"), Column("SOURCE", "source", rank=1), Column("BY", "entered_by", rank=2),
]  # fmt: skip


@rates.command("import")
def rates_import(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
    since: Annotated[str | None, typer.Option(help="Leave out days before this one.")] = None,
    output_: Output = "",
) -> None:
    """Store a file of euro reference rates (XML, CSV or the ZIP of one); safe to repeat."""
    from paydesk.flows import rates as flow

    first = None
    if since is not None:
        try:
            first = date.fromisoformat(since)
        except ValueError:
            raise typer.BadParameter("a day such as 2026-01-14", param_hint="--since") from None
    with context.opened() as env, _bar() as tell:
        done = flow.import_ecb(
            env, file.read_bytes(), by=causes.actor("cli"), since=first, progress=tell
        )
    output.one(
        {"rates": done.rates, "new": done.new, "days": done.days, "first_day": done.first,
         "last_day": done.last}, output_,
    )  # fmt: skip


@rates.command("set")
def rates_set(
    base: Annotated[str, typer.Argument(help="One unit of this currency is worth ...")],
    quote: Annotated[str, typer.Argument(help="... so many of this one.")],
    rate: Annotated[str, typer.Argument(help="A decimal such as 130.95.")],
    output_: Output = "",
) -> None:
    """Enter a rate that holds from now on."""
    from paydesk.flows import rates as flow

    with context.opened() as env:
        made = flow.enter(env, base, quote, rate, by=causes.actor("cli"))
    output.one(_rate(made), output_)


@rates.command("list")
def rates_list(
    base: Annotated[str | None, typer.Option(help="Only of this currency.")] = None,
    quote: Annotated[str | None, typer.Option(help="Only in this currency.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    output_: Output = "",
) -> None:
    """Stored rates, newest first."""
    from paydesk.flows import rates as flow
    from paydesk.rules.money import currency_code

    with context.opened() as env, env.db.read() as tx:
        found = flow.list_(
            tx, base=base and currency_code(base), quote=quote and currency_code(quote),
            limit=limit,
        )  # fmt: skip
    output.rows([_rate(one) for one in found], _RATES, output_)
