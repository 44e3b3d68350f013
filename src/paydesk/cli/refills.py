"""Commands about refills: who has one, how it stands, setting one and turning it off."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from paydesk import causes, ids
from paydesk.cli import context, output
from paydesk.cli.money import User
from paydesk.cli.output import Column, Output

refills = typer.Typer(help="Credits and wallets filled again by themselves.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(refills, name="refills")


def _row(one: Any) -> dict[str, Any]:
    from paydesk.rules.money import Money

    def sum_of(minor: int | None) -> Any:
        if minor is None or one.currency is None:
            return minor
        return Money(minor, one.currency, minor=True)

    return {
        "id": ids.show("refill", one.id), "customer": ids.show("customer", one.customer_id),
        "status": one.state, "below": sum_of(one.threshold),
        "buys": one.pack or (f"{one.credits} credits" if one.credits else sum_of(one.amount_minor)),
        "refills": one.number, "day_count": one.day_count, "month_count": one.month_count,
        "day_minor": one.day_minor, "month_minor": one.month_minor, "failures": one.failures,
        "why": one.pause_reason or one.error_code, "last_at": one.last_at,
        "retry_at": one.retry_at, "created_at": one.created_at,
    }  # fmt: skip


@refills.command("list")
def refills_list(
    customer: Annotated[str | None, typer.Option(help="Only this customer's.")] = None,
    status: Annotated[str | None, typer.Option(help="active, paused or off.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    user: context.OldCustomer = None,
    output_: Output = "",
) -> None:
    """Refills, newest first."""
    from paydesk.flows import customers
    from paydesk.flows import refills as flow

    with context.opened() as env:
        whose = customer or user
        owner = customers.ensure(env, whose, create=False).uuid if whose else None
        found = flow.list_(env, owner, state=status, limit=limit)
    output.rows(
        [_row(one) for one in found],
        [Column("REFILL", "id"), Column("STATUS", "status"), Column("BELOW", "below", right=True),
         Column("BUYS", "buys"), Column("REFILLS", "refills", right=True, rank=1),
         Column("WHY", "why", rank=1), Column("CUSTOMER", "customer", rank=2)],
        output_,
    )  # fmt: skip


@refills.command("set")
def refills_set(
    customer: User,
    below: Annotated[str, typer.Option(help="Fill below this: credits, or money of the wallet.")],
    pack: Annotated[str | None, typer.Option(help="A pack's key.")] = None,
    credits: Annotated[int | None, typer.Option(min=1, help="So many credits.")] = None,
    wallet: Annotated[str | None, typer.Option(help="The wallet's currency, such as htg.")] = None,
    amount: Annotated[str | None, typer.Option(help="What to put into the wallet.")] = None,
    method: Annotated[str | None, typer.Option(help="pm_…; the default one unless told.")] = None,
    day_count: Annotated[int, typer.Option(help="Most refills of a day.")] = 3,
    month_count: Annotated[int, typer.Option(help="Most refills of a month.")] = 20,
    day_amount: Annotated[
        str | None, typer.Option(help="Most money of a day, in the currency it costs.")
    ] = None,
    month_amount: Annotated[str | None, typer.Option(help="Most money of a month.")] = None,
    pause_after: Annotated[int, typer.Option(help="Failures in a row.")] = 3,
    output_: Output = "",
) -> None:
    """Charge a saved method whenever little is left; again with other options changes it."""
    from paydesk.errors import InvalidRequest
    from paydesk.flows import customers
    from paydesk.flows import refills as flow
    from paydesk.rules.money import Money

    if (wallet is None) != (amount is None):
        raise InvalidRequest("A wallet needs --wallet and --amount.", param="amount")
    if wallet is None and not below.isdigit():
        raise InvalidRequest("--below is a number of credits.", param="below")
    with context.opened() as env, causes.by(causes.actor("cli"), "refill"):
        what = flow.SetRefill(
            customer_id=customers.ensure(env, customer, create=False).uuid,
            threshold=Money(below, wallet) if wallet else int(below), pack=pack, credits=credits,
            wallet=Money(amount, wallet) if wallet and amount else None, method=method,
            day_count=day_count, month_count=month_count, pause_after=pause_after,
        )  # fmt: skip
        one = flow.set_(env, flow.limited(env, what, day_amount, month_amount))
    output.one(_row(one), output_)


@refills.command("off")
def refills_off(
    refill: Annotated[str, typer.Argument(help="Its id, rfl_…")], output_: Output = ""
) -> None:
    """Buy nothing more; a payment that is under way is finished."""
    from paydesk.flows import refills as flow

    with context.opened() as env:
        one = flow.off(env, None, refill)
    output.one(_row(one), output_)
