"""Commands for the trail: prove that nothing was changed, read who changed what."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from paydesk import ids
from paydesk.cli import context, output
from paydesk.cli.output import Column, Output

audit = typer.Typer(help="The trail of changes, and whether it was tampered with.",
                    no_args_is_help=True)  # fmt: skip


def add_to(app: typer.Typer) -> None:
    app.add_typer(audit, name="audit")


def _place(one: Any) -> dict[str, Any]:
    return {
        "where": ids.show("customer", one.customer_id) if one.customer_id else "log",
        "up_to_event": one.seq if one.customer_id else None,
        "up_to_transfer": one.entry_seq if one.customer_id and not one.payment_id else None,
        "row": None if one.customer_id else one.seq,
        "payment": ids.show("payment", one.payment_id) if one.payment_id else None,
    }


@contextmanager
def _bar(env: Any, customer_id: Any) -> Iterator[Callable[[int], None]]:
    """Shows where somebody looks how many customers are done."""
    import sys

    from rich.console import Console
    from rich.progress import Progress

    total = 1
    if customer_id is None:
        with env.db.read() as tx:
            total = tx.value("select count(*) from heads")
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as bars:
        task = bars.add_task("customers", total=total)
        yield lambda done: bars.update(task, completed=done)


@audit.command("verify")
def audit_verify(
    customer: Annotated[str, typer.Option(help="Only this customer.")] = "",
    output_: Output = "",
) -> None:
    """Compute every chain anew. Exit code 1 where a row was changed or is missing."""
    from paydesk.flows import customers, trail

    with context.opened() as env:
        owner = customers.get(env, customer).uuid if customer else None
        with _bar(env, owner) as tell:
            found = trail.verify(env, owner, tell)
    columns = [Column("WHERE", "where"), Column("UP TO EVENT", "up_to_event"),
               Column("UP TO TRANSFER", "up_to_transfer"), Column("ROW", "row"),
               Column("PAYMENT", "payment")]  # fmt: skip
    output.rows([_place(one) for one in found.broken], columns, output_)
    typer.echo(
        f"{found.seals} seals of {found.customers} customers, {found.payments} payments and"
        f" {found.entries} rows of the log: {len(found.broken) or 'none'} broken;"
        f" {found.unsealed} events not sealed yet",
        err=True,
    )
    if not found.ok:
        raise typer.Exit(1)


@audit.command("root")
def audit_root() -> None:
    """One hash over every chain. Keep it elsewhere, and compare after a restore."""
    from paydesk.flows import trail

    with context.opened() as env:
        typer.echo(trail.root(env))


def _row(entry: Any) -> dict[str, Any]:
    return {
        "seq": entry.seq, "at": entry.at, "actor": entry.actor, "action": entry.action,
        "subject": entry.subject, "request_id": entry.request_id, "data": entry.data,
    }  # fmt: skip


@audit.command("log")
def audit_log(
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    actor: Annotated[str, typer.Option(help="Only by this one.")] = "",
    action: Annotated[str, typer.Option(help="Only this word, or its beginning: key.")] = "",
    output_: Output = "",
) -> None:
    """Changes of privileges, of the catalogue and of settings, newest first."""
    from paydesk.flows import trail

    with context.opened() as env:
        found = trail.log(env, limit=limit, actor=actor or None, action=action or None)
    columns = [
        Column("WHEN", "at"), Column("WHO", "actor"), Column("WHAT", "action"),
        Column("ON", "subject"), Column("DATA", "data", rank=2),
        Column("REQUEST", "request_id", rank=1),
    ]  # fmt: skip
    output.rows([_row(one) for one in found], columns, output_)
