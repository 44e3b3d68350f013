"""Refunds: money goes back with its goods, asked for and decided by people, carried out once.

The intention is committed with the books and the goods taken back; then the provider is called,
and whatever it says, now or weeks later, is laid onto the row by the one door `apply_remote`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import crash, ids
from paydesk.db.errors import UnknownCustomer
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import (
    AlreadyCredited,
    ApprovalRequired,
    Conflict,
    IdempotencyKeyReused,
    InvalidRequest,
    NotFound,
    NotPermitted,
    NotRefundable,
    NotSupported,
    OutcomeUnknown,
    ProviderUnavailable,
    RefundWindowClosed,
)
from paydesk.flows import (
    clawback,
    heads,
    note_books,
    provider_calls,
    rates,
    refund_books,
    refund_calls,
    refund_facts,
    refund_views,
    refund_words,
)
from paydesk.flows.events import emit_many
from paydesk.flows.provider_calls import Call
from paydesk.flows.refund_views import RefundView, Row
from paydesk.rules import fields
from paydesk.rules.money import Money
from paydesk.rules.persons import are_two, persons_of
from paydesk.rules.refunds import ENDED_STATES, fee_share, needs_approval, window_end
from paydesk.settings import Settings
from paydesk.tracker.models import PAID_STATES
from paydesk.tracker.stores.joined import JoinedStore, ServicePayment

Key = tuple[UUID, UUID]

#: A refund's row after a step, and the call that is to be run once it is committed.
_Begun = tuple[Row, Call | None]

get, list_ = refund_views.get, refund_views.list_
apply_event, apply_remote = refund_facts.apply_event, refund_facts.apply_remote
ask_pending, refresh = refund_facts.ask_pending, refund_facts.refresh

#: Who may refund after the window has ended, and who may only ask for a refund.
MAY_FORCE, MAY_ONLY_ASK = frozenset({"admin"}), frozenset({"support", "customer"})


@dataclass(frozen=True, slots=True, kw_only=True)
class WantRefund:
    """What is asked for. `amount` None: all that is left. `by` names who asks, `persons` is who is
    behind that name, `actor_role` is their role; `force` refunds after the window has ended, which
    the role must allow."""

    customer_id: UUID
    payment_id: UUID
    by: str
    request_key: UUID
    request_hash: bytes
    amount: Money | None = None
    reason: str | None = None
    note: str | None = None
    force: bool = False
    metadata: Mapping[str, Any] | None = None
    actor_role: str = "admin"
    persons: Sequence[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a refund would do now; a refund right after it does just that.

    `credits_missing` are used already: owed, forgiven or in the way, as `policy` says.
    `fee_lost`: the provider's fee for this share, as far as it was told. `is_window_open`: whether
    it needs no force. `obstacle` names the error that it would meet, None where it would work.
    """

    payment_id: UUID
    amount: Money
    refundable: Money
    credits_taken_back: int
    credits_missing: int
    credits_expired: int
    wallet_taken_back: Money
    wallet_missing: Money
    access_revoked: list[str]
    policy: str
    fee_lost: Money
    needs_approval: bool
    window_ends_at: datetime | None
    is_window_open: bool
    obstacle: str | None
    missing: Mapping[str, int] = field(default_factory=dict)

    @property
    def summary(self) -> list[str]:
        """What goes back and what is taken back, in sentences for whoever decides."""
        return refund_words.of_preview(self)


# Asking ------------------------------------------------------------------------------------------


def preview(
    env: Env, customer_id: UUID, payment_id: UUID, amount: Money | None = None, *,
    role: str = "admin", now: datetime | None = None,
) -> Preview:  # fmt: skip
    """What a refund of this amount (None: all that is left) would do. Changes nothing.

    Raises NotFound, InvalidRequest for another currency, NotRefundable for more than is left.
    """
    with env.db.read() as tx:
        payment = _payment(tx, (customer_id, payment_id))
        last = tx.value(
            "select nullif(last_at, '-infinity') from heads where customer_id = %(customer_id)s",
            {"customer_id": customer_id},
        )
        at = max(filter(None, (now or heads.now(env, customer_id, tx), last)))
        credited = refund_views.credited(tx, payment)
        left = refund_views.left(tx, payment) - credited
        minor = _amount(payment, amount, left, credited)
        plan = clawback.plan(tx, payment, minor, now=at)
        obstacle = _obstacle(env, tx, payment, minor)
        is_asked = _is_asked(tx, env.settings, payment, minor, role, at)
    ends_at = window_end(payment.completed_at, env.settings.refund_window_days)
    is_open = ends_at is None or at < ends_at
    policy = env.settings.clawback_policy
    if obstacle is None and plan.missing and policy == "block":
        obstacle = "goods_used"
    if obstacle is None and not is_open and role not in MAY_FORCE:
        obstacle = RefundWindowClosed.code

    def money(value: int) -> Money:
        return Money(value, payment.currency, minor=True)

    return Preview(
        payment_id=payment_id, amount=money(minor), refundable=money(left),
        credits_taken_back=plan.credits, credits_missing=plan.missing.get("credits", 0),
        credits_expired=plan.credits_expired, wallet_taken_back=money(plan.wallet_minor),
        wallet_missing=money(plan.missing.get("wallet", 0)), access_revoked=plan.access,
        policy=policy, missing=plan.missing,
        fee_lost=money(fee_share(payment.fee_minor or 0, payment.captured_cents,
                                 payment.captured_cents - left - credited, minor)),
        needs_approval=is_asked,
        window_ends_at=ends_at, is_window_open=is_open, obstacle=obstacle,
    )  # fmt: skip


def request(env: Env, want: WantRefund) -> RefundView:
    """Refund a payment, wholly or in part, or ask for another person's approval of it.

    The same key is the same refund, resumed wherever it was left. A refund whose provider does
    not answer stays `pending` and is carried on by a sweep. Raises NotFound, NotRefundable,
    RefundWindowClosed, NotPermitted, GoodsUsed, NotSupported, InvalidRequest, Conflict where
    `by` asked already, IdempotencyKeyReused, IdempotencyInProgress, ProviderRefused.
    """
    want, call = _checked(want), None
    try:
        with env.db.transaction(want.customer_id) as tx:
            now = heads.decide(tx, env.now(), want.customer_id)
            row = refund_views.of_request(tx, want.customer_id, want.request_key)
            if row is None:
                row, call = _ask(env, tx, now, want)
            elif row.request_hash != want.request_hash or row.payment_id != want.payment_id:
                raise IdempotencyKeyReused("This key stands for another refund.")
            crash.at("refund_before_commit")
    except UnknownCustomer:
        raise NotFound(f"No such payment: {ids.show('payment', want.payment_id)}.") from None
    crash.at("refund_after_commit")
    return _carry_on(env, row, call)


def ask_in(env: Env, tx: Tx, now: datetime, want: WantRefund) -> _Begun:
    """`request` inside the transaction of a caller who knows that the key is new; `carry_on` takes
    the answer once that is committed."""
    return _ask(env, tx, now, _checked(want))


def carry_on(env: Env, begun: _Begun) -> RefundView:
    """Run the call of a refund that was begun, and answer how it stands."""
    return _carry_on(env, *begun)


def decide(
    env: Env, customer_id: UUID, refund_id: UUID, action: str, *, by: str, note: str | None = None,
    persons: Sequence[str] | None = None,
) -> RefundView:  # fmt: skip
    """Another person approves or rejects a refund that was asked for. `persons`: who is behind
    the name `by`.

    An approval checks everything anew and carries the refund out. The same decision by the same
    person again answers what became of it. Raises ApprovalRequired for whoever asked, Conflict
    for a refund that waits no more, and what `request` raises.
    """
    if action not in ("approve", "reject"):
        raise InvalidRequest("action is approve or reject.", param="action")
    told, call = fields.optional_text(note, "note", most=500), None
    with _locked(env, customer_id, refund_id) as (tx, now, row):
        is_same = row.decided_by == by and (row.state == "rejected") == (action == "reject")
        if row.state != "requested" and not (row.decided_at and is_same):
            raise Conflict(f"This refund is {row.state}: nothing waits to be decided.")
        if row.state == "requested":
            asked = persons_of(row.requested_by or "", row.requested_persons)
            if not are_two(asked, persons_of(by, persons)):
                raise ApprovalRequired("Another person than who asked for it decides.")
            state = "pending" if action == "approve" else "rejected"
            row = _decided(tx, now, row, state, by, told)
            cause = {"actor": by}
            if action == "approve":
                row, call = _begin(env, tx, now, row, cause)
            else:
                emit_many(tx, [refund_books.event(row, "refund.rejected", "rejected", now, cause,
                                                  by=by)])  # fmt: skip
        crash.at("refund_before_commit")
    crash.at("refund_after_commit")
    return _carry_on(env, row, call)


def cancel(env: Env, customer_id: UUID, refund_id: UUID, *, by: str) -> RefundView:
    """Whoever asked for a refund takes that back before it was decided. Again changes nothing.

    Raises NotPermitted for anybody else, Conflict once it is decided.
    """
    with _locked(env, customer_id, refund_id) as (tx, now, row):
        if row.requested_by != by:
            raise NotPermitted("Only who asked for a refund may take that back.")
        if row.state == "requested":
            row = _decided(tx, now, row, "canceled", by, None)
            emit_many(tx, [refund_books.event(row, "refund.canceled", "canceled", now,
                                              {"actor": by})])  # fmt: skip
        elif row.state != "canceled":
            raise Conflict(f"This refund is {row.state}: it cannot be taken back.")
        return refund_views.view(tx, customer_id, refund_id)


def settle_offline(
    env: Env, customer_id: UUID, refund_id: UUID, action: str, *, by: str, reference: str | None
) -> RefundView:
    """A person says what became of a refund that no provider carries out: `paid` (with the
    paying side's `reference`) or `failed`. The same again changes nothing.

    Raises Conflict for a refund of a provider that does it itself, or one that has ended.
    """
    if action not in ("paid", "failed"):
        raise InvalidRequest("action is paid or failed.", param="action")
    told = fields.optional_text(reference, "reference", most=255)
    if action == "paid" and not told:
        raise InvalidRequest("Say the paying side's reference.", param="reference")
    with _locked(env, customer_id, refund_id) as (tx, now, row):
        if row.call_id is not None or row.origin != "desk" or row.provider == "wallet":
            raise Conflict("This refund is carried out by its provider.")
        done = {"paid": "succeeded", "failed": "failed"}[action]
        if row.state == done and (action == "failed" or row.provider_ref == told):
            return refund_views.view(tx, customer_id, refund_id)
        if row.state != "pending":
            raise Conflict(f"This refund is {row.state}.")
        row = _decided(tx, now, row, "pending", by, row.decision_note)
        if action == "failed":
            refund_books.reverse(tx, now, row, env.settings, code="not_paid", message=told)
        else:
            assert told is not None
            refund_books.name(tx, row, told, is_known_there=False)
            payment = refund_books.payment_of(tx, (customer_id, row.payment_id))
            refund_books.pay(tx, now, row, payment)
        return refund_views.view(tx, customer_id, refund_id)


# Steps -------------------------------------------------------------------------------------------


def _checked(want: WantRefund) -> WantRefund:
    if want.amount is not None and want.amount.minor <= 0:
        raise InvalidRequest("The amount of a refund is above zero.", param="amount")
    return replace(
        want,
        reason=fields.optional_text(want.reason, "reason", most=255),
        note=fields.optional_text(want.note, "note", most=500),
        metadata=fields.metadata(want.metadata) if want.metadata is not None else {},
    )


def _ask(env: Env, tx: Tx, now: datetime, want: WantRefund) -> _Begun:
    """Write a new refund: asked for, or begun at once."""
    payment = _payment(tx, (want.customer_id, want.payment_id))
    credited = refund_views.credited(tx, payment)
    left = refund_views.left(tx, payment) - credited
    minor = _amount(payment, want.amount, left, credited)
    _how(env, payment, minor)
    forced = _check_window(env.settings, payment, now, want)
    is_asked = _is_asked(tx, env.settings, payment, minor, want.actor_role, now)
    if is_asked:
        _check_waiting(tx, want)
    row = refund_books.insert(
        tx, now, payment, amount=Money(minor, payment.currency, minor=True),
        state="requested" if is_asked else "pending", reason=want.reason, note=want.note,
        forced=forced, requested_by=want.by, persons=persons_of(want.by, want.persons),
        metadata=want.metadata or {}, request_key=want.request_key,
        request_hash=want.request_hash,
    )  # fmt: skip
    cause = {"actor": want.by, **({"forced": True} if forced else {})}
    if is_asked:
        emit_many(tx, [refund_books.event(row, "refund.requested", "requested", now, cause)])
        return row, None
    return _begin(env, tx, now, row, cause)


def _begin(env: Env, tx: Tx, now: datetime, row: Row, cause: Mapping[str, Any]) -> _Begun:
    """Carry a pending refund out as far as this transaction can."""
    key = (row.customer_id, row.payment_id)
    payment = _payment(tx, key)
    others = [one for one in refund_views.rows_of_payment(tx, key) if one.id != row.id]
    credited = refund_views.credited(tx, payment, others)
    left = refund_views.left(tx, payment, others) - credited
    _amount(payment, Money(row.amount_minor, row.currency, minor=True), left, credited)
    how = _how(env, payment, row.amount_minor)
    ref = None
    if how == "call":
        ref = refund_calls.through(tx, payment, row.amount_minor, own=row.id)
    refund_books.begin(tx, now, row, env.settings, is_fact=False, cause=cause)
    call = None
    if how == "wallet":
        refund_books.pay(tx, now, row, refund_books.payment_of(tx, key))
    elif ref is not None:
        call = refund_calls.intend(tx, now, row, payment, ids.new_owned(row.customer_id), ref)
    return refund_views.row(tx, row.customer_id, row.id), call


def _carry_on(env: Env, row: Row, fresh: Call | None) -> RefundView:
    """Run the call that was just written, or resume what an earlier request left."""
    call = fresh
    if call is None and row.call_id is not None:
        with env.db.read() as tx:
            call = provider_calls.read(tx, row.customer_id, row.call_id)
        if call.state == "refused":
            raise refund_calls.refusal(call, call.error or "The provider refused it.")
    try:
        if fresh is not None:
            provider_calls.run(env, fresh)
        elif call is not None and not call.is_settled:
            provider_calls.resume(env, row.customer_id, call.id)
    except (OutcomeUnknown, ProviderUnavailable):
        pass  # It stays pending, and the sweep of calls goes on with it.
    return get(env, row.customer_id, row.id)


def _amount(payment: ServicePayment, amount: Money | None, left: int, credited: int) -> int:
    """What to refund, in minor units; `credited` went to the customer's balance instead. Raises
    NotRefundable, AlreadyCredited, InvalidRequest."""
    if payment.state not in PAID_STATES:
        raise NotRefundable(f"This payment is {payment.state}: nothing was paid.", refundable=0)
    if amount is not None and amount.currency != payment.currency:
        raise InvalidRequest(f"This payment is in {payment.currency}.", param="amount")
    minor = left if amount is None else amount.minor
    if not 0 < minor <= left:
        there = Money(left, payment.currency, minor=True)
        if minor <= left + credited and credited:
            given = Money(credited, payment.currency, minor=True)
            raise AlreadyCredited(
                f"{given} of this payment went to the customer's balance by a credit note;"
                f" {there} can be refunded.", refundable=left,
            )  # fmt: skip
        raise NotRefundable(f"{there} of this payment can be refunded.", refundable=left)
    return minor


def _how(env: Env, payment: ServicePayment, minor: int) -> str:
    """call, wallet or offline: how so much of this payment's money goes back. Raises NotSupported;
    InvalidRequest for a sum that its provider cannot be asked for exactly."""
    if payment.provider == "wallet":
        return "wallet"
    can = env.providers[payment.provider].can if payment.provider in env.providers else ()
    if "refund" in can and payment.provider_payment_id is not None:
        env.providers[payment.provider].check_amount(Money(minor, payment.currency, minor=True))
        return "call"
    if "offline" in can or "by_hand" in can:
        return "offline"
    raise NotSupported(f"The provider {payment.provider!r} gives no refunds.")


def _obstacle(env: Env, tx: Tx, payment: ServicePayment, minor: int) -> str | None:
    try:
        if _how(env, payment, minor) == "call":
            refund_calls.through(tx, payment, minor)
    except (NotRefundable, NotSupported) as exc:
        return exc.code
    return None


def _is_asked(
    tx: Tx, settings: Settings, payment: ServicePayment, minor: int, role: str, now: datetime
) -> bool:
    """Whether a refund waits for another person: by who asks, or by what would then be refunded of
    the payment, in the default currency; without a rate it waits."""
    if role in MAY_ONLY_ASK:
        return True
    most, target = settings.refund_approval_threshold, settings.default_currency
    if not most:
        return False
    gone = Money(payment.refunded_cents + minor, payment.currency, minor=True)
    worth = rates.worth(tx, gone, target, now, max_age_days=settings.rate_max_age_days)
    return worth is None or needs_approval(worth, most, target)


def _check_waiting(tx: Tx, want: WantRefund) -> None:
    """One request of a person waits for a payment, so that nobody fills the queue."""
    rows = refund_views.rows_of_payment(tx, (want.customer_id, want.payment_id))
    for one in rows:
        if one.state == "requested" and one.requested_by == want.by:
            raise Conflict(
                "A refund of this payment that you asked for waits to be decided.",
                refund_id=ids.show("refund", one.id),
            )


def _check_window(
    settings: Settings, payment: ServicePayment, now: datetime, want: WantRefund
) -> bool:
    """Whether it is forced. Raises RefundWindowClosed, NotPermitted."""
    days = settings.refund_window_days
    ends_at = window_end(payment.completed_at, days)
    if ends_at is None or now < ends_at:
        return False
    if not want.force:
        raise RefundWindowClosed(
            f"The {days}-day window ended on {ends_at:%Y-%m-%d}. An administrator may use"
            " force=True.", window_ended_at=ends_at.isoformat(),
        )  # fmt: skip
    if want.actor_role not in MAY_FORCE:
        raise NotPermitted("Only an administrator may refund after the window has ended.")
    return True


def _decided(
    tx: Tx, now: datetime, row: Row, state: str, by: str, note: str | None
) -> Row:
    """Write a decision on a refund that was asked for."""
    tx.run(
        "update refunds set state = %(state)s, decided_by = %(by)s, decided_at = %(now)s,"
        " decision_note = %(note)s where customer_id = %(customer_id)s and id = %(id)s",
        {"customer_id": row.customer_id, "id": row.id, "state": state, "by": by, "now": now,
         "note": note},
    )  # fmt: skip
    if state in ENDED_STATES:
        note_books.refund_ended(tx, now, row.customer_id, row.id)
    return refund_views.row(tx, row.customer_id, row.id)


@contextmanager
def _locked(
    env: Env, customer_id: UUID, refund_id: UUID
) -> Iterator[tuple[Tx, datetime, Row]]:
    """A transaction with the customer's head and the refund. Raises NotFound."""
    try:
        with env.db.transaction(customer_id) as tx:
            now = heads.decide(tx, env.now(), customer_id)
            yield tx, now, refund_views.row(tx, customer_id, refund_id)
    except UnknownCustomer:
        raise NotFound(f"No such refund: {ids.show('refund', refund_id)}.") from None


def _payment(tx: Tx, key: Key) -> ServicePayment:
    found = JoinedStore(tx.conn).get_many([key])[0]
    if found is None:
        raise NotFound(f"No such payment: {ids.show('payment', key[1])}.")
    return found
