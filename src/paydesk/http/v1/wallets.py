"""v1: wallets: what is in them and what changed it, transfers, payments, conversions."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.errors import InvalidRequest
from paydesk.flows import heads, wallet_history, wallet_moves, wallet_payments, wallets
from paydesk.flows.checkout import StartCheckout
from paydesk.flows.wallet_history import Statement, WalletLine
from paydesk.flows.wallet_moves import Conversion, Quote
from paydesk.flows.wallets import Wallet
from paydesk.http import fields, lines, owners
from paydesk.http.auth import STAFF
from paydesk.http.fields import DEFAULT_LIMIT, Limit, reply
from paydesk.http.idempotency import attempt_of, once
from paydesk.http.routes import cell, env_of, router, who_of
from paydesk.http.v1.credits import keyed, recipient
from paydesk.http.v1.models import PaymentOut, page_of
from paydesk.http.v1.payments import payment_shape
from paydesk.http.v1.rates import rate_shape
from paydesk.http.v1.reports import FromDay, Last, ToDay, Zone
from paydesk.http.v1.wallet_models import (
    ConversionIn,
    ConversionOut,
    QuoteIn,
    QuoteOfConversion,
    ReasonIn,
    StatementOut,
    Sum,
    WalletIn,
    WalletLineOut,
    WalletOut,
    WalletPayIn,
    WalletTransferIn,
    WalletTransferOut,
)
from paydesk.rules.money import Money

wallets_v1 = router("wallets")

Whose = Annotated[str | None, Query(max_length=255)]


def wallet_shape(one: Wallet, livemode: bool) -> dict[str, Any]:
    def money(minor: int, name: str) -> dict[str, Any]:
        return fields.money(Money(minor, one.currency, minor=True), name)

    return {
        "id": ids.show("wallet", one.id),
        "object": "wallet",
        "livemode": livemode,
        "customer": ids.show("customer", one.customer_id),
        "currency": one.currency,
        "status": one.state,
        **money(one.balance, "balance"),
        **money(one.held, "held"),
        **money(one.owed, "owed"),
        "metadata": one.metadata,
        "created_at": fields.instant(one.created_at),
        "updated_at": fields.instant(one.updated_at),
    }


def line_shape(one: WalletLine, livemode: bool) -> dict[str, Any]:
    about = wallet_history.SUBJECTS.get(one.type)
    return {
        "id": ids.show("transfer", one.id),
        "object": "wallet_line",
        "livemode": livemode,
        "type": one.type,
        **fields.money(Money(one.amount, one.currency, minor=True)),
        "currency": one.currency,
        **fields.money(Money(one.balance_after, one.currency, minor=True), "balance_after"),
        "reason": one.reason,
        "reference": one.reference,
        "subject": fields.shown(about, one.subject_id) if about else None,
        "payment": fields.shown("payment", one.payment_id),
        "transaction": ids.show("transfer", one.txn_id),
        "created_at": fields.instant(one.at),
    }


def statement_shape(one: Statement, wallet: Wallet, livemode: bool) -> dict[str, Any]:
    def money(minor: int, name: str = "amount") -> dict[str, Any]:
        return fields.money(Money(minor, one.currency, minor=True), name)

    return {
        "object": "wallet_statement",
        "livemode": livemode,
        "wallet": ids.show("wallet", wallet.id),
        "customer": ids.show("customer", one.customer_id),
        "currency": one.currency,
        "from": fields.instant(one.over.start),
        "to": fields.instant(one.over.end),
        "time_zone": one.over.time_zone,
        **money(one.opening, "opening_balance"),
        **money(one.came, "money_in"),
        **money(one.went, "money_out"),
        **money(one.closing, "closing_balance"),
        "types": [{"type": t.type, "count": t.count, **money(t.amount)} for t in one.types],
        "lines": [line_shape(line, livemode) for line in one.lines],
    }


def conversion_shape(one: Conversion, livemode: bool) -> dict[str, Any]:
    return {
        "id": ids.show("conversion", one.id),
        "object": "conversion",
        "livemode": livemode,
        "customer": ids.show("customer", one.customer_id),
        **_legs(one),
        "rate": rate_shape(one.rate, livemode),
        "transaction": ids.show("transfer", one.txn_id),
        "created_at": fields.instant(one.created_at),
    }


def _legs(one: Conversion | Quote) -> dict[str, Any]:
    return {
        **fields.money(one.give),
        "currency": one.give.currency,
        **fields.money(one.get, "to_amount"),
        "to_currency": one.get.currency,
        **fields.money(one.margin, "margin"),
        "margin_bps": one.margin_bps,
        **fields.money(one.rounding, "rounding"),
    }


def required(request: Request, body: Sum) -> Money:
    """The sum that a body names. Raises InvalidRequest where it names none."""
    found = fields.money_of(
        body.amount, body.amount_decimal, body.currency,
        env_of(request).settings.default_currency,
    )  # fmt: skip
    if found is None:
        raise InvalidRequest("Say how much: amount or amount_decimal.", param="amount")
    return found


def owned(request: Request, kind: str, ref: str) -> tuple[UUID, UUID]:
    """(customer, object) of an id, as this caller may see it: a customer only his own."""
    found = ids.parse(kind, ref)
    return owners.only_own(env_of(request), who_of(request)) or ids.customer_of(found), found


# Wallets ----------------------------------------------------------------------------------------


@wallets_v1.get(
    "/v1/wallets", response_model=None, summary="List a customer's wallets",
    responses={200: {"model": page_of(WalletOut)}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def list_wallets(request: Request, customer: Whose = None) -> Response:
    """All of them, one for each currency, by currency."""
    env = env_of(request)
    customer_id = owners.owner(env, who_of(request), customer)
    with env.db.read() as tx:
        found = wallets.list_(tx, customer_id)
    live = env.settings.live
    return reply(fields.page(found, 200, lambda one: wallet_shape(one, live)))


@wallets_v1.post(
    "/v1/wallets", response_model=None, summary="Make a wallet, or find it",
    responses={200: {"model": WalletOut}}, **cell("customer", "admin", "service", owner="own"),
)  # fmt: skip
def make_wallet(request: Request, body: WalletIn) -> Response:
    """Wallets are also made by themselves when money of their currency comes."""
    env, who = env_of(request), who_of(request)
    customer_id = owners.owner(env, who, body.customer, create=True)
    one = wallets.make(env, customer_id, body.currency, metadata=body.metadata)
    return reply(wallet_shape(one, env.settings.live))


@wallets_v1.post(
    "/v1/wallets/transfers", response_model=None, summary="Move money to another customer",
    responses={200: {"model": WalletTransferOut}, 202: {"model": WalletTransferOut}},
    **cell("customer", "admin", "service", owner="own"),
)  # fmt: skip
def transfer(request: Request, body: WalletTransferIn) -> Response:
    """As far as `WALLET_TRANSFER_POLICY` allows, into the wallet of the same currency.

    Above a threshold it is 202 `requested`: the money is set aside until another person decides
    the `withdrawal`.
    """
    env, who = env_of(request), who_of(request)
    customer_id = owners.owner(env, who, body.customer)
    money = required(request, body)
    attempt = attempt_of(request, who)

    def work() -> Response:
        done = wallet_moves.transfer_now(
            env, customer_id, recipient(request, body.to, "Money"), money, reference=body.reference,
            note=body.note, by=who.caller, persons=who.persons, **keyed(attempt),
        )  # fmt: skip
        shape = {
            "id": ids.show("transfer", done.transfer_id),
            "object": "wallet_transfer",
            "livemode": env.settings.live,
            "customer": ids.show("customer", customer_id),
            "to": ids.show("customer", done.to_id),
            **fields.money(done.amount),
            "currency": done.amount.currency,
            **fields.money(Money(done.balance, money.currency, minor=True), "balance"),
            "status": done.state,
            "withdrawal": fields.shown("withdrawal", done.withdrawal_id),
            "created_at": fields.instant(heads.now(env, customer_id)),
        }  # fmt: skip
        return reply(shape, 202 if done.state == "requested" else 200)

    return once(env, attempt, customer_id, work)


@wallets_v1.post(
    "/v1/wallets/pay", status_code=201, response_model=None, summary="Pay from a wallet",
    responses={201: {"model": PaymentOut}},
    **cell("customer", "admin", "service", owner="own"),
)  # fmt: skip
def pay(request: Request, body: WalletPayIn) -> Response:
    """Priced as a checkout is, paid and handed over at once, or 402 and nothing happened."""
    env, who = env_of(request), who_of(request)
    amount = fields.money_of(
        body.amount, body.amount_decimal, body.currency, env.settings.default_currency
    )
    asked = (body.pack, body.credits, body.item, body.service, amount)
    if sum(one is not None for one in asked) != 1:
        raise InvalidRequest(
            "Say what is bought: one of pack, credits, item, service and amount.", param="pack"
        )
    if amount is not None and who.is_customer:
        raise InvalidRequest(
            "With a customer's token what is in the catalogue can be bought; amounts are set by"
            " the application.", param="amount",
        )  # fmt: skip
    customer_id = owners.owner(env, who, body.customer)
    attempt = attempt_of(request, who)
    wanted = StartCheckout(
        customer_id=customer_id, pack=body.pack, credits=body.credits, item=body.item,
        quantity=body.quantity, service=body.service, amount=amount, promo=body.promo,
        description=body.description, reference=body.reference, metadata=body.metadata,
        request_key=attempt.key if attempt else None,
        request_hash=attempt.digest if attempt else None,
    )  # fmt: skip
    return once(
        env, attempt, customer_id,
        lambda: reply(payment_shape(wallet_payments.pay(env, wanted)), 201),
    )  # fmt: skip


@wallets_v1.get(
    "/v1/wallets/{wallet}", response_model=None, summary="Get a wallet",
    responses={200: {"model": WalletOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def get_wallet(request: Request, wallet: str) -> Response:
    env = env_of(request)
    with env.db.read() as tx:
        one = wallets.get(tx, *owned(request, "wallet", wallet))
    return reply(wallet_shape(one, env.settings.live))


@wallets_v1.get(
    "/v1/wallets/{wallet}/history", response_model=None, summary="What changed a wallet",
    responses={200: {"model": page_of(WalletLineOut)}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def history(
    request: Request,
    wallet: str,
    type: Annotated[str | None, Query(max_length=40)] = None,
    limit: Limit = DEFAULT_LIMIT,
    starting_after: str | None = None,
) -> Response:
    """Newest first: deposits, payments, transfers, conversions, what was set aside."""
    env = env_of(request)
    with env.db.read() as tx:
        one = wallets.get(tx, *owned(request, "wallet", wallet))
        before = None
        if starting_after is not None:
            before = lines.seq_of(tx, one.customer_id, starting_after)
        found = wallet_history.history(
            tx, one.customer_id, one.currency, limit=limit + 1, before_seq=before, kind=type
        )
    live = env.settings.live
    return reply(fields.page(found, limit, lambda line: line_shape(line, live)))


@wallets_v1.get(
    "/v1/wallets/{wallet}/statement", response_model=None, summary="A wallet's statement",
    responses={200: {"model": StatementOut, "content": {
        "text/csv": {"schema": {"type": "string"}}}}},
    **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def get_statement(
    request: Request,
    wallet: str,
    from_: FromDay = None,
    to: ToDay = None,
    last: Last = None,
    tz: Zone = None,
    format: Literal["json", "csv"] = "json",
) -> Response:
    """The balance before and after a range (the last 30 days) and every line of it, oldest first.

    As CSV the lines alone, with exact decimals and a header line.
    """
    env = env_of(request)
    with env.db.read() as tx:
        one = wallets.get(tx, *owned(request, "wallet", wallet))
    found = wallet_history.statement(
        env, one.customer_id, one.currency, start=from_, end=to, last=last, time_zone=tz
    )
    if format == "json":
        return reply(statement_shape(found, one, env.settings.live))
    name = f"wallet-{one.currency}-{found.over.first_day}-{found.over.last_day}.csv"
    return Response(
        found.csv(), media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )  # fmt: skip


@wallets_v1.post(
    "/v1/wallets/{wallet}/freeze", response_model=None, summary="Freeze a wallet",
    responses={200: {"model": WalletOut}}, **cell("admin", "finance", "support"),
)  # fmt: skip
def freeze(request: Request, wallet: str, body: ReasonIn) -> Response:
    """Money that has come is still recorded; nothing leaves it."""
    return _set_state(request, wallet, "freeze", body)


@wallets_v1.post(
    "/v1/wallets/{wallet}/unfreeze", response_model=None, summary="Open a wallet again",
    responses={200: {"model": WalletOut}}, **cell("admin", "finance"),
)  # fmt: skip
def unfreeze(request: Request, wallet: str, body: ReasonIn) -> Response:
    return _set_state(request, wallet, "unfreeze", body)


@wallets_v1.post(
    "/v1/wallets/{wallet}/close", response_model=None, summary="Close an empty wallet",
    responses={200: {"model": WalletOut}}, **cell("admin", "finance"),
)  # fmt: skip
def close(request: Request, wallet: str, body: ReasonIn) -> Response:
    return _set_state(request, wallet, "close", body)


def _set_state(request: Request, wallet: str, action: str, body: ReasonIn) -> Response:
    env = env_of(request)
    customer_id, wallet_id = owned(request, "wallet", wallet)
    one = wallets.set_state(
        env, customer_id, wallet_id, action, actor=who_of(request).caller, reason=body.reason
    )
    return reply(wallet_shape(one, env.settings.live))


# Conversions ------------------------------------------------------------------------------------


@wallets_v1.post(
    "/v1/conversions/quote", response_model=None, summary="What a conversion would bring",
    responses={200: {"model": QuoteOfConversion}}, **cell("customer", *STAFF),
)  # fmt: skip
def quote(request: Request, body: QuoteIn) -> Response:
    """Holds until `expires_at`, and no longer than until a newer rate is stored."""
    env = env_of(request)
    one = wallet_moves.quote(env, required(request, body), body.to)
    live = env.settings.live
    return reply({
        "object": "conversion_quote", "livemode": live, **_legs(one),
        "rate": rate_shape(one.rate, live), "expires_at": fields.instant(one.expires_at),
    })  # fmt: skip


@wallets_v1.post(
    "/v1/conversions", status_code=201, response_model=None, summary="Convert money of a wallet",
    responses={201: {"model": ConversionOut}},
    **cell("customer", "admin", "service", owner="own"),
)  # fmt: skip
def convert(request: Request, body: ConversionIn) -> Response:
    """Into the customer's wallet of another currency, at the stored rate less our margin,
    rounded down."""
    env, who = env_of(request), who_of(request)
    customer_id = owners.owner(env, who, body.customer)
    money = required(request, body)
    rate_id = None if body.rate is None else ids.parse("rate", body.rate)
    attempt = attempt_of(request, who)

    def work() -> Response:
        done = wallet_moves.convert_now(
            env, customer_id, money, body.to, rate_id=rate_id, margin_bps=body.margin_bps,
            request_key=attempt.key if attempt else None,
            request_hash=attempt.digest if attempt else None,
        )  # fmt: skip
        return reply(conversion_shape(done, env.settings.live), 201)

    return once(env, attempt, customer_id, work)


@wallets_v1.get(
    "/v1/conversions", response_model=None, summary="List conversions",
    responses={200: {"model": page_of(ConversionOut)}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def list_conversions(
    request: Request, customer: Whose = None, limit: Limit = DEFAULT_LIMIT,
    starting_after: str | None = None,
) -> Response:  # fmt: skip
    """Newest first."""
    env = env_of(request)
    customer_id = owners.owner(env, who_of(request), customer)
    after = None if starting_after is None else ids.parse("conversion", starting_after)
    with env.db.read() as tx:
        found = wallet_moves.list_conversions(tx, customer_id, limit=limit + 1, after=after)
    live = env.settings.live
    return reply(fields.page(found, limit, lambda one: conversion_shape(one, live)))


@wallets_v1.get(
    "/v1/conversions/{conversion}", response_model=None, summary="Get a conversion",
    responses={200: {"model": ConversionOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def get_conversion(request: Request, conversion: str) -> Response:
    env = env_of(request)
    with env.db.read() as tx:
        one = wallet_moves.get_conversion(tx, *owned(request, "conversion", conversion))
    return reply(conversion_shape(one, env.settings.live))
