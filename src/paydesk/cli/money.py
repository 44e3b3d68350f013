"""Commands about money: payments, customers and their credits."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import typer

from paydesk import causes, ids
from paydesk.cli import context, output
from paydesk.cli.output import Column, Output

payments = typer.Typer(help="Payments.", no_args_is_help=True)
customers = typer.Typer(help="Customers.", no_args_is_help=True)
credits = typer.Typer(help="Customers' credits.", no_args_is_help=True)

User = Annotated[
    str, typer.Argument(metavar="CUSTOMER", help="Your own id of the customer, or cus_…")
]
Key = Annotated[str, typer.Option(help="Makes a repeat harmless: the same key counts once.")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(payments, name="payments")
    app.add_typer(customers, name="customers")
    app.add_typer(credits, name="credits")


# Payments -----------------------------------------------------------------------------------------


def _payment(view: Any) -> dict[str, Any]:
    return {
        "id": ids.show("payment", view.id),
        "status": view.state,
        "amount": view.amount,
        "captured": view.captured,
        "credits": view.credits,
        "credits_added": view.credits_added,
        "customer": ids.show("customer", view.customer_id),
        "for": view.package_name or view.description,
        "method": view.method,
        "review": view.review,
        "created_at": view.created_at,
    }


_PAYMENTS = [
    Column("PAYMENT", "id"), Column("STATUS", "status"), Column("AMOUNT", "amount", right=True),
    Column("CREDITS", "credits", right=True, rank=1), Column("FOR", "for", rank=3),
    Column("CUSTOMER", "customer", rank=2), Column("CREATED", "created_at", rank=1),
]  # fmt: skip


@payments.command("list")
def payments_list(
    status: Annotated[str | None, typer.Option(help="Only this status.")] = None,
    customer: Annotated[str | None, typer.Option(help="Only this customer's.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    output_: Output = "",
) -> None:
    """Payments, newest first."""
    from paydesk.flows import customers as flow
    from paydesk.flows import payments as found

    with context.opened() as env:
        owner = flow.ensure(env, customer, create=False).uuid if customer else None
        views = found.list_(env, owner, status=status, limit=limit)
    output.rows([_payment(view) for view in views], _PAYMENTS, output_)


@payments.command("show")
def payments_show(
    payment: Annotated[str, typer.Argument(help="pay_…, cs_…, or the provider's id.")],
    output_: Output = "",
) -> None:
    """One payment with its timeline."""
    from paydesk.flows import payment_trail
    from paydesk.flows import payments as flow

    with context.opened() as env:
        view = flow.get(env, None, payment)
        with env.db.read() as tx:
            steps = payment_trail.timeline(tx, view)
    timeline = [
        {"at": s.at, "type": s.type, "actor": s.actor, "via": s.via, "request_id": s.request_id,
         "data": s.data}
        for s in steps
    ]  # fmt: skip
    if not output.is_table(output_):
        output.one({**_payment(view), "timeline": timeline}, output_)
        return
    output.one(_payment(view), output_)
    typer.echo()
    output.rows(timeline, [Column("WHEN", "at"), Column("WHAT", "type"), Column("WHO", "actor"),
                           Column("VIA", "via"), Column("REQUEST", "request_id", rank=1),
                           Column("", "data", rank=2)], output_)  # fmt: skip


@payments.command("verify")
def payments_verify(
    payment: Annotated[str, typer.Argument(help="pay_…, cs_…, or the provider's session.")],
    output_: Output = "",
) -> None:
    """Ask the provider how a payment stands and record the answer. Safe to repeat."""
    from paydesk.flows import checkout

    with context.opened() as env:
        view = checkout.verify(env, payment, path="admin")
    output.one(_payment(view.payment), output_)


# Customers ----------------------------------------------------------------------------------------


@customers.command("show")
def customers_show(user: User, output_: Output = "") -> None:
    """One customer with balance and sums."""
    from paydesk.flows import credits as flow
    from paydesk.flows import customers as found
    from paydesk.flows import payments as paid

    with context.opened() as env:
        customer = found.ensure(env, user, create=False)
        with env.db.read() as tx:
            balance = flow.balance(tx, customer.uuid, env.now())
        stats = paid.stats(env, customer.uuid)
    output.one({
        "id": customer.id, "external_id": customer.external_id, "email": customer.email,
        "name": customer.name, "balance": balance.total, "next_expiry": balance.next_expiry,
        "payments": stats.total_payments, "spent": list(stats.spent.values()),
        "metadata": customer.metadata, "created_at": customer.created_at,
    }, output_)  # fmt: skip


# Credits ------------------------------------------------------------------------------------------


@credits.command("balance")
def credits_balance(user: User, output_: Output = "") -> None:
    """What can be spent now, by kind and by expiry."""
    from paydesk.flows import credits as flow
    from paydesk.flows import customers as found

    with context.opened() as env:
        customer = found.ensure(env, user, create=False)
        with env.db.read() as tx:
            balance = flow.balance(tx, customer.uuid, env.now())
    output.one({
        "customer": customer.external_id, "balance": balance.total, **balance.by_kind,
        "by_expiry": [{"expires_at": at, "credits": n} for at, n in balance.by_expiry],
    }, output_)  # fmt: skip


@credits.command("history")
def credits_history(
    user: User,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 20,
    output_: Output = "",
) -> None:
    """What changed a balance, newest first."""
    from paydesk.flows import credits as flow
    from paydesk.flows import customers as found

    with context.opened() as env:
        customer = found.ensure(env, user, create=False)
        with env.db.read() as tx:
            lines = flow.history(tx, customer.uuid, limit=limit)
    rows = [
        {"id": ids.show("transfer", line.id), "type": line.type, "amount": line.amount,
         "balance_after": line.balance_after, "reason": line.reason, "reference": line.reference,
         "kind": line.kind, "at": line.at}
        for line in lines
    ]  # fmt: skip
    columns = [
        Column("WHEN", "at"), Column("TYPE", "type"), Column("CREDITS", "amount", right=True),
        Column("BALANCE", "balance_after", right=True), Column("REFERENCE", "reference", rank=1),
        Column("TRANSFER", "id", rank=2),
    ]  # fmt: skip
    output.rows(rows, columns, output_)


@credits.command("grant")
def credits_grant(
    user: User,
    amount: Annotated[int, typer.Argument(help="Whole credits.", min=1)],
    kind: Annotated[str, typer.Option(help="promotional, purchased, membership.")] = "promotional",
    days: Annotated[int | None, typer.Option(help="Days they last.", min=1)] = None,
    key: Key = "",
    live: context.Live = False,
    output_: Output = "",
) -> None:
    """Give credits. The customer is made where there is none."""
    from paydesk.flows import credits as flow
    from paydesk.flows import customers as found
    from paydesk.flows import heads

    with context.opened(live=live) as env:
        customer = found.ensure(env, user)
        last = days or env.settings.credit_expiry_days
        done = flow.grant_now(
            env, customer.uuid, amount, kind=kind,
            expires_at=heads.now(env, customer.uuid) + timedelta(days=last),
            request_key=_request_key("grant", customer.id, key),
            actor=causes.actor("cli"),
        )  # fmt: skip
        with env.db.read() as tx:
            balance = flow.balance_total(tx, customer.uuid, env.now())
    output.one({"transfer": ids.show("transfer", done.transfer_id), "granted": amount,
                "balance": balance, "same": done.same}, output_)  # fmt: skip


@credits.command("spend")
def credits_spend(
    user: User,
    amount: Annotated[int, typer.Argument(help="Whole credits.", min=1)],
    reason: Annotated[str | None, typer.Option(help="What for.")] = None,
    reference: Annotated[str | None, typer.Option(help="Your own number of it.")] = None,
    key: Key = "",
    live: context.Live = False,
    output_: Output = "",
) -> None:
    """Take credits, oldest batches first. Refuses more than there is."""
    from paydesk.flows import credits as flow
    from paydesk.flows import customers as found

    with context.opened(live=live) as env:
        customer = found.ensure(env, user, create=False)
        item = flow.new_spend(
            customer.uuid, amount, reason, reference=reference,
            request_key=_request_key("spend", customer.id, key),
        )  # fmt: skip
        done = flow.raise_for(flow.spend_now(env, item))
    output.one({"transfer": ids.show("transfer", done.transfer_id), "spent": amount,
                "balance": done.balance, "same": done.status == "same"}, output_)  # fmt: skip


def _request_key(what: str, customer: str, key: str):
    return ids.request_key("cli", what, customer, key) if key else None
