"""Charges: what a provider says is laid onto payments; facts only accumulate, each posted once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from paydesk import causes, crash, ids
from paydesk.db.errors import UnknownCustomer
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import Conflict, NotFound
from paydesk.flows import (
    attempts,
    fulfillment,
    heads,
    ledger,
    promos,
    provider_customers,
    refund_books,
)
from paydesk.flows.attempts import Attempt, state_event
from paydesk.flows.events import NewEvent, emit_many
from paydesk.providers.base import Charge
from paydesk.rules.money import Money
from paydesk.rules.payments import DEAD_STATES, OPEN_STATES, judge, needs_asking
from paydesk.rules.refunds import payment_state
from paydesk.settings import Settings
from paydesk.tracker.models import PAID_STATES
from paydesk.tracker.stores.joined import JoinedStore, ServicePayment

Key = tuple[UUID, UUID]

#: What became of a claim. `ask`: the provider must confirm it. `stale`: the payment has changed
#: since the provider was asked. `unknown`: no such payment. `foreign`: not this payment's.
DONE, ASK, STALE, UNKNOWN, FOREIGN = "done", "ask", "stale", "unknown", "foreign"

#: Statuses in which it is known what was paid with.
METHOD_KNOWN = frozenset({"succeeded", "authorized", "processing"})
#: Customers whose last decision was so much later than now share no transaction with others.
MAX_AHEAD = timedelta(seconds=1)
#: How often a provider is asked anew because the payment changed meanwhile.
MAX_ASKS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A charge that is said to belong to a payment.

    `version` is the payment's when the provider was asked, None for an event's claim; `proof`:
    the claim is signed by a provider whose events may be believed; `event`: that event's id.
    """

    customer_id: UUID
    payment_id: UUID
    provider: str
    account: str
    charge: Charge
    path: str
    proof: bool = False
    version: int | None = None
    event: str | None = None

    @property
    def key(self) -> Key:
        return self.customer_id, self.payment_id

    @property
    def fact_key(self) -> UUID:
        """The request key of this capture's posting: the same money, the same key."""
        return ids.request_key(self.provider, self.account, self.charge.capture_fact)

    @property
    def fee_key(self) -> UUID:
        """The request key of what the provider kept of this capture."""
        return ids.request_key(self.provider, self.account, f"fee:{self.charge.capture_fact}")

    @property
    def refs(self) -> list[str]:
        return [r for r in (self.charge.session_ref, self.charge.payment_ref) if r]


@dataclass(slots=True)
class _Work:
    """One payment while claims are laid onto it, in order."""

    payment: ServicePayment
    state: str
    captured_minor: int
    path: str = ""
    event: str | None = None
    attempts: list[Attempt] = field(default_factory=list)
    changed: dict[UUID, Attempt] = field(default_factory=dict)
    added: list[Attempt] = field(default_factory=list)
    captures: dict[UUID, Money] = field(default_factory=dict)
    fees: dict[UUID, Money] = field(default_factory=dict)
    goods: str = "none"
    problem: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    refs: list[attempts.Ref] = field(default_factory=list)
    payer: provider_customers.Known | None = None
    events: list[NewEvent] = field(default_factory=list)


def settle(env: Env, claims: Sequence[Claim], *, wait_s: float | None = None) -> list[str]:
    """Lay claims onto their payments in one transaction; answers what became of each.

    `wait_s`: for each lock. Customers whose clock is ahead of ours take a transaction of their
    own: raises Conflict when one of several is. Raises Busy for a customer who is held too long.
    """
    if not claims:
        return []
    try:
        with env.db.transaction(*{c.customer_id for c in claims}, wait_s=wait_s) as tx:
            outcomes, dead = apply(tx, _now(env, tx), claims, env.settings)
            crash.at("apply_before_commit")
    except UnknownCustomer:
        if len(claims) > 1:
            raise
        return [UNKNOWN]
    _settled(env, dead)
    return outcomes


def settle_free(env: Env, claims: Sequence[Claim]) -> list[str | None]:
    """`settle` that waits for nobody while it holds others: None for whoever is held elsewhere,
    or is not there."""
    with env.db.transaction() as tx:
        tx.lock(*{c.customer_id for c in claims}, free_only=True)
        free = [c for c in claims if c.customer_id in tx.heads]
        if not free:
            return [None] * len(claims)
        outcomes, dead = apply(tx, _now(env, tx), free, env.settings)
        crash.at("apply_before_commit")
    _settled(env, dead)
    found = iter(outcomes)
    held = {c.customer_id for c in claims} - tx.heads.keys()
    return [None if c.customer_id in held else next(found) for c in claims]


def _settled(env: Env, dead: Iterable[UUID]) -> None:
    crash.at("apply_after_commit")
    for payment_id in dead:
        promos.release(env, payment_id)


def _now(env: Env, tx: Tx) -> datetime:
    ahead = env.now() + MAX_AHEAD
    if len(tx.heads) > 1 and any(h.last_at > ahead or h.clock_id for h in tx.heads.values()):
        raise Conflict("These customers' clocks differ: one transaction for each.")
    return max(heads.decide(tx, env.now(), one) for one in tx.heads)


def refresh(
    env: Env, customer_id: UUID, payment_id: UUID, path: str, *, ref: str | None = None,
    wait_s: float | None = None,
) -> tuple[str, Charge | None]:
    """Ask the provider how a payment stands and record it; answers (outcome, charge).

    `ref`: what to ask about where no session is attached yet. The charge is None where the
    provider knows of nothing that could be asked about.
    """
    outcome, charge = STALE, None
    for _ in range(MAX_ASKS):
        with env.db.read() as tx:
            payment = JoinedStore(tx.conn).get_many([(customer_id, payment_id)])[0]
        if payment is None:
            raise NotFound(f"No such payment: {ids.show('payment', payment_id)}.")
        # A payment that was charged directly has no session, only what the provider made of it.
        asked = payment.session_id or payment.provider_payment_id or ref
        if asked is None:
            return UNKNOWN, None
        charge = env.providers.call(payment.provider, "fetch", asked)
        crash.at("apply_after_fetch")
        outcome = record(env, payment, charge, path, wait_s=wait_s)
        if outcome != STALE:
            break
    return outcome, charge


def record(
    env: Env, payment: ServicePayment, charge: Charge, path: str, *, wait_s: float | None = None
) -> str:
    """Lay a charge that the provider was just asked for onto the payment as it was then read."""
    claim = Claim(
        customer_id=payment.customer_id,
        payment_id=payment.key[1],
        provider=payment.provider,
        account=payment.provider_account,
        charge=charge,
        path=path,
        proof=True,
        version=payment.version,
    )
    return settle(env, [claim], wait_s=wait_s)[0]


def apply(
    tx: Tx, now: datetime, claims: Sequence[Claim], settings: Settings,
    payments: Sequence[ServicePayment] | None = None,
) -> tuple[list[str], list[UUID]]:  # fmt: skip
    """The step inside the transaction: (what became of each claim, payments that ended unpaid).

    All heads are locked. `payments`: those that are claimed for, where they were read under the
    lock. About a dozen statements, however many claims.
    """
    keys = list(dict.fromkeys(c.key for c in claims))
    found = JoinedStore(tx.conn).get_many(keys) if payments is None else payments
    works = {p.key: _Work(p, p.state, p.captured_cents) for p in found if p is not None}
    for attempt in attempts.of_payments(tx, list(works)):
        works[attempt.customer_id, attempt.payment_id].attempts.append(attempt)
    paid = [c for c in claims if c.charge.status == "succeeded" and c.key in works]
    facts = [(c.customer_id, c.fact_key) for c in paid]
    facts += [(c.customer_id, c.fee_key) for c in paid if c.charge.fee]
    posted = set(ledger.known(tx, list(dict.fromkeys(facts))))
    owners = _owners(tx, [c for c in claims if c.key in works], works)
    outcomes = [_lay_named(works.get(c.key), c, posted, owners, now) for c in claims]
    busy = [w for w in works.values() if w.changed or w.added or w.changes or w.captures or w.fees
            or w.state != w.payment.state]  # fmt: skip
    with causes.each(_causes(busy)):
        _write(tx, now, busy, settings)
    dead = [w.payment.key[1] for w in busy if w.payment.promo_id and w.state in DEAD_STATES
            and w.payment.state not in DEAD_STATES]  # fmt: skip
    return outcomes, dead


def _owners(
    tx: Tx, claims: Iterable[Claim], works: dict[Key, _Work]
) -> dict[tuple[str, str, str], Key]:
    """Whose the references are that these payments' attempts do not carry yet."""
    wanted = set()
    for c in claims:
        known = {r for a in works[c.key].attempts for r in (a.session_ref, a.provider_payment_ref)}
        wanted |= {(c.provider, c.account, r) for r in c.refs if r not in known}
    if not wanted:
        return {}
    rows = tx.all(
        "select r.* from unnest(%(providers)s::text[], %(accounts)s::text[], %(refs)s::text[])"
        "  as k(provider, account, ref)"
        " cross join lateral (select provider, account, ref, customer_id, object_id"
        "  from provider_refs where provider = k.provider and account = k.account"
        "  and ref = k.ref limit 1) r",
        {
            "providers": [w[0] for w in wanted],
            "accounts": [w[1] for w in wanted],
            "refs": [w[2] for w in wanted],
        },
    )
    return {
        (r["provider"], r["account"], r["ref"]): (r["customer_id"], r["object_id"]) for r in rows
    }


def _lay_named(
    work: _Work | None, claim: Claim, posted: set[tuple[UUID, UUID]],
    owners: dict[tuple[str, str, str], Key], now: datetime,
) -> str:  # fmt: skip
    """Lay a claim; what it brings about names the event that said it."""
    if work is None or claim.event is None:
        return _lay(work, claim, posted, owners, now)
    known, before = len(work.events), (work.state, len(work.captures), work.goods)
    outcome = _lay(work, claim, posted, owners, now)
    if len(work.events) > known or before != (work.state, len(work.captures), work.goods):
        work.event = claim.event
    work.events[known:] = [
        replace(one, cause={**(one.cause or {}), "event": claim.event})
        for one in work.events[known:]
    ]
    return outcome


def _causes(busy: Iterable[_Work]) -> dict[UUID, dict[str, str]]:
    """The event of each customer for whom it was one, for goods and whatever else follows."""
    named: dict[UUID, set[str | None]] = {}
    for work in busy:
        named.setdefault(work.payment.customer_id, set()).add(work.event)
    return {c: {"event": one} for c, (one, *more) in named.items() if one and not more}


def _lay(
    work: _Work | None,
    claim: Claim,
    posted: set[tuple[UUID, UUID]],
    owners: dict[tuple[str, str, str], Key],
    now: datetime,
) -> str:
    """Lay one claim onto the payment in memory."""
    if work is None:
        return UNKNOWN
    payment = work.payment
    if not _belongs(payment, claim, owners):
        return FOREIGN
    claim = _as_final(payment, claim)
    charge = claim.charge
    asked = Money(payment.amount_cents, payment.currency, minor=True)
    is_posted = (claim.customer_id, claim.fact_key) in posted
    is_new = charge.status == "succeeded" and not is_posted
    if claim.version is None:
        if not is_posted and needs_asking(
            work.state, asked, status=charge.status, amount=charge.amount, ended=charge.ended,
            proof=claim.proof,
        ):  # fmt: skip
            return ASK
    elif charge.status != "succeeded" and claim.version != payment.version:
        return STALE
    work.path = claim.path
    _lay_attempt(work, claim, now)
    verdict = judge(
        work.state, asked, work.captured_minor, status=charge.status, amount=charge.amount,
        is_new=is_new, is_fresh=claim.version is not None,
    )  # fmt: skip
    if is_new and charge.amount is not None:
        posted.add((claim.customer_id, claim.fact_key))
        if charge.provider_customer:
            work.payer = (claim.customer_id, claim.provider, claim.account,
                          charge.provider_customer)  # fmt: skip
        if charge.amount.minor:
            work.captures[claim.fact_key] = charge.amount
        work.captured_minor += verdict.captured_minor
        work.changes["captured_cents"] = work.captured_minor
        work.changes |= {"error_code": None, "error_message": None}
        if payment.deleted_at is not None:  # Where money is, the record is seen.
            work.changes["deleted_at"] = None
        _set_review(work, verdict.review, now)
    if verdict.goods != "none":
        work.goods, work.problem = verdict.goods, verdict.problem
    if charge.error_code and verdict.state in DEAD_STATES and verdict.state != work.state:
        work.changes |= {"error_code": charge.error_code, "error_message": charge.error_message}
    _lay_fee(work, claim, posted)
    state = verdict.state
    if is_new and payment.refunded_cents:
        # Money that comes after some went back hands nothing over by itself.
        state = payment_state(work.captured_minor, payment.refunded_cents)
        if work.goods == "hand_over":
            work.goods, work.problem = "blocked", "refunded"
    _move(work, state, now)
    return DONE


def _as_final(payment: ServicePayment, claim: Claim) -> Claim:
    """A direct charge that was declined is over: nobody has a page to try another card on."""
    charge = claim.charge
    is_over = charge.status == "canceled" and charge.error_code is not None
    if payment.checkout_id is not None or not (charge.decline_ref or is_over):
        return claim
    status = "failed" if charge.status == "pending" or is_over else charge.status
    return replace(claim, charge=replace(charge, status=status, decline_ref=None))


def _lay_fee(work: _Work, claim: Claim, posted: set[tuple[UUID, UUID]]) -> None:
    """What the provider kept of a capture, once, in the currency that it was kept in."""
    fee, key = claim.charge.fee, claim.fee_key
    if fee is None or claim.charge.status != "succeeded" or (claim.customer_id, key) in posted:
        return
    posted.add((claim.customer_id, key))
    if fee.minor:
        work.fees[key] = fee
    if fee.currency == work.payment.currency:
        before = work.changes.get("fee_minor", work.payment.fee_minor)
        work.changes["fee_minor"] = (before or 0) + fee.minor


def _belongs(payment: ServicePayment, claim: Claim, owners: dict[Any, Key]) -> bool:
    """Provider, account and mode are the payment's, and no reference is another's."""
    if (claim.provider, claim.account) != (payment.provider, payment.provider_account):
        return False
    if claim.charge.livemode is not None and claim.charge.livemode != payment.livemode:
        return False
    seen = (owners.get((claim.provider, claim.account, ref)) for ref in claim.refs)
    return all(owner is None or owner == payment.key for owner in seen)


def _lay_attempt(work: _Work, claim: Claim, now: datetime) -> None:
    """References, end and method of the try this charge came through; a declined try as its own."""
    payment, charge = work.payment, claim.charge
    known = {r for a in work.attempts for r in (a.session_ref, a.provider_payment_ref)}
    # Until something was paid, what a session offers is not yet how it was paid; a card that was
    # declined for good was tried.
    tried = charge.status == "failed" and charge.method_detail and payment.session_id is None
    method = charge.method if charge.status in METHOD_KNOWN or tried else None
    attempt = _attempt_of(work, charge)
    if attempt is not None:
        before = replace(attempt)
        attempt.session_ref = attempt.session_ref or charge.session_ref
        attempt.provider_payment_ref = attempt.provider_payment_ref or charge.payment_ref
        attempt.method = attempt.method or method
        if charge.ended and attempt.ended_at is None:
            attempt.ended_at = now
        if charge.status == "succeeded":
            attempt.state = "succeeded"
        elif charge.ended and attempt.state == "open" and charge.status in DEAD_STATES:
            attempt.state = charge.status
        _lay_answer(attempt, charge)
        if attempt != before:
            work.changed[attempt.id] = attempt
    detail = dict(charge.method_detail) if method and charge.method_detail else None
    for name, value in (("session_id", charge.session_ref), ("method", method),
                        ("provider_payment_id", charge.payment_ref), ("method_detail", detail),
                        ("country", detail and detail.get("country"))):  # fmt: skip
        if value and getattr(payment, name) is None and name not in work.changes:
            work.changes[name] = value
    work.refs += [
        (claim.provider, claim.account, ref, *payment.key) for ref in claim.refs if ref not in known
    ]
    if charge.decline_ref and charge.decline_ref not in {
        a.provider_payment_ref for a in (*work.attempts, *work.added)
    }:
        _lay_decline(work, charge, now)


def _lay_answer(attempt: Attempt, charge: Charge) -> None:
    """What the provider said last of this try, without secrets, and what its payer has to open."""
    if charge.status == "requires_action":
        attempt.action_url = charge.action_url or attempt.action_url
    elif charge.status != "pending":
        attempt.action_url = None
    if charge.status in DEAD_STATES and charge.error_code:
        attempt.error_code, attempt.error_message = charge.error_code, charge.error_message
    said = {
        "ref": charge.payment_ref or charge.ref,
        "status": charge.status,
        "amount": charge.amount.minor if charge.amount else None,
        "currency": charge.amount.currency if charge.amount else None,
        "method": charge.method,
        "method_detail": dict(charge.method_detail) if charge.method_detail else None,
        "error_code": charge.error_code,
        "error_message": charge.error_message,
        "advice": charge.advice,
    }
    told = {name: value for name, value in said.items() if value is not None}
    # An answer without details, such as an event's, takes nothing from one that had them.
    known = attempt.response or {}
    if told != known and (known.get("status") != charge.status or told.keys() >= known.keys()):
        attempt.response = told


def _lay_decline(work: _Work, charge: Charge, now: datetime) -> None:
    payment = work.payment
    assert charge.decline_ref is not None
    work.added.append(
        attempts.declined(payment, charge.decline_ref, charge.error_code, charge.error_message)
    )
    work.events.append(
        state_event(payment, now, type="payment.declined", state=work.state,
                    error_code=charge.error_code)
    )  # fmt: skip
    if work.state in OPEN_STATES:
        work.changes |= {"error_code": charge.error_code, "error_message": charge.error_message}


def _attempt_of(work: _Work, charge: Charge) -> Attempt | None:
    """The session that a charge came through; an intent without one belongs to the only session."""
    sessions = [a for a in work.attempts if a.call_id is not None]
    if charge.session_ref:
        same = [a for a in sessions if a.session_ref == charge.session_ref]
        return next(iter(same or [a for a in sessions if a.session_ref is None]), None)
    same = [a for a in sessions if a.provider_payment_ref == charge.payment_ref]
    free = [a for a in sessions if a.provider_payment_ref is None]
    return next(iter(same or free), None)


def _set_review(work: _Work, review: str | None, now: datetime) -> None:
    standing = work.changes.get("review", work.payment.review)
    if review is None and standing != "underpaid":
        return
    if review != standing:
        work.changes["review"] = review
        if review:
            work.events.append(
                state_event(work.payment, now, type="payment.review", state="succeeded",
                            review=review)
            )  # fmt: skip


def _move(work: _Work, state: str, now: datetime) -> None:
    if state == work.state:
        return
    ended_by_customer = any(a.state == "canceled" for a in work.attempts)
    if state == "expired" and ended_by_customer:
        state = "canceled"
    work.state = state
    payment = work.payment
    code = work.changes.get("error_code", payment.error_code)
    checkout = {"succeeded": "checkout.completed", "expired": "checkout.expired",
                "canceled": "checkout.expired"}.get(state)  # fmt: skip
    if checkout and payment.checkout_id:
        work.events.append(
            NewEvent(
                customer_id=payment.customer_id,
                type=checkout,
                subject_id=payment.checkout_id,
                data={
                    "payment": ids.show("payment", payment.key[1]),
                    "amount": payment.amount_cents,
                    "currency": payment.currency,
                },
                at=now,
            )
        )
    work.events.append(
        state_event(payment, now, state=state, error_code=code if state in DEAD_STATES else None)
    )


def _write(tx: Tx, now: datetime, busy: list[_Work], settings: Settings) -> None:
    """All facts of all payments: money, events, goods, payments, attempts, references."""
    if not busy:
        return
    ledger.post(
        tx,
        [
            ledger.Entry(
                customer_id=w.payment.customer_id,
                debit="clearing",
                credit="deposits",
                asset=amount.currency,
                amount=amount.minor,
                reason="PAYMENT_CAPTURE",
                txn_id=ids.new_owned(w.payment.customer_id),
                subject_id=w.payment.key[1],
                request_key=fact,
                effective_at=now,
            )
            for w in busy
            for fact, amount in w.captures.items()
        ]
        + [
            ledger.Entry(
                customer_id=w.payment.customer_id,
                debit="fees",
                credit="clearing",
                asset=fee.currency,
                amount=fee.minor,
                reason="PROVIDER_FEE",
                txn_id=ids.new_owned(w.payment.customer_id),
                subject_id=w.payment.key[1],
                request_key=key,
                effective_at=now,
            )
            for w in busy
            for key, fee in w.fees.items()
        ],
    )
    emit_many(tx, [event for w in busy for event in w.events])
    by_path: dict[str, list[_Work]] = {}
    for w in busy:
        if w.goods != "none" and w.state in PAID_STATES:
            by_path.setdefault(w.path, []).append(w)
    for path, some in by_path.items():
        ready = [_as_captured(w) for w in some if w.goods == "hand_over"]
        handed = []
        if ready:
            handed = fulfillment.hand_over(tx, now, ready, path, settings=settings)
        blocked = [(w.payment, w.problem) for w in some if w.goods == "blocked" and w.problem]
        handed += fulfillment.block(tx, now, blocked, path) if blocked else []
        works = {w.payment.key: w for w in some}
        for h in handed:
            works[h.payment.key].changes |= h.changes
    # What follows a failure asks what the last try was answered.
    attempts.save(
        tx, [a for w in busy for a in w.changed.values()], [a for w in busy for a in w.added], now
    )
    attempts.advance(tx, now, [(w.payment, w.state, w.changes) for w in busy
                               if w.changes or w.state != w.payment.state])  # fmt: skip
    attempts.add_refs(tx, [ref for w in busy for ref in w.refs])
    provider_customers.keep(tx, [w.payer for w in busy if w.payer])
    for w in busy:
        if w.captures and (w.payment.refunded_cents or w.payment.disputed):
            refund_books.settle(tx, now, w.payment.key, settings)


def _as_captured(work: _Work) -> ServicePayment:
    """The payment as its goods see it: with the money that has just come."""
    return work.payment.model_copy(
        update={
            "captured_cents": work.captured_minor,
            "review": work.changes.get("review", work.payment.review),
        }
    )
