"""Commands for statements of banks and agents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from paydesk import ids
from paydesk.cli import context, output
from paydesk.cli.output import Column, Output

statements = typer.Typer(help="Statements of banks and agents.", no_args_is_help=True)

_BY = "cli"
_PROVIDER = typer.Option(help="manual or natcash.")


def add_to(app: typer.Typer) -> None:
    app.add_typer(statements, name="statements")


def _row(one: Any) -> dict[str, Any]:
    return {
        "line": one.line_ref, "booked_at": one.booked_at, "amount": str(one.amount),
        "reference": one.reference, "payer": one.payer, "state": one.state,
        "payment": ids.show("payment", one.payment_id) if one.payment_id else None,
        "problem": one.problem,
    }  # fmt: skip


@statements.command("import")
def statements_import(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="CSV, camt.053 or MT940.")
    ],
    provider: Annotated[str, _PROVIDER] = "manual",
    currency: Annotated[str, typer.Option(help="Where the file names none.")] = "",
    live: context.Live = False,
    output_: Output = "",
) -> None:
    """Match the lines that bear a payment's reference. Importing again changes nothing."""
    from paydesk import causes
    from paydesk.flows import offline

    with context.opened(live=live) as env:
        done = offline.import_statement(
            env, provider, file.read_bytes(), by=causes.actor(_BY), name=file.name,
            currency=currency or None,
        )  # fmt: skip
    output.one({"lines": done.lines, "known": done.known, "matched": done.matched,
                "unmatched": done.unmatched, "waiting": done.waiting}, output_)  # fmt: skip
    raise typer.Exit(output.PROBLEM if done.unmatched else output.OK)


@statements.command("lines")
def statements_lines(
    state: Annotated[str, typer.Option(help="unmatched, matched or ignored.")] = "unmatched",
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    output_: Output = "",
) -> None:
    """Lines, newest first: those that wait, where nothing else is said."""
    from paydesk.flows import offline

    with context.opened() as env:
        found = offline.lines(env, state=state or None, limit=limit)
    columns = [
        Column("BOOKED", "booked_at"), Column("AMOUNT", "amount"), Column("REFERENCE", "reference"),
        Column("STATE", "state"), Column("PAYMENT", "payment", rank=1),
        Column("PROBLEM", "problem", rank=1), Column("PAYER", "payer", rank=2),
        Column("LINE", "line"),
    ]  # fmt: skip
    output.rows([_row(one) for one in found], columns, output_)


@statements.command("match")
def statements_match(
    line: Annotated[str, typer.Argument()],
    payment: Annotated[str, typer.Argument(help="pay_… or its reference.")],
    provider: Annotated[str, _PROVIDER] = "manual",
    live: context.Live = False,
    output_: Output = "",
) -> None:
    """Say which payment a line is for."""
    from paydesk import causes
    from paydesk.flows import offline

    with context.opened(live=live) as env:
        done = offline.match(env, provider, line, payment, by=causes.actor(_BY))
    output.one(_row(done), output_)


@statements.command("ignore")
def statements_ignore(
    line: Annotated[str, typer.Argument()],
    reason: Annotated[str, typer.Option(help="Why it is for nothing here.")],
    provider: Annotated[str, _PROVIDER] = "manual",
    output_: Output = "",
) -> None:
    """Set a line aside."""
    from paydesk import causes
    from paydesk.flows import offline

    with context.opened() as env:
        done = offline.ignore(env, provider, line, reason, by=causes.actor(_BY))
    output.one(_row(done), output_)
