"""Commands about subscriptions: list, show, change, cancel, and do what is due."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from paydesk import causes, ids
from paydesk.cli import context, output
from paydesk.cli.output import Column, Output

subscriptions = typer.Typer(help="Subscriptions.", no_args_is_help=True)

Which = Annotated[str, typer.Argument(help="Its id, sub_…")]
When = Literal["now", "period_end"]
Whose = Annotated[str, typer.Argument(help="Our id of the customer, or yours.")]
Plan = Annotated[str, typer.Argument(help="The plan's key or id.")]
Seats = Annotated[int, typer.Option(min=1, help="How many.")]
Currency = Annotated[str | None, typer.Option(help="Of the plan's prices.")]
Promo = Annotated[str | None, typer.Option(help="A code that takes something off.")]
Trial = Annotated[int | None, typer.Option(min=0, max=730, help="Else as the plan has it.")]
Runner = Annotated[Literal["paydesk", "provider"], typer.Option(help="Who bills it.")]
Zone = Annotated[str | None, typer.Option(help="Whose days it goes by, such as Europe/Paris.")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(subscriptions, name="subscriptions")


def _row(one: Any) -> dict[str, Any]:
    return {
        "id": ids.show("subscription", one.id), "status": one.state, "runner": one.runner,
        "plan": one.plan_key,
        "customer": ids.show("customer", one.customer_id), "seats": one.quantity,
        "amount": one.amount, "version": one.plan_version, "from": one.period_start,
        "until": one.period_end, "trial_end": one.trial_end, "cancel_at": one.cancel_at,
        "cancel_reason": one.cancel_reason, "ended_at": one.ended_at,
        "end_reason": one.end_reason, "paused_at": one.paused_at,
        "next": one.next and f"{one.next['plan']} x {one.next['quantity']}",
        "action_url": one.action_url,
        "invoice": one.latest_invoice_id and ids.show("invoice", one.latest_invoice_id),
        "due_at": one.due_at, "created_at": one.created_at,
    }  # fmt: skip


@subscriptions.command("list")
def subscriptions_list(
    customer: Annotated[str | None, typer.Option(help="Only this customer's.")] = None,
    status: Annotated[str | None, typer.Option(help="Such as past_due.")] = None,
    plan: Annotated[str | None, typer.Option(help="Its key or id.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    output_: Output = "",
) -> None:
    """Subscriptions, newest first."""
    from paydesk.flows import customers
    from paydesk.flows import subscriptions as flow

    with context.opened() as env:
        who = customers.ensure(env, customer, create=False).uuid if customer else None
        found = flow.list_(env, who, state=status, plan=plan, limit=limit)
    output.rows(
        [_row(one) for one in found],
        [Column("SUBSCRIPTION", "id"), Column("STATUS", "status"), Column("PLAN", "plan"),
         Column("AMOUNT", "amount", right=True), Column("UNTIL", "until", rank=1),
         Column("CUSTOMER", "customer", rank=1), Column("NEXT", "next", rank=2)],
        output_,
    )  # fmt: skip


@subscriptions.command("show")
def subscriptions_show(subscription: Which, output_: Output = "") -> None:
    """One subscription, as it stands."""
    from paydesk.flows import subscriptions as flow

    with context.opened() as env:
        one = flow.get(env, None, subscription)
    output.one(_row(one), output_)


@subscriptions.command("preview")
def subscriptions_preview(
    customer: Whose,
    plan: Plan,
    seats: Seats = 1,
    currency: Currency = None,
    promo: Promo = None,
    trial_days: Trial = None,
    runner: Runner = "paydesk",
    zone: Zone = None,
    output_: Output = "",
) -> None:
    """What beginning would cost, now and next; nothing is written. Take its token to `start`."""
    from paydesk.flows import customers, subscription_offers
    from paydesk.flows.subscriptions import NewSubscription

    with context.opened() as env:
        who = customers.ensure(env, customer, create=False).uuid
        seen = subscription_offers.preview_of(env, NewSubscription(
            customer_id=who, plan=plan, quantity=seats, currency=currency, promo=promo,
            trial_days=trial_days, runner=runner, zone=zone,
        ))  # fmt: skip
    output.one(_first(seen), output_)


def _first(seen: Any) -> dict[str, Any]:
    """What a beginning would cost, as it is printed."""
    from paydesk.rules.money import Money

    lines = [
        {"kind": i.kind, "description": i.description, "why": i.why,
         "amount": Money(i.amount_minor, seen.total.currency, minor=True)}
        for i in seen.lines
    ]  # fmt: skip
    return {
        "customer": ids.show("customer", seen.customer_id), "plan": seen.plan,
        "seats": seen.quantity, "way": seen.way, "lines": lines, "total": seen.total,
        "from_balance": seen.from_balance, "due": seen.due, "due_now": seen.due_now,
        "first_at": seen.at, "trial_days": seen.trial_days,
        "promo": (seen.code or {}).get("code"), "next_at": seen.next_at,
        "next_amount": seen.next_amount, "next_total": seen.next_total, "token": seen.token,
    }  # fmt: skip


@subscriptions.command("start")
def subscriptions_start(
    customer: Whose,
    plan: Plan,
    seats: Seats = 1,
    currency: Currency = None,
    promo: Promo = None,
    trial_days: Trial = None,
    runner: Runner = "paydesk",
    zone: Zone = None,
    expect: Annotated[str | None, typer.Option(help="A preview's token: refused where it would "
                                               "cost another sum.")] = None,
    key: Annotated[str | None, typer.Option(help="The same key subscribes once.")] = None,
    live: context.Live = False,
    output_: Output = "",
) -> None:  # fmt: skip
    """Subscribe a customer: charge the default method, or answer the page to pay on."""
    from paydesk.flows import customers
    from paydesk.flows import subscriptions as flow

    with context.opened(live=live) as env:
        who = customers.ensure(env, customer, create=False).uuid
        one = flow.start(env, flow.NewSubscription(
            customer_id=who, plan=plan, quantity=seats, currency=currency, promo=promo,
            trial_days=trial_days, runner=runner, zone=zone, expect=expect,
            request_key=ids.request_key("cli", key) if key else None,
        ))  # fmt: skip
    output.one({**_row(one), "url": one.url}, output_)


@subscriptions.command("look")
def subscriptions_look(subscription: Which, output_: Output = "") -> None:
    """Ask the provider that runs it how it stands, and take that over."""
    from paydesk.flows import provider_billing_events as news
    from paydesk.flows import subscription_changes as changes
    from paydesk.flows import subscriptions as flow

    with context.opened() as env:
        key = changes.find(env, None, subscription)
        news.look(env, *key)
        one = flow.get(env, *key)
    output.one(_row(one), output_)


@subscriptions.command("change")
def subscriptions_change(
    subscription: Which,
    plan: Annotated[str | None, typer.Option(help="The plan that it shall have.")] = None,
    seats: Annotated[int | None, typer.Option(min=1, help="How many it shall have.")] = None,
    at: Annotated[When | None, typer.Option(help="Else as the plan has it.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    live: context.Live = False,
    output_: Output = "",
) -> None:
    """Change plan or seats, after showing what it costs."""
    from paydesk.flows import subscription_changes as flow

    with context.opened(live=live) as env:
        key = flow.find(env, None, subscription)
        seen = flow.preview(env, *key, plan=plan, quantity=seats, at=at)
        for line in seen.lines:
            typer.echo(f"{line.description}: {line.amount}", err=True)
        typer.echo(f"Due now {seen.due_now}; then {seen.next_amount} at {seen.next_at}", err=True)
        if not yes:
            typer.confirm(f"Change to {seen.plan} at {seen.when}?", abort=True, err=True)
        one = flow.change(env, *key, plan=plan, quantity=seats, at=at, expect=seen)
        if one.action_url:
            typer.echo("The bank asks the customer first: send them to action_url.", err=True)
    output.one(_row(one), output_)


@subscriptions.command("drop-change")
def subscriptions_drop_change(
    subscription: Which, live: context.Live = False, output_: Output = ""
) -> None:
    """Take back the change that waits for the period's end, or for its payment."""
    from paydesk.flows import subscription_changes, subscription_pending

    with context.opened(live=live) as env:
        one = subscription_pending.drop(env, *subscription_changes.find(env, None, subscription))
    output.one(_row(one), output_)


@subscriptions.command("cancel")
def subscriptions_cancel(
    subscription: Which,
    at: Annotated[When, typer.Option(help="With `now` what it opens is shut.")] = "period_end",
    reason: Annotated[str | None, typer.Option(help="Such as too_expensive.")] = None,
    refund: Annotated[bool, typer.Option("--refund-unused", help="With --at now: give back what "
                                         "was paid for the rest.")] = False,
    live: context.Live = False,
    output_: Output = "",
) -> None:  # fmt: skip
    """End it, at the period's end or now."""
    from paydesk.flows import subscription_changes as flow

    with context.opened(live=live) as env:
        one = flow.cancel(
            env, *flow.find(env, None, subscription), at=at, reason=reason,
            refund="unused" if refund else None, by=causes.actor("cli"),
        )  # fmt: skip
    output.one(_row(one), output_)


@subscriptions.command("reactivate")
def subscriptions_reactivate(
    subscription: Which, live: context.Live = False, output_: Output = ""
) -> None:
    """Take a cancellation at the period's end back, before it comes."""
    from paydesk.flows import subscription_changes as flow

    with context.opened(live=live) as env:
        one = flow.reactivate(env, *flow.find(env, None, subscription))
    output.one(_row(one), output_)


@subscriptions.command("pause")
def subscriptions_pause(
    subscription: Which, live: context.Live = False, output_: Output = ""
) -> None:
    """Let its time stand still: nothing is billed and nothing is open."""
    from paydesk.flows import subscription_changes, subscription_pauses

    with context.opened(live=live) as env:
        one = subscription_pauses.pause(env, *subscription_changes.find(env, None, subscription))
    output.one(_row(one), output_)


@subscriptions.command("resume")
def subscriptions_resume(
    subscription: Which, live: context.Live = False, output_: Output = ""
) -> None:
    """Let its time run on; the period ends later by the pause."""
    from paydesk.flows import subscription_changes, subscription_pauses

    with context.opened(live=live) as env:
        one = subscription_pauses.resume(env, *subscription_changes.find(env, None, subscription))
    output.one(_row(one), output_)


@subscriptions.command("renew")
def subscriptions_renew(
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 100,
    live: context.Live = False,
) -> None:
    """Do what is due now, as the worker does by itself. Safe to repeat."""
    from paydesk.flows import renewals

    with context.opened(live=live) as env:
        done = renewals.run_due(env, limit)
    typer.echo(f"{done} done")
