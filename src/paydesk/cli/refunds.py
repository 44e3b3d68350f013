"""Commands about refunds: what it would do, do it, what waits, decide it."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any
from uuid import uuid4

import typer

from paydesk import causes, ids
from paydesk.cli import context, output
from paydesk.cli.money import payments
from paydesk.cli.output import Column, Output

refunds = typer.Typer(help="Refunds.", no_args_is_help=True)

Which = Annotated[str, typer.Argument(help="Its id, re_…")]
Note = Annotated[str | None, typer.Option(help="Why.")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(refunds, name="refunds")


def _row(one: Any) -> dict[str, Any]:
    return {
        "id": ids.show("refund", one.id), "status": one.state, "amount": one.amount,
        "payment": ids.show("payment", one.payment_id), "reason": one.reason,
        "credits_taken_back": one.credits_taken_back, "credits_owed": one.credits_owed,
        "requested_by": one.requested_by, "decided_by": one.decided_by,
        "provider_refund": one.provider_ref, "error_code": one.error_code,
        "created_at": one.created_at,
    }  # fmt: skip


@payments.command("refund")
def payments_refund(
    payment: Annotated[str, typer.Argument(help="pay_…, cs_…, or the provider's id.")],
    amount: Annotated[str | None, typer.Argument(help="Such as 4.50; all that is left without "
                                                      "one.")] = None,
    reason: Annotated[str | None, typer.Option(help="Such as requested_by_customer.")] = None,
    note: Note = None,
    force: Annotated[bool, typer.Option(help="After the refund window has ended, too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    key: Annotated[str | None, typer.Option(
        help="Makes a repeat harmless: the same key refunds once.")] = None,
    live: context.Live = False,
    output_: Output = "",
) -> None:  # fmt: skip
    """Give a payment back, wholly or in part, with the goods it bought."""
    from paydesk.flows import payments as paid
    from paydesk.flows import refund_views
    from paydesk.flows import refunds as flow
    from paydesk.rules.money import Money

    with context.opened(live=live) as env:
        found = paid.get(env, None, payment)
        money = None if amount is None else Money(amount, found.currency)
        wanted = ids.request_key("cli", key) if key else uuid4()
        with env.db.read() as tx:
            is_known = refund_views.of_request(tx, found.customer_id, wanted) is not None
        if not yes and not is_known:
            seen = flow.preview(env, found.customer_id, found.id, money)
            typer.echo("\n".join(seen.summary), err=True)
            typer.confirm(f"Refund {seen.amount}?", abort=True, err=True)
        told = f"{found.id} {money} {reason} {note} {force}"
        one = flow.request(env, flow.WantRefund(
            customer_id=found.customer_id, payment_id=found.id, by=causes.actor("cli"),
            amount=money, reason=reason, note=note, force=force, request_key=wanted,
            request_hash=hashlib.sha256(told.encode()).digest(),
        ))  # fmt: skip
    output.one(_row(one), output_)


@refunds.command("list")
def refunds_list(
    status: Annotated[str | None, typer.Option(help="Such as requested.")] = None,
    payment: Annotated[str | None, typer.Option(help="Only this payment's.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    output_: Output = "",
) -> None:
    """Refunds, newest first."""
    from paydesk.flows import payments as paid
    from paydesk.flows import refunds as flow

    with context.opened() as env:
        named = paid.get(env, None, payment).id if payment else None
        found = flow.list_(env, payment_id=named, status=status, limit=limit)
    output.rows(
        [_row(one) for one in found],
        [Column("REFUND", "id"), Column("STATUS", "status"),
         Column("AMOUNT", "amount", right=True), Column("PAYMENT", "payment", rank=1),
         Column("REASON", "reason", rank=2), Column("CREATED", "created_at", rank=1)],
        output_,
    )  # fmt: skip


@refunds.command("show")
def refunds_show(refund: Which, output_: Output = "") -> None:
    """One refund, as it stands."""
    from paydesk.flows import refunds as flow

    with context.opened() as env:
        one = flow.get(env, None, ids.parse("refund", refund))
    output.one(_row(one), output_)


@refunds.command("approve")
def refunds_approve(
    refund: Which, note: Note = None, live: context.Live = False, output_: Output = ""
) -> None:
    """Carry out what somebody else asked for."""
    _decide(refund, "approve", note, output_, live=live)


@refunds.command("reject")
def refunds_reject(refund: Which, note: Note = None, output_: Output = "") -> None:
    """Refuse what somebody else asked for."""
    _decide(refund, "reject", note, output_)


def _decide(refund: str, action: str, note: str | None, output_: str, *, live: bool = True) -> None:
    from paydesk.flows import refunds as flow

    found = ids.parse("refund", refund)
    with context.opened(live=live) as env:
        one = flow.decide(
            env, ids.customer_of(found), found, action, by=causes.actor("cli"), note=note
        )
    output.one(_row(one), output_)


@refunds.command("paid")
def refunds_paid(
    refund: Which,
    reference: Annotated[str, typer.Argument(help="What whoever paid it back calls it.")],
    live: context.Live = False,
    output_: Output = "",
) -> None:
    """Say that a refund which no provider carries out was paid by hand."""
    from paydesk.flows import refunds as flow

    found = ids.parse("refund", refund)
    with context.opened(live=live) as env:
        one = flow.settle_offline(
            env, ids.customer_of(found), found, "paid", by=causes.actor("cli"),
            reference=reference,
        )  # fmt: skip
    output.one(_row(one), output_)
