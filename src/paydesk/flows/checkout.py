"""Checkout: price it, write the intention, let the provider open a session, verify, end it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from paydesk import crash, ids
from paydesk.clock import SystemClock
from paydesk.db.postgres import Tx, jsonb
from paydesk.env import Env
from paydesk.errors import (
    Conflict,
    CreditLimitExceeded,
    IdempotencyKeyReused,
    InvalidPromoCode,
    NotFound,
    NotSupported,
    PaydeskError,
    PaymentInFlight,
    Unavailable,
)
from paydesk.flows import (
    attempts,
    charges,
    checkout_calls,
    credits,
    goods,
    heads,
    payments,
    pricing,
    promos,
    provider_calls,
    provider_customers,
)
from paydesk.flows.events import NewEvent, emit_many
from paydesk.flows.payments import PaymentView
from paydesk.flows.pricing import Priced, hash_of
from paydesk.flows.sweeps import WAIT_S, one_row
from paydesk.logger import get_logger
from paydesk.providers.base import Order, OrderLine
from paydesk.rules.money import Money
from paydesk.rules.payments import DEAD_STATES, OPEN_STATES
from paydesk.tracker.exceptions import DuplicatePayment
from paydesk.tracker.models import PAID_STATES
from paydesk.tracker.stores.joined import JoinedStore, ServicePayment

log = get_logger(__name__)

#: How long the provider's session outlives ours, so that ours ends by our word, not by its clock.
PROVIDER_MARGIN_S = 120
#: When a session that could not be ended is tried again.
END_AGAIN_S = 120
#: When a payment that takes its time, such as a bank debit, is looked at again.
LOOK_AGAIN = timedelta(minutes=10), timedelta(hours=6)
#: How often a reservation is claimed anew because another checkout was faster.
MAX_CLAIMS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class StartCheckout:
    """What is to be bought: exactly one of `pack`, `item`, `service` (keys or ids), `credits`,
    `wallet` (money to put there), `invoice` (to pay it) and `amount`. `quantity` is of the item;
    `service_id` names a service that was left unpaid.

    `request_key` names the request: the same key gives the same checkout, and `request_hash`
    tells whether the request is the same too. `payable` names a thing that only one payment at a
    time may be under way for; `reference` is the caller's own, unique per customer;
    `payment_type` is subscription, renewal or upgrade. `uses_applied`: whether a code that the
    customer applied before counts, where `promo` names none.
    """

    customer_id: UUID
    pack: Any = None
    credits: int | None = None
    amount: Money | None = None
    item: Any = None
    quantity: int = 1
    service: Any = None
    service_id: UUID | None = None
    wallet: Money | None = None
    invoice: UUID | None = None
    promo: str | None = None
    uses_applied: bool = True
    email: str | None = None
    provider: str | None = None
    success_url: str | None = None
    cancel_url: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    description: str | None = None
    reference: str | None = None
    payable: str | None = None
    payment_type: str | None = None
    request_key: UUID | None = None
    request_hash: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutView:
    """A checkout. `url` is the provider's page, `page_url` ours; `status` is open, complete,
    expired, canceled or failed; `path` says who completed it."""

    id: UUID
    customer_id: UUID
    secret: str
    url: str | None
    page_url: str
    payment: PaymentView
    lines: list[dict[str, Any]]
    email: str | None
    success_url: str | None
    cancel_url: str | None
    verify_attempts: int
    created_at: datetime

    @property
    def total(self) -> Money:
        return self.payment.amount

    @property
    def expires_at(self) -> datetime | None:
        return self.payment.expires_at

    @property
    def path(self) -> str | None:
        return self.payment.fulfillment.path if self.payment.fulfillment else None

    @property
    def status(self) -> str:
        state = self.payment.state
        if state in PAID_STATES:
            return "complete"
        return state if state in DEAD_STATES else "open"

    def __repr__(self) -> str:
        return f"<Checkout {ids.show('checkout', self.id)} {self.status} {self.total}>"


def start(env: Env, what: StartCheckout) -> CheckoutView:
    """Open a checkout, or go on with the one that this `request_key` began.

    Raises InvalidRequest, InvalidPromoCode, CreditLimitExceeded, AmountTooLarge, AmountTooSmall,
    TransactionLimit, PaymentInFlight before anything happened; IdempotencyKeyReused,
    IdempotencyInProgress; PaymentFailed (the provider refuses it); ProviderUnavailable and
    OutcomeUnknown (repeat with the same key, or let the sweep settle it).
    """
    key = what.request_key or uuid4()
    digest = what.request_hash or hash_of(what)
    found = _by_key(env, what.customer_id, key, digest)
    if found is not None:
        return _go_on(env, what.customer_id, found)
    for _ in range(MAX_CLAIMS):
        try:
            priced = pricing.price(env, what)
        except InvalidPromoCode:
            # The same request, a moment ahead, may have taken the last use.
            found = _by_key(env, what.customer_id, key, digest)
            if found is None:
                raise
            return _go_on(env, what.customer_id, found)
        try:
            written = _intend(env, what, priced, key, digest)
        except Unavailable:
            raise  # It may be repeated at once, and then finds its reservation.
        except PaydeskError as exc:
            pricing.let_go(env, priced, exc)
            raise
        if isinstance(written, provider_calls.Call):
            crash.at("checkout_after_intend")
            provider_calls.run(env, written)
            return get_by_payment(env, what.customer_id, written.payment_id)
        if written is not None:
            return _go_on(env, what.customer_id, written)
    raise Conflict("Another checkout of this product takes the promo code; try again.")


def _go_on(env: Env, customer_id: UUID, payment_id: UUID) -> CheckoutView:
    """A repeated request: finish what is open, answer what there is."""
    with env.db.read() as tx:
        call = provider_calls.of_payment(tx, customer_id, payment_id)
    if call is not None and not call.is_settled:
        provider_calls.resume(env, customer_id, call.id)
    elif call is not None and call.state == "refused":
        raise checkout_calls.refusal(call, call.error or "")
    return get_by_payment(env, customer_id, payment_id)


def _by_key(env: Env, customer_id: UUID, key: UUID, digest: bytes) -> UUID | None:
    with env.db.read() as tx:
        return known_payment(tx, customer_id, key, digest)


def known_payment(tx: Tx, customer_id: UUID, key: UUID, digest: bytes) -> UUID | None:
    """The payment that this request made. Raises IdempotencyKeyReused for another request."""
    row = tx.one(
        "select id, request_hash from payments"
        " where customer_id = %(customer_id)s and request_key = %(key)s",
        {"customer_id": customer_id, "key": key},
    )
    if row is None:
        return None
    if bytes(row["request_hash"]) != digest:
        raise IdempotencyKeyReused("This Idempotency-Key was used with another request.")
    return row["id"]


def _intend(
    env: Env, what: StartCheckout, priced: Priced, key: UUID, digest: bytes
) -> provider_calls.Call | UUID | None:
    """Write payment, checkout, attempt and call. Answers the call, whose lease is ours; the id
    of the payment that the same request wrote meanwhile; None where the promo must be claimed
    anew."""
    customer_id = what.customer_id
    checkout_id, call_id = ids.new_owned(customer_id), ids.new_owned(customer_id)
    attempt_id, secret = ids.new_owned(customer_id), secrets.token_urlsafe(16)
    try:
        with env.db.transaction(customer_id) as tx:
            now = heads.decide(tx, env.now(), customer_id)
            known = known_payment(tx, customer_id, key, digest)
            if known is not None:
                promos.drop(tx, customer_id, priced.reservation, now)
                return known
            if priced.reservation is not None:
                taken = promos.take_reservation(
                    tx, customer_id, priced.product, now, priced.payment_id
                )
                if taken is None:
                    return None
            check_reference(tx, customer_id, what.reference)
            check_limits(env, tx, priced, customer_id, now)
            bought = goods.check(tx, now, customer_id, priced)
            payment = _payment(env, tx, what, priced, key, digest, checkout_id, now, bought)
            JoinedStore(tx.conn).create(payment)
            goods.write(tx, now, payment)
            order = _order(env, tx, what, priced, payment, call_id, secret)
            request = {"provider": payment.provider, **provider_calls.order_json(order)}
            _write_checkout(tx, what, priced, payment, secret, now)
            attempts.open_(tx, payment, attempt_id=attempt_id, call_id=call_id, now=now)
            call = provider_calls.intend(
                tx, now, customer_id=customer_id, call_id=call_id, action="checkout",
                request=request, payment_id=payment.key[1], attempt_id=attempt_id,
                amount=priced.total, clock_id=payment.clock_id,
            )  # fmt: skip
            emit_many(tx, _created(payment, now))
            crash.at("checkout_before_intend_commit")
    except DuplicatePayment as exc:
        if exc.constraint == "payments_in_flight":
            raise PaymentInFlight("A payment for this is already under way.") from exc
        raise
    return call


def check_reference(tx: Tx, customer_id: UUID, reference: str | None) -> None:
    """A reference stands for one payment that is under way or was paid. The head is locked."""
    if reference is None:
        return
    found = tx.one(
        "select 1 as one from payments where customer_id = %(customer_id)s"
        " and reference = %(reference)s and state <> all(%(dead)s) limit 1",
        {"customer_id": customer_id, "reference": reference, "dead": sorted(DEAD_STATES)},
    )
    if found is not None:
        raise Conflict("A payment with this reference exists.", param="reference")


def check_limits(env: Env, tx: Tx, priced: Priced, customer_id: UUID, now: datetime) -> None:
    """Raises CreditLimitExceeded, and TransactionLimit after counting the day's payments."""
    limit = env.settings.max_credit_balance
    if priced.credits:
        balance = credits.balance_total(tx, customer_id, now)
        if balance + priced.credits > limit:
            raise CreditLimitExceeded(
                f"{balance} credits and {priced.credits} more would exceed {limit}.",
                limit=limit, balance=balance,
            )  # fmt: skip
    heads.count_day(tx, customer_id, now, 1, env.settings.max_daily_transactions)
    heads.count_amount(tx, customer_id, now, priced.total, env.settings.max_daily_amount)


def _payment(
    env: Env, tx: Tx, what: StartCheckout, priced: Priced, key: UUID, digest: bytes,
    checkout_id: UUID, now: datetime, bought: Mapping[str, Any],
) -> ServicePayment:  # fmt: skip
    provider = env.providers[what.provider or env.providers.default]
    return goods.payment(
        tx, now, what, priced, bought, key=key, digest=digest, checkout_id=checkout_id,
        provider=provider.name, provider_account=provider.account, livemode=provider.livemode,
        expires_at=now + timedelta(minutes=provider.session_minutes()),
    )  # fmt: skip


def _order(
    env: Env, tx: Tx, what: StartCheckout, priced: Priced, payment: ServicePayment, call_id: UUID,
    secret: str,
) -> Order:  # fmt: skip
    """What the provider is asked. Our ids lead its events back to us, even before we attach."""
    shown = ids.show("payment", priced.payment_id)
    customer = ids.show("customer", what.customer_id)
    checkout_id = payment.checkout_id
    assert checkout_id is not None
    page = page_url(env, checkout_id, secret)
    metadata = {
        "customer_id": customer,
        "payment_id": shown,
        "userId": priced.external_id[:500],
        "credits": str(priced.credits),
        **({"packId": priced.pack.key} if priced.pack else {}),
    }
    order = Order(
        id=shown,
        customer=customer,
        key=str(call_id),
        amount=priced.total,
        description=priced.shown,
        lines=(OrderLine(name=priced.shown, amount=priced.total),),
        email=what.email,
        success_url=success_page_url(env, checkout_id, secret),
        cancel_url=what.cancel_url or page,
        expires_in_s=env.providers[payment.provider].session_minutes() * 60 + PROVIDER_MARGIN_S,
        metadata=metadata,
        # A clock that is moved by hand says nothing about the provider's.
        at=env.now() if isinstance(env.clock, SystemClock) else None,
        provider_customer=provider_customers.ref_of(
            tx, what.customer_id, payment.provider, payment.provider_account
        ),
        # The periods that follow are charged while the customer is away.
        save_method=what.invoice is not None and payment.payment_type is not None,
    )
    body = env.providers[payment.provider].checkout_request(order)
    return Order(**{**{f: getattr(order, f) for f in order.__dataclass_fields__}, "request": body})


def _write_checkout(
    tx: Tx, what: StartCheckout, priced: Priced, payment: ServicePayment, secret: str, now: datetime
) -> None:
    tx.run(
        "insert into checkouts (customer_id, id, payment_id, secret, email, lines, success_url,"
        " cancel_url, created_at) values (%(customer_id)s, %(id)s, %(payment_id)s, %(secret)s,"
        " %(email)s, %(lines)s, %(success_url)s, %(cancel_url)s, %(now)s)",
        {
            "customer_id": what.customer_id,
            "id": payment.checkout_id,
            "payment_id": priced.payment_id,
            "secret": secret,
            "email": what.email,
            "lines": jsonb([priced.line]),
            "success_url": what.success_url,
            "cancel_url": what.cancel_url,
            "now": now,
        },
    )


def _created(payment: ServicePayment, now: datetime) -> list[NewEvent]:
    assert payment.checkout_id is not None
    data = {
        "payment": ids.show("payment", payment.key[1]),
        "amount": payment.amount_cents,
        "currency": payment.currency,
    }
    return [
        NewEvent(customer_id=payment.customer_id, type="checkout.created",
                 subject_id=payment.checkout_id, data=data, at=now),
        attempts.state_event(payment, now, type="payment.created"),
    ]  # fmt: skip


def page_url(env: Env, checkout_id: UUID, secret: str) -> str:
    """Our page with the order."""
    return f"{env.settings.base_url}/checkout/{ids.show('checkout', checkout_id)}?s={secret}"


def success_page_url(env: Env, checkout_id: UUID, secret: str) -> str:
    """Where the provider sends the customer back to: our page that verifies, then leads on."""
    shown = ids.show("checkout", checkout_id)
    return f"{env.settings.base_url}/checkout/{shown}/success?s={secret}"


def get(env: Env, customer_id: UUID | None, ref: str | UUID) -> CheckoutView:
    """The checkout of any id that leads to its payment. Another customer's answers NotFound."""
    with env.db.read() as tx:
        return _view(env, tx, *payments.find(env, tx, ref, customer_id))


def get_by_payment(env: Env, customer_id: UUID, payment_id: UUID) -> CheckoutView:
    """The checkout of a payment."""
    with env.db.read() as tx:
        return _view(env, tx, customer_id, payment_id)


def by_secret(env: Env, checkout_id: str | UUID, secret: str) -> CheckoutView:
    """For the hosted pages: the id alone opens nothing. Raises NotFound."""
    value = ids.parse("checkout", checkout_id) if isinstance(checkout_id, str) else checkout_id
    view = get(env, None, value)
    if not secrets.compare_digest(view.secret.encode(), secret.encode("utf-8", "replace")):
        raise NotFound(f"No such checkout: {ids.show('checkout', value)}.")
    return view


def _view(env: Env, tx: Tx, customer_id: UUID, payment_id: UUID) -> CheckoutView:
    row = tx.one(
        "select c.id, c.customer_id, c.secret, c.lines, c.email, c.success_url, c.cancel_url,"
        " c.verify_attempts, c.created_at, (select a.url from attempts a"
        "  where a.customer_id = c.customer_id and a.payment_id = c.payment_id"
        "  and a.call_id is not null order by a.created_at desc, a.id desc limit 1) as url"
        " from checkouts c where c.customer_id = %(customer_id)s and c.payment_id = %(payment_id)s"
        " order by c.id limit 1",
        {"customer_id": customer_id, "payment_id": payment_id},
    )
    if row is None:
        raise NotFound(f"No checkout of payment {ids.show('payment', payment_id)}.")
    payment = payments.view(tx, customer_id, payment_id)
    page = page_url(env, row["id"], row["secret"])
    return CheckoutView(**row, page_url=page, payment=payment)


def verify(
    env: Env, ref: str | UUID, customer_id: UUID | None = None, path: str = "verify"
) -> CheckoutView:
    """Ask the provider how it stands and record it; safe to repeat.

    `ref`: our checkout or payment id, or the provider's session. Nothing is asked where the
    payment is settled. Raises NotFound, ProviderUnavailable, OutcomeUnknown.
    """
    with env.db.read() as tx:
        key = payments.find(env, tx, ref, customer_id)
        payment = payments.view(tx, *key)
        call = provider_calls.of_payment(tx, *key)
    crash.at("verify_before_apply")
    if call is not None and not call.is_settled:
        provider_calls.resume(env, key[0], call.id)
    if not payment.paid:
        charges.refresh(env, *key, path)
    crash.at("verify_after_apply")
    return get_by_payment(env, *key)


def count_verification(env: Env, customer_id: UUID, checkout_id: UUID, most: int) -> bool:
    """Count a question to the provider from the success page; False when there were `most`."""
    with env.db.transaction(customer_id) as tx:
        return bool(
            tx.run(
                "update checkouts set verify_attempts = verify_attempts + 1"
                " where customer_id = %(customer_id)s and id = %(id)s"
                " and verify_attempts < %(most)s",
                {"customer_id": customer_id, "id": checkout_id, "most": most},
            )
        )


def expire_now(env: Env, customer_id: UUID, ref: str | UUID) -> CheckoutView:
    """The customer gives up: end the session at the provider. Money that came first stays.

    Raises Conflict where it is over already, NotSupported where the provider ends no sessions,
    ProviderUnavailable (the sweep goes on ending it).
    """
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        key = payments.find(env, tx, ref, customer_id)
        payment = payments.view(tx, *key)
        if payment.state not in OPEN_STATES:
            raise Conflict(f"This checkout is {payment.state} already.")
        if "expire" not in env.providers[payment.provider].can:
            raise NotSupported(f"{payment.provider} ends no sessions before their time.")
        # Written down first: whoever ends it, the sweep included, knows that the customer did.
        tx.run(
            "update attempts set state = 'canceled', expires_at = %(now)s"
            " where customer_id = %(customer_id)s and payment_id = %(payment_id)s"
            " and ended_at is null",
            {"customer_id": customer_id, "payment_id": key[1], "now": now},
        )
    end(env, customer_id, payment.id, "verify")
    return get_by_payment(env, customer_id, payment.id)


def end(env: Env, customer_id: UUID, payment_id: UUID, path: str) -> str:
    """End the payment's session at the provider and record how it stands then; answers the state.

    Raises what the provider raises; the attempt stays open and is ended later.
    """
    with env.db.read() as tx:
        payment = JoinedStore(tx.conn).get_many([(customer_id, payment_id)])[0]
        call = provider_calls.of_payment(tx, customer_id, payment_id)
    assert payment is not None, "the attempt names its payment"
    if payment.checkout_id is None:
        from paydesk.flows import direct

        return direct.end(env, customer_id, payment_id, path)
    if call is not None and not call.is_settled:
        provider_calls.resume(env, customer_id, call.id)
        with env.db.read() as tx:
            payment = JoinedStore(tx.conn).get_many([(customer_id, payment_id)])[0]
        assert payment is not None
    if payment.session_id is None:
        return payment.state
    if "expire" in env.providers[payment.provider].can:
        charge = env.providers.call(
            payment.provider, "expire_checkout", payment.session_id, f"end-{payment.id}"
        )
    else:  # It ends by the provider's own clock: look whether it has.
        charge = env.providers.call(payment.provider, "fetch", payment.session_id)
    crash.at("apply_after_fetch")
    if charges.record(env, payment, charge, path) == charges.STALE:
        charges.refresh(env, customer_id, payment_id, path)
    return payments.get(env, customer_id, payment_id).state


def expire_due(env: Env, limit: int = 20) -> int:
    """Sweep: end every session whose time is over. Answers how many payments came to an end."""
    with env.db.read() as tx:
        rows = tx.all(
            "select customer_id, id, payment_id from attempts where ended_at is null"
            " and clock_id is null and expires_at <= %(now)s order by expires_at limit %(limit)s",
            {"now": env.now(), "limit": limit},
        )
    ended = 0
    for row in rows:
        with one_row("sessions", row["payment_id"]):
            ended += expire_one(env, row["customer_id"], row["id"], row["payment_id"])
    return ended


def expire_one(env: Env, customer_id: UUID, attempt_id: UUID, payment_id: UUID) -> bool:
    """End a session whose time is over; whether the payment came to an end."""
    if not _lease(env, customer_id, attempt_id):
        return False
    return end(env, customer_id, payment_id, "sweep") not in OPEN_STATES


def _lease(env: Env, customer_id: UUID, attempt_id: UUID) -> bool:
    """Take a due attempt for some minutes, which is also when it is tried again.

    A payment that was under way when it was last looked at can be so for days, and a webhook
    tells of its end: it is looked at again after a quarter of the time it has taken so far.
    """
    with env.db.transaction(customer_id, wait_s=WAIT_S) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        return bool(
            tx.run(
                "update attempts a set expires_at = %(now)s + case when exists (select 1"
                "  from payments p where p.customer_id = a.customer_id and p.id = a.payment_id"
                "  and p.state = 'processing')"
                " then least(%(most)s, greatest(%(least)s, (%(now)s - a.created_at) / 4))"
                " else %(again)s end"
                " where a.customer_id = %(customer_id)s and a.id = %(id)s"
                " and a.ended_at is null and a.expires_at <= %(now)s",
                {
                    "customer_id": customer_id,
                    "id": attempt_id,
                    "now": now,
                    "again": timedelta(seconds=END_AGAIN_S),
                    "least": LOOK_AGAIN[0],
                    "most": LOOK_AGAIN[1],
                },
            )
        )
