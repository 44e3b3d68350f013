"""Commands about clocks that are moved by hand, in the sandbox."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from paydesk.cli import context, output
from paydesk.cli.output import Column, Output

clock = typer.Typer(help="Clocks that are moved by hand.", no_args_is_help=True)

_Ref = Annotated[str | None, typer.Option("--clock", help="Its id, clock_…")]
_Whose = Annotated[
    str | None, typer.Option("--customer", help="The clock that this customer stands on.")
]


def add_to(app: typer.Typer) -> None:
    app.add_typer(clock, name="clock")


def _shape(one: Any) -> dict[str, Any]:
    return {
        "id": one.id, "name": one.name or None, "now": one.now, "status": one.state,
        "advancing_to": one.advancing_to, "error": one.error, "customers": one.customers,
    }  # fmt: skip


def _instant(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("an instant such as 2026-01-31T12:00:00Z") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _named(env: Any, ref: str | None, customer: str | None) -> Any:
    """The clock that was named, by itself or by a customer of it."""
    from paydesk.errors import NotFound
    from paydesk.flows import clocks, customers

    if (ref is None) == (customer is None):
        raise typer.BadParameter("name the --clock, or a --customer who stands on it")
    if ref is not None:
        return clocks.get(env, ref)
    found = clocks.of_customer(env, customers.get(env, customer or "").uuid)
    if found is None:
        raise NotFound(
            f"{customer} lives by everybody's clock. One that is moved by hand is given to new"
            " customers only: paydesk clock create --customer NAME."
        )
    return found


@clock.command("create")
def clock_create(
    at: Annotated[str | None, typer.Option(help="Where it stands; now unless told.")] = None,
    name: Annotated[str, typer.Option(help="For people.")] = "",
    customer: Annotated[
        list[str] | None, typer.Option("--customer", help="Make this customer on it; repeatable.")
    ] = None,
    output_: Output = "",
) -> None:
    """Make a clock, and customers who stand on it."""
    from paydesk.flows import clocks, customers

    with context.opened(live=False) as env:
        made = clocks.create(env, at=_instant(at) if at else None, name=name)
        for one in customer or ():
            customers.ensure(env, customers.external(one), clock=made.uuid)
        made = clocks.get(env, made)
    output.one(_shape(made), output_)


@clock.command("advance")
def clock_advance(
    by: Annotated[str | None, typer.Argument(help="By how much: 31d, 12h, 1d12h.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Or to this instant.")] = None,
    ref: _Ref = None,
    customer: _Whose = None,
    output_: Output = "",
) -> None:
    """Move a clock ahead and do what falls due on the way, in due order. Never back."""
    from paydesk.flows import clocks
    from paydesk.rules.durations import duration

    if (by is None) == (to is None):
        raise typer.BadParameter("say by how much, or --to where")
    with context.opened(live=False) as env:
        done = clocks.advance(
            env, _named(env, ref, customer), _instant(to) if to else None,
            by=duration(by) if by else None,
        )  # fmt: skip
    output.one(_shape(done), output_)


@clock.command("list")
def clock_list(
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20, output_: Output = ""
) -> None:
    """Clocks that are not deleted, newest first."""
    from paydesk.flows import clocks

    with context.opened() as env:
        found = clocks.list_(env, limit=limit)
    output.rows(
        [_shape(one) for one in found],
        [Column("CLOCK", "id"), Column("NOW", "now"), Column("STATUS", "status"),
         Column("CUSTOMERS", "customers", right=True), Column("NAME", "name", rank=1)],
        output_,
    )  # fmt: skip


@clock.command("show")
def clock_show(ref: _Ref = None, customer: _Whose = None, output_: Output = "") -> None:
    """How one clock stands."""
    with context.opened() as env:
        found = _named(env, ref, customer)
    output.one(_shape(found), output_)


@clock.command("delete")
def clock_delete(
    which: Annotated[
        str | None, typer.Argument(metavar="CLOCK", help="Its id, clock_…")
    ] = None,
    ref: _Ref = None,
    customer: _Whose = None,
    output_: Output = "",
) -> None:
    """Never move it again; its customers stay as they are."""
    from paydesk.flows import clocks

    with context.opened(live=False) as env:
        done = clocks.delete(env, _named(env, which or ref, customer))
    output.one(_shape(done), output_)
