"""Bookings: credits, packs and promo codes under /payment."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.errors import InvalidPromoCode, InvalidRequest
from paydesk.flows import catalog, checkout, customers, plans, pricing, promos
from paydesk.flows import credits as credit_flows
from paydesk.flows.catalog import Pack
from paydesk.flows.checkout import StartCheckout
from paydesk.flows.promos import Discount, Promo
from paydesk.http import fields
from paydesk.http.auth import STAFF
from paydesk.http.compat import records
from paydesk.http.compat.plans import membership
from paydesk.http.compat.shapes import (
    CamelIn,
    CamelOut,
    DecimalNumber,
    WholeNumber,
    amount_of,
    bare,
    owner,
    ref_of,
)
from paydesk.http.fields import Code, Email, Ref, Url, reply
from paydesk.http.idempotency import attempt_of, once
from paydesk.http.routes import at_provider, cell, env_of, router, who_of
from paydesk.http.v1.checkouts import started_by
from paydesk.http.v1.credits import keyed, recipient

bookings = router("bookings")

KINDS = {"percent": "PERCENTAGE", "fixed": "FIXED_AMOUNT", "bonus_credits": "BONUS_CREDITS",
         "free_trial": "FREE_TRIAL"}  # fmt: skip
BUYERS = ("customer", "admin", "service")
UserId = Annotated[str | None, Query(alias="userId", max_length=255)]


class TransferCredits(CamelIn):
    to_user_id: Ref
    credits: WholeNumber
    user_id: Ref | None = None


class RefundCredits(CamelIn):
    """The CREDIT_USAGE transaction to give back: all that is left of it, or so many credits."""

    transaction_id: Ref
    credits: WholeNumber | None = None
    user_id: Ref | None = None


class Purchase(CamelIn):
    promo_code: Code | None = None
    user_id: Ref | None = None
    email: Email | None = None
    success_url: Url | None = None
    cancel_url: Url | None = None


class PromoAsked(CamelIn):
    """`amount` in US dollars, or whatever the default currency is."""

    code: Code
    pack_id: Ref | None = None
    credits: WholeNumber | None = None
    amount: DecimalNumber | None = None
    membership_id: Ref | None = None
    user_id: Ref | None = None


class Expiring(CamelOut):
    credits: int
    expires_at: str | None


class UserBalanceOut(CamelOut):
    user_id: str
    balance: int
    by_type: dict[str, int]
    expiring: list[Expiring]
    next_expiry_at: str | None


class MovedOut(CamelOut):
    success: bool
    balance: int
    transaction: records.TransactionOut


class PackOnSale(CamelOut):
    id: str
    key: str
    name: str
    description: str | None
    credits: int
    price: float
    currency: str
    expiry_days: int | None
    active: bool


class PacksOnSale(CamelOut):
    packs: list[PackOnSale]


class PurchaseOut(CamelOut):
    checkout_url: str | None
    session_id: str | None
    payment_id: str
    amount: float
    currency: str
    credits: int
    expires_at: str | None


class CodeOut(CamelOut):
    """Amounts are null where no pack or amount was named."""

    valid: bool
    code: str
    type: str
    discount: float | None = None
    amount: float | None = None
    currency: str | None = None
    bonus_credits: int
    percent_off: int | None = None
    amount_off: float | None = None
    trial_days: int | None = None
    applied: bool | None = None
    expires_at: str | None = None


# Credits ---------------------------------------------------------------------------------------


@bookings.get(
    "/payment/credits/balance", response_model=None, summary="A user's credits",
    responses={200: {"model": UserBalanceOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def balance(request: Request, user_id: UserId = None) -> Response:
    """In all, by type, and by when they end."""
    env = env_of(request)
    customer_id = owner(env, who_of(request), user_id)
    with env.db.read() as tx:
        found = credit_flows.balance(tx, customer_id, env.now())
    by_type = dict.fromkeys(("purchased", "membership", "promotional", "refunded"), 0)
    return reply(
        {
            "userId": customers.get(env, customer_id).external_id,
            "balance": found.total,
            "byType": by_type | found.by_kind,
            "expiring": [
                {"credits": amount, "expiresAt": fields.instant(at)}
                for at, amount in found.by_expiry
            ],
            "nextExpiryAt": fields.instant(found.next_expiry),
        }
    )


@bookings.get(
    "/payment/credits/history", response_model=None, summary="A user's transactions",
    responses={200: {"model": records.TransactionsOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def history(
    request: Request,
    user_id: UserId = None,
    type: Annotated[str | None, Query(max_length=40)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    starting_after: Annotated[str | None, Query(alias="startingAfter", max_length=64)] = None,
) -> Response:
    """Newest first."""
    env = env_of(request)
    customer_id = owner(env, who_of(request), user_id)
    found, more = records.lines(env, customer_id, type, limit, starting_after)
    shown = records.shapes(env, customer_id, found)
    cursor = shown[-1]["id"] if more and shown else None
    return reply({"transactions": shown, "hasMore": more, "nextCursor": cursor})


@bookings.post(
    "/payment/credits/transfer", response_model=None, summary="Move credits to another user",
    responses={200: {"model": MovedOut}}, **cell(*BUYERS, owner="own"),
)  # fmt: skip
def transfer(request: Request, body: TransferCredits) -> Response:
    """As far as the policy allows; between strangers it is refused with PAY007."""
    env, who = env_of(request), who_of(request)
    customer_id = owner(env, who, body.user_id)
    attempt = attempt_of(request, who)

    def work() -> Response:
        target = recipient(request, body.to_user_id)
        done = credit_flows.transfer_now(env, customer_id, target, body.credits, **keyed(attempt))
        return reply(_moved(request, customer_id, done.transfer_id, done.balance))

    return once(env, attempt, customer_id, work)


@bookings.post(
    "/payment/credits/refund", response_model=None, summary="Give a usage back",
    responses={200: {"model": MovedOut}}, **cell("admin", "service", "support"),
)  # fmt: skip
def refund(request: Request, body: RefundCredits) -> Response:
    """To its own batches with their own expiry. Called by the application when a booking is
    canceled, not by users: they would use what they booked for nothing."""
    env, who = env_of(request), who_of(request)
    spend_id = ids.parse("transfer", body.transaction_id)
    customer_id = ids.customer_of(spend_id)
    if body.user_id is not None:
        customer_id = owner(env, who, body.user_id)
    attempt = attempt_of(request, who)

    def work() -> Response:
        done = credit_flows.refund_spend_now(
            env, customer_id, spend_id, body.credits, **keyed(attempt)
        )
        return reply(_moved(request, customer_id, done.transfer_id, done.balance))

    return once(env, attempt, customer_id, work)


def _moved(request: Request, customer_id: UUID, transfer_id: UUID, balance: int) -> dict[str, Any]:
    shown = records.one(env_of(request), customer_id, transfer_id)
    return {"success": True, "balance": balance, "transaction": shown}


# Packs -----------------------------------------------------------------------------------------


def _pack_shape(one: Pack) -> dict[str, Any]:
    return {
        "id": bare(one.uuid),
        "key": one.key,
        "name": one.name,
        "description": one.description,
        "credits": one.credits,
        "price": fields.plain_number(one.price),
        "currency": one.price.currency.upper(),
        "expiryDays": one.expires_days,
        "active": one.active,
    }


@bookings.get(
    "/payment/credit-packs", response_model=None, summary="Packs on sale",
    responses={200: {"model": PacksOnSale}}, **cell("customer", *STAFF),
)  # fmt: skip
def list_packs(request: Request) -> Response:
    return reply({"packs": [_pack_shape(one) for one in catalog.list_packs(env_of(request))]})


@bookings.get(
    "/payment/credit-packs/{pack}", response_model=None, summary="A pack",
    responses={200: {"model": PackOnSale}}, **cell("customer", *STAFF),
)  # fmt: skip
def get_pack(request: Request, pack: str) -> Response:
    """By uuid or key."""
    found = catalog.get_pack(env_of(request), ref_of(pack), active_only=True)
    return reply(_pack_shape(found))


@bookings.post(
    "/payment/credit-packs/{pack}/purchase", response_model=None, summary="Buy a pack",
    responses={200: {"model": PurchaseOut}}, **cell(*BUYERS, owner="own"),
)  # fmt: skip
async def purchase(request: Request, pack: str, body: Purchase | None = None) -> Response:
    """Opens the provider's page. The price is the pack's, whatever a client says."""
    return await at_provider(request, _purchase, request, pack, body or Purchase())


def _purchase(request: Request, pack: str, body: Purchase) -> Response:
    env, who = env_of(request), who_of(request)
    customer_id = owner(env, who, body.user_id, create=True)
    found = catalog.get_pack(env, ref_of(pack), active_only=True)
    attempt = attempt_of(request, who)
    wanted = StartCheckout(
        customer_id=customer_id, pack=found.key, promo=body.promo_code,
        email=body.email or who.email, success_url=body.success_url, cancel_url=body.cancel_url,
        **started_by(attempt),
    )  # fmt: skip

    def work() -> Response:
        one = checkout.start(env, wanted)
        return reply(
            {
                "checkoutUrl": one.url,
                "sessionId": one.payment.session_ref,
                "paymentId": bare(one.payment.id),
                "amount": fields.plain_number(one.total),
                "currency": one.total.currency.upper(),
                "credits": one.payment.credits,
                "expiresAt": fields.instant(one.expires_at),
            }
        )

    return once(env, attempt, customer_id, work)


# Promo codes -----------------------------------------------------------------------------------


@bookings.post(
    "/payment/promo-codes/validate", response_model=None, summary="Can this code be used?",
    responses={200: {"model": CodeOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def validate(request: Request, body: PromoAsked) -> Response:
    """A code that cannot be used is refused with PAY003 and its reason. Reserves nothing."""
    env = env_of(request)
    customer_id = owner(env, who_of(request), body.user_id)
    product = _product(request, body, customer_id)
    try:
        if product is None:
            return reply(_terms_shape(_usable(env, body.code, customer_id)))
        found = promos.quote(env, body.code, customer_id, **product)
    except InvalidPromoCode as exc:
        exc.extra["valid"] = False
        raise
    return reply(_promo_shape(found))


@bookings.post(
    "/payment/promo-codes/apply", response_model=None, summary="Reserve a code",
    responses={200: {"model": CodeOut}}, **cell(*BUYERS, owner="own"),
)  # fmt: skip
def apply(request: Request, body: PromoAsked) -> Response:
    """The user's next purchase of this product, or subscription to this membership, uses it,
    until `expiresAt`."""
    env, who = env_of(request), who_of(request)
    customer_id = owner(env, who, body.user_id)
    product = _product(request, body, customer_id) or _only_pack(env, body.code)
    attempt = attempt_of(request, who, moves_money=False)

    def work() -> Response:
        found = promos.apply(env, body.code, customer_id, **product)
        until = fields.instant(found.expires_at)
        return reply({**_promo_shape(found), "applied": True, "expiresAt": until})

    return once(env, attempt, customer_id, work)


def _product(
    request: Request, body: PromoAsked, customer_id: UUID
) -> dict[str, Any] | None:
    price = amount_of(body.amount, env_of(request).settings.default_currency)
    given = sum(
        one is not None for one in (body.pack_id, body.credits, price, body.membership_id)
    )
    if given > 1:
        raise InvalidRequest(
            "Name one of packId, credits, amount and membershipId.", param="packId"
        )
    if not given:
        return None
    if body.membership_id is not None:
        return {"plan": membership(env_of(request), body.membership_id)}
    pack = None
    if body.pack_id is not None:
        pack = catalog.get_pack(env_of(request), ref_of(body.pack_id), active_only=True)
    return pricing.product(env_of(request), StartCheckout(
        customer_id=customer_id, pack=pack, credits=body.credits, amount=price,
    ))  # fmt: skip


def _usable(env: Any, code: str, customer_id: UUID) -> Promo:
    """The code, where there is a pack or a membership that this user could use it for."""
    refusal: InvalidPromoCode | None = None
    sold: list[dict[str, Any]] = [{"pack": pack} for pack in catalog.list_packs(env)]
    sold += [{"plan": one} for one in plans.list_(env, public_only=True, kind="membership")]
    for product in sold:
        try:
            found = promos.quote(env, code, customer_id, **product)
            return promos.get_promo(env, found.promo_id)
        except InvalidPromoCode as exc:
            refusal = refusal or exc
    raise refusal or InvalidPromoCode("Nothing is on sale.", reason="product")


def _only_pack(env: Any, code: str) -> dict[str, Any]:
    """Without a product, a code of a single pack is for that pack."""
    packs = promos.get_promo(env, code).packs
    if packs is None or len(packs) != 1:
        raise InvalidRequest(
            "Name what it is for: packId, credits, amount or membershipId.", param="packId"
        )
    return {"pack": packs[0]}


def _promo_shape(one: Discount) -> dict[str, Any]:
    return {
        "valid": True,
        "code": one.code,
        "type": KINDS[one.kind],
        "discount": fields.plain_number(one.discount),
        "amount": fields.plain_number(one.total),
        "currency": one.total.currency.upper(),
        "bonusCredits": one.bonus_credits,
        **({"trialDays": one.free_trial_days} if one.kind == "free_trial" else {}),
    }


def _terms_shape(one: Promo) -> dict[str, Any]:
    return {
        "valid": True,
        "code": one.code,
        "type": KINDS[one.kind],
        "percentOff": one.percent_off,
        "amountOff": None if one.amount_off is None else fields.plain_number(one.amount_off),
        "bonusCredits": one.bonus_credits or 0,
        **({"trialDays": one.free_trial_days} if one.kind == "free_trial" else {}),
    }
