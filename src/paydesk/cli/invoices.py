"""Commands about invoices: look, print, charge, void, give back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import typer

from paydesk import causes, ids
from paydesk.cli import context, output
from paydesk.cli.output import Column, Output

invoices = typer.Typer(help="Invoices and credit notes.", no_args_is_help=True)

Which = Annotated[str, typer.Argument(help="Its id, inv_…")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(invoices, name="invoices")


def _row(one: Any) -> dict[str, Any]:
    return {
        "id": ids.show("invoice", one.id), "number": one.number, "status": one.status,
        "customer": ids.show("customer", one.customer_id), "reason": one.reason,
        "total": one.total, "balance": one.balance, "due": one.due, "remaining": one.remaining,
        "credited": one.credited, "attempts": one.attempts, "error_code": one.error_code,
        "period_start": one.period_start, "period_end": one.period_end,
        "due_at": one.due_at, "paid_at": one.paid_at, "url": one.page_url,
        "created_at": one.created_at,
    }  # fmt: skip


@invoices.command("list")
def invoices_list(
    customer: Annotated[str | None, typer.Option(help="Only this customer's.")] = None,
    status: Annotated[str | None, typer.Option(help="draft, open, paid, void, "
                                                    "uncollectible.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    user: context.OldCustomer = None,
    output_: Output = "",
) -> None:  # fmt: skip
    """Invoices, newest first."""
    from paydesk.flows import customers
    from paydesk.flows import invoices as flow

    with context.opened() as env:
        whose = customer or user
        owner = customers.ensure(env, whose, create=False).uuid if whose else None
        found = flow.list_(env, owner, status=status, limit=limit)
    output.rows(
        [_row(one) for one in found],
        [Column("NUMBER", "number"), Column("STATUS", "status"),
         Column("TOTAL", "total", right=True), Column("TO PAY", "remaining", right=True),
         Column("INVOICE", "id", rank=1), Column("CREATED", "created_at", rank=1),
         Column("CUSTOMER", "customer", rank=2)],
        output_,
    )  # fmt: skip


@invoices.command("show")
def invoices_show(invoice: Which, output_: Output = "") -> None:
    """One invoice with its lines."""
    from paydesk.flows import invoices as flow

    with context.opened() as env:
        one = flow.get(env, None, ids.parse("invoice", invoice))
    lines = [
        {"id": ids.show("invoice_item", i.id), "kind": i.kind, "description": i.description,
         "amount": i.amount, "why": i.why}
        for i in one.items
    ]  # fmt: skip
    output.one({**_row(one), "lines": lines}, output_)


@invoices.command("pdf")
def invoices_pdf(
    invoice: Annotated[str, typer.Argument(help="An invoice's id, inv_…, or a credit note's, "
                                                "cn_…")],
    to: Annotated[Path | None, typer.Option(help="Where to write it; its number.pdf "
                                                 "without.")] = None,
    locale: Annotated[str | None, typer.Option(help="en, fr, ht.")] = None,
) -> None:  # fmt: skip
    """Write the document."""
    from paydesk.flows import credit_notes, invoice_papers
    from paydesk.flows import invoices as flow

    with context.opened() as env:
        if invoice.startswith("cn_"):
            note = credit_notes.get(env, None, invoice)
            name, content = invoice_papers.note_pdf(env, note, locale)
        else:
            one = flow.get(env, None, ids.parse("invoice", invoice))
            name, content = invoice_papers.invoice_pdf(env, one, locale)
    path = to or Path(name)
    path.write_bytes(content)
    typer.echo(str(path))


@invoices.command("pay")
def invoices_pay(
    invoice: Which,
    method: Annotated[str | None, typer.Option(help="A saved method; the default one "
                                                    "without.")] = None,
    live: context.Live = False,
    output_: Output = "",
) -> None:  # fmt: skip
    """Charge a saved method for what is due."""
    from paydesk.flows import invoices as flow
    from paydesk.flows.invoice_views import key_of

    with context.opened(live=live) as env:
        one = flow.pay(env, *key_of(invoice), method=method, off_session=True)
    output.one(_row(one), output_)


@invoices.command("void")
def invoices_void(invoice: Which, live: context.Live = False, output_: Output = "") -> None:
    """Ask for nothing any more; what the customer's balance paid is given back."""
    from paydesk.flows import invoices as flow
    from paydesk.flows.invoice_views import key_of

    with context.opened(live=live) as env:
        one = flow.void(env, *key_of(invoice))
    output.one(_row(one), output_)


@invoices.command("give-up")
def invoices_give_up(invoice: Which, live: context.Live = False, output_: Output = "") -> None:
    """Mark it uncollectible: no more tries, though it may still be paid."""
    from paydesk.flows import invoices as flow
    from paydesk.flows.invoice_views import key_of

    with context.opened(live=live) as env:
        one = flow.mark_uncollectible(env, *key_of(invoice))
    output.one(_row(one), output_)


def _line_of(invoice: Any, ref: str) -> Any:
    """A line of an invoice. Raises NotFound."""
    from paydesk.errors import NotFound

    wanted = ids.parse("invoice_item", ref)
    found = next((one for one in invoice.items if one.id == wanted), None)
    if found is None:
        raise NotFound(f"No such line of this invoice: {ref[:64]!r}.")
    return found


@invoices.command("credit")
def invoices_credit(
    invoice: Which,
    amount: Annotated[str | None, typer.Argument(help="Such as 4.50; all that is left without "
                                                      "one.")] = None,
    line: Annotated[str | None, typer.Option(help="The line that it is about, ii_…: all of it, "
                                                  "with its taxes, without an amount.")] = None,
    to_balance: Annotated[bool, typer.Option("--to-balance", help="To the customer's balance, "
                                                                  "not to the payer.")] = False,
    reason: Annotated[str | None, typer.Option(help="Such as requested_by_customer.")] = None,
    memo: Annotated[str | None, typer.Option(help="For the customer.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    key: Annotated[str | None, typer.Option(
        help="Makes a repeat harmless: the same key gives back once.")] = None,
    live: context.Live = False,
    output_: Output = "",
) -> None:  # fmt: skip
    """Give an invoice back by a credit note, wholly or in part."""
    from paydesk.flows import credit_notes, invoice_views
    from paydesk.flows import invoices as flow
    from paydesk.rules.money import Money

    with context.opened(live=live) as env:
        one = flow.get(env, None, ids.parse("invoice", invoice))
        left = Money(one.total.minor - one.credited.minor, one.currency, minor=True)
        about = _line_of(one, line) if line else None
        whole = invoice_views.whole_of(one.items, about) if about else left
        money = Money(amount, one.currency) if amount else whole
        if not yes:
            typer.confirm(f"Give {money} of {one.number or invoice} back?", abort=True, err=True)
        note = credit_notes.create(env, credit_notes.NewNote(
            customer_id=one.customer_id, invoice_id=one.id, by=causes.actor("cli"),
            amount=money, balance=money if to_balance else None, reason=reason, memo=memo,
            items=[(about.id, money.minor)] if about else (),
            request_key=ids.request_key("cli", key) if key else uuid4(),
        ))  # fmt: skip
    output.one({
        "id": ids.show("credit_note", note.id), "number": note.number, "status": note.status,
        "amount": note.amount, "tax": note.tax, "refunded": note.refunded,
        "balance": note.balance, "written_off": note.written_off,
        "refund_status": note.refund_status,
    }, output_)  # fmt: skip
