"""`paydesk listen`: events of this desk, signed, to an application on this machine."""

from __future__ import annotations

import signal
import threading
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.markup import escape

from paydesk.cli import context, output
from paydesk.cli.output import Output
from paydesk.errors import InvalidRequest

_REST_S = 0.3


def add_to(app: typer.Typer) -> None:
    app.command()(listen)


def listen(
    forward_to: Annotated[
        str, typer.Option("--forward-to", help="Such as localhost:3000/hooks.")
    ] = "",
    events: Annotated[
        list[str] | None, typer.Option("--events", help="A type, payment.* or *; repeat it.")
    ] = None,
    print_secret: Annotated[
        bool, typer.Option("--print-secret", help="Print the signing secret and leave.")
    ] = False,
    output_: Output = "",
) -> None:
    """Forward every event from now on, until Ctrl-C. They are signed as webhooks are."""
    from paydesk.flows import forwarding

    with context.opened() as env:
        if print_secret:
            typer.echo(forwarding.secret_of(env))
            return
        if not forward_to:
            raise InvalidRequest("Say where to: --forward-to localhost:3000/hooks.")
        if "://" not in forward_to:
            forward_to = f"http://{forward_to}"
        is_table = output.is_table(output_)
        forwarder = forwarding.Forwarder(
            env, forward_to, events or ["*"], lambda event, call: _tell(event, call, is_table)
        )
        stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        output.note(f"Forwarding to {forward_to}. Signing secret: {forwarder.secret}")
        try:
            while not stop.is_set():
                if not forwarder.run_once():
                    stop.wait(_REST_S)
        finally:
            forwarder.close()


def _tell(event: Any, call: Any, is_table: bool) -> None:
    if not is_table:
        output.print_json({
            "event": event.id, "type": event.type, "sequence": event.seq,
            "http_status": call.status, "duration_ms": call.duration_ms, "error": call.error,
        })  # fmt: skip
        return
    color = "green" if call.is_success else "red"
    result = str(call.status) if call.status is not None else escape(call.error or "")
    again = "" if call.is_success else "  [dim]comes again[/dim]"
    output.console().print(
        f"[dim]{datetime.now(UTC):%H:%M:%S}[/dim]  {event.type:<26}  [dim]{event.id}[/dim]"
        f"  [{color}]{result}[/{color}]  [dim]{call.duration_ms} ms[/dim]{again}"
    )
