"""Commands about disputes: what the bank brings up, the evidence against it, and its end."""

from __future__ import annotations

import mimetypes
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from paydesk import causes, ids
from paydesk.cli import context, output
from paydesk.cli.output import Column, Output
from paydesk.errors import InvalidRequest

disputes = typer.Typer(help="Disputes of payments.", no_args_is_help=True)

Which = Annotated[str, typer.Argument(help="dp_…, or the provider's id.")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(disputes, name="disputes")


def _dispute(one: Any) -> dict[str, Any]:
    return {
        "id": ids.show("dispute", one.id), "status": one.state, "amount": one.amount,
        "reason": one.reason, "due_at": one.due_at, "withdrawn": one.withdrawn,
        "reinstated": one.reinstated, "fee": one.fee, "loss": one.loss,
        "payment": ids.show("payment", one.payment_id),
        "customer": ids.show("customer", one.customer_id), "provider_dispute": one.ref,
        "submitted_at": one.submitted_at, "opened_at": one.opened_at, "closed_at": one.closed_at,
    }  # fmt: skip


def _whole(one: Any) -> dict[str, Any]:
    files = [{"field": f.field, "name": f.name, "size": f.size, "reached": f.ref is not None}
             for f in one.files]  # fmt: skip
    return {**_dispute(one), "evidence": one.evidence, "files": files}


@disputes.command("list")
def disputes_list(
    status: Annotated[str | None, typer.Option(help="Only this status.")] = None,
    customer: Annotated[str | None, typer.Option(help="Only this customer's.")] = None,
    is_open: Annotated[bool, typer.Option("--open", help="Only those that take evidence.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    output_: Output = "",
) -> None:
    """Disputes, newest first."""
    from paydesk.flows import customers as found
    from paydesk.flows import disputes as flow

    with context.opened() as env:
        owner = found.ensure(env, customer, create=False).uuid if customer else None
        rows = flow.list_(env, owner, status=status, is_open=is_open or None, limit=limit)
    output.rows(
        [_dispute(one) for one in rows],
        [Column("DISPUTE", "id"), Column("STATUS", "status"),
         Column("AMOUNT", "amount", right=True), Column("REASON", "reason", rank=1),
         Column("DUE", "due_at", rank=1), Column("PAYMENT", "payment", rank=2)],
        output_,
    )  # fmt: skip


@disputes.command("show")
def disputes_show(dispute: Which, output_: Output = "") -> None:
    """One dispute with its evidence and files."""
    from paydesk.flows import disputes as flow

    with context.opened() as env:
        one = flow.get(env, None, dispute)
    output.one(_whole(one), output_)


@disputes.command("suggest")
def disputes_suggest(dispute: Which, output_: Output = "") -> None:
    """Texts of evidence from what is on record: who bought what when, and used what since."""
    from paydesk.flows import dispute_suggestions
    from paydesk.flows import disputes as flow

    with context.opened() as env:
        found = dispute_suggestions.suggest(env, *flow.get(env, None, dispute).key)
    output.one(found, output_)


@disputes.command("evidence")
def disputes_evidence(
    dispute: Which,
    text: Annotated[list[str] | None, typer.Option(
        help="FIELD=words, or FIELD=@file; without words it is taken out.")] = None,
    file: Annotated[list[str] | None, typer.Option(
        help="FIELD=path of a PDF, PNG or JPEG.")] = None,
    suggested: Annotated[bool, typer.Option(
        "--suggested", help="Begin with what is on record; what is named goes before it.")] = False,
    output_: Output = "",
) -> None:  # fmt: skip
    """Change the draft. Nothing goes to the bank before it is submitted."""
    from paydesk.flows import dispute_evidence, dispute_suggestions
    from paydesk.flows import disputes as flow

    texts = dict(_pair(one) for one in text or ())
    files = [_pair(one) for one in file or ()]
    with context.opened() as env:
        one = flow.get(env, None, dispute)
        if suggested:
            texts = dispute_suggestions.suggest(env, *one.key) | texts
        if texts:
            told = {name: _words(words) for name, words in texts.items()}
            one = dispute_evidence.save_draft(env, *one.key, told, by=causes.actor("cli"))
        for field, named in files:
            path = Path(named)
            one = dispute_evidence.add_file(
                env, *one.key, field=field, name=path.name, content=_read(path),
                content_type=mimetypes.guess_type(path.name)[0] or "", by=causes.actor("cli"),
            )  # fmt: skip
    output.one(_whole(one), output_)


def _pair(option: str) -> tuple[str, str]:
    field, equals, value = option.partition("=")
    if not equals:
        raise InvalidRequest(f"{option[:40]!r} is no FIELD=VALUE.", param="evidence")
    return field.strip(), value


def _words(value: str) -> str:
    """The words themselves, or those of the file after an @."""
    return _read(Path(value[1:])).decode(errors="replace") if value.startswith("@") else value


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise InvalidRequest(f"{path} cannot be read: {exc.strerror}.", param="file") from None


@disputes.command("submit")
def disputes_submit(
    dispute: Which,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    live: context.Live = False,
    output_: Output = "",
) -> None:
    """Send the drafted evidence to the bank. It can be done once."""
    from paydesk.flows import dispute_evidence

    _end(dispute, dispute_evidence.submit, "Submit the evidence of", yes, live, output_)


@disputes.command("accept")
def disputes_accept(
    dispute: Which,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    live: context.Live = False,
    output_: Output = "",
) -> None:
    """Give a dispute up: the money stays with the bank."""
    from paydesk.flows import dispute_evidence

    _end(dispute, dispute_evidence.accept, "Give up", yes, live, output_)


def _end(dispute: str, step: Any, words: str, yes: bool, live: bool, output_: str) -> None:
    from paydesk.flows import disputes as flow

    with context.opened(live=live) as env:
        one = flow.get(env, None, dispute)
        shown = ids.show("dispute", one.id)
        if not yes and sys.stdin.isatty():
            typer.confirm(f"{words} {shown} over {one.amount}?", abort=True)
        done = step(env, *one.key, by=causes.actor("cli"))
    output.one(_dispute(done), output_)
