"""The command line: `paydesk COMMAND`. Tables for people, JSON lines for pipes."""

from __future__ import annotations

import sys

import typer

from paydesk import __version__
from paydesk.cli import (
    audit,
    catalog_sync,
    catalogue,
    clock,
    desk,
    disputes,
    imports,
    invoices,
    listen,
    money,
    plans,
    provider,
    rates,
    reconcile,
    refills,
    refunds,
    reports,
    service,
    simulate,
    statements,
    subscriptions,
    users,
    wallets,
    webhooks,
)
from paydesk.cli.output import fail

__all__ = ["app", "main"]

app = typer.Typer(
    name="paydesk",
    help="The payment desk: run it, look into it, settle what waits.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
service.add_to(app)
money.add_to(app)
catalogue.add_to(app)
plans.add_to(app)
catalog_sync.add_to(app)
rates.add_to(app)
reports.add_to(app)
wallets.add_to(app)
disputes.add_to(app)
reconcile.add_to(app)
refunds.add_to(app)
refills.add_to(app)
invoices.add_to(app)
subscriptions.add_to(app)
desk.add_to(app)
clock.add_to(app)
provider.add_to(app)
audit.add_to(app)
users.add_to(app)
statements.add_to(app)
imports.add_to(app)
webhooks.add_to(app)
listen.add_to(app)
simulate.add_to(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"paydesk {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Exit codes: 0 done, 1 a problem was found, 2 wrong usage, 3 something is not reachable."""


def main(argv: list[str] | None = None) -> None:
    """Run a command; every expected refusal is one line and an exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    try:
        if arguments[:1] in (["simulator"], ["trigger"]):
            # The simulator has a command line of its own, so that it runs without the rest.
            own = arguments[1:] if arguments[0] == "simulator" else arguments
            raise SystemExit(simulate.run(own))
        app(args=arguments, prog_name="paydesk")
    except (KeyboardInterrupt, BrokenPipeError):
        raise SystemExit(130) from None
    except Exception as exc:
        fail(exc)
