"""Commands that keep a provider's catalogue equal to ours."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from paydesk.cli import context, output
from paydesk.cli.output import Column, Output

catalog = typer.Typer(help="The catalogue at a provider.", no_args_is_help=True)

Provider = Annotated[str, typer.Option(help="Whose catalogue.")]
_WORDS = {
    "only_there": "only there", "only_here": "only here", "active": "sold there, not here",
    "archived": "archived there",
}  # fmt: skip


def add_to(app: typer.Typer) -> None:
    app.add_typer(catalog, name="catalog")


@catalog.command("sync")
def catalog_sync(
    provider: Provider = "stripe",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be.")] = False,
    adopt: Annotated[
        str | None, typer.Option(help="Take this product, prod_… or its key, from there instead.")
    ] = None,
    live: context.Live = False,
    output_: Output = "",
) -> None:
    """Make packs, items and plans there as they are here. Exit code 1 where one was refused."""
    from paydesk.flows import catalog_sync as flow

    with context.opened(live=live or dry_run) as env:
        if adopt is not None:
            if dry_run:
                raise typer.BadParameter("--adopt has no dry run: see `catalog drift`")
            output.rows([_change(flow.adopt(env, adopt, provider))], _CHANGES, output_)
            return
        with _Bar() as bar:
            done = flow.sync(env, provider, dry_run=dry_run, progress=bar)
    output.rows([_change(one) for one in done.changes], _CHANGES, output_)
    if output.is_table(output_):
        would = "would change" if dry_run else "changed"
        output.note(f"{len(done.changes)} {would}, {done.unchanged} equal.")
    if done.failed:
        raise SystemExit(output.PROBLEM)


@catalog.command("drift")
def catalog_drift(provider: Provider = "stripe", output_: Output = "") -> None:
    """What differs there, one by one. Exit code 1 where something does."""
    from paydesk.flows import catalog_sync as flow

    with context.opened() as env:
        found = flow.drift(env, provider)
    as_table = output.is_table(output_)
    output.rows([_drift(one, as_table=as_table) for one in found], _DRIFTS, output_)
    if found:
        if as_table:
            output.note("`catalog sync` writes ours over theirs, `catalog sync --adopt KEY` takes"
                        " theirs.")  # fmt: skip
        raise SystemExit(output.PROBLEM)


_CHANGES = [
    Column("KIND", "kind"), Column("KEY", "key"), Column("PRODUCT", "product", rank=1),
    Column("DONE", "actions"), Column("ERROR", "error", rank=1), Column("ID", "id", rank=2),
]  # fmt: skip
_DRIFTS = [
    Column("KIND", "kind"), Column("KEY", "key"), Column("WHAT", "type"),
    Column("OURS", "ours"), Column("THEIRS", "theirs"), Column("CHANGED", "changed", rank=1),
    Column("PRODUCT", "product", rank=1), Column("NOT ADOPTABLE", "reason", rank=2),
]  # fmt: skip


def _change(one: Any) -> dict[str, Any]:
    return {"object": "catalog_change", "kind": one.kind, "key": one.key, "id": one.id,
            "product": one.product, "actions": " ".join(one.actions),
            "error": one.error}  # fmt: skip


def _drift(one: Any, *, as_table: bool) -> dict[str, Any]:
    row = {"object": "catalog_drift", "type": one.type, "kind": one.kind, "key": one.key,
           "id": one.id, "product": one.product, "ours": one.ours, "theirs": one.theirs,
           "changed": one.changed, "reason": one.reason}  # fmt: skip
    if as_table:
        row |= {"type": _WORDS.get(one.type, one.type), "ours": _shown(one.ours),
                "theirs": _shown(one.theirs)}  # fmt: skip
    return row


def _shown(side: Any) -> Any:
    """An amount with its currency; of metadata only the names."""
    from paydesk.rules.money import Money

    if isinstance(side, dict) and side.keys() == {"amount", "currency"}:
        return str(Money(side["amount"], side["currency"], minor=True))
    return " ".join(sorted(side)) if isinstance(side, dict) else side


class _Bar:
    """A progress bar, where a person looks."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            console=output.console(stderr=True), disable=not sys.stderr.isatty(),
        )  # fmt: skip
        self._task = self._bars.add_task("Pushing", total=None)

    def __enter__(self) -> _Bar:
        self._bars.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bars.stop()

    def __call__(self, done: int, total: int) -> None:
        self._bars.update(self._task, completed=done, total=max(total, 1))
