"""Direct payments: a method is charged, or held, without a page; pending records of any method."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from paydesk import crash, ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import (
    AlreadyPurchased,
    AmountTooLarge,
    Conflict,
    IdempotencyInProgress,
    InvalidPromoCode,
    InvalidRequest,
    NotFound,
    NotSupported,
    PaydeskError,
    PaymentFailed,
    PaymentInFlight,
    ProviderRefused,
    Unavailable,
)
from paydesk.flows import (
    attempts,
    charges,
    checkout,
    goods,
    heads,
    methods,
    offline,
    payments,
    pricing,
    promos,
    provider_calls,
    provider_customers,
)
from paydesk.flows.checkout import StartCheckout
from paydesk.flows.events import emit_many
from paydesk.flows.payments import PaymentView
from paydesk.flows.pricing import Priced
from paydesk.providers.base import Order, OrderLine
from paydesk.rules.money import Money
from paydesk.tracker.exceptions import DuplicatePayment
from paydesk.tracker.models import PAID_STATES
from paydesk.tracker.stores.joined import JoinedStore, ServicePayment

#: Who collects a method, in every family's word for it; without one the default provider does.
PROVIDER_OF = {
    "stripe": "stripe", "card": "stripe", "credit_card": "stripe", "debit_card": "stripe",
    "apple_pay": "stripe", "google_pay": "stripe", "cash": "manual", "bank_transfer": "manual",
    "other": "manual", "moncash": "moncash", "natcash": "natcash", "paypal": "paypal",
    "crypto": "btcpay", "wallet": "wallet",
}  # fmt: skip
#: Goods that exist in any amount, so that a part of held money may be taken for them.
DIVISIBLE = frozenset({"payment", "wallet"})


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPayment:
    """What is to be paid (one of pack, credits, item, service, wallet, invoice, amount) and how.

    `method`: for `process` a saved method (our id or the provider's) or a provider's token, None
    for the default one; for `create` a word such as cash or bank_transfer. `off_session`: the
    customer is away and can open no page. `return_url`: where a bank's page leads back to.
    `uses_applied`: whether a code that the customer applied before counts, without `promo`.
    `guard` is called where the payment is written, with the head locked: what it raises undoes it.
    """

    customer_id: UUID
    amount: Money | None = None
    pack: Any = None
    credits: int | None = None
    item: Any = None
    quantity: int = 1
    service: Any = None
    wallet: Money | None = None
    invoice: UUID | None = None
    payment_type: str | None = None
    promo: str | None = None
    uses_applied: bool = True
    method: str | UUID | None = None
    provider: str | None = None
    off_session: bool = False
    capture: bool = True
    return_url: str | None = None
    cancel_url: str | None = None
    email: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    description: str | None = None
    reference: str | None = None
    payable: str | None = None
    request_key: UUID | None = None
    request_hash: bytes | None = None
    guard: Callable[[Tx, datetime, Priced], None] | None = field(default=None, compare=False)

    def order(self, provider: str | None) -> StartCheckout:
        """The same order as a checkout has it, for its price."""
        shared = {f.name for f in dataclasses.fields(StartCheckout)}
        told = {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name in shared
        }
        return StartCheckout(**{**told, "provider": provider, "success_url": self.return_url})

    def digest(self) -> bytes:
        """What makes two requests the same, where the caller did not say."""
        if self.request_hash is not None:
            return self.request_hash
        told = [
            pricing.hash_of(self.order(self.provider)).hex(), str(self.method), self.off_session,
            self.capture,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(told).encode()).digest()


# Charging a method -----------------------------------------------------------------------------


def process(env: Env, what: NewPayment) -> PaymentView:
    """Charge a method now, or go on with what this `request_key` began.

    Answers the payment: succeeded, authorized (without `capture`), processing, requires_action
    with an `action_url`, or failed with its code. Raises what pricing and limits raise,
    NotFound or PaymentMethodNotUsable for the method, NotSupported, PaymentInFlight,
    IdempotencyKeyReused, IdempotencyInProgress, ProviderUnavailable and OutcomeUnknown (repeat
    with the same key, or let the sweep settle it).
    """
    name = what.provider or env.providers.default
    for ability in ["charge", *([] if what.capture else ["capture"])]:
        if ability not in env.providers[name].can:
            raise NotSupported(f"{name} has no {ability}.")
    key, digest = what.request_key or uuid4(), what.digest()
    written = _priced(env, what, name, key, digest)
    if isinstance(written, provider_calls.Call):
        crash.at("checkout_after_intend")
        with contextlib.suppress(PaymentFailed):  # It stands on the payment.
            provider_calls.run(env, written)
        assert written.payment_id is not None
        return payments.get(env, what.customer_id, written.payment_id)
    return _go_on(env, what.customer_id, written)


def _priced(
    env: Env, what: NewPayment, name: str, key: UUID, digest: bytes, *, is_charge: bool = True
) -> provider_calls.Call | UUID:
    """Price and write; the id where the same request was written before, or nothing is called."""
    order = what.order(name)
    for _ in range(checkout.MAX_CLAIMS):
        with env.db.read() as tx:
            found = checkout.known_payment(tx, what.customer_id, key, digest)
            now = heads.now(env, what.customer_id, tx)
            saved = _method(tx, what, now, name) if is_charge and found is None else None
        if found is not None:
            return found
        # The very method that was weighed is charged, whichever is the default by then.
        chosen = dataclasses.replace(what, method=saved["id"]) if saved else what
        try:
            priced = pricing.price(env, order, "charge" if is_charge else None, card=saved)
        except (InvalidPromoCode, AlreadyPurchased):
            # The same request, a moment ahead, may have taken the last use, or bought the thing.
            with env.db.read() as tx:
                found = checkout.known_payment(tx, what.customer_id, key, digest)
            if found is None:
                raise
            return found
        try:
            written = _intend(env, chosen, priced, name, key, digest, is_charge)
        except Unavailable:
            raise  # It may be repeated at once, and then finds its reservation.
        except PaydeskError as exc:
            pricing.let_go(env, priced, exc)
            raise
        if written is not None:
            return written
    raise Conflict("Another order of this product takes the promo code; try again.")


def _go_on(env: Env, customer_id: UUID, payment_id: UUID) -> PaymentView:
    """A repeated request: finish what is open, answer what there is."""
    call = _open_call(env, customer_id, payment_id)
    if call is not None:
        with contextlib.suppress(PaymentFailed):
            provider_calls.resume(env, customer_id, call.id)
    return payments.get(env, customer_id, payment_id)


def _open_call(env: Env, customer_id: UUID, payment_id: UUID) -> provider_calls.Call | None:
    with env.db.read() as tx:
        call = provider_calls.of_payment(tx, customer_id, payment_id, "charge")
    return call if call is not None and not call.is_settled else None


def _intend(
    env: Env, what: NewPayment, priced: Priced, name: str, key: UUID, digest: bytes,
    is_charge: bool,
) -> provider_calls.Call | UUID | None:  # fmt: skip
    """Write payment, attempt and call. Answers the call, whose lease is ours, the id of the
    payment that is there already or that needs no call; None: claim the promo code anew."""
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
            if what.guard is not None:
                what.guard(tx, now, priced)
            checkout.check_reference(tx, customer_id, what.reference)
            checkout.check_limits(env, tx, priced, customer_id, now)
            bought = goods.check(tx, now, customer_id, priced)
            saved = _method(tx, what, now, name) if is_charge else None
            payment = _payment(env, tx, what, priced, name, key, digest, now, bought)
            more: dict[str, Any] = {"method_id": saved["id"]} if saved else {}
            if not is_charge:  # A person confirms it, whenever that is.
                more = {"method": str(what.method), "expires_at": None}
            payment = payment.model_copy(update=more)
            JoinedStore(tx.conn).create(payment)
            goods.write(tx, now, payment)
            emit_many(tx, [attempts.state_event(payment, now, type="payment.created")])
            if not is_charge:
                return payment.key[1]
            call = _write_call(env, tx, what, priced, payment, saved, now)
            crash.at("checkout_before_intend_commit")
    except DuplicatePayment as exc:
        if exc.constraint == "payments_in_flight":
            raise PaymentInFlight("A payment for this is already under way.") from exc
        raise
    return call


def _method(tx: Tx, what: NewPayment, now: datetime, name: str) -> dict[str, Any] | None:
    """The row of the method to charge, None for a token that is used once."""
    row = saved_method(tx, what.customer_id, what.method, now)
    if row is not None and row["provider"] != name:
        raise InvalidRequest(f"This method is {row['provider']}'s, not {name}'s.", param="method")
    return row


def saved_method(
    tx: Tx, customer_id: UUID, method: str | UUID | None, now: datetime
) -> dict[str, Any] | None:
    """The row of a saved method, of any provider; None for a token that is used once."""
    try:
        return methods.for_charge(tx, customer_id, method, now)
    except NotFound:
        if not isinstance(method, str) or _is_ours(method):
            raise
        methods.checked_token(method)
        return None


def _is_ours(ref: str) -> bool:
    try:
        ids.parse("method", ref)
    except NotFound:
        return False
    return True


def _payment(
    env: Env, tx: Tx, what: NewPayment, priced: Priced, name: str, key: UUID, digest: bytes,
    now: datetime, bought: Mapping[str, Any],
) -> ServicePayment:  # fmt: skip
    provider = env.providers[name]
    return goods.payment(
        tx, now, what, priced, bought, key=key, digest=digest, terms=goods.lines(priced, bought),
        provider=provider.name, provider_account=provider.account, livemode=provider.livemode,
        expires_at=now + timedelta(minutes=provider.session_minutes()),
    )  # fmt: skip


def _write_call(
    env: Env, tx: Tx, what: NewPayment, priced: Priced, payment: ServicePayment,
    saved: Mapping[str, Any] | None, now: datetime,
) -> provider_calls.Call:  # fmt: skip
    customer_id = what.customer_id
    attempt_id, call_id = ids.new_owned(customer_id), ids.new_owned(customer_id)
    shown, whose = ids.show("payment", priced.payment_id), ids.show("customer", customer_id)
    order = Order(
        id=shown, customer=whose, key=str(call_id), amount=priced.total,
        description=priced.shown,
        lines=(OrderLine(name=priced.shown, amount=priced.total),),
        email=what.email, success_url=what.return_url or env.settings.base_url,
        metadata={"customer_id": whose, "payment_id": shown, "userId": priced.external_id[:500]},
        provider_customer=provider_customers.ref_of(
            tx, customer_id, payment.provider, payment.provider_account
        ),
    )  # fmt: skip
    attempts.open_(tx, payment, attempt_id=attempt_id, call_id=call_id, now=now)
    request = {
        "provider": payment.provider, "op": "charge", **provider_calls.order_json(order),
        "method": saved["ref"] if saved else str(what.method), "off_session": what.off_session,
        "capture": what.capture,
    }  # fmt: skip
    return provider_calls.intend(
        tx, now, customer_id=customer_id, call_id=call_id, action="charge", request=request,
        payment_id=payment.key[1], attempt_id=attempt_id, amount=priced.total,
        clock_id=payment.clock_id,
    )  # fmt: skip


# Held money ------------------------------------------------------------------------------------


def capture(
    env: Env, customer_id: UUID | None, ref: str | UUID, amount: Money | None = None
) -> PaymentView:
    """Take held money, all of it or a part; the rest is let go. Safe to repeat.

    Raises NotFound, Conflict (nothing is held), AmountTooLarge, InvalidRequest (a part, of goods
    that cannot be parted), ProviderUnavailable and OutcomeUnknown.
    """
    return _settle_held(env, customer_id, ref, "capture", amount)


def void(env: Env, customer_id: UUID | None, ref: str | UUID) -> PaymentView:
    """Let held money go: the payment ends as canceled. Safe to repeat. Raises as `capture`."""
    return _settle_held(env, customer_id, ref, "void", None)


def _settle_held(
    env: Env, customer_id: UUID | None, ref: str | UUID, op: str, amount: Money | None
) -> PaymentView:
    with env.db.read() as tx:
        key = payments.find(env, tx, ref, customer_id)
    begun = _open_call(env, *key)
    if begun is not None:
        if begun.request["op"] != op:
            raise IdempotencyInProgress("Something else is under way for this payment.",
                                        retry_after_s=2)  # fmt: skip
        provider_calls.resume(env, key[0], begun.id)
        return payments.get(env, *key)
    with env.db.transaction(key[0]) as tx:
        now = heads.decide(tx, env.now(), key[0])
        payment = JoinedStore(tx.conn).get_many([key])[0]
        assert payment is not None
        call = _held_call(env, tx, now, payment, op, amount)
    if call is not None:
        crash.at("checkout_after_intend")
        provider_calls.run(env, call)
    return payments.get(env, *key)


def _held_call(
    env: Env, tx: Tx, now: datetime, payment: ServicePayment, op: str, amount: Money | None
) -> provider_calls.Call | None:
    """The intention to take or let go; None where that was done before."""
    held = Money(payment.amount_cents, payment.currency, minor=True)
    taken = amount or held
    if op == "capture" and payment.state in PAID_STATES:
        if amount is None or amount.minor == payment.captured_cents:
            return None
    elif op == "void" and payment.state == "canceled":
        return None
    if payment.state != "authorized":
        raise Conflict(f"This payment is {payment.state}: no money is held.")
    if op not in env.providers[payment.provider].can:
        raise NotSupported(f"{payment.provider} has no {op}.")
    if taken.currency != held.currency or taken.minor <= 0:
        raise InvalidRequest(f"amount must be above zero, in {held.currency}.", param="amount")
    if taken.minor > held.minor:
        raise AmountTooLarge(f"Only {held} is held.", param="amount", limit=held.minor)
    if taken != held:
        if payment.purpose not in DIVISIBLE:
            raise InvalidRequest("What was bought cannot be parted.", param="amount")
        env.providers[payment.provider].check_amount(taken)
        # What is asked from now on: the whole of it is taken.
        payment = attempts.advance(
            tx, now, [(payment, payment.state, {"amount_cents": taken.minor})]
        )[0]
    request = {
        "provider": payment.provider, "op": op, "ref": payment.provider_payment_id,
        "amount_minor": taken.minor, "currency": held.currency, "held_minor": held.minor,
        "version": payment.version,
    }  # fmt: skip
    return provider_calls.intend(
        tx, now, customer_id=payment.customer_id, call_id=ids.new_owned(payment.customer_id),
        action="charge", request=request, payment_id=payment.key[1], amount=taken,
        clock_id=payment.clock_id,
    )  # fmt: skip


# Pending records, confirming, ending -------------------------------------------------------------


def create(env: Env, what: NewPayment) -> PaymentView:
    """A pending payment of any method: where its provider has pages, one is opened
    (`payment_url`); where a person confirms it, only the record is made. Safe to repeat with one
    key. Raises InvalidRequest for a method that nobody here collects, and as `process`.
    """
    word = str(what.method or "stripe").lower()
    if word not in PROVIDER_OF:
        raise InvalidRequest(f"{word[:40]!r} is no payment method.", param="method")
    what = dataclasses.replace(what, method=word)
    name = what.provider or PROVIDER_OF[word]
    if word in ("card", "credit_card", "debit_card") and what.provider is None:
        name = env.providers.default
    key, digest = what.request_key or uuid4(), what.digest()
    if word == "wallet":
        from paydesk.flows import wallet_payments

        return wallet_payments.pay(
            env, dataclasses.replace(what.order("wallet"), request_key=key, request_hash=digest)
        )
    if name not in env.providers:
        raise InvalidRequest(f"No provider here collects {word!r}.", param="method")
    if "checkout" in env.providers[name].can:
        order = dataclasses.replace(what.order(name), request_key=key, request_hash=digest)
        made = checkout.start(env, order).payment
        return _name_method(env, made, word) if "offline" in env.providers[name].can else made
    if "offline" not in env.providers[name].can:
        raise InvalidRequest(f"{name} collects only from saved methods.", param="method")
    written = _priced(env, what, name, key, digest, is_charge=False)
    assert isinstance(written, UUID)
    return payments.get(env, what.customer_id, written)


def _name_method(env: Env, made: PaymentView, word: str) -> PaymentView:
    """How the money will come, where no provider will tell."""
    with env.db.transaction(made.customer_id) as tx:
        now = heads.decide(tx, env.now(), made.customer_id)
        payment = JoinedStore(tx.conn).get_many([(made.customer_id, made.id)])[0]
        if payment is not None and payment.method is None:
            attempts.advance(tx, now, [(payment, payment.state, {"method": word})])
    return payments.get(env, made.customer_id, made.id)


def confirm(
    env: Env, customer_id: UUID | None, ref: str | UUID, path: str = "verify", **said: Any
) -> PaymentView:
    """Ask the provider how a payment stands and record it; nobody's word counts but its own.

    `said` is for payments that a person confirms (`by` at least, as `offline.confirm` takes it).
    Raises NotFound, NotSupported, ProviderUnavailable, OutcomeUnknown.
    """
    with env.db.read() as tx:
        key = payments.find(env, tx, ref, customer_id)
        payment = payments.view(tx, *key)
    if payment.paid:
        return payment
    if "fetch" not in env.providers[payment.provider].can:
        if not said.get("by"):
            raise NotSupported(f"{payment.provider} payments are confirmed by a person.")
        return offline.confirm(env, *key, **said)
    if payment.checkout_id is not None:
        checkout.verify(env, key[1], key[0], path)
        return payments.get(env, *key)
    _go_on(env, *key)
    charges.refresh(env, *key, path)
    return payments.get(env, *key)


def end(env: Env, customer_id: UUID, payment_id: UUID, path: str) -> str:
    """End a direct charge that waits for its payer, at the provider first; answers the state.

    Raises what the provider raises; the attempt stays open and is ended later.
    """
    _go_on(env, customer_id, payment_id)
    with env.db.read() as tx:
        payment = JoinedStore(tx.conn).get_many([(customer_id, payment_id)])[0]
    assert payment is not None, "whoever ends it has found it"
    ref, provider = payment.provider_payment_id, env.providers[payment.provider]
    if ref is None or payment.state in PAID_STATES:
        return payment.state
    charge = None
    if "void" in provider.can:
        with contextlib.suppress(ProviderRefused):  # Past ending: how it ended is read.
            charge = env.providers.call(payment.provider, "void", ref, f"end-{payment.id}")
    if charge is None:
        charge = env.providers.call(payment.provider, "fetch", ref)
    crash.at("apply_after_fetch")
    if charges.record(env, payment, charge, path) == charges.STALE:
        charges.refresh(env, customer_id, payment_id, path)
    return payments.get(env, customer_id, payment_id).state
