"""Commands about what is sold: credit packs and promo codes."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import typer

from paydesk.cli import context, output
from paydesk.cli.output import Column, Output
from paydesk.errors import InvalidRequest
from paydesk.rules.money import Money

packs = typer.Typer(help="Credit packs.", no_args_is_help=True)
promos = typer.Typer(help="Promo codes.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(packs, name="packs")
    app.add_typer(promos, name="promos")


def _pack(pack: Any) -> dict[str, Any]:
    return {
        "key": pack.key, "name": pack.name, "credits": pack.credits, "price": pack.price,
        "expires_days": pack.expires_days, "active": pack.active, "id": pack.id,
    }  # fmt: skip


@packs.command("list")
def packs_list(
    all_: Annotated[bool, typer.Option("--all", help="Those no longer sold too.")] = False,
    output_: Output = "",
) -> None:
    """What is sold."""
    from paydesk.flows import catalog

    with context.opened() as env:
        found = catalog.list_packs(env, include_inactive=all_)
    columns = [
        Column("KEY", "key"), Column("NAME", "name"), Column("CREDITS", "credits", right=True),
        Column("PRICE", "price", right=True), Column("DAYS", "expires_days", right=True, rank=1),
        Column("ACTIVE", "active", rank=1), Column("ID", "id", rank=2),
    ]  # fmt: skip
    output.rows([_pack(p) for p in found], columns, output_)


@packs.command("upsert")
def packs_upsert(
    key: Annotated[str, typer.Argument(help="Your own short name of it.")],
    name: Annotated[str, typer.Option(help="What customers see.")],
    credits: Annotated[int, typer.Option(min=1)],
    price: Annotated[str, typer.Option(help="Like 9.99, or 9.99 EUR.")],
    days: Annotated[int | None, typer.Option(help="Days the credits last.", min=1)] = None,
    active: Annotated[bool, typer.Option()] = True,
    position: Annotated[int, typer.Option(help="Order in lists.")] = 0,
    output_: Output = "",
) -> None:
    """Make a pack, or make it so."""
    from paydesk.flows import catalog

    with context.opened() as env:
        found = catalog.upsert_pack(
            env, key, name=name, credits=credits,
            price=amount(price, env.settings.default_currency), expires_days=days, active=active,
            position=position,
        )  # fmt: skip
    output.one(_pack(found), output_)


def amount(text: str, currency: str) -> Money:
    """`9.99` in the default currency, or `9.99 EUR`, or `EUR 9.99`."""
    words = text.split()
    if len(words) == 2:
        number, code = (words[1], words[0]) if words[0].isalpha() else words
        return Money(number, code.lower())
    if len(words) != 1:
        raise InvalidRequest("An amount is like 9.99 or 9.99 EUR.", param="price")
    return Money(words[0], currency)


def _promo(promo: Any) -> dict[str, Any]:
    gives = (
        f"{promo.percent_off}%" if promo.kind == "percent"
        else str(promo.amount_off) if promo.kind == "fixed"
        else f"{promo.free_trial_days} days free" if promo.kind == "free_trial"
        else f"+{promo.bonus_credits} credits"
    )  # fmt: skip
    if promo.duration != "once":
        times = f"{promo.duration_periods} times" if promo.duration_periods else "for ever"
        gives = f"{gives} {times}"
    return {
        "code": promo.code, "gives": gives, "used": promo.used, "cap": promo.cap,
        "per_customer": promo.per_customer, "packs": list(promo.packs or []),
        "plans": list(promo.plans or []),
        "expires_at": promo.expires_at, "active": promo.active, "id": promo.id,
    }  # fmt: skip


@promos.command("list")
def promos_list(
    all_: Annotated[bool, typer.Option("--all", help="Those switched off too.")] = False,
    output_: Output = "",
) -> None:
    """Codes and their uses."""
    from paydesk.flows import promos as flow

    with context.opened() as env:
        found = flow.list_promos(env, include_inactive=all_)
    columns = [
        Column("CODE", "code"), Column("GIVES", "gives"), Column("USED", "used", right=True),
        Column("OF", "cap", right=True), Column("EACH", "per_customer", right=True, rank=1),
        Column("PACKS", "packs", rank=2), Column("PLANS", "plans", rank=2),
        Column("ENDS", "expires_at", rank=1), Column("ACTIVE", "active", rank=2),
    ]  # fmt: skip
    output.rows([_promo(p) for p in found], columns, output_)


@promos.command("create")
def promos_create(
    code: Annotated[str, typer.Argument(help="As customers type it; case does not matter.")],
    percent: Annotated[int | None, typer.Option(help="Percent off.", min=1, max=100)] = None,
    off: Annotated[str | None, typer.Option(help="Amount off, like 5.00.")] = None,
    credits: Annotated[int | None, typer.Option(help="Credits on top.", min=1)] = None,
    free_trial_days: Annotated[
        int | None, typer.Option(help="Days of a plan for nothing.", min=1, max=730)
    ] = None,
    duration: Annotated[
        str, typer.Option(help="Of a plan's periods: once, repeating or forever.")
    ] = "once",
    periods: Annotated[
        int | None, typer.Option(help="How many periods, with --duration repeating.", min=1)
    ] = None,
    cap: Annotated[int | None, typer.Option(help="Uses in all.", min=1)] = None,
    each: Annotated[int | None, typer.Option(help="Uses per customer.", min=1)] = None,
    pack: Annotated[list[str] | None, typer.Option(help="Only for this pack; repeatable.")] = None,
    plan: Annotated[list[str] | None, typer.Option(help="Only for this plan; repeatable.")] = None,
    least: Annotated[str | None, typer.Option(help="Smallest purchase, like 20.00.")] = None,
    first: Annotated[bool, typer.Option("--first", help="Only the first purchase.")] = False,
    days: Annotated[int | None, typer.Option(help="Days until it ends.", min=1)] = None,
    output_: Output = "",
) -> None:
    """Make a code, or make it so: one of --percent, --off, --credits and --free-trial-days."""
    from paydesk.flows import promos as flow

    if sum(given is not None for given in (percent, off, credits, free_trial_days)) != 1:
        raise InvalidRequest(
            "Give exactly one of --percent, --off, --credits and --free-trial-days."
        )
    with context.opened() as env:
        currency = env.settings.default_currency
        found = flow.upsert_promo(
            env, code, percent_off=percent, amount_off=amount(off, currency) if off else None,
            bonus_credits=credits, free_trial_days=free_trial_days, duration=duration,
            duration_periods=periods, cap=cap, per_customer=each, packs=pack or None,
            plans=plan or None,
            min_purchase=amount(least, currency) if least else None, first_purchase=first,
            expires_at=env.now() + timedelta(days=days) if days else None,
        )  # fmt: skip
    output.one(_promo(found), output_)
