"""Pay from a wallet: priced as a checkout is, paid and handed over in one transaction.

No provider is asked, so there is no session and nothing in doubt: the payment succeeds with its
goods, or nothing happened. Its provider is `wallet`; a refund of it goes back into the wallet.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import (
    AlreadyPurchased,
    Conflict,
    InvalidPromoCode,
    InvalidRequest,
    PaydeskError,
    PaymentInFlight,
    Unavailable,
)
from paydesk.flows import (
    attempts,
    checkout,
    fulfillment,
    goods,
    heads,
    payments,
    pricing,
    promos,
    wallets,
)
from paydesk.flows.checkout import StartCheckout
from paydesk.flows.events import emit_many
from paydesk.flows.payments import PaymentView
from paydesk.flows.pricing import Priced
from paydesk.tracker.exceptions import DuplicatePayment
from paydesk.tracker.stores.joined import JoinedStore, ServicePayment

#: The provider and the method of payments from a wallet.
PROVIDER = "wallet"


def pay(env: Env, what: StartCheckout) -> PaymentView:
    """Pay an order (pack, credits, item, service or amount) from the wallet of its currency.

    wallet -> deposits (WALLET_PAYMENT), then what the goods post, in one transaction. The same
    `request_key` pays once. Raises InsufficientFunds, WalletFrozen, AlreadyPurchased and what
    pricing and limits raise; then nothing happened.
    """
    if what.wallet is not None:
        raise InvalidRequest("A wallet is not filled from itself.", param="wallet")
    key = what.request_key or uuid4()
    digest = what.request_hash or pricing.hash_of(what)
    for _ in range(checkout.MAX_CLAIMS):
        with env.db.read() as tx:
            found = checkout.known_payment(tx, what.customer_id, key, digest)
        if found is not None:
            return payments.get(env, what.customer_id, found)
        try:
            priced = pricing.price(env, what, None)
        except (InvalidPromoCode, AlreadyPurchased):
            # The same request, a moment ahead, may have taken the last use, or bought the thing.
            with env.db.read() as tx:
                found = checkout.known_payment(tx, what.customer_id, key, digest)
            if found is None:
                raise
            continue
        try:
            paid = _pay(env, what, priced, key, digest)
        except Unavailable:
            raise  # It may be repeated at once, and then finds its reservation.
        except PaydeskError as exc:
            pricing.let_go(env, priced, exc)
            raise
        if paid is not None:
            return payments.get(env, what.customer_id, paid)
    raise Conflict("Another order of this product takes the promo code; try again.")


def _pay(
    env: Env, what: StartCheckout, priced: Priced, key: UUID, digest: bytes
) -> UUID | None:
    """The payment's id; None where the promo code must be claimed anew."""
    customer_id = what.customer_id
    try:
        with env.db.transaction(customer_id) as tx:
            now = heads.decide(tx, env.now(), customer_id)
            known = checkout.known_payment(tx, customer_id, key, digest)
            if known is not None:
                promos.drop(tx, customer_id, priced.reservation, now)
                return known
            if priced.reservation is not None and promos.take_reservation(
                tx, customer_id, priced.product, now, priced.payment_id
            ) is None:
                return None
            checkout.check_reference(tx, customer_id, what.reference)
            checkout.check_limits(env, tx, priced, customer_id, now)
            bought = goods.check(tx, now, customer_id, priced)
            payment = _payment(env, tx, what, priced, key, digest, now, bought)
            JoinedStore(tx.conn).create(payment)
            goods.write(tx, now, payment)
            emit_many(tx, [attempts.state_event(payment, now, type="payment.created")])
            _settle(env, tx, now, payment, priced)
            return payment.key[1]
    except DuplicatePayment as exc:
        if exc.constraint == "payments_in_flight":
            raise PaymentInFlight("A payment for this is already under way.") from exc
        raise


def _settle(
    env: Env, tx: Tx, now: datetime, payment: ServicePayment, priced: Priced
) -> None:
    """Take the money and hand the goods over; raises where either fails."""
    wallets.take_out(
        tx, now, payment.customer_id, priced.total, "deposits", reason="WALLET_PAYMENT",
        txn_id=ids.new_owned(payment.customer_id), event="wallet.paid",
        data={"payment_id": payment.key[1]}, subject_id=payment.key[1],
        reference=payment.reference, request_key=ids.request_key("wallet payment", payment.id),
    )  # fmt: skip
    taken = payment.model_copy(update={"captured_cents": priced.total.minor})
    emit_many(tx, [attempts.state_event(taken, now, state="succeeded")])
    handed = fulfillment.hand_over(tx, now, [taken], "wallet", settings=env.settings)[0]
    if handed.state != "done":
        raise Conflict(handed.error or "The goods cannot be handed over.", param="payment")
    changes = {"captured_cents": priced.total.minor, **handed.changes}
    attempts.advance(tx, now, [(payment, "succeeded", changes)])


def _payment(
    env: Env, tx: Tx, what: StartCheckout, priced: Priced, key: UUID, digest: bytes,
    now: datetime, bought: dict[str, Any],
) -> ServicePayment:  # fmt: skip
    return goods.payment(
        tx, now, what, priced, bought, key=key, digest=digest, terms=goods.lines(priced, bought),
        provider=PROVIDER, method=PROVIDER, livemode=env.settings.live,
    )  # fmt: skip
