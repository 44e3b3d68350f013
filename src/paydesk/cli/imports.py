"""Commands that bring data over from older systems."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from paydesk.cli import context, output
from paydesk.cli.output import Column, Output

imports = typer.Typer(help="Bring data over from older systems.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(imports, name="import")


@contextmanager
def _bars() -> Iterator[Any]:
    """A bar for each table, where somebody looks; on the error stream, so that pipes stay clean."""
    import sys

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    bars = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining(),
        console=Console(stderr=True), disable=not sys.stderr.isatty(),
    )  # fmt: skip
    known: dict[str, Any] = {}

    def tell(done: Any) -> None:
        if done.table not in known:
            known[done.table] = bars.add_task(done.family, total=done.total)
        bars.update(known[done.table], completed=done.read)

    with bars:
        yield tell


@imports.command("legacy-sql")
def legacy_sql(
    source: Annotated[str, typer.Argument(help="postgresql://… or a plain SQL dump.")],
    write: Annotated[
        bool, typer.Option("--write", help="Bring it over. Without it nothing is written.")
    ] = False,
    schema: Annotated[str, typer.Option(help="Schema of the old tables, of a DSN.")] = "public",
    output_: Output = "",
) -> None:
    """The five families' old tables: payments with their books, services, methods, access.

    Safe to repeat: what is here already is left alone, and a run that was broken off goes on
    where it stopped. Exit code 1 where rows were refused.
    """
    from paydesk import causes
    from paydesk.flows import legacy

    with context.opened() as env, _bars() as tell:
        try:
            result = legacy.import_tables(
                env, source, by=causes.actor("cli"), dry_run=not write, schema=schema,
                progress=tell,
            )  # fmt: skip
        except KeyboardInterrupt:
            typer.echo(f"\nGo on with: paydesk import legacy-sql {source!r} --write", err=True)
            raise typer.Exit(130) from None
    rows = [
        {"table": t.table, "family": t.family, "rows": t.read, "imported": t.imported,
         "known": t.known, "skipped": t.skipped, "refused": t.refused}
        for t in result.tables
    ]  # fmt: skip
    columns = [
        Column("TABLE", "table"), Column("FAMILY", "family", rank=1), Column("ROWS", "rows"),
        Column("NEW" if result.is_dry else "IMPORTED", "imported"), Column("KNOWN", "known"),
        Column("SKIPPED", "skipped", rank=1), Column("REFUSED", "refused"),
    ]  # fmt: skip
    output.rows(rows, columns, output_)
    for one in result.refused:
        where = f"line {one.line}, " if one.line else ""
        typer.echo(f"{one.table}: {where}id {one.old_id}: {one.why}", err=True)
    hidden = sum(t.refused for t in result.tables) - len(result.refused)
    if hidden:
        typer.echo(f"{hidden} more rows were refused, told of before or too many.", err=True)
    if result.is_dry:
        typer.echo("Nothing was written. Run again with --write to bring it over.", err=True)
    raise typer.Exit(output.OK if result.ok else output.PROBLEM)
