"""`paydesk simulator`: the simulator alone, or paying and triggering events of one that runs."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from paydesk.cli.context import read_json


def add_to(app: typer.Typer) -> None:
    app.command(
        name="trigger", help="Make an event of Stripe's happen in the simulator, such as"
        " `charge.refunded`; without a type, lists them.",
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(_trigger)  # fmt: skip


def _trigger(ctx: typer.Context) -> None:
    raise typer.Exit(run(["trigger", *ctx.args]))


def run(arguments: list[str]) -> int:
    """Hand over to the simulator's own command line; `pay` and `trigger` find the desk's simulator
    by themselves."""
    from paydesk import sources
    from paydesk.simulator import cli

    if arguments[:1] in (["pay"], ["trigger"]) and not os.environ.get(cli.BASE_VARIABLE):
        settings = sources.load().settings
        note = read_json(Path(settings.data_dir) / "simulator.json")
        url = settings.simulator_url or note.get("url")
        if url:
            os.environ[cli.BASE_VARIABLE] = str(url)
    return cli.main(arguments)
