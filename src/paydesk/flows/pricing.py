"""What a checkout costs and brings: decided here, never by the client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from paydesk import ids
from paydesk.env import Env
from paydesk.errors import AmountTooLarge, AmountTooSmall, InvalidRequest
from paydesk.flows import catalog, customers, promos
from paydesk.rules import fields
from paydesk.rules.money import Money, exponent, times

if TYPE_CHECKING:
    from paydesk.flows.checkout import StartCheckout


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """A priced order. `credits` has a code's bonus in it; `line` is kept with the checkout."""

    payment_id: UUID
    external_id: str
    product: str
    purpose: str
    pack: catalog.Pack | None
    price: Money
    discount: Money
    total: Money
    credits: int
    description: str
    reservation: promos.Reservation | None
    line: dict[str, Any]


def price(env: Env, what: StartCheckout, ability: str | None = "checkout") -> Priced:
    """Price an order and reserve its promo code.

    `ability`: what its provider must be able to do; None: no provider is asked (wallets).
    Raises InvalidRequest, NotFound, InvalidPromoCode, AmountTooLarge, AmountTooSmall.
    """
    who = customers.get(env, what.customer_id)
    pack, full, bought = _what(env, what)
    _check(what)
    if ability is not None:
        _check_provider(env, what, full, ability)
    _check_amount(env, full, None if pack else bought)
    product = promos.product_of(pack=pack, credits=what.credits, amount=full)
    found = _claim(env, what, who, pack, full, product)
    discount = found.discount if found else Money(0, full.currency, minor=True)
    bonus = found.bonus_credits if found else 0
    total = full - discount
    if total.minor <= 0:
        promos.let_go(env, found)
        raise AmountTooSmall("Nothing would be left to pay.", param="promo")
    purpose = "payment" if what.amount is not None else "credits"
    name = what.description or _name(pack, bought)
    days = (pack.expires_days if pack else None) or env.settings.credit_expiry_days
    return Priced(
        payment_id=found.payment_id if found else ids.new_owned(what.customer_id),
        external_id=who.external_id,
        product=product,
        purpose=purpose,
        pack=pack,
        price=full,
        discount=discount,
        total=total,
        credits=bought + bonus if purpose == "credits" else 0,
        description=name,
        reservation=found,
        line={
            "description": name,
            "quantity": 1,
            "unit_minor": full.minor,
            "discount_minor": discount.minor,
            "amount_minor": total.minor,
            "currency": full.currency,
            "pack": pack.key if pack else None,
            "credits": bought,
            "bonus_credits": bonus if purpose == "credits" else 0,
            "expires_days": days if purpose == "credits" else None,
            "promo": found.code if found else None,
        },
    )


def _what(env: Env, what: StartCheckout) -> tuple[catalog.Pack | None, Money, int]:
    """(pack, full price, credits)."""
    if sum(one is not None for one in (what.pack, what.credits, what.amount)) != 1:
        raise InvalidRequest("Give exactly one of pack, credits and amount.")
    if what.pack is not None:
        pack = catalog.get_pack(env, what.pack, active_only=True)
        return pack, pack.price, pack.credits
    if what.credits is not None:
        least = env.settings.min_credit_purchase
        count = fields.whole(what.credits, "credits")
        if count < least:
            raise AmountTooSmall(f"At least {least} credits are sold at a time.", param="credits",
                                 least=least)  # fmt: skip
        currency = env.settings.default_currency
        if count > env.settings.max_transaction_amount:
            raise _too_large(env, "credits")
        return None, times(env.settings.default_credit_price, count, currency), count
    assert what.amount is not None
    if what.amount.minor <= 0:
        raise InvalidRequest("amount must be above zero.", param="amount")
    return None, what.amount, 0


def _check(what: StartCheckout) -> None:
    """Texts that come from outside are storable."""
    fields.email(what.email)
    for name, most in (("success_url", 2048), ("cancel_url", 2048), ("description", 500),
                       ("reference", 255), ("payable", 255)):  # fmt: skip
        fields.optional_text(getattr(what, name), name, most=most)
    fields.metadata(what.metadata)


def _check_provider(env: Env, what: StartCheckout, full: Money, ability: str) -> None:
    """The provider takes such orders, in this currency."""
    provider = env.providers[what.provider or env.providers.default]
    if ability not in provider.can:
        lacking = "opens no checkouts" if ability == "checkout" else f"has no {ability}"
        raise InvalidRequest(f"{provider.name} {lacking}.", param="provider")
    if provider.currencies is not None and full.currency not in provider.currencies:
        raise InvalidRequest(
            f"{provider.name} takes no {full.currency.upper()}.", param="currency"
        )


def _check_amount(env: Env, full: Money, bought: int | None) -> None:
    settings = env.settings
    most = settings.max_transaction_amount
    if full.currency == settings.default_currency and full.minor > most * 10 ** exponent(
        full.currency
    ):
        raise _too_large(env, "amount")
    if bought is not None and bought > most:
        raise _too_large(env, "credits")


def _too_large(env: Env, param: str) -> AmountTooLarge:
    most = env.settings.max_transaction_amount
    return AmountTooLarge(f"At most {most} in one transaction.", param=param, limit=most)


def _claim(
    env: Env, what: StartCheckout, who: customers.Customer, pack: catalog.Pack | None,
    full: Money, product: str,
) -> promos.Reservation | None:  # fmt: skip
    """The use of a code that this checkout takes: the one named, or one applied before."""
    if what.promo is None:
        with env.db.read() as tx:
            waiting = tx.one(
                "select 1 as one from promo_reservations"
                " where customer_id = %(customer_id)s and product = %(product)s",
                {"customer_id": who.uuid, "product": product},
            )
        if waiting is None:
            return None
    return promos.claim(
        env, who, pack=pack, credits=what.credits, price=full, code=what.promo
    )


def _name(pack: catalog.Pack | None, bought: int) -> str:
    if pack is not None:
        return pack.name
    return f"{bought} credits" if bought else "Payment"
