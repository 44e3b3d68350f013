"""Commands about plans, their versions, and tax rates."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from paydesk import causes, ids
from paydesk.cli import context, output
from paydesk.cli.catalogue import amount
from paydesk.cli.output import Column, Output

plans = typer.Typer(help="Plans and memberships.", no_args_is_help=True)
tax = typer.Typer(help="Tax rates.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(plans, name="plans")
    app.add_typer(tax, name="tax")


def _plan(one: Any) -> dict[str, Any]:
    return {
        "key": one.key, "name": one.name, "kind": one.kind, "version": one.version,
        "price": one.terms.price_words(),
        "prices": {code: price.minor for code, price in one.terms.prices.items()},
        "trial_days": one.terms.trial_days,
        "credits": one.terms.credits, "family": one.family, "active": one.active,
        "public": one.public, "id": one.id,
    }  # fmt: skip


def _terms(one: Any) -> dict[str, Any]:
    return {
        "version": one.version, "price": one.price_words(), "billing": one.billing,
        "trial_days": one.trial_days, "trial_needs_method": one.trial_needs_method,
        "grants": [f"{grant['type']}:{grant['id']}" for grant in one.grants],
        "credits": one.credits, "credits_rollover": one.credits_rollover,
        "credits_cap": one.credits_cap,
        "seats": f"{one.least_quantity} to {one.most_quantity}",
        "upgrade": f"{one.upgrade}, {one.upgrade_when}",
        "downgrade": f"{one.downgrade}, {one.downgrade_when}",
        "dunning": dict(one.dunning), "grace_days": one.grace_days, "product": one.product,
    }  # fmt: skip


_PLANS = [
    Column("KEY", "key"), Column("NAME", "name"), Column("PRICE", "price"),
    Column("VERSION", "version", right=True), Column("TRIAL", "trial_days", right=True, rank=1),
    Column("CREDITS", "credits", right=True, rank=1), Column("KIND", "kind", rank=1),
    Column("ACTIVE", "active", rank=2), Column("ID", "id", rank=2),
]  # fmt: skip


@plans.command("list")
def plans_list(
    all_: Annotated[bool, typer.Option("--all", help="Those no longer sold too.")] = False,
    kind: Annotated[str | None, typer.Option(help="plan or membership.")] = None,
    output_: Output = "",
) -> None:
    """What can be subscribed to."""
    from paydesk.flows import plans as flow

    with context.opened() as env:
        found = flow.list_(env, include_inactive=all_, kind=kind)
    output.rows([_plan(one) for one in found], _PLANS, output_)


@plans.command("show")
def plans_show(
    plan: Annotated[str, typer.Argument(help="Its key or id.")],
    versions: Annotated[bool, typer.Option("--versions", help="All terms it ever had.")] = False,
    output_: Output = "",
) -> None:
    """A plan with its terms."""
    from paydesk.flows import plans as flow

    with context.opened() as env:
        found = flow.get(env, plan)
        history = flow.versions(env, found) if versions else []
    if versions:
        columns = [
            Column("VERSION", "version", right=True), Column("PRICE", "price"),
            Column("TRIAL", "trial_days", right=True), Column("CREDITS", "credits", right=True),
            Column("SEATS", "seats", rank=1), Column("UPGRADE", "upgrade", rank=2),
            Column("DOWNGRADE", "downgrade", rank=2),
        ]  # fmt: skip
        output.rows([_terms(one) for one in history], columns, output_)
        return
    output.one({**_plan(found), **_terms(found.terms)}, output_)


@plans.command("upsert")
def plans_upsert(
    key: Annotated[str, typer.Argument(help="Your own short name of it.")],
    name: Annotated[str, typer.Option(help="What customers see.")],
    price: Annotated[list[str], typer.Option(help="Like 19.99, or '18.00 EUR'; repeatable.")],
    interval: Annotated[str, typer.Option(help="day, week, month or year.")] = "month",
    every: Annotated[int, typer.Option(help="So many of them make a period.", min=1)] = 1,
    kind: Annotated[str, typer.Option(help="plan or membership.")] = "plan",
    family: Annotated[str | None, typer.Option(help="One subscription of it each.")] = None,
    billing: Annotated[str, typer.Option(help="anniversary or calendar.")] = "anniversary",
    trial_days: Annotated[int, typer.Option(min=0, max=730)] = 0,
    trial_needs_method: Annotated[bool, typer.Option()] = True,
    grant: Annotated[
        list[str] | None, typer.Option(help="Opens course:python, course:*; repeatable.")
    ] = None,
    credits: Annotated[int, typer.Option(help="Given each month.", min=0)] = 0,
    rollover: Annotated[str, typer.Option(help="none, all or capped.")] = "none",
    cap: Annotated[int | None, typer.Option(help="With --rollover capped.", min=1)] = None,
    least: Annotated[int, typer.Option(help="Fewest seats.", min=1)] = 1,
    most: Annotated[int | None, typer.Option(help="Most seats.", min=1)] = None,
    upgrade: Annotated[str, typer.Option(help="seconds, days, none or full.")] = "seconds",
    downgrade: Annotated[str, typer.Option(help="seconds, days, none or full.")] = "seconds",
    upgrade_when: Annotated[str, typer.Option(help="now or period_end.")] = "now",
    downgrade_when: Annotated[str, typer.Option(help="now or period_end.")] = "period_end",
    retry: Annotated[str, typer.Option(help="Days after the first failure.")] = "1,3,5,7",
    final: Annotated[str, typer.Option(help="Then cancel, unpaid or downgrade.")] = "cancel",
    downgrade_to: Annotated[str | None, typer.Option(help="With --final downgrade.")] = None,
    grace_days: Annotated[int, typer.Option(min=0, max=365)] = 7,
    product: Annotated[str, typer.Option(help="What tax rates know it by.")] = "",
    description: Annotated[str | None, typer.Option()] = None,
    active: Annotated[bool, typer.Option()] = True,
    public: Annotated[bool, typer.Option("--public/--private")] = True,
    position: Annotated[int, typer.Option(help="Order in lists.")] = 0,
    output_: Output = "",
) -> None:
    """Make a plan, or make it so; changed terms become its next version."""
    from paydesk.flows import plans as flow

    dunning: dict[str, Any] = {"days": _days(retry), "final": final}
    if downgrade_to is not None:
        dunning["downgrade_to"] = downgrade_to
    with context.opened() as env:
        found = flow.upsert(
            env, key, name=name,
            prices=[amount(one, env.settings.default_currency) for one in price],
            interval=interval, interval_count=every, kind=kind, family=family, billing=billing,
            trial_days=trial_days, trial_needs_method=trial_needs_method, grants=grant or None,
            credits=credits, credits_rollover=rollover, credits_cap=cap, least_quantity=least,
            most_quantity=most, upgrade=upgrade, downgrade=downgrade, upgrade_when=upgrade_when,
            downgrade_when=downgrade_when, dunning=dunning, grace_days=grace_days,
            product=product, description=description, active=active, public=public,
            position=position,
        )  # fmt: skip
    output.one(_plan(found), output_)


def _days(text: str) -> list[int]:
    """`1,3,5,7`; nothing means that the first failure is the last."""
    try:
        return [int(one) for one in text.split(",") if one.strip()]
    except ValueError:
        raise typer.BadParameter("whole days such as 1,3,5,7", param_hint="--retry") from None


@plans.command("archive")
def plans_archive(
    plan: Annotated[str, typer.Argument(help="Its key or id.")], output_: Output = ""
) -> None:
    """Sell a plan no more; subscriptions to it run on."""
    from paydesk.flows import plans as flow

    with context.opened() as env:
        found = flow.archive(env, plan)
    output.one(_plan(found), output_)


# Taxes -----------------------------------------------------------------------------------------


def _rate(one: Any) -> dict[str, Any]:
    return {
        "name": one.name, "percent": one.percent, "country": one.country,
        "product": one.product, "inclusive": one.inclusive, "valid_from": one.valid_from,
        "active": one.active, "by": one.created_by, "id": ids.show("tax_rate", one.id),
    }  # fmt: skip


@tax.command("list")
def tax_list(
    country: Annotated[str | None, typer.Option(help="Two letters, such as DE.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Those taken back too.")] = False,
    output_: Output = "",
) -> None:
    """Tax rates by country and product."""
    from paydesk.flows import tax_rates

    with context.opened() as env:
        found = tax_rates.list_(env, country=country, include_inactive=all_)
    columns = [
        Column("NAME", "name"), Column("PERCENT", "percent", right=True),
        Column("COUNTRY", "country"), Column("PRODUCT", "product"),
        Column("INCLUSIVE", "inclusive", rank=1), Column("SINCE", "valid_from"),
        Column("BY", "by", rank=2), Column("ID", "id", rank=2),
    ]  # fmt: skip
    output.rows([_rate(one) for one in found], columns, output_)


@tax.command("add")
def tax_add(
    name: Annotated[str, typer.Argument(help="As invoices show it, such as VAT.")],
    percent: Annotated[str, typer.Argument(help="Such as 19 or 8.875.")],
    country: Annotated[str, typer.Option(help="Two letters; without it, everywhere else.")] = "",
    product: Annotated[str, typer.Option(help="Of plans; without it, everything else.")] = "",
    inclusive: Annotated[bool, typer.Option("--inclusive", help="Prices have it in them.")] = False,
    since: Annotated[str | None, typer.Option(help="A day or an instant; by default now.")] = None,
    output_: Output = "",
) -> None:
    """Enter a rate; it holds until the next of its name, country and product begins."""
    from paydesk.flows import tax_rates

    with context.opened() as env:
        found = tax_rates.add(
            env, name, percent, country=country, product=product, inclusive=inclusive,
            valid_from=_instant(since), by=causes.actor("cli"),
        )  # fmt: skip
    output.one(_rate(found), output_)


def _instant(text: str | None) -> datetime | None:
    """A day begins at midnight UTC."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("a day such as 2026-01-14", param_hint="--since") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@tax.command("remove")
def tax_remove(
    rate: Annotated[str, typer.Argument(help="The id, txr_…, of one entered wrongly.")],
    output_: Output = "",
) -> None:
    """Take a rate back: what held before it holds again."""
    from paydesk.flows import tax_rates

    with context.opened() as env:
        found = tax_rates.deactivate(env, rate)
    output.one(_rate(found), output_)
