"""Commands about wallets: what is in them, changed them or is held; withdrawals to decide, pay."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from paydesk import causes, ids
from paydesk.cli import context, output
from paydesk.cli.money import User
from paydesk.cli.output import Column, Output

wallets = typer.Typer(help="Customers' wallets.", no_args_is_help=True)
withdrawals = typer.Typer(help="Money on its way out of wallets.", no_args_is_help=True)

_LINES = [
    Column("AT", "at"), Column("TYPE", "type"), Column("AMOUNT", "amount", right=True),
    Column("BALANCE", "balance_after", right=True), Column("REFERENCE", "reference", rank=1),
    Column("REASON", "reason", rank=2),
]  # fmt: skip
Which = Annotated[str, typer.Argument(help="Its id, wd_…")]
Note = Annotated[str | None, typer.Option(help="Why.")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(wallets, name="wallets")
    app.add_typer(withdrawals, name="withdrawals")


# Wallets ----------------------------------------------------------------------------------------


@wallets.command("list")
def wallets_list(customer: User, output_: Output = "") -> None:
    """A customer's wallets, by currency."""
    from paydesk.flows import customers, wallets
    from paydesk.rules.money import Money

    with context.opened() as env:
        owner = customers.ensure(env, customer, create=False).uuid
        with env.db.read() as tx:
            found = wallets.list_(tx, owner)
    output.rows(
        [
            {"id": ids.show("wallet", one.id), "status": one.state,
             **{name: Money(getattr(one, name), one.currency, minor=True)
                for name in ("balance", "held", "owed")}}
            for one in found
        ],
        [Column("WALLET", "id", rank=1), Column("BALANCE", "balance", right=True),
         Column("HELD", "held", right=True), Column("OWED", "owed", right=True),
         Column("STATUS", "status")],
        output_,
    )  # fmt: skip


@wallets.command("history")
def wallets_history(
    customer: User,
    currency: Annotated[str, typer.Argument(help="Such as htg.")],
    limit: Annotated[int, typer.Option(min=1, max=500)] = 20,
    output_: Output = "",
) -> None:
    """What changed a wallet, newest first."""
    from paydesk.flows import customers, wallet_history
    from paydesk.rules.money import Money, currency_code

    code = currency_code(currency)
    with context.opened() as env:
        owner = customers.ensure(env, customer, create=False).uuid
        with env.db.read() as tx:
            found = wallet_history.history(tx, owner, code, limit=limit)
    output.rows(
        [
            {"id": ids.show("transfer", one.id), "at": one.at, "type": one.type,
             "amount": Money(one.amount, code, minor=True),
             "balance_after": Money(one.balance_after, code, minor=True),
             "reason": one.reason, "reference": one.reference}
            for one in found
        ],
        _LINES, output_,
    )  # fmt: skip


@wallets.command("statement")
def wallets_statement(
    customer: User,
    currency: Annotated[str, typer.Argument(help="Such as htg.")],
    start: Annotated[str | None, typer.Option("--from", help="First day.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Last day.")] = None,
    last: Annotated[str | None, typer.Option(help="Such as 30d or 12mo, up to now.")] = None,
    form: Annotated[
        str, typer.Option("--output", "-o", help="table, json or csv; json when piped.")
    ] = "",
) -> None:  # fmt: skip
    """A wallet over a range of time (the last 30 days): before, after, and every line between."""
    import sys

    from paydesk.flows import customers, wallet_history
    from paydesk.rules.money import Money

    if form != "csv":
        output.is_table(form)
    with context.opened() as env:
        owner = customers.ensure(env, customer, create=False).uuid
        found = wallet_history.statement(env, owner, currency, start=start, end=end, last=last)
    if form == "csv":
        sys.stdout.write(found.csv())
        return

    def money(minor: int) -> Money:
        return Money(minor, found.currency, minor=True)

    output.rows(
        [
            {"id": ids.show("transfer", one.id), "at": one.at, "type": one.type,
             "amount": money(one.amount), "balance_after": money(one.balance_after),
             "reason": one.reason, "reference": one.reference}
            for one in found.lines
        ],
        _LINES, form,
    )  # fmt: skip
    output.note(
        f"{found.over.first_day} to {found.over.last_day}: {money(found.opening)}"
        f" + {money(found.came)} - {money(found.went)} = {money(found.closing)}"
    )


@wallets.command("freeze")
def wallets_freeze(
    customer: User, currency: str, reason: Annotated[str | None, typer.Option()] = None,
    output_: Output = "",
) -> None:  # fmt: skip
    """Let nothing leave a wallet."""
    _set_state(customer, currency, "freeze", reason, output_)


@wallets.command("unfreeze")
def wallets_unfreeze(
    customer: User, currency: str, reason: Annotated[str | None, typer.Option()] = None,
    output_: Output = "",
) -> None:  # fmt: skip
    """Open a frozen or closed wallet again."""
    _set_state(customer, currency, "unfreeze", reason, output_)


def _set_state(
    customer: str, currency: str, action: str, reason: str | None, output_: str
) -> None:
    from paydesk.errors import NotFound
    from paydesk.flows import customers, wallets
    from paydesk.rules.money import currency_code

    code = currency_code(currency)
    with context.opened() as env:
        owner = customers.ensure(env, customer, create=False).uuid
        with env.db.read() as tx:
            found = wallets.of(tx, owner, code)
        if found is None:
            raise NotFound(f"This customer has no wallet in {code.upper()}.")
        one = wallets.set_state(
            env, owner, found.id, action, actor=causes.actor("cli"), reason=reason
        )
    output.one({"id": ids.show("wallet", one.id), "currency": code, "status": one.state}, output_)


# Holds ------------------------------------------------------------------------------------------


@wallets.command("holds")
def wallets_holds(
    customer: User,
    status: Annotated[str | None, typer.Option(help="open or closed.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 20,
    state: context.OldStatus = None,
    output_: Output = "",
) -> None:
    """What is set aside of a customer's credits and wallets, and what was, newest first."""
    from paydesk.flows import customers, heads, holds

    with context.opened() as env:
        owner = customers.ensure(env, customer, create=False).uuid
        with env.db.read() as tx:
            found = holds.list_(tx, owner, state=status or state, limit=limit)
        shown = [_hold(one, heads.now(env, owner)) for one in found]
    output.rows(
        shown,
        [Column("HOLD", "id"), Column("STATUS", "status"), Column("AMOUNT", "amount", right=True),
         Column("CAPTURED", "captured", right=True), Column("LEFT", "left", right=True),
         Column("EXPIRES", "expires_at", rank=1), Column("REASON", "reason", rank=2)],
        output_,
    )  # fmt: skip


@wallets.command("release")
def wallets_release(
    hold: Annotated[str, typer.Argument(help="Its id, hold_…")], output_: Output = ""
) -> None:
    """Give back what is left of a hold that nobody ends."""
    from paydesk.flows import heads, holds

    found = ids.parse("hold", hold)
    with context.opened() as env:
        one = holds.release_now(env, ids.customer_of(found), found)
        shown = _hold(one, heads.now(env, one.customer_id))
    output.one(shown, output_)


def _hold(one: Any, now: datetime) -> dict[str, Any]:
    from paydesk.rules.ledger import CREDIT
    from paydesk.rules.money import Money

    def sum_of(amount: int) -> Any:
        return amount if one.asset == CREDIT else Money(amount, one.asset, minor=True)

    return {
        "id": ids.show("hold", one.id), "status": one.status(now),
        "asset": "credits" if one.asset == CREDIT else one.asset, "amount": sum_of(one.amount),
        "captured": sum_of(one.captured), "left": sum_of(one.left), "reason": one.reason,
        "reference": one.reference, "expires_at": one.expires_at,
    }  # fmt: skip


# Withdrawals ------------------------------------------------------------------------------------


def _withdrawal(one: Any) -> dict[str, Any]:
    return {
        "id": ids.show("withdrawal", one.id), "status": one.state, "amount": one.amount,
        "customer": ids.show("customer", one.customer_id), "destination": one.destination,
        "to": None if one.to_id is None else ids.show("customer", one.to_id),
        "requested_by": one.requested_by, "decided_by": one.decided_by,
        "reference": one.paid_reference, "created_at": one.created_at,
    }  # fmt: skip


@withdrawals.command("list")
def withdrawals_list(
    status: Annotated[str | None, typer.Option(help="Only this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    output_: Output = "",
) -> None:
    """Withdrawals and transfers that wait or waited for a person, newest first."""
    from paydesk.flows import withdrawals

    with context.opened() as env, env.db.read() as tx:
        found = withdrawals.list_(tx, state=status, limit=limit)
    output.rows(
        [_withdrawal(one) for one in found],
        [Column("WITHDRAWAL", "id"), Column("STATUS", "status"),
         Column("AMOUNT", "amount", right=True), Column("TO", "destination"),
         Column("CUSTOMER", "customer", rank=1), Column("CREATED", "created_at", rank=2)],
        output_,
    )  # fmt: skip


@withdrawals.command("approve")
def withdrawals_approve(
    withdrawal: Which, note: Note = None, live: context.Live = False, output_: Output = ""
) -> None:
    """Let it be paid out, or move a transfer; somebody else than who asked for it decides."""
    _decide(withdrawal, "approve", note, output_, live=live)


@withdrawals.command("reject")
def withdrawals_reject(withdrawal: Which, note: Note = None, output_: Output = "") -> None:
    """Refuse it: its money is in the wallet again."""
    _decide(withdrawal, "reject", note, output_)


@withdrawals.command("paid")
def withdrawals_paid(
    withdrawal: Which,
    reference: Annotated[str, typer.Argument(help="Of the transfer that sent the money.")],
    live: context.Live = False,
    output_: Output = "",
) -> None:
    """Say that the money was sent."""
    from paydesk.flows import withdrawals

    found = ids.parse("withdrawal", withdrawal)
    with context.opened(live=live) as env:
        one = withdrawals.mark_paid(
            env, ids.customer_of(found), found, reference, by=causes.actor("cli")
        )
    output.one(_withdrawal(one), output_)


def _decide(
    withdrawal: str, decision: str, note: str | None, output_: str, *, live: bool = True
) -> None:
    from paydesk.flows import withdrawals

    found = ids.parse("withdrawal", withdrawal)
    with context.opened(live=live) as env:
        one = withdrawals.decide(
            env, ids.customer_of(found), found, decision, by=causes.actor("cli"), note=note
        )
    output.one(_withdrawal(one), output_)
