"""What a checkout costs and brings: decided here, never by the client."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from paydesk import ids
from paydesk.env import Env
from paydesk.errors import (
    AmountTooLarge,
    AmountTooSmall,
    InvalidPromoCode,
    InvalidRequest,
    PaydeskError,
)
from paydesk.flows import (
    catalog,
    customers,
    invoice_books,
    items,
    promos,
    rates,
    risk,
    subscription_payments,
)
from paydesk.rules import fields
from paydesk.rules.money import Money, times

if TYPE_CHECKING:
    from paydesk.flows.checkout import StartCheckout


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """A priced order. `credits` has a code's bonus in it; `line` is kept with the checkout.

    `goods` is what will be handed over for other things than credits, kept with the payment.
    `shown` is what whoever pays reads at the provider.
    """

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
    shown: str
    reservation: promos.Reservation | None
    line: dict[str, Any]
    risk: risk.Asked
    item: items.Item | None = None
    goods: dict[str, Any] | None = None

    @property
    def terms(self) -> dict[str, Any] | None:
        """What the payment's record keeps of the order, where goods are not credits."""
        return {"lines": [self.line], "goods": self.goods} if self.goods else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """What is bought, at its full price; one of `pack`, `quote`, `invoice` and none."""

    price: Money
    purpose: str
    product: str
    name: str
    pack: catalog.Pack | None = None
    quote: items.Quote | None = None
    invoice: invoice_books.InvoiceRow | None = None
    credits: int = 0
    #: What the provider's page says of it, where that is not its name.
    words: str | None = None


def price(
    env: Env, what: StartCheckout, ability: str | None = "checkout", *,
    card: Mapping[str, Any] | None = None,
) -> Priced:  # fmt: skip
    """Price an order and reserve its promo code.

    `ability`: what its provider must be able to do; None: no provider is asked (wallets).
    `card`: the row of the saved method that will be charged, for the rules of risk.
    Raises InvalidRequest, NotFound, InvalidPromoCode, AmountTooLarge, AmountTooSmall.
    """
    who = customers.get(env, what.customer_id)
    _check(what)
    order = _what(env, what, who)
    full = order.price
    if ability is not None:
        _check_provider(env, what, full, ability)
    _check_amount(env, full, order.credits if order.pack is None and order.credits else None)
    found = _claim(env, what, who, order)
    discount = found.discount if found else Money(0, full.currency, minor=True)
    bonus = found.bonus_credits if found and order.purpose == "credits" else 0
    total = full - discount
    if total.minor <= 0:
        promos.let_go(env, found)
        raise AmountTooSmall("Nothing would be left to pay.", param="promo")
    if ability is not None:
        _check_exact(env, what, total, found)
    name = what.description or order.name
    payment_id = found.payment_id if found else ids.new_owned(what.customer_id)
    return Priced(
        payment_id=payment_id,
        risk=risk.Asked(
            who=who, payment_id=payment_id, amount=total, email=what.email,
            card=card["fingerprint"] if card else None,
            card_country=card["country"] if card else None,
            review_from=env.settings.risk_review_score, block_from=env.settings.risk_block_score,
        ),
        external_id=who.external_id,
        product=order.product,
        purpose=order.purpose,
        pack=order.pack,
        price=full,
        discount=discount,
        total=total,
        credits=order.credits + bonus,
        description=name,
        shown=what.description or order.words or name,
        reservation=found,
        line=_line(env, order, name, discount, total, found),
        item=order.quote.item if order.quote else None,
        goods=_goods(what, order),
    )


def let_go(env: Env, priced: Priced, refusal: PaydeskError) -> None:
    """The order was refused and nothing is written of it: its promo code is free again, and why
    the rules of risk blocked it, where they did, is kept."""
    promos.let_go(env, priced.reservation)
    risk.keep_blocked(env, refusal)


def _line(
    env: Env, order: _Order, name: str, discount: Money, total: Money,
    found: promos.Reservation | None,
) -> dict[str, Any]:  # fmt: skip
    """The order's one line. `unit_minor` is the list price; rules and codes come after it."""
    is_credits = order.purpose == "credits"
    days = (order.pack.expires_days if order.pack else None) or env.settings.credit_expiry_days
    line: dict[str, Any] = {
        "description": name,
        "quantity": order.quote.quantity if order.quote else 1,
        "unit_minor": order.quote.item.price.minor if order.quote else order.price.minor,
        "discount_minor": discount.minor,
        "amount_minor": total.minor,
        "currency": total.currency,
        "pack": order.pack.key if order.pack else None,
        "credits": order.credits,
        "bonus_credits": found.bonus_credits if found and is_credits else 0,
        "expires_days": days if is_credits else None,
        "promo": found.code if found else None,
    }
    if order.quote is not None:
        line |= {"item": order.quote.item.key, "pricing": list(order.quote.pricing)}
    return line


def _goods(what: StartCheckout, order: _Order) -> dict[str, Any] | None:
    """What will be handed over, as it stands now: later changes of the catalogue do not count."""
    if order.purpose == "wallet":
        return {"wallet": order.price.currency, "amount_minor": order.price.minor}
    if order.invoice is not None:
        return invoice_books.goods(order.invoice)
    if order.quote is None:
        return None
    item = order.quote.item
    grants = [{**one, "days": one["days"] or item.access_days} for one in item.grants]
    goods = {"item": str(item.uuid), "key": item.key, "name": item.name, "grants": grants}
    if item.kind == "service":
        service_id = what.service_id or ids.new_owned(what.customer_id)
        return {**goods, "service": str(service_id), "months": item.duration_months}
    return {
        **goods, "purchase": str(ids.new_owned(what.customer_id)), "quantity": order.quote.quantity,
        "repeatable": item.repeatable, "pricing": list(order.quote.pricing),
    }  # fmt: skip


def _what(env: Env, what: StartCheckout, who: customers.Customer) -> _Order:
    """The order at its full price: nothing of it comes from the client but what and how many."""
    asked = [what.pack, what.credits, what.amount, what.item, what.service, what.wallet,
             what.invoice]  # fmt: skip
    if sum(one is not None for one in asked) != 1:
        raise InvalidRequest(
            "Give exactly one of pack, credits, item, service, wallet, invoice and amount."
        )
    if what.quantity != 1 and what.item is None:
        raise InvalidRequest("A quantity is for items.", param="quantity")
    if what.item is not None or what.service is not None:
        return _item(env, what, who)
    if what.invoice is not None:
        return _invoice(env, what)
    if what.pack is not None:
        pack = catalog.get_pack(env, what.pack, active_only=True)
        return _Order(price=pack.price, purpose="credits", product=promos.product_of(pack=pack),
                      name=pack.name, pack=pack, credits=pack.credits)  # fmt: skip
    if what.credits is not None:
        return _credits(env, what.credits)
    money = what.amount if what.amount is not None else what.wallet
    assert money is not None
    if money.minor <= 0:
        raise InvalidRequest("amount must be above zero.", param="amount")
    is_wallet = what.wallet is not None
    if is_wallet and what.promo is not None:
        raise InvalidPromoCode("This code is not for this product.", reason="wrong_product",
                               param="code")  # fmt: skip
    return _Order(
        price=money, purpose="wallet" if is_wallet else "payment",
        product=promos.product_of(amount=money), name="Wallet" if is_wallet else "Payment",
    )  # fmt: skip


def _item(env: Env, what: StartCheckout, who: customers.Customer) -> _Order:
    """An item or a service, priced by its rules and the application's hook."""
    kind = "item" if what.item is not None else "service"
    found = items.quote(
        env, what.item if what.item is not None else what.service, who, what.quantity
    )
    item = found.item
    if item.kind != kind:
        raise InvalidRequest(f"{item.key!r} is no {kind} but a {item.kind}.", param=kind)
    if found.price.minor <= 0:
        raise AmountTooSmall("Nothing would be left to pay.", param=kind)
    return _Order(price=found.price, purpose=item.kind, product=promos.product_of(item=item.key),
                  name=item.name, quote=found)  # fmt: skip


def _invoice(env: Env, what: StartCheckout) -> _Order:
    """What an invoice asks for: nothing is added and no code takes from it."""
    assert what.invoice is not None
    if what.promo is not None:
        raise InvalidPromoCode("This code is not for this product.", reason="wrong_product",
                               param="code")  # fmt: skip
    with env.db.read() as tx:
        row = invoice_books.asked(tx, what.customer_id, what.invoice)
        words = subscription_payments.words_of(tx, what.customer_id, row.id)
    return _Order(price=row.money(row.due_minor), purpose=invoice_books.PURPOSE,
                  product=row.payable, name=invoice_books.name_of(row), invoice=row,
                  words=words)  # fmt: skip


def _credits(env: Env, asked: int) -> _Order:
    """So many credits at the set price."""
    least = env.settings.min_credit_purchase
    count = fields.whole(asked, "credits")
    if count < least:
        raise AmountTooSmall(f"At least {least} credits are sold at a time.", param="credits",
                             least=least)  # fmt: skip
    if count > env.settings.max_transaction_amount:
        raise _too_large(env, "credits")
    price = times(env.settings.default_credit_price, count, env.settings.default_currency)
    return _Order(price=price, purpose="credits", product=promos.product_of(credits=count),
                  name=f"{count} credits", credits=count)  # fmt: skip


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


def _check_exact(
    env: Env, what: StartCheckout, total: Money, found: promos.Reservation | None
) -> None:
    """The provider can be asked for this very sum; else the promo code is free again."""
    try:
        env.providers[what.provider or env.providers.default].check_amount(total)
    except InvalidRequest:
        promos.let_go(env, found)
        raise


def _check_amount(env: Env, full: Money, bought: int | None) -> None:
    most = env.settings.max_transaction_amount
    if rates.is_above(env, full, most):
        raise _too_large(env, "amount")
    if bought is not None and bought > most:
        raise _too_large(env, "credits")


def _too_large(env: Env, param: str) -> AmountTooLarge:
    most = env.settings.max_transaction_amount
    return AmountTooLarge(f"At most {most} in one transaction.", param=param, limit=most)


def _claim(
    env: Env, what: StartCheckout, who: customers.Customer, order: _Order
) -> promos.Reservation | None:
    """The use of a code that this checkout takes: the one named, or one applied before."""
    if order.purpose == "wallet":
        return None
    if what.promo is None:
        if not what.uses_applied:
            return None
        with env.db.read() as tx:
            waiting = tx.one(
                "select 1 as one from promo_reservations"
                " where customer_id = %(customer_id)s and product = %(product)s",
                {"customer_id": who.uuid, "product": order.product},
            )
        if waiting is None:
            return None
    return promos.claim(env, who, code=what.promo, **_product(what, order))


def product(env: Env, what: StartCheckout) -> dict[str, Any]:
    """What `promos.quote` and `promos.apply` are told of an order: priced as its checkout will be.

    Raises InvalidRequest, NotFound, AmountTooSmall, AmountTooLarge.
    """
    return _product(what, _what(env, what, customers.get(env, what.customer_id)))


def _product(what: StartCheckout, order: _Order) -> dict[str, Any]:
    item = order.quote.item.key if order.quote else None
    return {"pack": order.pack, "credits": what.credits, "price": order.price, "item": item}


def hash_of(what: StartCheckout) -> bytes:
    """What makes two requests the same, where the caller did not say."""
    told = {
        "pack": str(getattr(what.pack, "key", what.pack)), "credits": what.credits,
        "amount": str(what.amount), **_hash_goods(what), "promo": what.promo, "email": what.email,
        "provider": what.provider, "success_url": what.success_url, "cancel_url": what.cancel_url,
        "metadata": dict(what.metadata), "description": what.description,
        "reference": what.reference, "payable": what.payable,
    }  # fmt: skip
    text = json.dumps(told, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _hash_goods(what: StartCheckout) -> dict[str, Any]:
    """Goods that are not credits; left out where there are none, so that keys of before hold."""
    told = {"item": what.item, "service": what.service, "service_id": what.service_id}
    named = {name: str(getattr(one, "key", one)) for name, one in told.items() if one is not None}
    if what.wallet is not None:
        named["wallet"] = str(what.wallet)
    if what.invoice is not None:
        named["invoice"] = str(what.invoice)
    if what.payment_type is not None:
        named["payment_type"] = what.payment_type
    return named | ({"quantity": str(what.quantity)} if what.quantity != 1 else {})
