"""Disputes: what a provider says of one is laid down once, in whatever order it is heard.

`apply_remote` is the one door, for webhooks, questions and reconciliation alike. Facts only
accumulate: each sum that was withdrawn or given back is posted once, goods follow the money.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from paydesk import crash, ids
from paydesk.db.errors import UnknownCustomer
from paydesk.db.postgres import Tx, jsonb
from paydesk.env import Env
from paydesk.errors import Conflict, NotFound
from paydesk.flows import (
    attempts,
    causes,
    charges,
    dispute_books,
    dispute_views,
    heads,
    ledger,
    refund_books,
)
from paydesk.flows.dispute_books import Held
from paydesk.flows.dispute_views import DisputeView
from paydesk.flows.events import NewEvent, emit_many
from paydesk.flows.refund_books import Fresh
from paydesk.flows.sweeps import WAIT_S, one_row
from paydesk.providers.base import ProviderEvent, RemoteDispute
from paydesk.rules import disputes as rules
from paydesk.rules.disputes import DISPUTED_STATES, ENDED_STATES, OPEN_STATES, Posting
from paydesk.rules.money import Money
from paydesk.rules.refunds import Source, from_accounts
from paydesk.settings import Settings
from paydesk.tracker.models import PAID_STATES
from paydesk.tracker.stores.joined import JoinedStore, ServicePayment

Key = tuple[UUID, UUID]

get, find, list_ = dispute_views.get, dispute_views.find, dispute_views.list_


@dataclass(slots=True, kw_only=True)
class _Work(Held):
    """One dispute while news is laid onto it."""

    remote: RemoteDispute
    state: str | None = None
    amount_minor: int
    withdrawn: int = 0
    reinstated: int = 0
    fee: int = 0
    due_at: datetime | None = None
    submitted_at: datetime | None = None
    submissions: int = 0
    closed_at: datetime | None = None
    evidence: dict[str, str] = field(default_factory=dict)
    review: str | None = None
    events: list[NewEvent] = field(default_factory=list)


def apply_event(
    env: Env, *, provider: str, account: str, owner: Key, event: ProviderEvent, path: str,
    wait_s: float | None = None,
) -> None:  # fmt: skip
    """An event is a hint: ask the provider, then add the missing facts.

    Raises Conflict where the dispute cannot be laid down yet, and what the provider raises.
    """
    if event.ref is None:
        raise Conflict("The event names no dispute.")
    remote = env.providers.call(provider, "fetch_dispute", event.ref)
    crash.at("apply_after_fetch")
    apply_remote(env, provider, account, remote, owner, path, wait_s=wait_s)


def refresh(env: Env, customer_id: UUID, dispute_id: UUID, path: str) -> DisputeView:
    """Ask the provider how a dispute stands and record it."""
    with env.db.read() as tx:
        known = dispute_views.view(tx, customer_id, dispute_id)
    remote = env.providers.call(known.provider, "fetch_dispute", known.ref)
    return apply_remote(
        env, known.provider, known.provider_account, remote, (customer_id, known.payment_id), path
    )


def apply_remote(
    env: Env, provider: str, account: str, remote: RemoteDispute, owner: Key, path: str, *,
    wait_s: float | None = None, actor: str | None = None,
) -> DisputeView:  # fmt: skip
    """Lay a dispute as its provider shows it onto its payment; a stale or repeated one changes
    nothing.

    `owner`: (customer, payment). Raises Conflict where it is not this payment's, or the payment's
    money is not recorded yet.
    """
    _catch_up(env, owner, remote, path, wait_s)
    try:
        with env.db.transaction(owner[0], wait_s=wait_s) as tx:
            now = heads.decide(tx, env.now(), owner[0])
            dispute_id = lay(
                tx, now, remote, owner, provider=provider, account=account, path=path,
                settings=env.settings, actor=actor,
            )
            crash.at("apply_before_commit")
            found = dispute_views.view(tx, owner[0], dispute_id)
    except UnknownCustomer:
        raise NotFound(f"No such payment: {ids.show('payment', owner[1])}.") from None
    crash.at("apply_after_commit")
    return found


def _catch_up(
    env: Env, owner: Key, remote: RemoteDispute, path: str, wait_s: float | None
) -> None:
    """What is disputed was paid: a payment of which we do not know it yet is asked about first."""
    with env.db.read() as tx:
        payment = JoinedStore(tx.conn).get_many([owner])[0]
    if payment is not None and payment.state not in PAID_STATES:
        charges.refresh(env, *owner, path, ref=remote.payment_ref, wait_s=wait_s)


def lay(
    tx: Tx, now: datetime, remote: RemoteDispute, owner: Key, *, provider: str, account: str,
    path: str, settings: Settings, actor: str | None = None,
) -> UUID:  # fmt: skip
    """The step inside the transaction, the head being locked; answers the dispute's id."""
    payment = JoinedStore(tx.conn).get_many([owner])[0]
    if payment is None:
        raise NotFound(f"No such payment: {ids.show('payment', owner[1])}.")
    _check_owner(tx, payment, remote, provider, account)
    if payment.state not in PAID_STATES:
        raise Conflict("The disputed payment's money is not recorded yet.")
    work, is_new = _begun(tx, payment, remote)
    before = work.state
    sums = (work.withdrawn, work.reinstated)
    state = _next(work)
    is_moved = (before, sums) != (state, (work.withdrawn, work.reinstated))
    fresh = _move_money(tx, now, work, state)
    _charge_fee(tx, now, work, state)
    _move(work, now, state, before)
    cause = {"path": path, **({"actor": actor} if actor else {})}
    if is_new:
        _insert(tx, now, work)
    else:
        _update(tx, work)
    if is_moved:
        refund_books.settle(tx, now, owner, settings, fresh=fresh)
    _note_payment(tx, now, work)
    emit_many(tx, [replace(event, cause=cause, at=now) for event in work.events])
    return work.id


def _check_owner(
    tx: Tx, payment: ServicePayment, remote: RemoteDispute, provider: str, account: str
) -> None:
    if (provider, account) != (payment.provider, payment.provider_account):
        raise Conflict("The dispute is of another provider or account than its payment.")
    if remote.livemode is not None and remote.livemode != payment.livemode:
        raise Conflict("The dispute is of the other mode (live or test).")
    if remote.payment_id is not None and remote.payment_id != ids.show("payment", payment.key[1]):
        raise Conflict("The dispute names another payment.")
    if remote.payment_ref is None or remote.payment_ref == payment.provider_payment_id:
        return
    row = tx.one(
        "select customer_id, object_id from provider_refs where provider = %(provider)s"
        " and account = %(account)s and ref = %(ref)s",
        {"provider": provider, "account": account, "ref": remote.payment_ref},
    )
    if row is None or (row["customer_id"], row["object_id"]) != payment.key:
        raise Conflict("The dispute is of another payment.")


def _begun(tx: Tx, payment: ServicePayment, remote: RemoteDispute) -> tuple[_Work, bool]:
    row = tx.one(
        "select id, state, currency, amount_minor, withdrawn_minor as withdrawn,"
        " reinstated_minor as reinstated, fee_minor as fee, loss_minor as loss, due_at,"
        " submitted_at, submissions, closed_at, evidence, postings, payment_id from disputes"
        " where customer_id = %(customer_id)s and provider = %(provider)s"
        " and provider_account = %(account)s and ref = %(ref)s",
        {
            "customer_id": payment.customer_id,
            "provider": payment.provider,
            "account": payment.provider_account,
            "ref": remote.id,
        },
    )
    if row is not None:
        if row.pop("payment_id") != payment.key[1]:
            raise Conflict("The dispute belongs to another payment.")
        return _Work(payment=payment, remote=remote, ref=remote.id, **row), False
    return _Work(
        payment=payment, remote=remote, ref=remote.id, id=ids.new_owned(payment.customer_id),
        currency=remote.amount.currency, loss=0, postings=[], amount_minor=remote.amount.minor,
    ), True  # fmt: skip


def _next(work: _Work) -> str:
    """Where the dispute goes, and the sums as far as they have grown."""
    told = work.remote
    withdrawn = max(work.withdrawn, _sum(work, told.withdrawn))
    reinstated = max(work.reinstated, _sum(work, told.reinstated))
    withdrawn = max(withdrawn, reinstated)
    again = 0 < work.withdrawn < withdrawn and work.reinstated == work.withdrawn
    work.withdrawn, work.reinstated = withdrawn, reinstated
    return rules.next_state(work.state, told.status, is_withdrawn_again=again)


def _sum(work: _Work, told: Money | None) -> int:
    """In the dispute's own currency; a provider may book it in the currency of our account."""
    if told is None or not told.minor:
        return 0
    return told.minor if told.currency == work.currency else work.amount_minor


# Money and goods ----------------------------------------------------------------------------------


def _move_money(tx: Tx, now: datetime, work: _Work, state: str) -> Fresh | None:
    """Post what came back since; answer what was withdrawn since, for its goods come first.

    What was withdrawn and came back by the same news is nobody's goods: it goes through losses.
    """
    kept = work.money()
    out = work.withdrawn - sum(one["amount"] for one in kept)
    back = work.reinstated - sum(one["back"] for one in kept)
    if through := min(out, back):
        dispute_books.withdraw(
            tx, now, work, [Source("losses", through)], work.withdrawn, "withdrawn at once"
        )
    if back:
        dispute_books.reinstate(tx, now, work, back, work.reinstated)
    if out and work.withdrawn > work.amount_minor:
        work.review = "dispute_changed"  # The bank took the same money twice.
    if out and work.currency != work.payment.currency:
        work.review = "dispute_currency"  # Nobody can say which goods go with it.
    fresh = _withdrawal(tx, now, work, out - through) if out > through else None
    if out:
        work.events.append(_event(work, "dispute.withdrawn", state, withdrawn=out,
                                  loss=out - through - fresh.covered if fresh else 0))  # fmt: skip
    if back:
        work.events.append(_event(work, "dispute.reinstated", state, reinstated=back))
    return fresh


def _withdrawal(tx: Tx, now: datetime, work: _Work, amount: int) -> Fresh:
    """What is to be posted of new money once its goods are with us. What no captured money
    covers is posted as a loss now."""
    payment, total = work.payment, work.withdrawn
    free = causes.left(payment, causes.of_payment(tx, payment))
    covered = min(amount, free) if work.currency == payment.currency else 0
    if lost := amount - covered:
        dispute_books.withdraw(tx, now, work, _elsewhere(tx, work, lost), total)

    def post(fresh: ServicePayment) -> None:
        parts = dispute_books.sources(tx, fresh, work.currency, covered)
        dispute_books.withdraw(tx, now, work, parts, total)
        _update(tx, work)

    return Fresh(work.id, covered, post)


def _elsewhere(tx: Tx, work: _Work, amount: int) -> list[Source]:
    """Money beyond what was captured is a loss; in another currency than the payment's it is
    taken from what stands there first."""
    if work.currency == work.payment.currency:
        return [Source("losses", amount)]
    standing = dispute_books.standing(tx, work.payment, work.currency)
    parts, rest = from_accounts(amount, standing)
    return [*parts, Source("losses", rest)]


def _charge_fee(tx: Tx, now: datetime, work: _Work, state: str) -> None:
    """The provider's fee, and its return where the dispute was won. A stale word says nothing of
    it: one from before a win, or from before money that was withdrawn again."""
    told, kept = work.remote.fee, [one for one in work.postings if one["kind"] == "fee"]
    is_won = state == "won"
    is_stale = _sum(work, work.remote.withdrawn) < work.withdrawn
    if told is None or is_stale or (is_won and work.remote.status != "won"):
        return
    charged = sum(one["amount"] - one["back"] for one in kept)
    wanted = _least_fee(work, told.minor) if is_won else told.minor
    txn_id = ids.new_owned(work.payment.customer_id)
    if wanted > charged:
        entry = dispute_books.entry(
            work, now, txn_id, "losses", "clearing", wanted - charged, "DISPUTE_FEE",
            work.fact("fee", str(wanted), str(len(kept))),
        )  # fmt: skip
        posted = ledger.post(tx, [replace(entry, asset=told.currency)])[0]
        work.postings.append({"kind": "fee", "account": "losses", "amount": wanted - charged,
                              "back": 0, "transfer": str(posted), "asset": told.currency})
        work.fee += wanted - charged
    elif is_won and wanted < charged:
        parts = rules.unwind(
            [Posting("losses", one["amount"], one["back"]) for one in kept],
            charged - wanted,
        )
        for one, part in zip(kept, parts, strict=True):
            if part:
                entry = dispute_books.entry(
                    work, now, txn_id, "clearing", "losses", part, "DISPUTE_FEE_BACK",
                    work.fact("fee back", str(wanted), one["transfer"]), one["transfer"],
                )  # fmt: skip
                ledger.post(tx, [replace(entry, asset=one["asset"])])
                one["back"] += part
                work.fee -= part


def _least_fee(work: _Work, told: int) -> int:
    """The least fee that a win was ever told with: an older word of it changes nothing."""
    known = next((one for one in work.postings if one["kind"] == "fee_kept"), None)
    if known is None:
        known = {"kind": "fee_kept", "amount": told, "withdrawn": work.withdrawn}
        work.postings.append(known)
    if known["withdrawn"] != work.withdrawn:  # Won once more, after it was lost again.
        known |= {"amount": told, "withdrawn": work.withdrawn}
    known["amount"] = min(known["amount"], told)
    return int(known["amount"])


# The row, the payment, the events -----------------------------------------------------------------


def _move(work: _Work, now: datetime, state: str, before: str | None) -> None:
    """The new state with its instants and events."""
    told = work.remote
    if told.due_at is not None and state in OPEN_STATES:
        work.due_at = told.due_at
    if state == before:
        return
    is_inquiry = state in ("warning", "closed")
    if before is None or (before in ("warning", "closed") and not is_inquiry):
        type = "dispute.warning" if is_inquiry else "dispute.opened"
        work.events.append(_event(work, type, state, due_at=work.due_at))
    if state == "needs_response":
        # What was said to an inquiry is not yet said to the dispute that it became.
        work.submissions, work.submitted_at = 0, None
        work.events.append(_event(work, "dispute.evidence_needed", state, due_at=work.due_at))
    if state == "under_review" and not work.submissions:
        work.submissions, work.submitted_at = 1, now
        work.evidence = work.evidence or dict(told.evidence)
        work.events.append(_event(work, "dispute.submitted", state, by="provider"))
    if state in ENDED_STATES:
        work.closed_at = now
        work.events.append(_event(work, f"dispute.{state}", state))
    else:
        work.closed_at = None
    work.state = state


def _event(work: _Work, type: str, state: str, **more: Any) -> NewEvent:
    data = {
        "payment_id": str(work.payment.key[1]), "amount": work.amount_minor,
        "currency": work.currency, "status": state, "reason": work.remote.reason,
        **{name: value.isoformat() if isinstance(value, datetime) else value
           for name, value in more.items() if value is not None},
    }  # fmt: skip
    return NewEvent(
        customer_id=work.payment.customer_id, type=type, subject_id=work.id, data=data
    )


def _values(work: _Work) -> dict[str, Any]:
    return {
        "customer_id": work.payment.customer_id, "id": work.id, "state": work.state,
        "reason": work.remote.reason, "due_at": work.due_at, "withdrawn": work.withdrawn,
        "reinstated": work.reinstated, "fee": work.fee, "loss": work.loss,
        "postings": jsonb(work.postings), "evidence": work.evidence,
        "submitted_at": work.submitted_at, "submissions": work.submissions,
        "closed_at": work.closed_at,
    }  # fmt: skip


def _insert(tx: Tx, now: datetime, work: _Work) -> None:
    payment = work.payment
    tx.run(
        "insert into disputes (customer_id, id, payment_id, provider, provider_account, ref, state,"
        " amount_minor, currency, reason, due_at, withdrawn_minor, reinstated_minor, fee_minor,"
        " loss_minor, postings, evidence, submitted_at, submissions, opened_at, closed_at,"
        " charge_ref, clock_id, created_at) values (%(customer_id)s, %(id)s, %(payment_id)s,"
        " %(provider)s, %(account)s, %(ref)s, %(state)s, %(amount)s, %(currency)s, %(reason)s,"
        " %(due_at)s, %(withdrawn)s, %(reinstated)s, %(fee)s, %(loss)s, %(postings)s, %(evidence)s,"
        " %(submitted_at)s, %(submissions)s, %(opened_at)s, %(closed_at)s, %(charge_ref)s,"
        " %(clock_id)s, %(now)s)",
        {
            **_values(work),
            "payment_id": payment.key[1],
            "provider": payment.provider,
            "account": payment.provider_account,
            "ref": work.remote.id,
            "amount": work.amount_minor,
            "currency": work.currency,
            "charge_ref": work.remote.payment_ref,
            "opened_at": work.remote.created_at or now,
            "clock_id": payment.clock_id,
            "now": now,
        },
    )
    ref = (payment.provider, payment.provider_account, work.remote.id, *payment.key)
    attempts.add_refs(tx, [ref])


def _update(tx: Tx, work: _Work) -> None:
    tx.run(
        "update disputes set state = %(state)s, reason = %(reason)s, due_at = %(due_at)s,"
        " withdrawn_minor = %(withdrawn)s, reinstated_minor = %(reinstated)s, fee_minor = %(fee)s,"
        " loss_minor = %(loss)s, postings = %(postings)s, evidence = %(evidence)s,"
        " submitted_at = %(submitted_at)s, submissions = %(submissions)s, closed_at = %(closed_at)s"
        " where customer_id = %(customer_id)s and id = %(id)s and (state, due_at, withdrawn_minor,"
        "  reinstated_minor, fee_minor, submissions, reason, loss_minor, postings) is distinct from"
        "  (%(state)s, %(due_at)s::timestamptz, %(withdrawn)s::bigint, %(reinstated)s::bigint,"
        "  %(fee)s::bigint, %(submissions)s::smallint, %(reason)s, %(loss)s::bigint,"
        "  %(postings)s::jsonb)",
        _values(work),
    )


def _note_payment(tx: Tx, now: datetime, work: _Work) -> None:
    """The payment says that it is disputed while any of its disputes is, or was lost."""
    # Whatever changed it meanwhile in this transaction counts.
    payment = refund_books.payment_of(tx, work.payment.key)
    disputed = tx.value(
        "select exists (select from disputes where customer_id = %(customer_id)s"
        " and payment_id = %(payment_id)s and state = any(%(states)s))",
        {"customer_id": payment.customer_id, "payment_id": payment.key[1],
         "states": list(DISPUTED_STATES)},
    )  # fmt: skip
    changes: dict[str, Any] = {}
    if disputed != payment.disputed:
        changes["disputed"] = disputed
    if work.review and payment.review is None:
        changes["review"] = work.review
        work.events.append(
            attempts.state_event(payment, now, type="payment.review", review=work.review)
        )
    if changes:
        attempts.advance(tx, now, [(payment, payment.state, changes)])


# Deadlines ----------------------------------------------------------------------------------------


def warn_due(env: Env, limit: int = 50) -> int:
    """Sweep: say once of each dispute that its evidence is due soon. Answers how many."""
    until = env.now() + timedelta(hours=env.settings.dispute_due_soon_hours)
    with env.db.read() as tx:
        rows = tx.all(
            "select customer_id, id from disputes where state = 'needs_response'"
            " and clock_id is null and due_at <= %(until)s and warned_at is null"
            " order by due_at limit %(limit)s",
            {"until": until, "limit": limit},
        )
    warned = 0
    for row in rows:
        with one_row("disputes", row["id"]):
            warned += warn(env, row["customer_id"], row["id"])
    return warned


def warn(env: Env, customer_id: UUID, dispute_id: UUID) -> int:
    """Say once of a dispute that its evidence is due soon."""
    with env.db.transaction(customer_id, wait_s=WAIT_S) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        changed = tx.run(
            "update disputes set warned_at = %(now)s where customer_id = %(customer_id)s"
            " and id = %(id)s and state = 'needs_response' and warned_at is null",
            {"now": now, "customer_id": customer_id, "id": dispute_id},
        )
        if not changed:
            return 0
        emit_many(tx, [event_of(dispute_views.view(tx, customer_id, dispute_id),
                                "dispute.due_soon", at=now)])  # fmt: skip
        return 1


def event_of(one: DisputeView, type: str, *, at: datetime, actor: str | None = None, **more: Any
             ) -> NewEvent:  # fmt: skip
    """An event about a dispute as it stands; `actor` is who caused it."""
    data = {
        "payment_id": str(one.payment_id), "amount": one.amount.minor,
        "currency": one.amount.currency, "status": one.state, "reason": one.reason,
        **({"due_at": one.due_at.isoformat()} if one.due_at else {}), **more,
    }  # fmt: skip
    return NewEvent(
        customer_id=one.customer_id, type=type, subject_id=one.id, data=data, at=at,
        cause={"actor": actor} if actor else None,
    )  # fmt: skip
